"""Elements from masses and from names, where they leave no doubt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

#: A mass names an element when it is this near to that element's and to no other's.
NEAR_U = 0.1
#: Nearer, where united atoms and repartitioned masses come close: CH2 14.027 to N 14.007, CH4 16.043 to O 15.999,
#: hydrogen of 4.032 to He, C of 11.99 to N less two.
_NEARER_U = {"He": 0.01, "C": 0.015, "N": 0.012, "O": 0.02, "F": 0.02, "H": 0.05}
#: Hydrogens that were given mass from their neighbours: 2, 3 or 4 u. The neighbours' masses then mislead.
_HEAVY_HYDROGEN_U = ((1.9, 2.2), (2.9, 3.1), (4.02, 4.05))
_BEAR_HYDROGEN = ("B", "C", "N", "O")
_MASSES = np.array(atomic_masses[1:104])


def element_of_mass(mass_u: float) -> str:
    """Symbol of the one element of this mass; "" for united atoms, beads, dummies and whatever is not certain."""
    away = np.abs(_MASSES - mass_u)
    near = np.flatnonzero(away <= NEAR_U)
    if len(near) != 1:
        return ""
    symbol = chemical_symbols[int(near[0]) + 1]
    return symbol if away[near[0]] <= _NEARER_U.get(symbol, NEAR_U) else ""


def elements_of_types(masses_u: Mapping[str, float], labels: Mapping[str, str] | None = None) -> dict[str, str]:
    """Type -> symbol or "", from the masses of all types; ``labels`` settle what a mass leaves open.

    Masses that are all one (a bead model), or repartitioned to the hydrogens, are not trusted.
    """
    labels = labels or {}
    found = {kind: element_of_mass(mass) for kind, mass in masses_u.items()}
    if set(masses_u.values()) == {1.0}:
        found = dict.fromkeys(found, "")
    if any(low <= mass <= high for mass in masses_u.values() for low, high in _HEAVY_HYDROGEN_U):
        found = {kind: "" if symbol in _BEAR_HYDROGEN else symbol for kind, symbol in found.items()}
    for kind, label in labels.items():
        number = atomic_numbers.get(label, 0)
        # Nothing else is within 1.5 u of a label that is a symbol: the cores of polarisable atoms, isotopes.
        if number and not found.get(kind, "?") and abs(atomic_masses[number] - masses_u[kind]) < 1.5:
            found[kind] = label
    return found


def element_of_name(name: str, alone: bool) -> str:
    """Symbol that an atom name of a GRO or PDB file means; "" where it may mean two.

    Parameters
    ----------
    name : str
        ``OW``, ``HW1``, ``CL-``, ``C12``, ``Si3``.
    alone : bool
        The atom is a residue by itself, an ion: ``NA`` is then sodium, ``CA`` calcium.
    """
    letters = re.match(r"[0-9]*([A-Za-z]*)", name.strip())
    text = letters.group(1) if letters else ""
    symbol = text.capitalize()
    if alone and atomic_numbers.get(symbol, 0):
        return symbol
    if text[:2] in ("Cl", "Br", "Si", "Li", "Na") or text in ("CL", "BR", "SI", "FE", "CU"):
        return text[:2].capitalize()
    if text[:1].upper() in ("H", "B", "C", "N", "O", "F", "P", "S"):
        return text[:1].upper()
    return symbol if atomic_numbers.get(symbol, 0) else ""


#: CHARMM's own names of ions, of atom and residue alike (toppar_water_ions.str of its force fields).
_CHARMM_IONS = {
    "LIT": "Li", "SOD": "Na", "POT": "K", "RUB": "Rb", "CES": "Cs", "CAL": "Ca", "BAR": "Ba", "CAD": "Cd", "CLA": "Cl",
}  # fmt: skip
#: Residues that hold one ion of any kind.
_OF_IONS = ("ION", "IONS")


def elements_of_atoms(
    names: Sequence[str], resnames: Sequence[str] | None, residues: Sequence[int] | None
) -> list[str]:
    """Symbols that the names of atoms in their residues mean, "" where they may mean two or nothing.

    An atom is an ion when it is alone in its residue, or all atoms of this residue name have its name (files that
    count no residues), and the residue says so: it is called as the atom (``NA`` of ``NA+``, not the bead ``PO4``), or
    as CHARMM calls ions, or ``ION``.
    """
    alone = _alone(names, resnames, residues)
    cases = list(zip(names, resnames if resnames is not None else [""] * len(names), alone, strict=True))
    table = {case: _element_in_residue(*case) for case in dict.fromkeys(cases)}
    return [table[case] for case in cases]


def _alone(names: Sequence[str], resnames: Sequence[str] | None, residues: Sequence[int] | None) -> list[bool]:
    alone = [False] * len(names)
    if residues is not None and len(names):
        _, which, counts = np.unique(np.asarray(residues), return_inverse=True, return_counts=True)
        alone = (counts[which] == 1).tolist()
    if resnames is None:
        return alone
    called: dict[str, set[str]] = {}
    for name, residue in zip(names, resnames, strict=True):
        called.setdefault(residue, set()).add(name)
    return [one or len(called[residue]) == 1 for one, residue in zip(alone, resnames, strict=True)]


def _element_in_residue(name: str, residue: str, alone: bool) -> str:
    letters, around = (re.sub("[^A-Za-z]", "", text).upper() for text in (name, residue))
    if alone and (ion := _CHARMM_IONS.get(letters) or _CHARMM_IONS.get(around)):
        return ion
    return element_of_name(name, alone and (letters == around or around in _OF_IONS))


#: How names of sites without a nucleus begin: the fourth site of water, lone pairs.
MASSLESS = ("MW", "EP", "LP", "VS", "DUM")


def known_symbols(names: Sequence[str]) -> list[str]:
    """Symbols in their proper case, "" for what is none: ``CL`` becomes ``Cl``, ``X`` and ``CT`` become ""."""
    proper = {name: name.strip().capitalize() for name in set(names)}
    return [proper[name] if atomic_numbers.get(proper[name], 0) else "" for name in names]


def symbols_of_names(names: Sequence[str]) -> list[str]:
    """Symbols of atom names as XYZ files and dumps have them, "" where a name is none.

    ``Li`` and ``Li1`` are lithium. ``LI`` is, too, where every name is a symbol in some case; beside names such as
    ``CB``, ``CA`` is a carbon of a protein and not calcium.
    """
    kinds = set(names)
    shouted = all(atomic_numbers.get(name.strip().capitalize(), 0) for name in kinds)
    table: dict[str, str] = {}
    for name in kinds:
        match = re.fullmatch(r"([A-Z][a-z]?)[0-9]*", name.strip())
        symbol = name.strip().capitalize() if shouted else match.group(1) if match else ""
        table[name] = symbol if atomic_numbers.get(symbol, 0) else ""
    return [table[name] for name in names]


def masses_of_elements(symbols: Sequence[str]) -> np.ndarray:
    """(n,) standard masses in u; nan where the element is not known."""
    table = {symbol: atomic_masses[atomic_numbers[symbol]] if symbol else np.nan for symbol in set(symbols)}
    return np.array([table[symbol] for symbol in symbols])
