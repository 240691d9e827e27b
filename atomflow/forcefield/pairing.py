"""Which atoms see each other and how: mixed Lennard-Jones numbers, excluded pairs, 1-4 pairs, the cell as engines want it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from atomflow.model import System

#: Coulomb's constant, kcal/mol A/e2, in LAMMPS' ``units real`` (qqr2e in its update.cpp). OpenMM uses 332.06371330
#: (138.93545764 kJ/mol nm/e2, from CODATA 2018), which is more by 1.0e-8 of it.
COULOMB_LAMMPS = 332.06371
COULOMB_OPENMM = 332.06371329919205


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Pairs of atoms that bonds set apart, each as (lower, higher).

    Attributes
    ----------
    excluded : (n, 2) int array
        One or two bonds apart: they do not see each other.
    one_four : (m, 2) int array
        Three bonds apart by the shortest way.
    """

    excluded: NDArray[np.intp]
    one_four: NDArray[np.intp]


def neighbours(system: System) -> Neighbours:
    """Pairs one to three bonds apart, without those inside held molecules (see :func:`held_of_atom`)."""
    n = len(system)
    ends = system.bonds.atoms.reshape(-1, 2)
    ones = np.ones(len(ends), dtype=np.int64)
    one = sparse.coo_matrix((ones, (ends[:, 0], ends[:, 1])), shape=(n, n)).tocsr()
    one = one + one.T
    near = ((one + one @ one) > 0).astype(np.int64)
    three = (one @ one @ one > 0).astype(np.int64)
    three = three - three.multiply(near)
    held = held_of_atom(system)
    return Neighbours(_pairs(near, held), _pairs(three, held))


def _pairs(matrix: sparse.csr_matrix, held: NDArray[np.intp]) -> NDArray[np.intp]:
    upper = sparse.triu(matrix, k=1).tocoo()
    pairs = np.column_stack((upper.row, upper.col))[upper.data > 0].astype(np.intp)
    pairs = pairs[(held[pairs[:, 0]] < 0) | (held[pairs[:, 0]] != held[pairs[:, 1]])]
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def held_of_atom(system: System) -> NDArray[np.intp]:
    """Held molecule of each atom, -1 for atoms that move freely, (n_atoms,)."""
    molecule = system.box.molecule_of_atom
    return np.where(np.isin(molecule, system.held), molecule, -1).astype(np.intp)


def pair_tables(system: System) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epsilon (kcal/mol) and sigma (A) for each two types: geometric means, replaced where the system has a PairTerm."""
    epsilon = np.array([one.epsilon_kcal_per_mol for one in system.types])
    sigma = np.array([one.sigma_A for one in system.types])
    epsilons, sigmas = np.sqrt(np.outer(epsilon, epsilon)), np.sqrt(np.outer(sigma, sigma))
    # The root of a square is not always the number itself.
    np.fill_diagonal(epsilons, epsilon)
    np.fill_diagonal(sigmas, sigma)
    place = {one.name: index for index, one in enumerate(system.types)}
    for pair in system.pairs:
        if set(pair.types) <= place.keys():
            i, j = (place[name] for name in pair.types)
            epsilons[i, j] = epsilons[j, i] = pair.epsilon_kcal_per_mol
            sigmas[i, j] = sigmas[j, i] = pair.sigma_A
    return epsilons, sigmas


def lower_cell(cell_A: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same lattice as LAMMPS and OpenMM want it: a along x, b in the xy plane, tilts at most half a length.

    Returns
    -------
    cell_A : (3, 3) array
        Lower triangular with a positive diagonal; vectors in rows.
    rotation : (3, 3) array
        ``positions @ rotation`` are the positions in that cell.
    """
    cell = np.array(cell_A, dtype=np.float64)
    if np.linalg.det(cell) < 0:
        cell[2] *= -1  # the same lattice from a right-handed triple, so that a rotation leads to it
    if not cell[np.triu_indices(3, 1)].any() and (np.diag(cell) > 0).all():
        turned, rotation = cell, np.eye(3)
    else:
        x = cell[0] / np.linalg.norm(cell[0])
        z = np.cross(cell[0], cell[1])
        z /= np.linalg.norm(z)
        rotation = np.column_stack((x, np.cross(z, x), z))
        turned = np.tril(cell @ rotation)
    turned[2] -= turned[1] * np.round(turned[2, 1] / turned[1, 1])
    turned[2] -= turned[0] * np.round(turned[2, 0] / turned[0, 0])
    turned[1] -= turned[0] * np.round(turned[1, 0] / turned[0, 0])
    return turned, rotation
