"""``atomflow build crystal | slab | particle``: what a folder holds, what is stored, and mistakes in one line."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from PIL import Image

from atomflow.cli import main
from atomflow.flow import Store

QUICK = ["--seeds", "1", "--sweeps", "20", "--jobs", "1", "--quiet"]
CIF = """data_x
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""


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


def cif(name, *rows):
    Path(name).write_text(CIF + "\n".join(rows) + "\n")


def check_picture(path):
    with Image.open(path) as image:
        assert image.format == "PNG" and min(image.size) > 250 and max(image.size) < 2500
        assert np.asarray(image.convert("L")).std() > 5  # something is drawn


def test_a_folder_holds_models_pictures_and_the_report(capsys):
    code, _, err = run(capsys, "build", "crystal", "LLZO", "--keep", "2", "--no-picture", *QUICK, "-o", "llzo")
    assert (code, err) == (0, "")
    body = json.loads(Path("llzo/result.json").read_text())
    assert "schema" in body
    (models,) = body["results"]["models"]
    assert models["hits"] == 1 and models["formula_units"] == 4
    assert "<html" in Path("llzo/report.html").read_text().lower()
    for model in models["models"]:
        assert model["formula"] == "Li28La12Zr8O48"
        for suffix in (".cif", ".extxyz", ".data"):
            path = Path("llzo/models") / (model["name"] + suffix)
            atoms = (
                read(path, format="lammps-data", atom_style="charge", units="metal")
                if suffix == ".data"
                else read(path)
            )
            assert len(atoms) == 96
        assert read(path.with_suffix(".extxyz")).arrays["wyckoff"][0] in ("24d", "96h", "24c")
    assert not list(Path("llzo").glob("models/*.png"))


@pytest.mark.parametrize(
    "words",
    [
        ["crystal", "LiF"],
        ["slab", "LiF", "--layers", "3"],
        ["particle", "LiF", "--atoms", "64", "--seeds", "2", "--sweeps", "200"],
        ["crystal", "Li"],
    ],
)
def test_every_kind_has_pictures_and_files(capsys, words):
    code, _, err = run(capsys, "build", *words[:2], *QUICK, *words[2:], "-o", "out")
    assert (code, err) == (0, "")
    names = {path.suffix for path in Path("out/models").iterdir()}
    assert names >= {".extxyz", ".data", ".png"}
    for path in Path("out/models").glob("*.png"):
        check_picture(path)


def test_one_file_and_its_picture(capsys):
    code, out, _ = run(capsys, "build", "crystal", "LiF", *QUICK[:-1], "-o", "POSCAR")
    assert code == 0 and "LiF-1" in out and len(read("POSCAR", format="vasp")) == 2
    check_picture("POSCAR.png")
    assert run(capsys, "build", "crystal", "LiF", *QUICK, "--no-picture", "-o", "x.cif")[0] == 0
    assert sorted(p.name for p in Path().iterdir()) == ["POSCAR", "POSCAR.png", "x.cif"]


@pytest.mark.parametrize("out", ["lif", "lif.cif"])
def test_json(capsys, out):
    code, text, _ = run(capsys, "build", "crystal", "LiF", *QUICK, "--json", "--no-picture", "-o", out)
    body = json.loads(text)
    assert code == 0 and body["schema"]
    assert "Infinity" not in text and "NaN" not in text


def test_the_second_run_computes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("ATOMFLOW_STORE", str(tmp_path / "store"))
    words = [
        "build",
        "crystal",
        "LLZO",
        "--seeds",
        "2",
        "--sweeps",
        "20",
        "--keep",
        "2",
        "--jobs",
        "1",
        "--quiet",
        "--no-picture",
        "-o",
    ]
    assert run(capsys, *words, "one")[0] == 0
    store = Store(tmp_path / "store")
    before = {path: path.stat().st_mtime_ns for path in store.folder.glob("*/*/entry.json")}
    assert len([p for p in before if "fill" in str(p)]) == 2
    monkeypatch.setattr("atomflow.build.filling.exchange_replicas", None)  # whoever searches again, fails
    assert run(capsys, *words, "two")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in store.folder.glob("*/*/entry.json")} == before
    one, two = (json.loads(Path(name, "result.json").read_text()) for name in ("one", "two"))
    assert one["results"] == two["results"]


