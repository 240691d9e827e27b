"""A user's own molecule from a GROMACS topology (.top or .itp), which ParmEd reads."""

from __future__ import annotations

import re
import tempfile
import traceback
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from atomflow.errors import BadFileError, MissingProgramError
from atomflow.forcefield.importing import Foreign, ForeignAtom, as_yaml
from atomflow.model import Molecule

_LARGEST_FILE_BYTES = 20 * 1024 * 1024
#: What OPLS-AA expects of a topology; an .itp by itself says nothing and is taken so.
_DEFAULTS = "[ defaults ]\n1 3 yes 0.5 0.5\n"


def import_gromacs(path: str | Path, molecule: Molecule, *, source: str, grade: str = "secondary") -> str:
    """Force-field file (YAML) of one molecule from a GROMACS topology.

    Parameters
    ----------
    path : path
        A ``.top`` that holds the molecule once, or an ``.itp`` of one molecule with its atom types, as LigParGen writes it
        (taken as OPLS-AA: geometric mixing, 1-4 factors 0.5).
    molecule, source, grade
        As for :func:`~atomflow.forcefield.import_lammps`.

    Returns
    -------
    str
        To be written into a folder that is then given as ``folders=``.

    Raises
    ------
    BadFileError
        When ParmEd cannot read the file, it mixes or scales 1-4 pairs in another way, has terms of another form, is another
        molecule, or gives equivalent atoms or terms different numbers.
    MissingProgramError
        When ParmEd is not installed.
    """
    path = Path(path)
    structure = _read(path)
    _check_rules(path, structure)
    torsions: dict[tuple[int, ...], list[list[float]]] = defaultdict(list)
    impropers: dict[tuple[int, ...], list[list[float]]] = defaultdict(list)
    for torsion in structure.dihedrals:
        atoms = tuple(atom.idx for atom in (torsion.atom1, torsion.atom2, torsion.atom3, torsion.atom4))
        parts = torsion.type if isinstance(torsion.type, list) else [torsion.type]
        table = impropers if torsion.improper else torsions
        table[atoms] += [_part(path, part) for part in parts]
    for torsion in structure.rb_torsions:
        atoms = tuple(atom.idx for atom in (torsion.atom1, torsion.atom2, torsion.atom3, torsion.atom4))
        torsions[atoms] += _from_powers([getattr(torsion.type, f"c{n}") for n in range(6)])
    foreign = Foreign(
        path=path,
        atoms={a.idx: ForeignAtom(a.mass, a.charge, a.epsilon, a.sigma) for a in structure.atoms},
        groups={
            "bonds": [((b.atom1.idx, b.atom2.idx), {"k": b.type.k, "r0": b.type.req}) for b in structure.bonds],
            "angles": [
                ((a.atom1.idx, a.atom2.idx, a.atom3.idx), {"k": a.type.k, "theta0": a.type.theteq})
                for a in structure.angles
            ],
            "torsions": [(atoms, {"cosines": _sorted(parts)}) for atoms, parts in torsions.items()],
            "impropers": [(atoms, {"cosines": _sorted(parts)}) for atoms, parts in impropers.items()],
        },
    )
    return as_yaml(foreign, molecule, source=source, grade=grade)


def _read(path: Path) -> Any:
    try:
        import parmed
        from parmed.gromacs import GromacsTopologyFile
    except ImportError as error:
        raise MissingProgramError("ParmEd", "pip install parmed") from error
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise BadFileError(path, f"too much for one molecule, at most {_LARGEST_FILE_BYTES} bytes")
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = path
        if not re.search(r"^\s*\[\s*molecules\s*\]", text, re.MULTILINE):
            name = re.search(r"^\s*\[\s*moleculetype\s*\]\s*\n(?:\s*;.*\n|\s*\n)*\s*(\S+)", text, re.MULTILINE)
            if name is None:
                raise BadFileError(path, "no section [ moleculetype ]; give a GROMACS .top or .itp")
            whole = Path(folder) / "whole.top"
            ending = f"\n[ system ]\none\n\n[ molecules ]\n{name[1]} 1\n"
            whole.write_text(f'{_DEFAULTS}#include "{path.resolve()}"\n{ending}', encoding="utf-8")
        try:
            structure = GromacsTopologyFile(str(whole))
        except Exception as error:  # ParmEd raises whatever its parser trips over
            told = f"cannot be read as a GROMACS topology: {_trouble(error, text)} (ParmEd {parmed.__version__})"
            raise BadFileError(path, told) from error
    lacking = [
        kind
        for kind in ("bonds", "angles", "dihedrals", "rb_torsions")
        for one in getattr(structure, kind)
        if not one.type
    ]
    if lacking:
        raise BadFileError(path, f"some {lacking[0]} have no numbers; give the .top with its force field included")
    return structure


def _trouble(error: Exception, text: str) -> str:
    """What is wrong and where, in one line; ParmEd itself says so only in errors of its own making."""
    from parmed.exceptions import ParmedError

    if isinstance(error, ParmedError) and str(error):
        return str(error).splitlines()[0][:150]
    # Its reader keeps the line that it is at, but tells nobody; once all are read, `itplist` is set.
    for frame, _line in traceback.walk_tb(error.__traceback__):
        found = frame.f_locals
        if frame.f_code.co_name == "read" and "itplist" not in found and isinstance(row := found.get("line"), str):
            bare = [line.partition(";")[0].strip() for line in text.splitlines()]
            place = f"line {bare.index(row) + 1}" if bare.count(row) == 1 else "a line"
            return f"{place} ({row[:60]!r}, section {found.get('current_section')})"
    if isinstance(error, KeyError) and error.args:
        return f"it names {str(error.args[0])[:60]!r}, which is not there"
    return "ParmEd does not say what is wrong"


def _check_rules(path: Path, structure: Any) -> None:
    rules = structure.defaults
    if int(rules.comb_rule) != 3 or abs(rules.fudgeLJ - 0.5) > 1e-6 or abs(rules.fudgeQQ - 0.5) > 1e-6:
        raise BadFileError(
            path,
            f"combination rule {rules.comb_rule} with 1-4 factors {rules.fudgeLJ:g} and {rules.fudgeQQ:g}, where OPLS-AA "
            "has 3, 0.5 and 0.5; these numbers do not go together",
        )
    for kind in ("urey_bradleys", "impropers", "cmaps"):
        if len(getattr(structure, kind)):
            raise BadFileError(path, f"has {kind.replace('_', '-')}, which this force field has no form for")


def _part(path: Path, part: Any) -> list[float]:
    phase = round(float(part.phase) % 360, 6)
    if phase not in (0.0, 180.0):
        raise BadFileError(path, f"a dihedral with the phase {phase:g}; 0 and 180 are known")
    return [float(part.phi_k), int(part.per), int(phase)]


def _from_powers(c: list[float]) -> list[list[float]]:
    """Ryckaert-Bellemans sum c_n cos^n(phi - 180) as parts of OPLS's form, less a constant."""
    signed = [value * (-1) ** n for n, value in enumerate(c)]
    a = np.polynomial.chebyshev.poly2cheb(signed)
    parts = []
    for n, value in enumerate(a.tolist()):
        if n and abs(value) > 1e-9:
            parts.append([round(value, 9), n, 0] if n % 2 else [round(-value, 9), n, 180])
    return parts


def _sorted(parts: list[list[float]]) -> list[list[float]]:
    return sorted(([round(k, 9), n, d] for k, n, d in parts if k), key=lambda part: (part[1], part[2]))
