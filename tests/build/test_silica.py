"""Amorphous silica against independent neighbour lists, and what is asked of a slab and a particle."""

import dataclasses
import math

import numpy as np
import pytest
from ase.data import atomic_masses
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from atomflow.build import silica_network as network_module
from atomflow.build.silica import Silica, amorphous_silica, silica_particle, silica_slab
from atomflow.build.silica_network import Network, crystal, random_network, reference_energy, ring_sizes, terms
from atomflow.errors import BadOptionError
from atomflow.model import dumps, loads

SMALL = {"thickness_A": 9.0, "size_A": 15.0}
AMU_PER_A3 = 1.66053906660  # g/cm3


@pytest.fixture(scope="module")
def glass():
    return amorphous_silica(96, seed=3)


@pytest.fixture(scope="module")
def dense():
    return amorphous_silica(64, density_g_cm3=2.35, seed=5)


@pytest.fixture(scope="module")
def slab():
    return silica_slab(**SMALL, grafts_per_nm2=1.0, seed=1)


@pytest.fixture(scope="module")
def particle():
    return silica_particle(6.5, grafts_per_nm2=0.8, seed=1)


@pytest.fixture(scope="module", params=["glass", "slab", "particle"])
def model(request):
    return request.getfixturevalue(request.param)


def pairs_of(model: Silica) -> set[frozenset[int]]:
    return {frozenset(pair) for pair in model.bonds.tolist()}


def angles_at(atoms, centre: str, end: str, cutoff: float = 2.0) -> np.ndarray:
    """Angles (degrees) between neighbours found by distance alone."""
    first, second, vector = neighbor_list("ijD", atoms, cutoff)
    right = (atoms.numbers[first] == {"Si": 14, "O": 8}[centre]) & (atoms.numbers[second] == {"Si": 14, "O": 8}[end])
    first, vector = first[right], vector[right] / np.linalg.norm(vector[right], axis=1)[:, None]
    out = []
    for i in np.unique(first):
        arms = vector[first == i]
        a, b = np.triu_indices(len(arms), 1)
        out.append(np.degrees(np.arccos(np.clip(np.sum(arms[a] * arms[b], axis=1), -1, 1))))
    return np.concatenate(out)


# ---------------------------------------------------------------- the network


def check_glass(atoms, spread: float) -> None:
    """First shells, coordination and angles of vitreous silica, from distances only."""
    first, distance = neighbor_list("id", atoms, {("Si", "O"): 2.05})
    silicon, oxygen = atoms.numbers == 14, atoms.numbers == 8
    counts = np.bincount(first, minlength=len(atoms))
    assert (counts[silicon] == 4).all()
    assert (counts[oxygen] == 2).all()
    assert 1.60 <= distance.mean() <= 1.63
    assert distance.min() > 1.45 and distance.max() < 1.80
    inner = angles_at(atoms, "Si", "O")
    assert len(inner) == 6 * silicon.sum()
    assert inner.mean() == pytest.approx(109.4, abs=0.5)
    assert inner.std() < spread
    bridge = angles_at(atoms, "O", "Si")
    assert len(bridge) == oxygen.sum()
    assert 140 < bridge.mean() < 152
    assert bridge.min() > 100


def test_every_silicon_has_four_oxygen_and_the_angles_are_those_of_the_glass(glass):
    check_glass(glass.atoms, spread=13.0)


def test_first_peaks_of_the_pair_functions(glass):
    def peak(a: str, b: str, low: float, high: float) -> float:
        distance = neighbor_list("d", glass.atoms, {(a, b): high})
        counts, edges = np.histogram(distance, bins=np.arange(low, high, 0.05))
        k = int(np.argmax(np.convolve(counts, np.ones(3), "same")))
        return 0.5 * (edges[k] + edges[k + 1])

    assert peak("Si", "O", 1.3, 2.5) == pytest.approx(1.61, abs=0.04)
    assert peak("O", "O", 2.0, 3.2) == pytest.approx(2.63, abs=0.08)
    assert peak("Si", "Si", 2.5, 3.6) == pytest.approx(3.1, abs=0.12)


