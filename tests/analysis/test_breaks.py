"""Inputs and options that once gave wrong numbers, crashes, or silence where a word was due."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atomflow.analysis import MSD, RDF, Conductivity, Wanted, analyse
from atomflow.cli import main
from atomflow.errors import BadOptionError, TrajectoryError, UnknownNameError
from atomflow.report.analysis_report import analysis_outcome
from atomflow.trajectory import Clock, choose_frames, open_trajectory

STEP_A = 0.3
D = STEP_A**2 / 2 * 1e-4  # cm^2/s, with frames 1 ps apart
EDGE_A = 20.0
SPECIES = {"Li": "type 1", "Cl": "type 2"}
OPTIONS = ("--timestep", "1fs", "--species", "Li=type 1", "--species", "Cl=type 2")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def brownian(n_frames=300, seed=0, step_A=STEP_A, n=20):
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, step_A, (n_frames, n, 3))
    steps[0] = rng.random((n, 3)) * EDGE_A
    return np.cumsum(steps, axis=0)


def dump(name, x, steps=None):
    """Unwrapped coordinates, the first half of the atoms type 1, the others type 2; the step is 1 fs."""
    n = x.shape[1]
    steps = 1000 * np.arange(len(x)) if steps is None else steps
    with Path(name).open("w") as file:
        for step, rows in zip(steps, x, strict=True):
            file.write(f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{n}\nITEM: BOX BOUNDS pp pp pp\n")
            file.write(f"0 {EDGE_A}\n" * 3 + "ITEM: ATOMS id type xu yu zu\n")
            file.writelines(f"{i + 1} {1 + 2 * i // n} {a:.6f} {b:.6f} {c:.6f}\n" for i, (a, b, c) in enumerate(rows))
    return open_trajectory(name, timestep_ps=0.001)


def array(x, symbols=None, **options):
    return open_trajectory(x, symbols or ["Li"] * x.shape[1], **{"dt_ps": 1.0, **options})


def run(capsys, *words):
    try:
        main([str(word) for word in words])
        code = 0
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


def no_constant(word):
    raise AssertionError(f"{word} is not JSON")


def result(folder="analysis"):
    return json.loads(Path(folder, "result.json").read_text(), parse_constant=no_constant)


def codes(found):
    return [notice.code for notice in found.warnings]


# Numbers that JSON does not have.


def test_lags_that_no_frames_have_are_null(capsys):
    """A long gap leaves lags without pairs; result.json could not be written."""
    kept = np.concatenate([np.arange(10), np.arange(60, 70)])
    trajectory = dump("gap.lammpstrj", brownian()[kept], 1000 * kept)
    code, out, err = run(capsys, "analyze", "gap.lammpstrj", *OPTIONS, "--json")
    assert code == 0, err
    json.loads(out, parse_constant=no_constant)
    one = result()["results"]["msd"]["Li"]
    assert all((value is None) == (pairs == 0) for value, pairs in zip(one["msd_A2"], one["pairs"], strict=True))
    assert one["msd_A2"].count(None) == 41  # lags 10 to 50
    found = MSD(trajectory, SPECIES, drift="none").run().results
    assert json.loads(found.to_json(), parse_constant=no_constant)["species"]["Li"]["msd_A2"][20] is None
    assert np.isnan(np.load(found.save("gap.npz"))["species/Li/msd_A2"][20])


def test_an_interval_without_an_upper_end_is_null():
    """Two replicas of different substances: nothing bounds the slope from above."""
    pair = [dump("one.lammpstrj", brownian(seed=1)), dump("two.lammpstrj", brownian(seed=2, step_A=3 * STEP_A))]
    found = analyse(pair, Wanted(species=SPECIES, msd=("Li", "Cl"), charges_e={"Li": 1.0, "Cl": -1.0}, drift="none"))
    assert "replicas-differ" in codes(found)
    outcome = analysis_outcome(found)
    json.dumps(outcome.results, allow_nan=False)
    assert found.conductivity is not None
    limits = [limit for limit in found.conductivity.einstein_helfand_ci95_S_per_cm if math.isinf(limit)]
    assert limits
    assert json.loads(found.conductivity.to_json(), parse_constant=no_constant)["einstein_helfand_ci95_S_per_cm"].count(
        None
    ) == len(limits)
    for table in outcome.report.tables:
        assert not any(isinstance(v, float) and not math.isfinite(v) for row in table.rows for v in row.values())


def test_check_prints_strict_json(capsys):
    text = "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
    text += "ITEM: ATOMS id type x y z q\n1 1 1 1 1 nan\n2 1 5 5 {} 1\n"
    Path("q.lammpstrj").write_text("".join(text.format(step, 5 + step / 10) for step in range(3)))
    _, out, _ = run(capsys, "check", "q.lammpstrj", "--json")
    json.loads(out, parse_constant=no_constant)


# Wrong numbers.


def test_uneven_replicas_are_not_averaged_lag_by_lag():
    """Their n-th lags are different times."""
    rng = np.random.default_rng(3)
    pair = [
        dump(f"{seed}.lammpstrj", brownian(60, seed=seed), np.sort(rng.choice(60_000, 60, replace=False)))
        for seed in (1, 2)
    ]
    with pytest.raises(TrajectoryError, match="uneven times"):
        analyse(pair, Wanted(species=SPECIES, msd=("Li",), drift="none"))
    alone = analyse(pair[:1], Wanted(species=SPECIES, msd=("Li",), drift="none"))
    assert "uneven-frames" in codes(alone)


def test_charges_seen_from_their_own_barycentre_have_no_collective_motion():
    """What was left was rounding, from which a conductivity of 1e-30 S/cm and a Haven ratio of 1e28 were made."""
    x = brownian(600)
    for symbols, drift in ((["Li"] * 20, "barycentre"), (["Li"] * 10 + ["Cl"] * 10, "Li")):
        trajectory = array(x, symbols, cell_A=[EDGE_A] * 3)
        found = Conductivity(trajectory, {"Li": "element Li"}, {"Li": 1.0}, drift=drift, unwrap="none").run().results
        assert found.nernst_einstein_S_per_cm > 1e-3
        assert found.einstein_helfand_S_per_cm is None
        assert found.haven_ratio is None
        assert "einstein-helfand-undetermined" in codes(found)


def test_rounding_is_not_motion():
    """One atom seen from its own place: the fit of noise of 1e-15 A ended in a TypeError."""
    found = MSD(array(brownian(200, n=1), cell_A=[EDGE_A] * 3), {"Li": "all"}, drift="barycentre").run().results
    assert found["Li"].slope_A2_per_ps is None
    assert "no-fit" in codes(found)


def test_the_same_file_twice_is_no_replica(capsys):
    dump("one.lammpstrj", brownian(20))
    code, _, err = run(capsys, "analyze", "one.lammpstrj", "./one.lammpstrj", *OPTIONS)
    assert code == 2
    assert "given twice" in err


def test_haven_ratio_of_correlated_ions():
    """Anions that follow cations with a correlation of 0.6: the ratio is 1 / (1 - 0.6)."""
    cations = brownian(1500, seed=4, n=40)
    anions = 0.6 * cations + 0.8 * brownian(1500, seed=5, n=40)
    x = np.concatenate([cations, anions], axis=1)
    trajectory = array(x, ["Li"] * 40 + ["Cl"] * 40, cell_A=[EDGE_A] * 3)
    species = {"Li": "element Li", "Cl": "element Cl"}
    found = Conductivity(trajectory, species, {"Li": 1, "Cl": -1}, drift="none", unwrap="none").run().results
    low, high = found.haven_ratio_ci95
    assert low < 2.5 < high
    assert found.haven_ratio == pytest.approx(2.5, rel=0.3)


@pytest.mark.parametrize("window", [(None, None, 3), (40, 260, None), (10, -10, 4)])
def test_strides_and_windows_keep_the_time(window):
    x = brownian(300)
    chosen = x[slice(*window)]
    found = MSD(array(x), {"Li": "all"}, unwrap="none", drift="none", axes="zx").run(*window).results
    lags = np.arange(1, 20)
    truth = [((chosen[m:] - chosen[:-m]) ** 2)[:, :, [0, 2]].sum(axis=2).mean() for m in lags]
    np.testing.assert_allclose(found["Li"].msd_A2[1:20], truth, rtol=1e-9)
    np.testing.assert_allclose(found["Li"].lag_ps[1:20], lags * (window[2] or 1))
    assert found.axes == "xz"
    assert found["Li"].diffusivity_cm2_per_s == pytest.approx(D, rel=0.2)
    assert set(found["Li"].diffusivity_by_axis_cm2_per_s) == {"x", "z"}


def test_replicas_of_different_length_weigh_by_their_frames():
    long, short = brownian(200, seed=6), brownian(50, seed=7)
    pair = [dump("long.lammpstrj", long), dump("short.lammpstrj", short)]
    found = analyse(pair, Wanted(species=SPECIES, msd=("Li",), drift="none")).msd["Li"]
    for lag in (1, 10, 120):
        moved = [((x[lag:, :10] - x[:-lag, :10]) ** 2).sum(axis=2).ravel() for x in (long, short) if len(x) > lag]
        assert found.msd_A2[lag] == pytest.approx(np.concatenate(moved).mean(), rel=1e-5)
        assert found.pairs[lag] == sum(map(len, moved))


# Words that were due.


def test_a_fit_in_ps_without_a_clock_is_refused():
    with pytest.raises(BadOptionError, match="frame spacing is unknown"):
        MSD(array(brownian(), dt_ps=None), {"Li": "all"}, unwrap="none", fit_from_ps=10.0).run()


@pytest.mark.parametrize(
    ("first", "last"), [(math.nan, None), (10.0, math.inf), (-5.0, 100.0), (100.0, 10.0), (None, 0.0)]
)
def test_limits_of_a_fit_that_make_no_sense(first, last):
    with pytest.raises(BadOptionError, match="fit"):
        MSD(array(brownian(50)), {"Li": "all"}, unwrap="none", fit_from_ps=first, fit_to_ps=last)


def test_why_there_is_no_conductivity_is_said():
    wanted = {"msd": ("Li", "Cl"), "charges_e": {"Li": 1.0, "Cl": -1.0}, "drift": "none"}
    dump("walk.lammpstrj", brownian(100))
    without_clock = analyse([open_trajectory("walk.lammpstrj")], Wanted(species=SPECIES, **wanted))
    by_element = {"Li": "element Li", "Cl": "element Cl"}
    without_cell = analyse([array(brownian(100), ["Li"] * 10 + ["Cl"] * 10)], Wanted(species=by_element, **wanted))
    for found, missing in ((without_clock, "frame spacing"), (without_cell, "volume")):
        assert found.conductivity is None
        assert any(notice.code == "no-conductivity" and missing in notice.text for notice in found.warnings)
    assert codes(without_clock).count("no-clock") == 1


def test_a_charge_of_nobody_is_refused_and_one_of_a_molecule_with_named_sites_is_not():
    trajectory = dump("walk.lammpstrj", brownian(100))
    with pytest.raises(UnknownNameError, match="there are Li, Cl"):
        analyse([trajectory], Wanted(species=SPECIES, msd=("Li",), charges_e={"Na": 1.0}))
    sites = {"Li": "type 1", "O_TFSI": "type 2"}
    shells = {"Li": ("O_TFSI",)}
    wanted = Wanted(species=sites, shells=shells, shell_cutoffs_A={"Li:O_TFSI": 4.0}, charges_e={"TFSI": -1.0})
    assert analyse([trajectory], wanted).shells["Li"].ion_pairing is not None


def test_drift_of_a_species_that_is_not_followed(capsys):
    """--drift takes a species' name, also of one that has no --msd."""
    x = brownian(600) + 0.2 * np.arange(600)[:, None, None]
    dump("drifting.lammpstrj", x)
    code, _, err = run(capsys, "analyze", "drifting.lammpstrj", *OPTIONS, "--msd", "Li", "--drift", "Cl")
    assert code == 0, err
    by_hand = x[:, :10] - x[:, 10:].mean(axis=1, keepdims=True)
    truth = ((by_hand[5:] - by_hand[:-5]) ** 2).sum(axis=2).mean()
    assert result()["results"]["msd"]["Li"]["msd_A2"][5] == pytest.approx(truth, rel=1e-5)
    by_index = Wanted(species={"Li": np.arange(10), "Cl": np.arange(10, 20)}, msd=("Li",), drift="Cl")
    again = analyse([open_trajectory("drifting.lammpstrj", timestep_ps=0.001)], by_index)
    assert again.msd["Li"].msd_A2[5] == pytest.approx(truth, rel=1e-5)


