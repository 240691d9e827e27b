"""Bonds through rings are found wherever the ring lies, near misses are not, and rings are those networkx finds."""

import time

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from atomflow.build import PiercedRing, molecule, pierced_rings
from atomflow.build.piercing import small_rings
from atomflow.errors import BadStructureError
from atomflow.model import bonds_of

BENZENE = 1.39 * np.array([[np.cos(a), np.sin(a), 0] for a in np.arange(6) * np.pi / 3])
RING = np.array([(k, (k + 1) % 6) for k in range(6)])
BONDS = np.vstack((RING, [[6, 7]]))
SKEWED = np.array([[14.0, 0, 0], [4.0, 13.0, 0], [-3.0, 5.0, 15.0]])


def with_bond(x, y, tilt=0.0, low=-0.7, high=0.8):
    return np.vstack((BENZENE, [[x - tilt, y, low], [x + tilt, y, high]]))


def reference(bonds, positions):
    """Plain numpy: solve for where the bond meets each triangle of the fan."""
    graph = nx.Graph(bonds.tolist())
    found = set()
    for ring in nx.minimum_cycle_basis(graph):
        order = _around(graph, ring)
        centre = positions[order].mean(axis=0)
        for a, b in bonds:
            if a in ring or b in ring:
                continue
            for i, j in zip(order, [*order[1:], order[0]], strict=True):
                edges = np.column_stack((positions[i] - centre, positions[j] - centre, positions[a] - positions[b]))
                if abs(np.linalg.det(edges)) < 1e-12:
                    continue
                u, v, t = np.linalg.solve(edges, positions[a] - centre)
                if u >= 0 and v >= 0 and u + v <= 1 and 0 < t < 1:
                    found.add((frozenset(ring), (int(a), int(b))))
    return found


def _around(graph, ring):
    return [a for a, _ in nx.find_cycle(graph.subgraph(ring))]


def test_a_bond_through_benzene_is_found_and_named():
    found = pierced_rings(BONDS, with_bond(0, 0))
    assert len(found) == 1 and isinstance(found[0], PiercedRing)
    assert set(found[0].ring) == set(range(6)) and found[0].bond == (6, 7)
    assert "6-7" in str(found[0])
    steps = np.diff([*found[0].ring, found[0].ring[0]]) % 6
    assert set(steps.tolist()) <= {1, 5}  # in order around the ring


@pytest.mark.parametrize(
    "positions",
    [
        with_bond(1.3, 0.75),  # beside the edge
        with_bond(0, 0, low=0.1, high=1.6),  # above
        with_bond(0, 0, low=-1.6, high=-0.05),  # below
        with_bond(2.0, 0, tilt=0.7),
    ],
)
def test_a_near_miss_is_not(positions):
    assert pierced_rings(BONDS, positions) == []


@given(
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.floats(-0.6, 0.6),
    st.integers(0, 2**31),
    st.tuples(*[st.floats(-40, 40)] * 3),
)
@settings(max_examples=150, deadline=None)
def test_same_answer_turned_shifted_and_wrapped(x, y, tilt, seed, shift):
    positions = with_bond(x, y, tilt)
    free = pierced_rings(BONDS, positions)
    wanted = reference(BONDS, positions)
    # At the very edge of the face the answer may turn with rounding.
    edge = min(abs(np.hypot(x, y) - r) for r in (1.39 * np.cos(np.pi / 6), 1.39))
    if edge > 0.2:
        assert {(frozenset(p.ring), p.bond) for p in free} == wanted
        turned = Rotation.random(random_state=seed % 2**31).apply(positions) + shift
        assert bool(pierced_rings(BONDS, turned)) == bool(wanted)
        fractions = turned @ np.linalg.inv(SKEWED)
        wrapped = (fractions - np.floor(fractions)) @ SKEWED
        assert bool(pierced_rings(BONDS, turned, SKEWED)) == bool(wanted)
        assert bool(pierced_rings(BONDS, wrapped, SKEWED)) == bool(wanted)


def test_an_image_through_the_wall_is_found():
    positions = with_bond(0, 0)
    positions[6:] += SKEWED[0] - 2 * SKEWED[2]  # the bond belongs to a far cell
    assert pierced_rings(BONDS, positions) == []
    assert len(pierced_rings(BONDS, positions, SKEWED)) == 1
    small = np.diag([5.0, 5.0, 5.0])  # narrower than twice the reach
    assert len(pierced_rings(BONDS, with_bond(0, 0) + 2.4, small)) == 1


