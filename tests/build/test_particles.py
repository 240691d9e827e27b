"""Particles, checked from their atoms alone: charge, formula, dipole, whole polyhedra, distances, centre."""

import numpy as np
import pytest
from pymatgen.core import Composition
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from atomflow.build import find_crystal, particle
from atomflow.errors import BadOptionError, CutError


def check(models, name, whole=None, lithium_apart=None):
    crystal = find_crystal(name)
    target = Composition(models.formula).get_el_amt_dict()
    neighbour = any(notice.code == "nearest-composition" for notice in models.warnings)
    assert neighbour == (target != Composition(crystal.formula).get_el_amt_dict())
    for model in models.models:
        atoms, charges = model.atoms, model.atoms.get_initial_charges()
        assert not atoms.pbc.any() and model.atom_count == len(atoms)
        assert charges.sum() == pytest.approx(0, abs=1e-9) and model.charge_e == pytest.approx(0, abs=1e-9)
        held = Composition(atoms.get_chemical_formula()).get_el_amt_dict()
        assert held == pytest.approx({name: amount * models.formula_units for name, amount in target.items()}, abs=0.01)
        dipole = charges @ atoms.positions
        assert np.linalg.norm(dipole) < len(atoms) / 100
        assert model.dipole_eA == pytest.approx(tuple(dipole), abs=1e-6)
        assert atoms.positions.mean(axis=0) == pytest.approx(0, abs=1e-9)
        assert model.radius_A == pytest.approx(np.linalg.norm(atoms.positions, axis=1).max())
        assert pdist(atoms.positions).min() > 1.5
        distance = pdist(atoms.positions)
        i, j = np.triu_indices(len(atoms), 1)
        energy = 14.399645 * (charges[i] * charges[j] / distance).sum()
        assert model.electrostatic_eV == pytest.approx(energy, rel=1e-6)
        if whole:
            centre, ligand, reach, number = whole
            centres = np.isin(atoms.get_chemical_symbols(), centre)
            near = cKDTree(atoms.positions[atoms.symbols == ligand]).query_ball_point(atoms.positions[centres], reach)
            assert {len(each) for each in near} == {number}
        if lithium_apart:
            assert pdist(atoms.positions[np.isin(atoms.get_chemical_symbols(), ["Li", "Al"])]).min() > lithium_apart
    energies = [model.electrostatic_eV for model in models.models]
    assert energies == sorted(energies)


GARNET = {"whole": (["Zr", "Ta"], "O", 2.3, 6), "lithium_apart": 2.3}


def test_llzo_of_a_hundred_atoms():
    models = particle("LLZO", atoms=100, seeds=4, keep=2)
    assert models.models[0].formula == "Li28La12Zr8O48"
    check(models, "LLZO", **GARNET)
    symbols, wyckoff = models.models[0].atoms.symbols, models.models[0].atoms.arrays["wyckoff"]
    assert set(wyckoff[symbols == "Zr"]) == {"16a"} and set(wyckoff[symbols == "Li"]) <= {"24d", "96h"}
    assert 1 <= models.hits <= 4 and len(models.lowest_by_seed_meV_per_atom) == 4


@pytest.mark.parametrize(("name", "atoms"), [("LiF", 64), ("Li2O", 60), ("alpha-quartz", 60)])
def test_simple_crystals(name, atoms):
    models = particle(name, atoms=atoms, seeds=4, sweeps=1500)
    assert models.models[0].atom_count == atoms
    check(models, name)


def test_whole_phosphates():
    models = particle("LiFePO4", atoms=98, seeds=6, sweeps=1500)
    check(models, "LiFePO4", whole=(["P"], "O", 1.8, 4))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "atoms"), [("LALZO", 300), ("LLZO", 300), ("LLZO", 800)])
def test_larger_ones(name, atoms):
    models = particle(name, atoms=atoms, seeds=3 if atoms < 500 else 2, sweeps=2000)
    assert abs(models.models[0].atom_count - atoms) <= 24
    check(models, name, **GARNET)
    lanthanum = models.models[0].coordination["La-O"]
    assert min(map(int, lanthanum)) >= 3


def test_a_seed_alone_gives_the_same():
    three, alone = (
        particle("LiF", atoms=64, seeds=3, sweeps=300, keep=20),
        particle("LiF", atoms=64, seeds=1, seed=2, sweeps=300),
    )
    energies = [model.electrostatic_eV for model in three.models]
    assert min(abs(np.array(energies) - alone.models[0].electrostatic_eV)) < 1e-6


def test_radius_is_that_of_a_ball_of_the_crystals_density():
    structure = find_crystal("LiF").structure
    per_atom = structure.volume / len(structure)
    models = particle("LiF", radius_A=6.1, seeds=4, sweeps=500)
    assert models.models[0].atom_count == pytest.approx(4 / 3 * np.pi * 6.1**3 / per_atom, abs=1.01)
    assert 5.0 < models.models[0].radius_A < 9.0


def test_a_metal_without_charges():
    models = particle("Li", atoms=30, seeds=2, sweeps=20)
    assert models.models[0].formula == "Li30" and models.models[0].dipole_eA == (0, 0, 0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"radius_A": 5.0, "atoms": 100},
        {"radius_A": -1.0},
        {"radius_A": 0.5},
        {"radius_A": 1e6},
        {"radius_A": float("nan")},
        {"radius_A": float("inf")},
        {"atoms": 0},
        {"atoms": -100},
        {"atoms": 3},
        {"atoms": 10**9},
    ],
)
def test_impossible_sizes(options):
    with pytest.raises(BadOptionError, match=r"--(radius|atoms)") as told:
        particle("LLZO", **options)
    assert "\n" not in str(told.value)


def test_an_odd_number_of_rock_salt_pairs_has_a_dipole():
    # Every pair is an odd number of steps long: an odd number of them cannot cancel.
    with pytest.raises(CutError, match="another size"):
        particle("LiF", atoms=30, seeds=2, sweeps=100)


def test_no_searches_are_told():
    with pytest.raises(BadOptionError, match="seeds"):
        particle("LiF", atoms=64, seeds=0)
