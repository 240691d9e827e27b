"""Every shipped crystal shows what its file claims, by tools it was not made with; bad files are told in one line."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import spglib
import yaml
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from ase.neighborlist import neighbor_list
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atomflow.build.crystals import PATH_VARIABLE, READS, find_crystal, list_crystals, load_crystal
from atomflow.errors import BadFileError, BadStructureError, UnknownNameError
from atomflow.library import library_folder
from atomflow.model import GRADES

DATA = Path(__file__).parent / "data"
NAMES = [
    "alpha-LiAlO2",
    "alpha-quartz",
    "gamma-LiAlO2",
    "LAGP",
    "LALZO",
    "LATP",
    "Li",
    "Li2CO3",
    "Li2O",
    "Li2S",
    "Li3N",
    "LiF",
    "LiFePO4",
    "LLZO",
    "LLZTO",
    "t-LLZO",
]
ROCKSALT = {
    "name": "NaCl",
    "aliases": ["halite"],
    "title": "Rock salt",
    "formula": "NaCl",
    "space_group": "Fm-3m",
    "number": 225,
    "cell": {"a_A": 5.64},
    "oxidation": {"Na": 1, "Cl": -1},
    "sites": [
        {"label": "Na1", "wyckoff": "4a", "xyz": [0, 0, 0], "occupancy": {"Na": 1.0}},
        {"label": "Cl1", "wyckoff": "4b", "xyz": ["1/2", 0.5, 0.5], "occupancy": {"Cl": 1.0}},
    ],
    "units": [],
    "apart": [],
    "source": {"citation": "a test", "doi": "", "read": "memory", "where": "this file"},
    "grade": "assumed",
}


@pytest.fixture(autouse=True)
def no_path_variable(monkeypatch):
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


@pytest.fixture
def write(tmp_path):
    def write(file="nacl.yaml", **changes):
        entry = {key: value for key, value in {**ROCKSALT, **changes}.items() if value is not ...}
        path = tmp_path / file
        path.write_text(yaml.safe_dump(entry), encoding="utf-8")
        return path

    return write


def entry_of(name):
    """The file itself, read without atomflow."""
    return yaml.safe_load(find_crystal(name).path.read_text(encoding="utf-8"))


def atoms_of(structure, element):
    """Indices of the sites that can hold the element."""
    return [i for i, site in enumerate(structure) if element in {s.symbol for s in site.species}]


def neighbours(structure, cutoff):
    """First index, second index, distance; by ASE, whose atoms here are only points."""
    points = Atoms(numbers=[1] * len(structure), cell=structure.lattice.matrix, pbc=True)
    points.set_scaled_positions(structure.frac_coords)
    return neighbor_list("ijd", points, cutoff)


def parsed(formula):
    return {symbol: float(amount or 1) for symbol, amount in re.findall(r"([A-Z][a-z]?)([\d.]*)", formula)}


def held(structure):
    amounts = {}
    for site in structure:
        for specie, share in site.species.items():
            amounts[specie.symbol] = amounts.get(specie.symbol, 0.0) + share
    return amounts


def test_needed_crystals_are_there_and_every_file_is_read_once():
    crystals = list_crystals()
    assert [crystal.name for crystal in crystals] == sorted(NAMES, key=str.lower)
    assert sorted(c.path for c in crystals) == sorted((library_folder("structures") / "crystals").glob("*.yaml"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:spglib")
@pytest.mark.parametrize("name", NAMES)
def test_space_group_by_spglib(name):
    crystal = find_crystal(name)
    structure = crystal.structure
    kinds = {label: k for k, label in enumerate(dict.fromkeys(structure.labels), start=1)}
    cell = (structure.lattice.matrix, structure.frac_coords, [kinds[label] for label in structure.labels])
    found = spglib.get_symmetry_dataset(cell, symprec=1e-3)
    assert found.number == crystal.number == entry_of(name)["number"]
    # The cell is the conventional one, so no smaller or larger cell has its symmetry.
    assert len(found.std_types) == len(structure)


@pytest.mark.parametrize("name", NAMES)
def test_sites_are_those_of_the_file(name):
    structure = find_crystal(name).structure
    wyckoff = structure.site_properties["wyckoff"]
    for site in entry_of(name)["sites"]:
        members = [i for i, label in enumerate(structure.labels) if label == site["label"]]
        assert len(members) == int(site["wyckoff"][:-1])
        assert {wyckoff[i] for i in members} == {site["wyckoff"]}
        for i in members:
            assert {s.symbol: share for s, share in structure[i].species.items()} == pytest.approx(site["occupancy"])
    assert len(structure) == sum(int(site["wyckoff"][:-1]) for site in entry_of(name)["sites"])


@pytest.mark.parametrize("name", NAMES)
def test_density(name):
    crystal = find_crystal(name)
    structure = crystal.structure
    mass = sum(atomic_masses[atomic_numbers[symbol]] * amount for symbol, amount in held(structure).items())
    density = mass / abs(np.linalg.det(structure.lattice.matrix)) / 0.602214076
    assert density == pytest.approx(crystal.checks["density_g_cm3"], rel=0.004)


@pytest.mark.parametrize("name", NAMES)
def test_bonds_and_coordination(name):
    crystal = find_crystal(name)
    structure = crystal.structure
    first, second, distance = neighbours(structure, 3.3)
    assert crystal.checks["bonds"] and crystal.checks["coordination"]
    for bond in crystal.checks["bonds"]:
        one, other = (atoms_of(structure, element) for element in bond["of"].split("-"))
        chosen = distance[np.isin(first, one) & np.isin(second, other)]
        assert chosen.min() == pytest.approx(bond["shortest_A"], abs=bond["tolerance_A"]), bond
    for shell in crystal.checks["coordination"]:
        centres, ligands = atoms_of(structure, shell["centre"]), atoms_of(structure, shell["ligand"])
        bonded = np.isin(second, ligands) & (distance < shell["within_A"])
        counts = np.bincount(first[bonded], minlength=len(structure))[centres]
        assert set(counts) == {shell["number"]}, shell


@pytest.mark.parametrize("name", NAMES)
def test_atoms_keep_their_distance(name):
    """Fully occupied positions are at least a bond apart; only partly filled ones may lie close."""
    structure = find_crystal(name).structure
    full = np.array([site.species.num_atoms > 0.999 for site in structure])
    first, second, distance = neighbours(structure, 2.0)
    assert distance[full[first] & full[second]].min(initial=2.0) > 1.25
    assert min(distance, default=2.0) > 0.65


@pytest.mark.parametrize("name", NAMES)
def test_units_are_the_same_round_every_centre(name):
    crystal = find_crystal(name)
    structure = crystal.structure
    for unit in crystal.units:
        centres = sorted({i for element in unit.centre for i in atoms_of(structure, element)})
        first, second, _ = neighbours(structure, unit.within_A)
        counts = np.bincount(first[np.isin(second, atoms_of(structure, unit.ligand))], minlength=len(structure))[
            centres
        ]
        assert len(set(counts)) == 1 and counts[0] in (3, 4, 6)


@pytest.mark.parametrize("name", NAMES)
def test_formula_is_neutral_and_near_the_occupancies(name):
    crystal = find_crystal(name)
    formula, amounts = parsed(crystal.formula), held(crystal.structure)
    charges = {element: formula[element] * crystal.oxidation[element] for element in formula}
    assert sum(charges.values()) == pytest.approx(0, abs=1e-9)
    assert set(formula) == set(amounts)
    framework = [element for element in formula if element != "Li"] or ["Li"]
    units = round(amounts[framework[-1]] / formula[framework[-1]])
    for element, amount in formula.items():
        # Refined or split lithium occupancies are rounded; a file of yours may differ by more.
        allowed = 0.02 if element == "Li" else 0.01
        assert amounts[element] / units == pytest.approx(amount, abs=allowed), element


@pytest.mark.parametrize("name", NAMES)
def test_species_carry_the_oxidation_states(name):
    crystal = find_crystal(name)
    states = {(s.symbol, s.oxi_state) for site in crystal.structure for s in site.species}
    assert states == {(element, state) for element, state in crystal.oxidation.items()}


@pytest.mark.parametrize("name", NAMES)
def test_says_where_it_comes_from(name):
    crystal = find_crystal(name)
    assert crystal.grade in GRADES and crystal.read in READS
    assert len(crystal.citation) > 15 and len(crystal.where) > 20 and len(crystal.note) > 15
    assert len(crystal.title) > 5 and "\n" not in crystal.title
    # Nobody read a paper for these; what is from memory may not claim more.
    assert crystal.grade != "published"
    assert (crystal.read == "memory") == (crystal.grade == "assumed")
    assert re.fullmatch(r"(10\.\d{4,}/\S+)?", crystal.doi)


def test_llzo_agrees_with_an_independent_refinement():
    """Positions at 300 K (COD 7215448, with Al) against ICSD 238685 (no Al, 1273 K); cells differ by expansion."""
    ours, theirs = find_crystal("LLZO").structure, load_crystal(DATA / "llzo_1273K.cif").structure
    for label in ("La1", "Zr1", "Li1", "Li2", "O1"):
        one = np.array([s.frac_coords for s in ours if s.label == label])
        other = np.array([s.frac_coords for s in theirs if s.label == label])
        assert len(one) == len(other)
        assert ours.lattice.get_all_distances(one, other).min(axis=1).max() < (0.07 if label == "Li2" else 0.04)
    assert held(theirs)["Li"] / 8 == pytest.approx(7.0, abs=0.01)


def test_look_up():
    assert find_crystal("llzo").name == find_crystal(" Cubic  LLZO ").name == "LLZO"
    assert find_crystal("Li6.25Al0.25La3Zr2O12").name == "LALZO"
    assert find_crystal("LLZTO").units[0].centre == ("Zr", "Ta")
    assert find_crystal("LALZO").apart[0].of == {"Li", "Al"}
    assert find_crystal("LALZO").apart == ((frozenset({"Li", "Al"}), 2.3),)


def test_unknown_name_offers_near_ones_and_the_mend():
    with pytest.raises(UnknownNameError, match=r"did you mean .*LLZO.*CIF.*atomflow list crystals") as caught:
        find_crystal("LLZOO")
    assert "LLZO" in caught.value.near


def test_structure_is_a_copy_and_the_crystal_travels():
    crystal = find_crystal("LiF")
    crystal.structure.remove_sites([0, 1])
    assert len(crystal.structure) == 8
    again = pickle.loads(pickle.dumps(crystal))
    assert again == crystal and hash(again) == hash(crystal) and len(again.structure) == 8


def test_listing_builds_nothing(write, tmp_path):
    write()
    listed = next(c for c in list_crystals([tmp_path]) if c.name == "NaCl")
    assert "_structure" not in vars(listed)
    assert find_crystal("halite", tmp_path) is listed and "_structure" in vars(listed)


def test_user_folder_adds_and_replaces(write, tmp_path, monkeypatch):
    write()
    write("llzo.yaml", name="LLZO", aliases=[], note="mine")
    assert find_crystal("Halite", [tmp_path]).structure.volume == pytest.approx(5.64**3)
    assert find_crystal("llzo", [tmp_path]).note == "mine" != find_crystal("llzo").note
    with pytest.raises(UnknownNameError):
        find_crystal("NaCl")
    monkeypatch.setenv(PATH_VARIABLE, os.pathsep.join([str(tmp_path)]))
    assert find_crystal("NaCl").name == "NaCl"
    with pytest.raises(BadFileError, match="no such folder of crystals"):
        find_crystal("LLZO", [tmp_path / "nowhere"])


def test_edited_file_is_read_again(write, tmp_path):
    write()
    assert find_crystal("NaCl", [tmp_path]).structure.lattice.a == 5.64
    write(cell={"a_A": 5.7000})
    assert find_crystal("NaCl", [tmp_path]).structure.lattice.a == 5.7


def sites(**changes):
    return [{**ROCKSALT["sites"][0], **changes}, ROCKSALT["sites"][1]]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"sites": ...}, "missing key 'sites'"),
        ({"aliases": "halite"}, "aliases must be a list"),
        ({"aliases": [True]}, "aliases must be text"),
        ({"name": "na\ncl"}, "line break"),
        ({"grade": "excellent"}, "grade must be one of"),
        ({"source": {**ROCKSALT["source"], "read": "some"}}, "read must be one of"),
        ({"source": {"citation": "x"}}, "missing key 'doi' in source"),
        ({"number": 225.0}, "number must be a whole number"),
        ({"number": 229}, "space_group is number 225, not 229"),
        ({"space_group": "F x-3m"}, "does not know this space group"),
        ({"cell": {"a_A": "wide"}}, "a_A must be a number"),
        ({"cell": {"a_A": float("nan")}}, "a_A must be a number"),
        ({"cell": {"a_A": 10**400}}, "a_A must be a number"),
        ({"cell": {"a_A": True}}, "a_A must be a number"),
        ({"cell": {"a_A": 5.64, "b_A": 6.0}}, "the cell is not one of space group"),
        ({"cell": {"a_A": 5.64}, "number": 62, "space_group": "Pnma"}, "cell needs b_A, c_A as well"),
        ({"oxidation": {"Na": 1}}, "no oxidation state for Cl"),
        ({"oxidation": {"Na": 1, "Cl": -2}}, r"formula has charge -1"),
        ({"oxidation": {"Xx": 1}}, "not one of the periodic table"),
        ({"formula": "Na2"}, "do not hold the same elements"),
        ({"formula": "(NaCl)2"}, "without brackets"),
        ({"sites": sites(wyckoff="8a")}, "site Na1 is called 8a but its coordinates make 4 positions"),
        ({"sites": sites(xyz=[0.1, 0.2, 0.3])}, "make 96 positions"),
        ({"sites": sites(wyckoff="a")}, "must be a multiplicity and a letter"),
        ({"sites": sites(xyz=[0, 0])}, "xyz of Na1 must be three numbers"),
        ({"sites": sites(xyz=["1/0", 0, 0])}, "xyz of Na1 must be a number"),
        ({"sites": sites(occupancy={"Na": 1.2})}, "occupancy must be a number between"),
        ({"sites": sites(occupancy={"Na": 0.7, "Cl": 0.7})}, "must sum to"),
        ({"sites": sites(label="Cl1")}, "same label"),
        ({"sites": sites(xyz=[0.5, 0.5, 0.5], wyckoff="4b")}, "both occupied"),
        ({"sites": {}}, "sites must be a list"),
        ({"units": [{"centre": [], "ligand": 3, "within_A": 2}]}, "not one of the periodic table"),
        ({"apart": [{"of": ["Na"], "within_A": -1}]}, "within_A must be a number between"),
        ({"note": "x" * 70_000}, "too much for a crystal"),
    ],
)
def test_malformed_entries(write, tmp_path, changes, reason):
    path = write(**changes)
    with pytest.raises(BadFileError, match=reason) as caught:
        find_crystal("NaCl", [tmp_path])
    assert caught.value.path == path and "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("content", [b"", b"- a\n", b"name: [unclosed", b"\xff\xfe\x00", b"a: !!int ''", b"[" * 20_000])
def test_files_that_are_no_crystal(tmp_path, content):
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(BadFileError, match=r"bad\.yaml: ") as caught:
        list_crystals([tmp_path])
    assert "\n" not in str(caught.value)


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(list(ROCKSALT)), value=_plain)
def test_any_wrong_value_is_one_line_or_a_crystal(tmp_path, key, value):
    (tmp_path / "fuzz.yaml").write_text(yaml.safe_dump({**ROCKSALT, key: value}), encoding="utf-8")
    try:
        found = find_crystal("halite" if key == "name" else "NaCl", [tmp_path])
    except BadFileError as error:
        assert "\n" not in str(error) and "fuzz.yaml" in str(error)
    else:
        assert len(found.structure) == 8


# --- a user's own files


def cif(rows, group="P 1", a=4.0):
    lengths = "\n".join(
        f"_cell_length_{x} {a}\n_cell_angle_{y} 90" for x, y in zip("abc", ("alpha", "beta", "gamma"), strict=True)
    )
    fields = ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"]
    loop = "\n".join(f"_atom_site_{field}" for field in fields)
    return f"data_x\n{lengths}\n_symmetry_space_group_name_H-M '{group}'\nloop_\n{loop}\n" + "\n".join(rows) + "\n"


@pytest.fixture
def save(tmp_path):
    def save(rows, name="mine.cif", **changes):
        path = tmp_path / name
        path.write_text(cif(rows, **changes), encoding="utf-8")
        return path

    return save


def test_cif_keeps_occupancies_labels_and_gets_wyckoff_letters():
    crystal = load_crystal(DATA / "llzo_1273K.cif")
    structure = crystal.structure
    assert (crystal.name, crystal.number, crystal.grade) == ("llzo_1273K", 230, "assumed")
    expected = {
        "La1": ("24c", 1.0),
        "Zr1": ("16a", 1.0),
        "Li1": ("24d", 0.433),
        "Li2": ("96h", 0.475),
        "O1": ("96h", 1.0),
    }
    for label, (wyckoff, share) in expected.items():
        chosen = [site for site in structure if site.label == label]
        assert len(chosen) == int(wyckoff[:-1])
        assert {site.properties["wyckoff"] for site in chosen} == {wyckoff}
        assert all(site.species.num_atoms == pytest.approx(share) for site in chosen)
    assert parsed(crystal.formula) == pytest.approx({"Li": 6.999, "La": 3, "Zr": 2, "O": 12}, abs=1e-3)
    assert crystal.oxidation == {"Li": 1, "La": 3, "Zr": 4, "O": -2}


def test_wyckoff_letters_do_not_depend_on_the_cell(tmp_path):
    full = find_crystal("alpha-LiAlO2").structure
    full.remove_oxidation_states()
    primitive = full.get_primitive_structure()
    assert len(primitive) == 4
    for name, structure in (("POSCAR", primitive), ("POSCAR_big", full * (2, 1, 1))):
        structure.to(filename=str(tmp_path / name), fmt="poscar")
        crystal = load_crystal(tmp_path / name)
        assert crystal.number == 166 and crystal.formula == "LiAlO2"
        letters = {site.specie.symbol: site.properties["wyckoff"] for site in crystal.structure}
        assert letters["O"] == "6c" and {letters["Li"], letters["Al"]} == {"3a", "3b"}


def test_formula_of_a_file(save):
    rows = ["Li1 Li 0 0 0 0.9", "O1 O 0.5 0.5 0.5 1.0", "Li2 Li 0.5 0 0 1.0"]
    crystal = load_crystal(save(rows), formula="Li2O")
    assert crystal.formula == "Li2O" and crystal.oxidation == {"Li": 1, "O": -2}
    assert "charge of -0.1" in load_crystal(save(rows)).note
    for wrong in ("LiO", "Li2S", "Li2(O)", ""):
        with pytest.raises(BadStructureError, match=r"mine\.cif: formula"):
            load_crystal(save(rows), formula=wrong)


def test_overlapping_sites(save):
    rows = ["Li1 Li 0 0 0 {}", "Li2 Li 0.1 0 0 {}", "F1 F 0.5 0.5 0.5 1"]
    alternatives = load_crystal(save([row.format(0.5) for row in rows]))
    assert len(alternatives.structure) == 3
    with pytest.raises(BadStructureError, match=r"sites Li1 and Li2 are 0\.40 A apart and both occupied"):
        load_crystal(save([row.format(0.7) for row in rows]))


def test_shared_and_overfull_positions(save):
    rows = ["Zr1 Zr 0 0 0 0.7", "Ta1 Ta 0 0 0 0.3", "O1 O 0.5 0.5 0.5 1"]
    shared = load_crystal(save(rows)).structure
    assert len(shared) == 2
    held_together = next(site.species for site in shared if len(site.species) == 2)
    assert {s.symbol: share for s, share in held_together.items()} == pytest.approx({"Zr": 0.7, "Ta": 0.3})
    for overfull in (["Ta2 Ta 0 0 0 0.5"], ["Li1 Li 0 0 0 1"]):
        with pytest.raises(BadStructureError, match=r"mine\.cif: site \w+ holds [12]\.\d+ atoms; lower"):
            load_crystal(save(rows + overfull))


def test_missing_oxidation_states(save):
    rows = ["Li1 Li 0 0 0 1", "Fe1 Fe 0.5 0.5 0.5 1", "O1 O 0 0.5 0.5 1", "O2 O 0.5 0.5 0 1"]
    with pytest.raises(BadStructureError, match=r"no oxidation state for Fe; .*--oxidation Fe=2"):
        load_crystal(save(rows))
    crystal = load_crystal(save(rows), oxidation={"Fe": 3})
    assert crystal.oxidation == {"Li": 1, "Fe": 3, "O": -2} and crystal.formula == "LiFeO2"
    with pytest.raises(BadStructureError, match="oxidation states for Mn, which it does not hold"):
        load_crystal(save(rows), oxidation={"Fe": 3, "Mn": 2})
    with pytest.raises(BadStructureError, match="oxidation state of Fe must be a number"):
        load_crystal(save(rows), oxidation={"Fe": float("nan")})
    loop = ["loop_", "_atom_type_symbol", "_atom_type_oxidation_number", "Li 1", "Fe 3", "O -2"]
    stated = [*rows, *loop]
    assert load_crystal(save(stated)).oxidation["Fe"] == 3
    assert load_crystal(save(stated), oxidation={"Fe": 2}).oxidation["Fe"] == 2
    mixed = [rows[0], "Fe1 Fe2+ 0.5 0.5 0.5 1", "Fe2 Fe3+ 0.5 0 0 1", *rows[2:]]
    loop = ["loop_", "_atom_type_symbol", "_atom_type_oxidation_number", "Li 1", "Fe2+ 2", "Fe3+ 3", "O -2"]
    with pytest.raises(BadStructureError, match="Fe has several oxidation states"):
        load_crystal(save([*mixed, *loop]))
    assert load_crystal(save([*mixed, *loop]), oxidation={"Fe": 2.5}).oxidation["Fe"] == 2.5
    assert load_crystal(save(rows[:1])).oxidation == {"Li": 0}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.cif", b""),
        ("x.cif", b"data_x\n_cell_length_a 1\n"),
        ("x.cif", b"\xff\xfe\x00\x01"),
        ("x.cif", cif(["Li1 Li nan 0 0 1"]).encode()),
        ("x.cif", cif(["Qq1 Qq 0 0 0 1"]).encode()),
        ("x.cif", cif(["Li1 Li 0 0 0 1"], group="X y z").encode()),
        ("x.cif", cif(["Li1 Li 0 0 0 1"], a=0).encode()),
        ("POSCAR", b"Li\n1.0\n"),
        ("x.exe", b"MZ"),
        ("x.cif", b"#" * 5_000_001),
    ],
)
def test_garbage_is_told_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((BadFileError, BadStructureError), match=re.escape(name)) as caught:
        load_crystal(tmp_path / name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(BadFileError, match="cannot be read"):
        load_crystal(tmp_path / "none.cif")
    with pytest.raises(BadFileError, match="not a structure file"):
        load_crystal(tmp_path)
