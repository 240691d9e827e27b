"""Runs of MD by real LAMMPS that are killed, stopped, damaged, and go on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import MDAnalysis as mda
import numpy as np
import pytest

from atomflow.build import build_box, find_recipe
from atomflow.dynamics import (
    BusyError,
    DynamicsError,
    Limits,
    engine_input,
    find_protocol,
    push_off,
    resume_md,
    run_md,
)
from atomflow.dynamics.restarts import is_whole, newest, states
from atomflow.errors import BadFileError, BadOptionError, MissingProgramError, OutputError
from atomflow.forcefield import parametrise
from atomflow.lammps import find_lammps, frame_spans

STEP_FS = 2.0


@pytest.fixture(scope="module")
def liquid():
    """Twenty molecules of DMF, pushed off."""
    return push_off(parametrise(build_box(find_recipe("dmf"), atoms=240, seed=1).box), seed=1)


@pytest.fixture(scope="module")
def model(liquid):
    return engine_input(liquid, cutoff_A=7.0)


@pytest.fixture(scope="module")
def warm(model, tmp_path_factory):
    """A run at constant energy that stands before its production."""
    out = tmp_path_factory.mktemp("warm") / "run"
    protocol = find_protocol("none", temperature_K=298.15, longest_ps=0.4)
    run_md(model, protocol, out, time_ps=3.0, ensemble="nve", frame_spacing_ps=0.1, restart_spacing_ps=0.4,
           stop_after="warm")  # fmt: skip
    return out


@pytest.fixture
def begun(warm, tmp_path):
    return shutil.copytree(warm, tmp_path / "run")


@pytest.fixture(scope="module")
def undisturbed(warm, tmp_path_factory):
    out = shutil.copytree(warm, tmp_path_factory.mktemp("whole") / "run")
    return resume_md(out)


def driver(out, time_ps=None, ranks=1):
    """The same run in a process of its own."""
    code = f"from atomflow.dynamics import resume_md; resume_md({str(out)!r}, time_ps={time_ps}, ranks={ranks})"
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def production(out):
    return next((out / "stages").glob("*-production"))


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def restarts_of(out, many):
    def there():
        return len(list(out.glob("stages/*-production/state.*.restart"))) >= many

    return there


def lammps_in(out):
    """Processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink().is_relative_to(out):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def killed(process, out):
    """Kill the driver; its LAMMPS must end by itself, in the middle of the run."""
    assert lammps_in(out)
    process.kill()
    process.wait()
    wait_for(lambda: not lammps_in(out), 10)
    assert newest(production(out)).step < 1500, "it was killed too late to show anything"


def steps_of(out):
    if not (out / "production.xtc").is_file():
        return []
    return [frame.step for frame in frame_spans(out / "production.xtc")]


def test_a_run_leaves_what_analysis_needs(undisturbed):
    out = undisturbed.folder
    assert undisturbed.finished
    assert undisturbed.production_ps == pytest.approx(3.0)
    assert steps_of(out) == list(range(0, 1501, 50))
    universe = mda.Universe(str(out / "topology.data"), str(out / "production.xtc"), topology_format="DATA")
    assert len(universe.trajectory) == 31
    assert np.allclose([frame.time for frame in universe.trajectory], 0.1 * np.arange(31), atol=1e-6)
    table = undisturbed.thermo("production")
    assert np.allclose(np.diff(table["time_ps"]), 0.2)
    total = table["total_kcal_per_mol"]
    assert np.ptp(total) < 0.1 * np.ptp(table["kinetic_kcal_per_mol"])
    assert undisturbed.stages[-1].energy_drift_kcal_per_mol_atom_ns is not None
    assert not lammps_in(out)


def test_the_trajectory_is_unwrapped(undisturbed, liquid):
    universe = mda.Universe(
        str(undisturbed.folder / "topology.data"), str(undisturbed.folder / "production.xtc"), topology_format="DATA"
    )
    positions = []
    for _frame in universe.trajectory:
        assert universe.bonds.values().max() < 1.8
        positions.append(universe.atoms.positions.copy())
    # Half of the box would be 7 A.
    assert np.abs(np.diff(positions, axis=0)).max() < 3.5


