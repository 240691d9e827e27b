"""What lies beside a trajectory: its topology, its LAMMPS units, or the ``md.json`` of a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from atomflow.errors import AtomflowError, BadFileError
from atomflow.model import Notice
from atomflow.trajectory.datafile import count_atoms
from atomflow.trajectory.file_sources import load_topology
from atomflow.trajectory.lammps_units import LammpsUnits, units_in_title
from atomflow.trajectory.textfiles import plain_name, text_lines
from atomflow.trajectory.topology import Topology

_MOST_ENTRIES = 1000
_LARGEST_JSON = 1_000_000
_MOST_WARNINGS, _LONGEST_WARNING = 50, 2000
#: Which kinds of topology are looked for, best first, per format of the trajectory.
_ORDER = {
    "dump": ("data",),
    "dcd": ("psf", "data", "prmtop", "pdb", "gro"),
    "xtc": ("tpr", "gro", "data", "pdb", "psf"),
    "trr": ("tpr", "gro", "pdb", "psf"),
    "netcdf": ("prmtop", "data", "psf", "pdb"),
    "xyz": ("data", "psf"),
}
_ANY = ("data", "psf", "tpr", "prmtop", "gro", "pdb")


@dataclass(frozen=True)
class RunFolder:
    """What the ``md.json`` of a folder names.

    Attributes
    ----------
    trajectory : Path
    topology : Path or None
    units : str or None
        LAMMPS unit style.
    warnings : tuple of Notice
        What the run says of itself: not equilibrated, say.
    """

    trajectory: Path
    topology: Path | None
    units: str | None
    warnings: tuple[Notice, ...] = ()


def read_run_folder(folder: Path) -> RunFolder:
    """The run in a folder with an ``md.json``, as ``atomflow md`` writes it.

    Raises
    ------
    BadFileError
        No md.json, not the JSON it should be, or names of files outside the folder.
    """
    path = folder / "md.json"
    if not path.is_file():
        names = [entry.name for entry in islice(sorted(folder.iterdir()), _MOST_ENTRIES) if entry.is_file()]
        told = [name for name in names if re.search(r"dump|traj|\.(dcd|xtc|trr|nc|h5md|xyz)$|^XDATCAR", name)]
        mend = f"give the trajectory itself, such as {folder / told[0]}" if told else "give the trajectory file itself"
        raise BadFileError(folder, f"a folder without md.json; {mend}")
    try:
        with path.open("rb") as stream:
            content = json.loads(stream.read(_LARGEST_JSON).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadFileError(path, "cannot be read as JSON") from error
    if not isinstance(content, dict) or not isinstance(content.get("trajectory"), str):
        raise BadFileError(path, 'names no "trajectory"')
    units = content.get("units")
    return RunFolder(
        trajectory=_inside(path, content["trajectory"]),
        topology=_inside(path, content["topology"]) if isinstance(content.get("topology"), str) else None,
        units=units if isinstance(units, str) else None,
        warnings=tuple(_notices(content)),
    )


def _notices(content: dict[str, Any]) -> Iterator[Notice]:
    """The warnings in an ``md.json``, as far as they are some."""
    listed = content.get("warnings")
    for one in islice(listed if isinstance(listed, list) else [], _MOST_WARNINGS):
        if isinstance(one, dict) and isinstance(one.get("code"), str) and isinstance(one.get("text"), str):
            yield Notice(one["code"][:_LONGEST_WARNING], one["text"][:_LONGEST_WARNING])
    if content.get("finished") is False:
        yield Notice("run-unfinished", "the run has not come to its end; atomflow md FOLDER goes on with it")


def _inside(path: Path, name: str) -> Path:
    try:
        found = (path.parent / name).resolve()
        if not found.is_relative_to(path.parent.resolve()):
            raise BadFileError(path, f"names {name[:80]!r}, which is outside its folder")
    except (ValueError, OSError) as error:
        raise error if isinstance(error, BadFileError) else BadFileError(path, "names what is no file") from error
    return path.parent / name


def units_beside(trajectory: Path) -> tuple[str, str] | None:
    """LAMMPS unit style that the logs and inputs in the folder name, and the file; None when they differ or are silent."""
    found: dict[str, str] = {}
    patterns = ("log.lammps", "log.*", "*.log", "in.*", "*.in", "*.lmp", "*.lammps", "*.data", "data.*")
    paths = {path: None for pattern in patterns for path in sorted(trajectory.parent.glob(pattern))}
    for path in islice(paths, 40):
        if path == trajectory or not path.is_file():
            continue
        try:
            for number, line in enumerate(islice(text_lines(path), 5000)):
                match = re.match(r"\s*(?:units\s+|Unit style\s*:\s*)([a-z]+)\s*(?:#.*)?$", line)
                style = match.group(1) if match else units_in_title(line) if number == 0 else None
                if style:
                    found.setdefault(style, path.name)
                    break
        except BadFileError:
            continue
    return next(iter(found.items())) if len(found) == 1 else None


def find_topology(
    trajectory: Path, kind: str, own: Topology, units: LammpsUnits | None = None
) -> tuple[Topology | None, tuple[Notice, ...]]:
    """The one topology beside a trajectory that has its number of atoms.

    Parameters
    ----------
    trajectory : Path
    kind : str
        Its format.
    own : Topology
        What the trajectory itself says: the number of its atoms, and perhaps their LAMMPS ids.

    Returns
    -------
    topology : Topology or None
        Its atoms are those of the trajectory.
    notices : tuple of Notice
        ``topology-found``, or ``topology-unclear`` when several fit.
    """
    for wanted in _ORDER.get(kind, _ANY):
        paths = [path for path in _candidates(trajectory, wanted) if _may_fit(path, wanted, own)]
        loaded = []
        for path in paths[:6]:
            try:
                topology, notices = load_topology(path, units)
                fitting = fit_to(topology, own)
            except AtomflowError:
                continue
            if _agree(fitting, own):
                loaded.append((fitting, notices))
        if not loaded:
            continue
        chosen = _agreed(loaded, trajectory)
        if chosen is None:
            names = ", ".join(Path(topology.source).name for topology, _ in loaded)
            text = f"{names} all have the {own.n_atoms} atoms of the trajectory but differ; choose one with --top"
            return None, (Notice("topology-unclear", text),)
        topology, notices = chosen
        text = f"the topology is taken from {Path(topology.source).name}, which lies beside the trajectory"
        return topology, (Notice("topology-found", text), *notices)
    return None, ()


def _agree(topology: Topology, own: Topology) -> bool:
    """Whether no atom is one element here and another there."""
    if topology.elements is None or own.elements is None:
        return True
    differ = (topology.elements != own.elements) & (topology.elements != "") & (own.elements != "")
    return not differ.any()


def _candidates(trajectory: Path, wanted: str) -> list[Path]:
    """Files of one kind in the folder: ``system.*`` first, then the trajectory's namesake, then by name."""
    try:
        entries = [entry for entry in islice(trajectory.parent.iterdir(), _MOST_ENTRIES) if entry.is_file()]
    except OSError:
        return []
    stem = plain_name(trajectory).partition(".")[0]
    fitting = [entry for entry in entries if entry != trajectory and _is_kind(plain_name(entry), wanted)]

    def rank(path: Path) -> tuple[bool, bool, str]:
        own_stem = plain_name(path).partition(".")[0]
        return own_stem != "system", own_stem != stem, path.name

    ordered = sorted(fitting, key=rank)
    if wanted == "tpr" and len(ordered) > 1:
        # Reading one takes seconds, and a folder may hold one for every step of a preparation.
        return [path for path in ordered if not all(rank(path)[:2])][:1]
    return ordered


