"""The published rows are data: complete, in order, and refused in one line when they are not usable."""

from __future__ import annotations

import math
import string
from pathlib import Path

import pytest

from atomflow.errors import BadFileError, UnknownNameError
from atomflow.library import library_folder
from atomflow.report.scoreboard import find_row, load_rows

IDS = [
    f"P{paper}.{letter}"
    for paper, count in ((1, 10), (2, 6), (3, 10), (4, 7))
    for letter in string.ascii_lowercase[:count]
]

GOOD = """\
id: P9.a
paper: a paper
doi: 10.1000/xyz
quantity: a quantity
unit: eV
values: {A: 1.5, B: "-"}
kind: computed
read: secondary
study: some-study
commands: [atomflow run some-study --out runs/P9.a]
note: ""
"""


@pytest.fixture
def write_row(tmp_path: Path):
    def write(text: str, name: str = "P9.a.yaml") -> Path:
        (tmp_path / "rows").mkdir(exist_ok=True)
        (tmp_path / "rows" / name).write_text(text)
        return tmp_path

    return write


def test_every_row_is_there_in_order():
    assert [row.id for row in load_rows()] == IDS
    assert sorted(path.stem for path in (library_folder("published") / "rows").glob("*.yaml")) == sorted(IDS)


def test_each_paper_has_one_doi():
    dois = {(row.id[:2], row.doi) for row in load_rows()}
    assert len(dois) == 4
    assert len({doi for _, doi in dois}) == 4


@pytest.mark.parametrize(
    ("row_id", "unit", "values"),
    [
        ("P1.c", "A^2/ps", {"PL": 1.92e-3, "PPL": 3.5e-3, "PPLA": 0.105}),
        ("P1.g", "S/cm", {"PL": 2.0e-4, "PPL": 3.1e-4, "PPLA": 1.13e-3}),
        ("P1.h", "eV", {"PL": 0.236, "PPL": "-", "PPLA": 0.121}),
        ("P3.a", "eV", {"bare": 5.42}),
        ("P3.b", "eV", {"PVDF-HFP": 4.63, "d-PVDF-HFP": 4.43, "P-DOL": 4.09}),
        ("P3.d", "e", {"PVDF-HFP": -0.0993, "d-PVDF-HFP": -0.1352, "P-DOL": 0.0045}),
        ("P4.e", "S/cm", {"PLL": 5.52e-4, "PLLZ": 1.06e-3, "PLZ": 4.8e-6}),
    ],
)
def test_numbers_are_numbers_with_their_unit(row_id, unit, values):
    row = find_row(load_rows(), row_id)
    assert row.unit == unit
    assert dict(row.values) == values


def test_nothing_claims_that_we_read_a_paper():
    assert {row.read for row in load_rows()} == {"secondary"}


def test_a_number_without_unit_is_a_pure_number():
    unitless = [
        row.id for row in load_rows() if row.unit is None and any(isinstance(v, float) for v in row.values.values())
    ]
    # Transference numbers only.
    assert unitless == ["P1.i", "P2.d", "P3.g", "P4.g"]


def test_commands_name_their_study_and_have_a_folder_each():
    commands = {row.id: row.commands for row in load_rows() if row.commands}
    assert list(commands) == ["P2.a", "P3.a", "P3.b", "P4.a"]
    folders = [line.split("--out ")[1] for lines in commands.values() for line in lines]
    assert len(set(folders)) == len(folders) == 5
    for row in load_rows():
        assert all(line.startswith(f"atomflow run {row.study} ") for line in row.commands)


def test_values_cannot_be_changed_in_memory():
    with pytest.raises(TypeError):
        load_rows()[0].values["PL"] = 1.0  # type: ignore[index]


def test_published_text():
    rows = load_rows()
    assert find_row(rows, "P3.a").published() == ["bare: 5.42 eV"]
    assert find_row(rows, "P2.b").published()[0] == "SPE: 0.19 x 1e-4 S/cm"
    assert find_row(rows, "p4.g").published() == ["PLL: 0.32", "PLLZ: 0.5"]


def test_unknown_row_names_the_near_ones():
    with pytest.raises(UnknownNameError, match=r"unknown published row 'P4.z': did you mean P4"):
        find_row(load_rows(), "P4.z")


def test_a_good_row_of_a_users_own(write_row):
    (row,) = load_rows(write_row(GOOD))
    assert (row.id, row.values["A"], row.values["B"], row.study) == ("P9.a", 1.5, "-", "some-study")
    assert row.to_dict()["commands"] == ["atomflow run some-study --out runs/P9.a"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id: P9.a", "id: P9.b", "must look like P4.a and be the file's name"),
        ("doi: 10.1000/xyz", "doi: www.example.org", "does not look like"),
        ("kind: computed", "kind: guessed", "kind 'guessed' must be one of"),
        ("read: secondary", "read: yes", "read must be text"),
        ("read: secondary", "read: partly", "read 'partly' must be one of"),
        ("quantity: a quantity", "quantity: 3", "quantity must be text"),
        ("quantity: a quantity\n", "", "'quantity' is missing"),
        ('note: ""', 'note: ""\nvalue: 3', "unknown key 'value'"),
        ('values: {A: 1.5, B: "-"}', "values: {A: .nan}", "'A' is not a finite number"),
        ('values: {A: 1.5, B: "-"}', "values: {A: .inf}", "'A' is not a finite number"),
        ('values: {A: 1.5, B: "-"}', "values: {A: true}", "must be a number or a text"),
        ('values: {A: 1.5, B: "-"}', "values: {1: 1.5}", "must be text; put it in quotes"),
        ('values: {A: 1.5, B: "-"}', "values: {}", "at least one system"),
        ('values: {A: 1.5, B: "-"}', "values: {A: 1.5, A: 2.5}", "'A' stands twice"),
        ("unit: eV", "unit: [eV]", "unit must be text or null"),
        ("commands: [atomflow run some-study --out runs/P9.a]", "commands: []", "study and commands go together"),
        ("commands: [atomflow run some-study --out runs/P9.a]", "commands: [rm -rf x]", "commands must be a list"),
        ("values: {A", "values: {{A", "cannot be read as YAML"),
        ('note: ""', "note: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
    ],
)
def test_a_bad_row_is_refused_in_one_line(write_row, old, new, message):
    assert old in GOOD
    with pytest.raises(BadFileError) as caught:
        load_rows(write_row(GOOD.replace(old, new)))
    assert message in str(caught.value)
    assert "P9.a.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_that_is_no_mapping(write_row):
    with pytest.raises(BadFileError, match="a row is a mapping"):
        load_rows(write_row("- 1\n- 2\n"))


def test_no_published_number_is_lost_to_rounding():
    # The text shown to people must hold every digit of the file.
    for row in load_rows():
        for system, value in row.values.items():
            if isinstance(value, float):
                shown = next(line for line in row.published() if line.startswith(f"{system}: "))
                assert math.isclose(float(shown.removeprefix(f"{system}: ").split()[0]), value, rel_tol=1e-12)
