"""Vibrations and what is made of them, against ASE and textbook molecules."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule as ase_molecule
from ase.thermochemistry import IdealGasThermo
from ase.vibrations import Vibrations as ASEVibrations

from atomflow.build import molecule
from atomflow.calculators import as_spec
from atomflow.energetics import binding_energy, ladder, relax, vibrations
from atomflow.energetics.vibrations import STANDARD_PRESSURE_PA

tblite = pytest.importorskip("tblite.ase")
XTB = as_spec("xtb:accuracy=0.01")
#: Shape, rotational symmetry number, number of modes: textbook values.
MOLECULES = {
    "H2O": ("nonlinear", 2, 3),
    "NH3": ("nonlinear", 3, 6),
    "CH4": ("nonlinear", 12, 9),
    "N2": ("linear", 2, 1),
    "CO": ("linear", 1, 1),
    "CO2": ("linear", 2, 4),
    "HCN": ("linear", 1, 4),
}


@pytest.fixture(scope="module", params=MOLECULES)
def case(request):
    atoms = relax(ase_molecule(request.param), XTB, 0.001).atoms
    return request.param, atoms, vibrations(atoms, XTB)


def test_there_are_as_many_modes_as_there_should_be(case):
    name, _, found = case
    assert len(found.frequencies_per_cm) == MOLECULES[name][2]
    assert found.is_minimum
    assert list(found.frequencies_per_cm) == sorted(found.frequencies_per_cm)


def test_frequencies_and_zero_point_are_those_of_ase(case, tmp_path):
    name, atoms, found = case
    atoms = atoms.copy()
    atoms.calc = tblite.TBLite(method="GFN2-xTB", accuracy=0.01, verbosity=0)
    theirs = ASEVibrations(atoms, name=str(tmp_path / "vib"), delta=0.005)
    theirs.run()
    modes = MOLECULES[name][2]
    frequencies = np.sort(np.real(theirs.get_frequencies()))[-modes:]
    assert found.frequencies_per_cm == pytest.approx(frequencies, abs=5)
    assert found.zero_point_eV == pytest.approx(frequencies.sum() / 2 * units.invcm, abs=1e-3)


def test_enthalpy_and_free_energy_are_the_ideal_gas_s(case):
    name, atoms, found = case
    shape, symmetry, _ = MOLECULES[name]
    gas = IdealGasThermo(
        vib_energies=np.array(found.frequencies_per_cm) * units.invcm,
        geometry=shape,
        atoms=atoms,
        symmetrynumber=symmetry,
        spin=0,
    )
    assert found.enthalpy_eV == pytest.approx(gas.get_enthalpy(298.15, verbose=False), abs=1e-6)
    free = gas.get_gibbs_energy(298.15, STANDARD_PRESSURE_PA, verbose=False)
    assert found.gibbs_eV == pytest.approx(free, abs=1e-6)


def test_turning_the_molecule_changes_nothing():
    atoms = relax(ase_molecule("NH3"), XTB, 0.001).atoms
    first = vibrations(atoms, XTB)
    atoms.rotate(77, (1, 2, 3))
    atoms.translate((3, -4, 5))
    second = vibrations(atoms, XTB)
    assert second.frequencies_per_cm == pytest.approx(first.frequencies_per_cm, abs=2)
    assert second.gibbs_eV == pytest.approx(first.gibbs_eV, abs=1e-3)


def test_a_saddle_is_seen_with_the_way_down():
    """Planar ammonia: the umbrella mode is imaginary and moves N against the hydrogens."""
    angles = np.radians([0, 120, 240])
    ring = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(3)])
    atoms = Atoms("NH3", np.vstack([[0, 0, 0], 1.0 * ring]))
    found = vibrations(relax(atoms, XTB, 0.001).atoms, XTB)
    assert not found.is_minimum
    assert found.frequencies_per_cm[0] < -300
    assert np.abs(found.lowest_mode[:, 2]).min() > 10 * np.abs(found.lowest_mode[:, :2]).max()
    assert np.sign(found.lowest_mode[0, 2]) != np.sign(found.lowest_mode[1, 2])


def test_binding_with_vibrations_adds_up():
    """H = E + (H - E of the complex) - (those of the parts), with a bare ion that only flies."""
    found = binding_energy(molecule("Li+"), [molecule("water")], ladder("xtb", hessian=True), starts=1)
    assert found.true_minimum
    assert found.temperature_K == 298.15
    assert "1 bar" in found.standard_state
    assert 0.02 < found.zero_point_eV < 0.2  # six new modes
    assert found.enthalpy_eV == pytest.approx(found.binding_energy_eV + 0.06, abs=0.06)
    # Two particles become one: 100-150 J/mol/K are lost, 0.3-0.5 eV at room temperature.
    assert 0.2 < found.gibbs_eV - found.enthalpy_eV < 0.6
    without = binding_energy(molecule("Li+"), [molecule("water")], ladder("xtb"), starts=1)
    assert without.binding_energy_eV == pytest.approx(found.binding_energy_eV, abs=1e-9)
    assert (without.zero_point_eV, without.enthalpy_eV, without.gibbs_eV, without.true_minimum) == (None,) * 4
