"""Ordered cells against enumeration, pymatgen's symmetry and an independent neighbour list."""

import itertools

import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from atomflow.build import find_crystal, load_crystal, order, rescore
from atomflow.errors import AtomflowError, BadOptionError, BadStructureError, CompositionError, UnknownNameError

CIF = """data_x
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M '{group}'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{rows}
"""


def cif(path, rows, group="P 1", a=4.0):
    path.write_text(CIF.format(a=a, group=group, rows="\n".join(rows)))
    return path


def formula_amounts(formula):
    return Composition(formula).get_el_amt_dict()


def structure_of(atoms):
    structure = Structure(
        Lattice(np.array(atoms.cell)), atoms.get_chemical_symbols(), atoms.positions, coords_are_cartesian=True
    )
    structure.add_oxidation_state_by_site(atoms.get_initial_charges().tolist())
    return structure


def check_garnet(model, formula, centres=("Zr",)):
    """What holds for every model of a garnet, by pymatgen's neighbours and not by ours."""
    structure = structure_of(model.atoms)
    assert structure.composition.get_el_amt_dict() == pytest.approx(formula_amounts(formula))
    assert structure.charge == pytest.approx(0)
    assert model.charge_e == pytest.approx(0)
    for site, near in zip(structure, structure.get_all_neighbors(2.6), strict=True):
        element = site.specie.element.symbol
        shell = [n.nn_distance for n in near if n.specie.element.symbol == "O"]
        if element in centres:
            short = [d for d in shell if d < 2.3]
            assert len(short) == 6 and all(2.0 < d < 2.2 for d in short)
        if element in ("Li", "Al"):
            assert not [n for n in near if n.specie.element.symbol in ("Li", "Al") and n.nn_distance < 2.3]
            assert len(shell) >= 4
    assert structure.is_valid(tol=1.5)


@pytest.fixture(scope="module")
def llzo():
    return order("LLZO", seeds=2, sweeps=1500, keep=4)


@pytest.fixture(scope="module")
def salt(tmp_path_factory):
    """Rock salt Li0.5Mg0.25F with a quarter of its cation sites empty, 8 of them in the cell: 420 fillings."""
    rows = ["M1 Li 0 0 0 0.5", "M1b Mg 0 0 0 0.25", "F1 F 0.5 0.5 0.5 1.0"]
    path = cif(tmp_path_factory.mktemp("cif") / "salt.cif", rows, "F m -3 m", 4.1)
    return order(load_crystal(path, formula="Li0.5Mg0.25F"), cell=(2, 1, 1), seeds=2, sweeps=200, keep=30)


def energies_of_every_salt():
    """By pymatgen's Ewald matrix of the 16 sites."""
    corner = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cations = np.concatenate([(corner + np.array([n, 0, 0])) / [2, 1, 1] for n in (0, 1)])
    anions = np.concatenate([(corner + 0.5 + [n, 0, 0]) / [2, 1, 1] for n in (0, 1)])
    sites = Structure(Lattice.orthorhombic(8.2, 4.1, 4.1), ["H+"] * 16, np.concatenate([cations, anions]))
    matrix = EwaldSummation(sites).total_energy_matrix
    energies = []
    for filled in itertools.combinations(range(8), 6):
        for magnesium in itertools.combinations(filled, 2):
            charges = np.array([(n in filled) + (n in magnesium) for n in range(8)] + [-1] * 8, float)
            energies.append(charges @ matrix @ charges)
    return np.array(energies)


def test_orderings_are_those_of_a_plain_enumeration(salt):
    energies = energies_of_every_salt()
    assert len(energies) == 420
    lowest = salt.models[0].electrostatic_eV
    assert lowest == pytest.approx(energies.min(), rel=1e-7)
    assert salt.models[0].degeneracy == np.isclose(energies, lowest, atol=1e-4).sum()
    for model in salt.models:  # minima alone are kept, not every level; but every model is a level with all its images
        assert 1 <= model.degeneracy <= np.isclose(energies, model.electrostatic_eV, atol=1e-4).sum()