# Options of the command.


def test_shells_of_one_centre_with_different_cutoffs_are_joined(capsys):
    """The second --shell of a centre replaced the first without a word."""
    dump("walk.lammpstrj", brownian(30))
    code, _, err = run(capsys, "analyze", "walk.lammpstrj", *OPTIONS, "--shell", "Li:Cl@3", "--shell", "Li:Li@4")
    assert code == 0, err
    ligands = result()["results"]["shells"]["Li"]["ligands"]
    assert {name: one["cutoff_A"] for name, one in ligands.items()} == {"Cl": 3.0, "Li": 4.0}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--rdf", "Li:Cl@3"), "--r-max"),
        (("--cn", "Li:Cl@3", "--cn", "Li:Cl@4"), "two cutoffs"),
        (("--shell", "Li:Cl@3", "--shell", "Li:Cl@4"), "twice"),
        (("--species", "a:b=type 1"), "divide pairs"),
        (("--msd", "K"), "there are Li, Cl"),
        (("--charge", "K=1"), "unknown species 'K'"),
        (("--fit", "10ps:5ps"), "comes before"),
    ],
)
def test_options_that_were_taken_without_a_word(capsys, words, told):
    dump("walk.lammpstrj", brownian(20))
    code, _, err = run(capsys, "analyze", "walk.lammpstrj", *OPTIONS, *words)
    assert code == 2
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_names_in_a_list_may_have_spaces(capsys):
    dump("walk.lammpstrj", brownian(50))
    code, _, err = run(capsys, "analyze", "walk.lammpstrj", *OPTIONS, "--msd", "Li, Cl")
    assert code == 0, err
    assert set(result()["results"]["msd"]) == {"Li", "Cl"}


