"""Many runs in one table, and what differs between two."""

import json
from dataclasses import replace

import pytest

from atomflow.build import molecule
from atomflow.cli import main
from atomflow.energetics import binding_energy, dissociation_energy, ladder
from atomflow.errors import BadFileError
from atomflow.report import Outcome, Report, write_outcome
from atomflow.report.collect import collect, compare, read_run


@pytest.fixture(scope="module")
def bound():
    pytest.importorskip("tblite")
    return binding_energy(molecule("Li+"), [molecule("water")], ladder("xtb"), starts=2)


def write(folder, *results, group="binding", **about):
    base = {"study": "cation-anchor", "atomflow_version": "0.1.0", "inputs": {"seed": 0}, "packages": {"ase": "3.29"}}
    write_outcome(Outcome({group: results}, Report("t", "q", "a", ())), folder, {**base, **about})
    return folder


@pytest.fixture
def runs(tmp_path, bound):
    pair = dissociation_energy(
        [(molecule("Li+"), molecule("water"))],
        [(molecule("Li+"),), (molecule("water"),)],
        ladder("xtb"),
        starts=2,
        keep=1,
    )
    write(tmp_path / "one", bound)
    write(tmp_path / "deep" / "two", replace(bound, binding_energy_eV=-1.0, seed=5), inputs={"seed": 5})
    write(tmp_path / "three", pair, group="dissociation", study="litfsi-dissociation")
    return tmp_path


def test_every_result_is_a_row(runs, bound):
    frame, passed_over = collect(runs)
    assert list(frame["run"]) == ["deep/two", "one", "three"] and passed_over == []
    row = frame.set_index("run").loc["one"]
    assert row["binding_energy_eV"] == bound.binding_energy_eV and row["ligands"] == "water"
    assert row["distances_A Li-O"] == bound.distances_A["Li-O"]
    assert frame.set_index("run").loc["three", "products"] == "Li+ + water"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema": "other/1"}', '{"schema": "atomflow.x/1", "results": 3}']
)
def test_a_file_that_is_no_result_is_passed_over_and_said(runs, content):
    (runs / "bad").mkdir()
    (runs / "bad" / "result.json").write_text(content)
    frame, passed_over = collect(runs)
    assert len(frame) == 3 and len(passed_over) == 1 and "bad" in passed_over[0]
    with pytest.raises(BadFileError):
        read_run(runs / "bad")


def test_nothing_to_collect(tmp_path):
    with pytest.raises(BadFileError, match="no finished study"):
        collect(tmp_path)


def test_why_two_numbers_differ(runs, bound):
    found = compare(read_run(runs / "one"), read_run(runs / "deep" / "two"))
    assert found.made == [("input seed", 0, 5)]
    energy = next(row for row in found.found if row["field"] == "binding_energy_eV")
    assert (energy["subject"], energy["first"], energy["second"]) == ("Li+ - water", bound.binding_energy_eV, -1.0)
    assert energy["difference"] == pytest.approx(-1.0 - bound.binding_energy_eV)
    assert energy["settings"] == ["seed: 0 | 5"]
    assert all(row["difference"] == 0 for row in found.found if row["field"] != "binding_energy_eV")


def test_a_run_does_not_differ_from_itself(runs):
    found = compare(read_run(runs / "one"), read_run(runs / "one" / "result.json"))
    assert found.made == found.only_first == found.only_second == []
    assert found.found and all(row["difference"] == 0 and row["settings"] == [] for row in found.found)


def test_results_that_only_one_has(runs):
    found = compare(read_run(runs / "one"), read_run(runs / "three"))
    assert ("study", "cation-anchor", "litfsi-dissociation") in found.made
    assert found.found == [] and found.only_first == ["Li+ - water"] and len(found.only_second) == 1


def test_several_methods_of_one_subject_are_kept_apart(tmp_path, bound):
    other = replace(bound, method="another", binding_energy_eV=-9.0)
    run = read_run(write(tmp_path / "methods", bound, other))
    fields = {(row["subject"], row["first"]) for row in compare(run, run).found if row["field"] == "binding_energy_eV"}
    assert fields == {("Li+ - water", bound.binding_energy_eV), ("Li+ - water (2)", -9.0)}


def test_on_the_command_line(runs, capsys):
    main(["collect", str(runs), "-o", str(runs / "all.csv")])
    assert (runs / "all.csv").read_text().count("\n") == 4
    capsys.readouterr()
    main(["collect", str(runs), "--json"])
    assert len(json.loads(capsys.readouterr().out)) == 3
    main(["collect", str(runs)])
    assert "Li+" in capsys.readouterr().out
    main(["diff", str(runs / "one"), str(runs / "deep" / "two")])
    said = capsys.readouterr().out
    assert "input seed" in said and "binding_energy_eV" in said
    main(["diff", str(runs / "one"), str(runs / "deep" / "two"), "--json"])
    assert json.loads(capsys.readouterr().out)["made"] == [["input seed", 0, 5]]


@pytest.mark.parametrize(
    "words", [["collect", "nowhere"], ["collect", ".", "-o", "x.xlsx"], ["diff", "nowhere", "nowhere"], ["diff", "x"]]
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr()
    assert end.value.code == 2 and said.err.count("\n") == 1 and said.out == ""
