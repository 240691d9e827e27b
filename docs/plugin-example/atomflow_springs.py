"""A calculator for atomflow from outside: every pair of atoms on a Lennard-Jones spring. A toy, not a method."""

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Springs(Calculator):
    """Lennard-Jones between all pairs, one size for all elements (a toy that shows the interface)."""

    implemented_properties = ("energy", "forces")

    def __init__(self, depth_eV: float = 0.1, size_A: float = 1.5):
        super().__init__()
        self.depth_eV, self.size_A = float(depth_eV), float(size_A)
        self.method_label = f"springs({self.depth_eV} eV)"

    def supports(self, atoms, purpose="difference"):
        """Optional: why it must not be used for these atoms, or None."""
        return "springs know no periodic cells" if atoms.pbc.any() else None

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        """Energy (eV) and forces (eV/angstrom)."""
        super().calculate(atoms, properties, system_changes)
        i, j = np.triu_indices(len(self.atoms), 1)
        apart = self.atoms.positions[i] - self.atoms.positions[j]
        r = np.linalg.norm(apart, axis=1)
        six = (self.size_A / r) ** 6
        pull = (24 * self.depth_eV * (2 * six**2 - six) / r**2)[:, None] * apart
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        self.results = {"energy": float((4 * self.depth_eV * (six**2 - six)).sum()), "forces": forces}
