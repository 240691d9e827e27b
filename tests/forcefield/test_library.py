"""Files are read safely, users' files stand above ours, and what is missing, double or off is told in one line."""

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atomflow import forcefield
from atomflow.build import molecule
from atomflow.errors import (
    AmbiguousParameterError,
    BadFileError,
    MissingParameterError,
    UnbalancedChargeError,
    UngradedParameterError,
    UnknownNameError,
)
from atomflow.forcefield.library import PATH_VARIABLE, find_parameters
from atomflow.library import library_folder
from atomflow.model import Box

HERE = {"source": "here", "grade": "secondary"}
#: Water, which the shipped force field does not know.
WATER = {
    "name": "water",
    "about": "a rigid-ish water",
    "sources": {"here": "this test"},
    "types": [
        {"name": "w_O", "smarts": "[OX2;H2]", "class": "OW", "charge": -0.8, "epsilon": 0.15, "sigma": 3.15, **HERE},
        {"name": "w_H", "smarts": "[H][OX2;H2]", "class": "HW", "charge": 0.4, "epsilon": 0, "sigma": 0, **HERE},
    ],
    "bonds": [{"classes": "OW-HW", "k": 450, "r0": 0.96, **HERE}],
    "angles": [{"classes": "HW-OW-HW", "k": 55, "theta0": 104.5, **HERE}],
}


@pytest.fixture(autouse=True)
def no_path_variable(monkeypatch):
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


