"""Slopes, their intervals, and the question whether it is diffusion; coverage itself is in test_coverage.py."""

import math

import numpy as np
import pytest
from scipy.stats import chi2

from atomflow.analysis.correlation import frame_grid
from atomflow.analysis.covariance import Run, SlopeLaw, covariance_parts, slope_interval
from atomflow.analysis.diffusion import _why_not, estimate
from atomflow.analysis.line_fit import Curve, WindowFit, fit_window
from atomflow.analysis.motion import motion_of_paths, of_one
from atomflow.errors import BadOptionError, TrajectoryError

SLOPE = 0.75  # A^2 a frame of walk()


class ArrayPaths:
    """Paths in an array, with the face of atomflow.trajectory.Paths."""

    notices = ()
    drift = scheme = "none"
    volume_A3 = None

    def __init__(self, positions, times_ps=None):
        self.positions, self.n_frames = positions, positions.shape[1]
        self.times_ps = np.arange(self.n_frames) * 1.0 if times_ps is None else times_ps
        self.groups = {"A": slice(0, len(positions))}

    def block(self, rows):
        return self.positions[rows]


def displacements(positions, times_ps=None):
    return motion_of_paths(ArrayPaths(positions, times_ps)).species["A"]


def walk(n, n_frames, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(0, 0.5, (n, n_frames, 3)), axis=1)


def fractional(n, n_frames, exponent, seed=0):
    """Fractional Brownian motion, whose mean square displacement is the lag to a power: exactly, by circulant embedding."""
    rng, k = np.random.default_rng(seed), np.arange(n_frames)
    row = 0.5 * (np.abs(k + 1.0) ** exponent - 2 * np.abs(k * 1.0) ** exponent + np.abs(k - 1.0) ** exponent)
    power = np.clip(np.fft.fft(np.concatenate([row, [0], row[1:][::-1]])).real, 0, None)
    noise = rng.normal(size=(n, 3, len(power))) + 1j * rng.normal(size=(n, 3, len(power)))
    steps = np.fft.fft(np.sqrt(power / len(power)) * noise, axis=2).real[..., :n_frames]
    return np.cumsum(steps.transpose(0, 2, 1), axis=1)


def cage(n, n_frames, size_A=2.0, seed=0):
    rng = np.random.default_rng(seed + 1000)
    around = np.empty((n, n_frames, 3))
    around[:, 0] = rng.normal(0, size_A, (n, 3))
    for frame in range(1, n_frames):
        around[:, frame] = 0.8 * around[:, frame - 1] + rng.normal(0, 0.6 * size_A, (n, 3))
    return walk(n, n_frames, seed) + around


# --- covariance ---


@pytest.mark.parametrize(("n_frames", "lag"), [(100, 1), (100, 5), (100, 30), (400, 64)])
def test_variance_of_a_random_walk_is_qian_s(n_frames, lag):
    """Qian, Sheetz and Elson 1991, doi:10.1016/S0006-3495(91)82125-7: two dimensions, overlapping windows."""
    windows = n_frames - lag
    expected = lag * (4 * lag**2 * windows + 2 * windows + lag - lag**3) / (6 * windows**2)
    ours = covariance_parts(np.array([lag]), np.zeros(lag + 1), [Run(1, n_frames)], 2)[0][0, 0]
    assert ours == pytest.approx(expected, rel=1e-9 if lag < 32 else 0.01)  # long lags are shifted in steps


def test_covariance_of_a_caged_particle_by_simulation():
    """The covariance from the mean square displacement alone is what 3,000 runs scatter by."""
    lags, n_frames, keep = np.array([20, 24, 32, 60]), 200, 0.8
    rng = np.random.default_rng(5)
    around = np.empty((3000, n_frames, 1))
    around[:, 0] = rng.normal(0, 2, (3000, 1))
    for frame in range(1, n_frames):
        around[:, frame] = keep * around[:, frame - 1] + rng.normal(0, 2 * 0.6, (3000, 1))
    paths = around + np.cumsum(rng.normal(0, 0.5, around.shape), axis=1)
    seen = np.array([((paths[:, lag:] - paths[:, :-lag]) ** 2).mean(axis=(1, 2)) for lag in lags])
    true = 0.25 * np.arange(21) + 8 * (1 - keep ** np.arange(21))
    line = 0.25
    parts = covariance_parts(lags, true - line * np.arange(21), [Run(1, n_frames)], 1)
    model = line**2 * parts[0] + line * parts[1] + parts[2]
    np.testing.assert_allclose(model, np.cov(seen), rtol=0.1)


