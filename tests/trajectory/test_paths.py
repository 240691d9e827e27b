import itertools
import os
import pickle
import re
import resource
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomflow.errors import BadOptionError, SelectionError, TrajectoryError, UnknownNameError, UserError
from atomflow.trajectory import Clock, Frame, Topology, Trajectory
from atomflow.trajectory import path_store as stores
from atomflow.trajectory.paths import gather_paths
from atomflow.trajectory.preflight import check_trajectory

BOX = np.diag([20.0, 25.0, 30.0])
TILTED = np.array([[20.0, 0, 0], [29.0, 12.0, 0], [-31.0, 26.0, 15.0]])


class Frames:
    """A source in memory that notes what was read."""

    notices = ()
    name = "test"

    def __init__(self, positions, cells=None, *, layout="wrapped", images=None):
        self.positions, self.layout, self.images = positions, layout, images
        self.n_frames, self.n_atoms = positions.shape[:2]
        self.cells = None if cells is None else np.broadcast_to(cells, (self.n_frames, 3, 3))
        self.read = []

    def frames(self, indices, atoms=None):
        rows = slice(None) if atoms is None else atoms
        for i in indices:
            self.read.append(i)
            cell = None if self.cells is None else np.array(self.cells[i])
            yield Frame(i, self.positions[i][rows], cell, images=None if self.images is None else self.images[i][rows])


def wrapped(positions, cells):
    fractions = np.einsum("tni,tij->tnj", positions, np.linalg.inv(np.broadcast_to(cells, (len(positions), 3, 3))))
    images = np.floor(fractions)
    return np.einsum("tni,tij->tnj", fractions - images, np.broadcast_to(cells, (len(positions), 3, 3))), images.astype(
        int
    )


def brownian(seed=0, frames=150, atoms=30, box=BOX, step=0.7):
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, step, (frames, atoms, 3))
    moves[0] = rng.uniform(0, 1, (atoms, 3)) @ box
    return np.cumsum(moves, axis=0)


def system(true, cells=BOX, *, wrap=True, times=None, dtype=np.float64, layout="wrapped", **known):
    positions = wrapped(true, cells)[0] if wrap else true
    source = Frames(positions.astype(dtype), cells, layout=layout)
    return Trajectory(source, Topology(true.shape[1], **known), Clock(times, "test"))


def moved(paths):
    everything = paths.block(slice(0, paths.n_particles))
    return everything - everything[:, :1]


ALL = {"all": np.arange(30)}
HALVES = {"Li": np.arange(0, 30, 2), "O": np.arange(1, 30, 2)}
MASSES = {"masses_u": np.where(np.arange(30) % 2, 16.0, 7.0), "elements": np.where(np.arange(30) % 2, "O", "Li")}


# -- displacements -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [BOX, TILTED], ids=["orthogonal", "tilted"])
def test_true_displacements_of_wrapped_walkers(box):
    true = brownian(1, box=box)
    with gather_paths(system(true, box), HALVES, drift="none") as paths:
        assert (paths.n_frames, paths.n_particles, paths.scheme, paths.drift) == (150, 30, "toroidal", "none")
        assert paths.groups == {"Li": slice(0, 15), "O": slice(15, 30)}
        assert paths.volume_A3 == pytest.approx(abs(np.linalg.det(box)))
        assert paths.times_ps is None
        want = (true - true[0])[:, [*range(0, 30, 2), *range(1, 30, 2)]].swapaxes(0, 1)
        np.testing.assert_allclose(moved(paths), want, atol=1e-9)
        block = paths.block(slice(3, 7))
        assert block.shape == (4, 150, 3)
        assert block.flags.c_contiguous
        assert block.dtype == np.float64
        np.testing.assert_allclose(block - block[:, :1], want[3:7], atol=1e-9)


