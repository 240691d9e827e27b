"""Frames through MDAnalysis' readers: PDB and the many formats that need no reader of our own; and Universes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadFileError, TrajectoryError
from atomflow.model import Notice
from atomflow.trajectory.array_source import ArraySource
from atomflow.trajectory.frames import Frame, FrameSource, Layout
from atomflow.trajectory.lammps_units import LammpsUnits
from atomflow.trajectory.mda_topology import quiet, reason_of
from atomflow.trajectory.textfiles import check_file

#: Formats with a time in every frame.
_TIMED = ("TRZ", "TRC")


class MDASource:
    """Frames of a file through one of MDAnalysis' readers; a worker opens the file again.

    Parameters
    ----------
    path : path
    kind : str
        MDAnalysis' name of the format: ``"PDB"``, ``"TRZ"``, ``"TRJ"``.
    n_atoms : int, optional
        For formats that do not say.

    Attributes
    ----------
    file_times_ps : (n_frames,) float64 array or None
        Only what the file itself says: MDAnalysis puts frames 1 ps apart when it does not know.
    """

    layout: Layout = "unknown"
    notices: tuple[Notice, ...] = ()

    def __init__(self, path: str | Path, kind: str, n_atoms: int | None = None) -> None:
        self.path = check_file(path)
        self.name = str(path)
        self._kind, self._given_atoms = kind, n_atoms
        self._lock = threading.Lock()
        self._reader: Any = self._opened()
        self.n_atoms = int(self._reader.n_atoms)
        self.n_frames = int(self._reader.n_frames)
        if self.n_frames < 1 or self.n_atoms < 1:
            raise BadFileError(self.path, f"{self.n_frames} frames of {self.n_atoms} atoms; nothing to analyse")
        self.file_times_ps: NDArray[np.float64] | None = None
        if kind in _TIMED and self.n_frames > 1:
            self.file_times_ps = self._read_times()

    def _read_times(self) -> NDArray[np.float64] | None:
        """Times of all frames; None when they do not grow."""
        try:
            with quiet():
                times = np.array([float(moment.data["time"]) for moment in self._reader])
        except Exception as error:
            raise BadFileError(self.path, f"cannot be read as {self._kind} ({reason_of(error)})") from error
        return times if np.isfinite(times).all() and (np.diff(times) > 0).all() else None

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"} | {"_reader": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _opened(self) -> Any:
        from MDAnalysis.coordinates.core import reader

        said = {"n_atoms": self._given_atoms} if self._given_atoms else {}
        try:
            with quiet():
                return reader(str(self.path), format=self._kind, **said)
        except Exception as error:  # readers of foreign formats raise whatever they meet
            raise BadFileError(self.path, f"cannot be read as {self._kind} ({reason_of(error)})") from error

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """See :class:`atomflow.trajectory.frames.FrameSource`."""
        for index in indices:
            # One reader has one place in the file; threads may share this source.
            with self._lock:
                if self._reader is None:
                    self._reader = self._opened()
                frame = _frame_of(self._reader, index, atoms, self.name, self.n_atoms)
            time = None if self.file_times_ps is None else float(self.file_times_ps[index])
            yield replace(frame, time_ps=time)


def _frame_of(reader: Any, index: int, atoms: NDArray[np.intp] | None, name: str, n_atoms: int) -> Frame:
    try:
        with quiet():
            moment = reader[int(index)]
            places = moment.positions
            if len(places) != n_atoms:
                raise BadFileError(name, f"frame {index} has {len(places)} atoms, the first has {n_atoms}")
            # The reader uses its array again for the next frame.
            positions = np.array(places if atoms is None else places[atoms])
            matrix = moment.triclinic_dimensions
    except BadFileError:
        raise
    except Exception as error:
        raise BadFileError(name, f"frame {index} cannot be read ({reason_of(error)})") from error
    cell = None if matrix is None else np.asarray(matrix, np.float64)
    if cell is not None and not (np.isfinite(cell).all() and abs(np.linalg.det(cell)) > 0):
        cell = None
    return Frame(index=int(index), positions_A=positions, cell_A=cell)


class ReaderSource:
    """Frames of the reader in a Universe that was handed over, with its transformations; the Universe's own frame stays.

    A worker opens the reader's files again, with the same arguments and transformations. What is in memory (arrays,
    streams, a single frame that may have been changed by hand) travels as arrays.
    """

    layout: Layout = "unknown"
    notices: tuple[Notice, ...] = ()

    def __init__(self, reader: Any) -> None:
        self.name = str(getattr(reader, "filename", None) or "MDAnalysis Universe")
        self.n_atoms, self.n_frames = int(reader.n_atoms), int(reader.n_frames)
        self.file_times_ps, self.steps = times_of_reader(reader)
        self._reader = reader
        self._again: _Again | ArraySource | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        again = self._again or _again(self._reader) or self._in_memory()
        return {**self.__dict__, "_reader": None, "_lock": None, "_again": again}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _in_memory(self) -> ArraySource:
        """All frames as they are now."""
        frames = list(self.frames(range(self.n_frames)))
        cells = [np.zeros((3, 3)) if frame.cell_A is None else frame.cell_A for frame in frames]
        positions = np.stack([frame.positions_A for frame in frames])
        return ArraySource(positions, np.stack(cells) if np.any(cells) else None, name=self.name)

    def _opened_again(self) -> Any:
        assert isinstance(self._again, _Again)
        reader = self._again.open(self.name)
        if (reader.n_atoms, reader.n_frames) != (self.n_atoms, self.n_frames):
            raise BadFileError(self.name, "is another file than when the Universe was made; make the Universe again")
        return reader

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """See :class:`atomflow.trajectory.frames.FrameSource`."""
        for index in indices:
            with self._lock:
                if isinstance(self._again, ArraySource):
                    frame = next(self._again.frames([index], atoms))
                    frame = replace(
                        frame, cell_A=None if frame.cell_A is None or not frame.cell_A.any() else frame.cell_A
                    )
                else:
                    frame = self._from_reader(index, atoms)
            time = None if self.file_times_ps is None else float(self.file_times_ps[index])
            step = None if self.steps is None else int(self.steps[index])
            yield replace(frame, time_ps=time, step=step)

    def _from_reader(self, index: int, atoms: NDArray[np.intp] | None) -> Frame:
        if self._reader is None:
            self._reader = self._opened_again()
        before = self._reader.ts.frame
        frame = _frame_of(self._reader, index, atoms, self.name, self.n_atoms)
        if before != index:
            with quiet():
                self._reader[before]
        return frame


@dataclass(frozen=True)
class _Again:
    """What it takes to open a reader of MDAnalysis again: its arguments and its transformations."""

    kind: type
    arguments: dict[str, Any]
    transformations: tuple[Any, ...]

    def open(self, name: str) -> Any:
        try:
            with quiet():
                reader = self.kind(**self.arguments)
                if self.transformations:
                    reader.add_transformations(*self.transformations)
        except Exception as error:  # readers of foreign formats raise whatever they meet
            raise BadFileError(name, f"cannot be opened again by a worker ({reason_of(error)})") from error
        return reader


def _again(reader: Any) -> _Again | None:
    """How to open this reader again; None where its frames are in memory."""
    arguments = dict(getattr(reader, "_kwargs", {}))
    named = arguments.get("filename", arguments.get("filenames"))
    files = named if isinstance(named, (list, tuple)) else [named]
    # A chain may name a file with its format.
    paths = [one[0] if isinstance(one, tuple) else one for one in files]
    stored = bool(paths) and all(isinstance(path, (str, Path)) and Path(path).is_file() for path in paths)
    if not stored or reader.n_frames < 2:
        return None
    return _Again(type(reader), arguments, tuple(reader.transformations))


class Restricted:
    """Another source's frames, of some of its atoms only."""

    def __init__(self, source: FrameSource, atoms: NDArray[np.intp]) -> None:
        self._source = source
        self._atoms = np.asarray(atoms, np.intp)
        self.name: str = source.name
        self.n_atoms: int = len(self._atoms)
        self.n_frames: int = source.n_frames
        self.layout: Layout = source.layout
        self.notices: tuple[Notice, ...] = source.notices
        self.file_times_ps: NDArray[np.floating] | None = getattr(source, "file_times_ps", None)
        self.steps: NDArray[np.int64] | None = getattr(source, "steps", None)

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """See :class:`atomflow.trajectory.frames.FrameSource`."""
        return self._source.frames(indices, self._atoms if atoms is None else self._atoms[atoms])


