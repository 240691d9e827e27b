"""Dcd files of CHARMM, NAMD, LAMMPS, OpenMM and others.

A dcd says neither which program wrote it nor in which units its time step is; the title and the numbers tell. Its
frames lie at known places, so that numpy reads them five times faster than MDAnalysis' reader.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadFileError, BadOptionError
from atomflow.model import Notice
from atomflow.trajectory.array_source import cell_matrix
from atomflow.trajectory.frames import Frame, Layout
from atomflow.trajectory.lammps_units import LammpsUnits
from atomflow.trajectory.textfiles import check_file

#: One AKMA time unit, sqrt(u A^2 / (kcal/mol)), in which CHARMM, NAMD and OpenMM count (ps).
AKMA_PS = 0.04888821
#: Titles of writers that do not know the time and put 1.
_TIMELESS = ("CREATED BY DCD PLUGIN", "CREATED BY VMD", "CREATED BY CATDCD")


@dataclass(frozen=True)
class DcdHeader:
    """What the header says.

    Attributes
    ----------
    n_atoms, n_frames : int
        Frames that are whole.
    promised : int
        Frames that the header counts; 0 when the writer did not fill it in.
    first_step, stride : int
        Number of the MD step of the first frame, and steps between frames.
    delta : float
        The time step in the writer's unit; 0 when it is not known.
    title : str
    rest : int
        Bytes behind the last whole frame.
    begin, has_cell, order, shape_matrix
        Byte of the first frame; whether frames have cells; byte order; whether cells are symmetric matrices (CHARMM).
    """

    n_atoms: int
    n_frames: int
    promised: int
    first_step: int
    stride: int
    delta: float
    title: str
    rest: int
    begin: int
    has_cell: bool
    order: str
    shape_matrix: bool

    @property
    def frame_bytes(self) -> int:
        """Length of one frame."""
        return 3 * (4 * self.n_atoms + 8) + (56 if self.has_cell else 0)

    @property
    def from_lammps(self) -> bool:
        """LAMMPS counts in its own units, all others in AKMA's."""
        return "LAMMPS" in self.title.upper()

    @property
    def steps(self) -> NDArray[np.int64] | None:
        """(n_frames,) numbers of the MD steps; None when they do not advance."""
        return self.first_step + self.stride * np.arange(self.n_frames) if self.stride > 0 else None

    def times_ps(self, units: LammpsUnits | None = None) -> NDArray[np.floating] | None:
        """(n_frames,) times from the header; None when it does not say, or in units that are not known."""
        if any(text in self.title.upper() for text in _TIMELESS) or self.stride <= 0 or not self.delta > 0:
            return None
        if self.from_lammps and units is None:
            return None
        unit = units.time_ps if self.from_lammps and units is not None else AKMA_PS
        times = (self.first_step + self.stride * np.arange(self.n_frames)) * (self.delta * unit)
        return times if np.isfinite(times).all() else None


