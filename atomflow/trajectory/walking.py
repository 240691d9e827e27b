"""From frames to paths: one walk over consecutive frames, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import TrajectoryError
from atomflow.trajectory.cells import lattice_of
from atomflow.trajectory.frames import Frame, FrameSource
from atomflow.trajectory.jumps import Jumps
from atomflow.trajectory.particles import Drift, Particles
from atomflow.trajectory.path_store import POSITION, Block
from atomflow.trajectory.survey import Choice
from atomflow.trajectory.unwrapping import increments, plain_positions

Progress = Callable[[int, int], None]

#: Refuse early when jumps are too long: judged whenever so many frames were measured.
_JUDGED = 20
#: Frames and bytes of a block: enough to be turned from frame-major to particle-major in runs of 1.5 kB.
_BLOCK = 64
_BLOCK_BYTES = 16_000_000


@dataclass(frozen=True)
class Plan:
    """All that turns frames into paths; it travels to the processes.

    Attributes
    ----------
    source : FrameSource
    atoms : int array or None
        Atoms to read; None for all.
    particles : Particles
    drift : Drift
    choice : Choice
    kinds : mapping of str to int array
        Among the atoms that are read: what jumps are judged by.
    every : int
        Jumps are measured in every so many frames.
    """

    source: FrameSource
    atoms: NDArray[np.intp] | None
    particles: Particles
    drift: Drift
    choice: Choice
    kinds: Mapping[str, NDArray[np.intp]]
    every: int


@dataclass
class Tally:
    """What is seen on the way.

    Attributes
    ----------
    jumps : Jumps
    volume_A3 : float
        Sum over the frames with a cell.
    cells : int
        Number of these.
    still : int
        Frames equal to the one before.
    """

    jumps: Jumps
    volume_A3: float = 0.0
    cells: int = 0
    still: int = 0

    def merge(self, other: Tally) -> None:
        """Add what was seen in other frames."""
        self.jumps.merge(other.jumps)
        self.volume_A3 += other.volume_A3
        self.cells += other.cells
        self.still += other.still

    def count_cell(self, frame: Frame) -> None:
        """Note the cell of a frame."""
        if frame.cell_A is not None:
            self.volume_A3 += lattice_of(frame.cell_A, frame.index).volume_A3
            self.cells += 1


def blocks(
    plan: Plan, frames: Sequence[int], before: int | None, tally: Tally, progress: Progress | None = None
) -> Iterator[Block]:
    """Walk over consecutive frames.

    Parameters
    ----------
    plan : Plan
    frames : sequence of int
    before : int or None
        The frame before the first; None at the start of the paths.
    tally : Tally
        Added to.
    progress : callable, optional
        Called with frames done and frames in all.

    Yields
    ------
    Block
        Positions of the next few frames: from the start of the paths, or relative to the frame ``before``. Its array is
        used again for the next block.

    Raises
    ------
    TrajectoryError
        Coordinates that are not finite; jumps too long for nearest images.
    """
    if _is_plain(plan) and hasattr(plan.source, "block"):
        yield from _plain_blocks(plan, frames, before, tally, progress)
        return
    count = plan.particles.count
    block = np.empty((max(1, min(len(frames), _BLOCK, _BLOCK_BYTES // (POSITION * count))), count, 3))
    positions, unmoved = _positions(plan, frames, before, tally), np.zeros((count, 3))
    done = 0
    while done < len(frames):
        some = min(len(block), len(frames) - done)
        for place, now in enumerate(islice(positions, some)):
            block[place] = now
        done += some
        yield Block(block[:some], unmoved)
        if progress:
            progress(done, len(frames))


def _is_plain(plan: Plan) -> bool:
    """Whether particles are atoms and go where their coordinates say."""
    return plan.choice.scheme == "none" and plan.drift.weights is None and plan.particles.bounds is None


def _plain_blocks(
    plan: Plan, frames: Sequence[int], before: int | None, tally: Tally, progress: Progress | None
) -> Iterator[Block]:
    """The same as :func:`blocks` from a source that reads many frames at once."""
    source: Any = plan.source
    rows, start = plan.particles.rows, before is None
    every_row = np.array_equal(rows, np.arange(source.n_atoms if plan.atoms is None else len(plan.atoms)))
    whole = list(frames) if before is None else [before, *frames]
    size = max(1, min(len(whole), _BLOCK, _BLOCK_BYTES // (POSITION * max(plan.particles.count, source.n_atoms // 2))))
    shift: NDArray[np.float64] | None = None
    last: NDArray[np.floating] | None = None
    for first in range(0, len(whole), size):
        numbers = whole[first : first + size]
        raw, cells = source.block(numbers, plan.atoms)
        # The sum is finite only if all terms are.
        if not np.isfinite(raw.sum()):
            for number, one in zip(numbers, raw, strict=True):
                _check_finite(plan, Frame(number, one), float(np.abs(one).max(initial=0.0)))
        _look_at(plan, raw, cells, numbers, first, last, start, tally)
        if shift is None:
            begin = plan.particles.place(Frame(numbers[0], raw[0], cells[0])) if start else 0.0
            shift = raw[0][rows] - begin
        positions = raw if every_row else raw[:, rows]
        yield Block(positions[1:] if first == 0 and not start else positions, shift)
        last = raw[-1]
        if progress:
            progress(first + len(numbers) - (not start), len(frames))


def _look_at(
    plan: Plan, raw: NDArray[np.floating], cells: Sequence[NDArray[np.float64] | None], numbers: Sequence[int],
    first: int, last: NDArray[np.floating] | None, start: bool, tally: Tally,
) -> None:  # fmt: skip
    """Note standstills, jumps and cells of a block; ``last`` is the frame before it."""
    before = np.concatenate([raw[:1] if last is None else last[None], raw[:-1]])
    # Frames of which one atom moved need no second look.
    for place in np.flatnonzero((raw[:, 0] == before[:, 0]).all(axis=1)).tolist():
        tally.still += int((place > 0 or last is not None) and np.array_equal(raw[place], before[place]))
    for place, cell in enumerate(cells):
        if cell is None:
            continue
        is_later = place > 0 or last is not None
        if is_later or start:
            tally.count_cell(Frame(numbers[place], raw[place], cell))
        if is_later and (first + place) % plan.every == 0:
            tally.jumps.add(raw[place].astype(np.float64) - before[place], lattice_of(cell, numbers[place]))


def _positions(plan: Plan, frames: Sequence[int], before: int | None, tally: Tally) -> Iterator[NDArray[np.float64]]:
    """Positions of the particles frame by frame: from their start, or relative to the frame ``before``.

    The array is used again for the next frame.
    """
    from atomflow.trajectory import _unwrap_kernels as kernels

    particles, weights, choice = plan.particles, plan.drift.weights, plan.choice
    plain = _is_plain(plan)
    reader = plan.source.frames(frames if before is None else [before, *frames], plan.atoms)
    last = next(reader)
    _check_finite(plan, last, kernels.longest(plain_positions(last)))
    now = np.zeros((particles.count, 3)) if before is not None else particles.place(last)
    shift = plain_positions(last)[particles.rows] - now if plain else now
    if before is None:
        tally.count_cell(last)
        yield now
    for number, frame in enumerate(reader, start=1):
        measured = frame.cell_A is not None and number % plan.every == 0
        if plain and not measured:
            positions = plain_positions(frame)
            _check_finite(plan, frame, kernels.longest(positions))
            tally.still += np.array_equal(positions, last.positions_A)
        else:
            moved = increments(last, frame, choice.scheme, known=choice.known)
            longest = kernels.longest(moved)
            _check_finite(plan, frame, longest)
            tally.still += longest == 0.0
            if measured and frame.cell_A is not None:
                tally.jumps.add(moved, lattice_of(frame.cell_A, frame.index))
                if number % (plan.every * _JUDGED) == 0 and not choice.known:
                    tally.jumps.check(plan.source.name)
            if not plain:
                particles.add(moved, now)
                if weights is not None:
                    now -= kernels.weighted_sum(moved, weights)
        if plain:
            kernels.take_rows(plain_positions(frame), particles.rows, shift, now)
        tally.count_cell(frame)
        last = frame
        yield now


def _check_finite(plan: Plan, frame: Frame, longest: float) -> None:
    if np.isfinite(longest):
        return
    bad = np.flatnonzero(~np.isfinite(frame.positions_A).all(axis=1))
    if not len(bad):
        raise TrajectoryError(
            f"{plan.source.name}: frame {frame.index} has numbers too large to be coordinates or a cell"
        )
    atom = int(bad[0]) if plan.atoms is None else int(plan.atoms[bad[0]])
    raise TrajectoryError(
        f"{plan.source.name}: frame {frame.index} has a coordinate that is not a number (atom {atom + 1}, {len(bad)} in "
        "all); the run broke there: analyse the frames before it with stop"
    )
