"""A user's own molecule from a LAMMPS data file with its coefficients, as LigParGen or moltemplate write it."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from atomflow.errors import BadFileError
from atomflow.forcefield.assigning import KINDS
from atomflow.forcefield.importing import Foreign, ForeignAtom, as_yaml
from atomflow.model import Molecule

_LARGEST_FILE_BYTES = 20 * 1024 * 1024

_SECTIONS = (
    "Masses", "Pair Coeffs", "Bond Coeffs", "Angle Coeffs", "Dihedral Coeffs", "Improper Coeffs", "Atoms", "Velocities",
    "Bonds", "Angles", "Dihedrals", "Impropers",
)  # fmt: skip
#: Our kind -> LAMMPS's word.
_WORDS = {"bonds": "Bond", "angles": "Angle", "torsions": "Dihedral", "impropers": "Improper"}
_STYLES = {
    "bonds": ("harmonic",),
    "angles": ("harmonic",),
    "torsions": ("opls", "fourier"),
    "impropers": ("cvff",),
}
#: Pairs whose rows begin with epsilon and sigma and say all there is to a pair.
_PAIR_STYLE = re.compile(r"lj/cut(/coul/(cut|debye|dsf|long|msm|wolf))?(/(gpu|intel|kk|omp|opt))?")
#: "units = real" as LAMMPS and moltemplate write it, or "units real"; not "6 units of ...".
_UNITS = re.compile(r"\bunits\s*(?:[=:]\s*(\w+)|\s(cgs|electron|lj|metal|micro|nano|real|si)\b)", re.IGNORECASE)


def import_lammps(path: str | Path, molecule: Molecule, *, source: str, grade: str = "secondary") -> str:
    """Force-field file (YAML) of one molecule from a LAMMPS data file.

    Parameters
    ----------
    path : path
        A data file of ``atom_style full`` (units real) that holds the molecule once, with its coefficients: pairs as
        ``lj/cut``, bonds and angles ``harmonic``, dihedrals ``opls`` or ``fourier`` (as the section's comment says, else
        ``opls``), impropers ``cvff``. Other units or styles that a comment states are refused.
    molecule : Molecule
        The same molecule, for its bonds' orders and its charge; atoms may stand in another order.
    source : str
        What made the file, for the audit.
    grade : str
        How far to trust it.

    Returns
    -------
    str
        To be written into a folder that is then given as ``folders=``.

    Notes
    -----
    Every torsion and improper that the file leaves out is written as known to be zero, as LAMMPS takes it. The angle of an
    improper is that of our order (two neighbours, the centre, the third), which for a bent centre is not quite that of a
    file with the centre first.

    Raises
    ------
    BadFileError
        When the file cannot be read so, is another molecule, or gives equivalent atoms or terms different numbers.
    """
    path = Path(path)
    sections, styles = _sections(path)
    foreign = Foreign(
        path=path,
        atoms={number: _atom(path, sections, number, words) for number, words in sections["Atoms"].items()},
        groups={kind: _groups(path, sections, styles, kind) for kind in KINDS},
    )
    return as_yaml(foreign, molecule, source=source, grade=grade)


def _sections(path: Path) -> tuple[dict[str, dict[int, list[str]]], dict[str, str]]:
    """Section -> number of the row -> its other words; and the style that a section's comment names."""
    try:
        with path.open("rb") as handle:
            raw = handle.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error
    if len(raw) > _LARGEST_FILE_BYTES:
        raise BadFileError(path, f"too much for one molecule, at most {_LARGEST_FILE_BYTES} bytes")
    sections: dict[str, dict[int, list[str]]] = defaultdict(dict)
    styles: dict[str, str] = {}
    current = ""
    for place, line in enumerate(raw.decode("utf-8", errors="replace").splitlines()):
        if not current and (units := _UNITS.search(line)) and (stated := units[1] or units[2]).lower() != "real":
            raise BadFileError(path, f"is in units {stated[:20]}; write it in units real")
        if not place:
            continue  # whatever the first line says, LAMMPS skips it
        text, _hash, comment = line.partition("#")
        text = " ".join(text.split())
        if text in _SECTIONS:
            current = text
            if comment.strip():
                styles[current] = comment.split()[0]
        elif text and current:
            number, *words = text.split(" ")
            if not number.isdecimal():
                raise BadFileError(path, f"section {current}: the row {text[:40]!r} does not begin with a number")
            sections[current][int(number)] = words
    for needed in ("Masses", "Pair Coeffs", "Atoms"):
        if not sections[needed]:
            raise BadFileError(path, f"no section {needed}; write the data file with its coefficients")
    if not _PAIR_STYLE.fullmatch(pairs := styles.get("Pair Coeffs", "lj/cut")):
        raise BadFileError(path, f"Pair Coeffs of style {pairs!r}; known are lj/cut and lj/cut/coul/long")
    if (atoms := styles.get("Atoms", "full")) != "full":
        raise BadFileError(path, f"Atoms of style {atoms!r}; known is full")
    return sections, styles