def test_benzene_threaded_by_a_chain_and_pulled_off():
    ring, chain = molecule("c1ccccc1"), molecule("CCCC")
    bonds = np.vstack((bonds_of(ring), bonds_of(chain) + len(ring)))
    flat = ring.atoms.positions - ring.atoms.positions[:6].mean(axis=0)
    normal = np.linalg.svd(flat[:6])[2][2]
    carbons = chain.atoms.positions
    middle, along = carbons[1:3].mean(axis=0), carbons[2] - carbons[1]
    turn = Rotation.align_vectors([normal], [along / np.linalg.norm(along)])[0]
    threaded = np.vstack((flat, turn.apply(carbons - middle)))
    found = pierced_rings(bonds, threaded)
    assert any(set(p.ring) == set(range(6)) and p.bond == (13, 14) for p in found)
    away = threaded.copy()
    away[len(ring) :] += 6 * np.array([*np.cross(normal, [1, 0, 0])]) / np.linalg.norm(np.cross(normal, [1, 0, 0]))
    assert pierced_rings(bonds, away) == []


@given(st.integers(4, 30), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_rings_are_shortest_cycles(n, seed):
    graph = nx.gnm_random_graph(n, int(1.4 * n), seed=seed)
    bonds = np.array(sorted(graph.edges), int).reshape(-1, 2)
    found = small_rings(bonds, n)
    through = {}
    for ring in found:
        assert 3 <= len(ring) <= 8 and nx.is_path(graph, [*ring, ring[0]])
        for pair in zip(ring, [*ring[1:], ring[0]], strict=True):
            key = frozenset(pair)
            through[key] = min(len(ring), through.get(key, 99))
    for a, b in bonds.tolist():
        cut = graph.copy()
        cut.remove_edge(a, b)
        shortest = nx.shortest_path_length(cut, a, b) + 1 if nx.has_path(cut, a, b) else 99
        assert shortest > 8 or through[frozenset((a, b))] == shortest


@pytest.mark.parametrize(
    "call",
    [
        lambda: pierced_rings([[0, 9]], np.zeros((2, 3))),
        lambda: pierced_rings([[0, 1]], np.zeros((2, 2))),
        lambda: pierced_rings([[0, 1]], [[0, 0, 0], [0, 0, np.nan]]),
        lambda: pierced_rings(BONDS, with_bond(0, 0), np.zeros((3, 3))),
        lambda: pierced_rings(BONDS, with_bond(0, 0), largest_ring=40),
    ],
)
def test_bad_arrays_are_told(call):
    with pytest.raises(BadStructureError):
        call()


def test_nothing_without_rings_or_atoms():
    assert pierced_rings([], np.zeros((0, 3))) == []
    assert pierced_rings([[0, 1]], [[0, 0, 0], [1, 0, 0]]) == []


def test_ten_thousand_atoms_in_a_second():
    rng = np.random.default_rng(0)
    rings, rods = 800, 2600
    turns = Rotation.random(rings, random_state=1)
    centres = rng.uniform(0, 46, (rings, 3))
    positions = [turn.apply(BENZENE) + c for turn, c in zip(turns, centres, strict=True)]
    ends = rng.uniform(0, 46, (rods, 3))
    directions = rng.normal(size=(rods, 3))
    directions *= 1.5 / np.linalg.norm(directions, axis=1)[:, None]
    positions = np.vstack([*positions, np.stack((ends, ends + directions), axis=1).reshape(-1, 3)])
    bonds = np.vstack([*(RING + 6 * k for k in range(rings)), 6 * rings + np.arange(2 * rods).reshape(-1, 2)])
    assert len(positions) == 10_000
    pierced_rings(BONDS, with_bond(0, 0))  # compile
    began = time.perf_counter()
    found = pierced_rings(bonds, positions, np.diag([46.0] * 3))
    assert time.perf_counter() - began < 2
    plain = {
        (k, tuple(map(int, bonds[6 * rings + b])))
        for k, c in enumerate(centres[:40])
        for b in range(rods)
        if np.linalg.norm(ends[b] - c) < 4
        and reference(
            np.vstack((RING, [[6, 7]])), np.vstack((positions[6 * k : 6 * k + 6], positions[6 * rings + 2 * b :][:2]))
        )
    }
    ours = {(min(p.ring) // 6, p.bond) for p in found if min(p.ring) // 6 < 40 and p.bond[0] >= 6 * rings}
    assert plain <= ours