def test_particles_start_where_they_were_in_the_cell():
    true = brownian(2) + 3000.0
    paths = gather_paths(system(true), ALL, drift="none")
    np.testing.assert_allclose(paths.block(slice(0, 30))[:, 0], wrapped(true, BOX)[0][0], atol=1e-9)
    nowhere = gather_paths(Trajectory(Frames(true, layout="unwrapped"), Topology(30), Clock(None, "")), ALL)
    start = nowhere.block(slice(0, 30))[:, 0]
    np.testing.assert_allclose(start, true[0] - true[0].mean(0), atol=1e-9)


def test_single_precision_far_from_the_origin():
    # Sums of squares of 3,000 A in single precision have an error of about an A2: far above these steps.
    true = brownian(3, step=0.05) + 3000.0
    for wrap, layout in ((True, "wrapped"), (False, "unwrapped")):
        stored = system(true, wrap=wrap, dtype=np.float32, layout=layout)
        paths = moved(gather_paths(stored, ALL, drift="none"))
        # What single precision lost on writing is all that is lost.
        np.testing.assert_allclose(paths, (true - true[0]).swapaxes(0, 1), atol=5e-4)
        msd = ((paths[:, 1:] - paths[:, :-1]) ** 2).sum(-1).mean()
        assert msd == pytest.approx(3 * 0.05**2, rel=0.05)


def test_windows_and_times():
    true, times = brownian(4), 2.0 * np.arange(150)
    traj = system(true, times=times)
    paths = gather_paths(traj, ALL, start=10, stop=100, step=3, drift="none")
    frames = np.arange(10, 100, 3)
    np.testing.assert_array_equal(paths.frames, frames)
    np.testing.assert_array_equal(paths.times_ps, times[frames])
    np.testing.assert_allclose(moved(paths), (true[frames] - true[10]).swapaxes(0, 1), atol=1e-9)
    assert gather_paths(traj, ALL, start=5, stop=6).n_frames == 1
    with pytest.raises(TrajectoryError, match="none of the 150 frames"):
        gather_paths(traj, ALL, start=200)


def test_frames_that_repeat_a_time_are_left_out():
    true = brownian(5, frames=50)
    doubled = np.insert(true, 20, true[19], axis=0)
    times = np.insert(np.arange(50.0), 20, 19.0)
    paths = gather_paths(system(doubled, times=times), ALL, drift="none")
    np.testing.assert_allclose(moved(paths), (true - true[0]).swapaxes(0, 1), atol=1e-9)
    np.testing.assert_array_equal(paths.times_ps, np.arange(50.0))
    assert [n.code for n in paths.notices] == ["duplicate-frames"]
    # Frames are numbered as in the file; the step is among those that are left.
    part = gather_paths(system(doubled, times=times), ALL, start=10, stop=31, step=2, drift="none")
    np.testing.assert_array_equal(part.frames, [10, 12, 14, 16, 18, 21, 23, 25, 27, 29])
    np.testing.assert_array_equal(part.times_ps, np.arange(10.0, 30.0, 2.0))
    # Without times nobody knows, but it is told.
    unknown = gather_paths(system(doubled), ALL, drift="none")
    assert unknown.n_frames == 51
    assert [n.code for n in unknown.notices] == ["duplicate-frames"]
    assert "1 frame is equal to the one before" in unknown.notices[0].text


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), where=st.tuples(*[st.floats(-3e3, 3e3)] * 3), tilted=st.booleans())
def test_paths_turn_with_the_system_and_ignore_origin_order_and_images(seed, where, tilted):
    rng = np.random.default_rng(seed)
    box = TILTED if tilted else BOX
    true = brownian(seed, frames=25, atoms=8, box=box, step=0.3)
    groups = {"all": np.arange(8)}

    def of(positions, cell, **how):
        return moved(
            gather_paths(system(positions, cell, wrap=False, layout="unknown", **how), groups, unwrap="toroidal")
        )

    inside = wrapped(true, box)[0]
    here = of(inside, box)
    np.testing.assert_allclose(here, (true - true[0]).swapaxes(0, 1), atol=1e-8)
    np.testing.assert_allclose(of(inside + np.array(where), box), here, atol=1e-8)
    np.testing.assert_allclose(of(inside + rng.integers(-2, 3, inside.shape) @ box, box), here, atol=1e-8)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    np.testing.assert_allclose(of(inside @ turn, box @ turn), here @ turn, atol=1e-8)
    order = rng.permutation(8)
    np.testing.assert_allclose(of(inside[:, order], box), here[order], atol=1e-12)


