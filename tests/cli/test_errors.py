"""A user's mistake: one line that says what and how to mend it, exit code 2, no traceback."""

import importlib.util
import subprocess
import sys

import pytest
from ase import Atoms
from ase.io import write

from atomflow.cli import main


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code, capsys.readouterr().err


def check_one_line(err, *words):
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err
    for word in words:
        assert word in err


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_unknown_species_names_its_neighbours(capsys):
    code, err = run(capsys, "bind", "Li+", "DMFF")
    assert code == 2
    check_one_line(err, "DMFF", "DMF")


def test_charge_that_does_not_fit(capsys):
    code, err = run(capsys, "build", "molecule", "DMF", "--charge", "1")
    assert code == 2
    check_one_line(err, "electrons", "multiplicity")


def test_charge_of_a_file_that_does_not_fit(capsys, tmp_path):
    write("water.xyz", Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
    code, err = run(capsys, "bind", "Li+", "water.xyz@-1")
    assert code == 2
    check_one_line(err, "water")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("overlap.xyz", "2\n\nO 0 0 0\nO 0 0 0.1\n"),
        ("nan.xyz", "2\n\nO 0 0 0\nO 0 0 nan\n"),
        ("empty.xyz", ""),
        ("cut.xyz", "5\n\nO 0 0 0\n"),
    ],
)
def test_coordinates_that_cannot_be(capsys, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    code, err = run(capsys, "bind", "Li+", name)
    assert code == 2
    check_one_line(err, name.split(".")[0])


def test_missing_file(capsys):
    code, err = run(capsys, "bind", "Li+", "nowhere.xyz")
    assert code == 2
    check_one_line(err, "nowhere.xyz")


def test_missing_backend_says_how_to_install_it(capsys, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "tblite" else real(name, *a))
    code, err = run(capsys, "bind", "Li+", "DMF")
    assert code == 2
    check_one_line(err, "pip install 'atomflow[xtb]'")


def test_out_that_is_a_file(capsys, tmp_path):
    (tmp_path / "taken").write_text("mine")
    code, err = run(capsys, "run", "cation-anchor", "--calculator", "xtb", "--out", "taken")
    assert code == 2
    check_one_line(err, "taken", "--out")
    assert (tmp_path / "taken").read_text() == "mine"


def test_out_below_a_file(capsys, tmp_path):
    (tmp_path / "taken").write_text("mine")
    code, err = run(capsys, "bind", "Li+", "DMF", "--out", "taken/below")
    assert code == 2
    check_one_line(err, "taken/below")


def test_unknown_study(capsys):
    code, err = run(capsys, "run", "cation-ancor")
    assert code == 2
    check_one_line(err, "cation-anchor")


@pytest.mark.parametrize(
    "text",
    [
        "xtbb",
        "xtb:method=gfn9",
        "xtb:accuracy=tight",
        "xtb:accuracy=0",
        "xtb:electronic_temperature_K=-1",
        "dft:functional=nope",
        "dft:basis",
        "dft:grid=fine",
        "dft:scf_tolerance_eV=0",
        "xtb:solvent=beer",
        "orca",
        ":method=gfn2",
        "",
    ],
)
def test_calculator_that_is_not_there(capsys, text):
    code, err = run(capsys, "bind", "Li+", "DMF", "--calculator", text)
    assert code == 2
    check_one_line(err)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["frob"], "frob"),
        (["bind", "Li+"], "HOST"),
        (["bind", "Li+", "DMF", "--starts", "0"], "--starts"),
        (["bind", "Li+", "DMF", "--seed", "-1"], "seed"),
        (["bind", "Li+", "DMF", "--out", "x.json"], "x.json"),
        (["run", "cation-anchor", "--colour"], "--colour"),
        (["run", "cation-anchor", "--ligands", "DMFF"], "DMF"),
        (["run", "--workflow", "nowhere.py", "mine"], "nowhere.py"),
        (["build", "molecule", "DMF", "-o", "."], "directory"),
        (["build", "molecule", "DMF", "-o", "dmf.foo"], ".xyz"),
        (["build", "molecule", "DMF", "-o", "/proc/dmf.xyz"], "/proc/dmf.xyz"),
        (["build", "molecule", "DMF", "-o", "/proc/dmf.sdf"], "/proc/dmf.sdf"),
        (["build", "molecule", "C1CC"], "C1CC"),
        (["published", "--row", "Z9"], "Z9"),
    ],
)
def test_words_that_make_no_sense(capsys, arguments, word):
    code, err = run(capsys, *arguments)
    assert code == 2
    check_one_line(err, word)


def test_out_in_a_place_where_nothing_can_be_made(capsys):
    code, err = run(capsys, "bind", "Li+", "DMF", "--out", "/proc/atomflow")
    assert code == 2
    check_one_line(err, "/proc/atomflow", "--out")


def test_a_study_refuses_a_dication_with_xtb(capsys):
    code, err = run(capsys, "run", "cation-anchor", "--calculator", "xtb", "--ions", "Zn2+", "--jobs", "1", "--quiet")
    assert code == 2
    check_one_line(err, "Zn2+", "--calculator dft")


def test_xtb_refuses_a_bare_dication_and_names_dft(capsys):
    code, err = run(capsys, "bind", "Zn2+", "DMF", "--calculator", "xtb")
    assert code == 2
    check_one_line(err, "Zn2+", "--calculator dft")


def test_counterpoise_without_a_basis(capsys):
    code, err = run(capsys, "bind", "Li+", "water", "--counterpoise", "--jobs", "1", "--quiet")
    assert code == 2
    check_one_line(err, "counterpoise")


def test_scf_that_fails_for_good_keeps_its_log(capsys, tmp_path, monkeypatch):
    pytest.importorskip("tblite")
    from atomflow.calculators import xtb

    # Two iterations are never enough, on any rung: a real tblite failure with its real log.
    original = xtb.TBLite.__init__
    monkeypatch.setattr(xtb.TBLite, "__init__", lambda self, **kw: original(self, **{**kw, "max_iterations": 2}))
    with pytest.raises(SystemExit) as stop:
        main(["bind", "Li+", "water", "--jobs", "1", "--out", "fails", "--quiet"])
    err = capsys.readouterr().err
    assert stop.value.code == 1
    assert "scf-failure.log" in err
    assert "Traceback" not in err
    log = (tmp_path / "fails" / "scf-failure.log").read_text()
    assert "broyden" in log
    assert "not converged" in log.lower()


def test_help_answers_without_the_heavy_packages():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, atomflow.cli.main; print('rdkit' in sys.modules, 'pyscf' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "False"]
