"""One frame, what gives frames, and a trajectory: frames with a topology and a clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from atomflow.model import Notice

if TYPE_CHECKING:
    from atomflow.trajectory.clock import Clock
    from atomflow.trajectory.topology import Topology

#: What a source itself knows about its coordinates. ``images``: wrapped, with image flags in every frame.
Layout = Literal["wrapped", "unwrapped", "images", "unknown"]


@dataclass(frozen=True, slots=True)
class Frame:
    """Coordinates at one moment.

    Attributes
    ----------
    index : int
        Place in the trajectory, from 0.
    positions_A : (n, 3) float array
        As the source has them (see ``FrameSource.layout``); a source may hand out float32.
    cell_A : (3, 3) float64 array or None
        Cell vectors in rows; None where the source has no cell. Its origin is at zero: positions are shifted.
    time_ps : float or None
        What the file says, uninterpreted; the trajectory's clock decides.
    step : int or None
        Number of the MD step, where the file says it (LAMMPS' TIMESTEP).
    images : (n, 3) int32 array or None
        Image flags; the unwrapped position is ``positions_A + images @ cell_A``.
    """

    index: int
    positions_A: NDArray[np.floating]
    cell_A: NDArray[np.float64] | None = None
    time_ps: float | None = None
    step: int | None = None
    images: NDArray[np.int32] | None = None


class FrameSource(Protocol):
    """What hands out frames: a reader of one file format, or arrays in memory.

    A source can be pickled: a worker process opens the file again.
    """

    #: For messages: usually the path.
    name: str
    n_atoms: int
    #: Whole frames; a truncated last one is not counted.
    n_frames: int
    layout: Layout
    #: What was found on opening: a truncated file, frames left out.
    notices: tuple[Notice, ...]

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """Frames of these numbers, in this order; only these atoms' rows (in this order) when given.

        Raises
        ------
        BadFileError
            A frame that cannot be read.
        """
        ...


@dataclass(frozen=True)
class Trajectory:
    """Frames with what their atoms are and when they were.

    Attributes
    ----------
    source : FrameSource
    topology : Topology
    clock : Clock
        Time of every frame, and where that knowledge comes from.
    notices : tuple of Notice
        What opening it found or assumed.
    """

    source: FrameSource
    topology: Topology
    clock: Clock
    notices: tuple[Notice, ...] = field(default=())

    @property
    def name(self) -> str:
        """For messages."""
        return self.source.name

    @property
    def n_atoms(self) -> int:
        """Atoms in every frame."""
        return self.source.n_atoms

    @property
    def n_frames(self) -> int:
        """Whole frames."""
        return self.source.n_frames

    def __len__(self) -> int:
        return self.n_frames

    def with_notices(self, *more: Notice) -> Trajectory:
        """The same with further notices, each once."""
        return replace(self, notices=tuple(dict.fromkeys((*self.notices, *more))))
