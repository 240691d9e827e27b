"""LAMMPS and OpenMM, which share no code, read the same numbers out of a system."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.special import erf

from atomflow.errors import BadOptionError, MissingProgramError
from atomflow.forcefield.energies import lammps_energies, openmm_energies
from atomflow.forcefield.openmm_system import openmm_system
from atomflow.forcefield.pairing import COULOMB_LAMMPS, COULOMB_OPENMM, lower_cell, neighbours
from atomflow.lammps import read_log
from atomflow.model import PairTerm

pytest.importorskip("openmm")

PAIRS = {"Li": ("Li", "OD", 0.05, 2.4), "1-4": ("HM", "OD", 0.05, 2.4), "like": ("OD", "OD", 0.1, 3.1)}
ALONE = {
    "DMF": lambda h: h.alone(h.dmf()),
    "TFSI-": lambda h: h.alone(h.tfsi()),
    "propane": lambda h: h.alone(h.propane(), h.propane(), apart_A=1.0),
    "Li-TFSI": lambda h: h.alone(h.ion("Li+", 1.0), h.tfsi(), apart_A=1.5),
    "Zn-DMF": lambda h: h.alone(h.ion("Zn2+", 2.0), h.dmf(), apart_A=1.5),
    "Mg-DMF with exceptions to the mixing rule": lambda h: h.alone(
        h.ion("Li+", 1.0), h.dmf(), h.dmf(), apart_A=1.5, pairs=exceptions(h)
    ),
    "particle and DMF": lambda h: h.alone(h.ball(), h.dmf(), apart_A=2.0),
}


def exceptions(h):
    return tuple(PairTerm((a, b), epsilon, sigma, h.TABLE) for a, b, epsilon, sigma in PAIRS.values())


def in_lammps_constant(energies):
    """OpenMM's Coulomb energy with LAMMPS' constant."""
    return dataclasses.replace(energies, coulomb=energies.coulomb * COULOMB_LAMMPS / COULOMB_OPENMM)


def assert_alike(one, other, absolute=0.0, relative=0.0):
    for name, value in one.to_dict().items():
        assert value == pytest.approx(other.to_dict()[name], abs=absolute, rel=relative), name


@pytest.mark.parametrize("which", ALONE)
def test_isolated_molecules(by_hand, which):
    system = ALONE[which](by_hand)
    lammps, openmm = lammps_energies(system), in_lammps_constant(openmm_energies(system))
    assert_alike(lammps, openmm, absolute=1e-8)
    assert lammps.total == pytest.approx(openmm.total, abs=1e-8)
    assert abs(lammps.lennard_jones) > 0.01
    if "DMF" in which:
        assert lammps.improper > 1e-3


def test_constants_differ_as_stated():
    from scipy import constants as c

    codata = c.e**2 / (4 * np.pi * c.epsilon_0) * c.N_A / 4184 * 1e10
    assert pytest.approx(codata, rel=1e-9) == COULOMB_OPENMM
    assert abs(COULOMB_OPENMM / COULOMB_LAMMPS - 1) < 1.1e-8


@pytest.mark.parametrize("skew", [False, True])
def test_periodic_boxes(by_hand, skew):
    system = by_hand.liquid(skew=skew)
    lammps = lammps_energies(system, cutoff_A=9.0)
    openmm = openmm_energies(system, cutoff_A=9.0, ewald_tolerance=1e-6)
    assert_alike(lammps, in_lammps_constant(openmm), relative=1e-5, absolute=1e-7)
    # What an input for a run is asked for is less, but not by much.
    rough = lammps_energies(system, cutoff_A=9.0, ewald_accuracy=1e-5, kspace="pppm")
    assert rough.coulomb == pytest.approx(openmm.coulomb, abs=0.05)


def test_a_particle_in_a_periodic_box_costs_a_constant_in_lammps(by_hand, tmp_path):
    """LAMMPS leaves the particle's own share in the reciprocal sum; what it is, is known exactly."""
    system = by_hand.liquid(with_ball=True)
    lammps = lammps_energies(system, cutoff_A=9.0, folder=tmp_path)
    openmm = in_lammps_constant(openmm_energies(system, cutoff_A=9.0))
    text = (tmp_path / "energies.log").read_text()
    g = float(text.split("G vector (1/distance) =")[1].split()[0])
    (molecule,) = system.held
    atoms = np.flatnonzero(system.box.molecule_of_atom == molecule)
    i, j = atoms[np.triu_indices(len(atoms), 1)[0]], atoms[np.triu_indices(len(atoms), 1)[1]]
    r = np.linalg.norm(system.box.positions_A[i] - system.box.positions_A[j], axis=1)
    own = COULOMB_LAMMPS * float((system.charges_e[i] * system.charges_e[j] * erf(g * r) / r).sum())
    # LAMMPS prints g with six digits or so.
    assert lammps.coulomb - own == pytest.approx(openmm.coulomb, abs=2e-3)
    assert_alike(
        dataclasses.replace(lammps, coulomb=0.0), dataclasses.replace(openmm, coulomb=0.0), relative=1e-9, absolute=1e-7
    )


