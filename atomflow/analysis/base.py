"""The one shape of all analyses: ``X(trajectory, ...).run(start, stop, step).results``; and one sweep for many."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

import numpy as np

from atomflow.errors import TrajectoryError
from atomflow.trajectory import (
    Frame,
    FrameSource,
    Trajectory,
    choose_frames,
    contiguous,
    open_trajectory,
    part_count,
    share,
)

T = TypeVar("T")
Progress = Callable[[int, int], None]


class Analysis(ABC, Generic[T]):
    """What every analysis of a trajectory offers.

    Parameters
    ----------
    trajectory
        Anything :func:`atomflow.trajectory.open_trajectory` takes: a path, a Universe, ASE atoms, arrays.
    """

    def __init__(self, trajectory: Any) -> None:
        self.trajectory: Trajectory = open_trajectory(trajectory)
        self._results: T | None = None

    @abstractmethod
    def run(
        self,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        *,
        workers: int = 1,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Analyse the frames ``start:stop:step``.

        Parameters
        ----------
        start, stop, step : int, optional
            As in slicing a list; frames that repeat the time of the one before are left out
            (:func:`atomflow.trajectory.choose_frames`).
        workers : int
            Local processes.
        executor : concurrent.futures.Executor, optional
            Where to run instead of on local processes.
        progress : callable, optional
            Called with frames done and frames in all.

        Raises
        ------
        TrajectoryError
            No frame is left, or the trajectory lacks what this needs.
        """

    @property
    def results(self) -> T:
        """What was found.

        Raises
        ------
        TrajectoryError
            Before :meth:`run`.
        """
        if self._results is None:
            raise TrajectoryError(f"{type(self).__name__} has no results yet: call .run() first")
        return self._results


class FrameAnalysis(Analysis[T]):
    """An analysis that looks at one frame after another, in any order, and adds up what it sees.

    Several of them share one sweep over the file with :func:`sweep`. In a worker process ``_look`` has no
    ``trajectory``: everything it needs is kept as attributes before.
    """

    @abstractmethod
    def _begin(self) -> Any:
        """Return an empty tally: small, can be pickled."""

    @abstractmethod
    def _look(self, tally: Any, frame: Frame) -> None:
        """Add one whole frame to the tally."""

    @abstractmethod
    def _merge(self, tally: Any, other: Any) -> Any:
        """Join the tallies of two runs of frames, the second after the first."""

    @abstractmethod
    def _conclude(self, tally: Any, frames: Sequence[int]) -> T:
        """Turn the tally into the result."""

    def run(
        self,
        start: int | None = None,
        stop: int | None = None,
        step: int | None = None,
        *,
        workers: int = 1,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Analyse the frames ``start:stop:step``; see :meth:`Analysis.run`."""
        frames = choose_frames(self.trajectory, start, stop, step)
        sweep([(self.trajectory, frames)], [self], workers=workers, executor=executor, progress=progress)
        return self

    def __getstate__(self) -> dict[str, Any]:
        # What travels to a worker: neither the trajectory (the source is sent once) nor a result.
        return {**self.__dict__, "trajectory": None, "_results": None}


def sweep(
    parts: Sequence[tuple[Trajectory, Sequence[int]]],
    analyses: Sequence[FrameAnalysis[Any]],
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> None:
    """Read every frame once and show it to all analyses; each then has its ``results``.

    Parameters
    ----------
    parts : sequence of (Trajectory, frames)
        One trajectory, or replicas of it with the same atoms. The frames of a second one are numbered on from the
        first, so that they are other moments.
    analyses : sequence of FrameAnalysis
    workers, executor, progress
        As in :meth:`Analysis.run`.

    Raises
    ------
    TrajectoryError
        A coordinate that is not finite, with its frame and atom.
    """
    count = part_count(workers, executor)
    total = sum(len(frames) for _, frames in parts)
    tasks: list[tuple[FrameSource, Sequence[int], int]] = []
    numbers: list[int] = []
    offset = 0
    for trajectory, frames in parts:
        tasks += [(trajectory.source, run, offset) for run in contiguous(frames, count)]
        numbers += [number + offset for number in frames]
        offset += trajectory.n_frames
    if count == 1:
        tallies, done = [], 0
        for source, run, first in tasks:
            tallies.append(_tally(source, run, first, analyses, _after(done, total, progress)))
            done += len(run)
    else:
        ends = np.cumsum([len(run) for _, run, _ in tasks])

        def told(number: int) -> None:
            if progress:
                progress(int(ends[number]), total)

        tallies = share(
            _tally, [(*task, tuple(analyses)) for task in tasks], workers=workers, executor=executor, done=told
        )
    for number, analysis in enumerate(analyses):
        whole = tallies[0][number]
        for other in tallies[1:]:
            whole = analysis._merge(whole, other[number])
        analysis._results = analysis._conclude(whole, numbers)


def _after(done: int, total: int, progress: Progress | None) -> Callable[[int], None] | None:
    return None if progress is None else lambda more: progress(done + more, total)


def _tally(
    source: FrameSource,
    frames: Sequence[int],
    offset: int,
    analyses: Sequence[FrameAnalysis[Any]],
    told: Callable[[int], None] | None = None,
) -> list[Any]:
    tallies = [analysis._begin() for analysis in analyses]
    for number, frame in enumerate(source.frames(frames)):
        check_finite(source.name, frame)
        seen = replace(frame, index=frame.index + offset) if offset else frame
        for analysis, tally in zip(analyses, tallies, strict=True):
            analysis._look(tally, seen)
        if told:
            told(number + 1)
    return tallies


def strict(data: Any) -> Any:
    """Plain data with None for every number that is not finite, as JSON has neither NaN nor infinity.

    Parameters
    ----------
    data
        Dictionaries, lists, numbers and strings, as of :meth:`atomflow.model.Result.to_dict`.
    """
    if isinstance(data, dict):
        return {key: strict(value) for key, value in data.items()}
    if isinstance(data, list):
        return [strict(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def check_finite(name: str, frame: Frame) -> None:
    """Refuse a frame with NaN or infinite coordinates.

    Raises
    ------
    TrajectoryError
        With the frame and the first such atom.
    """
    # The sum is finite only if all terms are, or for an overflow that no real coordinate comes near.
    if np.isfinite(frame.positions_A.sum()):
        return
    bad = np.flatnonzero(~np.isfinite(frame.positions_A).all(axis=1))
    if len(bad):
        raise TrajectoryError(
            f"{name}: frame {frame.index} has a coordinate that is not a number (atom {bad[0] + 1}, {len(bad)} in all); "
            "the run broke there: analyse the frames before it with stop"
        )
