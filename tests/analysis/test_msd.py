"""Mean square displacements as numbers: against independent packages, against their definition, and with odd times."""

import itertools

import numpy as np
import pytest
import tidynamics
from hypothesis import given, settings
from hypothesis import strategies as st

from atomflow.analysis.correlation import frame_grid, msd_direct, msd_fft, msd_uneven, uneven_lags
from atomflow.analysis.motion import ladder, motion_of_paths, of_one
from atomflow.errors import BadOptionError, TrajectoryError


class ArrayPaths:
    """Paths in an array, with the face of atomflow.trajectory.Paths."""

    notices = ()
    drift = scheme = "none"
    volume_A3 = None

    def __init__(self, positions, groups=None, times_ps="even"):
        self.positions = positions
        self.n_frames = positions.shape[1]
        self.times_ps = np.arange(self.n_frames) * 2.0 if isinstance(times_ps, str) else times_ps
        self.groups = groups or {"A": slice(0, len(positions))}

    def block(self, rows):
        return self.positions[rows]


def walk(n, n_frames, seed=0, step_A=0.5):
    return np.cumsum(np.random.default_rng(seed).normal(0, step_A, (n, n_frames, 3)), axis=1)


def double_loop(positions):
    """The definition, pair by pair: (d, n_frames)."""
    _, n_frames, d = positions.shape
    sums, pairs = np.zeros((d, n_frames)), np.zeros(n_frames)
    for path in positions:
        for i, j in itertools.combinations_with_replacement(range(n_frames), 2):
            sums[:, j - i] += (path[j] - path[i]) ** 2
            pairs[j - i] += 1
    return sums / pairs


@pytest.mark.parametrize(("n", "n_frames"), [(1, 2), (3, 7), (17, 300), (5, 1024), (2, 4099)])
def test_equal_to_tidynamics(n, n_frames):
    positions = walk(n, n_frames)
    oracle = np.mean([tidynamics.msd(path) for path in positions], axis=0)
    ours = msd_fft(positions).sum(axis=0)
    assert ours[0] == 0
    np.testing.assert_allclose(ours[1:], oracle[1:], rtol=1e-8)


def test_each_axis_is_its_own():
    positions = walk(4, 200) * [1.0, 2.0, 0.0]
    ours = msd_fft(positions)
    for axis in range(3):
        oracle = np.mean([tidynamics.msd(path[:, axis]) for path in positions], axis=0)
        np.testing.assert_allclose(ours[axis], oracle, rtol=1e-8, atol=1e-9)  # its lag 0 is not quite 0


def test_equal_to_the_double_loop():
    positions = walk(3, 40)
    expected = double_loop(positions)
    np.testing.assert_allclose(msd_fft(positions), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(msd_direct(positions, np.arange(40)), expected, rtol=1e-12, atol=1e-14)


def test_straight_flight_is_the_square_of_the_lag():
    path = np.arange(50)[None, :, None] * np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(msd_fft(path), np.outer([1.0, 4.0, 0.25], np.arange(50) ** 2), rtol=1e-9, atol=1e-9)


def test_three_thousand_angstrom_from_the_origin():
    """Without centring, and in single precision, such coordinates gave negative squares."""
    still = 1e-3 * np.random.default_rng(1).normal(size=(4, 2000, 3))
    near, far = msd_fft(still), msd_fft(still + np.array([3000.0, -3000.0, 2990.0]))
    assert (far[:, 1:] > 0).all()
    np.testing.assert_allclose(far[:, 1:], near[:, 1:], rtol=1e-6)
    single = (still + 3000.0).astype(np.float32)
    assert np.abs(msd_fft(single.astype(float))[:, 1:] / near[:, 1:] - 1).max() < 0.1


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 4),
    n_frames=st.integers(2, 60),
    shift=st.tuples(*[st.floats(-1e4, 1e4)] * 3),
    scale=st.floats(0.01, 100),
    seed=st.integers(0, 99),
)
def test_invariants(n, n_frames, shift, scale, seed):
    positions = walk(n, n_frames, seed)
    plain = msd_fft(positions)
    loose = {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(msd_fft(positions + shift), plain, **loose)
    np.testing.assert_allclose(msd_fft(positions[::-1]), plain, **loose)
    np.testing.assert_allclose(msd_fft(positions[:, ::-1]), plain, **loose)
    np.testing.assert_allclose(msd_fft(scale * positions), scale**2 * plain, rtol=1e-6, atol=1e-9 * scale**2)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    np.testing.assert_allclose(msd_fft(positions @ rotation).sum(axis=0), plain.sum(axis=0), **loose)


# --- frames that are missing, or at uneven times ---


def test_even_times_have_no_gaps():
    grid = frame_grid(np.arange(10) * 0.3, 10)
    assert grid.even and grid.whole and grid.spacing_ps == pytest.approx(0.3)
    assert frame_grid(None, 10).spacing_ps is None


def test_times_in_single_precision_are_even():
    times = (np.arange(20000) * 0.1).astype(np.float32).astype(float)
    grid = frame_grid(times, len(times))
    assert grid.whole and grid.spacing_ps == pytest.approx(0.1, rel=1e-6)


def test_missing_frames_keep_their_places():
    """Frames joined over a gap would make the particles jump."""
    positions, kept = walk(6, 90), np.delete(np.arange(90), [3, 4, 17, 40, 41, 42, 80])
    grid = frame_grid(kept * 2.0, len(kept))
    assert grid.even and not grid.whole and grid.length == 90 and grid.spacing_ps == pytest.approx(2.0)
    ours = msd_fft(positions[:, kept], grid)
    for lag in (1, 2, 5, 40, 88):
        there = [(i, i + lag) for i in range(90 - lag) if i in kept and i + lag in kept]
        expected = np.mean([(positions[:, j] - positions[:, i]) ** 2 for i, j in there], axis=(0, 1))
        np.testing.assert_allclose(ours[:, lag], expected, rtol=1e-9)
        assert grid.pairs[lag] == len(there)


def test_lags_that_no_two_frames_have_are_not_numbers():
    kept = np.array([0, 1, 2, 9])
    msd = msd_fft(walk(2, 4), frame_grid(kept * 1.0, 4))
    assert np.isfinite(msd[:, [0, 1, 2, 7, 8, 9]]).all()
    assert np.isnan(msd[:, [3, 4, 5, 6]]).all()


def test_uneven_times_pair_by_pair():
    times = np.array([0.0, 1.0, 2.1, 5.3, 9.7, 11.8])
    grid = frame_grid(times, 6)
    assert not grid.even
    positions = walk(3, 6)
    lags, pairs, _ = uneven_lags(times)
    msd = msd_uneven(positions, times)
    assert pairs.sum() == 15
    place = np.flatnonzero(np.isclose(lags, 2.1))
    assert pairs[place] == 2  # from 0 to 2.1, and from 9.7 to 11.8
    expected = np.mean((positions[:, [2, 5]] - positions[:, [0, 4]]) ** 2, axis=(0, 1))
    np.testing.assert_allclose(msd[:, place[0]], expected)


@pytest.mark.parametrize("times", [[0, 1, 1, 2], [0, 2, 1, 3], [0, 0, 0, 0]])
def test_times_that_do_not_ascend_are_refused(times):
    with pytest.raises(TrajectoryError, match="not after the one before"):
        frame_grid(np.array(times, float), 4)


def test_many_uneven_frames_are_refused():
    times = np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, 1500))
    with pytest.raises(TrajectoryError, match="uneven times"):
        frame_grid(times, 1500)


