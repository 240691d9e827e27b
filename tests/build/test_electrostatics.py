"""Electrostatic matrices: known Madelung constants, pymatgen's own sum on the final models, plain sums, invariances."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from atomflow.build import order, slab
from atomflow.build.electrostatics import COULOMB_EV_A, coulomb_matrix

PERIODIC, SLAB, BALL = (True, True, True), (True, True, False), (False, False, False)


def oracle_eV(atoms):
    """The energy of a periodic cell, by pymatgen from the final ordered structure alone."""
    charges = atoms.get_initial_charges()
    structure = Structure(
        Lattice(np.array(atoms.cell)), atoms.get_chemical_symbols(), atoms.positions, coords_are_cartesian=True
    )
    structure.add_oxidation_state_by_site(charges.tolist())
    return EwaldSummation(structure).total_energy


def energy_eV(cell, periodic, positions, charges):
    return charges @ coulomb_matrix(np.array(cell, float), periodic, np.asarray(positions, float)) @ charges


@pytest.mark.parametrize(
    ("structure", "nearest", "madelung"),
    [
        ("rocksalt", 0.5, 1.747565),
        ("cesiumchloride", np.sqrt(3) / 2, 1.762675),
        ("zincblende", np.sqrt(3) / 4, 1.638055),
    ],
)
def test_madelung_constants(structure, nearest, madelung):
    a = 5.0
    atoms = bulk("NaCl", structure, a=a)
    energy = energy_eV(atoms.cell, PERIODIC, atoms.positions, np.array([1.0, -1.0]))
    assert -energy * nearest * a / COULOMB_EV_A == pytest.approx(madelung, abs=2e-6)


def test_constant_is_that_of_codata():
    assert pytest.approx(14.399645, abs=1e-5) == COULOMB_EV_A


@pytest.mark.parametrize(
    ("name", "cell", "atoms"), [("LALZO", None, 94), ("LLZO", None, 96), ("LLZO", "conventional", 192)]
)
def test_energy_of_ordered_garnets_is_pymatgens(name, cell, atoms):
    models = order(name, cell=cell, seeds=1, sweeps=20, keep=2)
    for model in models.models:
        assert model.atom_count == atoms
        assert model.electrostatic_eV == pytest.approx(oracle_eV(model.atoms), rel=1e-6)


@pytest.mark.slow
def test_energy_of_468_atoms_is_pymatgens():
    model = order("LLZTO", seeds=1, sweeps=50, keep=1).models[0]
    assert model.atom_count == 468
    assert model.electrostatic_eV == pytest.approx(oracle_eV(model.atoms), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "miller", "repeat"),
    [("LiF", (0, 0, 1), (1, 1)), ("LiF", (1, 1, 1), (2, 1)), ("LiFePO4", (0, 1, 0), (1, 1))],
)
def test_energy_of_a_slab_is_pymatgens_and_the_dipole_term(name, miller, repeat):
    model = slab(name, miller, repeat=repeat, seeds=1, sweeps=300, keep=1).models[0]
    atoms = model.atoms
    dipole = atoms.get_initial_charges() @ (atoms.positions[:, 2] - atoms.positions[:, 2].mean())
    term = 2 * np.pi * COULOMB_EV_A / atoms.cell.volume * dipole**2
    assert model.electrostatic_eV == pytest.approx(oracle_eV(atoms) + term, rel=1e-6)


def pair_of_sheets_eV(a, d, reach=600.0):
    """Energy per cell of +1 at 0 and -1 at height d on a square lattice: a plain sum over discs and its tail."""
    n = int(reach / a) + 1
    grid = np.arange(-n, n + 1) * a
    r = np.hypot(*np.meshgrid(grid, grid)).ravel()
    r = r[(r > 0) & (r < reach)]
    inside = (1 / r - 1 / np.hypot(r, d)).sum()
    return COULOMB_EV_A * (-1 / d + inside + np.pi * d**2 / (a**2 * reach))


@pytest.mark.parametrize("vacuum", [20.0, 35.0, 60.0])
@pytest.mark.parametrize("d", [0.7, 2.0, 5.0])
def test_slab_with_a_dipole_is_the_plain_sum_whatever_the_vacuum(vacuum, d):
    # Images above and below are felt as exp(-2 pi vacuum / a), below 1e-13; what is left is the disc's edge, 1e-4 eV.
    a = 4.0
    energy = energy_eV(np.diag([a, a, d + vacuum]), SLAB, [[0, 0, 0], [0, 0, d]], np.array([1.0, -1.0]))
    assert energy == pytest.approx(pair_of_sheets_eV(a, d), abs=5e-4)


def test_vacuum_does_not_change_a_polar_slab_of_many_ions():
    rng = np.random.default_rng(3)
    positions = rng.uniform(0, 5, (12, 3))
    charges = np.repeat([1.0, -1.0], 6)
    positions[charges > 0, 2] += 2.0
    cells = [np.array([[5.0, 0, 0], [1.3, 5.5, 0], [0, 0, 7.0 + vacuum]]) for vacuum in (20.0, 60.0)]
    short, long = (energy_eV(cell, SLAB, positions, charges) for cell in cells)
    dipole = charges @ positions[:, 2]
    assert abs(dipole) > 5
    assert short == pytest.approx(long, abs=1e-5)
    bare = [energy_eV(cell, PERIODIC, positions, charges) for cell in cells]
    assert abs(bare[0] - bare[1]) > 1.0  # without the term they would differ


def test_particle_is_a_plain_double_loop():
    rng = np.random.default_rng(1)
    positions, charges = rng.uniform(0, 9, (15, 3)), rng.normal(size=15)
    total = sum(
        COULOMB_EV_A * charges[i] * charges[j] / np.linalg.norm(positions[i] - positions[j])
        for i, j in itertools.combinations(range(15), 2)
    )
    assert energy_eV(np.eye(3), BALL, positions, charges) == pytest.approx(total, rel=1e-12)


def test_any_other_periodicity_is_refused():
    for periodic in [(False, True, True), (True, False, False), (False, False, True)]:
        with pytest.raises(ValueError, match="periodic"):
            coulomb_matrix(np.eye(3) * 5, periodic, np.zeros((1, 3)))


@pytest.mark.parametrize("periodic", [PERIODIC, SLAB, BALL])
def test_matrix_is_symmetric(periodic):
    positions = np.random.default_rng(0).uniform(0, 6, (7, 3))
    matrix = coulomb_matrix(np.diag([6.0, 6.0, 20.0]), periodic, positions)
    assert np.array_equal(matrix, matrix.T)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), periodic=st.sampled_from([PERIODIC, SLAB, BALL]))
def test_energy_knows_no_rotation_translation_or_order(seed, periodic):
    rng = np.random.default_rng(seed)
    cell = np.array([[6.0, 0, 0], [rng.uniform(-2, 2), 7.0, 0], [0, 0, 22.0]])
    if periodic == PERIODIC:
        cell[2, :2] = rng.uniform(-2, 2, 2)
    grid = np.array(list(itertools.product((1.0, 3.5), (1.0, 4.0), (1.0, 3.0, 5.0))))
    positions = grid[rng.permutation(12)[:8]] + rng.uniform(-0.4, 0.4, (8, 3))
    charges = rng.permutation([1.0, 1, 1, -1, -1, -1, 2, -2])
    energy = energy_eV(cell, periodic, positions, charges)
    turn = Rotation.random(random_state=seed).as_matrix()
    place = rng.permutation(8)
    shift = rng.uniform(-30, 30, 3)
    moved = (positions @ turn.T + shift)[place]
    if periodic != BALL:
        lattice = cell @ turn.T
        inside = np.array([1, 1, int(periodic[2])]) * rng.integers(-2, 3, (8, 3))
        moved = moved + inside @ lattice
    assert energy_eV(cell @ turn.T, periodic, moved, charges[place]) == pytest.approx(energy, rel=1e-8, abs=1e-6)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_supercell_has_so_many_times_the_energy_and_the_choice_of_cell_is_free(seed):
    rng = np.random.default_rng(seed)
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.positions += rng.uniform(-0.3, 0.3, (2, 3))
    atoms.set_initial_charges([1.0, -1.0])
    one = energy_eV(atoms.cell, PERIODIC, atoms.positions, atoms.get_initial_charges())
    other = np.array([[1, rng.integers(-2, 3), 0], [0, 1, rng.integers(-2, 3)], [0, 0, 1]])
    for matrix in (other, other * np.array([[1], [2], [1]]), np.diag([2, 1, 2])):
        big = make_supercell(atoms, matrix)
        times = round(np.linalg.det(matrix))
        assert len(big) == 2 * times
        energy = energy_eV(big.cell, PERIODIC, big.positions, big.get_initial_charges())
        assert energy == pytest.approx(times * one, rel=1e-8)


def test_a_slab_repeated_has_so_many_times_the_energy():
    atoms = Atoms("LiF", positions=[[0, 0, 5], [1.5, 0.3, 6.8]], cell=np.diag([4.0, 4.5, 26.0]), pbc=SLAB)
    atoms.set_initial_charges([1.0, -1.0])
    big = atoms.repeat((2, 3, 1))
    energies = [energy_eV(a.cell, SLAB, a.positions, a.get_initial_charges()) for a in (atoms, big)]
    assert energies[1] == pytest.approx(6 * energies[0], rel=1e-8)
