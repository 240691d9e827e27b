"""A user's own molecule, from whatever file, made into a force-field file that everybody can read and mend.

What LigParGen, moltemplate or one's own hand wrote becomes YAML of the same form as the shipped sets: types found by the
whole molecule's pattern, every bonded term under its own classes. It goes into a folder of the user's and from there
through the same typing, the same errors and the same audit as all other numbers. The readers are
:mod:`atomflow.forcefield.importing_lammps` and :mod:`atomflow.forcefield.importing_gromacs`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import yaml
from ase.data import atomic_masses
from rdkit import Chem

from atomflow.errors import BadFileError
from atomflow.forcefield.assigning import KINDS, perceived
from atomflow.forcefield.library import canonical
from atomflow.model import GRADES, Molecule

#: Two numbers of a file that differ by less mean the same.
_SAME = 1e-3
#: Masses that differ by less are the same element, u.
_SAME_MASS_U = 0.6


@dataclass(frozen=True)
class ForeignAtom:
    """One atom as a file says it."""

    mass_u: float
    charge_e: float
    epsilon_kcal_per_mol: float
    sigma_A: float


@dataclass(frozen=True)
class Foreign:
    """What was read: atoms by their number, and for each kind of term its atoms and its numbers as YAML has them."""

    path: Path
    atoms: dict[int, ForeignAtom]
    groups: dict[str, list[tuple[tuple[int, ...], dict[str, Any]]]]


def as_yaml(foreign: Foreign, molecule: Molecule, *, source: str, grade: str) -> str:
    """The force-field file of one molecule; errors as the readers say."""
    if grade not in GRADES:
        raise BadFileError(foreign.path, f"grade must be one of {', '.join(GRADES)}")
    order = _matched(foreign, molecule)
    names = _classes(molecule)
    said = {"source": "file", "grade": grade}
    body: dict[str, Any] = {
        "name": f"own_{_safe(molecule.name)}",
        "about": f"{molecule.name} as in {foreign.path.name}",
        "sources": {"file": source},
        "types": [entry | said for entry in _types(foreign, molecule, order, names)],
    }
    for kind in KINDS:
        body[kind] = [entry | said for entry in _terms(foreign, kind, molecule, order, names)]
    return yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=140)


def _matched(foreign: Foreign, molecule: Molecule) -> dict[int, int]:
    """Atom of the file -> atom of the molecule."""
    theirs = nx.Graph()
    for number, atom in foreign.atoms.items():
        theirs.add_node(number, mass=atom.mass_u)
    theirs.add_edges_from(atoms for atoms, _numbers in foreign.groups["bonds"])
    ours = nx.Graph()
    for atom in molecule.graph.GetAtoms():
        # Standard weights, as files have them; bromine's is not near that of any isotope of it.
        ours.add_node(atom.GetIdx(), mass=float(atomic_masses[atom.GetAtomicNum()]))
    ours.add_edges_from((b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.graph.GetBonds())
    matcher = nx.isomorphism.GraphMatcher(
        theirs, ours, node_match=lambda a, b: abs(a.get("mass", -1) - b["mass"]) < _SAME_MASS_U
    )
    if not matcher.is_isomorphic():
        raise BadFileError(foreign.path, f"does not hold {molecule.name} ({molecule.formula}) once, with its bonds")
    return dict(matcher.mapping)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "molecule"


def _classes(molecule: Molecule) -> list[str]:
    """One class for atoms that no one can tell apart; the molecule's name in front keeps it to this molecule."""
    ranks = list(Chem.CanonicalRankAtoms(molecule.graph, breakTies=False))
    first = {rank: index for index, rank in reversed(list(enumerate(ranks)))}
    return [
        f"{_safe(molecule.name)}:{molecule.graph.GetAtomWithIdx(first[rank]).GetSymbol()}{first[rank] + 1}"
        for rank in ranks
    ]


def _types(foreign: Foreign, molecule: Molecule, order: dict[int, int], names: list[str]) -> list[dict[str, Any]]:
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    place: dict[str, int] = {}
    for number, atom in foreign.atoms.items():
        name = names[order[number]]
        found[name].append((atom.charge_e, atom.epsilon_kcal_per_mol, atom.sigma_A))
        place.setdefault(name, order[number])
    types = []
    for name, rows in found.items():
        if np.ptp(np.array(rows), axis=0).max() > _SAME:
            raise BadFileError(
                foreign.path, f"equivalent atoms ({name}) have different charges or Lennard-Jones numbers"
            )
        charge, epsilon, sigma = (round(float(value), 9) for value in np.mean(rows, axis=0))
        smarts = Chem.MolToSmarts(molecule.graph, rootedAtAtom=place[name])
        types.append(
            {"name": name, "smarts": smarts, "class": name, "charge": charge, "epsilon": epsilon, "sigma": sigma}
        )
    return types


def _terms(
    foreign: Foreign, kind: str, molecule: Molecule, order: dict[int, int], names: list[str]
) -> list[dict[str, Any]]:
    word = KINDS[kind][0]
    # What a file leaves out has no energy in its program; said here, so that it can be seen.
    found: dict[tuple[str, ...], dict[str, Any] | None] = {}
    for row in perceived(molecule.graph, names)[kind].tolist():
        ordered = [row[2], row[0], row[1], row[3]] if kind == "impropers" else row
        found[canonical(kind, tuple(names[index] for index in ordered))] = None
    for atoms, numbers in foreign.groups[kind]:
        if any(atom not in order for atom in atoms):
            raise BadFileError(foreign.path, f"a {word} names an atom that is not there")
        place = [order[atom] for atom in atoms]
        if kind == "impropers":
            place = _centre_first(foreign.path, molecule, place)
        key = canonical(kind, tuple(names[index] for index in place))
        if key not in found:
            raise BadFileError(foreign.path, f"the {word} {'-'.join(key)} does not follow the bonds")
        before = found[key]
        if before is not None and before != numbers:
            raise BadFileError(foreign.path, f"equivalent {kind} ({'-'.join(key)}) have different coefficients")
        found[key] = numbers
    lacking = [key for key, numbers in found.items() if numbers is None]
    if lacking and kind in ("bonds", "angles"):
        raise BadFileError(foreign.path, f"has no {word} for {'-'.join(lacking[0])}")
    return [{"classes": "-".join(key), **(numbers or {"opls": []})} for key, numbers in found.items()]


def _centre_first(path: Path, molecule: Molecule, row: list[int]) -> list[int]:
    for centre in row:
        beside = {atom.GetIdx() for atom in molecule.graph.GetAtomWithIdx(centre).GetNeighbors()}
        if beside == set(row) - {centre}:
            return [centre, *(index for index in row if index != centre)]
    raise BadFileError(path, "an improper has no atom that is bonded to the three others and to nothing else")
