"""``MSD``: motion whose diffusivity is known, the ways to ask for it, and the ways out of the result."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from atomflow.analysis import MSD, size_correction_cm2_per_s
from atomflow.errors import BadOptionError, SelectionError, TrajectoryError
from atomflow.trajectory import Topology, open_trajectory

matplotlib.use("Agg")

EDGE_A = 20.0
STEP_A = 0.25  # standard deviation of one step along one axis
SPACING_PS = 2.0
D_CM2_PER_S = STEP_A**2 / (2 * SPACING_PS) * 1e-4


def walk(n_frames=1000, n=30, seed=0, step_A=STEP_A):
    """(n_frames, n, 3) Brownian positions that leave the cube; ``step_A`` may differ by axis."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(n_frames, n, 3)) * step_A
    steps[0] = rng.random((n, 3)) * EDGE_A
    return np.cumsum(steps, axis=0)


def opened(positions, symbols=None, dt_ps=SPACING_PS, cell_A=(EDGE_A, EDGE_A, EDGE_A)):
    symbols = symbols or ["Li"] * positions.shape[1]
    wrapped = positions if cell_A is None else positions % np.array(cell_A)
    return open_trajectory(wrapped, symbols, dt_ps=dt_ps, cell_A=cell_A)


def msd(trajectory, species=None, **options):
    return MSD(trajectory, species or {"Li": "element Li"}, **({"drift": "none"} | options)).run().results


def codes(result):
    return {notice.code for notice in result.warnings}


@pytest.fixture(scope="module")
def brownian():
    return msd(opened(walk()))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_known_diffusivity_lies_in_its_interval(seed):
    """Whether the positions in the file are wrapped makes no difference."""
    result = msd(opened(walk(seed=seed)))
    one = result["Li"]
    low, high = one.diffusivity_ci95_cm2_per_s
    assert low < D_CM2_PER_S < high
    assert low < one.diffusivity_cm2_per_s < high
    assert high - low < 0.3 * D_CM2_PER_S
    assert one.diffusive and one.why_not == ""
    assert abs(one.loglog_slope - 1) < 3 * one.loglog_slope_error
    unwrapped = msd(opened(walk(seed=seed), cell_A=None), unwrap="none")["Li"]
    assert one.msd_A2 == pytest.approx(unwrapped.msd_A2, rel=1e-9, abs=1e-9)
    assert result.unwrapping == "toroidal" and result.drift == "none"
    assert one.n_particles == 30 and result.n_frames == 1000 and result.n_replicas == 1


def test_slope_and_diffusivity_are_one_number(brownian):
    one = brownian["Li"]
    assert one.diffusivity_cm2_per_s == pytest.approx(one.slope_A2_per_ps / 6 * 1e-4)
    assert one.diffusivity_ci95_cm2_per_s == pytest.approx([v / 6e4 for v in one.slope_ci95_A2_per_ps])
    assert np.mean(list(one.diffusivity_by_axis_cm2_per_s.values())) == pytest.approx(one.diffusivity_cm2_per_s)
    assert one.apparent_diffusivity_cm2_per_s == one.diffusivity_cm2_per_s
    assert one.lag_ps[1] == SPACING_PS and one.lag_frames[1] == 1
    assert one.msd_A2 == pytest.approx(one.msd_by_axis_A2.sum(axis=0))


def test_units(brownian):
    """Twice the spacing is half the diffusivity, twice the lengths four times, and so are the limits."""
    base = brownian["Li"]
    slower = msd(opened(walk(), dt_ps=2 * SPACING_PS))["Li"]
    assert slower.diffusivity_cm2_per_s == pytest.approx(base.diffusivity_cm2_per_s / 2)
    assert slower.fit_window_ps == pytest.approx([2 * lag for lag in base.fit_window_ps])
    larger = msd(opened(2 * walk(), cell_A=[2 * EDGE_A] * 3))["Li"]
    assert larger.diffusivity_cm2_per_s == pytest.approx(4 * base.diffusivity_cm2_per_s)
    assert larger.diffusivity_ci95_cm2_per_s == pytest.approx([4 * v for v in base.diffusivity_ci95_cm2_per_s])
    assert larger.loglog_slope == pytest.approx(base.loglog_slope)


