"""The traps that tools for trajectories fall into: for each, a naive way gets the input wrong, and ours gets it right.

Numbered as in the list of traps of the project's notes on trajectories. All inputs have known answers.
"""

import json
import math
import warnings

import numpy as np
import pytest
from ase import units

from atomflow.analysis import MSD, RDF, Conductivity, Coordination, Wanted, analyse
from atomflow.cli import main
from atomflow.errors import BadOptionError, TrajectoryError
from atomflow.trajectory import check_trajectory, gather_paths, open_trajectory
from atomflow.trajectory.topology import Topology

STEP_A = 0.3  # standard deviation of one step along one axis, in one ps
D_A2_PER_PS = STEP_A**2 / 2
D = D_A2_PER_PS * 1e-4  # cm^2/s


def brownian(n_frames, n, seed, step_A=STEP_A, spread_A=10.0):
    """(n_frames, n, 3) random walks from uniform places in a cube."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, step_A, (n_frames, n, 3))
    steps[0] = rng.random((n, 3)) * spread_A
    return np.cumsum(steps, axis=0)


def msd_by_definition(x, lags):
    return np.array([((x[lag:] - x[: len(x) - lag]) ** 2).sum(axis=2).mean() for lag in lags])


def line(x, y):
    """Slope of a straight line by least squares, its standard error, and R^2."""
    (slope, offset), covariance = np.polyfit(x, y, 1, cov=True)
    rest = y - slope * x - offset
    return slope, math.sqrt(covariance[0, 0]), 1 - rest.var() / y.var()


def naive_diffusivity(x, last=30, dt_ps=1.0):
    """What most scripts do: a straight line through the mean square displacement, over six."""
    lags = np.arange(1, last)
    return line(lags * dt_ps, msd_by_definition(x, lags))[0] / 6 * 1e-4


def ours(x, *, symbols=None, dt_ps=1.0, cell_A=None, species=None, **options):
    trajectory = open_trajectory(x, symbols or ["Li"] * x.shape[1], dt_ps=dt_ps, cell_A=cell_A)
    return MSD(trajectory, species=species or {"Li": "element Li"}, **options).run().results


def lammps_dump(path, positions, columns, bounds, *, types=None, origin="pp pp pp", steps=None):
    """Columns of every frame, (n_frames, n, k), with the bounds of every frame as text."""
    types = types or [1] * positions.shape[1]
    steps = steps if steps is not None else range(0, 1000 * len(positions), 1000)
    with path.open("w") as file:
        for step, rows, box in zip(steps, positions, bounds, strict=True):
            file.write(f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(rows)}\nITEM: BOX BOUNDS {origin}\n{box}")
            file.write(f"ITEM: ATOMS id type {columns}\n")
            for number, (kind, row) in enumerate(zip(types, rows, strict=True), 1):
                words = " ".join(f"{value:.10g}" for value in row)
                file.write(f"{number} {kind} {words}\n")


# 1. Wrapped or sparse input.


def test_1_wrapped_coordinates_are_unwrapped():
    edge = 10.0
    x = brownian(1000, 30, seed=1)
    wrapped = x % edge
    assert naive_diffusivity(wrapped, last=300) < 0.5 * D  # no error, no warning
    found = ours(wrapped, cell_A=[edge] * 3)
    low, high = found["Li"].diffusivity_ci95_cm2_per_s
    assert low < D < high
    assert found["Li"].diffusivity_cm2_per_s == pytest.approx(D, rel=0.05)
    assert check_trajectory(open_trajectory(wrapped, dt_ps=1.0, cell_A=[edge] * 3)).layout == "wrapped"


def test_1_wrapped_coordinates_without_a_cell_are_refused():
    x = brownian(800, 30, seed=2, step_A=0.1)
    with pytest.raises(TrajectoryError, match="no cell to unwrap them with"):
        ours(x % 10.0)


def test_1_sparse_frames_are_refused():
    edge = 10.0
    x = brownian(600, 50, seed=3, step_A=0.35 * edge)
    wrapped = x % edge
    jumps = np.diff(wrapped, axis=0)
    jumps -= edge * np.round(jumps / edge)
    nearest = np.concatenate([wrapped[:1], wrapped[:1] + np.cumsum(jumps, axis=0)])
    truth = (0.35 * edge) ** 2 / 2 * 1e-4
    assert naive_diffusivity(nearest) < 0.75 * truth
    with pytest.raises(TrajectoryError, match="cannot be told"):
        ours(wrapped, cell_A=[edge] * 3)
    # The same frames with unwrapped coordinates are no trouble.
    assert ours(x, unwrap="none")["Li"].diffusivity_cm2_per_s == pytest.approx(truth, rel=0.05)


# 2. LAMMPS dumps.

TILTED = np.array([[12.0, 0.0, 0.0], [5.0, 11.0, 0.0], [-4.0, 3.0, 10.0]])


def tilted_bounds(cell):
    """Bounds as LAMMPS writes them for a tilted box: of the box's corners, with the tilts beside them."""
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell
    low, high = min(0.0, xy, xz, xy + xz), max(0.0, xy, xz, xy + xz)
    return f"{low} {lx + high} {xy}\n{min(0.0, yz)} {ly + max(0.0, yz)} {xz}\n0 {lz} {yz}\n"


