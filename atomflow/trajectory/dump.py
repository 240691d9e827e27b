"""LAMMPS text dumps (``dump atom``, ``dump custom``), plain or compressed, read as fast as their digits can be.

The format: https://docs.lammps.org/dump.html and https://docs.lammps.org/dump_modify.html.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadFileError, BadOptionError, TrajectoryError
from atomflow.model import Notice
from atomflow.trajectory.dump_columns import UNITS, plan_of
from atomflow.trajectory.dump_header import LONGEST_HEADER, BadHeader, read_header
from atomflow.trajectory.dump_index import build_index
from atomflow.trajectory.dump_text import Text, open_text
from atomflow.trajectory.frames import Frame, Layout

if TYPE_CHECKING:
    from types import ModuleType

#: Line feeds behind the text: digits are looked at eight at a time.
_BEHIND = 64
#: Columns of the first frame that describe atoms, and what they hold.
_DESCRIBE = {"id": int, "mol": int, "type": str, "element": str, "typelabel": str, "mass": float, "q": float}
_DTYPES = {int: np.int64, float: np.float64, str: np.str_}


class LammpsDump:
    """Frames of a LAMMPS text dump; a :class:`~atomflow.trajectory.frames.FrameSource`.

    Rows are in the order of ascending atom ids, whatever their order in the file. Compressed files (gzip, zstd, bzip2, xz)
    are read forwards; going back begins anew.

    Parameters
    ----------
    path : path
    length_A : float, optional
        Length unit of the file in angstrom. Default: that of ``units``, otherwise 1.
    units : str, optional
        LAMMPS' unit style (``"real"``, ``"metal"``, ``"si"``, ``"electron"``, ...), for lengths and for ``ITEM: TIME``.
        Default: ``ITEM: UNITS`` of the file.

    Attributes
    ----------
    name, n_atoms, n_frames, layout, notices
        As in ``FrameSource``. ``layout``: ``"images"`` for ``x`` or ``xs`` with ``ix iy iz``, ``"unwrapped"`` for ``xu`` or
        ``xsu`` or where no direction is periodic, otherwise ``"wrapped"``.
    steps : (n_frames,) int64 array
        ``ITEM: TIMESTEP`` of every frame.
    times_ps : (n_frames,) float64 array or None
        ``ITEM: TIME``, where it is in the file and the unit style is known.
    cells_A : (n_frames, 3, 3) float64 array or None
        Cell vectors in rows; None without a box.
    periodic : tuple of 3 bools
        Boundary flags of the first frame; all True where the file does not have them.
    units : str or None
        Unit style that was told or is in the file.
    columns : tuple of str
    ids : (n_atoms,) int64 array or None
        Atom ids, ascending; None if there is no such column.

    Raises
    ------
    BadFileError
        No text dump, no whole frame, no coordinates, or a first frame that cannot be read.
    TrajectoryError
        Number of atoms or columns change between frames.
    BadOptionError
        Unknown unit style, or a length that is not positive.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, length_A: float | None = None, units: str | None = None
    ) -> None:
        self._path = Path(path)
        self.name = str(path)
        if units is not None and units not in UNITS and units != "lj":
            raise BadOptionError(f"unknown unit style {units!r}: LAMMPS has {', '.join(UNITS)}, lj")
        text = open_text(self._path)
        try:
            self._stamp = _stamp_of(self._path)
            self._index = build_index(self._path, text)
            self._plan = plan_of(self._path, self._index)
            notices = list(self._index.notices)
            self.units = units or self._index.units
            known = UNITS.get(self.units or "")
            self._length_A = length_A if length_A is not None else known[0] if known else 1.0
            if not (np.isfinite(self._length_A) and self._length_A > 0):
                raise BadOptionError(f"length_A is {length_A}: it must be positive")
            if self.units == "lj" and length_A is None:
                notices.append(Notice("lj-units", f"{self._path.name} is in lj units: one sigma is taken as 1 A"))
            self._time_ps = known[1] if known else None
            if self._time_ps is None and np.isfinite(self._index.times).all():
                notices.append(
                    Notice("time-units", f"{self._path.name} has times, but not their unit: tell the unit style")
                )
            self.ids = self._read_ids(text)
        finally:
            text.close()
        if self.ids is None:
            notices.append(
                Notice(
                    "no-ids", f"{self._path.name} has no column id: the order of its lines is taken for that of atoms"
                )
            )
        self.layout: Layout = self._plan.layout
        self.notices: tuple[Notice, ...] = tuple(notices)

    @property
    def n_atoms(self) -> int:
        """Atoms in every frame."""
        return self._index.n_atoms

    @property
    def n_frames(self) -> int:
        """Whole frames."""
        return len(self._index)

    @property
    def steps(self) -> NDArray[np.int64]:
        """``ITEM: TIMESTEP`` of every frame; (n_frames,)."""
        return self._index.steps

    @property
    def times_ps(self) -> NDArray[np.float64] | None:
        """``ITEM: TIME`` of every frame, if it is there and its unit is known; (n_frames,)."""
        times = self._index.times
        return None if self._time_ps is None or not np.isfinite(times).all() else times * self._time_ps

    @property
    def cells_A(self) -> NDArray[np.float64] | None:
        """Cell vectors of every frame in rows; (n_frames, 3, 3), or None if a frame has no box."""
        cells = self._index.cells * self._length_A
        return cells if cells.any(axis=(1, 2)).all() else None

    @property
    def periodic(self) -> tuple[bool, bool, bool]:
        """Boundary flags of the first frame."""
        return self._index.periodic

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self._index.columns

    @cached_property
    def first_columns(self) -> dict[str, NDArray[Any]]:
        """What the first frame says of the atoms, in the order of the rows.

        Those that are there of ``id``, ``mol`` (int64), ``type``, ``element``, ``typelabel`` (str), ``mass`` and ``q``
        (float64, in the units of the file).

        Raises
        ------
        BadFileError
            A value that is not what its column holds.
        """
        places = {name: self.columns.index(name) for name in _DESCRIBE if name in self.columns}
        text = open_text(self._path)
        try:
            buffer = self._buffer()
            size = self._fetch(text, 0, buffer)
        finally:
            text.close()
        lines = buffer[:size].tobytes().decode("latin-1").split("\n")[: self.n_atoms]
        order = np.arange(self.n_atoms)
        found: dict[str, NDArray[Any]] = {}
        try:
            words = [line.split() for line in lines]
            for name, place in places.items():
                kind: Any = _DESCRIBE[name]
                found[name] = np.array([kind(line[place]) for line in words], dtype=_DTYPES[kind])
        except (ValueError, IndexError, OverflowError) as error:
            raise BadFileError(self._path, f"frame 0: column {name}: {error}") from error
        if "id" in found:
            order = np.argsort(found["id"], kind="stable")
        return {name: values[order] for name, values in found.items()}

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """Frames of these numbers, in this order; only these atoms' rows (in this order) when given.

        ``positions_A`` is float64 and new for every frame; a number that is not finite is NaN.

        Raises
        ------
        BadFileError
            A frame that cannot be read, or the file has changed.
        TrajectoryError
            A frame or an atom that is not there.
        """
        wanted = [int(index) for index in indices]
        for index in wanted:
            if not 0 <= index < self.n_frames:
                raise TrajectoryError(f"{self.name}: no frame {index}, it has {self.n_frames}")
        rows = np.arange(self.n_atoms) if atoms is None else np.asarray(atoms, dtype=np.int64).reshape(-1)
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.n_atoms):
            raise TrajectoryError(
                f"{self.name}: no atom {rows.min() if rows.min() < 0 else rows.max()}, from 0 it has {self.n_atoms}"
            )
        return self._frames(wanted, rows, atoms is None)

    def _frames(self, indices: list[int], rows: NDArray[np.int64], everything: bool) -> Iterator[Frame]:
        text = open_text(self._path)
        try:
            self._check_unchanged(text)
            kernels = _kernels()
            index, plan, n = self._index, self._plan, self.n_atoms
            table, lowest, ids = self._lookup
            shifts, times = self._shifts, self.times_ps
            flagged = plan.layout == "images"
            chosen = np.zeros(0 if everything else n, dtype=np.bool_)
            if not everything:
                chosen[rows] = True
            line_of, values = np.empty(n, dtype=np.int32), np.empty((n, 3))
            flags, asked = np.empty((n if flagged else 0, 3), dtype=np.int32), np.empty((3 * n, 3), dtype=np.int64)
            buffer = self._buffer()
            for frame in indices:
                size = self._fetch(text, frame, buffer)
                ended = kernels.read_lines(
                    buffer, 0, size, plan.columns, table, lowest, ids, chosen, line_of, values, flags, asked
                )
                if ended[0] == kernels.DONE and ended[3]:
                    ended = kernels.read_numbers(buffer, asked, ended[3], values)
                if ended[0] != kernels.DONE:
                    raise BadFileError(self._path, self._complaint(kernels, frame, buffer, *ended[:3]))
                for line, component, at in asked[: ended[3]].tolist():
                    value = float(buffer[at : at + int(np.argmax(buffer[at:] <= 32))].tobytes())
                    values[line, component] = value if np.isfinite(value) else np.nan
                cell = index.cells[frame] * self._length_A
                positions = np.empty((len(rows), 3))
                images = np.empty((len(rows) if flagged else 0, 3), dtype=np.int32)
                matrix = cell if plan.scaled else np.eye(3) * self._length_A
                kernels.arrange(line_of, rows, values, flags, shifts[frame], matrix, plan.scaled, positions, images)
                yield Frame(
                    index=frame,
                    positions_A=positions,
                    cell_A=cell if cell.any() else None,
                    time_ps=None if times is None else float(times[frame]),
                    step=int(index.steps[frame]),
                    images=images if flagged else None,
                )
        finally:
            text.close()

    def _read_ids(self, text: Text) -> NDArray[np.int64] | None:
        """Ids of the first frame, ascending."""
        if self._plan.id_column < 0:
            return None
        kernels = _kernels()
        buffer = self._buffer(first=True)
        size = self._fetch(text, 0, buffer)
        ids = np.empty(self.n_atoms, dtype=np.int64)
        ended = kernels.read_ids(buffer, 0, size, self._plan.id_column, ids)
        if ended[0] != kernels.DONE:
            raise BadFileError(self._path, self._complaint(kernels, 0, buffer, *ended))
        ids.sort()
        if len(again := ids[1:][ids[1:] == ids[:-1]]):
            raise BadFileError(self._path, f"frame 0: atom id {again[0]} is there more than once")
        return ids

    @cached_property
    def _lookup(self) -> tuple[NDArray[np.int32], int, NDArray[np.int64]]:
        """Row by id, the lowest id, ids; the table is empty where ids are so sparse that searching is better."""
        if self.ids is None:
            return np.empty(0, dtype=np.int32), 0, np.empty(0, dtype=np.int64)
        lowest, reach = int(self.ids[0]), int(self.ids[-1]) - int(self.ids[0]) + 1
        table = np.empty(0, dtype=np.int32)
        if reach <= 8 * self.n_atoms + 1024:
            table = np.full(reach, -1, dtype=np.int32)
            table[self.ids - lowest] = np.arange(self.n_atoms)
        return table, lowest, self.ids

    @cached_property
    def _shifts(self) -> NDArray[np.float64]:
        """What is taken from the positions of every frame; (n_frames, 3), for scaled ones in angstrom.

        That is the origin of the box. Along a direction that is not periodic it would follow the outermost atom: there
        it is the first frame's throughout.
        """
        origins = self._index.origins.copy()
        free = [k for k in range(3) if not self.periodic[k]]
        if self._plan.scaled:
            shifts = np.zeros_like(origins)
            shifts[:, free] = (origins[0, free] - origins[:, free]) * self._length_A
            return shifts
        origins[:, free] = origins[0, free]
        return origins

    def _buffer(self, first: bool = False) -> NDArray[np.uint8]:
        """Room for the text of any frame (or the first), and what must stand behind it."""
        return np.empty(int(self._index.sizes[0] if first else self._index.sizes.max()) + _BEHIND, dtype=np.uint8)

    def _fetch(self, text: Text, frame: int, buffer: NDArray[np.uint8]) -> int:
        """Text of a frame into the buffer, line feeds behind it; its size."""
        size = int(self._index.sizes[frame])
        got = text.read_into(int(self._index.starts[frame]), buffer[:size].data)
        if got < size:
            raise BadFileError(
                self._path, f"frame {frame}: the file has become shorter since it was opened; open it again"
            )
        buffer[size : size + _BEHIND] = 10
        return size

    def _complaint(
        self, kernels: ModuleType, frame: int, buffer: NDArray[np.uint8], how: int, line: int, at: int
    ) -> str:
        """Why the kernels could not read a frame."""
        word = (buffer[at : at + 40].tobytes().split() or [b""])[0].decode("latin-1")
        place = f"frame {frame} (step {self._index.steps[frame]}), line {line + 1} of its atoms"
        return {
            kernels.BAD_NUMBER: f"{place}: {word!r} where a number should be",
            kernels.SHORT_LINE: f"{place}: fewer columns than the header names",
            kernels.FEW_LINES: f"{place}: missing, the header announces {self.n_atoms}",
            kernels.UNKNOWN_ID: f"{place}: atom id {word} is not in the first frame; dump a group that does not change",
            kernels.REPEATED_ID: f"{place}: atom id {word} is there more than once",
            kernels.LONG_TEXT: f"frame {frame}: {word!r} behind the last of the {self.n_atoms} atoms that the header announces",
        }[how]

    def _check_unchanged(self, text: Text) -> None:
        """A file may have grown since (a running simulation), but what was in it must be there still."""
        now = _stamp_of(self._path)
        if now == self._stamp:
            return
        same = text.random and now[0] >= self._stamp[0]
        if same:
            head = memoryview(bytearray(LONGEST_HEADER))
            got = text.read_into(int(self._index.heads[-1]), head)
            try:
                header = read_header(bytes(head[:got]), 0)
            except BadHeader:
                header = None
            index = self._index
            same = header is not None and (header.step, header.n_atoms, header.columns) == (
                int(index.steps[-1]),
                index.n_atoms,
                index.columns,
            )
        if not same:
            raise BadFileError(self._path, "the file has changed since it was opened; open it again")

    def __getstate__(self) -> dict[str, Any]:
        """The index travels; a worker checks that the file is still the same and opens it again."""
        return {
            name: value for name, value in self.__dict__.items() if name not in ("_lookup", "_shifts", "first_columns")
        }

    def __repr__(self) -> str:
        return f"LammpsDump({self.name!r}: {self.n_frames} frames of {self.n_atoms} atoms, {self.layout})"


def _kernels() -> ModuleType:
    # Importing numba takes half a second: only who reads atoms pays for it.
    from atomflow.trajectory import _dump_kernels

    return _dump_kernels


def _stamp_of(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise BadFileError(path, error.strerror or str(error)) from error
    return status.st_size, status.st_mtime_ns
