"""Open any trajectory: a file, a folder, or the objects of MDAnalysis, ASE, pymatgen and numpy."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from atomflow.errors import BadOptionError, TrajectoryError
from atomflow.model import Notice
from atomflow.trajectory.array_source import ArraySource, WithCell
from atomflow.trajectory.ase_source import AseSource, pymatgen_source
from atomflow.trajectory.clock import find_clock
from atomflow.trajectory.file_sources import BARE_FORMATS, load_topology, open_source, own_topology
from atomflow.trajectory.formats import trajectory_format
from atomflow.trajectory.frames import FrameSource, Trajectory
from atomflow.trajectory.lammps_units import LammpsUnits, lammps_units
from atomflow.trajectory.nearby import find_topology, fit_to, read_run_folder, units_beside
from atomflow.trajectory.topology import Topology


def open_trajectory(
    source: Any,
    topology: Any = None,
    *,
    dt_ps: float | None = None,
    timestep_ps: float | None = None,
    units: str | None = None,
    type_map: Mapping[Any, str] | None = None,
    cell_A: ArrayLike | None = None,
) -> Trajectory:
    """Open a trajectory of any kind; nothing but the places of its frames is read.

    Parameters
    ----------
    source : path, MDAnalysis Universe or AtomGroup, list of ase.Atoms, pymatgen Trajectory or list of Structure, array
        A file's format is told by its content. A folder holds the ``md.json`` of ``atomflow md``. An array has the
        shape (n_frames, n_atoms, 3), in angstrom. A :class:`Trajectory` comes back as it is.
    topology : path, Topology, Universe, ase.Atoms or list of symbols, optional
        What the atoms are: LAMMPS data, PSF, TPR, GRO, PDB, PRMTOP, POSCAR, ... Without it, what the trajectory itself
        says, and the one file beside it that fits.
    dt_ps : float, optional
        Spacing of the frames.
    timestep_ps : float, optional
        The MD step; the times are then the step numbers in the file times it.
    units : str, optional
        LAMMPS unit style, for files of LAMMPS that do not say.
    type_map : mapping, optional
        Element of LAMMPS types: ``{"1": "Li"}``.
    cell_A : array, optional
        Cell vectors in rows, or edges, or edges and angles, or one of these per frame; replaces the file's.

    Returns
    -------
    Trajectory
        Its ``notices`` say what was found beside the file, guessed, or left out.

    Raises
    ------
    BadFileError
        A file that is not there, not read, damaged, or of another number of atoms than its topology.
    BadOptionError, TrajectoryError, UnknownNameError
        Options that make no sense, or objects without frames.
    """
    if isinstance(source, Trajectory):
        options = (topology, dt_ps, timestep_ps, units, type_map, cell_A)
        if any(option is not None for option in options):
            raise BadOptionError("this trajectory is open already; give its options where it is opened")
        return source
    style = lammps_units(units) if units is not None else None
    if isinstance(source, (str, Path)):
        opened = _open_path(Path(source), topology, style, cell_A)
    else:
        opened = _open_object(source, topology, style, cell_A)
    frames, atoms, notices = opened.source, opened.topology, opened.notices
    if cell_A is not None:
        frames = WithCell(frames, cell_A)
    if type_map is not None:
        atoms = atoms.with_elements(type_map)
    clock, of_clock = find_clock(
        frames.n_frames, opened.times_ps, opened.steps, dt_ps=dt_ps, timestep_ps=timestep_ps, near=opened.near
    )
    every = dict.fromkeys((*frames.notices, *notices, *of_clock))
    return Trajectory(source=frames, topology=atoms, clock=clock, notices=tuple(every))


_LONGEST_PS = 1e18


@dataclass(frozen=True)
class _Opened:
    """What was opened, before options are applied."""

    source: FrameSource
    topology: Topology
    notices: tuple[Notice, ...] = ()
    times_ps: Any = None
    steps: Any = None
    near: Path | None = None


def _described(source: FrameSource, topology: Topology, notices: tuple[Notice, ...], near: Path | None) -> _Opened:
    times = getattr(source, "file_times_ps", None)
    if times is None:
        times = getattr(source, "times_ps", None)
    # Longer than any run: a damaged header.
    if times is not None and not (np.abs(times) < _LONGEST_PS).all():
        times = None
    return _Opened(source, topology, notices, times, getattr(source, "steps", None), near)


def _open_path(path: Path, topology: Any, units: LammpsUnits | None, cell_A: ArrayLike | None) -> _Opened:
    of_run: tuple[Notice, ...] = ()
    if path.is_dir():
        run = read_run_folder(path)
        of_run = run.warnings
        if units is None and run.units is not None:
            units = lammps_units(run.units)
        path, topology = run.trajectory, topology if topology is not None else run.topology
    kind = trajectory_format(path)
    given, notices = _given_topology(topology, units)
    units, of_units = _units_for(path, kind, units, given)
    count = given.n_atoms if given is not None else None
    source = open_source(path, kind, units=units, cell_A=cell_A, n_atoms=count)
    own, of_own = own_topology(source, kind, units)
    if given is None and kind in BARE_FORMATS:
        given, notices = find_topology(path, kind, own, units)
    elif given is not None:
        given = fit_to(given, own)
    of_atoms = (*of_own, *_bare(own)) if given is None else _differing(given, own)
    atoms = own if given is None else given.filled_from(own)
    return _described(source, atoms, (*of_run, *of_units, *notices, *of_atoms), path)


def _units_for(
    path: Path, kind: str, units: LammpsUnits | None, given: Topology | None
) -> tuple[LammpsUnits | None, tuple[Notice, ...]]:
    """The unit style of a file that LAMMPS may have written: as told, as the files say, or angstrom."""
    if units is not None or kind not in ("dump", "dcd", "netcdf", "h5md"):
        return units, ()
    if kind == "dcd":
        from atomflow.trajectory.dcd_source import read_dcd_header

        if not read_dcd_header(path).from_lammps:
            return None, ()
    if kind == "dump" and _dump_says(path):
        return None, ()
    style, where = _units_of_data(given), "the topology"
    if style is None:
        style, where = units_beside(path) or (None, "")
    if style == "lj":
        text = f"units lj in {where}: one sigma is taken as 1 A, and there is no time"
        return None, (Notice("lj-units", text),)
    if style is not None:
        try:
            return lammps_units(style), ()
        except BadOptionError:
            return None, ()
    if kind in ("netcdf", "h5md"):
        return None, ()
    text = "lengths are taken as angstrom (LAMMPS units real or metal); if they are not, give --units"
    return None, (Notice("units-assumed", text),)


def _dump_says(path: Path) -> bool:
    """Whether a dump names its units in its first lines."""
    from itertools import islice

    from atomflow.trajectory.textfiles import text_lines

    return any(line.startswith("ITEM: UNITS") for line in islice(text_lines(path), 2))


def _units_of_data(topology: Topology | None) -> str | None:
    from atomflow.trajectory.lammps_units import units_in_title
    from atomflow.trajectory.textfiles import text_lines

    path = Path(topology.source) if topology is not None and topology.source else None
    if path is None or not path.is_file():
        return None
    return units_in_title(next(text_lines(path), ""))


def _given_topology(topology: Any, units: LammpsUnits | None) -> tuple[Topology | None, tuple[Notice, ...]]:
    """The topology that was handed over, whatever it is."""
    if topology is None or isinstance(topology, Topology):
        return topology, ()
    if isinstance(topology, (str, Path)):
        return load_topology(Path(topology), units)
    if hasattr(topology, "atoms") and hasattr(topology, "universe"):
        return Topology.from_universe(topology), ()
    if hasattr(topology, "get_chemical_symbols"):
        return Topology.from_ase(topology), ()
    if isinstance(topology, (list, tuple, np.ndarray)) and len(topology) and all(isinstance(s, str) for s in topology):
        return Topology.from_symbols(list(topology)), ()
    raise BadOptionError("a topology is a path, a Topology, a Universe, an ase.Atoms or a list of element symbols")


def _bare(own: Topology) -> tuple[Notice, ...]:
    if own.types is not None or own.elements is not None or own.names is not None:
        return ()
    text = "nothing is known of the atoms but their number: select them by index, or give a topology with --top"
    return (Notice("no-topology", text),)


def _differing(given: Topology, own: Topology) -> tuple[Notice, ...]:
    """A word where a dump has other types than the data file."""
    if given.types is None or own.types is None or np.array_equal(given.types, own.types):
        return ()
    if not all(kind.isdigit() for kind in {*given.types.tolist(), *own.types.tolist()}):
        return ()
    many = int((given.types != own.types).sum())
    text = (
        f"{many} atoms have another type in the trajectory than in {Path(given.source).name}, whose types are used; "
        "is it the topology of this run?"
    )
    return (Notice("types-differ", text),)


def _open_object(source: Any, topology: Any, units: LammpsUnits | None, cell_A: ArrayLike | None) -> _Opened:
    given, notices = _given_topology(topology, units)
    if hasattr(source, "universe") and hasattr(source, "atoms"):
        from atomflow.trajectory.mda_source import source_of_universe

        frames = source_of_universe(source, units)
        own = Topology.from_universe(source)
        path = Path(frames.name)
        return _with_topology(frames, own, given, notices, path if path.is_file() else None)
    if hasattr(source, "coords_are_displacement") or _all_are(source, "lattice", "species_and_occu"):
        array, symbols = pymatgen_source(source)
        return _with_topology(array, Topology.from_symbols(symbols, array.name), given, notices)
    if _is_ase_trajectory(source) or _all_are(source, "get_chemical_symbols"):
        images = AseSource(source)
        return _with_topology(images, Topology.from_ase(images.first), given, notices)
    if isinstance(source, (list, tuple)) and source and isinstance(source[0], (str, Path)):
        raise BadOptionError("one trajectory at a time: several files are replicas of a run, open each of them")
    if isinstance(source, np.ndarray) or hasattr(source, "__array__") or isinstance(source, (list, tuple)):
        try:
            frames = ArraySource(source, cell_A)
        except (ValueError, TypeError) as error:
            if isinstance(error, (BadOptionError, TrajectoryError)):
                raise
            raise BadOptionError("a list that is neither of ase.Atoms, nor of structures, nor of numbers") from error
        return _with_topology(frames, Topology(n_atoms=frames.n_atoms, source="array"), given, notices)
    raise BadOptionError(
        f"a {type(source).__name__} is no trajectory: give a path, a Universe, ase.Atoms, pymatgen structures or an array"
    )


def _with_topology(
    source: FrameSource, own: Topology, given: Topology | None, notices: tuple[Notice, ...], near: Path | None = None
) -> _Opened:
    if given is not None:
        own = fit_to(given, own).filled_from(own)
    return _described(source, own, (*notices, *_bare(own)), near)


def _all_are(source: Any, *attributes: str) -> bool:
    """Whether this is a list of objects that all have these attributes."""
    if not isinstance(source, (list, tuple)) or not source:
        return False
    return all(hasattr(item, name) for item in source for name in attributes)


def _is_ase_trajectory(source: Any) -> bool:
    """Whether this is an opened ASE trajectory, which is like a list of images."""
    module = sys.modules.get("ase.io.trajectory")
    return module is not None and isinstance(source, module.TrajectoryReader)
