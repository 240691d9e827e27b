"""Unwrapped, drift-free paths of particles, gathered in one pass over the frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadOptionError
from atomflow.model import Notice
from atomflow.trajectory.frame_choice import choose_frames
from atomflow.trajectory.frames import Trajectory
from atomflow.trajectory.jumps import Jumps
from atomflow.trajectory.particles import Drift, Particles, choose_drift, choose_particles
from atomflow.trajectory.path_store import POSITION, Block, PathStore, make_store
from atomflow.trajectory.survey import Choice, decide, survey
from atomflow.trajectory.unwrapping import Scheme, check_scheme
from atomflow.trajectory.walking import Plan, Progress, Tally, blocks
from atomflow.trajectory.workers import contiguous, part_count, pool, window

#: Frames sampled to choose a scheme, and frames whose jumps are measured on the way.
_SAMPLE = 16
_MEASURED = 200


class Paths:
    """Unwrapped, drift-free positions of every particle of every group.

    A particle starts where it was in the first frame (wrapped into the cell; without a cell, relative to the mean of
    all particles), so that positions stay small and doubles keep their digits.

    Attributes
    ----------
    times_ps : (n_frames,) float64 array or None
    n_frames : int
    groups : dict of str to slice
        Rows of each group.
    scheme : Scheme
        How it was unwrapped; never ``auto``.
    scheme_why : str
    drift : str
        What was subtracted, for people.
    notices : tuple of Notice
    volume_A3 : float or None
        Mean over the frames.
    frames : (n_frames,) int array
        Numbers of the frames.
    """

    def __init__(
        self,
        store: PathStore,
        *,
        times_ps: NDArray[np.float64] | None,
        frames: NDArray[np.intp],
        groups: dict[str, slice],
        choice: Choice,
        drift: str,
        notices: tuple[Notice, ...],
        volume_A3: float | None,
    ) -> None:
        self._store = store
        self.times_ps = times_ps
        self.frames = frames
        self.n_frames = len(frames)
        self.groups = groups
        self.scheme: Scheme = choice.scheme
        self.scheme_why = choice.why
        self.drift = drift
        self.notices = notices
        self.volume_A3 = volume_A3

    @property
    def n_particles(self) -> int:
        """Rows in all."""
        return max((rows.stop for rows in self.groups.values()), default=0)

    def block(self, rows: slice) -> NDArray[np.float64]:
        """Paths of some particles.

        Parameters
        ----------
        rows : slice
            Without a step.

        Returns
        -------
        (k, n_frames, 3) float64 array
            In angstrom, C-contiguous; take a copy to change it.
        """
        return self._store.read(rows)

    def close(self) -> None:
        """Free memory or disk; the paths are gone."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def gather_paths(
    trajectory: Trajectory,
    groups: Mapping[str, NDArray[np.intp]],
    *,
    start: int | None = None,
    stop: int | None = None,
    step: int | None = None,
    unwrap: Scheme = "auto",
    drift: str = "auto",
    molecules: bool = False,
    memory_GB: float = 1.0,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Paths:
    """Gather the paths of groups of atoms, or of the molecules they belong to.

    Every displacement is a sum of increments between consecutive frames (see
    :mod:`atomflow.trajectory.unwrapping`), so runs of frames are gathered by themselves, in this process or in
    others, and joined. Frames that repeat the time of the one before (a restart writes its first frame twice) are
    left out.

    Parameters
    ----------
    trajectory : Trajectory
    groups : mapping of str to int array
        Atoms of each group.
    start, stop, step : int, optional
        Frames, see :func:`~atomflow.trajectory.frame_choice.choose_frames`. Jumps are judged between those that are read.
    unwrap : Scheme
    drift : str
        ``barycentre``: of all atoms, by mass where masses are known. ``framework``: of the atoms in no group. A group's
        name or a selection: of these. ``none``. ``auto``: the barycentre when masses are known and the file seems to
        hold the whole system (more than one kind of atom, neutral if charges are known), else none.
    molecules : bool
        Particles are the centres of mass of the whole molecules that have an atom in the group. They move by the
        weighted sum of their atoms' increments, so molecules need not be whole in the file.
    memory_GB : float
        Paths larger than this go to a temporary file ($TMPDIR); buffers stay below it too.
    workers : int
        Local processes.
    executor : concurrent.futures.Executor, optional
        Where to run instead.
    progress : callable, optional
        Called with frames done and frames in all.

    Returns
    -------
    Paths

    Raises
    ------
    TrajectoryError
        Frames too far apart to tell images; coordinates that are not finite; no masses where they are needed; a disk
        that is too small; see also :func:`~atomflow.trajectory.unwrapping.increments`.
    SelectionError
        An empty group.
    BadOptionError, UnknownNameError
        An option that makes no sense.
    """
    check_scheme(unwrap)
    if not memory_GB > 0:
        raise BadOptionError(f"memory_GB {memory_GB:g}: give more than zero")
    particles = choose_particles(trajectory, groups, molecules=molecules)
    away = choose_drift(trajectory, groups, particles, drift)
    frames = choose_frames(trajectory, start, stop, step)
    repeated = _left_out(trajectory, len(frames), len(window(trajectory.n_frames, start, stop, step)))
    choice, about = decide(survey(trajectory, sample=_SAMPLE, frames=frames), unwrap)
    plan = _plan(trajectory, particles, away, choice, max(1, len(frames) // _MEASURED))

    tally = Tally(Jumps(plan.kinds))
    store = make_store(particles.count, len(frames), memory_GB)
    try:
        with closing(_walk(plan, frames, tally, memory_GB, workers, executor, progress)) as steps:
            for block in steps:
                store.add(block)
        if not choice.known:
            tally.jumps.check(trajectory.name)
    except BaseException:
        store.close()
        raise
    times, numbers = trajectory.clock.times_ps, np.asarray(frames, dtype=np.intp)
    return Paths(
        store,
        times_ps=None if times is None else times[numbers],
        frames=numbers,
        groups=particles.groups,
        choice=choice,
        drift=away.told,
        notices=(*about, *away.notices, *repeated, *_still(tally), *tally.jumps.notices(known=choice.known)),
        volume_A3=tally.volume_A3 / tally.cells if tally.cells == len(frames) else None,
    )


def _left_out(trajectory: Trajectory, n_read: int, n_asked: int) -> tuple[Notice, ...]:
    """A word on frames at the time of the one before, where opening the trajectory did not say it."""
    left_out = n_asked - n_read
    if not left_out or any(notice.code == "duplicate-frames" for notice in trajectory.notices):
        return ()
    text = f"{left_out} frame{'' if left_out == 1 else 's'} at the time of the one before left out"
    return (Notice("duplicate-frames", text),)


def _still(tally: Tally) -> tuple[Notice, ...]:
    if not tally.still:
        return ()
    text = (
        f"{tally.still} frame{' is' if tally.still == 1 else 's are'} equal to the one before: duplicated frames make "
        "diffusivities too small; remove them"
    )
    return (Notice("duplicate-frames", text),)


def _plan(trajectory: Trajectory, particles: Particles, drift: Drift, choice: Choice, every: int) -> Plan:
    wanted = particles.atoms if drift.atoms is None else np.union1d(particles.atoms, drift.atoms)
    atoms = None if len(wanted) == trajectory.n_atoms else wanted
    kinds = {name: np.searchsorted(wanted, members) for name, members in particles.members.items()}
    others = np.setdiff1d(np.arange(len(wanted)), np.concatenate(list(kinds.values())))
    if len(others):
        kinds["another atom"] = others
    return Plan(trajectory.source, atoms, particles.among(wanted), drift.among(wanted), choice, kinds, every)


def _walk(
    plan: Plan,
    frames: Sequence[int],
    tally: Tally,
    memory_GB: float,
    workers: int,
    executor: Executor | None,
    progress: Progress | None,
) -> Generator[Block]:
    """Positions in blocks of consecutive frames, (b, n, 3), in their order, from this process or from others."""
    count = part_count(workers, executor)
    if count == 1:
        yield from blocks(plan, frames, None, tally, progress)
        return
    # As many runs wait for their turn as there are workers, and one more is being added.
    room = max(int(memory_GB * 0.5e9 / POSITION / plan.particles.count / (count + 1)), 1)
    parts = max(count, -(-len(frames) // room))
    runs = contiguous(frames, -(-parts // count) * count)
    to_submit = iter(zip(runs, [None, *(run[-1] for run in runs[:-1])], strict=True))
    # Every run but the first is relative to the frame before it.
    end: NDArray[np.float64] | float = 0.0
    done = 0
    waiting: deque[Future[tuple[NDArray[np.float64], Tally]]] = deque()
    with pool(count, executor) as processes:
        try:
            while True:
                for run, before in islice(to_submit, count + 1 - len(waiting)):
                    waiting.append(processes.submit(_one_run, plan, run, before))
                if not waiting:
                    return
                block, seen = waiting.popleft().result()
                tally.merge(seen)
                done += len(block)
                yield Block(block, np.broadcast_to(-end, block.shape[1:]).copy())
                end = block[-1] + end
                if progress:
                    progress(done, len(frames))
        finally:
            for future in waiting:
                future.cancel()


def _one_run(plan: Plan, frames: Sequence[int], before: int | None) -> tuple[NDArray[np.float64], Tally]:
    tally = Tally(Jumps(plan.kinds))
    whole = np.empty((len(frames), plan.particles.count, 3))
    done = 0
    for block in blocks(plan, frames, before, tally):
        whole[done : done + len(block)] = block.shifted()
        done += len(block)
    return whole, tally