# --- what is kept of paths ---


def test_motion_of_paths_has_each_species_and_the_sums():
    positions = walk(70, 150)
    groups = {"A": slice(0, 40), "B": slice(40, 70)}
    motion = motion_of_paths(ArrayPaths(positions, groups))
    for name, rows in groups.items():
        one = motion.species[name]
        np.testing.assert_allclose(one.msd_A2, msd_fft(positions[rows]), rtol=1e-10, atol=1e-12)
        moved = positions[rows].sum(axis=0)
        np.testing.assert_allclose(motion.sums_A[name], moved - moved.mean(axis=0), atol=1e-8)
        together = of_one(motion.sums_A[name], motion.grid)
        np.testing.assert_allclose(together.total_A2[1:], tidynamics.msd(moved)[1:], rtol=1e-8)
        shares = one.group_sizes / one.n_particles
        np.testing.assert_allclose(shares @ one.group_msd_A2, one.total_A2[ladder(149)], rtol=1e-9)


@pytest.mark.parametrize("workers", [2, 5])
def test_threads_change_nothing(workers):
    paths = ArrayPaths(walk(50, 200))
    alone, shared = motion_of_paths(paths), motion_of_paths(paths, workers=workers)
    np.testing.assert_array_equal(alone.species["A"].msd_A2, shared.species["A"].msd_A2)
    np.testing.assert_array_equal(alone.sums_A["A"], shared.sums_A["A"])


def test_long_paths_are_read_in_parts():
    """More than 32 MB for a group: several reads, the same numbers."""
    positions = walk(12, 150_000)
    asked = []

    class Watched(ArrayPaths):
        def block(self, rows):
            asked.append(rows.stop - rows.start)
            return super().block(rows)

    groups = {"A": slice(0, 12)}
    motion = motion_of_paths(Watched(positions, groups))
    assert sum(asked) == 12 and max(asked) * 150_000 * 24 <= 2**25
    oracle = np.mean([tidynamics.msd(path - path.mean(axis=0)) for path in positions[:2]], axis=0)
    ours = msd_fft(positions[:2]).sum(axis=0)
    np.testing.assert_allclose(ours[1:], oracle[1:], rtol=1e-8)
    assert motion.species["A"].total_A2[1] == pytest.approx(0.75, rel=0.01)


def test_axes_are_chosen():
    positions = walk(8, 100)
    motion = motion_of_paths(ArrayPaths(positions), axes="zx")
    np.testing.assert_allclose(motion.species["A"].msd_A2, msd_fft(positions)[[0, 2]], rtol=1e-10, atol=1e-12)
    for axes in ("", "xx", "w", "xyzx"):
        with pytest.raises(BadOptionError, match="axes"):
            motion_of_paths(ArrayPaths(positions), axes=axes)


def test_one_frame_is_refused():
    with pytest.raises(TrajectoryError, match="two or more"):
        motion_of_paths(ArrayPaths(walk(3, 1)))


def test_particles_that_move_as_one_are_alike():
    alone = motion_of_paths(ArrayPaths(walk(40, 400))).species["A"]
    together = motion_of_paths(ArrayPaths(np.repeat(walk(10, 400), 4, axis=0))).species["A"]
    assert all(abs(ratio - 1) < 0.15 for _, ratio in alone.likeness)
    assert all(abs(ratio - 4) < 0.6 for _, ratio in together.likeness)


def test_a_run_that_slows_down_is_noticed():
    steady = walk(30, 400)
    slower = np.cumsum(np.diff(steady, axis=1, prepend=0) * np.where(np.arange(400) < 200, 2.0, 1.0)[:, None], axis=1)
    assert abs(motion_of_paths(ArrayPaths(steady)).species["A"].change) < 3.5
    assert motion_of_paths(ArrayPaths(slower)).species["A"].change < -10
