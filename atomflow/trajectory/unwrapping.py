"""How far atoms moved between two frames, across the faces of a periodic cell that may change.

All schemes give *increments*, displacements between two consecutive frames that need nothing but these two frames.
A path is their sum, so paths of consecutive runs of frames can be joined: add the end of the first to the second.

``none``
    Plain differences: right for unwrapped coordinates in a constant cell.
``image-flags``
    Differences of ``positions + images @ cell``, each frame with its own cell: right in a constant cell. Where the
    cell fluctuates, an atom n cells away from home moves by n times the fluctuation, which inflates the diffusivity.
``toroidal``
    Displacements of the wrapped positions, by nearest image in the current cell: the scheme that preserves the toroidal
    view, right where a barostat rescales the box. von Buelow, Bullerjahn and Hummer, J. Chem. Phys. 153, 021101 (2020),
    doi 10.1063/5.0008316; Bullerjahn et al., J. Chem. Theory Comput. 19, 3406 (2023), doi 10.1021/acs.jctc.3c00308:
    ``u' = u + (w' - w) - round((w' - w) / L') L'`` with w the wrapped position. A cell that is not orthogonal is wrapped
    into the one of its shortest vectors, which does not depend on how the vectors were chosen.
``fractional``
    Nearest image of the differences of fractional coordinates, times the current cell: takes the affine motion of the
    barostat out completely.

In a constant cell the last two are the same: the nearest image.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atomflow.errors import TrajectoryError, UnknownNameError
from atomflow.trajectory.cells import Lattice, cell_change, lattice_of
from atomflow.trajectory.frames import Frame, Trajectory

Scheme = Literal["auto", "none", "image-flags", "fractional", "toroidal"]


def check_scheme(scheme: str) -> None:
    """Refuse a scheme that does not exist.

    Raises
    ------
    UnknownNameError
    """
    if scheme not in get_args(Scheme):
        raise UnknownNameError(
            "unwrapping scheme", scheme, get_args(Scheme), mend=f"give {', '.join(get_args(Scheme))}"
        )


def minimum_image(vectors_A: ArrayLike, cell_A: ArrayLike) -> NDArray[np.float64]:
    """Shortest periodic images of vectors, in any cell, however tilted.

    Rounding fractional coordinates picks a wrong image in tilted cells. Here they are rounded in the basis of shortest
    vectors, and then shortened by the lattice vectors that bound the Voronoi cell until none of them helps (Conway and
    Sloane, Proc. R. Soc. Lond. A 436, 55 (1992), doi 10.1098/rspa.1992.0004).

    Parameters
    ----------
    vectors_A : (..., 3) array
    cell_A : (3, 3) array
        Vectors in rows; a row of zeros is a direction that is not periodic.

    Returns
    -------
    (..., 3) float64 array

    Raises
    ------
    TrajectoryError
        A cell without volume.
    """
    vectors = np.array(vectors_A, dtype=np.float64, order="C")
    _take_nearest(vectors.reshape(-1, 3), lattice_of(cell_A))
    return vectors


def increments(previous: Frame, current: Frame, scheme: Scheme, *, known: bool = False) -> NDArray[np.float64]:
    """Displacement of every atom between two consecutive frames.

    Parameters
    ----------
    previous, current : Frame
        With the same atoms in the same order.
    scheme : Scheme
        As this module's text explains; ``auto`` has to be resolved before (:func:`choose_scheme`).
    known : bool
        The image of every atom is known, as the positions are unwrapped or have image flags: ``toroidal`` and
        ``fractional`` then take it from there, and atoms may move any distance between frames. Otherwise they take
        the nearest image, which is right for wrapped and unwrapped positions as long as no atom moves half a cell.

    Returns
    -------
    (n, 3) float64 array
        In angstrom.

    Raises
    ------
    TrajectoryError
        ``image-flags`` without image flags, or a scheme that needs a cell without one.
    UnknownNameError
        No such scheme.
    """
    check_scheme(scheme)
    from atomflow.trajectory import _unwrap_kernels as kernels

    moved = np.empty((len(current.positions_A), 3))
    before, after = plain_positions(previous), plain_positions(current)
    kernels.differences(before, after, moved)
    if scheme == "none":
        return moved
    old, new = _cells_of(previous, current, scheme)
    known = known or scheme == "image-flags"
    if known and current.images is not None and previous.images is not None:
        kernels.add_images(moved, np.ascontiguousarray(current.images), new.cell_A, 1.0)
        kernels.add_images(moved, np.ascontiguousarray(previous.images), old.cell_A, -1.0)
        if (images := previous.images).any():
            before = before + images @ old.cell_A
    elif scheme == "image-flags":
        raise TrajectoryError("unwrapping by image flags needs ix, iy, iz in every frame; use --unwrap toroidal")
    if scheme == "image-flags":
        return moved
    change = cell_change(old, new)
    if change is not None and scheme == "fractional":
        kernels.take_strain(moved, before, old.inverse, change, False)
    elif change is not None:
        basis, inverse = old.reduced
        kernels.take_strain(moved, before, inverse, basis @ old.inverse @ change, True)
    if not known:
        _take_nearest(moved, new)
    return moved


def plain_positions(frame: Frame) -> NDArray[np.floating]:
    """Positions as compiled loops take them: contiguous, in single or double precision."""
    positions = frame.positions_A
    dtype = positions.dtype if positions.dtype in (np.float32, np.float64) else np.float64
    return np.ascontiguousarray(positions, dtype=dtype)


def _cells_of(previous: Frame, current: Frame, scheme: str) -> tuple[Lattice, Lattice]:
    if previous.cell_A is None or current.cell_A is None:
        index = previous.index if previous.cell_A is None else current.index
        raise TrajectoryError(
            f"frame {index} has no cell, which unwrapping by {scheme} needs; give cell_A, or use --unwrap none if the "
            "coordinates are unwrapped already"
        )
    new = lattice_of(current.cell_A, current.index)
    old = new if np.array_equal(previous.cell_A, current.cell_A) else lattice_of(previous.cell_A, previous.index)
    return old, new


def _take_nearest(vectors: NDArray[np.float64], lattice: Lattice) -> None:
    from atomflow.trajectory import _unwrap_kernels as kernels

    if lattice.lengths_A is not None:
        kernels.take_nearest_orthogonal(vectors, lattice.lengths_A, np.diag(lattice.inverse).copy())
    else:
        kernels.take_nearest(vectors, *lattice.reduced, *lattice.neighbours)


def choose_scheme(trajectory: Trajectory, sample: int = 16) -> tuple[Scheme, str]:
    """What ``auto`` means for this trajectory, and why.

    Parameters
    ----------
    trajectory : Trajectory
    sample : int
        Frames to look at, in consecutive pairs spread over the trajectory.

    Returns
    -------
    scheme : Scheme
    why : str
        One sentence, for people.

    Raises
    ------
    TrajectoryError
        Coordinates that look wrapped, without a cell to unwrap them with.
    """
    from atomflow.trajectory.survey import survey

    choice = survey(trajectory, sample=sample).choice
    return choice.scheme, choice.why
