"""Binding energies against known values, tblite itself, and what cannot matter."""

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from scipy.spatial.transform import Rotation

from atomflow.build import molecule
from atomflow.energetics import binding_energy, dissociation_energy, ladder
from atomflow.errors import UnsupportedSystemError

pytest.importorskip("tblite")


@pytest.mark.parametrize(("ion", "known_eV"), [("Li+", -2.91), ("Na+", -2.17), ("K+", -1.78)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gfn2_alkali_dmf_for_any_seed(ion, known_eV, seed):
    found = binding_energy(molecule(ion), [molecule("DMF", seed=seed)], ladder("xtb"), seed=seed)
    assert found.binding_energy_eV == pytest.approx(known_eV, abs=0.03)
    assert found.hit_rate > 0.5
    assert found.deformation_eV > 0
    assert found.uncertainty_eV < 0.02


def test_energy_is_tblite_s_own():
    from tblite.ase import TBLite

    li, water = molecule("Li+"), molecule("water")
    found = binding_energy(li, [water], ladder("xtb"), starts=2)
    complex_atoms = found.minima[0].atoms
    oracle = TBLite(method="GFN2-xTB", charge=1, multiplicity=1, verbosity=0)
    ion = TBLite(method="GFN2-xTB", charge=1, multiplicity=1, verbosity=0)
    from ase.optimize import FIRE

    complex_atoms = complex_atoms.copy()
    complex_atoms.calc = oracle
    alone = water.atoms
    alone.calc = TBLite(method="GFN2-xTB", charge=0, multiplicity=1, verbosity=0)
    FIRE(alone, logfile=None).run(fmax=0.005, steps=500)
    bare = li.atoms
    bare.calc = ion
    expected = complex_atoms.get_potential_energy() - alone.get_potential_energy() - bare.get_potential_energy()
    assert found.binding_energy_eV == pytest.approx(expected, abs=2e-3)


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    shift=st.lists(st.floats(-20, 20), min_size=3, max_size=3),
)
def test_rotation_translation_and_atom_order_do_not_matter(seed, shift):
    rng = np.random.default_rng(seed)
    host = molecule("water")
    order = [int(i) for i in rng.permutation(len(host))]
    graph = Chem.RenumberAtoms(host.graph, order)
    moved = Rotation.random(rng=rng).apply(graph.GetConformer().GetPositions()) + np.array(shift)
    graph.GetConformer().SetPositions(np.ascontiguousarray(moved))
    li = molecule("Li+")
    reference = binding_energy(li, [host], ladder("xtb"), starts=2).binding_energy_eV
    assert binding_energy(li, [molecule(graph)], ladder("xtb"), starts=2).binding_energy_eV == pytest.approx(
        reference, abs=3e-3
    )


def test_same_seed_same_numbers():
    first, second = (
        binding_energy(molecule("Na+"), [molecule("water")], ladder("xtb"), starts=3, seed=5) for _ in range(2)
    )
    assert first.to_dict() == second.to_dict()


def test_a_bare_dication_is_refused_before_any_work():
    def never(function, arguments):
        raise AssertionError("work was started")

    with pytest.raises(UnsupportedSystemError, match="dft"):
        binding_energy(molecule("Zn2+"), [molecule("DMF")], ladder("xtb"), run=never)


def test_dissociation_is_binding_backwards():
    li, water = molecule("Li+"), molecule("water")
    bound = binding_energy(li, [water], ladder("xtb"), starts=2)
    apart = dissociation_energy([(li, water)], [(li,), (water,)], ladder("xtb"), starts=2, keep=1)
    assert apart.dissociation_energy_eV == pytest.approx(-bound.binding_energy_eV, abs=1e-9)


@pytest.mark.slow
def test_litfsi_minimum_holds_lithium_by_two_oxygens():
    li, tfsi = molecule("Li+"), molecule("TFSI-")
    found = dissociation_energy([(li, tfsi)], [(li,), (tfsi,)], ladder("xtb"), starts=20, keep=3)
    from atomflow.energetics.reactions import contacts

    held_by = [label for label, distance, _ in contacts(found.minima[0].atoms, (li, tfsi)) if distance < 1.9]
    assert held_by == ["Li-O", "Li-O"]
    assert found.dissociation_energy_eV == pytest.approx(7.8, abs=0.2)


def test_a_calculator_object_that_may_not_know_the_charge_is_told_apart():
    """The number may be wrong without any error, so the result must say so."""
    for ion, expected in (("Li+", True), ("acetonitrile", False)):
        found = binding_energy(molecule(ion), [molecule("water")], ladder(_Unaware()), starts=2)
        assert ("charge-not-passed" in {n.code for n in found.warnings}) == expected


class _Unaware(Calculator):
    """A calculator of somebody else's that looks at positions only."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(self.atoms), 3))}


def test_dications_are_screened_with_gfn1_and_the_method_says_so():
    final = ladder("dft")
    zinc, dmf = molecule("Zn2+"), molecule("DMF")
    assert "screened with GFN1-xTB" in final.suited_to((zinc, dmf)).method
    assert final.suited_to((molecule("Li+"), dmf)) == final == final.suited_to((dmf,))
    own = ladder("dft", screen="none")
    assert own.suited_to((zinc, dmf)) == own
    assert own.dication_screen is None