def build_with_jobs(capsys, tmp_path, monkeypatch):
    for jobs in ("1", "2"):
        monkeypatch.setenv("ATOMFLOW_STORE", str(tmp_path / f"store{jobs}"))
        words = ["build", "crystal", "LALZO", "--seeds", "3", "--sweeps", "200", "--quiet", "--no-picture"]
        assert run(capsys, *words, "--engine", "local", "--jobs", jobs, "-o", f"out{jobs}")[0] == 0


@pytest.mark.slow
def test_two_jobs_give_the_same_numbers(capsys, tmp_path, monkeypatch):
    build_with_jobs(capsys, tmp_path, monkeypatch)
    one, two = (json.loads(Path(f"out{jobs}", "result.json").read_text())["results"]["models"][0] for jobs in "12")
    assert one["hits"] == two["hits"] and one["lowest_by_seed_meV_per_atom"] == two["lowest_by_seed_meV_per_atom"]
    for first, second in zip(one["models"], two["models"], strict=True):
        # The last bits of a sum depend on the threads of the linear algebra.
        for key in ("electrostatic_eV", "above_lowest_meV_per_atom"):
            assert first.pop(key) == pytest.approx(second.pop(key), rel=1e-9, abs=1e-8)
        assert first == second


@pytest.mark.slow
def test_two_jobs_write_the_same_files(capsys, tmp_path, monkeypatch):
    build_with_jobs(capsys, tmp_path, monkeypatch)
    texts = [{p.name: p.read_bytes() for p in Path(f"out{jobs}", "models").iterdir()} for jobs in "12"]
    assert texts[0] == texts[1]


def test_rerank_by_a_calculator(capsys):
    code, _, err = run(
        capsys, "build", "crystal", "LLZO", "--keep", "3", "--rerank", "lj", *QUICK, "--no-picture", "-o", "out"
    )
    assert (code, err) == (0, "")
    (models,) = json.loads(Path("out/result.json").read_text())["results"]["models"]
    values = [model["rescored_eV"] for model in models["models"]]
    assert len(values) > 1 and values == sorted(values) and "lj" in models["method"]


def test_users_file_goes_the_same_road(capsys):
    cif("own.cif", "Li1 Li 0 0 0 0.5", "Li2 Li 0.5 0.5 0 0.5", "F1 F 0.5 0.5 0.5 1")
    code, _, err = run(capsys, "build", "crystal", "own.cif", *QUICK, "--no-picture")
    assert (code, err) == (0, "") and Path("own-crystal/models/own-1.cif").is_file()


MISTAKES = [
    (["crystal", "LLZO", "--dope", "Al=0.01@24d"], ["nearest is Li7La3Zr2O12", "--max-atoms"]),
    (["crystal", "LLZO", "--composition", "Li7La3Zr2O13"], ["charge -2"]),
    (["crystal", "LLZO", "--composition", "((("], ["((("]),
    (["crystal", "LLZO", "--dope", "Al=0.25@99z"], ["99z", "24d"]),
    (["crystal", "LLZO", "--dope", "Al=5@24d"], ["room for 3"]),
    (["crystal", "LLZO", "--dope", "Fe=0.1@24d"], ["oxidation", "Fe+3"]),
    (["crystal", "LLZO", "--dope", "Al"], ["Al=0.25@24d"]),
    (["crystal", "LLXO"], ["LLZO"]),
    (["crystal", "missing.cif"], ["missing.cif"]),
    (["crystal", "over.cif"], ["over.cif", "apart"]),
    (["crystal", "nofull.cif"], ["fully occupied"]),
    (["crystal", "charged.cif"], ["charge"]),
    (["crystal", "H.cif"], ["--oxidation H"]),
    (["crystal", "LLZO", "--cell", "0"], ["--cell"]),
    (["crystal", "LLZO", "--cell", "1,1"], ["--cell"]),
    (["crystal", "LLZO", "--cell", "1,1,-1"], ["--cell"]),
    (["crystal", "LLZO", "--seeds", "0"], ["--seeds"]),
    (["crystal", "LLZO", "--rerank", "nonsense"], ["nonsense"]),
    (["crystal", "LLZO", "--oxidation", "Li=1"], ["--oxidation"]),
    (["crystal", "own.cif", "--oxidation", "Li"], ["Fe=2"]),
    (["crystal", "own.cif", "--formula", "Li2F"], ["charge"]),
    (["slab", "LiF", "--miller", "1,1,1", "--layers", "1"], ["dipole", "--repeat"]),
    (["slab", "LiF", "--miller", "0,0,0"], ["--miller"]),
    (["slab", "LiF", "--miller", "a,b,c"], ["--miller"]),
    (["slab", "LiF", "--miller", "99,0,0"], ["--miller"]),
    (["slab", "LiF", "--repeat", "0,1"], ["repeat"]),
    (["slab", "LiF", "--vacuum", "1"], ["vacuum"]),
    (["slab", "LiF", "--thickness", "nan"], ["thick"]),
    (["particle", "LLZO"], ["--radius", "--atoms"]),
    (["particle", "LLZO", "--radius", "-3"], ["--radius"]),
    (["particle", "LLZO", "--radius", "1e9"], ["--radius"]),
    (["particle", "LLZO", "--atoms", "2"], ["--atoms"]),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=lambda value: "_".join(value)[:40])