def test_density_is_exact(glass, dense):
    for model, density in ((glass, 2.20), (dense, 2.35)):
        mass = atomic_masses[model.atoms.numbers].sum()
        assert mass / model.atoms.get_volume() * AMU_PER_A3 == pytest.approx(density, rel=1e-6)
        assert model.density_g_cm3 == density


def test_nothing_is_left_of_the_crystal(glass):
    """Rings of many sizes, few of the crystal's bonds, and no Bragg peak of beta-cristobalite."""
    cells = (2, 2, 3)
    box = glass.atoms.cell.lengths()
    start = crystal(cells, box)
    assert ring_sizes(start) == {6: 6 * 96}  # the crystal has nothing else
    made = random_network(cells, tuple(float(x) for x in box), 3)
    np.testing.assert_allclose(made.positions, glass.atoms.positions, atol=1e-9)
    rings = ring_sizes(made)
    assert sum(rings.values()) == 6 * 96
    assert rings[6] / (6 * 96) < 0.55
    assert 2 not in rings and 3 not in rings
    assert {5, 7} <= set(rings)
    before, after = ({frozenset(ends) for ends in net.o_si.tolist()} for net in (start, made))
    assert len(before & after) < 0.3 * len(before)
    silicon = glass.atoms.numbers == 14

    def bragg(positions: np.ndarray) -> float:
        hkl = np.array([(a * cells[0], b * cells[1], c * cells[2]) for a in (1, -1) for b in (1, -1) for c in (1, -1)])
        phases = np.exp(2j * np.pi * (positions / box) @ hkl.T)
        return float(np.max(np.abs(phases.mean(axis=0)) ** 2))

    assert bragg(start.positions[:96]) == pytest.approx(0.5, abs=1e-9)
    assert bragg(glass.atoms.positions[silicon]) < 0.2  # the glass has its first diffuse peak there


def test_same_seed_same_network(dense):
    box = tuple(float(edge) for edge in dense.atoms.cell.lengths())
    again = random_network.__wrapped__((2, 2, 2), box, 5)  # past the cache
    np.testing.assert_allclose(again.positions, dense.atoms.positions, atol=1e-9)
    assert {frozenset((int(s), 64 + o)) for o, ends in enumerate(again.o_si) for s in ends} == pairs_of(dense)


@pytest.mark.slow
def test_another_seed_another_network(dense):
    other = amorphous_silica(64, density_g_cm3=2.35, seed=6)
    assert pairs_of(other) != pairs_of(dense)
    assert other.network_energy_eV != dense.network_energy_eV


@pytest.mark.slow
def test_the_default_glass():
    model = amorphous_silica()
    check_glass(model.atoms, spread=11.5)
    assert model.silicon_sites == {"Q4": 216}


# ---------------------------------------------------------------- the energy


def strained(seed: int, terminal: bool) -> Network:
    """A shaken crystal, with some bonds turned into terminal oxygen."""
    rng = np.random.default_rng(seed)
    start = crystal((2, 2, 2), np.full(3, 13.5))  # denser than the glass: pairs overlap
    positions = start.positions + rng.normal(0, 0.25, start.positions.shape)
    if not terminal:
        return dataclasses.replace(start, positions=positions)
    o_si = start.o_si.copy()
    opened = rng.choice(len(o_si), 12, replace=False)
    added = np.column_stack([o_si[opened, 1], np.full(12, -1)])
    o_si[opened, 1] = -1
    positions = np.vstack([positions, positions[64 + opened] + rng.normal(0, 1.0, (12, 3))])
    o_si = np.vstack([o_si, added])
    return Network(positions, start.box, network_module._oxygen_of(64, o_si), o_si, np.nan)


