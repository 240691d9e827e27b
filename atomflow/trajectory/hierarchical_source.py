"""NetCDF (AMBER's convention, as AMBER and LAMMPS write it) and H5MD.

MDAnalysis refuses what LAMMPS writes (times in fs, no units, a constant box) and ignores its column of atom ids, which
come in any order; hence these readers. Conventions: https://ambermd.org/netcdf/nctraj.xhtml and
https://www.nongnu.org/h5md/h5md.html (doi 10.1016/j.cpc.2014.01.018).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import AtomflowError, BadFileError, BadOptionError
from atomflow.model import Notice
from atomflow.trajectory import probing
from atomflow.trajectory.array_source import cell_matrix
from atomflow.trajectory.frames import Frame, Layout
from atomflow.trajectory.lammps_units import LammpsUnits, lammps_units
from atomflow.trajectory.textfiles import check_file, first_line

_LENGTHS_A = {"a": 1.0, "angstrom": 1.0, "angstroms": 1.0, "nm": 10.0, "nanometer": 10.0, "pm": 0.01}
_LENGTHS_A |= {"m": 1e10, "meter": 1e10, "cm": 1e8, "centimeter": 1e8, "um": 1e4, "micrometer": 1e4}
_LENGTHS_A |= {"bohr": lammps_units("electron").length_A}
_TIMES_PS = {"ps": 1.0, "picosecond": 1.0, "picoseconds": 1.0, "fs": 1e-3, "femtosecond": 1e-3, "femtoseconds": 1e-3}
_TIMES_PS |= {"ns": 1e3, "nanosecond": 1e3, "us": 1e6, "microsecond": 1e6, "s": 1e12, "second": 1e12}
#: HDF5 packs at most about a thousandfold; what claims more than this has no data behind it.
_MOST_PACKED = 2000
_MOST_ATOMS = 10**9


class HierarchicalSource:
    """What both have in common: datasets of (frame, atom, axis), read one frame at a time.

    Parameters
    ----------
    path : path
    units : LammpsUnits, optional
        For files that do not say theirs, and for LAMMPS' NetCDF without units.
    probe : bool
        Try the file in a process of its own first, unless it is of a kind that Python itself reads.

    Attributes
    ----------
    file_times_ps : (n_frames,) float64 array or None
    steps : (n_frames,) int array or None
    """

    layout: Layout
    #: For messages.
    kind: str

    def __init__(self, path: str | Path, units: LammpsUnits | None = None, *, probe: bool = True) -> None:
        self.path = check_file(path)
        if probe and not _is_classic(self.path):
            probing.probe(self.path, type(self).__name__)
        self.name = str(path)
        self.notices: tuple[Notice, ...] = ()
        self.layout = "unknown"
        self.n_atoms = self.n_frames = 0
        self.file_times_ps: NDArray[np.float64] | None = None
        self.steps: NDArray[np.int64] | None = None
        self._units = units
        self._file: Any = None
        # The libraries have one place in the file; threads may share this source.
        self._lock = threading.Lock()
        try:
            self._guarded(self._open)
        except BadFileError:
            self._close()
            raise
        if not self.n_frames or not 0 < self.n_atoms <= _MOST_ATOMS:
            self._close()
            raise BadFileError(self.path, f"{self.n_frames} frames of {self.n_atoms} atoms; nothing to analyse")

    #: What belongs to the open file, and is found again when it is opened again.
    _opened: tuple[str, ...] = ("_file", "_lock")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | dict.fromkeys(self._opened)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _guarded(self, action: Any, *arguments: Any) -> Any:
        try:
            with np.errstate(all="ignore"):
                return action(*arguments)
        except AtomflowError as error:
            if isinstance(error, BadOptionError):
                raise BadFileError(self.path, str(error)) from error
            raise
        except ImportError as error:
            raise BadFileError(self.path, f"needs the package {error.name}: pip install {error.name}") from error
        except Exception as error:  # the libraries raise whatever they meet
            raise BadFileError(self.path, f"cannot be read as {self.kind} ({first_line(error)})") from error

    def _close(self) -> None:
        """Let go of a file that was refused; the libraries know an open one again."""
        file, self._file = self._file, None
        with contextlib.suppress(Exception):
            file.close()

    def _open(self) -> None:
        """Open the file and fill the attributes."""
        raise NotImplementedError

    def _frame(self, index: int) -> Frame:
        raise NotImplementedError

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """See :class:`atomflow.trajectory.frames.FrameSource`."""
        for index in indices:
            with self._lock:
                if self._file is None:
                    self._guarded(self._open)
                frame: Frame = self._guarded(self._frame, int(index))
            if atoms is not None:
                images = None if frame.images is None else frame.images[atoms]
                frame = Frame(frame.index, frame.positions_A[atoms], frame.cell_A, frame.time_ps, frame.step, images)
            yield frame

    def _moment(self, index: int) -> tuple[float | None, int | None]:
        time = None if self.file_times_ps is None else float(self.file_times_ps[index])
        return time, None if self.steps is None else int(self.steps[index])

    def _set_times(self, times: Any, factor: float | None) -> None:
        self.file_times_ps = None
        if times is None or factor is None:
            return
        known = np.asarray(times, float).reshape(-1) * factor
        if len(known) == self.n_frames and np.isfinite(known).all() and (self.n_frames == 1 or np.ptp(known) > 0):
            self.file_times_ps = known

    def _factor(self, unit: Any, table: dict[str, float], fallback: float | None, what: str) -> float | None:
        text = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit or "")
        text = text.strip("\0 ").lower()
        if not text or text == "lj":
            return fallback
        if text not in table:
            raise BadFileError(self.path, f"unknown unit {text[:30]!r} of {what}; convert it to angstrom and ps")
        return table[text]


class NetcdfSource(HierarchicalSource):
    """AMBER's NetCDF trajectories, of any NetCDF version; LAMMPS' atoms are put in the order of their ids."""

    kind = "an AMBER NetCDF trajectory"

    def _open(self) -> None:
        self._file = file = _open_netcdf(self.path)
        variables = file.variables
        scaled_names = [
            name for name in ("coordinates", "unwrapped_coordinates", "scaled_coordinates") if name in variables
        ]
        if not scaled_names:
            raise BadFileError(self.path, "has no variable 'coordinates'; not an AMBER trajectory")
        self._key = scaled_names[0]
        shape = variables[self._key].shape
        if len(shape) != 3 or shape[2] != 3:
            raise BadFileError(self.path, f"coordinates of shape {shape}; they should be (frame, atom, 3)")
        self.n_frames, self.n_atoms = int(shape[0]), int(shape[1])
        if self._key == "unwrapped_coordinates":
            self.layout = "unwrapped"
        fallback = self._units.length_A if self._units else 1.0
        self._length = self._unit_of(self._key, _LENGTHS_A, fallback)
        self._cell_length = self._unit_of("cell_lengths", _LENGTHS_A, fallback)
        if "time" in variables:
            clock = variables["time"]
            factor = self._unit_of("time", _TIMES_PS, self._units.time_ps if self._units else None)
            self._set_times(np.asarray(clock[:]), factor * _scale_of(clock) if factor else None)

    def _unit_of(self, name: str, table: dict[str, float], fallback: float | None) -> float | None:
        return self._factor(getattr(self._file.variables.get(name), "units", ""), table, fallback, name)

    def _values(self, name: str, index: int) -> NDArray[Any]:
        """One frame of a variable; a variable without frames is constant."""
        variable = self._file.variables[name]
        constant = "frame" not in variable.dimensions
        values = np.asarray(variable[:] if constant else variable[index])
        scale = _scale_of(variable)
        return values * scale if scale != 1.0 else values

    def _frame(self, index: int) -> Frame:
        variables = self._file.variables
        assert self._length is not None
        assert self._cell_length is not None
        positions = self._values(self._key, index)
        positions = positions.astype(np.float32 if positions.dtype.itemsize == 4 else np.float64)
        cell = None
        if "cell_lengths" in variables:
            edges = np.asarray(self._values("cell_lengths", index), float) * self._cell_length
            angles = np.asarray(self._values("cell_angles", index), float) if "cell_angles" in variables else 90.0
            if edges.any():
                cell = cell_matrix(np.concatenate([edges, np.broadcast_to(angles, 3)]))
        if self._key == "scaled_coordinates":
            if cell is None:
                raise BadFileError(self.path, "scaled coordinates without a cell")
            positions = positions @ cell
        else:
            positions *= self._length
            if "cell_origin" in variables:
                positions -= np.asarray(self._values("cell_origin", index)) * self._cell_length
        if "id" in variables:
            positions = positions[np.argsort(self._values("id", index), kind="stable")]
        return Frame(index, positions, cell, *self._moment(index))

    def columns(self) -> dict[str, NDArray[Any]]:
        """``id``, ``type``, ``mol``, ``q``, ``mass`` of the first frame, where LAMMPS wrote them, in order of the ids."""
        wanted = [name for name in ("id", "type", "mol", "q", "mass") if name in self._file.variables]
        found = {name: self._guarded(self._values, name, 0) for name in wanted}
        if "id" in found:
            order = np.argsort(found["id"], kind="stable")
            found = {name: values[order] for name, values in found.items() if values.shape == order.shape}
        return found


def _scale_of(variable: Any) -> float:
    scale = getattr(variable, "scale_factor", 1.0)
    return float(np.asarray(scale).reshape(-1)[0])


def _is_classic(path: Path) -> bool:
    """Whether this is one of the NetCDF formats that scipy reads, in Python."""
    with path.open("rb") as stream:
        return stream.read(4) in (b"CDF\x01", b"CDF\x02")


def _open_netcdf(path: Path) -> Any:
    """The file through scipy (classic formats, mapped) or through netCDF4 (all the others)."""
    if _is_classic(path):
        from scipy.io import netcdf_file

        return netcdf_file(str(path), "r", mmap=True)
    import netCDF4

    file = netCDF4.Dataset(str(path), "r")
    # Scale factors are applied here, once, for both libraries.
    file.set_auto_maskandscale(False)
    return file


class H5mdSource(HierarchicalSource):
    """H5MD: the first group of particles with positions; image flags and a constant box are used where they are."""

    kind = "H5MD"
    _opened = ("_file", "_lock", "_group", "_box", "_images")

    def _open(self) -> None:
        import h5py

        self._file = h5py.File(self.path, "r")
        particles = self._file.get("particles")
        groups = [] if particles is None else [name for name in particles if "position" in particles[name]]
        if not groups:
            raise BadFileError(self.path, "has no particles/*/position; not an H5MD trajectory")
        if len(groups) > 1:
            text = f"of the groups {', '.join(groups)[:200]} the first is used"
            self.notices = (Notice("first-group", text),)
        group = self._group = particles[groups[0]]
        places = group["position/value"]
        if places.ndim != 3 or places.shape[2] != 3:
            raise BadFileError(self.path, f"positions of shape {places.shape}; they should be (frame, atom, 3)")
        self.n_frames, self.n_atoms = places.shape[:2]
        weight = places.size * places.dtype.itemsize
        if weight > _MOST_PACKED * max(places.id.get_storage_size(), 1):
            raise BadFileError(
                self.path, f"claims {self.n_atoms} atoms in {self.n_frames} frames, but has no such data"
            )
        fallback = self._units.length_A if self._units else 1.0
        self._length = self._factor(places.attrs.get("unit"), _LENGTHS_A, fallback, "position")
        self._box = self._open_box(group)
        position = group["position"]
        if "step" in position:
            steps = self._series(position["step"])
            self.steps = None if steps is None else steps.astype(np.int64)
        if "time" in position:
            lammps = self._units.time_ps if self._units else None
            unit = self._factor(position["time"].attrs.get("unit"), _TIMES_PS, lammps, "time")
            self._set_times(self._series(position["time"]), unit)
        self._images = group["image/value"] if "image" in group and "value" in group["image"] else None
        if self._images is not None and self._images.shape == places.shape:
            self.layout = "images"
        else:
            self._images = None

    def _series(self, values: Any) -> NDArray[Any] | None:
        """One value per frame; a single value is the step from frame to frame, with its ``offset``."""
        if values.shape == ():
            return np.arange(self.n_frames) * values[()] + values.attrs.get("offset", 0)
        return np.asarray(values[:]) if values.shape == (self.n_frames,) else None

    def _open_box(self, group: Any) -> Any:
        box = group.get("box")
        if box is None or "edges" not in box:
            return None
        boundary = box.attrs.get("boundary")
        flags = (
            [] if boundary is None else [text == b"periodic" or text == "periodic" for text in np.atleast_1d(boundary)]
        )
        if flags and not any(flags):
            return None
        return box["edges"]

    def _cell(self, index: int) -> NDArray[np.float64] | None:
        if self._box is None:
            return None
        edges = self._box
        constant = not hasattr(edges, "keys")
        values = edges if constant else edges["value"]
        factor = self._factor(values.attrs.get("unit"), _LENGTHS_A, self._length, "box")
        array = np.asarray(values[()] if constant else values[index], float)
        return cell_matrix(array * factor) if array.any() else None

    def _frame(self, index: int) -> Frame:
        positions = np.asarray(self._group["position/value"][index])
        places: NDArray[Any] = positions.astype(np.float32 if positions.dtype.itemsize == 4 else np.float64)
        places *= self._length
        images = None if self._images is None else np.asarray(self._images[index], np.int32)
        return Frame(index, places, self._cell(index), *self._moment(index), images)
