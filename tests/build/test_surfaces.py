"""Slabs, checked from their atoms alone: charge, formula, dipole, whole polyhedra, area, vacuum, nothing detached."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from atomflow.build import find_crystal, order, slab
from atomflow.build.ordering import one_by_one
from atomflow.build.parent import parent_of
from atomflow.build.surfaces import lattice_plane
from atomflow.errors import BadOptionError, CutError

# Bonds: cation-anion, reaching between the first and the second shell.
BONDS_A = {"LiF": 2.4, "Li2O": 2.4, "alpha-quartz": 1.9, "LLZO": 2.9, "LLZTO": 2.9, "LiFePO4": 2.6, "Li2CO3": 2.6}


def bonds(atoms, reach):
    """How many bonds each atom has, and the number of pieces, periodic in the plane."""
    charges = atoms.get_initial_charges()
    i, j = neighbor_list("ij", atoms, reach)
    opposite = charges[i] * charges[j] < 0
    i, j = i[opposite], j[opposite]
    graph = csr_matrix((np.ones(len(i)), (i, j)), shape=(len(atoms),) * 2)
    return np.bincount(i, minlength=len(atoms)), connected_components(graph, directed=False)[0]


def check(models, name, area_A2, vacuum_A=20.0, whole=None, formula=None):
    """What must hold for every slab, by ase and pymatgen alone."""
    crystal = find_crystal(name)
    parent = crystal.structure
    target, _ = Composition(formula or crystal.formula).get_integer_formula_and_factor()
    shortest = {}
    d = parent.distance_matrix
    for model in models.models:
        atoms = model.atoms
        charges = atoms.get_initial_charges()
        assert charges.sum() == pytest.approx(0, abs=1e-9)
        assert model.charge_e == pytest.approx(0, abs=1e-9)
        amounts = Composition(atoms.get_chemical_formula())
        assert amounts.get_integer_formula_and_factor()[0] == target
        dipole = charges @ atoms.positions[:, 2]
        assert abs(dipole) < 0.1
        assert model.dipole_eA == pytest.approx((0, 0, dipole), abs=1e-6)
        assert list(atoms.pbc) == [True, True, False]
        assert np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1])) == pytest.approx(area_A2, rel=1e-6)
        assert model.area_A2 == pytest.approx(area_A2, rel=1e-6)
        assert atoms.cell[:2, 2] == pytest.approx(0, abs=1e-9) and atoms.cell[2, :2] == pytest.approx(0, abs=1e-9)
        thickness = np.ptp(atoms.positions[:, 2])
        assert model.thickness_A == pytest.approx(thickness)
        assert atoms.cell[2, 2] - thickness >= vacuum_A - 1e-6
        assert atoms.positions[:, 2].min() > 0 and atoms.positions[:, 2].max() < atoms.cell[2, 2]
        _i, _, distance = neighbor_list("ijd", atoms, 2.6)
        if not crystal.apart:
            shortest = d[d > 0.1].min()
            assert distance.min() >= shortest - 1e-3  # no pair nearer than in the crystal
        else:
            lithium = np.isin(atoms.numbers, [3, 13])
            first, second, gap = neighbor_list("ijd", atoms, 2.3)
            assert not (lithium[first] & lithium[second]).any() and gap.min() > 1.7
        if whole:
            centre, reach = whole
            a, b = neighbor_list("ij", atoms, reach)
            corners = atoms.symbols[b] == "O"
            count = np.bincount(a[corners], minlength=len(atoms))[np.isin(atoms.get_chemical_symbols(), centre)]
            assert (count == count.max()).all() and count.max() == {"P": 4, "C": 3}.get(centre[0], 6)
    return models


def area_of(name, miller):
    """Area of the smallest surface cell, by pymatgen: volume of the primitive cell over the spacing of its planes."""
    structure = find_crystal(name).structure
    conventional = structure.lattice
    primitive = SpacegroupAnalyzer(structure, symprec=1e-3).find_primitive()
    # spacing of the smallest plane: d_hkl over the centring's factor, from the reciprocal vectors of the primitive cell
    spacing = smallest_spacing(conventional, structure, miller)
    return primitive.volume / spacing


def smallest_spacing(lattice, structure, miller):
    """d of the lattice planes, counting those that centring puts between, by listing lattice points."""
    h = np.array(miller) // np.gcd.reduce(miller)
    symbol = SpacegroupAnalyzer(structure, symprec=1e-3).get_space_group_symbol()
    centring = {
        "P": [],
        "I": [(0.5, 0.5, 0.5)],
        "F": [(0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
        "C": [(0.5, 0.5, 0)],
        "R": [(2 / 3, 1 / 3, 1 / 3), (1 / 3, 2 / 3, 2 / 3)],
    }[symbol[0]]
    heights = np.array([0.0, 1.0] + [float(np.dot(h, point)) % 1.0 for point in centring])
    heights = heights[(heights > 1e-6)]
    return lattice.d_hkl(h) * heights.min()


planes = st.tuples(*[st.integers(-4, 4)] * 3).filter(any)


@settings(max_examples=40, deadline=None)
@given(miller=planes, name=st.sampled_from(["LiF", "LLZO", "Li2CO3", "alpha-quartz", "LATP", "LiFePO4", "t-LLZO"]))
def test_lattice_plane(miller, name):
    parent = PARENTS.setdefault(name, parent_of(find_crystal(name)))
    plane = lattice_plane(parent, miller)
    vectors = plane.matrix @ np.array(parent.primitive.cell)
    normal = np.linalg.solve(np.array(parent.conventional.cell), np.array(miller, float))
    normal /= np.linalg.norm(normal)
    assert vectors[:2] @ normal == pytest.approx(0, abs=1e-6)
    assert abs(vectors[2] @ normal) == pytest.approx(plane.spacing_A, rel=1e-9)
    assert round(np.linalg.det(plane.matrix)) == 1
    assert np.linalg.det(vectors) == pytest.approx(parent.primitive.get_volume() * np.sign(np.linalg.det(vectors)))
    structure = STRUCTURES.setdefault(name, find_crystal(name).structure)
    spacing = smallest_spacing(Lattice(np.array(parent.conventional.cell)), structure, miller)
    assert plane.spacing_A == pytest.approx(spacing, rel=1e-6)


PARENTS, STRUCTURES = {}, {}


@pytest.mark.parametrize("miller", [(0, 0, 0), (7, 0, 0), (1, 0), (1, 0, 0, 0), (0, 0, 99)])
def test_indices_of_no_plane(miller):
    with pytest.raises(BadOptionError, match="--miller"):
        lattice_plane(parent_of(find_crystal("LiF")), miller)


@pytest.mark.parametrize(
    ("name", "miller", "repeat"),
    [
        ("LiF", (0, 0, 1), (1, 1)),
        ("LiF", (1, 1, 0), (1, 1)),
        ("LiF", (1, 1, 1), (2, 1)),
        ("Li2O", (1, 1, 1), (1, 1)),
        ("alpha-quartz", (0, 0, 1), (1, 1)),
        ("LiFePO4", (0, 1, 0), (1, 1)),
        ("Li2CO3", (0, 0, 1), (1, 1)),
    ],
)
def test_slabs_of_simple_crystals(name, miller, repeat):
    models = slab(name, miller, repeat=repeat, seeds=2, sweeps=1500)
    whole = {"LiFePO4": (["P"], 1.8), "Li2CO3": (["C"], 1.6)}.get(name)
    check(models, name, area_of(name, miller) * repeat[0] * repeat[1], whole=whole)
    lowest = models.models[0]
    assert lowest.thickness_A > 9
    count, pieces = bonds(lowest.atoms, BONDS_A[name])
    assert count.min() >= 2 - (name == "alpha-quartz") and pieces == 1
    assert models.hits >= 1 and min(v for v in models.lowest_by_seed_meV_per_atom if v is not None) == 0


def test_rock_salt_001_ends_with_five_neighbours():
    model = slab("LiF", (0, 0, 1), seeds=2).models[0]
    count, _ = bonds(model.atoms, 2.4)
    height = model.atoms.positions[:, 2]
    outermost = np.minimum(height - height.min(), height.max() - height) < 0.1
    assert outermost.sum() == 4 and (count[outermost] == 5).all() and (count[~outermost] == 6).all()
    assert model.surface_coordination["Li-F"]["5"] == 2


def test_li2o_111_ends_with_lithium_of_three_neighbours():
    model = slab("Li2O", (1, 1, 1), seeds=2).models[0]
    count, _ = bonds(model.atoms, 2.4)
    top = np.argmax(model.atoms.positions[:, 2])
    assert model.atoms.symbols[top] == "Li" and count[top] == 3
    assert (count[model.atoms.symbols == "O"] >= 7).all()


def test_equivalent_indices_give_the_same_slab():
    one, two, three = (slab("LiF", miller, seeds=2).models[0] for miller in [(0, 0, 1), (1, 0, 0), (0, -2, 0)])
    for other in (two, three):
        assert other.formula == one.formula and other.area_A2 == pytest.approx(one.area_A2)
        assert other.electrostatic_eV == pytest.approx(one.electrostatic_eV, abs=1e-5)


def test_surface_energy_of_lithium_fluoride():
    """Formal charges on ideal sites: gamma does not depend on the thickness, and is that of a plane sum."""
    bulk = order("LiF", seeds=1).models[0].electrostatic_eV
    energies = []
    for layers in (4, 6):
        model = slab("LiF", (0, 0, 1), layers=layers, seeds=1).models[0]
        energies.append((model.electrostatic_eV - bulk * model.atom_count / 2) / (2 * model.area_A2))
    d = find_crystal("LiF").structure.lattice.a / 2
    assert energies[0] == pytest.approx(energies[1], rel=1e-4)
    odd = np.array([(i, j) for i in range(-9, 10, 2) for j in range(-9, 10, 2)])
    g = np.hypot(*odd.T)
    # A face loses half of what all pairs of planes across the cut have: n pairs of planes n apart, signs alternate.
    binding = sum(n * (-1) ** (n + 1) * (2 / g * np.exp(-np.pi * n * g)).sum() for n in range(1, 12))
    assert energies[0] * d**3 / 14.399645 == pytest.approx(binding / 2, rel=1e-4)


@pytest.mark.parametrize("options", [{"layers": 1}, {"layers": 3}])
def test_polar_cut_without_area(options):
    with pytest.raises(CutError, match="--repeat 2,1"):
        slab("LiF", (1, 1, 1), seeds=1, **options)


def test_polar_cut_is_not_saved_by_a_layer_in_the_vacuum():
    try:
        models = slab("LiF", (1, 1, 1), seeds=2)
    except CutError:
        return
    for model in models.models:
        count, pieces = bonds(model.atoms, 2.4)
        assert count.min() >= 1 and pieces == 1


@pytest.mark.parametrize(("name", "miller"), [("Li2O", (1, 1, 1)), ("alpha-quartz", (0, 0, 1)), ("LiF", (0, 0, 1))])
def test_no_kept_model_is_in_two_pieces(name, miller):
    for model in slab(name, miller, seeds=2).models:
        _, pieces = bonds(model.atoms, BONDS_A[name])
        assert pieces == 1


def test_a_thin_slab_whose_faces_overlap():
    for name, miller in [("LiF", (0, 0, 1)), ("Li2O", (1, 0, 0))]:
        models = slab(name, miller, layers=1, seeds=1)
        check(models, name, area_of(name, miller))


def test_a_metal_without_charges_or_units():
    models = slab("Li", (1, 1, 0), seeds=2, sweeps=20)
    assert set(models.models[0].atoms.get_chemical_symbols()) == {"Li"}
    assert models.models[0].electrostatic_eV == 0 and models.models[0].dipole_eA == (0, 0, 0)


def test_large_indices():
    models = slab("LiF", (4, 3, 2), thickness_A=5, seeds=1, sweeps=200)
    check(models, "LiF", area_of("LiF", (4, 3, 2)))


def test_vacuum_and_repeat():
    models = slab("LiF", (0, 0, 1), layers=3, repeat=(2, 2), vacuum_A=35, seeds=2, keep=1)
    check(models, "LiF", 4 * area_of("LiF", (0, 0, 1)), vacuum_A=35)
    one = slab("LiF", (0, 0, 1), layers=3, vacuum_A=10, seeds=1, sweeps=50, keep=1).models[0]
    assert models.models[0].electrostatic_eV == pytest.approx(4 * one.electrostatic_eV, rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"thickness_A": 0},
        {"thickness_A": float("nan")},
        {"thickness_A": 1e9},
        {"layers": 0},
        {"layers": 51},
        {"vacuum_A": 1},
        {"vacuum_A": float("nan")},
        {"repeat": (0, 1)},
        {"repeat": (-1, 1)},
        {"miller": (0, 0, 0)},
    ],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(BadOptionError) as told:
        slab("LiF", **options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("options", [{"miller": (0, 0, 1.5)}, {"seeds": 0}])
def test_more_options_that_make_no_sense(options):
    with pytest.raises(BadOptionError):
        slab("LiF", **options)


def test_searches_count_unpolar_models_only():
    found = []

    def run(function, arguments):
        done = one_by_one(function, arguments)
        found.extend(zip(arguments, done, strict=True))
        return done

    models = slab("LLZO", layers=1, seeds=3, sweeps=600, run=run)
    assert len(models.lowest_by_seed_meV_per_atom) == len(found)
    lowest = []
    for arguments, each in found:
        flat = [
            energy
            for energy, state in zip(each.energies_eV, each.states, strict=True)
            if abs(arguments[0].dipole_eA(state)[2]) < 0.1
        ]
        lowest.append(min(flat, default=np.inf))
    assert models.models[0].electrostatic_eV == pytest.approx(min(lowest), abs=1e-6)
    close = [(e - min(lowest)) / models.models[0].atom_count * 1e3 <= 1.0 for e in lowest]
    assert models.hits == sum(close)
    assert models.models[0].found_by <= models.hits


@pytest.mark.slow
@pytest.mark.parametrize("layers", [2, 3])
def test_llzo_001(layers):
    models = slab("LLZO", (0, 0, 1), layers=layers, seeds=3, sweeps=4000)
    a = find_crystal("LLZO").structure.lattice.a
    check(models, "LLZO", a * a, whole=(["Zr"], 2.3))
    assert models.models[0].atom_count == 96 * layers
    for model in models.models:
        count, pieces = bonds(model.atoms, 2.9)
        assert pieces == 1 and count.min() >= 1
        lanthanum = model.atoms.symbols == "La"
        assert count[lanthanum].min() >= 4


@pytest.mark.slow
def test_llzto_001_is_a_neighbour_of_the_composition():
    models = slab("LLZTO", (0, 0, 1), layers=2, seeds=3, sweeps=4000)
    assert any(notice.code == "nearest-composition" for notice in models.warnings)
    assert models.formula != models.target
    check(
        models,
        "LLZTO",
        find_crystal("LLZTO").structure.lattice.a ** 2,
        whole=(["Zr", "Ta"], 2.3),
        formula=models.models[0].formula,
    )


@pytest.mark.slow
def test_equivalent_indices_of_a_garnet():
    one, two = (slab("LLZO", miller, layers=1, seeds=4, sweeps=6000).models[0] for miller in [(0, 0, 1), (1, 0, 0)])
    assert one.formula == two.formula and one.area_A2 == pytest.approx(two.area_A2)
    # Two searches of one problem: they agree to what searches agree to, some meV/atom.
    assert abs(one.electrostatic_eV - two.electrostatic_eV) / 96 < 0.01


def test_slab_keeps_the_names_of_sites():
    model = slab("LLZO", layers=1, seeds=2, sweeps=1500, keep=1).models[0]
    wyckoff, symbols = model.atoms.arrays["wyckoff"], model.atoms.symbols
    assert set(wyckoff[symbols == "Zr"]) == {"16a"} and set(wyckoff[symbols == "La"]) == {"24c"}
    assert Structure(model.atoms.cell, symbols, model.atoms.positions, coords_are_cartesian=True).is_valid(1.5)