def kernel_energy(net: Network) -> tuple[float, np.ndarray]:
    from atomflow.build._silica_kernels import SKIN_A, bin_atoms, evaluate, list_pairs

    f, _, near, n_near, head, following, counts = network_module._work(len(net.positions))
    every, reach = np.arange(len(net.positions)), terms()[7:].max() + SKIN_A
    bin_atoms(net.positions, net.box, reach, head, following, counts)
    assert list_pairs(net.positions, net.box, reach, every, head, following, counts, near, n_near)
    moves = np.ones(len(every), bool)
    silicon = np.arange(net.silicon)
    energy = evaluate(net.positions, net.box, net.si_o, net.o_si, silicon, every, moves, near, n_near, terms(), f)
    return energy, f


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10**6), st.booleans())
def test_the_kernel_has_the_energy_of_plain_numpy(seed, terminal):
    net = strained(seed, terminal)
    assert kernel_energy(net)[0] == pytest.approx(reference_energy(net), rel=1e-10)


@pytest.mark.parametrize("terminal", [False, True])
def test_forces_are_minus_the_gradient(terminal):
    net = strained(7, terminal)
    force = kernel_energy(net)[1]
    rng = np.random.default_rng(0)
    for atom in rng.choice(len(force), 8, replace=False):
        for axis in range(3):
            ends = []
            for step in (1e-5, -1e-5):
                moved = net.positions.copy()
                moved[atom, axis] += step
                ends.append(reference_energy(dataclasses.replace(net, positions=moved)))
            assert force[atom, axis] == pytest.approx(-(ends[0] - ends[1]) / 2e-5, abs=1e-4)


def test_the_energy_does_not_depend_on_where_the_box_begins():
    net = strained(3, False)
    moved = dataclasses.replace(net, positions=(net.positions + np.array([5.0, -40.0, 7.7])) % net.box)
    assert kernel_energy(moved)[0] == pytest.approx(kernel_energy(net)[0], rel=1e-10)


# ---------------------------------------------------------------- slabs and particles


def test_bonds_are_what_distances_say(model):
    """The bond list has exactly the pairs a covalent-radius search finds; lithium is the exception."""
    reach = {
        ("Si", "O"): 1.85, ("O", "H"): 1.15, ("Si", "C"): 2.05, ("C", "C"): 1.70, ("C", "H"): 1.25, ("C", "S"): 1.95,
        ("S", "O"): 1.65,
    }  # fmt: skip
    found = {frozenset(p) for p in zip(*(a.tolist() for a in neighbor_list("ij", model.atoms, reach)), strict=True)}
    assert found == pairs_of(model)


def test_valences(model):
    degree = np.bincount(model.bonds.ravel(), minlength=len(model.atoms))
    wanted = {"Si_bulk": 4, "Si_silanol": 4, "Si_graft": 4, "O_bridge": 2, "O_silanol": 2, "H_silanol": 1,
              "C_graft": 4, "H_graft": 1, "S": 4, "O_sulfonate": 1, "Li": 0}  # fmt: skip
    assert [wanted[label] for label in model.atoms.arrays["site_label"]] == degree.tolist()


def test_no_close_contacts(model):
    """Nothing without a common bond is nearer than 1.6 A (with H) or 2.2 A, by a k-d tree over explicit images."""
    atoms, joined = model.atoms, [set() for _ in range(len(model.atoms))]
    for a, b in model.bonds.tolist():
        joined[a].add(b)
        joined[b].add(a)
    shifts = np.array([[i, j, k] for i in (0, -1, 1) for j in (0, -1, 1) for k in (0, -1, 1)])
    shifts = shifts[(shifts[:, ~atoms.pbc] == 0).all(axis=1)]
    everything = np.concatenate([atoms.positions + shift @ atoms.cell.array for shift in shifts])
    n = len(atoms)
    for i, near in enumerate(cKDTree(everything).query_ball_point(atoms.positions, 2.2)):
        for image in near:
            j = image % n
            distance = np.linalg.norm(everything[image] - atoms.positions[i])
            if image == i or j in joined[i] or joined[i] & joined[j]:
                continue
            kinds = {atoms.symbols[i], atoms.symbols[j]}
            if kinds == {"Li", "O"}:
                assert distance > 1.8
            else:
                assert distance > 1.6 and "H" in kinds, (i, j, distance)
    assert not [notice for notice in model.warnings if notice.code == "close-contact"]


