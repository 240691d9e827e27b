import json

import numpy as np
import pytest

from atomflow.errors import BadOptionError
from atomflow.trajectory import Clock
from atomflow.trajectory.beside import look_beside
from atomflow.trajectory.clock import find_clock


def codes(notices):
    return [notice.code for notice in notices]


# -- what the user and the file say ------------------------------------------------------------------------------------


def test_dt_is_the_spacing():
    clock, notices = find_clock(4, dt_ps=2.5)
    np.testing.assert_array_equal(clock.times_ps, [0, 2.5, 5, 7.5])
    assert (clock.source, clock.spacing_ps, notices) == ("--dt", 2.5, ())


def test_timestep_multiplies_the_step_numbers():
    clock, notices = find_clock(3, steps=[5000, 6000, 7000], timestep_ps=0.002)
    np.testing.assert_allclose(clock.times_ps, [0, 2, 4])
    assert (clock.source, notices) == ("--timestep", ())
    assert clock.spacing_ps == pytest.approx(2.0)


@pytest.mark.parametrize("given", [{"timestep_ps": 0.001}, {"dt_ps": 1.0}, {"file_times_ps": [0, 1, 2, 5, 6, 7.0]}])
def test_gaps_are_honoured_and_told(given):
    clock, notices = find_clock(6, steps=[0, 1000, 2000, 5000, 6000, 7000], **given)
    np.testing.assert_allclose(clock.times_ps, [0, 1, 2, 5, 6, 7])
    assert clock.spacing_ps is None
    assert codes(notices) == ["missing-frames"]
    assert "2 frames are missing, in 1 gap (the first after frame 2)" in notices[0].text


def test_duplicated_frames_have_the_time_of_the_one_before():
    clock, notices = find_clock(6, steps=[0, 10, 20, 20, 30, 40], timestep_ps=0.1)
    np.testing.assert_allclose(clock.times_ps, [0, 1, 2, 2, 3, 4])
    assert codes(notices) == ["duplicate-frames"]
    assert "1 frame repeats the step number of the one before (the first is frame 3)" in notices[0].text


def test_joined_runs_that_start_again_follow_each_other():
    clock, notices = find_clock(6, steps=[0, 10, 20, 0, 10, 20], timestep_ps=0.1)
    np.testing.assert_allclose(clock.times_ps, [0, 1, 2, 3, 4, 5])
    assert codes(notices) == ["steps-go-back"]


def test_uneven_frames_keep_their_times():
    clock, notices = find_clock(5, steps=[0, 100, 200, 250, 350], timestep_ps=0.01)
    np.testing.assert_allclose(clock.times_ps, [0, 1, 2, 2.5, 3.5])
    assert codes(notices) == ["uneven-frames"]


def test_times_of_the_file():
    clock, notices = find_clock(4, file_times_ps=[100.0, 100.5, 101.0, 101.5])
    np.testing.assert_allclose(clock.times_ps, [0, 0.5, 1, 1.5])
    assert (clock.source, clock.spacing_ps, notices) == ("the file", 0.5, ())


def test_single_precision_times_far_from_zero_are_even():
    # An xtc at one microsecond: times are rounded to 0.0625 ps.
    times = (1e6 + 0.2 * np.arange(2000)).astype(np.float32)
    assert np.ptp(np.diff(times)) > 0.05
    clock, notices = find_clock(2000, file_times_ps=times)
    assert clock.spacing_ps == pytest.approx(0.2, rel=1e-3)
    assert notices == ()
    # A missing frame is seen all the same where rounding allows.
    times = np.delete(1e6 + np.arange(2000), 700).astype(np.float32)
    clock, notices = find_clock(1999, file_times_ps=times)
    assert codes(notices) == ["missing-frames"]
    assert clock.times_ps[-1] == pytest.approx(1999)


@pytest.mark.parametrize("times", [[0.0, 0, 0], [7.0, 7, 7], [0, np.nan, 1], [np.inf, 1, 2]])
def test_times_that_say_nothing_are_no_clock(times):
    clock, notices = find_clock(3, file_times_ps=times)
    assert clock.times_ps is None
    assert clock.spacing_ps is None
    assert codes(notices) == ["no-clock"]
    assert "--dt" in notices[0].text


def test_nothing_known_is_no_clock_and_gaps_are_still_told():
    clock, notices = find_clock(4, steps=[0, 10, 30, 40])
    assert (clock.times_ps, clock.source) == (None, "unknown")
    assert codes(notices) == ["missing-frames", "no-clock"]


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_a_spacing_must_be_above_zero(value):
    with pytest.raises(BadOptionError, match=r"frame spacing \(--dt\) of .* above zero"):
        find_clock(3, dt_ps=value)
    with pytest.raises(BadOptionError, match=r"time step \(--timestep\) of .* above zero"):
        find_clock(3, steps=[0, 1, 2], timestep_ps=value)


