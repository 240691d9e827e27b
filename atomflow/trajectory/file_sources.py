"""From a file to its frames, and to what the file itself says of its atoms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from atomflow.errors import BadFileError
from atomflow.model import Notice
from atomflow.trajectory.formats import topology_format, trajectory_format
from atomflow.trajectory.frames import FrameSource
from atomflow.trajectory.lammps_units import LammpsUnits, lammps_units
from atomflow.trajectory.textfiles import first_line
from atomflow.trajectory.topology import Topology

#: Formats whose lengths are in whatever units LAMMPS ran with, unless the file says.
LAMMPS_FORMATS = ("dump", "data")
#: Formats that say nothing, or little, of their atoms: a topology is looked for beside the file.
BARE_FORMATS = ("dump", "xyz", "dcd", "xtc", "trr", "netcdf", "h5md", "npy", "npz", "TRZ", "TRJ", "TNG", "TRC")
#: MDAnalysis readers that must be told the number of atoms.
_COUNT_NEEDED = ("TRJ", "TRZ")
_LARGEST_STRUCTURE = 200_000_000


def open_source(
    path: Path,
    kind: str | None = None,
    *,
    units: LammpsUnits | None = None,
    cell_A: ArrayLike | None = None,
    n_atoms: int | None = None,
) -> FrameSource:
    """Frames of a file of any format.

    Parameters
    ----------
    path : Path
    kind : str, optional
        See :func:`atomflow.trajectory.formats.trajectory_format`, which finds it out.
    units : LammpsUnits, optional
        For files of LAMMPS that do not say theirs.
    cell_A : array, optional
        For arrays without one.
    n_atoms : int, optional
        For formats that do not say.

    Raises
    ------
    BadFileError, TrajectoryError
    """
    kind = kind or trajectory_format(path)
    if kind == "dump":
        from atomflow.trajectory.dump import LammpsDump

        dump: Any = LammpsDump(path, units=units.name if units else None)
        return dump
    if kind in ("xtc", "trr"):
        from atomflow.trajectory.xdr_source import TrrSource, XtcSource

        return XtcSource(path) if kind == "xtc" else TrrSource(path)
    if kind in ("xyz", "gro"):
        from atomflow.trajectory.text_source import GroSource, XyzSource

        return XyzSource(path) if kind == "xyz" else GroSource(path)
    if kind == "xdatcar":
        from atomflow.trajectory.xdatcar_source import XdatcarSource

        return XdatcarSource(path)
    if kind in ("netcdf", "h5md"):
        from atomflow.trajectory.hierarchical_source import H5mdSource, NetcdfSource

        return NetcdfSource(path, units) if kind == "netcdf" else H5mdSource(path, units)
    if kind in ("npy", "npz"):
        from atomflow.trajectory.array_source import read_npy, read_npz

        return read_npy(path, cell_A) if kind == "npy" else read_npz(path, cell_A)[0]
    if kind == "traj":
        from atomflow.trajectory.ase_source import AseSource

        return AseSource(path)
    if kind == "data":
        return _one_frame(path, units)
    if kind == "dcd":
        from atomflow.trajectory.dcd_source import DcdSource

        return DcdSource(path, units)
    from atomflow.trajectory.mda_source import MDASource

    if kind in _COUNT_NEEDED and n_atoms is None:
        raise BadFileError(path, f"a {kind} file does not say its number of atoms; give a topology with --top")
    _need_package(path, kind)
    return MDASource(path, kind.upper(), n_atoms)


def _one_frame(path: Path, units: LammpsUnits | None) -> FrameSource:
    from atomflow.trajectory.array_source import ArraySource
    from atomflow.trajectory.datafile import read_data_file

    data = read_data_file(path)
    length = (units or lammps_units(data.units or "real")).length_A
    cell = None if data.cell is None else data.cell * length
    return ArraySource(data.positions[None] * length, cell, name=str(path))


def _need_package(path: Path, kind: str) -> None:
    from importlib.util import find_spec

    package, mend = {
        "TNG": ("pytng", "; or convert it: gmx trjconv -f FILE -o traj.xtc"),
        "GSD": ("gsd", ""),
    }.get(kind, ("", ""))
    if package and find_spec(package) is None:
        raise BadFileError(path, f"a {kind} file needs the package {package}: pip install {package}{mend}")


def own_topology(source: Any, kind: str, units: LammpsUnits | None = None) -> tuple[Topology, tuple[Notice, ...]]:
    """What a trajectory file itself says of its atoms; with nothing but their number if it says nothing."""
    path = Path(source.name)
    if kind == "dump":
        known = units or (lammps_units(source.units) if source.units and source.units != "lj" else None)
        return Topology.from_dump(source.first_columns, source.n_atoms, source.name, known), ()
    if kind == "netcdf":
        return Topology.from_dump(source.columns(), source.n_atoms, source.name, units), ()
    if kind == "xyz":
        return Topology.from_symbols(source.names, source.name), ()
    if kind == "xdatcar" and source.symbols:
        return Topology.from_symbols(source.symbols, source.name), ()
    if kind == "traj":
        return Topology.from_ase(source.first, source.name), ()
    if kind == "data":
        return Topology.from_data_file(path, units.name if units else None), ()
    if kind in ("gro", "pdb", "MOL2", "PQR", "TXYZ", "GSD"):
        return load_topology(path, kind={"gro": "GRO", "pdb": "PDB"}.get(kind, kind))
    if kind == "npz":
        from atomflow.trajectory.array_source import read_npz

        symbols = read_npz(path)[1]
        if symbols:
            return Topology.from_symbols(symbols, source.name), ()
    return Topology(n_atoms=source.n_atoms, source=source.name), ()


def load_topology(
    path: Path, units: LammpsUnits | None = None, kind: str | None = None
) -> tuple[Topology, tuple[Notice, ...]]:
    """A topology file of any format, and what was guessed.

    Raises
    ------
    BadFileError
    """
    kind = kind or topology_format(path)
    if kind == "data":
        return Topology.from_data_file(path, units.name if units else None), ()
    if kind.startswith("ase:"):
        return _read_with_ase(path, kind.removeprefix("ase:")), ()
    from atomflow.trajectory.mda_topology import read_topology

    topology = read_topology(path, kind)
    return topology.with_guessed_elements() if kind in ("GRO", "PDB", "PQR", "MOL2") else (topology, ())


def _read_with_ase(path: Path, kind: str) -> Topology:
    import warnings

    import ase.io

    if path.stat().st_size > _LARGEST_STRUCTURE:
        raise BadFileError(path, "too large for one structure; give the first frame by itself")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms: Any = ase.io.read(path, index=0, format=kind)
    except Exception as error:  # parsers of foreign formats raise whatever they meet
        raise BadFileError(path, f"cannot be read as {kind} ({first_line(error)})") from error
    if not len(atoms):
        raise BadFileError(path, "holds no atoms")
    return Topology.from_ase(atoms, str(path))
