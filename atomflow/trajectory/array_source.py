"""Frames from arrays: in memory, mapped from a .npy file, or from an .npz file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atomflow.errors import BadFileError, BadOptionError, TrajectoryError
from atomflow.model import Notice
from atomflow.trajectory.frames import Frame, Layout
from atomflow.trajectory.textfiles import UNPACKED_FLOOR, check_file, first_line

#: What a cell may be.
CELL_FORMS = "three vectors in rows, three edges, three edges and three angles, or one of these per frame"


def cell_matrix(cell: ArrayLike) -> NDArray[np.float64]:
    """Cell vectors in rows, from vectors, edges, or edges and angles (degrees).

    Raises
    ------
    BadOptionError
        Another shape, numbers that are not finite, or no volume.
    """
    try:
        given = np.asarray(cell, dtype=float)
    except (TypeError, ValueError) as error:
        raise BadOptionError(f"a cell is {CELL_FORMS}") from error
    if given.shape == (3,):
        matrix = np.diag(given)
    elif given.shape == (6,):
        matrix = _from_edges_and_angles(*given.tolist())
    elif given.shape == (3, 3):
        matrix = given
    else:
        raise BadOptionError(f"a cell is {CELL_FORMS}, not an array of shape {given.shape}")
    # Not by LAPACK, whose threads cost more than a frame.
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = matrix.tolist()
    volume = abs(ax * (by * cz - bz * cy) - ay * (bx * cz - bz * cx) + az * (bx * cy - by * cx))
    if not (math.isfinite(volume) and volume > 0):
        raise BadOptionError("the cell has no volume; give its edges in angstrom")
    return np.ascontiguousarray(matrix, dtype=np.float64)


def _from_edges_and_angles(
    a: float, b: float, c: float, alpha: float, beta: float, gamma: float
) -> NDArray[np.float64]:
    """Vectors with the first along x and the second in the xy plane; nan where the angles make no cell."""
    # Exact right angles, which are what most cells have.
    cosines = [0.0 if angle == 90 else math.cos(math.radians(angle)) for angle in (alpha, beta, gamma)]
    ca, cb, cg = cosines
    sg = math.sqrt(max(1 - cg * cg, 0.0))
    y = (ca - cb * cg) / sg if sg else math.nan
    square = 1 - cb * cb - y * y
    return np.array(
        [[a, 0, 0], [b * cg, b * sg, 0], [c * cb, c * y, c * math.sqrt(square) if square > 0 else math.nan]]
    )


def cells_of(cell: ArrayLike | None, n_frames: int) -> NDArray[np.float64] | None:
    """One (3, 3) cell, or (n_frames, 3, 3) when one is given per frame; three rows of three are one cell."""
    if cell is None:
        return None
    try:
        given = np.asarray(cell, dtype=float)
    except (TypeError, ValueError) as error:
        raise BadOptionError(f"a cell is {CELL_FORMS}") from error
    if given.shape in ((3,), (6,), (3, 3)):
        return cell_matrix(given)
    if given.ndim in (2, 3) and len(given) == n_frames:
        return np.array([cell_matrix(one) for one in given])
    raise BadOptionError(f"a cell is {CELL_FORMS}; got shape {given.shape} for {n_frames} frames")


class ArraySource:
    """Frames of an (n_frames, n_atoms, 3) array in angstrom; a memory map is read frame by frame.

    Parameters
    ----------
    positions_A : array
    cell_A : array, optional
        See :func:`cells_of`.
    name : str
        For messages.
    path : Path, optional
        The .npy file that the array is mapped from; a worker maps it again.
    times_ps : (n_frames,) array, optional
    """

    layout: Layout = "unknown"
    notices: tuple[Notice, ...] = ()

    def __init__(
        self,
        positions_A: Any,
        cell_A: ArrayLike | None = None,
        name: str = "array",
        path: Path | None = None,
        times_ps: ArrayLike | None = None,
    ) -> None:
        array = positions_A if isinstance(positions_A, np.ndarray) else np.asarray(positions_A)
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind not in "fiu":
            raise BadOptionError(
                f"{name}: coordinates are an array of numbers of shape (n_frames, n_atoms, 3), not {array.dtype} of "
                f"shape {array.shape}"
            )
        if not array.shape[0] or not array.shape[1]:
            raise TrajectoryError(f"{name}: no frames or no atoms in an array of shape {array.shape}")
        self.name = name
        self.n_frames, self.n_atoms = array.shape[:2]
        self._positions = array
        self._cells = cells_of(cell_A, self.n_frames)
        self._path = path
        self.file_times_ps = None if times_ps is None else np.asarray(times_ps, float).reshape(-1)
        if self.file_times_ps is not None and len(self.file_times_ps) != self.n_frames:
            raise BadOptionError(f"{name}: {len(self.file_times_ps)} times for {self.n_frames} frames")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | ({"_positions": None} if self._path else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._path:
            self._positions = _map(self._path)

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """See :class:`atomflow.trajectory.frames.FrameSource`; the arrays are views where that is possible."""
        for index in indices:
            rows = self._positions[index]
            taken = rows if atoms is None else rows[atoms]
            if taken.dtype.kind != "f" or taken.dtype.itemsize < 4 or not taken.dtype.isnative:
                taken = taken.astype(np.float64)
            cells = self._cells
            cell = cells if cells is None or cells.ndim == 2 else cells[index]
            time = None if self.file_times_ps is None else float(self.file_times_ps[index])
            yield Frame(index=int(index), positions_A=np.asarray(taken), cell_A=cell, time_ps=time)


def read_npy(path: Path, cell_A: ArrayLike | None = None) -> ArraySource:
    """Map a .npy file; object arrays are refused, since unpickling them runs whatever they hold."""
    return ArraySource(_map(check_file(path)), cell_A, name=str(path), path=path)


def _map(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is Python source, and its parser raises whatever it meets
        raise BadFileError(path, f"cannot be read as a numpy array ({first_line(error)})") from error


def read_npz(path: Path, cell_A: ArrayLike | None = None) -> tuple[ArraySource, list[str] | None]:
    """Arrays ``positions_A`` (or ``positions``), and perhaps ``cell_A``, ``elements`` and ``times_ps``, of an .npz file.

    Returns
    -------
    source, elements
    """
    found: dict[str, NDArray[Any]] = {}
    try:
        with np.load(check_file(path), allow_pickle=False) as archive:
            _check_members(path, archive)
            for key in archive.files:
                if key.removesuffix("_A").removesuffix("_ps") in ("positions", "cell", "elements", "times"):
                    found[key.removesuffix("_A").removesuffix("_ps")] = archive[key]
    except BadFileError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise whatever they meet
        raise BadFileError(path, f"cannot be read as numpy arrays ({first_line(error)})") from error
    if "positions" not in found:
        raise BadFileError(path, "has no array positions_A of shape (n_frames, n_atoms, 3)")
    cell = found.get("cell") if cell_A is None else cell_A
    source = ArraySource(found["positions"], cell, name=str(path), times_ps=found.get("times"))
    elements = found.get("elements")
    if elements is not None and len(elements) != source.n_atoms:
        raise BadFileError(path, f"has {len(elements)} elements for {source.n_atoms} atoms")
    return source, None if elements is None else [str(symbol) for symbol in elements.tolist()]


def _check_members(path: Path, archive: Any) -> None:
    """Refuse an archive that unpacks to far more than it weighs: coordinates pack at most tenfold."""
    size = sum(member.file_size for member in archive.zip.infolist())
    if size > max(UNPACKED_FLOOR, 50 * path.stat().st_size):
        raise BadFileError(path, f"unpacks to {size >> 20} MB, which no honest file of its size does")


class WithCell:
    """Another source's frames in a cell that the user gives."""

    def __init__(self, source: Any, cell_A: ArrayLike) -> None:
        self._source = source
        self._cells = cells_of(cell_A, source.n_frames)
        self.name: str = source.name
        self.n_atoms: int = source.n_atoms
        self.n_frames: int = source.n_frames
        self.layout: Layout = source.layout
        self.notices: tuple[Notice, ...] = source.notices

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """See :class:`atomflow.trajectory.frames.FrameSource`."""
        assert self._cells is not None
        for frame in self._source.frames(indices, atoms):
            cell = self._cells if self._cells.ndim == 2 else self._cells[frame.index]
            yield Frame(frame.index, frame.positions_A, cell, frame.time_ps, frame.step, frame.images)
