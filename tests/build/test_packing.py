"""Packing: nothing overlaps, the same seed gives the same box, and what cannot be packed is said in one line."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomflow.build import box, build_box, check_box, check_terms, molecule, pack, replicated
from atomflow.build._packing_kernels import give_way, overlaps
from atomflow.build.boxes import particle_molecule, shortest_contact_A
from atomflow.build.composing import shared_fractions
from atomflow.build.packing import find_packmol
from atomflow.errors import BadOptionError, BadStructureError, MissingProgramError, PackingError
from atomflow.model import Box


def plain_overlaps(positions, body, edge, within):
    found = set()
    for i, j in itertools.combinations(range(len(positions)), 2):
        apart = positions[i] - positions[j]
        image = np.rint(apart / edge)
        if (body[i] != body[j] or image.any()) and np.linalg.norm(apart - image * edge) < within:
            found.add((i, j))
    return found


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), many=st.integers(2, 60), edge=st.floats(4.0, 20.0), within=st.floats(0.5, 2.0))
def test_overlaps_are_those_of_the_plain_way(seed, many, edge, within):
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-1.5 * edge, 1.5 * edge, (many, 3))
    body = np.sort(rng.integers(0, max(1, many // 3), many))
    pairs, vectors = overlaps(positions, body, edge, within)
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == plain_overlaps(positions, body, edge, within)
    assert len(pairs) == len({tuple(sorted(pair)) for pair in pairs.tolist()})
    assert (np.linalg.norm(vectors, axis=1) < within).all()


def test_bodies_stay_rigid_and_the_held_one_stays():
    rng = np.random.default_rng(3)
    shape = molecule("TFSI-").atoms.positions
    shape = shape - shape.mean(axis=0)
    centres = rng.uniform(0, 9.0, (6, 3))
    positions = np.concatenate([shape + centre for centre in centres])
    before = positions.copy()
    body = np.repeat(np.arange(6), len(shape))
    starts = np.arange(7) * len(shape)
    mobility = np.array([0.0, 1, 1, 1, 1, 1])
    give_way(positions, body, starts, centres, mobility, 20.0, 2.0, 2.05, 300)
    assert np.array_equal(positions[: len(shape)], before[: len(shape)])
    assert not np.allclose(positions, before)
    for k in range(6):
        mine = positions[starts[k] : starts[k + 1]]
        np.testing.assert_allclose(mine.mean(axis=0), centres[k], atol=1e-9)
        distances = [np.linalg.norm(x[:, None] - x[None], axis=2) for x in (mine, shape)]
        np.testing.assert_allclose(*distances, atol=1e-9)
        # Turned, not mirrored.
        assert np.linalg.det(np.linalg.lstsq(shape, mine - centres[k], rcond=None)[0]) > 0


def distances_within(built):
    """Of every molecule's atoms, against those of its kind when that has one geometry."""
    for kind, start, end in zip(built.molecules, built.first_atoms, built.first_atoms[1:], strict=False):
        x, y = built.positions_A[start:end], built.kinds[kind].graph.GetConformer().GetPositions()
        yield np.abs(np.linalg.norm(x[:, None] - x, axis=2) - np.linalg.norm(y[:, None] - y, axis=2)).max()


@pytest.mark.parametrize("name", ["dmf", "litfsi-dmf", "PL", "PPL"])
def test_small_boxes_have_no_overlaps(name):
    built = build_box(name, atoms=700, seed=2)
    checks = check_box(built.box, built.composition)
    assert checks.charge_e == 0 and checks.pierced == 0 and checks.shortest_A >= 2.0
    assert len(built.box) == built.composition.atoms
    assert built.box.density_g_cm3 == pytest.approx(0.4 * built.composition.density_g_cm3, rel=0.01)
    if name == "litfsi-dmf":
        assert max(distances_within(built.box)) < 1e-6
    # Independently of the check's own way.
    wrapped = built.box.atoms
    i, j = np.triu_indices(len(built.box), 1)
    other = built.box.molecule_of_atom[i] != built.box.molecule_of_atom[j]
    apart = wrapped.positions[i[other]] - wrapped.positions[j[other]]
    edge = built.box.cell_A[0, 0]
    assert np.linalg.norm(apart - np.rint(apart / edge) * edge, axis=1).min() >= 2.0