def test_options_that_do_not_fit():
    with pytest.raises(BadOptionError, match="both given"):
        find_clock(3, dt_ps=1.0, timestep_ps=0.001, steps=[0, 1, 2])
    for steps in (None, [0, 0, 0]):
        with pytest.raises(BadOptionError, match=r"no step numbers that grow.*--dt"):
            find_clock(3, steps=steps, timestep_ps=0.001)


def test_dt_against_the_file_is_used_and_doubted():
    clock, notices = find_clock(3, file_times_ps=[0, 1.0, 2.0], dt_ps=10.0)
    np.testing.assert_allclose(clock.times_ps, [0, 10, 20])
    assert codes(notices) == ["clock-doubt"]
    assert "factor of 10" in notices[0].text


@pytest.mark.parametrize("n_frames", [0, 1])
def test_one_frame_needs_no_clock(n_frames):
    clock, notices = find_clock(n_frames, steps=[0] * n_frames)
    assert len(clock.times_ps) == n_frames
    assert clock.spacing_ps is None
    assert notices == ()


def test_a_clock_that_stands_still_has_no_spacing():
    assert Clock(np.zeros(5), "x").spacing_ps is None


# -- beside the file ---------------------------------------------------------------------------------------------------

SCRIPT = """
# production
units {units}
variable dt equal 2.0
timestep ${{dt}}
dump 1 all custom 500 {dump} id type xu yu zu
run 100000
"""


def test_a_lammps_input_with_a_variable(tmp_path):
    (tmp_path / "in.run").write_text(SCRIPT.format(units="real", dump="traj.lammpstrj"))
    clock, notices = find_clock(3, steps=[0, 500, 1000], near=tmp_path / "traj.lammpstrj")
    np.testing.assert_allclose(clock.times_ps, [0, 1, 2])
    assert clock.source == "timestep 2 (units real) in in.run"
    assert codes(notices) == ["clock-found"]


def test_without_step_numbers_the_dump_interval_decides(tmp_path):
    (tmp_path / "run.in").write_text(SCRIPT.format(units="metal", dump="${out}/traj.dcd"))
    clock, _ = find_clock(3, near=tmp_path / "traj.dcd")
    np.testing.assert_allclose(clock.times_ps, [0, 1000, 2000])


def test_a_log_with_the_setting_up_lines(tmp_path):
    (tmp_path / "log.lammps").write_text(
        "LAMMPS (2 Aug 2023)\nunits real\ntimestep ${dt}\ntimestep 1\nSetting up Verlet run ...\n  Unit style    : real\n"
        "  Current step  : 0\n  Time step     : 1\nrun 1000\n"
    )
    clock, _ = find_clock(3, steps=[0, 2000, 4000], near=tmp_path / "dump.lammpstrj")
    np.testing.assert_allclose(clock.times_ps, [0, 2, 4])
    assert "log.lammps" in clock.source


def test_the_default_time_step_of_a_unit_style_counts(tmp_path):
    (tmp_path / "in.run").write_text("units metal\nrun 100\n")
    clock, _ = find_clock(2, steps=[0, 1000], near=tmp_path / "a.dump")
    np.testing.assert_allclose(clock.times_ps, [0, 1])


def test_the_input_that_names_the_trajectory_wins(tmp_path):
    (tmp_path / "in.a_equilibration").write_text(SCRIPT.format(units="real", dump="equil.dump").replace("2.0", "0.5"))
    (tmp_path / "in.b_production").write_text(SCRIPT.format(units="real", dump="prod.dump"))
    clock, _ = find_clock(3, steps=[0, 500, 1000], near=tmp_path / "prod.dump")
    assert clock.spacing_ps == pytest.approx(1.0)


def test_an_input_that_only_names_other_trajectories_is_another_runs(tmp_path):
    (tmp_path / "in.run").write_text(SCRIPT.format(units="real", dump="equil.dump"))
    assert find_clock(3, steps=[0, 500, 1000], near=tmp_path / "prod.dump")[0].times_ps is None
    for name in ("equil.dump", "equil.dump.gz"):
        assert find_clock(3, steps=[0, 500, 1000], near=tmp_path / name)[0].spacing_ps == pytest.approx(1.0)


def test_the_time_step_of_the_run_that_was_dumped(tmp_path):
    (tmp_path / "in.all").write_text(
        "units real\ntimestep 0.5\nrun 1000\nreset_timestep 0\ntimestep 2\n"
        "dump d all custom 100 prod.dump id x y z\nrun 5000\nundump d\ntimestep 4\nrun 10\n"
    )
    clock, _ = find_clock(2, steps=[0, 100], near=tmp_path / "prod.dump")
    assert clock.spacing_ps == pytest.approx(0.2)