def test_neutral_and_with_the_usual_oxidation_states(model):
    charges, labels = model.atoms.get_initial_charges(), model.atoms.arrays["site_label"]
    assert model.charge_e == 0
    assert charges.sum() == pytest.approx(0, abs=1e-8)
    usual = {"Si_bulk": 4, "Si_silanol": 4, "Si_graft": 4, "O_bridge": -2, "O_silanol": -2, "H_silanol": 1, "S": 4,
             "O_sulfonate": -2, "Li": 1, "H_graft": 1}  # fmt: skip
    for label, charge in zip(labels, charges, strict=True):
        if label in usual:
            assert charge == pytest.approx(usual[label], abs=1e-8)


def test_grafts_are_propyl_sulfonates_with_lithium_on_two_oxygen(slab, particle):
    for model in (slab, particle):
        labels = model.atoms.arrays["site_label"]
        assert model.grafts == sum(labels == "S") == sum(labels == "Li") == sum(labels == "Si_graft") > 0
        assert sum(labels == "C_graft") == 3 * model.grafts
        assert model.silanols == sum(labels == "H_silanol") == sum(labels == "O_silanol")
        for li in np.flatnonzero(labels == "Li"):
            distances = model.atoms.get_distances(li, np.flatnonzero(labels == "O_sulfonate"), mic=True)
            assert np.sort(distances)[:2] == pytest.approx([1.95, 1.95], abs=0.02)
        assert sum(count for name, count in model.silicon_sites.items() if name[0] == "T") == model.grafts


def test_density_of_groups_is_met_within_one(slab, particle):
    for model, area in ((slab, 2 * 15.0**2), (particle, 4 * math.pi * particle.radius_A**2)):
        assert model.area_A2 == pytest.approx(area)
        one = 100 / area
        assert abs(model.silanols_per_nm2 + model.grafts_per_nm2 - model.requested_silanols_per_nm2) <= one
        assert abs(model.grafts_per_nm2 - model.requested_grafts_per_nm2) <= one
        assert model.grafts_per_nm2 == pytest.approx(model.grafts * one)


def test_size_is_that_asked_for(slab, particle):
    assert slab.thickness_A == pytest.approx(9.0, rel=0.08)
    assert particle.radius_A == pytest.approx(6.5, rel=0.04)
    assert slab.atoms.cell.lengths()[:2] == pytest.approx([15.0, 15.0])
    assert slab.atoms.pbc.tolist() == [True, True, False]
    assert not particle.atoms.pbc.any()
    empty = slab.atoms.cell.lengths()[2] - np.ptp(slab.atoms.positions[:, 2])
    assert empty == pytest.approx(15.0)


def test_the_cut_network_is_no_more_strained_than_the_glass(slab, particle):
    for model in (slab, particle):
        inner = angles_at(model.atoms, "Si", "O", 1.85)
        assert inner.mean() == pytest.approx(109.4, abs=1.0)
        assert inner.std() < 13.0 and inner.min() > 70.0
        assert 130 < angles_at(model.atoms, "O", "Si", 1.85).mean() < 156


def test_both_faces_carry_the_groups_and_the_dipole_is_small(slab, particle):
    labels, z = slab.atoms.arrays["site_label"], slab.atoms.positions[:, 2]
    middle = z[slab.atoms.numbers == 14].mean()
    for label, slack in (("S", 1), ("H_silanol", 6)):
        up = int(np.sum(z[labels == label] > middle))
        assert abs(2 * up - int(np.sum(labels == label))) <= slack
    charges = slab.atoms.get_initial_charges()
    assert slab.dipole_eA[2] == pytest.approx(charges @ z, abs=1e-6)
    assert abs(slab.dipole_eA[2]) < 6  # one graft on its own has more
    assert particle.dipole_eA == pytest.approx(
        particle.atoms.get_initial_charges() @ particle.atoms.positions, abs=1e-6
    )
    assert np.linalg.norm(particle.dipole_eA) < 8


