"""The species library as graphs of elements and bonds, and the donors that a graph has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from atomflow.trajectory.molecule_graphs import bare_graph, find_molecules

if TYPE_CHECKING:
    from atomflow.build import Species
    from atomflow.model import Molecule

#: Donors are offered when they are at least this fraction of the best one of their molecule: TFSI- by O and N, not by F.
WORTH = 0.5


@dataclass(frozen=True, eq=False)
class Known:
    """A species of the library, ready to be compared.

    Attributes
    ----------
    name, label : str
        Name in the library, and what it is called in labels.
    role : str
        ``cation``, ``anion``, ``solvent``, ...
    charge : int
    graph : rdkit.Chem.Mol
        Elements and single bonds; no bonds where species are told by their formula.
    donors : tuple of str
        Elements of the donors worth a look.
    """

    name: str
    label: str
    role: str
    charge: int
    graph: Any
    donors: tuple[str, ...]


def library_graphs(folders: Iterable[str | Path] = (), *, by_formula: bool = False) -> dict[int, list[Known]]:
    """Key of a molecule's graph (see :func:`find_molecules`) -> the species with it.

    Parameters
    ----------
    folders : paths
        The user's folders, before the library.
    by_formula : bool
        Leave the bonds out: equal keys are equal formulas.
    """
    from atomflow.build.species import list_species

    return _graphs(tuple(list_species(folders)), by_formula)


@lru_cache(maxsize=4)
def _graphs(entries: tuple[Species, ...], by_formula: bool) -> dict[int, list[Known]]:
    from rdkit import Chem

    found: dict[int, list[Known]] = {}
    for entry in entries:
        molecule = Chem.AddHs(Chem.MolFromSmiles(entry.smiles))
        numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], np.intp)
        pairs = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
        bonds = np.array(pairs, np.intp).reshape(-1, 2)
        donors, best = donors_by_element(bare_graph(numbers, bonds), entry.charge, numbers)
        worth = tuple(element for element in donors if best[element] >= WORTH * max(best.values()))
        bonds = bonds[:0] if by_formula else bonds
        key = int(find_molecules(numbers, bonds, np.zeros(len(numbers), np.intp)).keys[0])
        label = _label(entry.name, entry.aliases, entry.charge)
        known = Known(entry.name, label, entry.role, entry.charge, bare_graph(numbers, bonds), worth)
        found.setdefault(key, []).append(known)
    return found


def _label(name: str, aliases: Sequence[str], charge: int) -> str:
    """Name for labels: without the charge, and without what the command line reads as a sign."""
    usable = [text for text in (name, *aliases) if re.fullmatch(r"[\w.+-]+", text)]
    text = usable[0] if usable else re.sub(r"[^\w.+-]", "", name)
    return re.sub(r"[+-]+$", "", text) if charge else text


def donors_by_element(
    graph: Any, charge: float, numbers: NDArray[np.intp]
) -> tuple[dict[str, NDArray[np.intp]], dict[str, float]]:
    """Element -> places of its donor atoms in a graph, and element -> largest weight (see ``atomflow.build``)."""
    from atomflow.build.donors import donor_atoms

    places: dict[str, list[int]] = {}
    best: dict[str, float] = {}
    # It reads the graph and the charge only; a Molecule would need coordinates.
    for place, weight in donor_atoms(cast("Molecule", SimpleNamespace(graph=graph, charge=charge))).items():
        symbol = chemical_symbols[numbers[place]]
        places.setdefault(symbol, []).append(place)
        best[symbol] = max(best.get(symbol, 0.0), weight)
    return {symbol: np.array(atoms, np.intp) for symbol, atoms in places.items()}, best