def read_dcd_header(path: Path) -> DcdHeader:
    """Read and check the header.

    Raises
    ------
    BadFileError
        Not a dcd, one without a whole frame, with fixed atoms or a fourth dimension, or with lengths that do not fit.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        raw = stream.read(92)
        order = next((o for o in "<>" if raw[:4] == struct.pack(o + "i", 84)), "")
        if not order or len(raw) < 92 or raw[4:8] != b"CORD":
            raise BadFileError(path, "is not a dcd file with 4-byte record marks")
        numbers = struct.unpack(order + "20i", raw[8:88])
        is_charmm = numbers[19] != 0
        (delta,) = struct.unpack(order + ("f" if is_charmm else "d"), raw[44 : 48 if is_charmm else 52])
        has_cell = is_charmm and numbers[10] != 0
        if struct.unpack(order + "i", raw[88:92])[0] != 84:
            raise BadFileError(path, "the header of the dcd file is damaged")
        if numbers[8]:
            raise BadFileError(path, f"{numbers[8]} fixed atoms are stored once only; write all atoms in every frame")
        if is_charmm and numbers[11]:
            raise BadFileError(path, "has a fourth dimension; write the three of space only")
        title = _title(path, stream.read(8), stream, order)
        tail = stream.read(12)
        begin = stream.tell()
    if len(tail) < 12:
        raise BadFileError(path, "the file ends within the header")
    before, n_atoms, after = struct.unpack(order + "3i", tail)
    if before != 4 or after != 4 or n_atoms < 1:
        raise BadFileError(path, "the header of the dcd file is damaged")
    header = DcdHeader(
        n_atoms=n_atoms,
        n_frames=0,
        promised=max(0, numbers[0]),
        first_step=numbers[1],
        stride=numbers[2],
        delta=float(delta) if np.isfinite(delta) else 0.0,
        title=title,
        rest=0,
        begin=begin,
        has_cell=has_cell,
        order=order,
        # The others call themselves version 24.
        shape_matrix=numbers[19] > 24,
    )
    n_frames, rest = divmod(size - begin, header.frame_bytes)
    if n_frames < 1:
        raise BadFileError(path, f"the file ends within its first frame of {n_atoms} atoms")
    return replace(header, n_frames=n_frames, rest=rest)


def _title(path: Path, head: bytes, stream: IO[bytes], order: str) -> str:
    """The lines of 80 letters behind the numbers."""
    length, lines = struct.unpack(order + "2i", head) if len(head) == 8 else (0, -1)
    # Some writers put a length that is not that of their lines; the count of lines is right.
    if (length - 4) % 80 or not 0 <= lines <= 1000:
        raise BadFileError(path, "the title of the dcd file is damaged")
    text = stream.read(80 * lines + 4)
    if len(text) < 80 * lines + 4 or struct.unpack(order + "i", text[-4:])[0] != length:
        raise BadFileError(path, "the title of the dcd file is damaged")
    return "".join(letter if letter.isprintable() else " " for letter in text[:-4].decode("ascii", "ignore"))


class DcdSource:
    """Frames of a dcd file, as float32 in angstrom.

    Parameters
    ----------
    path : path
    units : LammpsUnits, optional
        Of a file that LAMMPS wrote.

    Attributes
    ----------
    file_times_ps : (n_frames,) float64 array or None
        See :meth:`DcdHeader.times_ps`.
    steps : (n_frames,) int array or None
    """

    layout: Layout = "unknown"

    def __init__(self, path: str | Path, units: LammpsUnits | None = None) -> None:
        self.path = check_file(path)
        self.name = str(path)
        self.header = header = read_dcd_header(self.path)
        self.n_atoms, self.n_frames = header.n_atoms, header.n_frames
        self.file_times_ps, self.steps = header.times_ps(units), header.steps
        self._length_A = units.length_A if units is not None and header.from_lammps else 1.0
        self.notices: tuple[Notice, ...] = ()
        if header.rest or header.promised > header.n_frames:
            said = f"; its header promises {header.promised}" if header.promised > header.n_frames else ""
            text = f"the file ends after {header.n_frames} whole frames{said}; these are used"
            self.notices = (Notice("truncated", text),)

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """See :class:`atomflow.trajectory.frames.FrameSource`."""
        # One buffer for all frames: fresh memory of this size costs as much as reading.
        raw = np.empty(1, self._record)
        last: tuple[bytes, NDArray[np.float64] | None] = (b"", None)
        with self.path.open("rb") as stream:
            for index in indices:
                self._fill(raw, stream, int(index))
                positions = self._positions(raw, atoms)[0]
                if self.header.has_cell and last[0] != (numbers := raw["cell"].tobytes()):
                    last = numbers, self._cell_of(raw["cell"][0])
                time = None if self.file_times_ps is None else float(self.file_times_ps[index])
                step = None if self.steps is None else int(self.steps[index])
                yield Frame(index=int(index), positions_A=positions, cell_A=last[1], time_ps=time, step=step)

    def block(
        self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float64] | None]]:
        """Positions (k, n, 3) and cells of several frames, read together where they follow each other."""
        raw = np.empty(len(indices), self._record)
        with self.path.open("rb") as stream:
            if list(indices) == list(range(indices[0], indices[0] + len(indices))):
                self._fill(raw, stream, int(indices[0]))
            else:
                for place, index in enumerate(indices):
                    self._fill(raw[place : place + 1], stream, int(index))
        cells: list[NDArray[np.float64] | None] = [None] * len(indices)
        if self.header.has_cell:
            for place, numbers in enumerate(raw["cell"]):
                same = place > 0 and numbers.tobytes() == raw["cell"][place - 1].tobytes()
                cells[place] = cells[place - 1] if same else self._cell_of(numbers)
        return self._positions(raw, atoms), cells

    @cached_property
    def _record(self) -> np.dtype[np.void]:
        """Layout of one frame: Fortran records, each between two marks of its length."""
        order, count = self.header.order, self.n_atoms
        mark = f"{order}i4"
        fields: list[tuple[Any, ...]] = []
        if self.header.has_cell:
            fields += [("before_cell", mark), ("cell", f"{order}f8", (6,)), ("after_cell", mark)]
        for axis in "xyz":
            fields += [(f"before_{axis}", mark), (axis, f"{order}f4", (count,)), (f"after_{axis}", mark)]
        return np.dtype(fields)

    def _fill(self, raw: NDArray[np.void], stream: IO[bytes], first: int) -> None:
        at = self.header.begin + first * self._record.itemsize
        if os.preadv(stream.fileno(), [raw.view(np.uint8).data], at) < raw.nbytes:
            raise BadFileError(self.path, f"frame {first}: the file has become shorter since it was opened")
        for name in raw.dtype.names or ():
            edge, _, what = name.partition("_")
            length = 48 if what == "cell" else 4 * self.n_atoms
            if edge in ("before", "after") and (wrong := np.flatnonzero(raw[name] != length)).size:
                raise BadFileError(
                    self.path, f"frame {first + int(wrong[0])} is damaged: the lengths of its records do not fit"
                )

    def _positions(self, raw: NDArray[np.void], atoms: NDArray[np.intp] | None) -> NDArray[np.float32]:
        positions = np.empty((len(raw), self.n_atoms if atoms is None else len(atoms), 3), np.float32)
        for axis, name in enumerate("xyz"):
            positions[:, :, axis] = raw[name] if atoms is None else raw[name][:, atoms]
        if self._length_A != 1.0:
            # Damaged numbers become infinite, which the preflight reports.
            with np.errstate(all="ignore"):
                positions *= np.float32(self._length_A)
        return positions

    def _cell_of(self, numbers: NDArray[np.float64]) -> NDArray[np.float64] | None:
        with np.errstate(all="ignore"):
            cell = _cell(numbers, self.header.shape_matrix)
            return cell if cell is None or self._length_A == 1.0 else cell * self._length_A


def _cell(numbers: NDArray[np.float64], shape_matrix: bool) -> NDArray[np.float64] | None:
    """Cell vectors in rows from the six numbers of a frame; None when they are zeros or no cell.

    NAMD, LAMMPS and OpenMM write A, cos gamma, B, cos beta, cos alpha, C; older NAMD and X-PLOR the angles in degrees;
    CHARMM the lower half of a symmetric matrix, whose rows are the cell vectors as the coordinates have them
    (https://www.ks.uiuc.edu/Research/vmd/plugins/doxygen/dcdplugin_8c-source.html).
    """
    if not np.isfinite(numbers).all() or not numbers[[0, 2, 5]].all():
        return None
    a, gamma, b, beta, alpha, c = numbers.tolist()
    angles = np.array([alpha, beta, gamma])
    are_cosines = bool((np.abs(angles) <= 1).all()) and not (shape_matrix and angles.any())
    if are_cosines:
        angles = 90.0 - np.degrees(np.arcsin(angles))
    elif shape_matrix or (numbers < 0).any() or (angles > 180).any():
        matrix = np.array([[a, gamma, beta], [gamma, b, alpha], [beta, alpha, c]])
        return matrix if abs(np.linalg.det(matrix)) > 0 else None
    try:
        return cell_matrix(np.concatenate([[a, b, c], angles]))
    except BadOptionError:
        return None
