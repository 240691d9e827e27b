"""What surfaces and particles share: polyhedra that stay whole, the frame that is cut, and the shells that are counted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from atomflow.build.crystals import Crystal
from atomflow.build.parent import Parent

#: A first shell ends in the widest gap of distances below this multiple of its shortest bond.
_SHELL = 1.45
#: Bonds are sought between these distances, A: below, sites are alternatives of each other.
_NEAREST_A, _FURTHEST_A = 1.0, 4.6
#: How far beyond its shell an ion may sit and still belong to a model.
_STRETCH = 1.15


def frame_classes(parent: Parent, crystal: Crystal) -> list[int]:
    """Site classes whose arrangement is cut and then left alone.

    Centres of whole polyhedra; without any, the ion of highest charge on fully occupied sites, cations first.
    """
    centres = {element for unit in crystal.units for element in unit.centre}
    full = [n for n, kind in enumerate(parent.classes) if kind.full]
    frame = [n for n in full if set(parent.classes[n].species) & centres]
    if frame or not full:
        return frame

    def rank(n: int) -> tuple[float, float]:
        charge = parent.charges[parent.classes[n].species[0]]
        return abs(charge), charge

    most = parent.classes[max(full, key=rank)].species
    return [n for n in full if parent.classes[n].species == most]


def ligands(parent: Parent, crystal: Crystal, places: Atoms) -> dict[int, tuple[int, np.ndarray]]:
    """For every site that belongs to a polyhedron: the site of its centre, and the vector (A) from there.

    Parameters
    ----------
    places : Atoms
        Sites of a periodic cell, numbered as in ``parent``.
    """
    found: dict[int, tuple[int, np.ndarray]] = {}
    species = [parent.classes[number - 1].species for number in places.numbers]
    for unit in crystal.units:
        i, j, d, vectors = neighbor_list("ijdD", places, unit.within_A)
        order = np.argsort(d, kind="stable")
        for centre, ligand, vector in zip(i[order], j[order], vectors[order], strict=True):
            if set(unit.centre) & set(species[centre]) and unit.ligand in species[ligand]:
                found.setdefault(int(ligand), (int(centre), vector))
    return found


def shells(parent: Parent) -> dict[tuple[str, str], float]:
    """Reach (A) of the first shell of anions around each cation: the middle of the widest gap after its first bond."""
    anions = [name for name in parent.formula if parent.charges.get(name, 0.0) < 0]
    cations = [name for name in parent.formula if parent.charges.get(name, 0.0) > 0]
    may = [set(kind.species) for kind in parent.classes]
    i, j, d = neighbor_list("ijd", parent.primitive, _FURTHEST_A)
    pairs = list(zip(parent.primitive.numbers[i] - 1, parent.primitive.numbers[j] - 1, d, strict=True))
    found = {}
    for cation in cations:
        for anion in anions:
            lengths = np.unique([r for a, b, r in pairs if cation in may[a] and anion in may[b] and r > _NEAREST_A])
            if len(lengths):
                lengths = np.append(lengths[lengths < _SHELL * lengths[0]], _SHELL * lengths[0])
                widest = int(np.argmax(np.diff(lengths)))
                found[cation, anion] = float(lengths[widest : widest + 2].mean())
    return found


def in_one_piece(atoms: Atoms, reach: Mapping[tuple[str, str], float]) -> bool:
    """Whether bonds between cations and anions, somewhat stretched, hold a model together; true without any anions."""
    symbols = np.array(atoms.get_chemical_symbols())
    i, j, d = neighbor_list("ijd", atoms, _STRETCH * max(reach.values(), default=0.1))
    limits = {frozenset(pair): _STRETCH * within for pair, within in reach.items()}
    bonded = [r < limits.get(frozenset(pair), 0.0) for *pair, r in zip(symbols[i], symbols[j], d, strict=True)]
    if not any(bonded):
        return True
    edges = csr_matrix((np.ones(sum(bonded)), (i[bonded], j[bonded])), shape=(len(atoms), len(atoms)))
    return bool(connected_components(edges, directed=False)[0] == 1)