def test_every_axis_has_its_own_diffusivity():
    steps = np.array([0.1, 0.2, 0.4])
    positions = walk(n_frames=1500, step_A=steps)
    one = msd(opened(positions))["Li"]
    for axis, step in zip("xyz", steps, strict=True):
        expected = step**2 / (2 * SPACING_PS) * 1e-4
        assert one.diffusivity_by_axis_cm2_per_s[axis] == pytest.approx(expected, rel=0.1)
    low, high = one.diffusivity_ci95_cm2_per_s
    assert low < (steps**2).mean() / (2 * SPACING_PS) * 1e-4 < high
    for axes in ("z", "xy", "yx"):
        part = msd(opened(positions), axes=axes)["Li"]
        columns = ["xyz".index(axis) for axis in sorted(axes)]
        assert part.msd_by_axis_A2 == pytest.approx(one.msd_by_axis_A2[columns])
        low, high = part.diffusivity_ci95_cm2_per_s
        assert low < (steps[columns] ** 2).mean() / (2 * SPACING_PS) * 1e-4 < high
        assert list(part.diffusivity_by_axis_cm2_per_s) == sorted(axes)


def test_molecules_are_their_centres_of_mass():
    """Three atoms that rattle about a walking centre, in bonds and with masses, wrapped atom by atom."""
    rng = np.random.default_rng(3)
    centres = walk(n_frames=300, n=8)
    places = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    atoms = centres[:, :, None] + places + rng.normal(0, 0.05, (300, 8, 3, 3))
    masses = np.array([15.999, 1.008, 1.008])
    by_hand = (atoms * masses[:, None]).sum(axis=2) / masses.sum()
    first = 3 * np.arange(8)
    bonds = np.concatenate([np.stack([first, first + 1], 1), np.stack([first, first + 2], 1)])
    topology = Topology(24, elements=np.array(["O", "H", "H"] * 8), masses_u=np.tile(masses, 8), bonds=bonds)
    wrapped = atoms.reshape(300, 24, 3) % EDGE_A
    trajectory = open_trajectory(wrapped, topology, dt_ps=SPACING_PS, cell_A=[EDGE_A] * 3)
    species = {"water": "element O"}
    followed = msd(trajectory, species, molecules=True)["water"]
    expected = msd(opened(by_hand, cell_A=None), unwrap="none")["Li"]
    assert followed.n_particles == 8
    assert followed.msd_A2 == pytest.approx(expected.msd_A2, rel=1e-9, abs=1e-9)
    assert followed.diffusivity_ci95_cm2_per_s == pytest.approx(expected.diffusivity_ci95_cm2_per_s, rel=1e-6)
    one_atom = msd(trajectory, species)["water"]
    assert not np.allclose(one_atom.msd_A2[1:10], expected.msd_A2[1:10], rtol=1e-3)


def test_without_a_clock_there_are_lags_in_frames_only():
    result = msd(opened(walk(), dt_ps=None))
    one = result["Li"]
    assert "no-clock" in codes(result)
    assert one.lag_ps is None and one.lag_frames[:3] == pytest.approx([0, 1, 2])
    for name in ("slope_A2_per_ps", "diffusivity_cm2_per_s", "diffusivity_ci95_cm2_per_s", "fit_window_ps"):
        assert getattr(one, name) is None
    assert one.apparent_diffusivity_cm2_per_s is None
    assert one.loglog_slope == pytest.approx(1, abs=0.1)
    assert one.msd_A2 == pytest.approx(msd(opened(walk()))["Li"].msd_A2)
    json.loads(result.to_json(), parse_constant=pytest.fail)
    assert "lag_ps" not in result.to_dataframe()
    assert "frames" in result.plot().get_xlabel()


def test_caged_motion_is_not_called_diffusion():
    """An ion that rattles around its site has a slope to fit, and no diffusivity."""
    rng = np.random.default_rng(1)
    sites = rng.random((20, 3)) * EDGE_A
    place, cage = np.zeros((20, 3)), []
    for _ in range(600):
        place = 0.995 * place + rng.normal(0, 0.05, (20, 3))
        cage.append(sites + place)
    result = msd(opened(np.array(cage)))
    one = result["Li"]
    assert "not-diffusive" in codes(result)
    assert not one.diffusive and "below that of diffusion" in one.why_not
    assert one.diffusivity_cm2_per_s is None and one.diffusivity_by_axis_cm2_per_s is None
    assert one.slope_A2_per_ps is not None and one.apparent_diffusivity_cm2_per_s is not None
    assert one.loglog_slope < 0.9


