"""What surfaces and particles share: polyhedra that stay whole, the frame that is cut, and the shells that are counted."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from atomflow.build.crystals import Crystal
from atomflow.build.parent import Parent

#: A first shell reaches this much further than its shortest bond: La-O in garnets is 2.51-2.59 A, the next above 3.2.
SHELL = 1.2


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
    """Reach (A) of the first shell of anions around each cation."""
    anions = [name for name in parent.formula if parent.charges.get(name, 0.0) < 0]
    cations = [name for name in parent.formula if parent.charges.get(name, 0.0) > 0]
    places = parent.primitive
    i, j, d = neighbor_list("ijd", places, 3.5)
    may = [set(kind.species) for kind in parent.classes]
    which = places.numbers - 1
    found = {}
    for cation in cations:
        for anion in anions:
            bonds = [
                distance
                for a, b, distance in zip(which[i], which[j], d, strict=True)
                if cation in may[a] and anion in may[b] and distance > 1.0
            ]
            if bonds:
                found[cation, anion] = SHELL * float(min(bonds))
    return found