def test_two_ranks_give_the_same(by_hand):
    system = by_hand.liquid()
    one, two = (lammps_energies(system, cutoff_A=9.0, ewald_accuracy=1e-6, ranks=ranks) for ranks in (1, 2))
    assert_alike(one, two, relative=1e-9, absolute=1e-9)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), shift=st.tuples(*[st.floats(-50, 50)] * 3))
def test_rotation_and_translation_change_nothing(by_hand, seed, shift):
    system = by_hand.alone(by_hand.ion("Li+", 1.0), by_hand.tfsi(), apart_A=1.5)
    turned = Rotation.random(random_state=seed).apply(system.box.positions_A) + shift
    assert_alike(openmm_energies(system), openmm_energies(system.moved(turned)), absolute=1e-8)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_wrapping_and_turning_the_cell_change_nothing(by_hand, seed):
    """Both programs: atoms wrapped one by one, the whole turned with its cell, and by lattice vectors."""
    rng = np.random.default_rng(seed)
    system = by_hand.liquid(skew=True, side=2, spacing=9.5)
    cell = system.box.cell_A
    turn = Rotation.random(random_state=seed % 2**31).as_matrix()
    jumps = rng.integers(-2, 3, (len(system), 3))
    moved = system.moved((system.box.positions_A + jumps @ cell + rng.uniform(-5, 5, 3)) @ turn, cell @ turn)
    whole = openmm_energies(system, cutoff_A=8.0, ewald_tolerance=1e-5)
    assert_alike(whole, openmm_energies(moved, cutoff_A=8.0, ewald_tolerance=1e-5), absolute=3e-3, relative=1e-6)
    assert_alike(
        lammps_energies(system, cutoff_A=8.0), lammps_energies(moved, cutoff_A=8.0), absolute=1e-3, relative=1e-6
    )


def test_order_of_molecules_changes_nothing(by_hand):
    h = by_hand
    system = h.alone(h.ion("Li+", 1.0), h.tfsi(), apart_A=1.5)
    positions = np.concatenate((system.box.positions_A[1:], system.box.positions_A[:1]))
    other = h.system_of([h.tfsi(), h.ion("Li+", 1.0)], [0, 1], positions, system.box.cell_A)
    assert_alike(openmm_energies(system), openmm_energies(other), absolute=1e-9)
    assert_alike(lammps_energies(system), lammps_energies(other), absolute=1e-9)


def test_neighbours_in_rings_count_the_shortest_way(by_hand):
    """In a five-membered ring no atom is three bonds from another; in a six-membered one three pairs are."""
    for smiles, many in (("C1CCCC1", 0), ("C1CCCCC1", 3)):
        made = by_hand._from_smiles("ring", smiles)
        classes = ["CT" if atom.GetSymbol() == "C" else "HC" for atom in made.graph.GetAtoms()]
        system = by_hand.alone(by_hand.Kind(made, classes, [0.0] * len(classes)))
        carbon = system.box.numbers == 6
        near = neighbours(system)
        assert carbon[near.one_four].all(axis=1).sum() == many
        assert_alike(lammps_energies(system), openmm_energies(system), absolute=1e-8)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_lower_cell_is_the_same_lattice(seed):
    rng = np.random.default_rng(seed)
    cell = rng.normal(0, 10, (3, 3))
    if abs(np.linalg.det(cell)) < 50:
        return
    lower, rotation = lower_cell(cell)
    assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.linalg.det(rotation) == pytest.approx(1)
    assert (np.diag(lower) > 0).all() and np.allclose(lower, np.tril(lower))
    whole = lower @ np.linalg.inv(cell @ rotation)
    assert np.allclose(whole, np.round(whole), atol=1e-6) and abs(np.linalg.det(whole)) == pytest.approx(1)
    for i, j in ((1, 0), (2, 0), (2, 1)):
        assert abs(lower[i, j]) <= 0.5 * lower[j, j] * (1 + 1e-9)


def test_cutoff_beyond_half_the_box(by_hand):
    with pytest.raises(BadOptionError, match="at most half"):
        openmm_system(by_hand.liquid(side=2), cutoff_A=9.0)


def test_openmm_absent(by_hand, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openmm", None)
    with pytest.raises(MissingProgramError, match="pip install openmm") as caught:
        openmm_system(by_hand.alone(by_hand.dmf()))
    assert "\n" not in str(caught.value)


def test_kspace_of_another_name(by_hand, tmp_path):
    with pytest.raises(BadOptionError, match="ewald or pppm"):
        lammps_energies(by_hand.liquid(), cutoff_A=9.0, kspace="msm", folder=tmp_path)


def test_a_charge_or_a_term_that_is_off_would_be_seen(by_hand, tmp_path):
    """The comparison itself can fail: one number changed on one side shows in its own term only."""
    system = by_hand.alone(by_hand.dmf())
    lammps_energies(system, folder=tmp_path)
    log = read_log(tmp_path / "energies.log")
    assert log.finished and log.warnings == ("No fixes with time integration, atoms won't move",)
    wrong = dataclasses.replace(system, lj_14=1.0)
    one, other = openmm_energies(system).to_dict(), lammps_energies(wrong).to_dict()
    assert abs(one.pop("lennard_jones") - other.pop("lennard_jones")) > 0.1
    assert one == pytest.approx(other, abs=1e-6)