@pytest.mark.parametrize(
    "columns", ["x y z ix iy iz", "xs ys zs ix iy iz", "xs ys zs", "x y z", "xu yu zu", "xsu ysu zsu"]
)
def test_2_columns_of_a_tilted_dump_mean_the_same_motion(tmp_path, columns):
    x = brownian(300, 12, seed=4)
    fractions = x @ np.linalg.inv(TILTED)
    images = np.floor(fractions)
    inside = fractions - images
    parts = {"xs": inside, "x": inside @ TILTED, "xu": x, "xsu": fractions}[columns.split()[0]]
    rows = np.concatenate([parts, images], axis=2) if "ix" in columns else parts
    path = tmp_path / "tilted.lammpstrj"
    lammps_dump(path, rows, columns, [tilted_bounds(TILTED)] * len(x), origin="xy xz yz pp pp pp")
    lags = np.arange(0, 100)
    truth = msd_by_definition(x, lags)

    # Naive: the columns as they stand; bounds taken for edges, and flags for multiples of them.
    first, second = (np.array(line.split()[:2], float) for line in tilted_bounds(TILTED).splitlines()[:2])
    edges = np.array([first[1] - first[0], second[1] - second[0], 10.0])
    naive = rows[:, :, :3] * (edges if "s" in columns.split()[0] else 1.0)
    if "ix" in columns:
        naive = naive + rows[:, :, 3:] * edges
    worst = np.abs(msd_by_definition(naive, lags)[1:] / truth[1:] - 1).max()
    assert worst > 0.2 or columns == "xu yu zu"

    trajectory = open_trajectory(path, timestep_ps=0.001)
    found = MSD(trajectory, {"Li": "type 1"}, drift="none").run().results["Li"]
    np.testing.assert_allclose(found.msd_A2[:100], truth, rtol=1e-6, atol=1e-6)
    assert found.lag_ps[1] == pytest.approx(1.0)


