"""Overlaps go, molecules stay whole, particles stay where and what they are."""

import dataclasses
import shutil

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from atomflow.dynamics import PushOffError, push_off, shortest_contact
from atomflow.dynamics.pushing import MOST_STRETCH_A, NEAREST_A
from atomflow.errors import BadOptionError, LammpsError
from atomflow.forcefield.energies import openmm_energies
from atomflow.model import PairTerm


def assert_whole(system):
    ends = system.box.positions_A[system.bonds.atoms]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    rest = np.array([term.r0_A for term in system.bonds.terms])[system.bonds.term]
    assert (lengths < rest + MOST_STRETCH_A).all()


@pytest.mark.parametrize("case", [{"skew": False}, {"skew": True, "with_ball": True}])
def test_overlaps_go(by_hand, case, tmp_path):
    system = by_hand.liquid(spacing=5.2, **case)
    assert shortest_contact(system)[0] < 1.0
    pushed = push_off(system, seed=1, folder=tmp_path)
    distance, _i, _j = shortest_contact(pushed)
    assert distance >= NEAREST_A and distance > 1.6
    assert_whole(pushed)
    assert np.array_equal(pushed.box.cell_A, system.box.cell_A)
    # In the frame it came in: no molecule is carried across the box.
    assert np.linalg.norm(pushed.box.positions_A - system.box.positions_A, axis=1).max() < 8.0
    for molecule in system.held:
        atoms = system.box.molecule_of_atom == molecule
        assert np.array_equal(pushed.box.positions_A[atoms], system.box.positions_A[atoms])
    before, after = (openmm_energies(one, cutoff_A=7.0, ewald_tolerance=1e-4) for one in (system, pushed))
    assert after.total < before.total - 100 and after.lennard_jones < 0
    assert not (tmp_path / "push.log").read_text().count("WARNING: Bond")


def test_the_same_seed_gives_the_same(by_hand):
    system = by_hand.liquid(side=2, spacing=5.4)
    one, two, other = (push_off(system, seed=seed, steps=50).box.positions_A for seed in (1, 1, 2))
    assert np.array_equal(one, two) and not np.allclose(one, other)


def test_two_ranks_and_exceptions_to_mixing(by_hand):
    pairs = (PairTerm(("Li", "OD"), 0.05, 2.4, by_hand.TABLE), PairTerm(("OD", "OD"), 0.1, 3.1, by_hand.TABLE))
    system = dataclasses.replace(by_hand.liquid(spacing=5.6), pairs=pairs)
    pushed = push_off(system, ranks=2, steps=50)
    assert shortest_contact(pushed)[0] > NEAREST_A
    assert_whole(pushed)


def test_without_charges(by_hand):
    system = by_hand.alone(by_hand.propane(), by_hand.propane(), apart_A=-1.0)
    system = dataclasses.replace(system, charges_e=np.zeros(len(system)))
    assert shortest_contact(system)[0] < NEAREST_A < shortest_contact(push_off(system, steps=20))[0]


def test_a_new_knot_is_refused(by_hand):
    """A chain drawn through a ring is an error, whoever drew it; one that was there before is not ours."""
    from atomflow.dynamics.pushing import _unpierced

    ring = by_hand._from_smiles("ring", "C1CCCCC1")
    classes = ["CT" if atom.GetSymbol() == "C" else "HC" for atom in ring.graph.GetAtoms()]
    apart = by_hand.alone(by_hand.Kind(ring, classes, [0.0] * len(classes)), by_hand.propane(), apart_A=3.0)
    positions = apart.box.positions_A.copy()
    face = positions[:6]
    normal = np.linalg.svd(face - face.mean(axis=0))[2][2]
    chain = slice(len(classes), None)
    first, second = positions[chain][0], positions[chain][1]
    axis = (second - first) / np.linalg.norm(second - first)
    turn, _ = Rotation.align_vectors([normal], [axis])
    positions[chain] = turn.apply(positions[chain] - (first + second) / 2) + face.mean(axis=0)
    knotted = apart.moved(positions)
    with pytest.raises(PushOffError, match="through a ring"):
        _unpierced(apart, knotted)
    assert _unpierced(knotted, knotted) is knotted


def test_the_log_of_a_failure_stays(by_hand):
    """Also when no folder was named."""
    with pytest.raises(LammpsError, match=r"not finished after 0.5 s, ended; its log is kept in") as caught:
        push_off(by_hand.liquid(spacing=5.6), timeout_s=0.5)
    folder = caught.value.log_path.parent
    assert (folder / "push.in").is_file()
    shutil.rmtree(folder)


def test_only_particles_stay(by_hand):
    system = by_hand.alone(by_hand.ball(), by_hand.ball(), apart_A=4.0)
    assert np.array_equal(push_off(system).box.positions_A, system.box.positions_A)


def test_what_cannot_go_is_said(by_hand):
    """Two particles on each other: neither may move."""
    system = by_hand.alone(by_hand.ball(), by_hand.ball(), apart_A=-2.0)
    with pytest.raises(
        PushOffError, match=r"atom \d+ \(\w+ of MgO 1\) and atom \d+ .* A apart .* another seed"
    ) as caught:
        push_off(system)
    assert caught.value.nearest_A < NEAREST_A and "\n" not in str(caught.value)


def test_shortest_contact_by_hand(by_hand):
    h = by_hand
    far = h.alone(h.ion("Li+", 1.0), h.ion("Zn2+", 2.0), apart_A=2.5)
    assert shortest_contact(far) == (pytest.approx(2.5, abs=0.4), 0, 1)
    # Through the walls of a skew cell.
    cell = np.array([[12.0, 0, 0], [3.0, 11.0, 0], [1.0, -2.0, 13.0]])
    near = far.moved(np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5] + cell[2] - cell[0] - [0, 0, 1.25]]), cell)
    assert shortest_contact(near) == (pytest.approx(1.25, abs=1e-4), 0, 1)
    # Bonded neighbours do not count: DMF alone has none nearer than those four bonds apart.
    assert shortest_contact(h.alone(h.dmf()))[0] > 2.0
    assert shortest_contact(h.alone(h.tfsi()), within_A=1.0) == (float("inf"), -1, -1)
    # Nor does a particle see itself.
    assert shortest_contact(h.alone(h.ball()))[0] == float("inf")


@pytest.mark.parametrize("option", [{"temperature_K": 0.0}, {"cutoff_A": -1.0}, {"steps": -1}, {"seed": -1}])
def test_options_without_sense(by_hand, option):
    with pytest.raises(BadOptionError, match="must"):
        push_off(by_hand.alone(by_hand.dmf()), **option)