def test_contradicting_inputs_are_no_clock(tmp_path):
    (tmp_path / "in.one").write_text("units real\ntimestep 1\nrun 10\n")
    (tmp_path / "in.two").write_text("units real\ntimestep 2\nrun 10\n")
    clock, notices = find_clock(2, steps=[0, 1000], near=tmp_path / "a.dump")
    assert clock.times_ps is None
    assert codes(notices) == ["no-clock"]
    assert "in.one means 1 ps" in notices[0].text.replace("timestep 1 (units real) in ", "")
    assert "2 ps" in notices[0].text


@pytest.mark.parametrize(
    "text", ["units lj\ntimestep 0.005\nrun 10\n", "units real\nfix 1 all dt/reset 1 0.1 1 0.1\nrun 9\n"]
)
def test_reduced_units_and_adaptive_steps_give_no_picoseconds(tmp_path, text):
    (tmp_path / "in.run").write_text(text)
    assert find_clock(2, steps=[0, 10], near=tmp_path / "a.dump")[0].times_ps is None


def test_md_json_comes_first(tmp_path):
    (tmp_path / "md.json").write_text(json.dumps({"frame_spacing_ps": 0.25}))
    (tmp_path / "in.run").write_text("units real\ntimestep 1\nrun 10\n")
    clock, _ = find_clock(3, steps=[0, 1000, 2000], near=tmp_path / "traj.dcd")
    np.testing.assert_allclose(clock.times_ps, [0, 0.25, 0.5])
    assert "md.json" in clock.source
    assert look_beside(tmp_path) == look_beside(tmp_path / "traj.dcd")
    (tmp_path / "md.json").write_text(json.dumps({"frame_spacing_ps": 0.25, "trajectory": "other.dcd"}))
    clock, _ = find_clock(3, steps=[0, 1000, 2000], near=tmp_path / "traj.dcd")
    assert clock.spacing_ps == pytest.approx(1.0)


@pytest.mark.parametrize(("suffix", "spacing"), [(".xtc", 10.0), (".trr", 50.0)])
def test_gromacs_options(tmp_path, suffix, spacing):
    (tmp_path / "md.mdp").write_text(
        "; run\nintegrator = md\ndt = 0.002 ; ps\nnstxout = 25000\nnstxout_compressed = 5000\n"
    )
    clock, _ = find_clock(3, near=tmp_path / f"md{suffix}")
    assert clock.spacing_ps == pytest.approx(spacing)


def test_vasp_options(tmp_path):
    (tmp_path / "INCAR").write_text("IBRION = 0\nPOTIM = 1.5 ! fs\nNBLOCK = 10\n")
    assert find_clock(3, near=tmp_path / "XDATCAR")[0].spacing_ps == pytest.approx(0.015)
    (tmp_path / "INCAR").write_text("IBRION = 2\nPOTIM = 0.5\n")
    assert find_clock(3, near=tmp_path / "XDATCAR")[0].times_ps is None


def test_a_header_that_an_input_contradicts_is_doubted(tmp_path):
    # A dcd of LAMMPS has its own units in the header: readers that expect CHARMM's are wrong by 48.9.
    (tmp_path / "in.run").write_text(SCRIPT.format(units="real", dump="traj.dcd"))
    clock, notices = find_clock(3, file_times_ps=[0, 48.88821, 2 * 48.88821], near=tmp_path / "traj.dcd")
    assert clock.source == "the file"
    assert codes(notices) == ["clock-doubt"]
    assert "48.89" in notices[0].text
    agreed, notices = find_clock(3, file_times_ps=[0, 1.0, 2.0], near=tmp_path / "traj.dcd")
    assert (agreed.spacing_ps, notices) == (1.0, ())


@pytest.mark.parametrize(
    "content",
    [
        b"\x00" * 1000,
        b"timestep\nunits\ndump\nvariable\nrun\n",
        b"\xff\xfe\xfa" * 99,
        b"units real\ntimestep 0\nrun 1",
        b"{" * 9999,
    ],
)
def test_nonsense_beside_the_file_is_ignored(tmp_path, content):
    for name in ("log.lammps", "in.run", "md.json", "x.mdp", "INCAR"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "dir.log").mkdir()
    for name in ("a.dump", "a.xtc", "XDATCAR"):
        clock, notices = find_clock(2, steps=[0, 10], near=tmp_path / name)
        assert clock.times_ps is None or content.startswith(b"units real")
        assert notices


def test_a_folder_that_is_not_there(tmp_path):
    assert look_beside(tmp_path / "nowhere" / "a.dump") == ()