@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_at_constant_energy_is_the_same_to_the_last_bit(begun, undisturbed, warm, tmp_path, ranks):
    """Driver killed by SIGKILL in the middle of production; the same command goes on."""
    whole = undisturbed if ranks == 1 else resume_md(shutil.copytree(warm, tmp_path / "whole"), ranks=ranks)
    process = driver(begun, ranks=ranks)
    wait_for(restarts_of(begun, 2))
    killed(process, begun)
    again = resume_md(begun, ranks=ranks)
    assert again.finished
    assert (begun / "production.xtc").read_bytes() == (whole.folder / "production.xtc").read_bytes()
    for column in ("total_kcal_per_mol", "pressure_atm"):
        assert np.array_equal(again.thermo("production")[column], whole.thermo("production")[column])
    assert again.stages[-1].attempts == 2


def test_no_time_behind_the_last_restart_file_is_done_twice(begun):
    process = driver(begun)
    wait_for(restarts_of(begun, 2))
    killed(process, begun)
    reached = newest(production(begun)).step
    resume_md(begun)
    second = (production(begun) / "attempt-002.in").read_text()
    assert f"read_restart state.{reached}.restart" in second


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_first(begun, number):
    process = driver(begun)
    wait_for(restarts_of(begun, 1))
    before = newest(production(begun)).step
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == -number or "KeyboardInterrupt" in said
    kept = newest(production(begun))
    assert kept.step > before or kept.step == 1500
    assert not lammps_in(begun)
    again = resume_md(begun)
    assert steps_of(begun) == list(range(0, 1501, 50))
    # Energy goes on where it was.
    total, first = again.thermo("production")["total_kcal_per_mol"], kept.step // 100 + 1
    assert abs(total[first] - total[first - 1]) < 2 * np.abs(np.diff(total)).mean() + 0.5
    assert again.finished