@pytest.fixture
def write(tmp_path):
    def write(content, file="mine.yaml"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return tmp_path

    return write


def box_of(name):
    one = molecule(name)
    return Box((one,), np.array([0]), one.atoms.positions, np.eye(3) * 50)


def changed(**changes):
    return {**WATER, **changes}


def types(**changes):
    first, second = WATER["types"]
    return changed(types=[{**first, **changes}, second])


def test_a_users_file_adds_a_molecule(write, monkeypatch):
    folder = write(WATER)
    system = forcefield.parametrise(box_of("water"), folders=[folder])
    assert system.charges_e.tolist() == [-0.8, 0.4, 0.4]
    assert system.bonds.terms[0].origin.source == "this test"
    monkeypatch.setenv(PATH_VARIABLE, str(folder))
    assert forcefield.parametrise(box_of("water")).charges_e.tolist() == [-0.8, 0.4, 0.4]


def test_a_users_number_replaces_ours_and_keeps_the_rest(write):
    folder = write(
        {
            "name": "stiffer",
            "about": "another C=O",
            "sources": {"here": "this test"},
            "bonds": [{"classes": "O~-C~", "k": 600, "r0": 1.22, "source": "here", "grade": "fitted"}],
        }
    )
    plain, mine = (forcefield.parametrise(box_of("DMF"), folders=f) for f in ((), [folder]))
    changes = [(a, b) for a, b in zip(plain.bonds.terms, mine.bonds.terms, strict=True) if a != b]
    assert len(changes) == 1
    assert changes[0][1].k_kcal_per_mol_A2 == 600 and changes[0][1].origin.grade == "fitted"
    assert plain.torsions.terms == mine.torsions.terms


def test_a_users_type_wins_over_ours(write):
    folder = write(
        {
            "name": "lithium",
            "about": "another lithium",
            "sources": {"here": "this test"},
            "types": [
                {"name": "my_Li", "smarts": "[Li+]", "class": "Li", "charge": 1, "epsilon": 0.1, "sigma": 2, **HERE}
            ],
        }
    )
    assert forcefield.parametrise(box_of("Li+"), folders=[folder]).types[0].name == "my_Li"


def test_a_whole_force_field_of_ones_own(write):
    folder = write(WATER, "mine/water.yaml")
    assert set(find_parameters("mine", [folder]).types) == {"w_O", "w_H"}
    with pytest.raises(MissingParameterError, match=r"mine"):
        forcefield.parametrise(box_of("DMF"), forcefield="mine", folders=[folder])
    with pytest.raises(UnknownNameError, match="did you mean mine"):
        find_parameters("mined", [folder])


def test_a_missing_term_names_atoms_and_file(write):
    folder = write(changed(angles=[]))
    with pytest.raises(MissingParameterError, match=r"no angle for HW-OW-HW \(water, atoms H2-O1-H3\)") as caught:
        forcefield.parametrise(box_of("water"), folders=[folder])
    assert caught.value.path == folder / "mine.yaml"
    assert forcefield.missing_terms(molecule("water"), folders=[folder]) == ["angle HW-OW-HW"]
    assert "\n" not in str(caught.value)


def test_exact_terms_beat_wildcards_and_equals_are_an_error(write):
    wild = [{"classes": "X-OW-HW", "k": 1, "theta0": 100, **HERE}]
    exact = {"classes": "HW-OW-HW", "k": 2, "theta0": 101, **HERE}
    folder = write(changed(angles=[*wild, exact]))
    assert forcefield.parametrise(box_of("water"), folders=[folder]).angles.terms[0].theta0_deg == 101
    folder = write(changed(angles=[*wild, {"classes": "X-OW-X", "k": 3, "theta0": 102, **HERE}]))
    assert forcefield.parametrise(box_of("water"), folders=[folder]).angles.terms[0].theta0_deg == 100
    dmf = {
        "name": "d",
        "about": "two wildcards",
        "sources": {"here": "this test"},
        "types": [
            {"name": "wX", "smarts": "[OX2;H2]", "class": "OX", "charge": -0.8, "epsilon": 0, "sigma": 0, **HERE},
            {"name": "wA", "smarts": "[H][OX2;H2]", "class": "HA", "charge": 0.4, "epsilon": 0, "sigma": 0, **HERE},
        ],
        "bonds": [
            {"classes": "X-OX", "k": 1, "r0": 1, **HERE},
            {"classes": "HA-X", "k": 2, "r0": 1, **HERE},
        ],
    }
    with pytest.raises(AmbiguousParameterError, match=r"several bonds fit .* equally well: .*X-OX.*mine.yaml"):
        forcefield.parametrise(box_of("water"), folders=[write(dmf)])


def test_two_types_for_one_atom_are_an_error_unless_one_stands_over_the_other(write):
    second = {**WATER["types"][0], "name": "w_O2"}
    both = changed(types=[*WATER["types"], second])
    with pytest.raises(AmbiguousParameterError, match=r"several atom types fit water, atom O1: w_O, w_O2"):
        forcefield.parametrise(box_of("water"), folders=[write(both)])
    both["types"][-1]["over"] = ["w_O"]
    system = forcefield.parametrise(box_of("water"), folders=[write(both)])
    assert "w_O2" in [one.name for one in system.types]
    both["types"][-1]["over"] = ["w_Q"]
    with pytest.raises(BadFileError, match="w_Q"):
        forcefield.parametrise(box_of("water"), folders=[write(both)])


def test_charges_that_do_not_add_up_say_by_how_much(write):
    with pytest.raises(UnbalancedChargeError, match=r"water: .*off by \+0\.100000 \(.*w_O") as caught:
        forcefield.parametrise(box_of("water"), folders=[write(types(charge=-0.7))])
    assert caught.value.off_e == pytest.approx(0.1)
    folder = write({**types(charge=-0.7), "bond_charges": [{"classes": "HW-OW", "e": 0.05, **HERE}]})
    with pytest.raises(UnbalancedChargeError):  # a bond moves charge, it makes none
        forcefield.parametrise(box_of("water"), folders=[folder])


def test_assumed_numbers_must_be_allowed(write):
    folder = write(types(charge_source="here", charge_grade="assumed"))
    with pytest.raises(UngradedParameterError, match=r"some numbers are only assumed \(charges water\)"):
        forcefield.parametrise(box_of("water"), folders=[folder])
    assert forcefield.parametrise(box_of("water"), folders=[folder], allow_assumed=True).worst_grade == "assumed"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("- 1", "not a force-field file"),
        ("a: [", "not valid YAML"),
        (changed(extra=1), "unknown key 'extra'"),
        (changed(sources={}), "not among the sources"),
        (types(smarts="[O"), "smarts of type w_O"),
        (types(smarts="O.O"), "one connected SMARTS"),
        (types(charge="much"), "charge of type w_O must be a number"),
        (types(epsilon=-1), "epsilon of type w_O"),
        (types(sigma=float("nan")), "sigma of type w_O"),
        (types(grade="good"), "grade of type w_O must be one of published"),
        (types(**{"class": "O-W"}), "no dash"),
        (types(**{"class": "X"}), "no dash"),
        (changed(bonds=[{"classes": "OW-HW-HW", "k": 1, "r0": 1, **HERE}]), "2 names joined by -"),
        (changed(bonds=[*WATER["bonds"], {"classes": "HW-OW", "k": 1, "r0": 1, **HERE}]), "is given twice"),
        (changed(bonds=[{"classes": "OW-HW", "k": 1, **HERE}]), "missing key 'r0'"),
        (changed(torsions=[{"classes": "A-B-C-D", **HERE}]), "give one of opls"),
        (changed(torsions=[{"classes": "A-B-C-D", "opls": [1] * 5, **HERE}]), "too many"),
        (changed(torsions=[{"classes": "A-B-C-D", "opls": ["x"], **HERE}]), "must be a number"),
        (changed(torsions=[{"classes": "A-B-C-D", "cosines": [[1, 2, 90]], **HERE}]), "d of 0 or 180"),
        (changed(torsions=[{"classes": "A-B-C-D", "cosines": [[1, 0.5, 0]], **HERE}]), "a whole number"),
        (changed(over=["nobody"]), "'nobody', which no file has"),
    ],
)
def test_a_bad_file_is_told_in_one_line(content, told, write):
    folder = write(content)
    with pytest.raises((BadFileError, MissingParameterError, UnbalancedChargeError), match=told) as caught:
        forcefield.parametrise(box_of("water"), folders=[folder])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "about", "sources", "types", "bonds", "classes", "k"]), inner)
        ),
        max_leaves=12,
    )
)
def test_nothing_in_a_file_breaks_the_reader(tmp_path, content):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        find_parameters(folders=[tmp_path])
    except BadFileError as error:
        assert "\n" not in str(error)


