"""Second derivatives of the energy, from any ASE calculator."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

_STEP_A = 0.005


def hessian(atoms: Atoms, calc: Calculator) -> np.ndarray:
    """Second derivatives, shape (3n, 3n), eV/angstrom^2: the calculator's own, else central differences of forces."""
    own = getattr(calc, "get_hessian", None)
    if own is not None:
        return np.asarray(own(atoms)).reshape(3 * len(atoms), 3 * len(atoms))
    size = 3 * len(atoms)
    matrix = np.empty((size, size))
    moved = atoms.copy()
    moved.calc = calc
    start = atoms.get_positions()
    for column in range(size):
        forces = []
        for sign in (1, -1):
            positions = start.copy()
            positions.flat[column] += sign * _STEP_A
            moved.set_positions(positions)
            forces.append(moved.get_forces().ravel())
        matrix[column] = -(forces[0] - forces[1]) / (2 * _STEP_A)
    return 0.5 * (matrix + matrix.T)
