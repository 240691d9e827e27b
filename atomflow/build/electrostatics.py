"""Electrostatic energies as matrices: ``energy = q.M.q`` for any charges on the same sites.

Crystals by pymatgen's Ewald sum with unit charges. A slab is summed in the same way in its cell with vacuum, plus the
dipole term of Yeh and Berkowitz (doi 10.1063/1.479595), which takes away what its images above and below do to it. A
particle is summed pair by pair.
"""

from __future__ import annotations

import warnings

import numpy as np
from ase.units import Bohr, Hartree
from scipy.spatial.distance import pdist, squareform

#: e^2 / (4 pi epsilon_0), eV A.
COULOMB_EV_A = Hartree * Bohr


def coulomb_matrix(lattice_A: np.ndarray, periodic: tuple[bool, bool, bool], positions_A: np.ndarray) -> np.ndarray:
    """The matrix of a crystal, of a slab whose third vector is not periodic, or of a particle.

    Parameters
    ----------
    lattice_A : array (3, 3)
        Rows are the cell vectors; of a slab, with its vacuum. Not used for a particle.
    periodic : three bools
        All, the first two, or none.
    positions_A : array (n, 3)

    Returns
    -------
    array (n, n)
        eV/e^2, symmetric. The energy of neutral charges ``q`` (e) is ``q @ M @ q``.

    Raises
    ------
    ValueError
        For any other periodicity.
    """
    if periodic == (True, True, True):
        return _ewald(lattice_A, positions_A)
    if periodic == (True, True, False):
        normal = np.cross(lattice_A[0], lattice_A[1])
        height = positions_A @ (normal / np.linalg.norm(normal))
        height = height - height.mean()
        volume = abs(np.linalg.det(lattice_A))
        return _ewald(lattice_A, positions_A) + 2.0 * np.pi * COULOMB_EV_A / volume * np.outer(height, height)
    if periodic == (False, False, False):
        distance = squareform(pdist(positions_A))
        np.fill_diagonal(distance, np.inf)
        return 0.5 * COULOMB_EV_A / distance
    raise ValueError(f"periodic must be all, the first two or none, not {periodic}")


def _ewald(lattice_A: np.ndarray, positions_A: np.ndarray) -> np.ndarray:
    from pymatgen.analysis.ewald import EwaldSummation
    from pymatgen.core import Lattice, Structure

    # Alternative sites may all but coincide, so validity of distances is not asked for.
    unit = Structure(Lattice(lattice_A), ["H+"] * len(positions_A), positions_A, coords_are_cartesian=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Cc]harge.*")  # unit charges are not neutral, and need not be
        matrix = np.asarray(EwaldSummation(unit).total_energy_matrix)
    return 0.5 * (matrix + matrix.T)