def _is_kind(name: str, wanted: str) -> bool:
    suffixes = {"data": (".data", ".lmp", ".lammps"), "prmtop": (".prmtop", ".parm7")}.get(wanted, (f".{wanted}",))
    return name.endswith(suffixes) or (wanted == "data" and name.startswith("data."))


def _may_fit(path: Path, wanted: str, own: Topology) -> bool:
    """Whether a look at the file leaves it possible that it has these atoms."""
    try:
        count = _COUNTERS.get(wanted, lambda _: None)(path)
    except (AtomflowError, OSError, ValueError, IndexError):
        return False
    if count is None:
        return wanted in ("tpr", "prmtop")
    return count == own.n_atoms or (own.ids is not None and count > own.n_atoms)


def _count_psf(path: Path) -> int | None:
    for line in islice(text_lines(path), 5000):
        if "!NATOM" in line:
            return int(line.split()[0])
    return None


def _count_gro(path: Path) -> int | None:
    return int(next(islice(text_lines(path), 1, 2), ""))


def _count_pdb(path: Path) -> int | None:
    count = 0
    for line in text_lines(path):
        if line.startswith(("ATOM  ", "HETATM")):
            count += 1
        elif line.startswith("ENDMDL"):
            break
    return count


def _count_prmtop(path: Path) -> int | None:
    lines = _after(text_lines(path), "%FLAG POINTERS")
    return int(next(islice(lines, 1, 2), "").split()[0])


def _after(lines: Iterator[str], mark: str) -> Iterator[str]:
    for line in islice(lines, 5000):
        if line.startswith(mark):
            break
    return lines


_COUNTERS: dict[str, Callable[[Path], int | None]] = {
    "data": count_atoms, "psf": _count_psf, "gro": _count_gro, "pdb": _count_pdb, "prmtop": _count_prmtop
}  # fmt: skip


def _agreed(loaded: list[tuple[Topology, Any]], trajectory: Path) -> tuple[Topology, Any] | None:
    """The first, when it is ``system.*`` or the trajectory's namesake, or when all say the same; else None."""
    first = loaded[0][0]
    stem = plain_name(Path(first.source)).partition(".")[0]
    if stem in ("system", plain_name(trajectory).partition(".")[0]) or all(_same(first, other) for other, _ in loaded):
        return loaded[0]
    return None


def _same(one: Topology, other: Topology) -> bool:
    """Whether two topologies agree on types, elements and molecules; coordinates and order of bonds do not matter."""
    pairs = ((one.types, other.types), (one.elements, other.elements), (one.names, other.names))
    known = all((a is None) == (b is None) and (a is None or b is None or np.array_equal(a, b)) for a, b in pairs)
    return known and np.array_equal(one.molecules, other.molecules)


def fit_to(topology: Topology, own: Topology) -> Topology:
    """The topology of just the trajectory's atoms: all of them, or those whose LAMMPS ids a dump of a group has.

    Raises
    ------
    BadFileError
        Their numbers differ, and ids do not settle it.
    """
    if topology.ids is not None and own.ids is not None:
        if np.array_equal(topology.ids, own.ids):
            return topology
        place = np.minimum(np.searchsorted(topology.ids, own.ids), topology.n_atoms - 1)
        if (np.diff(topology.ids) > 0).all() and np.array_equal(topology.ids[place], own.ids):
            return topology.subset(place)
    if topology.n_atoms != own.n_atoms:
        raise BadFileError(
            own.source or "the trajectory",
            f"has {own.n_atoms} atoms, but the topology {topology.source or 'given'} has {topology.n_atoms}; give the "
            "topology of just these atoms",
        )
    return topology