def test_a_particle_sits_in_the_middle():
    built = build_box("PLL", atoms=1200, seed=1, changes={"filler": "25%"})
    (place,) = [n for n, kind in enumerate(built.box.molecules) if built.box.kinds[kind].role == "particle"]
    start, end = built.box.first_atoms[place : place + 2]
    np.testing.assert_allclose(built.box.positions_A[start:end].mean(axis=0), built.box.cell_A[0, 0] / 2, atol=1e-6)
    kind = built.box.kinds[built.box.molecules[place]]
    assert kind.charge == 0 and kind.name == "LLZTO" and not len(kind.graph.GetBonds())
    assert {atom.GetFormalCharge() for atom in kind.graph.GetAtoms()} >= {1, 3, -2}
    check_box(built.box, built.composition)


def test_two_particles_stay_apart():
    ball = particle_molecule("LLZTO", 2)
    built = pack([ball, molecule("DMF")], [2, 20], density_g_cm3=0.6, seed=0)
    assert shortest_contact_A(built)[0] >= 2.0


def test_chains_have_their_own_coils():
    built = box("pvdf", atoms=800, seed=4, units=20)
    assert len(built.kinds) == 1 and len(built.molecules) >= 4
    ends = [
        np.linalg.norm(np.ptp(built.positions_A[a:b], axis=0))
        for a, b in zip(built.first_atoms, built.first_atoms[1:], strict=False)
    ]
    assert np.std(ends) > 0.1


@pytest.mark.parametrize("packer", ["atomflow", "packmol"])
def test_the_same_seed_gives_the_same_box(packer):
    kinds = [molecule("Li+"), molecule("TFSI-"), molecule("DMF")]
    one, same, other = (pack(kinds, [2, 2, 12], density_g_cm3=0.5, seed=seed, packer=packer) for seed in (7, 7, 8))
    assert np.array_equal(one.positions_A, same.positions_A)
    assert not np.allclose(one.positions_A, other.positions_A)
    assert one.count() == {"Li+": 2, "TFSI-": 2, "DMF": 12} and one.charge_e == 0
    assert shortest_contact_A(one)[0] >= (2.0 if packer == "atomflow" else 1.9)


def test_boxes_of_one_seed_are_equal():
    one, same = (box("PL", atoms=500, seed=5) for _ in range(2))
    assert np.array_equal(one.positions_A, same.positions_A) and one.count() == same.count()


@pytest.mark.parametrize(("units", "chains"), [(9, 7), (30, 10), (50, 1)])
def test_chains_together_have_the_comonomer_asked_for(units, chains):
    """Each alone would round 5.5 % to none, or to two in thirty."""
    shares = shared_fractions("PVDF-HFP", chains, units, {})
    counts = [dict(one)["HFP"] * units for one in shares]
    assert np.allclose(counts, np.rint(counts)) and max(counts) - min(counts) < 1.01
    assert abs(sum(counts) - 0.055 * chains * units) <= 0.5


def test_the_density_is_the_one_asked_for():
    salt = [molecule("Zn2+"), molecule("TFSI-"), molecule("DMF")]
    assert pack(salt, [2, 4, 20], density_g_cm3=0.4, seed=1).density_g_cm3 == pytest.approx(0.4, rel=1e-9)


def test_masses_are_atomic_weights():
    """Not those of the most common isotope."""
    small = box("zn-litfsi-dmf", atoms=1200, seed=1)
    assert np.isclose(small.masses_u[small.numbers == 30], 65.38).all()
    assert np.isclose(small.masses_u[small.numbers == 6], 12.011).all()


