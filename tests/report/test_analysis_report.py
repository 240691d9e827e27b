"""The report of an analysed trajectory: what it says is what was found, and it asks the network for nothing."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from atomflow.analysis import Wanted, analyse
from atomflow.report import write_outcome
from atomflow.report.analysis_report import analysis_outcome, lead
from atomflow.trajectory import open_trajectory

EDGE_A = 20.0
STEP_A = 0.25
SPACING_PS = 2.0
ABOUT = {"study": "analyze", "wall_time_s": 1.0, "inputs": {}, "command": "atomflow analyze walk.lammpstrj"}
WANTED = Wanted(
    species={"Li": "element Li", "Cl": "element Cl"},
    rdf=("Li:Cl", "Li:Li"),
    coordination={"Li:Cl": 4.0},
    shells={"Li": ("Cl",)},
    shell_cutoffs_A={"Li:Cl": 4.0},
    msd=("Li", "Cl"),
    charges_e={"Li": 1.0, "Cl": -1.0},
    drift="none",
    assumed=("Li: 20 x Li+",),
)


def walk(n_frames, dt_ps=SPACING_PS, seed=0, cage=False):
    rng = np.random.default_rng(seed)
    places = rng.random((40, 3)) * EDGE_A
    steps = rng.normal(0.0, STEP_A, (n_frames, 40, 3))
    positions = places + (steps if cage else np.cumsum(steps, axis=0))
    return open_trajectory(positions % EDGE_A, ["Li"] * 20 + ["Cl"] * 20, dt_ps=dt_ps, cell_A=[EDGE_A] * 3)


@pytest.fixture(scope="module")
def found():
    return analyse([walk(1000)], WANTED)


@pytest.fixture(scope="module")
def folder(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysis")
    write_outcome(analysis_outcome(found), folder, ABOUT)
    return folder


def tables(found):
    return {table.title: table for table in analysis_outcome(found).report.tables}


def test_tables_are_what_was_found(found):
    shown = tables(found)
    assert set(shown) == {
        "Diffusion", "Ionic conductivity", "Structure", "First shell of Li", "What it is made of, and what was assumed",
    }  # fmt: skip
    for row in shown["Diffusion"].rows:
        one = found.msd[row["species"]]
        assert row["diffusivity_1e-6_cm2_per_s"] == pytest.approx(1e6 * one.diffusivity_cm2_per_s)
        assert row["ci95_low_1e-6_cm2_per_s"] == pytest.approx(1e6 * one.diffusivity_ci95_cm2_per_s[0])
        assert row["ci95_high_1e-6_cm2_per_s"] == pytest.approx(1e6 * one.diffusivity_ci95_cm2_per_s[1])
        assert row["loglog_slope"] == one.loglog_slope and row["diffusive"] is True
    first, second = shown["Ionic conductivity"].rows
    assert first["conductivity_S_per_cm"] == found.conductivity.nernst_einstein_S_per_cm
    assert second["conductivity_S_per_cm"] == found.conductivity.einstein_helfand_S_per_cm
    assert second["ci95_low_S_per_cm"] == found.conductivity.einstein_helfand_ci95_S_per_cm[0]
    assert f"{found.conductivity.haven_ratio:.2f}" in shown["Ionic conductivity"].note
    pairs = {row["pair"]: row for row in shown["Structure"].rows}
    assert set(pairs) == {"Li:Cl", "Li:Li"}
    assert pairs["Li:Cl"]["coordination"] == found.coordination.pairs["Li:Cl"].mean
    assert pairs["Li:Li"]["coordination"] is None
    shells = shown["First shell of Li"].rows
    assert shells[0]["percent"] == pytest.approx(100 * found.shells["Li"].compositions[0].fraction)
    assert "Li: 20 x Li+" in [row["line"] for row in shown["What it is made of, and what was assumed"].rows]
    for table in shown.values():
        for row in table.rows:
            assert set(row) >= {column.key for column in table.columns}


def test_the_answer_gives_diffusivities_with_their_intervals(found):
    one = found.msd["Li"]
    low, high = (limit * 1e6 for limit in one.diffusivity_ci95_cm2_per_s)
    assert f"D(Li) = {one.diffusivity_cm2_per_s * 1e6:.2f} [{low:.2f}, {high:.2f}]e-6 cm²/s" in lead(found)
    assert f"Li:Cl {found.coordination.pairs['Li:Cl'].mean:.2f} within 4.00 Å" in lead(found)


def test_curves_are_what_was_found(found):
    charts = {chart.name: chart for chart in analysis_outcome(found).report.charts}
    assert set(charts) == {"msd", "rdf-Li"}
    curve = next(curve for curve in charts["msd"].curves if curve.label == "Li")
    one = found.msd["Li"]
    assert charts["msd"].log_x and charts["msd"].log_y and charts["msd"].xlabel == "Lag (ps)"
    lags = (np.asarray(curve.x) / SPACING_PS).round().astype(int)
    assert (np.asarray(curve.y) == one.msd_A2[lags]).all() and lags[-1] == 999
    dashed = [curve for curve in charts["msd"].curves if curve.dashed]
    assert len(dashed) == 2
    assert np.asarray(dashed[0].y)[0] == pytest.approx(one.offset_A2 + one.slope_A2_per_ps * one.fit_window_ps[0])
    first, last = one.fit_window_ps
    assert f"Li {first:.4g} to {last:.4g} ps" in charts["msd"].caption
    assert {curve.label for curve in charts["rdf-Li"].curves} == {"Li:Cl", "Li:Li", ""}


def test_motion_that_is_no_diffusion_is_told_where_it_is_read():
    caged = analyse([walk(300, cage=True)], WANTED)
    outcome = analysis_outcome(caged)
    assert "Li is not diffusive yet" in outcome.report.answer
    assert "D(Li)" not in outcome.report.answer
    rows = tables(caged)["Diffusion"].rows
    assert all(row["diffusivity_1e-6_cm2_per_s"] is None and row["diffusive"] is False for row in rows)
    assert "undetermined" in tables(caged)["Ionic conductivity"].note
    assert {"not-diffusive", "haven-undetermined"} <= {notice.code for notice in outcome.warnings}


def test_without_a_clock_the_figure_counts_frames(tmp_path):
    wanted = dataclasses.replace(WANTED, rdf=(), coordination={}, shells={}, charges_e={})
    unclocked = analyse([walk(100, dt_ps=None)], wanted)
    report = analysis_outcome(unclocked).report
    assert report.charts[0].xlabel == "Lag (frames)" and not any(curve.dashed for curve in report.charts[0].curves)
    assert "fitted" not in report.charts[0].caption
    assert "no-clock" in {notice.code for notice in report.warnings}
    write_outcome(analysis_outcome(unclocked), tmp_path, ABOUT)
    body = json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)
    assert body["results"]["msd"]["Li"]["lag_ps"] is None


def test_files_hold_the_same_numbers(found, folder):
    body = json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)
    assert body["schema"] == "atomflow.analysis/1"
    assert set(body["results"]) == {"msd", "rdf", "coordination", "shells", "conductivity", "chains"}
    one = body["results"]["msd"]["Li"]
    assert one["diffusivity_cm2_per_s"] == found.msd["Li"].diffusivity_cm2_per_s
    assert one["diffusivity_ci95_cm2_per_s"] == list(found.msd["Li"].diffusivity_ci95_cm2_per_s)
    assert {"lag_ps", "msd_A2", "slope_A2_per_ps", "loglog_slope", "diffusive"} <= set(one)
    assert {"r_A", "g", "first_peak_A", "first_peak_g", "first_minimum_A"} <= set(body["results"]["rdf"]["Li:Cl"])
    assert sum(body["results"]["coordination"]["Li:Cl"]["distribution"].values()) == pytest.approx(1)
    assert body["results"]["conductivity"]["haven_ratio"] == found.conductivity.haven_ratio
    with (folder / "table.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["species"] for row in rows] == ["Li", "Cl"]
    assert float(rows[0]["diffusivity_1e-6_cm2_per_s"]) == pytest.approx(1e6 * one["diffusivity_cm2_per_s"], rel=1e-3)
    assert (folder / "figures" / "msd.svg").is_file() and (folder / "figures" / "rdf-Li.png").is_file()


def test_findings_are_plain_data(found):
    data = found.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert json.loads(found.to_json(), parse_constant=pytest.fail) == data
    assert data["n_frames"] == 1000 and data["n_replicas"] == 1
    assert data["results"]["msd"] == found.msd.to_dict()["species"]
    table = found.to_dataframe()
    assert len(table) >= 1


def test_lags_without_frames_do_not_cost_the_report(tmp_path):
    """A dump with a gap: no two frames are 10 to 20 apart, and JSON has no NaN."""
    text = []
    for number, frame in enumerate(walk(40).source.frames(range(40))):
        if 10 <= number < 30:
            continue
        text.append(f"ITEM: TIMESTEP\n{number * 1000}\nITEM: NUMBER OF ATOMS\n40\nITEM: BOX BOUNDS pp pp pp\n")
        text.append(f"0 {EDGE_A}\n" * 3 + "ITEM: ATOMS id type x y z\n")
        text += [f"{i + 1} {1 + i // 20} {x} {y} {z}\n" for i, (x, y, z) in enumerate(frame.positions_A)]
    path = tmp_path / "gaps.lammpstrj"
    path.write_text("".join(text))
    wanted = dataclasses.replace(WANTED, species={"Li": "type 1", "Cl": "type 2"}, unwrap="toroidal")
    found = analyse([open_trajectory(path, timestep_ps=0.002)], wanted)
    assert np.isnan(found.msd["Li"].msd_A2[10:21]).all()
    write_outcome(analysis_outcome(found), tmp_path / "out", ABOUT)
    body = json.loads((tmp_path / "out" / "result.json").read_text(), parse_constant=pytest.fail)
    assert body["results"]["msd"]["Li"]["msd_A2"][9:22].count(None) == 11


@pytest.mark.slow
@pytest.mark.browser
def test_it_opens_whole(check_report, browser, found, folder):
    seen = check_report(folder / "report.html", structures=False)
    assert seen["title"] == "Analysis of " + found.name
    assert seen["answer"] == lead(found)
    assert len(seen["tables"]) >= 5 and len(seen["plots"]) == 2
    assert "Lag (ps)" in seen["plots"][0] and "Li:Cl" in seen["plots"][1]
    assert len(seen["warnings"]) == len({notice.text for notice in found.warnings})
    wide, page = browser.execute_script("const e = document.documentElement; return [e.scrollWidth, e.clientWidth]")
    assert wide <= page, "scrolls sideways"