def test_a_torn_restart_file_is_passed_over(begun):
    process = driver(begun)
    wait_for(restarts_of(begun, 3))
    killed(process, begun)
    whole = [path for _step, path in states(production(begun)) if is_whole(path)]
    os.truncate(whole[0], whole[0].stat().st_size // 2)
    resume_md(begun)
    assert f"read_restart {whole[1].name}" in (production(begun) / "attempt-002.in").read_text()
    assert steps_of(begun) == list(range(0, 1501, 50))


def test_lost_frames_are_not_made_up(begun, undisturbed):
    """A finished trajectory cut short on the disk: what is left is not thrown away unless it is moved away."""
    resume_md(begun, time_ps=1.6)
    trajectory = begun / "production.xtc"
    os.truncate(trajectory, trajectory.stat().st_size * 2 // 3)
    with pytest.raises(BadFileError, match="move that file away"):
        resume_md(begun)
    trajectory.unlink()
    assert resume_md(begun, time_ps=3.0).finished
    assert trajectory.read_bytes() == (undisturbed.folder / "production.xtc").read_bytes()


def test_a_restart_file_of_another_past_is_never_taken(begun):
    """The end of a shorter run lies off the grid, so that no later file takes its name."""
    resume_md(begun, time_ps=1.1)
    assert newest(production(begun)).step == 550
    (begun / "production.xtc").unlink()
    process = driver(begun, time_ps=3.0)
    wait_for((production(begun) / "state.200.restart").is_file)
    killed(process, begun)
    assert 550 not in [step for step, _path in states(production(begun))]
    resume_md(begun, time_ps=3.0)
    assert steps_of(begun) == list(range(0, 1501, 50))


def test_a_damaged_end_goes_on_from_the_one_before(begun, undisturbed):
    resume_md(begun, time_ps=1.6)
    _newest, path = states(production(begun))[0]
    os.truncate(path, 1000)
    assert resume_md(begun, time_ps=3.0).finished
    assert (begun / "production.xtc").read_bytes() == (undisturbed.folder / "production.xtc").read_bytes()


def test_the_last_state_is_always_there(begun):
    resume_md(begun, time_ps=1.2)
    (begun / "final.data").unlink()
    (production(begun) / "stage.json").unlink()
    assert resume_md(begun).finished
    assert "Atoms" in (begun / "final.data").read_text()


@pytest.mark.parametrize(
    ("field", "value"),
    [("piece", 0), ("timestep_fs", 0), ("time_ps", "x"), ("frame_spacing_ps", None), ("trajectory", "../victim.txt")],
)
def test_a_folder_that_says_nonsense(warm, tmp_path, field, value):
    begun = shutil.copytree(warm, tmp_path / "run")
    about = json.loads((begun / "run.json").read_text())
    about["settings"][field] = value
    (begun / "run.json").write_text(json.dumps(about))
    with pytest.raises(BadFileError, match="damaged"):
        resume_md(begun)


def test_a_folder_that_would_run_a_shell(begun):
    about = json.loads((begun / "run.json").read_text())
    about["model"]["again"].append("shell touch here")
    (begun / "run.json").write_text(json.dumps(about))
    with pytest.raises(BadFileError, match="no run of ours"):
        resume_md(begun)


def test_a_lost_log_costs_no_result(begun):
    resume_md(begun, time_ps=0.8)
    resume_md(begun, time_ps=1.6)
    (production(begun) / "attempt-001.log").unlink()
    assert resume_md(begun, time_ps=3.0).finished
    assert len(list(production(begun).glob("attempt-*.log"))) == 2


def test_more_time_extends_the_same_trajectory(begun, undisturbed):
    short = resume_md(begun, time_ps=1.2)
    assert short.production_ps == pytest.approx(1.2)
    first = (begun / "production.xtc").read_bytes()
    longer = resume_md(begun, time_ps=3.0)
    assert longer.production_ps == pytest.approx(3.0)
    assert (begun / "production.xtc").read_bytes().startswith(first)
    assert steps_of(begun) == list(range(0, 1501, 50))
    assert (begun / "production.xtc").read_bytes() == (undisturbed.folder / "production.xtc").read_bytes()


def test_finished_again_does_nothing(undisturbed):
    stamp = (undisturbed.folder / "production.xtc").stat().st_mtime_ns
    began = time.perf_counter()
    assert resume_md(undisturbed.folder).finished
    assert time.perf_counter() - began < 5
    assert (undisturbed.folder / "production.xtc").stat().st_mtime_ns == stamp


def test_it_stops_when_its_time_is_over(begun):
    result = resume_md(begun, time_ps=50.0, stop_at=time.time() + 3)
    assert not result.finished
    assert 0 < result.production_ps < 50


def test_other_options_in_the_same_folder(model, warm):
    protocol = find_protocol("none", temperature_K=310.0, longest_ps=0.4)
    with pytest.raises(BadOptionError, match=r"temperature_K 298\.15|stages"):
        run_md(model, protocol, warm, time_ps=3.0, temperature_K=310.0, ensemble="nve", frame_spacing_ps=0.1)


def test_two_at_once(begun):
    process = driver(begun, time_ps=200.0)
    wait_for(restarts_of(begun, 1))
    with pytest.raises(BusyError, match="another process"):
        resume_md(begun)
    process.terminate()
    process.communicate(timeout=60)


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(BadFileError, match="holds no MD run"):
        resume_md(tmp_path)


def test_constant_pressure_then_the_mean_volume(model, tmp_path):
    protocol = find_protocol("quick", temperature_K=298.15, longest_ps=4.0)
    result = run_md(model, protocol, tmp_path / "run", time_ps=0.4, frame_spacing_ps=0.1)
    *_, settled, _size, made = result.stages
    assert settled.ensemble == "npt"
    assert made.density_g_cm3 == pytest.approx(settled.density_g_cm3, rel=1e-4)
    assert "not-equilibrated" in {one.code for one in result.warnings}
    assert result.equilibrated is False
    # Nothing is left of the push that the soft stage gives the box as a whole, some 0.3 A in this time.
    run = mda.Universe(str(tmp_path / "run/topology.data"), str(tmp_path / "run/production.xtc"))
    places = [run.atoms.center_of_mass() for _frame in run.trajectory]
    np.testing.assert_allclose(places, places[0][None].repeat(len(places), axis=0), atol=5e-3)


# ---- faults


def test_atoms_on_top_of_each_other(liquid, tmp_path):
    positions = liquid.box.positions_A.copy()
    positions[12:24] = positions[:12]
    clash = engine_input(liquid.moved(positions), cutoff_A=7.0)
    protocol = replace(
        find_protocol("none", temperature_K=298.15), stages=find_protocol("none", temperature_K=298.15).stages[1:]
    )
    with pytest.raises(DynamicsError, match=r"overlap|too long") as caught:
        run_md(clash, protocol, tmp_path / "run", time_ps=1.0)
    assert caught.value.log_path.is_file()
    assert "of DMF" in str(caught.value)


def test_a_runaway_is_stopped_and_its_atoms_named(begun, model, tmp_path):
    protocol = find_protocol("none", temperature_K=298.15, longest_ps=0.4)
    with pytest.raises(DynamicsError, match=r"time step is too long|run away") as caught:
        run_md(model, protocol, tmp_path / "hot", time_ps=20.0, timestep_fs=8.0, frame_spacing_ps=0.08)
    assert caught.value.cause in ("lost-atoms", "not-finite", "too-hot", "pressure")
    assert "\n" not in str(caught.value)


def test_a_missing_number_of_the_force_field(model, tmp_path):
    start = model.data.index("Dihedral Coeffs")
    end = model.data.index("Atoms # full")
    broken = replace(model, data=model.data[:start] + model.data[end:])
    with pytest.raises(DynamicsError, match="force field is missing") as caught:
        run_md(broken, "none", tmp_path / "run", time_ps=1.0)
    assert caught.value.cause == "force-field"


def test_no_lammps(model, tmp_path):
    with pytest.raises(MissingProgramError, match=r"lammps\[mpi\]"):
        run_md(model, "none", tmp_path / "run", time_ps=1.0, program="no-such-lmp")


def test_the_mpirun_of_another_mpi(model, tmp_path):
    """It starts so many processes that do not know of each other, each a run of one rank."""
    foreign = tmp_path / "mpirun"
    foreign.write_text('#!/bin/sh\nshift 2\n"$@" &\n"$@"\nwait\n')
    foreign.chmod(0o755)
    with pytest.raises(DynamicsError, match="another MPI") as caught:
        run_md(model, "none", tmp_path / "run", time_ps=5.0, ranks=2,
               program=replace(find_lammps(), mpirun=foreign))  # fmt: skip
    assert caught.value.cause == "launcher"


def test_an_mpirun_that_lammps_does_not_know(model, tmp_path):
    """The words of Open MPI's mpirun with LAMMPS of MPICH, as seen with the real one."""
    foreign = tmp_path / "mpirun"
    foreign.write_text(
        "#!/bin/sh\necho 'check_MPIR_CVAR_PMI_VERSION(167):  Runtime environment uses unsupported PMI version PMIx.'\n"
        "echo '----------'\nexit 16\n"
    )
    foreign.chmod(0o755)
    with pytest.raises(DynamicsError, match="different MPI libraries") as caught:
        run_md(model, "none", tmp_path / "run", time_ps=5.0, ranks=2, launcher=(str(foreign), "-n", "{ranks}"))
    assert caught.value.cause == "launcher"


def test_a_full_disk(begun, small_disk):
    """What is on the disk stays; with more room the same command goes on."""
    subprocess.run(["mount", "-o", "remount,size=1600k", small_disk], check=True)
    out = shutil.copytree(begun, small_disk / "run")
    with pytest.raises(OutputError, match="disk"):
        resume_md(out, time_ps=40.0)
    kept = steps_of(out)
    assert kept == list(range(0, 50 * len(kept), 50))
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    result = resume_md(out, time_ps=max(3.0, len(kept) * 0.1 + 0.5))
    assert result.finished
    done = steps_of(out)
    assert done == list(range(0, 50 * len(done), 50))


def test_a_process_that_stands_still(begun):
    def freeze(_progress):
        for process in lammps_in(begun):
            os.kill(process, signal.SIGSTOP)

    with pytest.raises(DynamicsError, match="written nothing") as caught:
        resume_md(begun, time_ps=100.0, tell=freeze, limits=Limits(stalled_s=2.0))
    assert caught.value.cause == "stalled"
    assert not lammps_in(begun)


def test_an_older_lammps_without_xtc_writes_text(model, tmp_path):
    lmp = find_lammps()
    poor = replace(lmp, packages=lmp.packages - {"EXTRA-DUMP", "OPT"})
    protocol = find_protocol("none", temperature_K=298.15, longest_ps=0.2)
    result = run_md(
        model, protocol, tmp_path / "run", time_ps=0.8, frame_spacing_ps=0.1, restart_spacing_ps=0.2, program=poor
    )
    assert result.trajectory == "production.lammpstrj"
    assert [one.step for one in frame_spans(tmp_path / "run" / result.trajectory)] == list(range(0, 401, 50))