def test_one_piece(slab, particle):
    """The covalent graph without lithium is connected: nothing floats."""
    import networkx as nx

    for model in (slab, particle):
        graph = nx.Graph(model.bonds.tolist())
        assert nx.number_connected_components(graph) == 1
        assert len(graph) == len(model.atoms) - model.grafts


def test_formula_follows_from_the_groups(slab, particle):
    for model in (slab, particle):
        count = {symbol: model.atoms.get_chemical_symbols().count(symbol) for symbol in ("Si", "O", "H", "Li")}
        groups = model.silanols + model.grafts
        assert count["H"] == model.silanols + 6 * model.grafts
        assert count["O"] == 2 * count["Si"] - groups / 2 + model.silanols + 3 * model.grafts
        assert model.formula == model.atoms.get_chemical_formula()


@pytest.mark.parametrize("silanols", [4.0, 6.5])
def test_other_silanol_densities(silanols):
    model = silica_slab(**SMALL, silanols_per_nm2=silanols, seed=1)
    assert model.silanols_per_nm2 == pytest.approx(silanols, abs=100 / model.area_A2)
    assert not model.warnings


@pytest.mark.slow
def test_a_surface_depends_on_the_seed_alone(slab):
    again = silica_slab(**SMALL, grafts_per_nm2=1.0, seed=1)
    np.testing.assert_array_equal(again.atoms.positions, slab.atoms.positions)
    other = silica_slab(**SMALL, grafts_per_nm2=1.0, seed=2)
    assert len(other.atoms) != len(slab.atoms) or not np.allclose(other.atoms.positions, slab.atoms.positions)


def test_a_result_survives_the_codec(slab):
    back = loads(dumps(slab))
    assert back.to_dict() == slab.to_dict()
    np.testing.assert_array_equal(back.bonds, slab.bonds)
    np.testing.assert_array_equal(back.atoms.arrays["site_label"], slab.atoms.arrays["site_label"])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: amorphous_silica(100), "the nearest are 96 and 128"),
        (lambda: amorphous_silica(8), "from 64 to 4096"),
        (lambda: amorphous_silica(216.0), "whole number"),
        (lambda: amorphous_silica(64, density_g_cm3=4.3), "from 1.9 to 2.5"),
        (lambda: amorphous_silica(64, density_g_cm3=float("nan")), "not a number"),
        (lambda: amorphous_silica(64, seed=-1), "seed -1"),
        (lambda: silica_slab(3.0), "thickness_A 3 cannot be built; give one from 8 to 50"),
        (lambda: silica_slab(12.0, 5.0), "size_A 5"),
        (lambda: silica_slab(vacuum_A=-1.0), "vacuum_A -1"),
        (lambda: silica_slab(silanols_per_nm2=-1.0), "silanols_per_nm2 -1"),
        (lambda: silica_slab(silanols_per_nm2=2.0, grafts_per_nm2=3.0), "the largest possible is 2"),
        (lambda: silica_slab(**SMALL, silanols_per_nm2=0.0, seed=1), "the smallest possible here is "),
        pytest.param(
            lambda: silica_slab(**SMALL, silanols_per_nm2=6.0, grafts_per_nm2=6.0, seed=1),
            "the largest possible here is ",
            marks=pytest.mark.slow,
        ),
        (lambda: silica_particle(2.0), "radius_A 2 cannot be built; give one from 6 to 25"),
        (lambda: silica_particle("10"), "radius_A '10' is not a number"),
    ],
)
def test_what_cannot_be_built_says_what_can(make, told):
    with pytest.raises(BadOptionError) as caught:
        make()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