def _numbers(path: Path, words: list[str], many: int, where: str) -> list[float]:
    try:
        values = [float(word) for word in words[:many]]
    except ValueError:
        values = []
    if len(values) < many or not np.isfinite(values).all():
        raise BadFileError(path, f"{where}: {many} numbers are expected, not {' '.join(words)[:40]!r}")
    return values


def _whole(path: Path, words: list[str], many: int, where: str) -> list[int]:
    if len(words) < many or not all(word.isdecimal() for word in words[:many]):
        raise BadFileError(path, f"{where}: {many} whole numbers are expected, not {' '.join(words)[:40]!r}")
    return [int(word) for word in words[:many]]


def _atom(path: Path, sections: dict[str, dict[int, list[str]]], number: int, words: list[str]) -> ForeignAtom:
    type_ = _whole(path, words[1:], 1, f"atom {number}")[0]
    for section, what in (("Masses", "mass"), ("Pair Coeffs", "pair coefficients")):
        if type_ not in sections[section]:
            raise BadFileError(path, f"atom {number} is of type {type_}, which has no {what}")
    mass = _numbers(path, sections["Masses"][type_], 1, f"mass of type {type_}")[0]
    charge = _numbers(path, words[2:], 1, f"charge of atom {number}")[0]
    epsilon, sigma = _numbers(path, sections["Pair Coeffs"][type_], 2, f"pair coefficients of type {type_}")
    return ForeignAtom(mass, charge, epsilon, sigma)


def _groups(
    path: Path, sections: dict[str, dict[int, list[str]]], styles: dict[str, str], kind: str
) -> list[tuple[tuple[int, ...], dict[str, Any]]]:
    word, many = _WORDS[kind], KINDS[kind][1]
    style = styles.get(f"{word} Coeffs", _STYLES[kind][0])
    if style not in _STYLES[kind]:
        # charmm is not among them: its rows weigh the 1-4 pairs, too, and several of them make one torsion.
        raise BadFileError(path, f"{word} Coeffs of style {style!r}; known are {', '.join(_STYLES[kind])}")
    groups = []
    for number, words in sections[f"{word}s"].items():
        type_, *atoms = _whole(path, words, many + 1, f"{word.lower()} {number}")
        if type_ not in sections[f"{word} Coeffs"]:
            raise BadFileError(path, f"{word.lower()} type {type_} has no coefficients")
        groups.append((tuple(atoms), _coefficients(path, kind, style, sections[f"{word} Coeffs"][type_])))
    return groups


def _coefficients(path: Path, kind: str, style: str, words: list[str]) -> dict[str, Any]:
    where = f"{_WORDS[kind]} Coeffs"
    if kind in ("bonds", "angles"):
        k, x0 = _numbers(path, words, 2, where)
        return {"k": k, "r0" if kind == "bonds" else "theta0": x0}
    if style == "opls":
        return {"opls": _numbers(path, words, 4, where)}
    if style == "cvff":
        k, d, n = _numbers(path, words, 3, where)
        parts = [(k, n, 180.0 if d < 0 else 0.0)]
    else:
        many = _whole(path, words, 1, where)[0]
        if many < 1:
            raise BadFileError(path, f"{where}: {style} needs one part or more, not {many}")
        values = _numbers(path, words[1:], 3 * many, where)
        parts = [(values[3 * i], values[3 * i + 1], values[3 * i + 2]) for i in range(many)]
    for _k, n, d in parts:
        if n != int(n) or not 1 <= n <= 6 or d % 360 not in (0.0, 180.0):
            raise BadFileError(path, f"{where}: multiplicity 1 to 6 and phase 0 or 180 are known, not {n:g} and {d:g}")
    return {"cosines": [[k, int(n), int(d % 360)] for k, n, d in parts]}
