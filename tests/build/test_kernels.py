"""The compiled search against plain numpy, and its minima against every filling there is."""

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomflow.build._kernels import _change, _exchange, _fields, energy_reference, exchange_replicas, quench
from atomflow.build.filling import PENALTY_EV, Sites, fill
from atomflow.errors import BadStructureError

KINDS = ("", "Li", "Mg", "O")
CHARGES = np.array([0.0, 1.0, 2.0, -2.0])


def problem(seed, n=12, kinds=4):
    """Symmetric matrices, charges, who keeps apart, a state."""
    rng = np.random.default_rng(seed)
    M, R = rng.normal(size=(n, n)), PENALTY_EV * (rng.random((n, n)) < 0.2)
    R = np.triu(R, 1)
    q, w = rng.integers(-2, 4, kinds).astype(float), rng.integers(0, 2, kinds).astype(float)
    return (M + M.T) / 2, R + R.T, q, w, rng.integers(0, kinds, n), rng


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_random_exchanges_keep_fields_and_energy(seed):
    M, R, q, w, state, rng = problem(seed)
    phi, psi = np.empty(len(state)), np.empty(len(state))
    energy = _fields(M, R, q, w, state, phi, psi)
    assert energy == pytest.approx(energy_reference(M, R, q, w, state), abs=1e-9)
    before = np.bincount(state, minlength=4)
    for _ in range(50):
        i, j = rng.choice(len(state), 2, replace=False)
        told = _change(M, R, q, w, phi, psi, state, i, j)
        old = energy_reference(M, R, q, w, state)
        _exchange(M, R, q, w, phi, psi, state, i, j)
        assert energy_reference(M, R, q, w, state) - old == pytest.approx(told, abs=1e-9)
    assert phi == pytest.approx(2 * M @ q[state], abs=1e-9)
    assert psi == pytest.approx(R @ w[state], abs=1e-9)
    assert np.array_equal(np.bincount(state, minlength=4), before)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_quench_ends_where_no_allowed_exchange_gains(seed):
    M, R, q, w, state, rng = problem(seed)
    allowed = rng.random((12, 4)) < 0.6
    allowed[np.arange(12), state] = True
    active = np.flatnonzero(allowed.sum(axis=1) > 1)
    start = state.copy()
    phi, psi = 2 * M @ q[state], R @ w[state]
    energy = quench(M, R, q, w, allowed, active, state, phi, psi, energy_reference(M, R, q, w, state))
    assert energy == pytest.approx(energy_reference(M, R, q, w, state), abs=1e-8)
    assert energy <= energy_reference(M, R, q, w, start) + 1e-12
    assert allowed[np.arange(12), state].all()
    assert np.array_equal(np.bincount(state, minlength=4), np.bincount(start, minlength=4))
    for i, j in itertools.combinations(active, 2):
        if state[i] != state[j] and allowed[i, state[j]] and allowed[j, state[i]]:
            other = state.copy()
            other[[i, j]] = state[[j, i]]
            assert energy_reference(M, R, q, w, other) >= energy - 1e-8


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_replicas_return_ascending_true_energies_of_allowed_states(seed):
    M, R, q, w, state, rng = problem(seed)
    allowed = rng.random((12, 4)) < 0.7
    allowed[np.arange(12), state] = True
    active = np.flatnonzero(allowed.sum(axis=1) > 1)
    near, count = np.zeros((12, 1), np.int64), np.zeros(12, np.int64)
    energies, states = exchange_replicas(
        M, R, q, w, allowed, active, near, count, state.copy(), np.geomspace(0.03, 4, 8), 60, 10, 6, rng
    )
    found = np.isfinite(energies)
    assert found.any() and (np.diff(energies[found]) > 0).all()
    for energy, each in zip(energies[found], states[found], strict=True):
        assert energy == pytest.approx(energy_reference(M, R, q, w, each), abs=1e-8)
        assert allowed[np.arange(12), each].all()
        assert np.array_equal(np.bincount(each, minlength=4), np.bincount(state, minlength=4))


def sites(seed, periodic, apart=()):
    """Nine sites with a choice, one O2- for every charge that is missing, at random in a box."""
    rng = np.random.default_rng(seed)
    grid = np.array(list(itertools.product((0.0, 3.0), (0.0, 3.2), (0.0, 3.1, 6.0))))
    positions = rng.permutation(grid) + rng.uniform(-0.5, 0.5, (12, 3))
    allowed = np.zeros((12, 4), dtype=bool)
    allowed[:9, :3] = True
    allowed[:3, 2] = False  # magnesium not everywhere
    allowed[9:, 3] = True
    height = 9.2 if periodic[2] else 26.0
    return Sites(
        np.array([[6.2, 0, 0], [0.4, 6.5, 0], [0, 0, height]]), periodic, positions, KINDS,
        CHARGES, allowed, (5, 2, 2, 3), apart, ("x",) * 12, ("1a",) * 12,
    )  # fmt: skip