# -- joining, stores, processes ----------------------------------------------------------------------------------------


def test_runs_of_frames_join():
    true = brownian(6, frames=200)
    traj = system(true, **MASSES)
    whole = moved(gather_paths(traj, HALVES))
    first, second = gather_paths(traj, HALVES, stop=81), gather_paths(traj, HALVES, start=80)
    joined = np.concatenate([moved(first)[:, :-1], moved(first)[:, -1:] + moved(second)], axis=1)
    np.testing.assert_allclose(joined, whole, atol=1e-10)


def test_paths_on_disk_are_those_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    true = brownian(7, frames=700)
    traj = system(true, **MASSES)
    inside = gather_paths(traj, HALVES)
    progress = []
    with gather_paths(traj, HALVES, memory_GB=1e-5, progress=lambda *now: progress.append(now)) as outside:
        assert isinstance(outside._store, stores.DiskStore)
        assert not list(tmp_path.iterdir())  # the file has no name
        for rows in (slice(0, 30), slice(4, 5), slice(29, 30), slice(10, 10)):
            np.testing.assert_allclose(outside.block(rows), inside.block(rows), atol=1e-10)
            assert outside.block(rows).flags.c_contiguous
    assert progress[-1] == (700, 700)
    assert sorted(progress) == progress
    with pytest.raises(ValueError, match="read-only"):
        inside.block(slice(0, 1))[:] = 0


def test_writes_that_are_cut_short_are_gone_on_with(monkeypatch):
    true = brownian(8, frames=60)
    write, read = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, place: write(fd, data[:100], place))
    monkeypatch.setattr(os, "preadv", lambda fd, into, place: read(fd, [into[0][:1000]], place))
    paths = gather_paths(system(true), ALL, drift="none", memory_GB=1e-6)
    np.testing.assert_allclose(moved(paths), (true - true[0]).swapaxes(0, 1), atol=1e-9)


def test_a_disk_that_is_too_small_is_told_before_anything_is_read(monkeypatch):
    usage = stores.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda _: usage)
    traj = system(brownian(9))
    with pytest.raises(TrajectoryError, match=r"paths of 30 particles over 150 frames need .*TMPDIR"):
        gather_paths(traj, ALL, memory_GB=1e-6)
    assert len(traj.source.read) <= 16  # the sample for the scheme