def test_particles_runs_and_dimensions_divide_the_variance():
    lags = np.array([2, 3, 6])
    one = covariance_parts(lags, np.zeros(3), [Run(1, 300)], 1)[0]
    np.testing.assert_allclose(covariance_parts(lags, np.zeros(3), [Run(10, 300)], 3)[0], one / 30)
    np.testing.assert_allclose(covariance_parts(lags, np.zeros(3), [Run(1, 300)] * 4, 1)[0], one / 4)


# --- intervals ---


@pytest.mark.parametrize("freedom", [20, 200])
def test_interval_of_a_mean_of_squares_is_that_of_chi_square(freedom):
    law = SlopeLaw(1.0, 2 / freedom, 0.0, 0.0)
    low, high = slope_interval([law], np.ones(1))
    # 1.56 of the third cumulant of a chi-square is what a slope has; a mean of squares has 2.
    assert low == pytest.approx(freedom / chi2.ppf(0.975, freedom), rel=0.06)
    assert high == pytest.approx(freedom / chi2.ppf(0.025, freedom), rel=0.06)


def test_interval_of_many_squares_is_normal():
    assert slope_interval([SlopeLaw(2.0, 1e-6, 0.0, 0.0)], np.ones(1)) == pytest.approx((1.99608, 2.00392), abs=2e-5)


def test_interval_that_reaches_zero_says_so():
    low, high = slope_interval([SlopeLaw(0.5, 0.01, 0.0, 1.0)], np.ones(1))
    assert low == 0 and 2.0 < high < 3.0
    assert slope_interval([SlopeLaw(-0.5, 0.01, 0.0, 1.0)], np.ones(1))[0] == 0


def test_mixture_is_as_wide_as_its_parts_are_apart():
    laws = [SlopeLaw(1.0, 1e-4, 0, 0), SlopeLaw(2.0, 1e-4, 0, 0)]
    low, high = slope_interval(laws, np.array([0.5, 0.5]))
    assert low == pytest.approx(0.984, abs=0.005) and high == pytest.approx(2.033, abs=0.01)


# --- fits ---


def test_fit_of_a_perfect_line_is_that_line():
    one = displacements(walk(4, 400))
    straight = type(one)(
        **{
            **{field: getattr(one, field) for field in one.__dataclass_fields__},
            "msd_A2": np.outer([1, 2, 3], one.lags),
        }
    )
    fit = fit_window(Curve((straight,)), np.array([4, 6, 8, 12, 16]))
    assert fit.slope == pytest.approx(6.0, rel=1e-9)
    assert fit.loglog_slope == pytest.approx(1.0, rel=1e-9)


def test_random_walk():
    found = estimate([displacements(walk(50, 1000))])
    assert found.ci95[0] < SLOPE < found.ci95[1] and found.diffusive and not found.why_not
    assert found.slope == pytest.approx(SLOPE, rel=0.05)
    np.testing.assert_allclose(found.axis_slopes, SLOPE / 3, rtol=0.1)
    assert found.axis_slopes.sum() == pytest.approx(found.slope)
    assert all(low < SLOPE / 3 < high for low, high in found.axis_ci95)


def test_units_of_length_change_nothing_but_the_numbers():
    one, other = (estimate([displacements(scale * cage(20, 600))]) for scale in (1.0, 1000.0))
    assert other.slope == pytest.approx(1e6 * one.slope) and other.window == one.window
    np.testing.assert_allclose(np.array(other.ci95), 1e6 * np.array(one.ci95), rtol=1e-5)


def test_caged_particles_are_fitted_after_their_cage():
    """The slope of the first lags is six times the diffusive one; an R^2 close to one hides it."""
    found = estimate([displacements(cage(50, 2000))])
    assert found.diffusive and found.window[0] >= 12
    assert found.ci95[0] < SLOPE < found.ci95[1]


def test_a_wide_cage_is_not_fitted_from_its_first_lags():
    """The offset keeps it from being called diffusive; what is fitted is the slope after the cage all the same."""
    found = estimate([displacements(cage(50, 2000, size_A=4.0))])
    assert found.window[0] >= 12
    assert found.ci95[0] < SLOPE < found.ci95[1] < 1.3 * SLOPE


@pytest.mark.parametrize("exponent", [0.4, 0.6])
def test_sub_diffusion_is_called_so_though_its_r_squared_is_high(exponent):
    one = displacements(fractional(30, 1000, exponent))
    lags = np.arange(1, 300)
    assert np.corrcoef(lags, one.total_A2[lags])[0, 1] ** 2 > 0.9  # what many programs go by
    found = estimate([one])
    assert not found.diffusive and "below" in found.why_not
    assert found.loglog_slope == pytest.approx(exponent, abs=0.15)
    assert found.slope > 0 and np.isfinite(found.ci95).all()