def test_degeneracy_is_the_order_of_the_group_over_that_of_the_stabiliser(llzo):
    parent = find_crystal("LLZO").structure.get_primitive_structure()
    group = len(SpacegroupAnalyzer(parent, symprec=1e-3).get_symmetry_operations())
    assert group == 48
    for model in llzo.models:
        own = SpacegroupAnalyzer(structure_of(model.atoms), symprec=1e-3).get_symmetry_operations()
        assert model.degeneracy == group / len(own)


def test_distinct_orderings_are_distinct(llzo, salt):
    for models in (llzo, salt):
        structures = [structure_of(model.atoms) for model in models.models]
        matcher = StructureMatcher(primitive_cell=False, scale=False, ltol=0.01, stol=0.02, angle_tol=0.5)
        for one, other in itertools.combinations(structures, 2):
            assert not matcher.fit(one, other)
        energies = [model.electrostatic_eV for model in models.models]
        assert energies == sorted(energies)
        assert [m.above_lowest_meV_per_atom for m in models.models] == pytest.approx(
            [(e - energies[0]) / models.models[0].atom_count * 1e3 for e in energies]
        )


def test_llzo(llzo):
    assert llzo.hits == 2 and llzo.formula == llzo.target == "Li7La3Zr2O12"
    for model in llzo.models:
        check_garnet(model, "Li28La12Zr8O48")
        # Each Li-O pair counted once more, with ase.
        i, _, d = neighbor_list("ijd", model.atoms, 2.3)
        assert model.shortest_A["Zr-O"] == pytest.approx(d[model.atoms.numbers[i] == 40].min(), abs=1e-3)
        assert model.coordination["Zr-O"] == {"6": 8} and model.coordination["La-O"] == {"8": 12}


def test_names_of_sites(llzo):
    sites = find_crystal("LLZO").structure
    known = {(s.label, s.properties["wyckoff"]) for s in sites}
    for model in llzo.models:
        tags = list(zip(model.atoms.arrays["site_label"], model.atoms.arrays["wyckoff"], strict=True))
        assert set(tags) <= known
        # Every ion lies on a site of that name in the crystal as published, or half a body diagonal (its centring) away.
        for tag in set(tags):
            places = np.array([s.frac_coords for s in sites if (s.label, s.properties["wyckoff"]) == tag])
            mine = model.atoms.positions[[t == tag for t in tags]] @ np.linalg.inv(sites.lattice.matrix)
            away = np.abs((mine[:, None] - places[None] + 0.5) % 1.0 - 0.5).max(axis=2).min(axis=1)
            shift = np.abs((mine[:, None] - places[None] + 1.0) % 0.5).max(axis=2).min(axis=1)
            assert min(away.max(), shift.max()) < 1e-3
        lithium = {
            wyckoff for (_, wyckoff), s in zip(tags, model.atoms.get_chemical_symbols(), strict=True) if s == "Li"
        }
        assert lithium <= {"24d", "96h"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cell", "formula"),
    [
        ("LALZO", None, "Li25AlLa12Zr8O48"),
        ("LLZO", None, "Li28La12Zr8O48"),
        ("LLZO", "conventional", "Li56La24Zr16O96"),
    ],
)
def test_ten_searches_agree(name, cell, formula):
    models = order(name, cell=cell, seeds=10)
    assert sum(value <= 1.0 for value in models.lowest_by_seed_meV_per_atom) == models.hits >= 3
    assert models.models[0].found_by >= 1 and len(models.lowest_by_seed_meV_per_atom) == 10
    for model in models.models:
        check_garnet(model, formula)
    assert len({m.formula for m in models.models}) == 1
    # a search alone gives what it gives among ten
    alone = order(name, cell=cell, seeds=1, seed=4)
    lowest = (
        models.models[0].electrostatic_eV + models.lowest_by_seed_meV_per_atom[4] * models.models[0].atom_count / 1e3
    )
    assert alone.models[0].electrostatic_eV == pytest.approx(lowest, abs=1e-3)


@pytest.mark.slow
def test_llzto_of_468_atoms():
    models = order("LLZTO", seeds=3)
    assert sum(value <= 5.0 for value in models.lowest_by_seed_meV_per_atom) >= 2
    check_garnet(models.models[0], "Li128La60Zr28Ta12O240", ("Zr", "Ta"))
    assert set(models.models[0].atoms.arrays["wyckoff"][models.models[0].atoms.symbols == "Ta"]) == {"16a"}
    assert not any(notice.code == "nearest-composition" for notice in models.warnings)