def test_a_disk_that_fills_up_on_the_way_is_told(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(TrajectoryError, match="TMPDIR"):
        gather_paths(system(brownian(9)), ALL, memory_GB=1e-6)


@pytest.mark.parametrize("memory_GB", [1.0, 1e-4])
def test_an_executor_gives_the_same_to_rounding(memory_GB):
    true = brownian(10, frames=331)
    traj = system(true, **MASSES)
    alone = gather_paths(traj, HALVES)
    progress = []
    with ThreadPoolExecutor(2) as pool:
        shared = gather_paths(
            traj, HALVES, workers=2, executor=pool, memory_GB=memory_GB, progress=lambda *now: progress.append(now)
        )
        assert pool.submit(int, "3").result() == 3  # it is not shut down
    np.testing.assert_allclose(shared.block(slice(0, 30)), alone.block(slice(0, 30)), atol=1e-10)
    assert shared.notices == alone.notices
    assert shared.volume_A3 == pytest.approx(alone.volume_A3)
    assert progress[-1] == (331, 331)


@pytest.mark.slow
def test_two_processes_give_the_same_to_rounding():
    true = brownian(11, frames=101)
    traj = system(true, **MASSES)
    # The class of this file cannot be imported in another process by name: loky sends it whole.
    alone, both = gather_paths(traj, HALVES), gather_paths(traj, HALVES, workers=2)
    np.testing.assert_allclose(both.block(slice(0, 30)), alone.block(slice(0, 30)), atol=1e-10)


def test_an_error_in_a_worker_arrives_whole():
    true = brownian(12)
    true[120, 7, 1] = np.nan
    traj = system(true, wrap=False)
    with (
        ThreadPoolExecutor(2) as pool,
        pytest.raises(TrajectoryError, match=r"frame 120 has a coordinate that is not a number \(atom 8, 1 in all\)"),
    ):
        gather_paths(traj, ALL, workers=2, executor=pool)


def test_only_what_is_needed_is_read():
    true = brownian(13, frames=400)
    traj = system(true, **MASSES)
    seen = []
    frames = traj.source.frames
    traj.source.frames = lambda indices, atoms=None: (
        seen.append(None if atoms is None else len(atoms)),
        frames(indices, atoms),
    )[1]
    gather_paths(traj, {"Li": np.array([4, 2])}, drift="none")
    assert seen == [None, 2]  # the sample looks at all atoms
    assert len(traj.source.read) <= 400 + 16


# -- drift -------------------------------------------------------------------------------------------------------------


def drifting(seed=20):
    true = brownian(seed)
    return true, true + 0.3 * np.arange(150)[:, None, None] * np.array([1.0, -0.5, 0.2])


def test_the_barycentre_is_removed_by_mass():
    true, pushed = drifting()
    traj = system(pushed, **MASSES)
    for drift in ("auto", "barycentre"):
        paths = gather_paths(traj, HALVES, drift=drift)
        assert paths.drift == "barycentre of all 30 atoms, by mass"
        by_mass = MASSES["masses_u"][[*range(0, 30, 2), *range(1, 30, 2)]]
        np.testing.assert_allclose(np.average(moved(paths), axis=0, weights=by_mass), 0, atol=1e-9)
        still = true - true[0] - np.average(true - true[0], axis=1, weights=MASSES["masses_u"])[:, None]
        np.testing.assert_allclose(moved(paths)[:15], still[:, ::2].swapaxes(0, 1), atol=1e-9)
    assert np.abs(moved(gather_paths(traj, HALVES, drift="none"))).mean() > 10


def test_drift_of_a_framework_a_group_or_a_selection():
    _, pushed = drifting(21)
    traj = system(pushed, **MASSES)
    steps = pushed - pushed[0]
    paths = gather_paths(traj, {"Li": HALVES["Li"]}, drift="framework")
    assert paths.drift == "barycentre of the framework (15 atoms in no group), by mass"
    want = steps[:, ::2] - steps[:, 1::2].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(moved(paths), want.swapaxes(0, 1), atol=1e-9)
    named = gather_paths(traj, HALVES, drift="O")
    np.testing.assert_allclose(moved(named)[:15], want.swapaxes(0, 1), atol=1e-9)
    np.testing.assert_allclose(moved(named)[15:].mean(axis=0), 0, atol=1e-9)
    selected = gather_paths(traj, {"Li": HALVES["Li"]}, drift="element O")
    assert selected.drift == 'barycentre of "element O" (15 atoms), by mass'
    np.testing.assert_allclose(moved(selected), want.swapaxes(0, 1), atol=1e-9)
    with pytest.raises(SelectionError):
        gather_paths(traj, HALVES, drift="element Xe")
    with pytest.raises(BadOptionError, match="every atom is in a group"):
        gather_paths(traj, HALVES, drift="framework")


def test_auto_leaves_drift_where_the_barycentre_is_not_the_systems():
    _, pushed = drifting(22)
    charges = {"charges_e": np.where(np.arange(30) % 2, -0.5, 1.0)}
    for known, why in (
        ({}, "masses are not known"),
        ({"masses_u": np.full(30, 7.0), "elements": np.full(30, "Li")}, "of one kind"),
        (MASSES | charges, r"charge of \+7\.5 e"),
    ):
        paths = gather_paths(system(pushed, **known), ALL)
        assert paths.drift == "none"
        assert [n.code for n in paths.notices] == ["drift-not-removed"]
        assert re.search(why, paths.notices[0].text)
    unweighted = gather_paths(system(pushed), ALL, drift="barycentre")
    assert "unweighted" in unweighted.drift
    np.testing.assert_allclose(moved(unweighted).mean(axis=0), 0, atol=1e-9)


# -- molecules ---------------------------------------------------------------------------------------------------------


def test_centres_of_mass_of_molecules_broken_by_the_faces():
    rng = np.random.default_rng(23)
    centres = brownian(24, atoms=6, step=0.4)
    masses = np.array([12.0, 16.0, 1.0])
    # Rigid molecules that tumble.
    shape = rng.normal(0, 1.5, (6, 3, 3))
    shape -= np.average(shape, axis=1, weights=masses)[:, None]
    turn = np.linalg.qr(np.eye(3) + 0.2 * np.cumsum(rng.normal(0, 0.3, (150, 3, 3)), axis=0))[0]
    atoms = (centres[:, :, None] + np.einsum("mai,tij->tmaj", shape, turn)).reshape(150, 18, 3)
    shuffled = rng.permutation(18)
    known = {
        "masses_u": np.tile(masses, 6)[shuffled],
        "residues": 1 + np.repeat(np.arange(6), 3)[shuffled],
        "names": np.tile(["C", "O", "H"], 6)[shuffled],
    }
    traj = system(atoms[:, shuffled], **known)
    broken = np.ptp(traj.source.positions.reshape(150, 18, 3)[:, np.argsort(shuffled)].reshape(150, 6, 3, 3), axis=2)
    assert (broken > 10).any()
    hydrogens = {"H": np.flatnonzero(known["names"] == "H")}
    paths = gather_paths(traj, hydrogens, molecules=True, drift="none")
    assert paths.groups == {"H": slice(0, 6)}
    found = paths.block(slice(0, 6))
    # Molecules are numbered by their first atoms.
    centres = centres[:, list(dict.fromkeys((known["residues"] - 1).tolist()))]
    np.testing.assert_allclose(found - found[:, :1], (centres - centres[0]).swapaxes(0, 1), atol=1e-8)
    np.testing.assert_allclose(found[:, 0], wrapped(centres, BOX)[0][0], atol=1e-8)
    away = gather_paths(traj, hydrogens, molecules=True, drift="barycentre")
    np.testing.assert_allclose(moved(away).mean(axis=0), 0, atol=1e-9)
    naive = gather_paths(traj, hydrogens, drift="none")
    naive_order = np.argsort([np.flatnonzero(known["residues"] == m)[0] for m in known["residues"][hydrogens["H"]]])
    assert np.abs(moved(naive)[naive_order] - (centres - centres[0]).swapaxes(0, 1)).max() > 1


def test_molecules_in_a_noisy_box_diffuse_as_they_should():
    rng = np.random.default_rng(25)
    frames, step, lag = 3000, 0.5, 5
    noise = rng.normal(0, 0.02, (frames, 1, 3))
    cells = BOX * (1 + noise)
    moves = rng.normal(0, step, (frames, 40, 3)) / np.diag(BOX)
    moves[0] = rng.uniform(0, 1, (40, 3))
    centres = np.cumsum(moves, axis=0) * np.diagonal(cells, axis1=1, axis2=2)[:, None]
    atoms = (centres[:, :, None] + np.array([[1.2, 0, 0], [-1.2, 0, 0]])).reshape(frames, 80, 3)
    known = {
        "masses_u": np.full(80, 8.0),
        "residues": 1 + np.repeat(np.arange(40), 2),
        "names": np.tile(["A", "B"], 40),
    }
    traj = system(atoms, cells, **known)

    def inflation(scheme):
        paths = gather_paths(traj, {"all": np.arange(80)}, molecules=True, unwrap=scheme).block(slice(0, 40))
        return ((paths[:, lag:] - paths[:, :-lag]) ** 2).mean() / (lag * step**2) * 40 / 39

    assert inflation("auto") == pytest.approx(1, abs=0.05)
    traj.source.layout, traj.source.images = "images", wrapped(atoms, cells)[1].astype(np.int32)
    assert inflation("image-flags") > 1.2
    assert inflation("auto") == pytest.approx(1, abs=0.05)


def test_molecules_need_masses():
    with pytest.raises(TrajectoryError, match="need the masses"):
        gather_paths(system(brownian(26)), ALL, molecules=True)


# -- refusals and notices ----------------------------------------------------------------------------------------------


def test_wrapped_sparse_frames_are_refused():
    true = brownian(27, step=5.0)
    with pytest.raises(TrajectoryError, match=r"all moves .* cannot be told"):
        gather_paths(system(true), ALL)
    # With step 40 frames that were dense enough are too sparse.
    dense = system(brownian(27, frames=4000, step=0.7))
    gather_paths(dense, ALL, stop=300)
    with pytest.raises(TrajectoryError, match="take every frame"):
        gather_paths(dense, ALL, step=40)
    # Image flags know better.
    traj = system(true, layout="images")
    traj.source.images = wrapped(true, BOX)[1].astype(np.int32)
    paths = gather_paths(traj, ALL, drift="none")
    assert paths.scheme == "image-flags"
    np.testing.assert_allclose(moved(paths), (true - true[0]).swapaxes(0, 1), atol=1e-9)
    assert "long-jumps" in [n.code for n in paths.notices]


def test_wrapped_coordinates_taken_as_they_are_on_demand_are_told():
    paths = gather_paths(system(brownian(28)), ALL, unwrap="none", drift="none")
    assert "wrapped" in [n.code for n in paths.notices]


def test_a_changing_cell_is_told_with_the_scheme():
    true = brownian(29)
    cells = BOX * (1 + 0.01 * np.sin(np.arange(150)))[:, None, None]
    auto = gather_paths(system(true, cells), ALL, drift="none")
    assert auto.scheme == "toroidal"
    assert [n.code for n in auto.notices] == ["changing-cell"]
    assert "toroidal" in auto.notices[0].text
    assert auto.volume_A3 == pytest.approx(np.linalg.det(cells).mean())
    plain = gather_paths(system(true, cells, wrap=False, layout="unwrapped"), ALL, unwrap="none", drift="none")
    assert "too large" in plain.notices[0].text
    np.testing.assert_allclose(moved(plain), (true - true[0]).swapaxes(0, 1), atol=1e-9)


def test_bad_arguments():
    traj = system(brownian(30))
    for wrong, error, text in (
        ({"unwrap": "torodial"}, UnknownNameError, "did you mean toroidal"),
        ({"unwrap": "image-flags"}, TrajectoryError, "needs ix, iy, iz"),
        ({"memory_GB": 0}, BadOptionError, "memory_GB 0"),
        ({"workers": 0}, BadOptionError, "workers 0"),
        ({"step": 0}, BadOptionError, "frame step 0"),
    ):
        with pytest.raises(error, match=text):
            gather_paths(traj, ALL, **wrong)
    with pytest.raises(SelectionError, match="'Li' has no atoms"):
        gather_paths(traj, {"Li": np.array([], dtype=int)})
    with pytest.raises(BadOptionError, match="no group"):
        gather_paths(traj, {})
    for atoms in ([30], [-1]):
        with pytest.raises(BadOptionError, match="atoms 0 to 29"):
            gather_paths(traj, {"Li": np.array(atoms)})
    bare = Trajectory(Frames(brownian(30)), Topology(30), Clock(None, ""))
    with pytest.raises(TrajectoryError, match="frame 0 has no cell"):
        gather_paths(bare, ALL, unwrap="toroidal")


def test_errors_travel_between_processes():
    with pytest.raises(TrajectoryError) as caught:
        gather_paths(system(brownian(31, step=6.0)), ALL)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


NASTY = [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e20, 1e-300, 0.0, 3.0]


@settings(max_examples=150, deadline=None)
@given(
    damage=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 7), st.integers(0, 2), st.sampled_from(NASTY)), max_size=4
    ),
    cells=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 2), st.sampled_from(NASTY)), max_size=3
    ),
    layout=st.sampled_from(["wrapped", "unwrapped", "unknown", "images"]),
    unwrap=st.sampled_from(["auto", "none", "fractional", "toroidal", "image-flags"]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_damaged_numbers_give_paths_or_an_error_in_one_line(damage, cells, layout, unwrap, dtype):
    positions = wrapped(brownian(33, frames=10, atoms=8, step=0.3), TILTED)[0]
    boxes = np.repeat(TILTED[None], 10, axis=0)
    for frame, atom, axis, value in damage:
        positions[frame, atom, axis] = value
    for frame, row, axis, value in cells:
        boxes[frame, row, axis] = value
    with np.errstate(over="ignore"):
        source = Frames(positions.astype(dtype), boxes, layout=layout)
    if layout == "images":
        source.images = np.zeros((10, 8, 3), dtype=np.int32)
    traj = Trajectory(source, Topology(8), Clock(None, ""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for attempt in (
            lambda: check_trajectory(traj),
            lambda: gather_paths(traj, {"all": np.arange(8)}, unwrap=unwrap),
        ):
            try:
                attempt()
            except UserError as error:
                assert "\n" not in str(error)


class Many:
    """Frames made on the fly: nothing is kept, so the memory that is measured is that of gathering."""

    notices = ()
    name = "many"
    layout = "wrapped"

    def __init__(self, n_atoms, n_frames):
        self.n_atoms, self.n_frames = n_atoms, n_frames
        self._start = np.random.default_rng(0).uniform(0, 50, (n_atoms, 3)).astype(np.float32)
        self._step = np.random.default_rng(1).normal(0, 0.5, (64, n_atoms, 3)).astype(np.float32)

    def frames(self, indices, atoms=None):
        rows = slice(None) if atoms is None else atoms
        for i in indices:
            yield Frame(i, ((self._start + self._step[i % 64]) % 50)[rows], np.diag([50.0, 50, 50]))


@pytest.mark.slow
def test_memory_stays_below_what_was_allowed_whatever_the_number_of_frames():
    many = Trajectory(Many(2500, 20_000), Topology(2500), Clock(None, ""))
    gather_paths(many, {"ions": np.arange(2500)}, stop=50)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with gather_paths(many, {"ions": np.arange(2500)}, memory_GB=0.1) as paths:
        assert paths.block(slice(7, 17)).shape == (10, 20_000, 3)
        length = np.abs(np.diff(paths.block(slice(0, 3)), axis=1)).max()
    assert 0 < length < 5
    grown_GB = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e9
    assert grown_GB < 0.15  # of 1.2 GB of paths


def test_pairs_of_frames_are_each_taken_once():
    traj = system(brownian(32, frames=40))
    gather_paths(traj, ALL, drift="none")
    walked = traj.source.read[16:]
    assert walked == list(range(40))
    assert all(b == a + 1 for a, b in itertools.pairwise(walked))