def test_super_diffusion_is_called_so():
    drifting = walk(20, 400) + np.arange(400)[None, :, None] * 0.5
    found = estimate([displacements(drifting)])
    assert not found.diffusive and "above" in found.why_not


def test_rattling_in_place_is_no_diffusion():
    found = estimate([displacements(np.random.default_rng(2).normal(size=(30, 600, 3)))])
    assert not found.diffusive and found.ci95[0] == 0 and abs(found.slope) < 1e-2


def test_one_particle_has_a_wide_interval():
    alone, many = (estimate([displacements(walk(n, 500))]) for n in (1, 100))
    assert alone.ci95[1] - alone.ci95[0] > 4 * (many.ci95[1] - many.ci95[0])


def test_particles_that_move_as_one_do_not_count_as_many():
    path = walk(5, 500, seed=3)
    few = estimate([displacements(path)])
    copies = estimate([displacements(np.repeat(path, 10, axis=0))])
    assert copies.widening > 7
    assert copies.slope == pytest.approx(few.slope, rel=0.1)
    assert copies.ci95[1] - copies.ci95[0] > 0.7 * (few.ci95[1] - few.ci95[0])


def test_unlike_particles_widen_the_interval():
    """Half of them move: which half was drawn is part of the error."""
    found = estimate([displacements(walk(40, 500) * np.where(np.arange(40) % 2, 1.5, 0.1)[:, None, None])])
    assert found.widening > 3


def test_motion_along_one_axis_has_a_third_of_the_data():
    flat = walk(30, 600) * np.array([1.0, 0.0, 0.0])
    along, everywhere = (
        fit_window(Curve((displacements(flat),)), np.array([2, 3, 4, 6, 8])),
        fit_window(Curve((displacements(walk(30, 600)),)), np.array([2, 3, 4, 6, 8])),
    )
    relative = [np.sqrt(fit.law.variance(fit.slope) / fit.widening) / fit.slope for fit in (along, everywhere)]
    assert relative[0] / relative[1] == pytest.approx(np.sqrt(3), rel=0.05)


# --- windows by hand ---


def test_window_by_hand():
    one = displacements(cage(30, 1000))
    found = estimate([one], fit_from=30, fit_to=120)
    assert found.window == (30, 120)
    early = estimate([one], fit_from=1, fit_to=8)
    assert early.slope > 1.5 * found.slope
    assert estimate([one], fit_from=20).window[0] == 20
    assert estimate([one], fit_to=50).window[1] <= 50


@pytest.mark.parametrize("window", [(5, 6), (90, 20), (5000, None), (1, 2)])
def test_windows_without_three_lags_are_refused(window):
    with pytest.raises(BadOptionError, match=r"three|comes before"):
        estimate([displacements(walk(3, 200))], fit_from=window[0], fit_to=window[1])


# --- replicas ---


def test_replicas_are_one_estimate():
    runs = [displacements(walk(5, 400, seed)) for seed in range(8)]
    together, alone = estimate(runs), estimate(runs[:1])
    assert together.ci95[0] < SLOPE < together.ci95[1] and not together.replicas_differ
    assert together.ci95[1] - together.ci95[0] < 0.75 * (alone.ci95[1] - alone.ci95[0])


def test_one_run_cut_in_two_particles_is_the_same_as_two_replicas():
    paths = walk(24, 300)
    whole = estimate([displacements(paths)], fit_from=2, fit_to=16)
    parts = estimate([displacements(paths[:12]), displacements(paths[12:])], fit_from=2, fit_to=16)
    assert parts.slope == pytest.approx(whole.slope, rel=1e-6)
    assert parts.ci95[1] == pytest.approx(whole.ci95[1], rel=0.1)


def test_replicas_of_different_lengths_count_by_their_pairs():
    long, short = displacements(walk(5, 600, 1)), displacements(walk(5, 60, 2))
    curve = Curve((long, short))
    lag = 10
    expected = (590 * long.total_A2[lag] + 50 * short.total_A2[lag]) / 640
    assert curve.total_A2[lag] == pytest.approx(expected)
    assert len(curve.total_A2) == 600
    assert estimate([long, short]).diffusive


def test_replicas_that_differ_widen_the_interval():
    alike = estimate([displacements(walk(20, 300, seed)) for seed in range(4)])
    unlike = estimate([displacements(scale * walk(20, 300, seed)) for seed, scale in enumerate((1.0, 1.0, 1.6, 0.6))])
    assert not alike.replicas_differ and unlike.replicas_differ
    assert unlike.ci95[1] - unlike.ci95[0] > 3 * (alike.ci95[1] - alike.ci95[0])