def test_replicas_stand_beside_each_other():
    small = pack([molecule("Li+"), molecule("TFSI-")], [3, 3], density_g_cm3=0.4, seed=1)
    large = replicated(small, (2, 1, 3))
    assert large.count() == {"Li+": 18, "TFSI-": 18} and large.charge_e == 0
    assert large.density_g_cm3 == pytest.approx(small.density_g_cm3)
    np.testing.assert_allclose(np.diag(large.cell_A), np.diag(small.cell_A) * [2, 1, 3])
    assert shortest_contact_A(large)[0] == pytest.approx(shortest_contact_A(small)[0])
    built = build_box("dmf", atoms=960, replicate=(2, 2, 1))
    assert len(built.box) == built.composition.atoms == 960
    check_box(built.box, built.composition)


def test_what_cannot_converge_is_told():
    with pytest.raises(PackingError, match=r"still overlap at 1\.6 g/cm3 .* take a --pack-density below"):
        pack([molecule("DMF")], [40], density_g_cm3=1.6)
    with pytest.raises(PackingError, match="too small for what it should hold"):
        pack([molecule("Li+")], [1], density_g_cm3=5.0)
    with pytest.raises(PackingError, match=r"did not converge within 0\.01 s; take a lower --pack-density"):
        pack([molecule("DMF")], [40], density_g_cm3=0.9, packer="packmol", timeout_s=0.01)


def test_packmol_absent_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(MissingProgramError, match="packmol is not here; install it with: pip install packmol"):
        find_packmol()


@pytest.mark.parametrize(
    "bad", [{"packer": "mine"}, {"density_g_cm3": 0.0}, {"density_g_cm3": float("nan")}, {"seed": -1}]
)
def test_options_that_make_no_sense(bad):
    with pytest.raises(BadOptionError):
        pack([molecule("DMF")], [4], **{"density_g_cm3": 0.4, **bad})


@pytest.mark.parametrize(
    ("counts", "density", "told"),
    [
        ([4], 100, r"density 100 g/cm3: give one above 0 and below 25"),
        ([4], "0.4", r"density '0\.4': give a number"),
        ([4], None, "density None"),
        ([4], True, "density True"),
        (4, 0.4, "counts 4: give a whole number for each kind"),
        ("4", 0.4, "counts '4'"),
        ([2.5], 0.4, r"a count of 2\.5"),
        (["4"], 0.4, "a count of '4'"),
        ([None], 0.4, "a count of None"),
        (np.array([4.0]), 0.4, "a count of"),
    ],
)
def test_numbers_of_a_wrong_kind_are_told(counts, density, told):
    with pytest.raises(BadOptionError, match=told) as caught:
        pack([molecule("DMF")], counts, density_g_cm3=density)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_will_do():
    assert pack([molecule("DMF")], np.array([4]), density_g_cm3=np.float32(0.3)).count() == {"DMF": 4}


def test_a_box_that_is_wrong_does_not_pass():
    built = pack([molecule("Li+"), molecule("TFSI-")], [3, 3], density_g_cm3=0.4, seed=1)
    moved = built.positions_A.copy()
    moved[0] = moved[1] + [1.0, 0, 0]
    with pytest.raises(BadStructureError, match=r"1\.00 A apart"):
        check_box(Box(built.kinds, built.molecules, moved, built.cell_A))
    with pytest.raises(BadStructureError, match=r"charge \+3"):
        check_box(pack([molecule("Li+")], [3], density_g_cm3=0.01))


def test_every_term_is_there():
    from dataclasses import replace

    from atomflow.forcefield import parametrise
    from atomflow.model import Bonded

    system = parametrise(box("litfsi-dmf", atoms=400), allow_assumed=True)
    check_terms(system)
    torsions = system.torsions
    fewer = replace(system, torsions=Bonded(torsions.atoms[1:], torsions.term[1:], torsions.terms))
    with pytest.raises(BadStructureError, match="torsions have a term"):
        check_terms(fewer)


@pytest.mark.slow
def test_coils_too_long_for_a_small_box_are_grown_anew():
    """Three chains of 83 units whose first coils pack at no density."""
    told: list[str] = []
    built = build_box("pvdf", atoms=1500, seed=1, say=told.append)
    assert len(built.box.positions_A) == 1500
    assert told.count("growing chains and cutting particles") > 1
