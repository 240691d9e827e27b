"""Recipes read safely, and weights and moles made into whole molecules."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomflow.build import compose, find_recipe, list_recipes
from atomflow.build.composing import weight_percents
from atomflow.build.recipes import Amount, changed, parse_amount
from atomflow.errors import BadFileError, BadOptionError, CompositionError, UnknownNameError

NAMES = ("PL", "PPL", "PPLA", "PLL", "PLLZ", "PLZ", "dmf", "litfsi-dmf", "zn-litfsi-dmf", "pvdf", "pvdf-hfp")
MINE = """
name: mine
title: mine
family: liquid
published: none
components:
  - name: DMF
    role: solvent
    species: DMF
    amount: {parts: 1, source: mine, grade: assumed}
    density_g_cm3: {value: 0.94, source: mine, grade: assumed}
"""


def within_one(composition):
    for one in composition.portions:
        scale = one.units if one.role == "filler" else 1
        assert abs(one.count - one.target_count) * scale <= 1.0, one


def test_the_library_holds_what_was_asked_for():
    assert {recipe.name for recipe in list_recipes()} == set(NAMES)
    for recipe in list_recipes():
        for what, figure in recipe.figures():
            assert figure.source and figure.grade, (recipe.name, what)


@pytest.mark.parametrize("atoms", [3000, 10000])
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_composes(name, atoms):
    composition = compose(name, atoms=atoms)
    within_one(composition)
    assert abs(composition.atoms / atoms - 1) < 0.13
    assert sum(one.achieved_wt_percent for one in composition.portions) == pytest.approx(100.0)
    assert all(one.count >= 1 for one in composition.portions)
    chains = [one for one in composition.portions if one.role == "polymer"]
    assert not chains or sum(one.count for one in chains) >= 4
    assert all(15 <= one.units <= 80 for one in chains)


def test_one_molar_is_one_molar():
    composition = compose("litfsi-dmf", atoms=10000)
    assert composition.molarity_M("LiTFSI") == pytest.approx(1.0, abs=0.02)
    assert compose("PL", atoms=10000, changes={"salt": "0.8M"}).molarity_M("LiTFSI") == pytest.approx(0.8, abs=0.02)


def test_changes_reach_what_they_name():
    composition = compose("PPLA", atoms=10000, changes={"filler": "20%", "solvent": "5%", "Pebax": "50parts"})
    found = {one.name: one.achieved_wt_percent for one in composition.portions}
    assert found["LALZO"] == pytest.approx(20.0, abs=1.0) and found["DMF"] == pytest.approx(5.0, abs=0.3)
    assert found["Pebax"] / found["PVDF-HFP"] == pytest.approx(50 / 80, rel=0.15)
    assert [one.name for one in compose("PL", changes={"DMF": "0%"}).portions] == ["PVDF-HFP", "LiTFSI"]


def test_a_stated_radius_decides_the_size_of_a_particle():
    composition = compose("PPLA", atoms=10000, filler_radius_A=8.0)
    one = composition.portion("LALZO")
    assert one.units == 8 and one.count == 2
    with pytest.raises(BadOptionError, match="--atoms"):
        compose("PPLA", atoms=1500, filler_radius_A=15.0)


@settings(max_examples=40, deadline=None)
@given(
    atoms=st.integers(2000, 30000),
    filler=st.floats(4.0, 30.0),
    dmf=st.floats(1.0, 25.0),
    salt=st.one_of(st.floats(0.3, 1.5).map(lambda x: f"{x:.3f}M"), st.floats(10.0, 40.0).map(lambda x: f"{x:.2f}%")),
)
def test_composition_is_right_whatever_is_asked_for(atoms, filler, dmf, salt):
    composition = compose(
        "PLLZ", atoms=atoms, changes={"filler": f"{filler:.3f}%", "solvent": f"{dmf:.3f}%", "salt": salt}
    )
    within_one(composition)
    assert abs(composition.atoms / atoms - 1) < 0.2


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.floats(0.1, 100.0), min_size=1, max_size=1),
    molar=st.floats(0.05, 1.5),
    percent=st.floats(0.5, 40.0),
)
def test_weights_fulfil_every_amount(parts, molar, percent):
    recipe = find_recipe("PL")
    a, b, c = recipe.components
    recipe = replace(
        recipe,
        components=(
            replace(a, amount=Amount(parts[0], "parts", "here", "assumed")),
            replace(b, amount=Amount(molar, "molar_M", "here", "assumed")),
            replace(c, amount=Amount(percent, "wt_percent", "here", "assumed")),
        ),
    )
    weights, density = weight_percents(recipe, [64.0, 287.1, 73.1])
    assert weights.sum() == pytest.approx(100.0)
    assert weights[2] == pytest.approx(percent)
    assert weights[1] / 287.1 / (100.0 / density / 1000.0) == pytest.approx(molar)
    volume = sum(w / one.density_g_cm3.value for w, one in zip(weights, recipe.components, strict=True))
    assert 100.0 / volume == pytest.approx(density)


def test_moles_by_moles():
    recipe = find_recipe("PL")
    polymer, salt, _ = recipe.components
    recipe = replace(
        recipe, components=(polymer, replace(salt, amount=Amount(0.05, "per_mole", "x", "assumed", "PVDF-HFP")))
    )
    composition = compose(recipe, atoms=8000)
    units = composition.portion("PVDF-HFP").count * composition.portion("PVDF-HFP").units
    assert composition.portion("LiTFSI").count / units == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"filler": "60%", "solvent": "45%"}, r"leave nothing of 100 wt% for .*take less"),
        ({"filler": "100%"}, "leave nothing of 100 wt%"),
        ({"salt": "12M"}, "leave nothing of 100 wt%"),
        ({"Al2O3": "5%"}, "PPLA has no Al2O3, only PVDF-HFP"),
    ],
)
def test_amounts_that_cannot_be_are_told_in_one_line(changes, says):
    with pytest.raises(CompositionError, match=says) as caught:
        compose("PPLA", changes=changes)
    assert "\n" not in str(caught.value)


def test_percents_alone_must_be_a_hundred():
    recipe = changed(find_recipe("dmf"), {"DMF": "96%"})
    with pytest.raises(CompositionError, match="add up to 96 wt%, not 100"):
        compose(recipe)


@pytest.mark.parametrize("text", ["", "10", "M", "-3%", "1e5%", "ten%", "0.8 m", "nan%"])
def test_amounts_are_read_strictly(text):
    with pytest.raises(BadOptionError, match="give 10%"):
        parse_amount(text, "--salt")


@pytest.mark.parametrize(("name", "atoms"), [("PL", 40), ("PPLA", 60), ("PLLZ", 200), ("dmf", 3)])
def test_a_box_too_small_says_how_large(name, atoms):
    with pytest.raises(BadOptionError, match=r"--atoms [\d]+") as caught:
        compose(name, atoms=atoms)
    numbers = [int(number) for number in re.findall(r"--atoms (\d+)", str(caught.value))]
    within_one(compose(name, atoms=max(numbers) * 4))


def test_an_unknown_membrane_has_near_names():
    with pytest.raises(UnknownNameError, match="did you mean"):
        find_recipe("PPLB")


def test_users_folders_stand_first(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(MINE.replace("name: mine", "name: PL"))
    assert find_recipe("PL", [tmp_path]).title == "mine"
    monkeypatch.setenv("ATOMFLOW_MEMBRANES_PATH", str(tmp_path))
    assert find_recipe("pl").title == "mine"
    assert compose("PL", atoms=120).portion("DMF").count == 10


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("family: liquid", "family: gas", "family must be one of"),
        ("parts: 1,", "parts: .nan,", "amount of DMF must be a number"),
        ("parts: 1,", "parts: 1, wt_percent: 2,", "must have one of"),
        ("parts: 1,", "per_mole: 1,", "'of' names the other"),
        ("species: DMF", "crystal: DMF", "by the key 'species' alone"),
        ("grade: assumed", "grade: sure", "grade"),
        ("published: none", "", "missing key 'published'"),
        ("components:", "components: !!python/object:x", "not valid YAML"),
        ("role: solvent", "role: solvent\n    units: {value: 3, source: x, grade: assumed}", "units is for a polymer"),
    ],
)
def test_a_damaged_recipe_is_one_line(tmp_path, old, new, says):
    (tmp_path / "mine.yaml").write_text(MINE.replace(old, new))
    with pytest.raises(BadFileError, match=says) as caught:
        find_recipe("mine", [tmp_path])
    assert "\n" not in str(caught.value)


def test_ions_must_be_neutral(tmp_path):
    salt = MINE.replace("role: solvent\n    species: DMF", 'role: salt\n    ions: {"Li+": 2, "TFSI-": 1}')
    (tmp_path / "mine.yaml").write_text(salt)
    with pytest.raises(CompositionError, match=r"charge \+1"):
        compose("mine", folders=(tmp_path,))