def test_replicas_with_different_spacings_are_refused():
    runs = [displacements(walk(3, 100), np.arange(100) * spacing) for spacing in (1.0, 2.0)]
    with pytest.raises(TrajectoryError, match="frame spacings"):
        estimate(runs)


# --- nothing to fit ---


def test_too_few_frames_and_no_motion_have_no_estimate():
    assert estimate([displacements(walk(5, 3))]) is None
    assert estimate([displacements(np.ones((5, 100, 3)))]) is None


def test_uneven_frames_have_no_estimate():
    times = np.array([0.0, 1.0, 2.1, 5.3, 9.7, 11.8, 17.1, 20.3])
    assert estimate([displacements(walk(5, 8), times)]) is None


def test_missing_frames_are_allowed():
    kept = np.sort(np.random.default_rng(0).permutation(800)[:600])
    kept[0] = 0
    found = estimate([displacements(walk(20, 800)[:, kept], kept * 1.0)])
    assert found.diffusive and found.ci95[0] < SLOPE < found.ci95[1]


def one_path(x):
    return of_one(np.asarray(x, float), frame_grid(np.arange(float(len(x))), len(x)))


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ((math.nan, None), "fit limit of nan frames"),
        ((math.inf, None), "fit limit of inf frames"),
        ((None, math.nan), "fit limit of nan frames"),
        ((None, 0.0), "fit limit of 0 frames"),
        ((1.0, 0.0), "fit limit of 0 frames"),
        ((-5.0, 10.0), "fit limit of -5 frames"),
        ((20.0, 5.0), "the last lag comes before the first"),
        ((500.0, None), "fit from lag 500 to 4000 .* of the 199 lags"),
        ((0.2, 0.9), "fewer than three"),
    ],
)
def test_windows_that_are_none_are_told_in_one_line(limits, told):
    path = one_path(np.cumsum(np.random.default_rng(0).normal(size=(200, 3)), axis=0))
    with pytest.raises(BadOptionError, match=told) as caught:
        estimate([path], fit_from=limits[0], fit_to=limits[1])
    assert "\n" not in str(caught.value)


def test_a_window_that_begins_and_does_not_end_reaches_eight_times_as_far():
    path = one_path(np.cumsum(np.random.default_rng(0).normal(size=(200, 3)), axis=0))
    assert estimate([path], fit_from=5.0).window == (5, 40)
    assert estimate([path], fit_from=100.0).window == (100, 198)


def test_a_window_to_which_no_line_fits_is_told():
    there_and_back = np.sin(np.arange(300.0))[:, None] * np.ones(3)
    with pytest.raises(BadOptionError, match=r"fit from lag 150 to 298 .* no line can be fitted"):
        estimate([one_path(there_and_back)], fit_from=150.0)


@pytest.mark.filterwarnings("error")
def test_displacements_too_small_for_numbers_have_no_slope():
    tiny = 1e-160 * np.cumsum(np.random.default_rng(0).normal(size=(200, 3)), axis=0)
    assert estimate([one_path(tiny)]) is None


@pytest.mark.parametrize("slope", [1.0, math.nan, math.inf])
@pytest.mark.parametrize("error", [0.1, 30.0, math.nan, math.inf])
def test_a_loglog_slope_that_is_no_number_is_never_diffusion(slope, error):
    fit = WindowFit(np.arange(1, 4), np.ones(3), 1.0, SlopeLaw(1.0, 0.1, 0.0, 0.0), 1.0, slope, error)
    if (slope, error) == (1.0, 0.1):
        assert _why_not(fit) == ""
    else:
        assert _why_not(fit) == "the log-log slope of the MSD is not to be told from these data"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("p", [1e-12, 0.3, 2.0, 10.0, 1e3, 1e9, 1e40])
@pytest.mark.parametrize("fitted", [-1.0, 0.0, 1e-9, 1.0])
def test_intervals_of_laws_that_say_next_to_nothing(p, fitted):
    """Chances that do not rise all the way have no crossing: the interval is then open, not an error."""
    low, high = slope_interval([SlopeLaw(fitted, p, 0.0, 1e-6)], np.ones(1))
    assert 0 <= low <= high
    assert high > max(fitted, 0.0)
    if p > 100 and fitted > 0:
        assert high == math.inf
    assert slope_interval([SlopeLaw(1.0, math.nan, 0.0, 0.0), SlopeLaw(1.0, 0.1, 0.0, 0.0)], [0.5, 0.5]) == (
        0,
        math.inf,
    )