def test_a_search_does_not_depend_on_the_others():
    all_, alone = order("LALZO", seeds=3, seed=5, sweeps=40), order("LALZO", seeds=1, seed=7, sweeps=40)
    assert len(all_.lowest_by_seed_meV_per_atom) == 3
    lowest = all_.models[0].electrostatic_eV + all_.lowest_by_seed_meV_per_atom[2] * 94 / 1e3
    assert alone.models[0].electrostatic_eV == pytest.approx(lowest, abs=1e-5)


def test_searches_are_run_as_told_and_count_what_they_say():
    asked = []

    def run(function, arguments):
        asked.extend(arguments)
        return [function(*each) for each in arguments]

    models = order("LLZO", seeds=3, seed=11, sweeps=60, keep=2, run=run)
    assert [each[1] for each in asked] == [11, 12, 13]
    assert len(models.models) <= 2
    assert 1 <= models.models[0].found_by <= models.hits <= 3
    assert min(models.lowest_by_seed_meV_per_atom) == 0.0


@pytest.mark.parametrize(
    ("dope", "formula", "where"),
    [
        (["Al=0.25@24d"], "Li25AlLa12Zr8O48", {"Al": {"24d"}}),
        (["Ta=0.5@16a"], "Li26La12Zr6Ta2O48", {"Ta": {"16a"}}),
        (["Al=0.25@24d", "Ta=0.5@Zr1"], "Li23AlLa12Zr6Ta2O48", {"Al": {"24d"}, "Ta": {"16a"}}),
        (["Fe+3=0.25@24d"], "Li25FeLa12Zr8O48", {"Fe": {"24d"}}),
        (["F=0.25@96h"], "Li27La12Zr8O47F", {"F": {"96h"}}),
    ],
)
def test_dopants_sit_where_they_are_put_and_lithium_makes_up(dope, formula, where):
    models = order("LLZO", dope=dope, seeds=1, sweeps=30, keep=1)
    model = models.models[0]
    structure = structure_of(model.atoms)
    assert structure.composition.get_el_amt_dict() == pytest.approx(formula_amounts(formula))
    assert structure.charge == pytest.approx(0)
    for element, places in where.items():
        assert set(model.atoms.arrays["wyckoff"][model.atoms.symbols == element]) == places


def test_doping_gives_the_library_crystal():
    doped, library = order("LLZO", dope=["Al=0.25@24d"], seeds=1, keep=1), order("LALZO", seeds=1, keep=1)
    assert sorted(doped.models[0].atoms.symbols) == sorted(library.models[0].atoms.symbols)
    # The cells of the two refinements may differ, the composition does not.
    assert doped.models[0].atom_count == 94


def test_composition_and_dopant_together():
    models = order("LLZO", "Li7La3Zr2O12", dope=["Al=0.25@24d"], seeds=1, sweeps=30, keep=1)
    assert models.models[0].atom_count == 94
    assert formula_amounts(models.target) == formula_amounts("Li6.25Al0.25La3Zr2O12")
    back = order("LALZO", "Li7La3Zr2O12", seeds=1, sweeps=30, keep=1)
    assert back.models[0].formula == "Li28La12Zr8O48"