def test_the_corrected_diffusivity_is_in_the_report(capsys):
    """--viscosity changed result.json only."""
    dump("walk.lammpstrj", brownian(300))
    words = ("analyze", "walk.lammpstrj", *OPTIONS, "--msd", "Li")
    code, _, err = run(capsys, *words, "--viscosity", "1.0")
    assert code == 0, err
    table = Path("analysis/table.csv").read_text().splitlines()
    row = dict(zip(table[0].split(","), table[1].split(","), strict=True))
    # Yeh and Hummer's term for a box of 20 A and 1 mPa s at 298.15 K, by hand.
    added = 2.837297 * 1.380649e-23 * 298.15 / (6 * math.pi * 1e-3 * 20e-10) * 1e4
    difference = float(row["corrected_1e-6_cm2_per_s"]) - float(row["diffusivity_1e-6_cm2_per_s"])
    assert difference == pytest.approx(added * 1e6, rel=1e-5)
    run(capsys, *words, "--out", "plain")
    assert "corrected" not in Path("plain/table.csv").read_text()


@pytest.mark.slow
def test_workers_change_nothing(capsys):
    dump("walk.lammpstrj", brownian(300))
    words = (*OPTIONS, "--rdf", "Li:Cl", "--cn", "Li:Cl@4", "--shell", "Li:Cl@4", "--msd", "Li,Cl")
    charges = ("--charge", "Li=1", "--charge", "Cl=-1", "-q")
    for workers in (1, 2):
        code, _, err = run(
            capsys, "analyze", "walk.lammpstrj", *words, *charges, "--workers", workers, "--out", f"w{workers}"
        )
        assert code == 0, err
    one, two = (numbers(result(f"w{workers}")["results"]) for workers in (1, 2))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert two[name] == (pytest.approx(value, rel=1e-7, abs=1e-12) if isinstance(value, float) else value), name