def test_every_shipped_file_is_told_apart_and_explained():
    folder = library_folder("structures") / "forcefields" / "opls-clp"
    names = [yaml.safe_load(path.read_text(encoding="utf-8"))["name"] for path in folder.glob("*.yaml")]
    assert len(set(names)) == len(names)
    assert {"pvdf", "hfp", "tfsi", "dmf", "ions", "amides", "esters", "ethers", "oxides"} <= set(names)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ({"opls": [1.0, -2.0, 3.0, 4.0]}, ((0.5, 1, 0.0), (-1.0, 2, 180.0), (1.5, 3, 0.0), (2.0, 4, 180.0))),
        ({"opls": [0, 0, 0.3]}, ((0.15, 3, 0.0),)),
        ({"opls": []}, ()),
        ({"one_minus_cos": [0.1, 0, 0.3, 0, 0, 0.6]}, ((0.1, 1, 180.0), (0.3, 3, 180.0), (0.6, 6, 180.0))),
    ],
)
def test_one_form_of_torsions(text, parts, write):
    folder = write(changed(torsions=[{"classes": "A-B-C-D", **text, **HERE}]))
    rule = find_parameters(folders=[folder]).terms["torsions"]["A", "B", "C", "D"]
    assert rule.numbers == parts
    phi = np.linspace(0, 2 * np.pi, 37)
    energy = sum((k * (1 + np.cos(n * phi - np.radians(d))) for k, n, d in rule.numbers), np.zeros(37))
    if "opls" in text:
        wanted = sum(v / 2 * (1 - (-1) ** n * np.cos(n * phi)) for n, v in enumerate([*text["opls"], 0], 1))
    else:
        wanted = sum(k * (1 - np.cos(n * phi)) for n, k in enumerate(text["one_minus_cos"], 1))
    assert np.allclose(energy, wanted)
