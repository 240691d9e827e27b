"""A quick look at pairs of frames spread over a trajectory: wrapped or not, its box, how far atoms jump, what is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import TrajectoryError
from atomflow.model import Notice
from atomflow.trajectory.cells import BoxKind, Lattice, cell_change, lattice_of
from atomflow.trajectory.frames import Frame, Layout, Trajectory
from atomflow.trajectory.jumps import REFUSED, Jumps
from atomflow.trajectory.topology import Topology
from atomflow.trajectory.unwrapping import Scheme, increments, minimum_image

#: Relative change of a cell vector below which a box is constant: single precision and seven printed digits.
CONSTANT = 1e-5
#: Extent of all positions along a cell vector, in cells: wrapped ones fill one; whole molecules stick out a little, and
#: a triclinic cell that GROMACS writes as a brick spans up to two.
_ONE_CELL = 1.02
_SOME_CELLS = 1.5
_MANY_CELLS = 2.5


@dataclass(frozen=True)
class Choice:
    """How to unwrap.

    Attributes
    ----------
    scheme : Scheme
        Never ``auto``.
    known : bool
        Images come from the file (see :func:`~atomflow.trajectory.unwrapping.increments`).
    layout : Layout
        What the positions were found to be.
    why : str
        One sentence.
    """

    scheme: Scheme
    known: bool
    layout: Layout
    why: str


@dataclass
class Survey:
    """What the sampled frames show.

    Attributes
    ----------
    frames, pairs : int
        Sampled frames, and pairs of consecutive ones among them.
    boxes : set of BoxKind
    volumes_A3 : list of float
    cell_change : float
        Largest relative change of a cell vector over the sample.
    jumps : Jumps
        By kind of atom (element, else type).
    crossed : int
        Jumps that a lattice vector makes shorter.
    near_half_a_cell, near_one_cell : int
        Components of jumps between 0.4 and 0.7 of a cell vector, and between 0.7 and 1.3.
    extent : float
        Largest extent of the positions along a cell vector, in cells.
    torn : int
        Jumps over most of the extent of the positions, in frames without a cell.
    same : list of int
        Frames equal to the one before.
    broken : list of (frame, atom, count)
        Frames with coordinates that are not finite, the first such atom and how many.
    drifts_A : list of (gap in frames, (3,) array)
        Displacement of the barycentre over each pair.
    """

    layout: Layout
    jumps: Jumps
    weights: NDArray[np.float64]
    frames: int = 0
    pairs: int = 0
    without_cell: int = 0
    boxes: set[BoxKind] = field(default_factory=set)
    volumes_A3: list[float] = field(default_factory=list)
    cell_change: float = 0.0
    crossed: int = 0
    near_half_a_cell: int = 0
    near_one_cell: int = 0
    extent: float = 0.0
    torn: int = 0
    same: list[int] = field(default_factory=list)
    broken: list[tuple[int, int, int]] = field(default_factory=list)
    drifts_A: list[tuple[int, NDArray[np.float64]]] = field(default_factory=list)
    _first: Lattice | None = None

    @property
    def constant_cell(self) -> bool:
        """Whether the box stays as it is."""
        return self.cell_change <= CONSTANT

    @property
    def choice(self) -> Choice:
        """What ``auto`` means here.

        Raises
        ------
        TrajectoryError
            Coordinates that look wrapped, without a cell.
        """
        layout = self.found_layout
        if self.without_cell:
            if self.torn:
                raise TrajectoryError(
                    "the coordinates jump from one side of the system to the other as wrapped ones do, but there is no "
                    "cell to unwrap them with; give cell_A (or a topology with a cell), or use --unwrap none if these "
                    "jumps are real"
                )
            return Choice("none", True, layout, "there is no cell, so the coordinates are taken to be unwrapped")
        if self.layout in ("images", "unwrapped"):
            told = "have image flags" if layout == "images" else "are unwrapped"
            if not self.constant_cell:
                why = f"the cell changes and positions {told}: displacements within the cell, images from the file"
                return Choice("toroidal", True, layout, why)
            plain: Scheme = "image-flags" if layout == "images" else "none"
            return Choice(plain, True, layout, f"the cell is constant and positions {told}")
        told = {"wrapped": "positions are wrapped", "unwrapped": "positions look unwrapped"}.get(
            layout, "nothing shows whether positions are wrapped"
        )
        if layout == "unwrapped" and self.jumps.widest()[1] > REFUSED:
            far: Scheme = "none" if self.constant_cell else "toroidal"
            return Choice(far, True, layout, f"{told}, and atoms move too far between frames for nearest images")
        # Right for wrapped and for unwrapped positions, so nothing hangs on what they look like.
        box = "the cell is constant" if self.constant_cell else "the cell changes"
        return Choice("toroidal", False, layout, f"{box} and {told}: nearest images in the current cell")

    @property
    def found_layout(self) -> Layout:
        """What the positions are, from the file or from how they look."""
        if self.layout != "unknown" or self.without_cell or not self.pairs:
            return self.layout
        if not self.crossed:
            return "wrapped" if self.extent <= _ONE_CELL else "unwrapped" if self.extent > _SOME_CELLS else "unknown"
        # Wrapped atoms, also molecules wrapped whole, jump by nearly a cell or by little; unwrapped ones by everything
        # in between before they jump by a cell.
        if self.extent <= _ONE_CELL or self.near_one_cell > self.near_half_a_cell:
            return "wrapped"
        return "unwrapped" if self.extent > _MANY_CELLS else "unknown"

    def look(self, frame: Frame) -> bool:
        """Look at one frame; False if it is broken."""
        positions = frame.positions_A
        self.frames += 1
        # A sum is finite only if all its terms are, and no real coordinate comes near to overflowing it.
        with np.errstate(all="ignore"):
            total = positions.sum(dtype=np.float64)
        if not np.isfinite(total):
            bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
            self.broken.append((frame.index, int(bad[0]) if len(bad) else 0, len(bad)))
            return False
        if frame.cell_A is None:
            self.without_cell += 1
            return True
        lattice = lattice_of(frame.cell_A, frame.index)
        self.boxes.add(lattice.kind)
        self.volumes_A3.append(lattice.volume_A3)
        self._first = self._first or lattice
        if (change := cell_change(self._first, lattice)) is not None:
            edges = np.linalg.norm(self._first.cell_A, axis=1)
            self.cell_change = max(self.cell_change, float((np.linalg.norm(change, axis=1) / edges).max()))
        fractions = lattice.fractions(positions)
        self.extent = max(self.extent, float(np.ptp(fractions, axis=0).max(initial=0.0)))
        return True

    def compare(self, before: Frame, after: Frame) -> None:
        """Look at two consecutive frames."""
        self.pairs += 1
        gap = after.index - before.index
        if np.array_equal(before.positions_A, after.positions_A) and _same_images(before, after):
            self.same.append(after.index)
        if before.cell_A is None or after.cell_A is None:
            moved = increments(before, after, "none")
            extent = np.maximum(np.ptp(np.asarray(before.positions_A, dtype=np.float64), axis=0), 1e-9)
            share = np.abs(moved) / extent
            # Most atoms hardly move and a few cross the whole system: faces of a cell that nobody stored.
            far = int(np.count_nonzero((share > 0.7).any(axis=1)))
            if far and np.median(share) < 0.05:
                self.torn += far
            self.drifts_A.append((gap, self.weights @ moved))
            return
        lattice = lattice_of(after.cell_A)
        whole = increments(before, after, "toroidal", known=True)
        nearest = minimum_image(whole, lattice.cell_A)
        self.crossed += int(np.count_nonzero((np.abs(whole - nearest) > 1e-3).any(axis=1)))
        parts = np.abs(lattice.fractions(whole))
        self.near_half_a_cell += int(np.count_nonzero((parts > 0.4) & (parts <= 0.7)))
        self.near_one_cell += int(np.count_nonzero((parts > 0.7) & (parts <= 1.3)))
        moved = whole if self.layout in ("images", "unwrapped") else nearest
        self.jumps.add(moved, lattice)
        self.drifts_A.append((gap, self.weights @ moved))


def survey(trajectory: Trajectory, *, sample: int, frames: Sequence[int] | None = None) -> Survey:
    """Look at pairs of consecutive frames spread over a trajectory.

    Parameters
    ----------
    trajectory : Trajectory
    sample : int
        Frames to read, two for each pair.
    frames : sequence of int, optional
        The frames that are to be analysed; consecutive among these is what counts.

    Returns
    -------
    Survey
    """
    frames = range(trajectory.n_frames) if frames is None else frames
    seen = Survey(
        trajectory.source.layout, Jumps(_kinds(trajectory.topology, trajectory.n_atoms)), _weights(trajectory)
    )
    chosen = _pairs(len(frames), sample)
    last, last_place = None, -2
    source = trajectory.source.frames([frames[place] for place in chosen])
    for place, frame in zip(chosen, source, strict=True):
        whole = seen.look(frame)
        if whole and last is not None and place == last_place + 1:
            seen.compare(last, frame)
        last, last_place = (frame if whole else None), place
    return seen


def decide(seen: Survey, unwrap: Scheme) -> tuple[Choice, tuple[Notice, ...]]:
    """The scheme that was asked for, or the one that ``auto`` means, with what has to be said about it.

    Raises
    ------
    TrajectoryError
        Image flags that the file does not have; wrapped coordinates without a cell.
    """
    if unwrap == "auto":
        choice = seen.choice
        if seen.without_cell or seen.constant_cell:
            return choice, ()
        text = (
            f"the cell changes (volume by {100 * volume_fluctuation(seen.volumes_A3):.2g} %): displacements are taken by "
            f"the {choice.scheme} scheme ({choice.why}); compare with --unwrap fractional"
        )
        return choice, (Notice("changing-cell", text),)
    layout = seen.found_layout
    if unwrap in ("none", "image-flags"):
        if unwrap == "image-flags" and layout not in ("images", "unwrapped"):
            raise TrajectoryError(
                "unwrapping by image flags needs ix, iy, iz in the trajectory, which has none; use --unwrap toroidal"
            )
        choice = Choice(
            "image-flags" if unwrap == "image-flags" and layout == "images" else "none", True, layout, "as asked"
        )
        if choice.scheme == "none" and layout in ("wrapped", "images") and seen.crossed + seen.torn:
            text = (
                "the positions are wrapped and were not unwrapped, as asked: displacements are wrong; use --unwrap auto"
            )
            return choice, (Notice("wrapped", text),)
        if not seen.constant_cell:
            text = (
                f"the cell changes (volume by {100 * volume_fluctuation(seen.volumes_A3):.2g} %): displacements of atoms far "
                "from their home cell follow its fluctuations and the diffusivity comes out too large; use --unwrap auto"
            )
            return choice, (Notice("changing-cell", text),)
        return choice, ()
    return Choice(unwrap, False, layout, "as asked"), ()


def volume_fluctuation(volumes_A3: Sequence[float]) -> float:
    """Standard deviation of the volume over its mean."""
    return float(np.std(volumes_A3) / np.mean(volumes_A3)) if volumes_A3 else 0.0


def _pairs(count: int, sample: int) -> list[int]:
    if count <= max(sample, 2):
        return list(range(count))
    starts = np.linspace(0, count - 2, max(sample // 2, 1)).astype(int)
    return sorted({int(place) for start in starts for place in (start, start + 1)})


def _weights(trajectory: Trajectory) -> NDArray[np.float64]:
    masses = trajectory.topology.masses_u
    if masses is None or not masses.sum() > 0:
        return np.full(trajectory.n_atoms, 1 / max(trajectory.n_atoms, 1))
    return masses / masses.sum()


def _kinds(topology: Topology, n_atoms: int) -> dict[str, NDArray[np.intp]]:
    for names, told in ((topology.elements, ""), (topology.types, "type "), (topology.names, "")):
        if names is not None:
            labels, kind = np.unique(names, return_inverse=True)
            # More kinds than that are atom names of a big molecule: too few of each to judge.
            if len(labels) <= 50:
                return {
                    f"{told}{label}" if label else "an atom": np.flatnonzero(kind == k)
                    for k, label in enumerate(labels)
                }
    return {"an atom": np.arange(n_atoms)}


def _same_images(before: Frame, after: Frame) -> bool:
    if before.images is None or after.images is None:
        return before.images is after.images
    return np.array_equal(before.images, after.images)