def numbers(data, above=""):
    if isinstance(data, dict | list):
        items = data.items() if isinstance(data, dict) else enumerate(data)
        return {key: value for name, item in items for key, value in numbers(item, f"{above}/{name}").items()}
    return {above: data}


@pytest.mark.parametrize(("start", "stop", "step"), [(None, None, None), (5, 25, 1), (None, None, 3), (12, None, 2)])
def test_frames_mean_the_same_for_structure_and_for_motion(start, stop, step):
    """A restart writes its first frame twice: neither counts it, and both read the same ones."""
    x = np.insert(brownian(40), 11, 0.0, axis=0)
    x[11] = x[10]
    opened = open_trajectory(x, ["Li"] * 20, cell_A=[EDGE_A] * 3, dt_ps=1.0)
    trajectory = replace(opened, clock=Clock(np.insert(np.arange(40.0), 11, 10.0), "the file"))
    once = open_trajectory(np.delete(x, 11, axis=0), ["Li"] * 20, cell_A=[EDGE_A] * 3, dt_ps=1.0)
    species = {"Li": "element Li"}
    alone = choose_frames(trajectory, start, stop, step)
    rdf = RDF(trajectory, ["Li:Li"], species).run(start, stop, step).results
    msd = MSD(trajectory, species, drift="none").run(start, stop, step).results
    assert (trajectory.n_frames, once.n_frames) == (41, 40)
    assert rdf.n_frames == msd.n_frames == len(alone)
    assert len(set(trajectory.clock.times_ps[alone])) == len(alone)
    if start is None:
        np.testing.assert_array_equal(
            rdf["Li:Li"].counts, RDF(once, ["Li:Li"], species).run(None, stop, step).results["Li:Li"].counts
        )
    found = analyse([trajectory], Wanted(species=species, rdf=("Li:Li",), msd=("Li",), drift="none"), start, stop, step)
    assert found.n_frames == len(alone)
    assert [notice.code for notice in found.warnings].count("duplicate-frames") <= 1


