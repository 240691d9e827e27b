"""What the commands give: files, tables, JSON that another program can read."""

import json

import numpy as np
import pytest
from ase.io import read

from atomflow import __version__
from atomflow.build import list_species, molecule
from atomflow.cli import main


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, *arguments):
    main(list(arguments))
    return capsys.readouterr()


@pytest.fixture(scope="module")
def bound(tmp_path_factory):
    """The folder of `atomflow bind Li+ DMF`."""
    pytest.importorskip("tblite")
    out = tmp_path_factory.mktemp("bind") / "out"
    main(["bind", "Li+", "DMF", "--jobs", "1", "--starts", "2", "--quiet", "--out", str(out)])
    return out


def test_bind_writes_the_promised_schema(bound):
    data = json.loads((bound / "result.json").read_text())
    assert data["schema"] == "atomflow.binding/1"
    assert data["study"] == "bind"
    assert data["atomflow_version"] == __version__
    assert data["created"].startswith("20")
    assert {"guest": "Li+", "hosts": ["DMF"], "calculator": "xtb", "starts": 2, "seed": 0}.items() <= data[
        "inputs"
    ].items()
    assert all(set(row) >= {"code", "text"} for row in data["warnings"])
    (row,) = data["results"]["binding"]
    assert (row["ion"], row["ligands"], row["starts"]) == ("Li+", ["DMF"], 2)
    assert row["method"] == "GFN2-xTB"
    assert row["binding_energy_eV"] == pytest.approx(-2.91, abs=0.03)
    assert row["counterpoise_eV"] is None
    assert 0 < row["hit_rate"] <= 1
    assert row["deformation_eV"] > 0
    assert row["uncertainty_eV"] >= 0
    assert row["distances_A"] == {"Li-O": pytest.approx(1.65, abs=0.02)}
    assert row["structure"].startswith("minima/")


def test_the_structure_of_a_result_is_the_minimum_it_tells(bound):
    (row,) = json.loads((bound / "result.json").read_text())["results"]["binding"]
    atoms = read(bound / row["structure"])
    assert atoms.get_chemical_formula() == "C3H7LiNO"
    li = atoms.get_chemical_symbols().index("Li")
    oxygen = atoms.get_chemical_symbols().index("O")
    assert atoms.get_distance(li, oxygen) == pytest.approx(row["distances_A"]["Li-O"], abs=1e-3)


def test_json_on_standard_output_is_the_file(bound, capsys):
    said = run(capsys, "bind", "Li+", "DMF", "--jobs", "1", "--starts", "2", "--json", "--out", str(bound))
    assert json.loads(said.out) == json.loads((bound / "result.json").read_text())


def test_bind_shows_table_answer_and_where_the_report_is(bound, capsys):
    said = run(capsys, "bind", "Li+", "DMF", "--jobs", "1", "--starts", "2", "--out", str(bound)).out
    assert "GFN2-xTB" in said
    assert "-2.9" in said
    assert str(bound / "report.html") in said


def test_a_file_and_its_charge_can_be_bound(capsys):
    molecule("PF6-").atoms.write("mine.xyz")
    said = run(capsys, "bind", "Li+", "mine.xyz@-1", "--starts", "2", "--jobs", "1", "--json")
    (row,) = json.loads(said.out)["results"]["binding"]
    assert row["ion"] == "Li+"
    assert row["binding_energy_eV"] < -5  # opposite charges


def test_seed_and_jobs_do_not_leave_the_answer(bound, capsys):
    said = run(capsys, "bind", "Li+", "DMF", "--jobs", "2", "--starts", "2", "--json", "--out", "again")
    (first,) = json.loads((bound / "result.json").read_text())["results"]["binding"]
    (second,) = json.loads(said.out)["results"]["binding"]
    assert second["binding_energy_eV"] == pytest.approx(first["binding_energy_eV"], abs=1e-6)
    assert second["distances_A"] == pytest.approx(first["distances_A"], abs=1e-4)


@pytest.mark.parametrize("suffix", [".xyz", ".extxyz", ".sdf", ".mol", ".pdb", ".json", ".traj"])
def test_a_molecule_is_built_into_a_file_that_can_be_read_back(capsys, tmp_path, suffix):
    about = json.loads(run(capsys, "build", "molecule", "DMF", "-o", f"sub/dmf{suffix}", "--json").out)
    assert {"name": "DMF", "formula": "C3H7NO", "charge": 0, "multiplicity": 1, "atoms": 12}.items() <= about.items()
    known = molecule("DMF").atoms
    atoms = read(tmp_path / about["file"])
    assert atoms.get_chemical_symbols() == known.get_chemical_symbols()
    assert np.allclose(atoms.positions - atoms.positions[0], known.positions - known.positions[0], atol=2e-3)


def test_a_built_molecule_has_a_name_of_its_own_and_a_line_to_read(capsys, tmp_path):
    said = run(capsys, "build", "molecule", "TFSI-").out
    assert "charge -1" in said
    assert "TFSI-.xyz" in said
    assert molecule(str(tmp_path / "TFSI-.xyz")).charge == -1
    run(capsys, "build", "molecule", "CC(=O)C", "--quiet")
    assert len(list(tmp_path.glob("*.xyz"))) == 2


def test_the_seed_chooses_the_conformer(capsys, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        run(capsys, "build", "molecule", "DME", "-o", f"{name}.xyz", "--seed", seed, "--quiet")
    first, same, other = (read(tmp_path / f"{name}.xyz").positions for name in "abc")
    assert np.array_equal(first, same)
    assert not np.allclose(first, other, atol=1e-3)


def test_species_are_listed(capsys, tmp_path):
    rows = json.loads(run(capsys, "list", "species", "--json").out)
    assert {row["name"] for row in rows} == {species.name for species in list_species()}
    dmf = next(row for row in rows if row["name"] == "DMF")
    assert dmf["charge"] == 0
    assert dmf["grade"]
    assert dmf["source"]
    text = run(capsys, "list", "species").out
    assert "DMF" in text
    assert "TFSI-" in text


def test_calculators_and_studies_are_listed(capsys):
    rows = {row["name"]: row for row in json.loads(run(capsys, "list", "calculators", "--json").out)}
    assert {"xtb", "dft"} <= set(rows)
    assert "GFN2-xTB" in rows["xtb"]["detail"]
    names = {row["name"]: row["question"] for row in json.loads(run(capsys, "list", "studies", "--json").out)}
    assert "anchors" in names["cation-anchor"]


def test_doctor_tells_what_is_here_and_what_is_not(capsys, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "pyscf" else real(name, *a))
    rows = {row["what"]: row for row in json.loads(run(capsys, "doctor", "--json").out)}
    assert rows["python"]["ok"]
    assert "cation-anchor" in rows["studies"]["detail"]
    assert not rows["calculator dft"]["ok"]
    assert "pip install 'atomflow[dft]'" in rows["calculator dft"]["mend"]
    assert "missing  calculator dft" in run(capsys, "doctor").out


def test_version_and_help(capsys):
    assert __version__ in run(capsys, "--version").out
    said = run(capsys, "--help").out
    for command in ("run", "bind", "build", "list", "doctor", "published"):
        assert f"  {command} " in said


@pytest.mark.parametrize("arguments", [[], ["run"], ["build"]])
def test_a_command_without_words_shows_its_help(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "Usage:" in capsys.readouterr().err
