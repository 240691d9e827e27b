"""The shipped library is sound, users can add to it, and a bad file is told in one line."""

import os
from collections import Counter

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atomflow.build import find_species, list_species, species_names
from atomflow.build.species import GRADES, PATH_VARIABLE
from atomflow.errors import BadFileError, UnknownNameError
from atomflow.library import library_folder

GOOD = {
    "name": "acetone",
    "aliases": ["propanone"],
    "smiles": "CC(C)=O",
    "charge": 0,
    "multiplicity": 1,
    "role": "solvent",
    "source": "constitution follows from the name propan-2-one",
    "grade": "secondary",
}


@pytest.fixture(autouse=True)
def no_path_variable(monkeypatch):
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


@pytest.fixture
def write(tmp_path):
    def write(file="acetone.yaml", **changes):
        entry = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
        path = tmp_path / file
        path.write_text(yaml.safe_dump(entry), encoding="utf-8")
        return path

    return write


def test_needed_species_are_there():
    needed = [
        "Li+",
        "Na+",
        "K+",
        "Mg2+",
        "Zn2+",
        "Ca2+",
        "Al3+",
        "TFSI-",
        "FSI-",
        "PF6-",
        "BF4-",
        "ClO4-",
        "DMF",
        "NMP",
        "DMSO",
        "acetonitrile",
        "EC",
        "PC",
        "VC",
        "VEC",
        "FEC",
        "DME",
        "DOL",
        "water",
        "N-methylacetamide",
        "acetamide",
        "formamide",
        "N-methylformamide",
        "N,N-dimethylacetamide",
        "dimethyl-ether",
        "methyl-acrylate",
        "PVDF",
        "PVDF-HFP",
        "d-PVDF-HFP",
        "P-DOL",
        "PEO",
        "PTMO",
        "PA6",
        "PA12",
        "P(VEC-PEGDA)",
    ]
    for name in needed:
        assert find_species(name).smiles


def test_names_and_aliases_are_unambiguous():
    texts = [
        text.casefold() for s in list_species() for text in {s.name.casefold(), *(a.casefold() for a in s.aliases)}
    ]
    assert [text for text, count in Counter(texts).items() if count > 1] == []


def test_every_shipped_file_is_read_once():
    files = sorted((library_folder("structures") / "species").glob("*.yaml"))
    assert sorted(species.path for species in list_species()) == files
    assert all(path.stem.replace("_", "").isalnum() and path.stem == path.stem.lower() for path in files)


def test_every_entry_says_where_it_comes_from():
    for species in list_species():
        assert species.grade in GRADES and len(species.source) > 20 and species.formula
        # Nobody read a paper for these, and a cut and capped chain is a choice.
        assert species.grade != "published"
        if species.role == "polymer-fragment":
            assert species.grade in ("assumed", "analogue") and species.note
            assert species.units is not None and 2 <= species.units <= 6


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("dmf", "DMF"),
        ("N,N-Dimethylformamide", "DMF"),
        ("li", "Li+"),
        ("Li⁺", "Li+"),
        ("Zn²⁺", "Zn2+"),
        ("TFSI−", "TFSI-"),
        ("bistriflimide", "TFSI-"),
        ("NTf2-", "TFSI-"),
        (" Nylon  6 ", "PA6-2"),
        ("pvdf-hfp", "PVDF-HFP-3"),
        ("PVDF", "PVDF-3"),
    ],
)
def test_look_up_by_any_spelling(text, name):
    assert find_species(text).name == name


def test_unknown_name_offers_near_ones_and_the_mend():
    with pytest.raises(UnknownNameError, match=r"did you mean DMF.*SMILES.*atomflow list species") as caught:
        find_species("DMFF")
    assert "DMF" in caught.value.near


def test_user_folder_adds_and_replaces(write, tmp_path):
    write()
    write("dmf.yaml", name="DMF", aliases=[], note="mine", smiles="CN(C)C=O")
    assert find_species("Propanone", [tmp_path]).name == "acetone"
    assert find_species("propanone", str(tmp_path)).name == "acetone"
    assert find_species("dmf", [tmp_path]).note == "mine"
    assert find_species("dmf").note != "mine"
    assert "acetone" in species_names([tmp_path]) and "acetone" not in species_names()
    assert species_names([tmp_path]).count("DMF") == 1


