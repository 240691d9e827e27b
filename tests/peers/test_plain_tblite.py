"""A whole reaction against a script that uses tblite alone: same geometries, same numbers."""

import numpy as np
import pytest
from ase.units import Bohr, Hartree

from atomflow.build import molecule
from atomflow.energetics import binding_energy, ladder
from atomflow.energetics.minima import run_serially
from atomflow.energetics.reactions import SearchSettings, reaction_energy

interface = pytest.importorskip("tblite.interface")


def energy(atoms, method="GFN2-xTB"):
    """tblite's own interface, no ASE in between."""
    calc = interface.Calculator(method, atoms.numbers, atoms.positions / Bohr, charge=atoms.info["charge"])
    calc.set("verbosity", 0)
    return calc.singlepoint().get("energy") * Hartree


@pytest.mark.parametrize(("calculator", "method"), [("xtb", "GFN2-xTB"), ("xtb:method=gfn1", "GFN1-xTB")])
@pytest.mark.parametrize(
    ("reactants", "products"),
    [
        ([("Li+",), ("water",)], [("Li+", "water")]),
        ([("Na+",), ("acetonitrile",), ("water",)], [("Na+", "acetonitrile", "water")]),
        ([("Li+", "BF4-")], [("Li+",), ("BF4-",)]),
        ([("Li+", "water"), ("Na+",)], [("Na+", "water"), ("Li+",)]),
    ],
    ids=lambda side: " & ".join("+".join(s) for s in side),
)
def test_reaction_energy_is_the_difference_of_tblite_energies(calculator, method, reactants, products):
    made = {name: molecule(name) for side in (reactants, products) for species in side for name in species}
    sides = [[tuple(made[name] for name in species) for species in side] for side in (reactants, products)]
    found = reaction_energy(*sides, ladder(calculator), SearchSettings(starts=2), run_serially)
    known = sum(energy(s.best.atoms, method) for s in found.products)
    known -= sum(energy(s.best.atoms, method) for s in found.reactants)
    assert found.energy_eV == pytest.approx(known, abs=1e-5)
    for search in (*found.reactants, *found.products):
        assert search.best.energy_eV == pytest.approx(energy(search.best.atoms, method), abs=1e-5)


def test_deformation_energy_is_the_host_s_own_shape_against_its_minimum():
    li, dmf = molecule("Li+"), molecule("DMF")
    found = binding_energy(li, [dmf], ladder("xtb"), starts=2)
    whole = found.minima[0].atoms
    bent = whole[whole.arrays["part"] == 1]
    bent.info["charge"] = 0
    alone = binding_energy(li, [dmf], ladder("xtb"), starts=2)
    bare = li.atoms
    # E(host as in the complex) = E(complex) - E(ion) - E(vertical binding); from it the relaxed host by the result.
    relaxed_host = energy(whole) - energy(bare) - found.binding_energy_eV
    assert found.deformation_eV == pytest.approx(energy(bent) - relaxed_host, abs=1e-5)
    assert alone.deformation_eV == found.deformation_eV


def test_the_reported_distance_is_the_one_in_the_structure():
    found = binding_energy(molecule("K+"), [molecule("EC")], ladder("xtb"), starts=4)
    atoms = found.minima[0].atoms
    oxygens = [i for i, symbol in enumerate(atoms.symbols) if symbol == "O"]
    metal = list(atoms.symbols).index("K")
    nearest = np.linalg.norm(atoms.positions[oxygens] - atoms.positions[metal], axis=1).min()
    assert found.distances_A["K-O"] == pytest.approx(nearest, abs=1e-3)