def test_a_neighbour_of_the_composition_says_so():
    models = order("LLZTO", cell="primitive", seeds=1, sweeps=30, keep=1)
    notice = next(n for n in models.warnings if n.code == "nearest-composition")
    assert models.formula != models.target and models.formula in notice.text
    assert structure_of(models.models[0].atoms).charge == pytest.approx(0)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"dope": ["Al=0.01@24d"]}, CompositionError, ["2398", "--max-atoms", "--cell"]),
        ({"dope": ["Al=5@24d"]}, CompositionError, ["room for 3"]),
        ({"dope": ["Ta=2.5@16a"]}, CompositionError, ["room for 2"]),
        ({"dope": ["Al=0.25@99z"]}, BadOptionError, ["24d (Li1)"]),
        ({"dope": ["Fe=0.25@24d"]}, CompositionError, ["Fe+3"]),
        ({"dope": ["Xx=0.25@24d"]}, BadOptionError, ["Xx"]),
        ({"dope": ["Al"]}, BadOptionError, ["Al=0.25@24d"]),
        ({"dope": ["Al=1.2.3@24d"]}, BadOptionError, ["1.2.3"]),
        ({"dope": ["Al=-0.25@24d"]}, BadOptionError, ["-0.25"]),
        ({"composition": "Li7La3Zr2O13"}, CompositionError, ["charge -2"]),
        ({"composition": "Na7La3Zr2O12"}, CompositionError, ["Na", "--dope"]),
        ({"composition": "Li4O2"}, AtomflowError, []),
        ({"composition": "garnet"}, CompositionError, ["garnet"]),
        ({"seeds": 0}, BadOptionError, ["seeds"]),
        ({"keep": 0}, BadOptionError, ["keep"]),
        ({"sweeps": -1}, BadOptionError, ["sweeps"]),
        ({"cell": 0}, BadOptionError, ["--cell"]),
        ({"cell": (1, 1, -1)}, BadOptionError, ["--cell"]),
        ({"cell": [1, 2]}, BadOptionError, ["--cell"]),
        ({"cell": "many"}, BadOptionError, ["many"]),
    ],
)
def test_what_cannot_be(options, error, words):
    with pytest.raises(error) as told:
        order("LLZO", **{"seeds": 1, "sweeps": 5} | options)
    assert "\n" not in str(told.value)
    for word in words:
        assert word in str(told.value)


def test_composition_too_fine_names_the_nearest():
    with pytest.raises(CompositionError) as told:
        order("LLZO", dope=["Al=0.24@24d"], most_atoms=200)
    assert told.value.nearest and told.value.nearest in str(told.value)


def test_unknown_crystal_names_near_ones():
    with pytest.raises(UnknownNameError, match="LLZO"):
        order("LLZOO")


def test_user_file_with_partial_occupancies(tmp_path):
    path = cif(tmp_path / "own.cif", ["Li1 Li 0 0 0 0.5", "Li2 Li 0.5 0.5 0 0.5", "F1 F 0.5 0.5 0.5 1.0"])
    models = order(load_crystal(path), seeds=1, sweeps=20)
    assert models.grade == "assumed"
    assert models.models[0].formula in ("LiF", "FLi") and models.models[0].charge_e == 0


def test_the_refined_garnet_of_a_file_goes_the_same_road():
    from pathlib import Path

    path = Path(__file__).parent / "data" / "llzo_1273K.cif"
    crystal = load_crystal(path, formula="Li7La3Zr2O12")
    models = order(crystal, cell="primitive", seeds=1, sweeps=300, keep=1)
    # Without a rule for its lithium only sites under 1.6 A exclude each other; the framework must be right all the same.
    model = models.models[0]
    assert structure_of(model.atoms).composition.get_el_amt_dict() == {"Li": 28, "La": 12, "Zr": 8, "O": 48}
    assert model.coordination["Zr-O"] == {"6": 8}
    assert model.shortest_A["Li-Li"] > 1.6


@pytest.mark.parametrize("formula", [None, "LiFeO2"])
def test_half_a_formula_unit_in_the_primitive_cell(tmp_path, formula):
    rows = ["M1 Li 0 0 0 0.5", "M1b Fe 0 0 0 0.5", "O1 O 0.5 0.5 0.5 1.0"]
    crystal = load_crystal(cif(tmp_path / "ferrite.cif", rows, "F m -3 m", 4.16), {"Fe": 3}, formula)
    models = order(crystal, seeds=1, sweeps=5)
    assert models.models[0].atom_count == 4


def test_one_primitive_cell_may_be_too_small(tmp_path):
    rows = ["M1 Li 0 0 0 0.5", "M1b Fe 0 0 0 0.5", "O1 O 0.5 0.5 0.5 1.0"]
    crystal = load_crystal(cif(tmp_path / "ferrite.cif", rows, "F m -3 m", 4.16), {"Fe": 3}, "Li0.5Fe0.5O")
    models = order(crystal, seeds=1, sweeps=5)
    assert models.models[0].atom_count == 4


