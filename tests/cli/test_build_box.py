"""``atomflow build box`` and ``list membranes``: what the folder holds, and mistakes in one line."""

import json
import subprocess
from pathlib import Path

import pytest

from atomflow.cli import main

SMALL = ["--atoms", "400", "--allow-assumed", "--no-picture"]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


def run(capsys, *arguments):
    code = 0
    try:
        main(list(arguments))
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code or 0, said.out, said.err


def test_a_folder_holds_everything(capsys):
    code, out, _err = run(
        capsys,
        "build",
        "box",
        "litfsi-dmf",
        "--atoms",
        "500",
        "--allow-assumed",
        "--seed",
        "3",
        "-o",
        "liquid",
        "--json",
    )
    assert code == 0
    about = json.loads(out)
    folder = Path("liquid")
    for name in (
        "system.data",
        "system.in",
        "system.pdb",
        "system.top",
        "system.gro",
        "system.json",
        "system.png",
        "report.html",
    ):
        assert (folder / name).stat().st_size > 100, name
    assert json.loads((folder / "system.json").read_text()) == about
    assert about["atoms"] == sum(one["count"] * one["atoms"] for one in about["portions"])
    assert abs(about["charge_e"]) < 1e-5 and about["molecules"]["Li+"] == about["molecules"]["TFSI-"]
    assert about["checks"]["pierced_rings"] == 0 and about["checks"]["shortest_contact_A"] > 1.4
    assert all(abs(off) <= 1 for off in about["checks"]["off_molecules"].values())
    assert {"not-equilibrated", "assumed-composition"} <= {one["code"] for one in about["warnings"]}
    import MDAnalysis as mda

    universe = mda.Universe(str(folder / "system.data"), format="DATA")
    assert len(universe.atoms) == about["atoms"] and abs(universe.atoms.total_charge()) < 1e-4


def test_the_input_runs_without_atomflow(capsys):
    from atomflow.lammps import find_lammps

    code, out, err = run(capsys, "build", "box", "PL", *SMALL, "--charge-scale", "0.8", "-o", "pl")
    assert code == 0, err
    assert "Achieved" in out and "ionic charges x 0.8" in out and "worst" in out
    assert "warning [assumed-composition]" in err
    text = Path("pl/system.in").read_text()
    assert "atomflow." not in text
    short = Path("pl/short.in")
    short.write_text(
        "\n".join(line.replace("1000", "20") if line.startswith("run") else line for line in text.splitlines()) + "\n"
    )
    command = [str(find_lammps().path), "-in", "short.in"]
    done = subprocess.run(command, cwd="pl", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "ERROR" not in done.stdout


def test_the_same_seed_writes_the_same_files(capsys):
    for folder in ("one", "two"):
        assert run(capsys, "build", "box", "dmf", "--atoms", "240", "--no-picture", "-q", "-o", folder)[0] == 0
    for name in ("system.data", "system.pdb", "system.top"):
        assert Path("one", name).read_text() == Path("two", name).read_text()


def test_quiet_prints_nothing(capsys):
    assert run(capsys, "build", "box", "dmf", "--atoms", "120", "--no-picture", "-q") == (0, "", "")
    assert Path("dmf-box/system.data").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["PPLB"], "did you mean"),
        (["PPLA", "--filler-wt", "70", "--dmf-wt", "40"], "leave nothing of 100 wt%"),
        (["PL", "--filler-wt", "10"], "PL has no filler"),
        (["PL", "--salt", "lots"], "give 10% of the weight, 0.8M"),
        (["PL", "--set", "Pebax"], "write it like Pebax=40parts"),
        (["PL", "--atoms", "30"], "take --atoms"),
        (["PPLA", "--atoms", "100"], "take --atoms"),
        (["dmf", "--atoms", "0"], "--atoms"),
        (["dmf", "--packer", "tetris"], "one of atomflow, packmol"),
        (["dmf", "--charge-scale", "0"], "factor above 0"),
        (["dmf", "--replicate", "2"], "three whole numbers"),
        (["dmf", "--pack-density", "1.7", "--atoms", "300"], "--pack-density below"),
        (["dmf", "--out", "x.data"], "looks like a file"),
        (["dmf", "--forcefield", "nothing"], "nothing"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, says):
    code, out, err = run(capsys, "build", "box", *arguments)
    assert (code, out) == (2, "")
    assert says in err and err.count("\n") == 1, err
    assert not any(Path().iterdir())


def test_packmol_absent(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    code, _, err = run(capsys, "build", "box", "dmf", "--atoms", "60", "--packer", "packmol")
    assert code == 2 and err == "error: packmol is not here; install it with: pip install packmol\n"


def test_the_list_names_all(capsys):
    code, out, _ = run(capsys, "list", "membranes", "--json")
    names = {row["name"] for row in json.loads(out)}
    assert (
        code == 0
        and {"PL", "PPL", "PPLA", "PLL", "PLLZ", "PLZ", "dmf", "litfsi-dmf", "zn-litfsi-dmf", "pvdf", "pvdf-hfp"}
        <= names
    )
    assert "10 wt%" in run(capsys, "list", "membranes")[1]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), [("PPLA", 1), ("PPLA", 2), ("PLLZ", 1), ("PLZ", 2)])
def test_polymers_salt_and_particle_come_apart(capsys, name, seed):
    """Hydroxyl hydrogens, which have no sphere of their own, once fell into the oxide ions."""
    code, out, err = run(
        capsys, "build", "box", name, "--atoms", "1500", "--seed", str(seed), "--no-picture", "--json", "-o", "particle"
    )
    assert code == 0, err
    about = json.loads(out)
    assert about["charge_e"] == 0 and about["checks"]["shortest_contact_A"] > 1.5
