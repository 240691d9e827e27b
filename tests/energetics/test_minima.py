"""Starts and minima: what must not change when atoms are turned, mirrored or renamed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from atomflow.build import molecule
from atomflow.energetics.minima import fingerprint, graph_bonds, is_intact
from atomflow.energetics.placement import starts


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), mirrored=st.booleans())
def test_fingerprint_ignores_motion_mirror_and_exchange_of_equal_atoms(seed, mirrored):
    rng = np.random.default_rng(seed)
    atoms = molecule("EC").atoms
    moved = atoms[rng.permutation(len(atoms))]
    moved.positions = Rotation.random(rng=rng).apply(moved.positions) * (-1 if mirrored else 1) + rng.normal(size=3)
    assert fingerprint(moved) == pytest.approx(fingerprint(atoms), abs=1e-9)


def test_fingerprint_sees_another_geometry():
    atoms = molecule("EC").atoms
    other = atoms.copy()
    other.positions[0] += [0.4, 0, 0]
    assert np.sqrt(np.mean((fingerprint(atoms) - fingerprint(other)) ** 2)) > 0.05


def test_more_starts_begin_with_the_fewer():
    parts = (molecule("Li+"), molecule("TFSI-"))
    few, many = starts(parts, 2, seed=7), starts(parts, 5, seed=7)
    for a, b in zip(few, many, strict=False):
        assert np.array_equal(a.positions, b.positions)


def test_starts_know_charge_and_parts_and_do_not_clash():
    parts = (molecule("Zn2+"), molecule("TFSI-"), molecule("DMF"))
    for atoms in starts(parts, 8, seed=0):
        assert atoms.info["charge"] == 1
        assert list(np.bincount(atoms.arrays["part"])) == [1, 15, 12]
        tfsi, dmf = (atoms.positions[atoms.arrays["part"] == i] for i in (1, 2))
        assert cdist(tfsi, dmf).min() > 1.6
        assert is_intact(atoms, graph_bonds(parts))


def test_orientations_are_uniform_over_the_sphere():
    parts = (molecule("Li+"), molecule("water"))
    directions = []
    for atoms in starts(parts, 400, seed=3):
        axis = atoms.positions[2] - atoms.positions[3]  # H to H
        directions.append(axis / np.linalg.norm(axis))
    directions = np.array(directions)
    # For a uniform direction <x_i x_j> = delta_ij / 3, with a standard error of about 0.015 for 400 samples.
    assert directions.T @ directions / len(directions) == pytest.approx(np.eye(3) / 3, abs=0.07)
    assert np.linalg.norm(directions.mean(axis=0)) < 0.15


def test_broken_and_formed_bonds_are_seen():
    parts = (molecule("Li+"), molecule("DMF"))
    atoms, bonds = starts(parts, 1, seed=0)[0], graph_bonds(parts)
    assert is_intact(atoms, bonds)
    i, j = next(iter(bonds))
    apart = atoms.copy()
    apart.positions[j] += 3 * (apart.positions[j] - apart.positions[i])
    assert not is_intact(apart, bonds)
    assert not is_intact(atoms, bonds - {(i, j)})


@pytest.mark.parametrize("names", [("Li+", "Na+"), ("K+", "K+"), ("TFSI-", "PF6-"), ("DMF", "water")])
def test_parts_without_a_cation_and_donor_are_brought_into_touch(names):
    parts = tuple(molecule(name) for name in names)
    for atoms in starts(parts, 4, seed=1):
        first, second = (atoms.positions[atoms.arrays["part"] == i] for i in (0, 1))
        assert 1.2 < cdist(first, second).min() < 5.5