def source_of_universe(group: Any, units: LammpsUnits | None = None) -> FrameSource:
    """Frames of a Universe or AtomGroup: through our own reader of its file where there is one, else through its reader.

    Raises
    ------
    TrajectoryError
        A Universe without coordinates, or an AtomGroup that is empty or names an atom twice.
    """
    universe, atoms = group.universe, group.atoms
    if not len(atoms) or not atoms.isunique:
        raise TrajectoryError("an AtomGroup that is empty or names an atom twice; take its .unique")
    try:
        reader = universe.trajectory
    except AttributeError as error:
        raise TrajectoryError("this Universe has no coordinates; load a trajectory into it") from error
    source = _own_source(reader, units) or _memory_source(reader) or ReaderSource(reader)
    if source.n_atoms != len(universe.atoms):
        raise TrajectoryError(f"{source.name} has {source.n_atoms} atoms, the Universe {len(universe.atoms)}")
    return source if len(atoms) == source.n_atoms and (np.diff(atoms.ix) > 0).all() else Restricted(source, atoms.ix)


#: Readers that ours replace, and what may have been said when they were opened without changing what is read.
_REPLACED = ("XTCReader", "TRRReader", "DCDReader", "NCDFReader", "H5MDReader", "DumpReader")
_HARMLESS = ("filename", "n_atoms", "refresh_offsets", "convert_units", "format", "topology_format")


