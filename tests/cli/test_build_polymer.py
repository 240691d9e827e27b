"""``atomflow build polymer`` and ``atomflow list polymers``."""

import json
from pathlib import Path

import MDAnalysis as mda
import pytest

from atomflow.cli import main


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ATOMFLOW_POLYMERS_PATH", raising=False)


def run(capsys, *arguments):
    code = 0
    try:
        main(list(arguments))
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code or 0, said.out, said.err


def test_a_chain_is_written_and_told(capsys):
    code, out, err = run(
        capsys, "build", "polymer", "PVDF-HFP", "--units", "20", "--hfp-fraction", "0.1", "--seed", "3", "-o", "c.pdb"
    )
    assert code == 0 and not err
    assert "20 units" in out and "HFP 10.0 mol%" in out and "ideal chain" in out and "assumed" in out
    names = mda.Universe("c.pdb").residues.resnames.tolist()
    assert len(names) == 20 and names.count("HFP") == 2


def test_json_and_quiet(capsys):
    code, out, _ = run(capsys, "build", "polymer", "Pebax", "--units", "20", "--fraction", "polyamide=0.5", "--json")
    about = json.loads(out)
    assert code == 0 and about["schema"] == "atomflow.chain/1" and about["atoms"] > 100
    assert len(about["sequence"]) == 20 and Path(about["file"]).name == "Pebax.pdb" and Path("Pebax.pdb").is_file()
    assert about["weight_fractions"]["PA6"] + about["weight_fractions"]["ADI"] == pytest.approx(0.5, abs=0.08)
    code, out, err = run(capsys, "build", "polymer", "PEO", "--units", "4", "-q", "-o", "sub/peo.sdf")
    assert (code, out, err) == (0, "", "") and Path("sub/peo.sdf").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["PVDFF"], "did you mean"),
        (["PVDF", "--units", "0"], "units is 0"),
        (["PVDF-HFP", "--hfp-fraction", "2"], "between 0 and 1"),
        (["PVDF-HFP", "--fraction", "HFP"], "UNIT=VALUE"),
        (["PVDF", "-o", "c.mol2"], "no writer"),
        (["PVDF", "--folder", "nowhere"], "no such folder"),
        (["[*:1]CC"], "attachment points"),
        (["PVDF", "--seed", "-1"], "seed"),
        (["PVDF", "--units", "4", "--dispersity", "1.2"], "--mn"),
        (["PEO", "--mn", "20"], "at least 44.1 g/mol"),
        (["[*:1]CC[*:1]"], "numbers 1 (head) and 2 (tail)"),
    ],
)
def test_mistakes_end_with_2_and_one_line(capsys, arguments, message):
    code, out, err = run(capsys, "build", "polymer", *arguments)
    assert code == 2 and out == "" and message in err and len(err.strip().splitlines()) == 1


def test_a_tacticity_that_decides_nothing_is_told(capsys):
    code, _, err = run(capsys, "build", "polymer", "PEO", "--units", "4", "--tacticity", "isotactic")
    assert code == 0 and err.startswith("warning [no-stereocentres]") and len(err.strip().splitlines()) == 1


def test_lists(capsys):
    code, out, _ = run(capsys, "list", "polymers", "--json")
    names = {row["name"] for row in json.loads(out)}
    assert code == 0 and {"PVDF", "PVDF-HFP", "Pebax"} <= names
    code, out, _ = run(capsys, "list", "polymers", "--residues", "--json")
    assert "VDF" in {row["code"] for row in json.loads(out)}
    code, out, _ = run(capsys, "list", "polymers")
    assert code == 0 and "PVDF-HFP" in out
