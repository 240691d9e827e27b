"""Which frames ``start:stop:step`` means, for every analysis alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomflow.trajectory.frames import Trajectory
from atomflow.trajectory.workers import window


def choose_frames(
    trajectory: Trajectory, start: int | None = None, stop: int | None = None, step: int | None = None
) -> Sequence[int]:
    """The frames to analyse.

    ``start`` and ``stop`` are numbers of frames in the file, as messages and ``atomflow check`` give them. Of these,
    frames that repeat the time of the one before (a restart writes its first frame twice) are left out, as they are no
    new moment; then every ``step``-th is taken, so that frames stay evenly spaced across a restart.

    Parameters
    ----------
    trajectory : Trajectory
    start, stop, step : int, optional
        As in slicing a list.

    Raises
    ------
    BadOptionError
        A step below one.
    TrajectoryError
        No frame is left.
    """
    chosen = window(trajectory.n_frames, start, stop, step)
    times = trajectory.clock.times_ps
    if times is None:
        return chosen
    every = window(trajectory.n_frames, start, stop)
    new = np.concatenate([[True], np.diff(times[every.start : every.stop]) > 0])
    if new.all():
        return chosen
    return [every[place] for place in np.flatnonzero(new)[::step].tolist()]