def test_drift_is_motion_of_all():
    """A flow makes the motion ballistic; taken out with the barycentre, the diffusivity is the known one again."""
    symbols = ["Li"] * 30 + ["Cl"] * 30
    flow = 0.1 * np.arange(1000)[:, None, None] * np.array([1, 0, 0])
    trajectory = opened(walk(n=60, seed=5) + flow, symbols)
    carried = msd(trajectory)["Li"]
    assert not carried.diffusive and carried.loglog_slope > 1.1
    result = msd(trajectory, drift="barycentre")
    low, high = result["Li"].diffusivity_ci95_cm2_per_s
    # The barycentre's own walk is taken out too: less than one part in so many particles.
    assert low < D_CM2_PER_S < high * 60 / 59
    assert "barycentre" in result.drift


def test_a_window_to_fit_can_be_given():
    widths = []
    for window in ((2, 16), (20, 100), (200, 400)):
        one = msd(opened(walk()), fit_from_ps=window[0], fit_to_ps=window[1])["Li"]
        assert one.fit_window_ps == window
        low, high = one.diffusivity_ci95_cm2_per_s
        assert low < D_CM2_PER_S < high
        widths.append(high - low)
    # Long lags are averages over few windows.
    assert widths == sorted(widths)


@pytest.mark.parametrize("how", [pytest.param("two workers", marks=pytest.mark.slow), "executor"])
def test_workers_change_nothing(how, brownian):
    positions = walk()
    if how == "executor":
        with ThreadPoolExecutor(2) as pool:
            other = MSD(opened(positions), {"Li": "element Li"}, drift="none").run(executor=pool).results
    else:
        other = MSD(opened(positions), {"Li": "element Li"}, drift="none").run(workers=2).results
    one, two = brownian["Li"], other["Li"]
    assert two.msd_A2 == pytest.approx(one.msd_A2, rel=1e-9, abs=1e-9)
    assert two.diffusivity_ci95_cm2_per_s == pytest.approx(one.diffusivity_ci95_cm2_per_s, rel=1e-6)
    assert other.warnings == brownian.warnings


def test_a_temporary_file_changes_nothing(brownian):
    one = msd(opened(walk()), memory_GB=1e-4)["Li"]
    assert one.msd_A2 == pytest.approx(brownian["Li"].msd_A2, rel=1e-12, abs=1e-9)


def test_frames_are_sliced_like_a_list():
    positions = walk()
    part = MSD(opened(positions), {"Li": "element Li"}, drift="none").run(100, 900, 2).results
    expected = msd(opened(positions[100:900:2], dt_ps=2 * SPACING_PS))
    assert part.n_frames == 400
    assert part["Li"].lag_ps[1] == 2 * SPACING_PS
    assert part["Li"].msd_A2 == pytest.approx(expected["Li"].msd_A2, rel=1e-9, abs=1e-9)


def test_size_correction_by_hand():
    """kT xi / (6 pi eta L) in SI: 298.15 K, 0.85 mPa s, 18.64 A (216 molecules of water)."""
    by_hand = 2.837297 * 1.380649e-23 * 298.15 / (6 * math.pi * 0.85e-3 * 18.64e-10) * 1e4
    assert size_correction_cm2_per_s(18.64, 0.85, 298.15) == pytest.approx(by_hand, rel=1e-6)
    # A sixth of water's 2.3e-5 cm2/s: why small boxes of water are known to be slow.
    assert by_hand == pytest.approx(3.9e-6, rel=0.01)
    assert size_correction_cm2_per_s(2 * 18.64, 0.85, 298.15) == pytest.approx(by_hand / 2)
    result = msd(opened(walk()), viscosity_mPa_s=0.85, temperature_K=300)
    one = result["Li"]
    added = one.corrected_diffusivity_cm2_per_s - one.diffusivity_cm2_per_s
    assert added == pytest.approx(size_correction_cm2_per_s(EDGE_A, 0.85, 300))
    assert "size-correction" in codes(result)
    without = msd(opened(walk(), cell_A=None), unwrap="none", viscosity_mPa_s=0.85)
    assert without["Li"].corrected_diffusivity_cm2_per_s is None and "no-box" in codes(without)
    for bad in ({"edge_A": 0}, {"viscosity_mPa_s": -1}, {"temperature_K": math.nan}):
        with pytest.raises(BadOptionError, match="above zero"):
            size_correction_cm2_per_s(**({"edge_A": 10, "viscosity_mPa_s": 1, "temperature_K": 300} | bad))


