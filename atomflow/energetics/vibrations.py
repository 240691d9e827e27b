"""Second derivatives: is it a minimum, and what do zero point and temperature add?

Harmonic frequencies by geomeTRIC (translations and rotations projected out); rigid-rotor, harmonic-oscillator ideal gas
by ASE; rotational symmetry number by pymatgen.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.thermochemistry import IdealGasThermo

from atomflow.calculators import CalculatorSpec, build_calculator, suitable_threads
from atomflow.energetics.derivatives import hessian
from atomflow.model import record, step

#: An imaginary frequency below this is noise of integration grids and finite differences, not a downhill direction.
NOISE_PER_CM = 30.0
STANDARD_PRESSURE_PA = 1e5
#: Modes softer than this count as this much in entropies: a harmonic mode near zero has an entropy without bound.
_SOFTEST_PER_CM = 50.0


@record("atomflow.vibrations/1")
@dataclass(frozen=True)
class Vibrations:
    """Harmonic vibrations and the ideal-gas corrections made from them.

    Attributes
    ----------
    frequencies_per_cm : tuple of float
        Ascending; imaginary ones are negative.
    zero_point_eV : float
    enthalpy_eV, gibbs_eV : float
        What must be added to the electronic energy for H and G at ``temperature_K`` and 1 bar, zero point included.
    is_minimum : bool
        No frequency below -30 cm-1.
    lowest_mode : numpy.ndarray, shape (n, 3)
        Cartesian displacements of the first frequency.
    """

    frequencies_per_cm: tuple[float, ...]
    zero_point_eV: float
    enthalpy_eV: float
    gibbs_eV: float
    temperature_K: float
    is_minimum: bool
    lowest_mode: np.ndarray


@step(version="1")
def vibrations(atoms: Atoms, spec: CalculatorSpec, temperature_K: float = 298.15) -> Vibrations:
    """Vibrations of a relaxed molecule; a single atom has translation only."""
    if len(atoms) == 1:
        return _with_corrections(atoms, np.zeros(0), np.zeros((1, 3)), temperature_K)
    from geometric.normal_modes import frequency_analysis

    logging.getLogger("geometric").setLevel(logging.CRITICAL)
    calc = build_calculator(spec)
    with suitable_threads(calc):
        second = hessian(atoms, calc) * units.Bohr**2 / units.Hartree
    frequencies, modes, *_ = frequency_analysis(
        atoms.get_positions().ravel() / units.Bohr, second, elem=atoms.get_chemical_symbols(), mass=atoms.get_masses()
    )
    order = np.argsort(frequencies)
    lowest = np.asarray(modes[order[0]]).reshape(-1, 3)
    return _with_corrections(atoms, np.asarray(frequencies)[order], lowest, temperature_K)


def _with_corrections(atoms: Atoms, frequencies: np.ndarray, lowest: np.ndarray, temperature_K: float) -> Vibrations:
    real = frequencies[frequencies > 0]
    zero_point = 0.5 * float(real.sum()) * units.invcm
    # As many modes as a minimum has: an imaginary or very soft one enters the entropy at the floor.
    energies = np.maximum(frequencies, _SOFTEST_PER_CM) * units.invcm
    shape, symmetry = _rotor(atoms)
    thermo = IdealGasThermo(
        vib_energies=energies,
        geometry=shape,
        atoms=atoms,
        symmetrynumber=symmetry,
        spin=(int(atoms.info.get("spin", 1)) - 1) / 2,
    )
    shift = zero_point - 0.5 * float(energies.sum())
    enthalpy = thermo.get_enthalpy(temperature_K, verbose=False) + shift
    gibbs = thermo.get_gibbs_energy(temperature_K, STANDARD_PRESSURE_PA, verbose=False) + shift
    is_minimum = bool((frequencies > -NOISE_PER_CM).all())
    return Vibrations(
        tuple(map(float, frequencies)), zero_point, float(enthalpy), float(gibbs), temperature_K, is_minimum, lowest
    )


def _rotor(atoms: Atoms) -> tuple[str, int]:
    if len(atoms) == 1:
        return "monatomic", 1
    from pymatgen.core import Molecule as PmgMolecule
    from pymatgen.symmetry.analyzer import PointGroupAnalyzer

    group = PointGroupAnalyzer(PmgMolecule(atoms.get_chemical_symbols(), atoms.get_positions()), tolerance=0.1)
    moments = atoms.get_moments_of_inertia()
    if moments.min() < 1e-3 * moments.max():
        return "linear", 2 if group.sch_symbol == "D*h" else 1
    return "nonlinear", int(group.get_rotational_symmetry_number())
