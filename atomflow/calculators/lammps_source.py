"""What LAMMPS has to be told before it can compute: from a typed system, or from a data file and an input as on disk.

Of an input only settings are taken. Nothing in it is run, and a line whose effect on the energy is not known is refused
rather than left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from atomflow.errors import BadFileError, BadOptionError
from atomflow.forcefield import data_text, lammps_settings
from atomflow.model import System

#: Takes the place of the data file's name in a line of settings.
DATA = "{data}"

#: Lines that make an energy what it is, and are taken over as they are.
_SETTINGS = {
    "units", "atom_style", "atom_modify", "boundary", "box", "newton", "neighbor", "neigh_modify", "comm_style",
    "comm_modify", "dielectric", "labelmap", "pair_style", "pair_coeff", "pair_modify", "bond_style", "bond_coeff",
    "angle_style", "angle_coeff", "dihedral_style", "dihedral_coeff", "improper_style", "improper_coeff",
    "special_bonds", "kspace_style", "kspace_modify", "mass", "set", "group", "variable", "read_data", "change_box",
    "replicate", "dimension",
}  # fmt: skip
#: Lines about moving, printing and saving: without effect on the energy of atoms where they stand.
_PASSED_OVER = {
    "thermo", "thermo_style", "thermo_modify", "dump", "dump_modify", "undump", "restart", "log", "echo", "print",
    "timestep", "velocity", "min_style", "min_modify", "run_style", "reset_timestep", "compute", "uncompute",
    "compute_modify", "unfix", "write_data", "write_dump", "write_restart", "info", "timer", "suffix", "package",
    "processors",
}  # fmt: skip
#: From here on an input is about what to do with the energy.
_ENDS = {"run", "minimize", "rerun", "temper", "tad", "prd", "neb", "quit", "clear"}
#: Fixes that only move atoms, hold them or print, by the beginning of their style.
_HARMLESS_FIXES = (
    "nve", "nvt", "npt", "nph", "langevin", "temp/", "press/", "shake", "rattle", "rigid", "ave/", "momentum",
    "recenter", "print", "halt", "balance", "deform", "setforce", "freeze", "spring/self", "spring/com", "store/",
    "vector", "viscous", "box/relax", "msst", "controller", "dt/reset", "drag", "lineforce", "planeforce",
)  # fmt: skip


@dataclass(frozen=True)
class LammpsSource:
    """Commands up to the last coefficient, and the data file they read.

    Attributes
    ----------
    name : str
        Of the box, for messages.
    commands : tuple of str
        In order; one of them is ``read_data`` with :data:`DATA` for the file.
    data : str
        Content of the data file, kept so that another process, or a changed file, makes no difference.
    folder : str
        Where files that the commands name are found; empty when there are none.
    start : ase.Atoms or None
        The box as it stands, in its own frame; None when only the data file knows.
    method : str
        Name of the force field, for tables.
    content : str
        Digest of everything but the coordinates of a system, or of the two files.
    """

    name: str
    commands: tuple[str, ...]
    data: str
    folder: str
    start: Atoms | None
    method: str
    content: str


def source_of_system(
    system: System, *, cutoff_A: float, kspace: str, kspace_accuracy: float, tail: bool, coulomb_tables: bool
) -> LammpsSource:
    """A typed system in its periodic box, with the settings that :func:`~atomflow.forcefield.write_lammps` writes."""
    commands = lammps_settings(
        system, DATA, cutoff_A=cutoff_A, kspace_accuracy=kspace_accuracy, tail=tail, kspace=kspace
    )
    if not coulomb_tables:
        commands = [line.replace("pair_modify", "pair_modify table 0") for line in commands]
    start = system.box.atoms
    start.set_masses([system.types[kind].mass_u for kind in system.type_of_atom])
    # Where the atoms stand is no part of a force field: the same one again has the same digest.
    bare = data_text(system.moved(np.zeros_like(system.box.positions_A), np.eye(3)))
    content = _digest("\n".join(commands), bare)
    return LammpsSource(system.box.name, tuple(commands), data_text(system), "", start, system.forcefield, content)


def source_of_files(data: str | Path | None, input: str | Path | None) -> LammpsSource:
    """A LAMMPS data file and the input that says how to read it.

    Parameters
    ----------
    data : path, optional
        The data file, or a folder as ``atomflow build box`` writes it; without it the file that the input reads.
    input : path, optional
        Without it the file of the same name that ends in ``.in``, beside the data.

    Raises
    ------
    BadFileError
        A file cannot be read, or the input holds a line of which it is not known what it does to the energy.
    """
    data_path = None if data is None else Path(data).expanduser().absolute()
    if data_path is not None and data_path.is_dir():
        data_path = data_path / "system.data"
    if input is not None:
        input_path = Path(input).expanduser().absolute()
    else:
        if data_path is None:
            raise BadOptionError("calculator 'lammps' needs data= or input=")
        input_path = data_path.with_suffix(".in")
        if data_path.is_file() and not input_path.is_file():
            raise BadFileError(
                data_path,
                f"has no {input_path.name} beside it; name the input that says how to read it: input=FILE",
            )
        _text(data_path)  # if neither is there, speak of the one that was named
    script = _text(input_path)
    commands, read = _settings(input_path, script)
    data_path = data_path or input_path.parent / read
    content = _text(data_path)
    return LammpsSource(
        name=data_path.name, commands=commands, data=content, folder=str(input_path.parent), start=None,
        method=f"{input_path.name}, {data_path.name}", content=_digest("\n".join(commands), content),
    )  # fmt: skip


def paths_of_files(data: str | Path | None, input: str | Path | None) -> dict[str, str]:
    """The same two options as absolute paths, so that they mean the same in another process."""
    given = {"data": data, "input": input}
    return {name: str(Path(path).expanduser().absolute()) for name, path in given.items() if path is not None}


def _settings(path: Path, script: str) -> tuple[tuple[str, ...], str]:
    """The lines to take over, with a place for the data file; and the name of the file that the input reads."""
    commands: list[str] = []
    read = ""
    for where, number, line in _lines(path, script, ()):
        words = line.split()
        command = words[0]
        if command in _ENDS:
            break
        if command == "fix":
            _check_fix(where, number, words)
        elif command == "read_data" and len(words) > 1:
            if read:
                raise BadFileError(where, f"line {number}: a second read_data; the calculator takes one data file")
            read = words[1].strip("\"'")
            commands.append(" ".join([command, DATA, *words[2:]]))
        elif command in _SETTINGS:
            commands.append(line)
        elif command not in _PASSED_OVER:
            raise BadFileError(
                where,
                f"line {number}: the calculator cannot follow {command[:30]!r}; give it an input of settings only",
            )
    if not read:
        raise BadFileError(path, "has no read_data before its first run; the calculator needs a data file")
    return tuple(commands), read


def _lines(path: Path, script: str, outer: tuple[Path, ...]) -> Iterator[tuple[Path, int, str]]:
    """File, number and text of each line, those of included files in their place."""
    for number, line in _logical_lines(script):
        command, *words = line.split()
        if command != "include" or not words:
            yield path, number, line
            continue
        # LAMMPS looks from where it runs, which is the folder of the first input.
        inner = (outer or (path,))[0].parent / words[0].strip("\"'")
        if inner in (path, *outer):
            raise BadFileError(path, f"line {number}: {words[0]} includes itself")
        yield from _lines(inner, _text(inner), (*outer, path))


def _check_fix(path: Path, number: int, words: list[str]) -> None:
    style = words[3] if len(words) > 3 else ""
    if not style.startswith(_HARMLESS_FIXES):
        raise BadFileError(
            path, f"line {number}: fix {style[:30] or '?'} may change the energy, which the calculator cannot follow"
        )


def _logical_lines(script: str) -> list[tuple[int, str]]:
    """Lines with continuations joined, without comments, numbered as in the file."""
    lines: list[tuple[int, str]] = []
    joined, began = "", 0
    for number, line in enumerate(script.splitlines(), start=1):
        began = began or number
        # A number sign within quotes is none; titles and formats are the only places, and those are passed over.
        text = line if '"' in line or "'" in line else re.sub(r"#.*", "", line)
        if text.rstrip().endswith("&"):
            joined += text.rstrip()[:-1] + " "
            continue
        joined += text
        if joined.strip() and not joined.lstrip().startswith("#"):
            lines.append((began, joined.strip()))
        joined, began = "", 0
    return lines


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadFileError(path, f"cannot be read: {error.strerror or error}") from error


def _digest(*texts: str) -> str:
    joined = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    return f"sha256-{joined[:24]}"