def test_mistakes_are_one_line_and_leave_nothing(capsys, words, said):
    cif("own.cif", "Li1 Li 0 0 0 1", "F1 F 0.5 0.5 0.5 1")
    cif("over.cif", "Li1 Li 0 0 0 1", "F1 F 0.05 0 0 1")
    cif("nofull.cif", "Li1 Li 0 0 0 0.5", "F1 F 0.5 0.5 0.5 0.5")
    cif("charged.cif", "Li1 Li 0 0 0 1", "F1 F 0.5 0.5 0.5 0.7")
    cif("H.cif", "H1 H 0 0 0 1", "F1 F 0.5 0.5 0.5 1")
    before = sorted(Path().iterdir())
    code, out, err = run(capsys, "build", words[0], words[1], *QUICK, *words[2:], "-o", "out")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith("error: ") and "Traceback" not in err
    for word in said:
        assert word in err
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(("out", "word"), [("x.foo", ".foo"), ("x.cif", "cell")])
def test_files_without_a_writer(capsys, out, word):
    code, _, err = run(capsys, "build", "particle", "LLZO", "--atoms", "100", *QUICK, "-o", out)
    assert code == 2 and word in err and err.count("\n") == 1 and not list(Path().iterdir())


def test_a_negative_seed(capsys):
    code, _, err = run(capsys, "build", "crystal", "LLZO", *QUICK, "--seed", "-1", "-o", "out")
    assert code == 2 and err.count("\n") == 1 and not list(Path().iterdir())


def test_a_calculator_that_cannot_do_the_element(capsys):
    code, _, err = run(capsys, "build", "crystal", "LiF", *QUICK, "--rerank", "emt", "-o", "out")
    assert code == 1 and err.count("\n") == 1
    assert "EMT" in Path("out/scf-failure.log").read_text()  # what the calculator said


def test_a_dot_in_the_name_of_a_file(capsys):
    cif("lif_v1.5.cif", "Li1 Li 0 0 0 1", "F1 F 0.5 0.5 0.5 1")
    code, _, err = run(capsys, "build", "crystal", "lif_v1.5.cif", *QUICK, "--no-picture")
    assert (code, err) == (0, "")


def test_ranking_again_is_stored(capsys, monkeypatch):
    words = ["build", "crystal", "LiF", "--rerank", "lj", *QUICK, "--no-picture", "-o"]
    assert run(capsys, *words, "one")[0] == 0
    calls = []
    from ase.calculators.lj import LennardJones

    real = LennardJones.calculate
    monkeypatch.setattr(LennardJones, "calculate", lambda self, *a, **k: (calls.append(1), real(self, *a, **k)))
    assert run(capsys, *words, "two")[0] == 0
    assert not calls


def test_the_picture_is_a_png_of_its_own(capsys):
    from atomflow.build import order
    from atomflow.report.pictures import picture

    atoms = order("LiF", seeds=1).models[0].atoms
    before = atoms.copy()
    check_picture(io.BytesIO(picture(atoms, "LiF")))
    assert atoms == before