def test_2_the_peer_ignores_image_flags(tmp_path):
    """MDAnalysis reads x, y, z and leaves ix, iy, iz out unless told."""
    import MDAnalysis

    edge = 8.0
    x = brownian(400, 10, seed=5)
    images = np.floor(x / edge)
    path = tmp_path / "flags.lammpstrj"
    lammps_dump(
        path, np.concatenate([x - images * edge, images], axis=2), "x y z ix iy iz", [f"0 {edge}\n" * 3] * len(x)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe(str(path), format="LAMMPSDUMP", topology_format="LAMMPSDUMP")
        read = np.array([universe.atoms.positions.astype(float) for _ in universe.trajectory])
    assert naive_diffusivity(read, last=100) < 0.8 * D
    found = MSD(open_trajectory(path, timestep_ps=0.001), {"Li": "type 1"}, drift="none").run().results
    assert found.unwrapping == "image-flags"
    np.testing.assert_allclose(found["Li"].msd_A2[1:50], msd_by_definition(x, range(1, 50)), rtol=1e-6)


# 3. Unwrapping in a box that fluctuates.


def test_3_a_fluctuating_box_does_not_inflate_the_diffusivity(tmp_path):
    rng = np.random.default_rng(6)
    n_frames, n, edge, memory = 800, 20, 20.0, np.exp(-1 / 20)
    noise = np.zeros(n_frames)
    for frame in range(1, n_frames):
        noise[frame] = memory * noise[frame - 1] + rng.normal(0, 0.02 * math.sqrt(1 - memory**2))
    lengths = edge * (1 + noise)
    # The barostat scales places; particles are many cells from home, as after a long run.
    steps = rng.normal(0.0, STEP_A, (n_frames, n, 3)) / lengths[:, None, None]
    steps[0] = rng.uniform(-6, 6, (n, 3))
    fractions = np.cumsum(steps, axis=0)
    images = np.floor(fractions)
    wrapped = (fractions - images) * lengths[:, None, None]
    naive = wrapped + images * lengths[:, None, None]
    assert naive_diffusivity(naive, last=10) > 1.25 * D

    path = tmp_path / "npt.lammpstrj"
    lammps_dump(
        path, np.concatenate([wrapped, images], axis=2), "x y z ix iy iz", [f"0 {e:.10f}\n" * 3 for e in lengths]
    )
    trajectory = open_trajectory(path, timestep_ps=0.001)
    for scheme in ("auto", "fractional"):
        found = MSD(trajectory, {"Li": "type 1"}, unwrap=scheme, drift="none").run().results
        assert found["Li"].diffusivity_cm2_per_s == pytest.approx(D, rel=0.1)
        assert found.unwrapping == ("toroidal" if scheme == "auto" else scheme)
    with gather_paths(trajectory, {"Li": np.arange(n)}, drift="none") as paths:
        assert paths.scheme == "toroidal"
        assert "changing-cell" in {notice.code for notice in paths.notices}
    # Who asks for the flags gets them, with a warning.
    asked = MSD(trajectory, {"Li": "type 1"}, unwrap="image-flags", drift="none").run().results
    assert asked["Li"].msd_A2[8] == pytest.approx(msd_by_definition(naive, [8])[0], rel=1e-6)
    assert "changing-cell" in {notice.code for notice in asked.warnings}


# 4. Tilted cells. A cubic lattice of 10 A, described by vectors that lean over three cells.

LEANING = np.array([[10.0, 0.0, 0.0], [30.0, 10.0, 0.0], [0.0, -20.0, 10.0]])


def rounded(vectors, cell):
    """The naive nearest image."""
    fractions = vectors @ np.linalg.inv(cell)
    return (fractions - np.round(fractions)) @ cell


def test_4_jumps_in_a_leaning_cell():
    x = brownian(400, 20, seed=7, step_A=1.0)
    fractions = x @ np.linalg.inv(LEANING)
    wrapped = (fractions - np.floor(fractions)) @ LEANING
    naive = np.concatenate([wrapped[:1], wrapped[:1] + np.cumsum(rounded(np.diff(wrapped, axis=0), LEANING), axis=0)])
    truth = msd_by_definition(x, range(1, 40))
    assert np.all(msd_by_definition(naive, range(1, 40)) > 1.5 * truth)
    found = ours(wrapped, cell_A=LEANING, drift="none")
    np.testing.assert_allclose(found["Li"].msd_A2[1:40], truth, rtol=1e-9)


def test_4_neighbours_in_a_leaning_cell():
    rng = np.random.default_rng(8)
    places = rng.random((6, 60, 3)) * 10.0  # wrapped into the cube, which is a cell of the same lattice
    separation = places[:, :, None] - places[:, None]
    cube = np.linalg.norm(separation - 10 * np.round(separation / 10), axis=-1)
    others = ~np.eye(60, dtype=bool)
    truth = np.count_nonzero((cube <= 4.0) & others) / (6 * 60)
    naive = np.count_nonzero((np.linalg.norm(rounded(separation, LEANING), axis=-1) <= 4.0) & others) / (6 * 60)
    assert naive < 0.8 * truth
    trajectory = open_trajectory(places, ["O"] * 60, cell_A=LEANING)
    found = Coordination(trajectory, {"O:O": 4.0}, {"O": "element O"}).run().results
    assert found["O:O"].mean == pytest.approx(truth, rel=1e-12)


# 5. Normalisation of the RDF.


def ideal_gas(n_frames, n, seed, edge=20.0):
    return np.random.default_rng(seed).random((n_frames, n, 3)) * edge


def naive_mean_g(x, edge, r_max, *, pairs):
    """Mean of g over all distances up to r_max: pairs seen over those that N * N or so of them would make."""
    separation = x[:, :, None] - x[:, None]
    distance = np.linalg.norm(separation - edge * np.round(separation / edge), axis=-1)
    seen = np.count_nonzero((distance <= r_max) & ~np.eye(x.shape[1], dtype=bool))
    return seen / (len(x) * pairs * 4 / 3 * math.pi * r_max**3 / edge**3)


def mean_g(found):
    shells = np.diff(np.concatenate([[0.0], found.edge_A**3]))
    return float(np.sum(found.g * shells) / shells.sum())


def test_5_ideal_gas_of_twenty_atoms():
    x = ideal_gas(1000, 20, seed=9)
    assert naive_mean_g(x, 20.0, 10.0, pairs=20 * 20) == pytest.approx(0.95, abs=0.012)
    trajectory = open_trajectory(x, ["Ar"] * 20, cell_A=[20.0] * 3)
    found = RDF(trajectory, ["Ar:Ar"], {"Ar": "element Ar"}, r_max_A=10.0).run().results["Ar:Ar"]
    assert mean_g(found) == pytest.approx(1.0, abs=0.012)
    outer = found.r_A > 5
    assert np.mean(np.abs(found.g - 1)[outer] < 2 * found.g_error[outer]) > 0.9
    # No atom is its own neighbour: a histogram of all distances has N in its first bin.
    assert found.counts[:5].sum() < 20


def test_5_pairs_within_molecules_are_left_out_and_not_expected():
    rng = np.random.default_rng(10)
    first = ideal_gas(1000, 10, seed=11)
    bond = rng.normal(size=first.shape)
    bond *= 1.5 / np.linalg.norm(bond, axis=2, keepdims=True)
    x = np.stack([first, first + bond], axis=2).reshape(1000, 20, 3) % 20.0
    topology = Topology(20, elements=np.array(["N"] * 20), residues=np.repeat(np.arange(1, 11), 2))
    trajectory = open_trajectory(x, topology, cell_A=[20.0] * 3)
    options = {"r_max_A": 9.0}
    whole = RDF(trajectory, ["N:N"], {"N": "element N"}, **options).run().results["N:N"]
    apart = RDF(trajectory, ["N:N"], {"N": "element N"}, exclude_molecules=True, **options).run().results["N:N"]
    assert whole.first_peak_A == pytest.approx(1.5, abs=0.03)  # the bond, which is no structure of the liquid
    assert apart.counts.sum() == whole.counts.sum() - 1000 * 20
    assert mean_g(apart) == pytest.approx(1.0, abs=0.015)
    assert mean_g(apart) * 360 / 380 < 0.96  # left out, but still expected


# 6. Single precision far from the origin.


def naive_fft_msd(x):
    """The usual algorithm by Fourier transforms, in the precision of the coordinates and without centring."""
    n = len(x)
    products = np.fft.irfft(np.abs(np.fft.rfft(x, 2 * n, axis=0).astype(np.complex64)) ** 2, axis=0)[:n].astype(
        np.float32
    )
    squares = np.concatenate([x**2, np.zeros_like(x[:1])])
    both, msd = np.float32(2) * squares.sum(axis=0, dtype=np.float32), np.zeros(n)
    for lag in range(n):
        both = both - squares[lag - 1] - squares[n - lag]
        msd[lag] = ((both - 2 * products[lag]) / (n - lag)).sum(axis=1).mean()
    return msd


def test_6_single_precision_at_three_thousand_angstrom():
    lags, lowest = np.arange(1, 100), math.inf
    for seed in range(6):
        x = (brownian(1000, 10, seed=seed, step_A=0.01, spread_A=1.0) + 3000.0).astype(np.float32)
        truth = msd_by_definition(x.astype(float), lags)
        naive = naive_fft_msd(x)[1:100]
        assert np.abs(naive / truth - 1).max() > 10
        lowest = min(lowest, naive.min())
        found = ours(x, unwrap="none", drift="none")["Li"]
        np.testing.assert_allclose(found.msd_A2[1:100], truth, rtol=1e-8)
        assert found.diffusivity_cm2_per_s == pytest.approx(0.01**2 / 2 * 1e-4, rel=0.15)
    assert lowest < 0


# 7. Error bars.


def test_7_intervals_hold_the_truth_as_often_as_they_claim():
    """A straight line's own standard error is many times too small: its 95 % are less than half."""
    lags = np.arange(1, 100)
    slopes, errors, held = [], [], 0
    for seed in range(24):
        x = brownian(200, 10, seed=100 + seed)
        slope, error, _ = line(lags, msd_by_definition(x, lags))
        slopes.append(slope)
        errors.append(error)
        low, high = ours(x, unwrap="none", drift="none")["Li"].slope_ci95_A2_per_ps
        held += low < 6 * D_A2_PER_PS < high
    naive = np.abs(np.array(slopes) - 6 * D_A2_PER_PS) < 1.96 * np.array(errors)
    assert np.std(slopes) > 5 * np.mean(errors)
    assert naive.sum() <= 8
    assert held >= 21


# 8. Motion that is not diffusive.


def subdiffusive(n_frames, n, hurst, seed):
    """Fractional Brownian motion, whose MSD is the lag to the power 2 * hurst (Davies and Harte's exact method)."""
    rng = np.random.default_rng(seed)
    k = np.arange(n_frames)
    covariance = 0.5 * ((k + 1.0) ** (2 * hurst) - 2 * k ** (2.0 * hurst) + np.abs(k - 1.0) ** (2 * hurst))
    spectrum = np.fft.fft(np.concatenate([covariance, [0.0], covariance[:0:-1]])).real
    noise = rng.normal(size=(2, len(spectrum), n, 3))
    steps = np.fft.fft(
        np.sqrt(np.maximum(spectrum, 0) / len(spectrum))[:, None, None] * (noise[0] + 1j * noise[1]), axis=0
    )
    return np.cumsum(steps.real[:n_frames], axis=0)


def test_8_a_straight_looking_line_is_not_diffusion():
    x = subdiffusive(1000, 40, hurst=0.3, seed=13)
    lags = np.arange(20, 100)
    _, _, r2 = line(lags, msd_by_definition(x, lags))
    assert r2 > 0.98  # the naive gate lets it pass
    found = ours(x, unwrap="none", drift="none")
    one = found["Li"]
    assert one.diffusive is False
    assert one.diffusivity_cm2_per_s is None
    assert one.loglog_slope == pytest.approx(0.6, abs=0.1)
    assert one.slope_A2_per_ps > 0
    assert any(notice.code == "not-diffusive" and "not diffusive yet" in notice.text for notice in found.warnings)


# 9. The Haven ratio.


def test_9_an_unresolved_haven_ratio_is_undetermined():
    """Ions move in pairs: their charge goes nowhere, and a ratio of slopes is a ratio to noise."""
    pairs = brownian(400, 20, seed=14)
    rattle = np.random.default_rng(15).normal(0, 0.05, pairs.shape)
    x = np.concatenate([pairs, pairs + rattle], axis=1)
    collective = (x[:, :20] - x[:, 20:]).sum(axis=1)[:, None]
    lags = np.arange(1, 200)
    alone, together = (line(lags, msd_by_definition(path, lags))[0] for path in (x, collective))
    assert together < 0 or 40 * alone / together > 1e3
    trajectory = open_trajectory(x, ["Li"] * 20 + ["Cl"] * 20, dt_ps=1.0, cell_A=[30.0] * 3)
    species = {"Li": "element Li", "Cl": "element Cl"}
    found = Conductivity(trajectory, species, {"Li": 1.0, "Cl": -1.0}).run().results
    assert found.nernst_einstein_S_per_cm == pytest.approx(nernst_einstein(40, 30.0, D), rel=0.15)
    assert found.einstein_helfand_S_per_cm is None
    assert found.haven_ratio is None
    assert {"einstein-helfand-undetermined", "haven-undetermined"} <= {notice.code for notice in found.warnings}


def nernst_einstein(n, edge_A, diffusivity, temperature_K=298.15):
    """Of n ions of charge one, by hand, in S/cm."""
    volume_m3 = (edge_A * 1e-10) ** 3
    return units._e**2 * n * diffusivity * 1e-4 / (volume_m3 * units._k * temperature_K) / 100


# 10. No time step, no box.


def test_10_a_time_step_of_zero_is_refused():
    x = brownian(200, 10, seed=16)
    with np.errstate(divide="ignore"):
        assert not np.isfinite(line(np.arange(1, 30), msd_by_definition(x, range(1, 30)))[0] / np.float64(0.0))
    for spacing in (0.0, -1.0, math.nan):
        with pytest.raises(BadOptionError, match="give a time above zero"):
            ours(x, dt_ps=spacing)


def test_10_frames_that_all_say_step_zero(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = brownian(200, 10, seed=17)
    lammps_dump(tmp_path / "zero.lammpstrj", x, "xu yu zu", ["0 10\n" * 3] * 200, steps=[0] * 200)
    with pytest.raises(SystemExit) as stop:
        main(["analyze", "zero.lammpstrj", "--timestep", "1fs", "--species", "Li=type 1"])
    assert stop.value.code == 2
    assert "no step numbers that grow" in capsys.readouterr().err
    main(["analyze", "zero.lammpstrj", "--species", "Li=type 1", "-q"])
    body = json.loads((tmp_path / "analysis" / "result.json").read_text())
    one = body["results"]["msd"]["Li"]
    assert one["lag_ps"] is None
    assert one["lag_frames"][:3] == [0, 1, 2]
    assert one["diffusivity_cm2_per_s"] is None
    assert [notice["code"] for notice in body["warnings"]].count("no-clock") == 1


def test_10_an_rdf_without_a_box_is_an_error():
    x = ideal_gas(20, 30, seed=18)
    naive_volume = np.prod(np.ptp(x.reshape(-1, 3), axis=0) * 0)  # no box is often stored as a box of zeros
    assert 4 / 3 * math.pi * 10**3 * 30 * naive_volume == 0  # every g(r) is then 0, or not a number
    with pytest.raises(TrajectoryError, match="no cell is stored"):
        RDF(open_trajectory(x, ["O"] * 30), ["O:O"], {"O": "element O"}).run()


# 11. Drift.


def test_11_drift_of_the_whole_is_taken_out():
    x = brownian(1000, 60, seed=19)
    symbols = ["Li"] * 30 + ["Cl"] * 30
    drifting = x + 0.1 * np.arange(1000)[:, None, None] * np.array([1.0, -0.5, 0.2])
    assert naive_diffusivity(drifting, last=100) > 2 * D
    found = ours(drifting, symbols=symbols, unwrap="none")
    assert found["Li"].diffusivity_cm2_per_s == pytest.approx(D, rel=0.1)
    assert "barycentre of all 60 atoms" in found.drift
    assert ours(drifting, symbols=symbols, unwrap="none", drift="none").drift == "none"
    checked = check_trajectory(open_trajectory(drifting, symbols, dt_ps=1.0))
    assert "drift" in {finding.code for finding in checked.findings if finding.severity == "warning"}
    # Whoever analyses is told of it only where it is left in.
    for drift, told in (("auto", False), ("none", True)):
        wanted = Wanted(species={"Li": "element Li"}, msd=("Li",), unwrap="none", drift=drift)
        found = analyse([open_trajectory(drifting, symbols, dt_ps=1.0)], wanted)
        assert ("drift" in {notice.code for notice in found.warnings}) is told


def test_11_ions_in_a_framework_that_moves():
    """The framework drifts and light ions diffuse in it: the barycentre of all hides the drift only in part."""
    ions, framework = brownian(1000, 30, seed=20), ideal_gas(1, 30, seed=21)
    drift = 0.1 * np.arange(1000)[:, None, None] * np.array([1.0, 0.0, 0.0])
    rattle = np.random.default_rng(22).normal(0, 0.02, (1000, 30, 3))
    x = np.concatenate([ions + drift, framework + drift + rattle], axis=1)
    symbols = ["Li"] * 30 + ["Zr"] * 30
    assert naive_diffusivity(x[:, :30], last=100) > 2 * D
    found = ours(x, symbols=symbols, unwrap="none", drift="framework")
    assert found["Li"].diffusivity_cm2_per_s == pytest.approx(D, rel=0.1)
    assert "framework (30 atoms" in found.drift


# 12. Oracles.


def test_12_oracles_agree_with_the_definition():
    import freud
    import tidynamics

    x = brownian(60, 6, seed=23)
    truth = msd_by_definition(x, range(60))
    windowed = freud.msd.MSD(mode="window")
    windowed.compute(positions=x)
    np.testing.assert_allclose(windowed.msd, truth, rtol=1e-4, atol=1e-4)  # single precision
    np.testing.assert_allclose(
        np.mean([tidynamics.msd(x[:, i]) for i in range(6)], axis=0), truth, rtol=1e-8, atol=1e-9
    )
    np.testing.assert_allclose(ours(x, unwrap="none", drift="none")["Li"].msd_A2, truth, rtol=1e-8, atol=1e-12)


def test_12_a_peer_counts_its_first_frame_twice():
    """kinisi's parsers put the first frame before itself: its MSD is that of one frame more, which does not move."""
    scipp = pytest.importorskip("scipp")
    from ase import Atoms
    from kinisi.ase import ASEParser
    from kinisi.displacement import calculate_msd

    x = brownian(12, 5, seed=24) + 5.0
    images = [Atoms("Li5H", np.vstack([places, np.zeros(3)]), cell=[20.0] * 3, pbc=True) for places in x % 20.0]
    parsed = ASEParser(images, "Li", scipp.scalar(1.0, unit="ps"), scipp.scalar(1), progress=False)
    theirs = calculate_msd(parsed, progress=False)["da"].values
    truth, doubled = msd_by_definition(x, range(1, 12)), msd_by_definition(np.concatenate([x[:1], x]), range(1, 12))
    np.testing.assert_allclose(theirs[:11], doubled, rtol=1e-9)
    assert theirs[0] < 0.95 * truth[0]
    np.testing.assert_allclose(ours(x, unwrap="none", drift="none")["Li"].msd_A2[1:], truth, rtol=1e-9)