def test_path_variable_after_the_given_folders(write, tmp_path, monkeypatch):
    write()
    near = tmp_path / "near"
    near.mkdir()
    monkeypatch.setenv(PATH_VARIABLE, os.pathsep.join([str(near), str(tmp_path)]))
    assert find_species("acetone").note == ""
    write("near/acetone.yaml", note="nearer")
    assert find_species("acetone").note == "nearer"


def test_working_folder_is_not_searched(write, tmp_path, monkeypatch):
    (tmp_path / "species").mkdir()
    write("species/acetone.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError):
        find_species("acetone")


def test_edited_file_is_read_again(write, tmp_path):
    write(note="first")
    assert find_species("acetone", [tmp_path]).note == "first"
    write(note="the second")
    assert find_species("acetone", [tmp_path]).note == "the second"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"smiles": ...}, "missing key 'smiles'"),
        ({"aliases": "propanone"}, "aliases must be a list"),
        ({"aliases": [True]}, "aliases must be a list"),
        ({"charge": "0"}, "charge must be a whole number"),
        ({"charge": True}, "charge must be a whole number"),
        ({"charge": 0.5}, "charge must be a whole number"),
        ({"multiplicity": 0}, "multiplicity must be 1 or more"),
        ({"name": False}, "name must be text"),
        ({"name": "  "}, "name is empty"),
        ({"name": "ace\ntone"}, "line break"),
        ({"grade": "excellent"}, "grade must be one of"),
        ({"smiles": "C1CC"}, "RDKit cannot read the smiles"),
        ({"smiles": "CC.CC"}, "more than one molecule"),
        ({"charge": 1}, r"charge is \+1 but the smiles has \+0"),
        ({"formula": "C3H7O"}, "formula is 'C3H7O' but the smiles is C3H6O"),
        ({"multiplicity": 2}, "cannot have multiplicity 2"),
        ({"units": 0}, "units must be 1 or more"),
        ({"note": "x" * 70_000}, "too much"),
    ],
)
def test_malformed_entries(write, tmp_path, changes, reason):
    path = write(**changes)
    with pytest.raises(BadFileError, match=reason) as caught:
        find_species("DMF", [tmp_path])
    assert caught.value.path == path
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- a\n- b\n",
        b"name: [unclosed",
        b"\xff\xfe\x00",
        b"name: !!python/object/apply:os.system ['true']",
        b'charge: !!int ""',
        b"charge: !!timestamp x",
        b"[" * 20_000,
        b"? 0x" + b"f" * 6000 + b"\n: 1",
        b"a: &a [x]\nb: &b [*a,*a]\nc: [*b,*b]",
        b"--- 1\n--- 2\n",
    ],
)
def test_files_that_are_no_species(tmp_path, content):
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(BadFileError, match=r"bad\.yaml: ") as caught:
        list_species([tmp_path])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_key_that_stands_twice(write, tmp_path):
    """YAML readers let the last one win in silence."""
    path = write()
    path.write_text(path.read_text() + "charge: 1\n")
    with pytest.raises(BadFileError, match="the key 'charge' stands twice, line"):
        list_species([tmp_path])


def test_same_name_twice_in_one_folder(write, tmp_path):
    write()
    write("other.yaml", name="other", aliases=["ACETONE"])
    with pytest.raises(BadFileError, match=r"'ACETONE' is taken by .*acetone\.yaml"):
        list_species([tmp_path])


def test_missing_folder(tmp_path):
    with pytest.raises(BadFileError, match="no such folder"):
        find_species("DMF", [tmp_path / "nowhere"])


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(list(GOOD)), value=_plain)
def test_any_wrong_value_is_one_line_or_a_species(tmp_path, key, value):
    (tmp_path / "fuzz.yaml").write_text(yaml.safe_dump({**GOOD, key: value}), encoding="utf-8")
    try:
        found = find_species("DMF", [tmp_path])
    except BadFileError as error:
        assert "\n" not in str(error) and "fuzz.yaml" in str(error)
    else:
        assert found.name == "DMF"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text("{}[]&*!:-?,'\"#|>% \nab01", max_size=60).map(str.encode))
def test_any_bytes_are_one_line_errors(tmp_path, content):
    (tmp_path / "fuzz.yaml").write_bytes(content)
    with pytest.raises(BadFileError) as caught:
        list_species([tmp_path])
    assert "\n" not in str(caught.value)