def test_ways_out(brownian, tmp_path):
    data = json.loads(brownian.to_json(), parse_constant=pytest.fail)
    assert data == json.loads(json.dumps(brownian.to_dict(), allow_nan=False))
    assert data["schema"] == "atomflow.msd/1"
    assert data["species"]["Li"]["diffusivity_cm2_per_s"] == brownian["Li"].diffusivity_cm2_per_s
    saved = brownian.save(tmp_path / "msd.json")
    assert json.loads(saved.read_text(), parse_constant=pytest.fail) == data

    import pandas as pd

    table = brownian.to_dataframe()
    assert list(table) == ["species", "lag_frames", "msd_A2", "pairs", "lag_ps", "msd_x_A2", "msd_y_A2", "msd_z_A2"]
    assert len(table) == 1000 and table["pairs"][1] == 999 * 30
    read = pd.read_csv(brownian.save(tmp_path / "msd.csv"))
    assert read["msd_A2"].to_numpy() == pytest.approx(brownian["Li"].msd_A2)
    with np.load(brownian.save(tmp_path / "msd.npz")) as arrays:
        assert arrays["species/Li/msd_A2"] == pytest.approx(brownian["Li"].msd_A2)
        assert float(arrays["species/Li/diffusivity_cm2_per_s"]) == brownian["Li"].diffusivity_cm2_per_s
    with pytest.raises(BadOptionError, match=r"\.json, \.csv or \.npz"):
        brownian.save(tmp_path / "msd.xlsx")

    axes = brownian.plot()
    assert axes.get_lines()[0].get_label() == "Li"
    assert len(axes.get_lines()) == 2 and "ps" in axes.get_xlabel()
    assert brownian.plot(axes) is axes
    matplotlib.pyplot.close("all")


def gapped_dump(path):
    """Ten frames, a gap of twenty, ten frames: lags 10 to 20 are between no two frames."""
    text = []
    for number, frame in enumerate(walk(n_frames=40, n=4)):
        if 10 <= number < 30:
            continue
        text.append(f"ITEM: TIMESTEP\n{number * 1000}\nITEM: NUMBER OF ATOMS\n4\nITEM: BOX BOUNDS pp pp pp\n")
        text.append(f"0 {EDGE_A}\n" * 3 + "ITEM: ATOMS id type xu yu zu\n")
        text += [f"{i + 1} 1 {x:.6f} {y:.6f} {z:.6f}\n" for i, (x, y, z) in enumerate(frame)]
    Path(path).write_text("".join(text))
    return open_trajectory(path, timestep_ps=0.002)


def test_lags_that_no_two_frames_have_are_empty(tmp_path):
    result = msd(gapped_dump(tmp_path / "gaps.lammpstrj"), {"Li": "type 1"})
    one = result["Li"]
    assert one.lag_ps == pytest.approx(SPACING_PS * np.arange(40))
    missing = np.isnan(one.msd_A2)
    assert missing.nonzero()[0].tolist() == list(range(10, 21))
    assert (one.pairs[missing] == 0).all()
    data = json.loads(result.to_json(), parse_constant=pytest.fail)
    assert data["species"]["Li"]["msd_A2"][10] is None
    assert data["species"]["Li"]["msd_by_axis_A2"][0][10] is None


@pytest.mark.parametrize(
    ("species", "options", "error", "told"),
    [
        ({}, {}, BadOptionError, "no species"),
        ({"Na": "element Na"}, {}, SelectionError, "element Na"),
        ({"Li": "element Li"}, {"axes": "xw"}, BadOptionError, "'xw'"),
        ({"Li": "element Li"}, {"axes": "xx"}, BadOptionError, "'xx'"),
        ({"Li": "element Li"}, {"fit_from_ps": 1e6}, BadOptionError, "wider window"),
        ({"Li": "element Li"}, {"viscosity_mPa_s": 0.0}, BadOptionError, "above zero"),
    ],
)
def test_what_makes_no_sense_is_refused(species, options, error, told):
    with pytest.raises(error, match=told):
        MSD(opened(walk(n_frames=50)), species, **options).run()


def test_there_are_no_results_before_run():
    analysis = MSD(opened(walk(n_frames=20)), {"Li": "element Li"})
    with pytest.raises(TrajectoryError, match=r"call \.run\(\) first"):
        _ = analysis.results
    assert analysis.run() is analysis
    with pytest.raises(TrajectoryError, match="two or more"):
        MSD(opened(walk(n_frames=20)), {"Li": "element Li"}).run(3, 4)