def every_filling(problem):
    found = []
    for lithium in itertools.combinations(range(9), 2):
        rest = [i for i in range(3, 9) if i not in lithium]
        for magnesium in itertools.combinations(rest, 2):
            state = np.zeros(12, dtype=int)
            state[9:] = 3
            state[list(lithium)], state[list(magnesium)] = 1, 2
            found.append(state)
    return np.array(found)


@pytest.mark.parametrize("periodic", [(True,) * 3, (True, True, False), (False,) * 3])
@pytest.mark.parametrize("seed", range(4))
def test_lowest_found_is_the_lowest_there_is(periodic, seed):
    given_ = sites(seed, periodic)
    matrix = given_.electrostatics()
    best = min(given_.energy_eV(state, matrix) for state in every_filling(given_))
    found = fill(given_, seed, sweeps=60, keep=5)
    assert found.energies_eV[0] == pytest.approx(best, abs=1e-7)
    assert (np.diff(found.energies_eV) >= 0).all()
    for energy, state in zip(found.energies_eV, found.states, strict=True):
        assert given_.energy_eV(state) == pytest.approx(energy, abs=1e-9)
        assert tuple(np.bincount(state, minlength=4)) == given_.counts
        assert given_.allowed[np.arange(12), state].all()


@pytest.mark.parametrize("seed", range(4))
def test_lowest_among_those_that_keep_apart(seed):
    given_ = sites(seed, (True,) * 3, ((("Li", "Mg"), 3.6),))
    matrix = given_.electrostatics()
    distances = given_.positions_A[:, None] - given_.positions_A[None]
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ given_.lattice_A
    near = np.array([np.linalg.norm(distances + s, axis=-1) for s in shifts]).min(axis=0) < 3.6
    free = []
    for state in every_filling(given_):
        cations = np.flatnonzero((state == 1) | (state == 2))
        crowded = sum(near[i, j] for i, j in itertools.combinations(cations, 2))
        assert given_.too_near(state) == crowded
        if not crowded:
            free.append(given_.energy_eV(state, matrix))
    found = fill(given_, seed, sweeps=80, keep=5)
    if free:
        assert found.energies_eV[0] == pytest.approx(min(free), abs=1e-7)
    assert all(given_.too_near(state) == 0 for state in found.states) == bool(free)


def test_a_seed_alone_decides():
    given_ = sites(0, (True,) * 3)
    one, two = fill(given_, 7, sweeps=30, keep=4), fill(given_, 7, sweeps=30, keep=4)
    assert np.array_equal(one.states, two.states) and np.array_equal(one.energies_eV, two.energies_eV)
    assert not np.array_equal(
        given_.random_state(np.random.default_rng(7)), given_.random_state(np.random.default_rng(8))
    )


def test_nothing_to_choose():
    given_ = sites(0, (True,) * 3)
    allowed = np.zeros_like(given_.allowed)
    state = every_filling(given_)[0]
    allowed[np.arange(12), state] = True
    fixed = replace(given_, allowed=allowed)
    found = fill(fixed, 0)
    assert np.array_equal(found.states, state[None]) and found.energies_eV[0] == pytest.approx(given_.energy_eV(state))


@pytest.mark.parametrize("counts", [(1, 1, 7, 3), (6, 2, 2, 2), (7, 7, -5, 3), (0, 0, 9, 3)])
def test_counts_that_do_not_fit(counts):
    with pytest.raises(BadStructureError, match="do not fit"):
        fill(replace(sites(0, (True,) * 3), counts=counts), 0, sweeps=5)


def test_a_weight_on_the_dipole_finds_a_flatter_filling_and_keeps_the_true_energy():
    flat = replace(sites(2, (False,) * 3), dipole_weight_eV=(5.0, 5.0, 5.0))
    least = min(np.linalg.norm(flat.dipole_eA(state)) for state in every_filling(flat))
    found = fill(flat, 0, sweeps=100, keep=8)
    assert min(np.linalg.norm(flat.dipole_eA(state)) for state in found.states) < least + 1.0
    for energy, state in zip(found.energies_eV, found.states, strict=True):
        assert energy == pytest.approx(flat.energy_eV(state))


@pytest.mark.parametrize("call", ["particle('LiF', atoms=20, keep=0)", "slab('LiF', keep=-1)"])
def test_keeping_nothing_is_told(call):
    # In a process of its own: it writes over foreign memory.
    words = f"from atomflow.build import slab, particle\nfrom atomflow.errors import BadOptionError\ntry:\n    {call}\nexcept BadOptionError:\n    print('told')"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert done.stdout == "told\n"