def replicas_in(*edges_A, noise=0.0):
    """The same walk in cubes of other edges; with noise the volumes fluctuate by three times that share."""
    found = []
    for seed, edge in enumerate(edges_A):
        scale = 1 + noise * np.random.default_rng(seed).normal(size=60)
        cells = np.eye(3) * (edge * scale)[:, None, None]
        found.append(array(brownian(60, seed), ["Li"] * 10 + ["Cl"] * 10, cell_A=cells if noise else cells[0]))
    return found


@pytest.mark.parametrize(
    ("edges_A", "noise", "apart"),
    [((20.0, 22.0), 0.0, True), ((20.0, 20.05), 0.0, False), ((20.0, 20.6), 0.05, False), ((20.0, 25.0), 0.01, True)],
)
def test_replicas_of_other_volumes_are_told(edges_A, noise, apart):
    species = {"Li": "element Li", "Cl": "element Cl"}
    charges = {"Li": 1.0, "Cl": -1.0}
    wanted = Wanted(species=species, rdf=("Li:Cl",), msd=("Li", "Cl"), charges_e=charges, drift="none", unwrap="none")
    found = analyse(replicas_in(*edges_A, noise=noise), wanted)
    for result in (found, found.rdf, found.conductivity):
        assert ("replica-volumes-differ" in {notice.code for notice in result.warnings}) == apart
    told = [notice.text for notice in found.warnings if notice.code == "replica-volumes-differ"]
    assert len(told) == apart
    assert all("g(r) and conductivity" in text and "one by one" in text for text in told)
    outcome = analysis_outcome(found)
    assert ("replica-volumes-differ" in {notice.code for notice in outcome.report.warnings}) == apart


def test_no_warning_is_said_twice(capsys):
    """Two species that are not diffusive, two pairs without a peak: one sentence of each kind."""
    still = np.random.default_rng(0).random((60, 20, 3)) * EDGE_A
    still[1:] = still[0] + 0.1 * np.random.default_rng(1).normal(size=(59, 20, 3))
    wanted = Wanted(
        species={"Li": "element Li", "Cl": "element Cl"}, rdf=("Li:Cl", "Cl:Cl"), msd=("Li", "Cl"), drift="none",
        coordination={"Li:Cl": 4.0, "Cl:Cl": 4.0}, charges_e={"Li": 1.0, "Cl": -1.0},
    )  # fmt: skip
    found = analyse([array(still, ["Li"] * 10 + ["Cl"] * 10, cell_A=[EDGE_A] * 3)], wanted)
    codes = [notice.code for notice in found.warnings]
    assert codes.count("not-diffusive") == 1
    text = next(notice.text for notice in found.warnings if notice.code == "not-diffusive")
    assert text.startswith("Li (") and ", Cl (" in text and text.count("not diffusive yet") == 1
    assert len(set(found.warnings)) == len(found.warnings)
    assert len(codes) <= len(set(codes)) + 1


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--rdf", "Li:O"), "O"),
        (("--cn", "Na:Cl@3"), "Na"),
        (("--shell", "Li:Cl,PF6"), "PF6"),
        (("--msd", "K"), "K"),
    ],
)
def test_an_unknown_species_of_the_command_line_is_mended_there(capsys, words, name):
    dump("t.lammpstrj", brownian(5))
    with pytest.raises(SystemExit):
        main(["analyze", "t.lammpstrj", *OPTIONS, *words, "--quiet"])
    told = capsys.readouterr().err
    assert f'name it with --species "{name}=type 5"; there are Li, Cl' in told
    assert "{'" not in told
    assert told.count("\n") == 1
