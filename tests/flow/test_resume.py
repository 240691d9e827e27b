"""Stopped in the middle, the same command goes on from what is finished and agrees with an undisturbed run."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("tblite")
pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-c", "from atomflow.cli import main; main()", "run", "cation-anchor", "--calculator", "xtb"]
COMMAND += ["--ions", "Li+", "--ions", "Na+", "--ions", "K+", "--jobs", "1", "--quiet", "--out"]


def store_of(out):
    return out.with_name(out.name + "-store")


def finished(out):
    return [path for path in store_of(out).glob("*/*/entry.json") if path.parent.suffix != ".part"]


def start(out):
    return subprocess.Popen(
        [*COMMAND, str(out), "--store", str(store_of(out))],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def energies(out):
    return {
        r["ion"]: r["binding_energy_eV"] for r in json.loads((out / "result.json").read_text())["results"]["binding"]
    }


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_study_goes_on(tmp_path, blow):
    assert start(tmp_path / "whole").wait() == 0
    out = tmp_path / "stopped"
    running = start(out)
    while running.poll() is None and len(finished(out)) < 3:
        time.sleep(0.01)
    running.send_signal(blow)
    said = running.communicate()[1]
    assert not (out / "result.json").exists(), "the study was over before it could be stopped"
    assert running.returncode == (130 if blow == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in said
    kept = {path: path.stat().st_mtime_ns for path in finished(out)}
    assert len(kept) >= 3
    assert start(out).wait() == 0
    assert energies(out) == pytest.approx(energies(tmp_path / "whole"), abs=1e-6)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