def _own_source(reader: Any, units: LammpsUnits | None) -> FrameSource | None:
    """Our reader of the same file, where it is faster or right; None when the reader was told to do something else."""
    said = getattr(reader, "_kwargs", {})
    path = Path(str(getattr(reader, "filename", "")))
    changed = any(said[key] not in (None, False, "auto") for key in said if key not in _HARMLESS)
    changed |= said.get("convert_units", True) is not True
    if type(reader).__name__ not in _REPLACED or reader.transformations or changed or not path.is_file():
        return None
    from atomflow.trajectory.file_sources import open_source

    try:
        source = open_source(path, units=units)
    except (BadFileError, ImportError):
        return None
    return source if (source.n_atoms, source.n_frames) == (reader.n_atoms, reader.n_frames) else None


def _memory_source(reader: Any) -> FrameSource | None:
    """The array of a MemoryReader, as it is."""
    if type(reader).__name__ != "MemoryReader" or reader.transformations:
        return None
    order = reader.stored_order
    array = np.transpose(reader.get_array(), [order.index(axis) for axis in "fac"])
    dimensions = getattr(reader, "dimensions_array", None)
    cells = None
    if dimensions is not None and np.asarray(dimensions).any():
        from MDAnalysis.lib.mdamath import triclinic_vectors

        cells = np.array([triclinic_vectors(one) for one in np.asarray(dimensions)], float)
        cells = cells[0] if len(cells) == 1 else cells
    # It says 1 ps when nobody said anything.
    times = np.arange(len(array)) * float(reader.dt) if reader.dt != 1.0 else None
    return ArraySource(array, cells, name="MDAnalysis Universe in memory", times_ps=times)


def times_of_reader(reader: Any) -> tuple[NDArray[np.floating] | None, NDArray[np.int64] | None]:
    """Times (ps) and MD steps that a reader's file says, or that were given with it; None where MDAnalysis made them up."""
    said = getattr(reader, "_kwargs", {})
    if said.get("dt") is not None:
        return np.arange(reader.n_frames) * float(said["dt"]), None
    if type(reader).__name__ == "ChainReader":
        parts = [times_of_reader(part)[0] for part in reader.readers]
        if any(part is None for part in parts):
            return None, None
        times = np.concatenate([part for part in parts if part is not None])
        return (times if len(times) == reader.n_frames and (np.diff(times) > 0).all() else None), None
    path = Path(str(getattr(reader, "filename", "")))
    if not path.is_file():
        return None, None
    from atomflow.trajectory.file_sources import open_source

    try:
        if type(reader).__name__ in _REPLACED:
            source = open_source(path)
            return getattr(source, "file_times_ps", None), getattr(source, "steps", None)
    except (BadFileError, ImportError):
        pass
    return None, None
