"""Estimates of time, disk and precision, held against measurements, LAMMPS itself and simulated walks."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from atomflow.analysis.covariance import Run, covariance_parts
from atomflow.analysis.line_fit import _gls_weights
from atomflow.analysis.motion import ladder
from atomflow.dynamics import estimate_md, find_protocol
from atomflow.dynamics.estimating import FEWEST_ONSETS, LINE_FIT_FACTOR
from atomflow.dynamics.protocols import Protocol, Stage
from atomflow.errors import BadFileError, BadOptionError, UnknownNameError

EMPTY = Protocol("nothing", "nothing", "nobody", "assumed", (), ())


def estimated(atoms=1694, protocol=EMPTY, **changes):
    usual = {
        "time_ps": 1000.0, "timestep_fs": 1.0, "frame_spacing_ps": 1.0, "ranks": 2, "carriers": 20, "cutoff_A": 10.0,
    }  # fmt: skip
    return estimate_md(atoms, protocol, **(usual | changes))


@pytest.mark.parametrize(("atoms", "measured"), [(1694, 22.5), (5082, 8.1), (13552, 3.1)])
def test_the_measured_boxes_have_their_measured_speed(atoms, measured):
    assert estimated(atoms).ns_per_day == pytest.approx(measured)
    assert estimated(atoms, timestep_fs=2.0).ns_per_day == pytest.approx(2 * measured)


def test_between_and_beyond_the_measured_boxes_speed_falls_with_size():
    sizes = (200, 1694, 3000, 5082, 9000, 13552, 60000)
    speeds = [estimated(atoms).ns_per_day for atoms in sizes]
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[-1] == pytest.approx(3.1 * 13552 / 60000, rel=0.02)
    # A small box is slower than its atoms alone: every step has a cost of its own.
    assert 0.5 < speeds[0] / (22.5 * 1694 / 200) < 0.9
    assert any("beyond these sizes" in text for text in estimated(60000).assumptions)
    assert not any("beyond these sizes" in text for text in estimated(3000).assumptions)


def test_time_and_core_hours_by_hand_from_a_speed_measured_before():
    stages = (
        Stage("a", "", "soft", time_ps=10.0, timestep_fs=0.5),
        Stage("b", "", "npt", time_ps=90.0),
    )
    one = estimated(protocol=replace(EMPTY, stages=stages), time_ps=900.0, timestep_fs=2.0, ns_per_day=10.0, ranks=4)
    # 10 ns/day at 2 fs are 5,000,000 steps a day; 20,000 + 45,000 + 450,000 steps are wanted.
    assert one.wall_s == pytest.approx(515_000 / 5_000_000 * 86_400)
    assert one.core_hours == pytest.approx(one.wall_s * 4 / 3600)
    assert one.ns_per_day == pytest.approx(10.0)
    assert "measured before" in one.assumptions[0]
    assert "assumed" not in one.assumptions[0]


def test_a_minimisation_costs_something_but_no_time_of_its_own():
    stage = Stage("down", "", "minimise")
    dear = estimated(protocol=replace(EMPTY, stages=(stage,))).wall_s
    assert estimated().wall_s < dear < 1.05 * estimated().wall_s


def test_a_real_protocol_adds_its_time():
    protocol = find_protocol("polymer-full", temperature_K=300.0)
    with_it, without = estimated(protocol=protocol).wall_s, estimated().wall_s
    assert with_it / without == pytest.approx((1000 + protocol.time_ps) / 1000, rel=0.01)


def test_a_longer_cutoff_is_slower_as_was_measured_and_said():
    usual, longer = estimated(), estimated(cutoff_A=12.0)
    assert usual.ns_per_day / longer.ns_per_day == pytest.approx(1.42, abs=0.02)
    assert any("cutoff's cube" in text for text in longer.assumptions)
    assert not any("cutoff's cube" in text for text in usual.assumptions)


def test_more_processes_are_faster_but_not_for_free_and_that_is_said():
    speeds = [estimated(ranks=ranks).ns_per_day for ranks in (1, 2, 4, 8, 16)]
    assert speeds == sorted(speeds)
    assert speeds[1] == pytest.approx(2 * speeds[0])
    assert all(later < 2 * earlier for earlier, later in itertools.pairwise(speeds[1:]))
    assert estimated(ranks=16).core_hours > estimated(ranks=1).core_hours
    assert "half as efficient" in estimated(ranks=4).assumptions[0]
    assert "half as efficient" not in estimated(ranks=2).assumptions[0]
    assert "in proportion to the processes" in estimated(ranks=1).assumptions[0]


def test_frames_count_the_first_and_disk_grows_with_them():
    assert estimated(time_ps=100.0, frame_spacing_ps=1.0).frames == 101
    assert estimated(time_ps=0.3, frame_spacing_ps=0.1).frames == 4
    assert estimated(time_ps=0.0).frames == 1
    few, many = estimated(time_ps=100.0), estimated(time_ps=1100.0)
    assert (many.disk_MB - few.disk_MB) * 1e6 / (1000 * 1694) == pytest.approx(5.3)
    stage = Stage("b", "", "npt", time_ps=90.0)
    assert estimated(protocol=replace(EMPTY, stages=(stage,) * 10)).disk_MB > estimated().disk_MB


def test_the_trajectory_of_lammps_is_as_large_as_estimated(tmp_path):
    """A box of DMF: what xtc at 0.001 A takes does not depend on how its molecules move."""
    from atomflow.build import box
    from atomflow.forcefield import data_text, lammps_settings, parametrise
    from atomflow.lammps import run_lammps

    system = parametrise(box("dmf", atoms=600, seed=3))
    (tmp_path / "dmf.data").write_text(data_text(system))
    lines = [*lammps_settings(system, "dmf.data", cutoff_A=8.0, kspace_accuracy=1e-4)]
    lines += ["minimize 1e-4 1e-4 50 500", "reset_timestep 0", "velocity all create 300 1", "fix m all nve/limit 0.05"]
    lines += [
        "dump x all xtc 10 d.xtc",
        "dump_modify x unwrap yes precision 10000",
        "run 100",
        "write_restart e.restart",
    ]
    run_lammps("\n".join(lines) + "\n", tmp_path, ranks=1, name="d")
    atoms = len(system)
    per_atom = (tmp_path / "d.xtc").stat().st_size / (11 * atoms)
    assert per_atom == pytest.approx(5.3, rel=0.1)
    assert (tmp_path / "e.restart").stat().st_size / atoms == pytest.approx(260, rel=0.3)
    assert (tmp_path / "dmf.data").stat().st_size / atoms == pytest.approx(160, rel=0.3)


def line_weights(first, frames, particles):
    """Weights of a line from ``first`` to eight times that, as the analysis fits it, and its variance at slope 1."""
    lags = ladder(8 * first)
    lags = lags[(lags >= first) & (lags <= 0.6 * frames)]
    design = np.stack([np.ones(len(lags)), lags], axis=1)
    covariance, _, _ = covariance_parts(lags, np.zeros(first + 1), [Run(particles, frames)], 3.0)
    weights = _gls_weights(design, covariance)[1]
    return lags, weights, float(weights @ covariance @ weights)


@pytest.mark.parametrize("onsets", [10, 20, 50, 200, 1000])
def test_precision_is_that_of_the_fit_that_the_analysis_makes(onsets):
    first, particles = 8, 30
    _, _, variance = line_weights(first, onsets * first + 1, particles)
    expected = estimated(time_ps=float(onsets), onset_ps=1.0, frame_spacing_ps=0.125, carriers=particles)
    assert expected.relative_precision_D == pytest.approx(math.sqrt(variance), rel=0.08)


def test_precision_is_the_scatter_of_simulated_walks():
    first, onsets, particles, walks = 8, 40, 12, 300
    frames = first * onsets + 1
    lags, weights, _ = line_weights(first, frames, particles)
    steps = np.random.default_rng(11).normal(size=(walks, frames - 1, particles * 3)) / math.sqrt(3)
    paths = np.concatenate([np.zeros((walks, 1, particles * 3)), np.cumsum(steps, axis=1)], axis=1)
    msd = np.stack([((paths[:, lag:] - paths[:, :-lag]) ** 2).mean(axis=1).sum(axis=1) / particles for lag in lags])
    slopes = weights @ msd
    assert slopes.mean() == pytest.approx(1.0, abs=0.03)
    expected = estimated(time_ps=float(onsets), onset_ps=1.0, frame_spacing_ps=0.125, carriers=particles)
    # The scatter of 300 is known to 4 %.
    assert slopes.std(ddof=1) == pytest.approx(expected.relative_precision_D, rel=0.15)


def test_four_times_the_carriers_or_the_time_halve_the_error():
    one = estimated(time_ps=20_000.0, carriers=10).relative_precision_D
    assert estimated(time_ps=20_000.0, carriers=40).relative_precision_D == pytest.approx(one / 2)
    assert estimated(time_ps=80_000.0, carriers=10).relative_precision_D == pytest.approx(one / 2)


def test_the_number_by_hand():
    found = estimated(time_ps=30_000.0, carriers=20, onset_ps=500.0).relative_precision_D
    assert found == pytest.approx(LINE_FIT_FACTOR * math.sqrt(2 * 500 / (3 * 20 * 30_000)))


def test_a_run_too_short_for_diffusion_gives_no_number_and_says_what_it_needs():
    short = estimated(time_ps=300.0)
    assert short.relative_precision_D is None
    assert "300 ps" in short.assumptions[-1]
    assert "at least 10000 ps" in short.assumptions[-1]
    assert estimated(time_ps=10_000.0).relative_precision_D is not None
    assert estimated(time_ps=300.0, onset_ps=300.0 / FEWEST_ONSETS).relative_precision_D is not None
    assert "given" in estimated(time_ps=300.0, onset_ps=10.0).assumptions[-1]


def test_frames_farther_apart_than_the_onset_count_as_the_onset():
    fine, coarse = (estimated(time_ps=1e5, onset_ps=10.0, frame_spacing_ps=s) for s in (1.0, 1000.0))
    assert coarse.relative_precision_D == pytest.approx(10 * fine.relative_precision_D)


def test_without_carriers_there_is_no_precision():
    none = estimated(time_ps=1e5, carriers=0)
    assert none.relative_precision_D is None
    assert none.assumptions[-1] == "precision of D: no carriers"


@pytest.mark.parametrize(
    ("changes", "needle"),
    [
        ({"atoms": 0}, "atoms must be at least 1"),
        ({"ranks": 0}, "ranks must be at least 1"),
        ({"timestep_fs": 0.0}, "timestep_fs must be above zero"),
        ({"timestep_fs": float("nan")}, "timestep_fs must be above zero"),
        ({"frame_spacing_ps": -1.0}, "frame_spacing_ps must be above zero"),
        ({"cutoff_A": float("inf")}, "cutoff_A must be above zero"),
        ({"ns_per_day": 0.0}, "ns_per_day must be above zero"),
        ({"onset_ps": -1.0}, "onset_ps must be above zero"),
        ({"carriers": -1}, "must not be below zero"),
        ({"time_ps": float("nan")}, "must not be below zero"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(changes, needle):
    with pytest.raises(BadOptionError, match=needle):
        estimated(**changes)


FILE = """
name: {name}
speeds: {{points: {points}, timestep_fs: 1.0, cutoff_A: 10.0, ranks: 8, source: me, grade: fitted}}
pair_share: {{value: {share}, source: me, grade: assumed}}
half_efficient_atoms_per_rank: {{value: 100, source: me, grade: assumed}}
minimise_evaluations: {{value: 10, source: me, grade: assumed}}
bytes_per_atom_and_frame: {{value: 4, source: me, grade: assumed}}
bytes_per_atom_of_restart: {{value: 100, source: me, grade: assumed}}
bytes_per_atom_of_topology: {{value: 100, source: me, grade: assumed}}
onset_ps: {{value: 5, source: me, grade: assumed}}
"""


def file_with(name="lammps", points="[{atoms: 1000, ns_per_day: 400}]", share=0.5):
    return FILE.format(name=name, points=points, share=share)


def test_speeds_of_ones_own_machine_take_the_place_of_ours(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(file_with())
    assert estimated(1000, ranks=8, folders=[tmp_path]).ns_per_day == pytest.approx(400)
    monkeypatch.setenv("ATOMFLOW_ESTIMATES_PATH", str(tmp_path))
    mine = estimated(1000, ranks=8, time_ps=50.0)
    assert mine.ns_per_day == pytest.approx(400)
    assert mine.relative_precision_D is not None


def test_an_unknown_machine_is_told(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean lammps"):
        estimated(machine="lamps")


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        (file_with(points="[]"), "points of speeds must be one or more"),
        (file_with(points="[{atoms: 9, ns_per_day: 1}, {atoms: 5, ns_per_day: 1}]"), "growing numbers of atoms"),
        (file_with(points="[{atoms: 9}]"), "missing key 'ns_per_day'"),
        (file_with(share=1.5), "pair_share must be a number between 0 and 1"),
        (file_with() + "speed: 3\n", "unknown key 'speed'"),
        ("name: lammps\n", "missing key 'speeds'"),
    ],
)
def test_a_wrong_file_of_speeds_is_told_in_one_line(tmp_path, text, needle):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(BadFileError) as caught:
        estimated(folders=[tmp_path])
    assert needle in str(caught.value)
    assert "\n" not in str(caught.value)