def test_user_files_that_cannot_be(tmp_path):
    with pytest.raises(BadStructureError, match="apart"):
        load_crystal(cif(tmp_path / "over.cif", ["Li1 Li 0 0 0 1", "F1 F 0.05 0 0 1"]))
    charged = load_crystal(cif(tmp_path / "charged.cif", ["Li1 Li 0 0 0 1", "F1 F 0.5 0.5 0.5 0.7"]))
    with pytest.raises(CompositionError, match="charge"):
        order(charged)
    nothing_full = load_crystal(cif(tmp_path / "open.cif", ["Li1 Li 0 0 0 0.5", "F1 F 0.5 0.5 0.5 0.5"]))
    with pytest.raises(BadStructureError, match="full"):
        order(nothing_full)


def test_a_metal_without_charges():
    models = order("Li", cell="conventional", seeds=2, sweeps=5)
    assert models.models[0].formula == "Li2" and models.models[0].electrostatic_eV == 0
    assert models.models[0].coordination == {} and models.hits == 2


def test_nothing_to_order_and_keep_larger_than_what_exists():
    models = order("LiF", seeds=1, keep=50)
    assert len(models.models) == 1 and models.models[0].degeneracy == 1


def test_rescore_by_a_real_calculator_reorders_and_keeps_the_models(llzo):
    calculator = LennardJones(sigma=1.9, epsilon=0.01, rc=5.0)
    before = [model.atoms.copy() for model in llzo.models]
    again = rescore(llzo, [calculator.get_potential_energy(m.atoms) for m in llzo.models], "Lennard-Jones")
    values = [model.rescored_eV for model in again.models]
    assert values == sorted(values) and len(again.models) == len(llzo.models)
    assert {m.name for m in again.models} == {m.name for m in llzo.models}
    by_name = {model.name: model for model in llzo.models}
    for model in again.models:
        fresh = by_name[model.name].atoms.copy()
        fresh.calc = LennardJones(sigma=1.9, epsilon=0.01, rc=5.0)
        assert model.rescored_eV == pytest.approx(fresh.get_potential_energy(), abs=1e-6)
        assert model.electrostatic_eV == by_name[model.name].electrostatic_eV
        assert model.above_lowest_meV_per_atom == pytest.approx((model.rescored_eV - values[0]) / 96 * 1e3)
    assert "Lennard-Jones" in again.method and llzo.models[0].rescored_eV is None
    assert all(np.array_equal(a.positions, m.atoms.positions) for a, m in zip(before, llzo.models, strict=True))
    energies = {model.name: model.electrostatic_eV for model in llzo.models}
    backwards = rescore(llzo, [-energies[model.name] for model in llzo.models], "backwards")
    assert [m.name for m in backwards.models] == [m.name for m in reversed(llzo.models)]


def test_two_dopants_that_balance_each_other():
    models = order("LiF", dope=["Mg=0.25@4a", "O-2=0.25@4b"], seeds=1, sweeps=20, keep=1)
    assert structure_of(models.models[0].atoms).composition.get_el_amt_dict() == {"Li": 3, "Mg": 1, "F": 3, "O": 1}


@pytest.mark.parametrize("cell", [2.5, (-1, -1, 1), (1.5, 1, 1)])
def test_cells_that_are_not_whole_are_told(cell):
    with pytest.raises(BadOptionError):
        order("LiF", cell=cell, seeds=1, sweeps=5)


def test_negative_seed_is_told():
    with pytest.raises(BadOptionError, match="seed"):
        order("LLZO", seed=-1, seeds=1, sweeps=5)


def test_models_travel_as_json(llzo):
    import json

    body = json.loads(json.dumps(llzo.to_dict()))
    assert body["models"][0]["formula"] == "Li28La12Zr8O48" and body["hits"] == 2
    assert AseAtomsAdaptor.get_structure(llzo.models[0].atoms).num_sites == 96


def test_lithium_of_the_garnet_has_four_oxygens(llzo):
    for model in llzo.models:
        i, j = neighbor_list("ij", model.atoms, 2.5)
        lithium = model.atoms.symbols == "Li"
        oxygens = np.bincount(i[model.atoms.symbols[j] == "O"], minlength=96)[lithium]
        assert (oxygens == 4).all()  # the next oxygen is beyond 2.5 A
        assert model.coordination["Li-O"] == {"4": 28}
