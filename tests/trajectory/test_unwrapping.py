import itertools

import numpy as np
import pytest
from ase.geometry import complete_cell, find_mic, minkowski_reduce
from hypothesis import given, settings
from hypothesis import strategies as st

from atomflow.errors import TrajectoryError, UnknownNameError
from atomflow.trajectory import Clock, Frame, Topology, Trajectory
from atomflow.trajectory.cells import cell_change, lattice_of
from atomflow.trajectory.jumps import Jumps
from atomflow.trajectory.unwrapping import choose_scheme, increments, minimum_image

BOXES = {
    "orthogonal": np.diag([20.0, 25.0, 30.0]),
    "triclinic": np.array([[20.0, 0, 0], [6.0, 19.0, 0], [-4.0, 5.0, 22.0]]),
    # As LAMMPS never writes it and others do: the last vector leans over two cells.
    "tilted": np.array([[20.0, 0, 0], [29.0, 12.0, 0], [-31.0, 26.0, 15.0]]),
}


class Frames:
    """A source in memory."""

    notices = ()
    name = "test"

    def __init__(self, positions, cells=None, *, layout="unknown", images=None):
        self.positions, self.layout, self.images = positions, layout, images
        self.n_frames, self.n_atoms = positions.shape[:2]
        self.cells = None if cells is None else np.broadcast_to(cells, (self.n_frames, 3, 3))

    def frames(self, indices, atoms=None):
        rows = slice(None) if atoms is None else atoms
        for i in indices:
            cell = None if self.cells is None else np.array(self.cells[i])
            images = None if self.images is None else self.images[i][rows]
            yield Frame(i, self.positions[i][rows], cell, images=images)


def trajectory(positions, cells=None, **given):
    return Trajectory(Frames(positions, cells, **given), Topology(positions.shape[1]), Clock(None, "unknown"))


def wrapped(positions, cells):
    """Wrapped positions and image flags, in plain numpy."""
    cells = np.broadcast_to(cells, (len(positions), 3, 3))
    fractions = np.einsum("tni,tij->tnj", positions, np.linalg.inv(cells))
    images = np.floor(fractions)
    return np.einsum("tni,tij->tnj", fractions - images, cells), images.astype(np.int32)


def walkers(rng, box, frames=120, atoms=40, step=0.8):
    """Half Brownian, half ballistic, all crossing many cells."""
    moves = rng.normal(0, step, (frames, atoms, 3))
    moves[:, atoms // 2 :] = rng.normal(0, 2 * step, (atoms - atoms // 2, 3))
    moves[0] = rng.uniform(0, 1, (atoms, 3)) @ box
    return np.cumsum(moves, axis=0)


def total(positions, cells, scheme, **how):
    frames = list(Frames(positions, cells, images=how.pop("images", None)).frames(range(len(positions))))
    return np.array([increments(a, b, scheme, **how) for a, b in itertools.pairwise(frames)])


def brute_minimum(vectors, cell, reach=2):
    shifts = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3))) @ cell
    return np.sqrt((((vectors[:, None] - shifts) ** 2).sum(-1)).min(1))


# -- the nearest image -------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    edges=st.tuples(*[st.floats(2, 40)] * 3),
    tilts=st.tuples(*[st.floats(-1.2, 1.2)] * 3),
    seed=st.integers(0, 2**31),
)
def test_minimum_image_is_the_shortest_of_all_images(edges, tilts, seed):
    (lx, ly, lz), (xy, xz, yz) = edges, tilts
    cell = np.array([[lx, 0, 0], [xy * lx, ly, 0], [xz * lx, yz * ly, lz]])
    rng = np.random.default_rng(seed)
    vectors = rng.uniform(-0.5, 0.5, (60, 3)) @ cell
    found = minimum_image(vectors, cell)
    # 5 x 5 x 5 images of the same lattice in its shortest basis hold the shortest one.
    basis = lattice_of(cell).reduced[0]
    back = (vectors - found) @ np.linalg.inv(cell)
    assert np.abs(back - np.rint(back)).max() < 1e-9
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), brute_minimum(found, basis), atol=1e-9)
    # In the basis as given, 5 x 5 x 5 images need not reach the shortest one: none of them is shorter.
    assert (np.linalg.norm(found, axis=1) <= brute_minimum(vectors, cell) + 1e-9).all()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**31), tilt=st.floats(0, 4), whole=st.booleans())
def test_reduced_cells_are_minkowskis_and_images_are_those_of_ase(seed, tilt, whole):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(2, 20, 3)) + tilt * np.tril(rng.uniform(-20, 20, (3, 3)), -1)
    cell = np.rint(cell) if whole else cell  # whole numbers: many lattices with equally short vectors
    cell = cell @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    lattice = lattice_of(cell)
    basis = lattice.reduced[0]
    steps = basis @ np.linalg.inv(cell)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert abs(np.linalg.det(basis)) == pytest.approx(lattice.volume_A3)
    lengths = np.sort(np.linalg.norm(minkowski_reduce(cell)[0], axis=1))
    np.testing.assert_allclose(np.sort(np.linalg.norm(basis, axis=1)), lengths, atol=1e-8)
    vectors = rng.uniform(-2, 2, (50, 3)) @ cell
    np.testing.assert_allclose(
        np.linalg.norm(minimum_image(vectors, cell), axis=1), find_mic(vectors, cell, pbc=True)[1], atol=1e-8
    )


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_tilted_slabs_against_ase(gone):
    rng = np.random.default_rng(20)
    cell = BOXES["tilted"].copy()
    cell[gone] = 0
    vectors = rng.uniform(-40, 40, (300, 3))
    _, lengths = find_mic(vectors, complete_cell(cell), pbc=[k != gone for k in range(3)])
    np.testing.assert_allclose(np.linalg.norm(minimum_image(vectors, cell), axis=1), lengths, atol=1e-9)


def test_rounding_fractions_is_wrong_where_minimum_image_is_right():
    rng = np.random.default_rng(1)
    cell = BOXES["tilted"]
    vectors = rng.uniform(-0.5, 0.5, (2000, 3)) @ cell
    fractions = vectors @ np.linalg.inv(cell)
    naive = (fractions - np.rint(fractions)) @ cell
    shortest = brute_minimum(vectors, cell, reach=5)
    assert np.mean(np.linalg.norm(naive, axis=1) > shortest + 1e-6) > 0.3
    np.testing.assert_allclose(np.linalg.norm(minimum_image(vectors, cell), axis=1), shortest, atol=1e-9)


def test_minimum_image_keeps_shape_and_does_not_touch_its_input():
    vectors = np.full((2, 3, 3), 19.0)
    found = minimum_image(vectors, np.diag([20.0, 20, 20]))
    assert found.shape == (2, 3, 3)
    np.testing.assert_allclose(found, -1.0)
    assert (vectors == 19.0).all()


def test_a_direction_without_cell_vector_is_not_periodic():
    slab = np.array([[10.0, 0, 0], [4.0, 10.0, 0], [0, 0, 0]])
    np.testing.assert_allclose(minimum_image([[9.0, 0, 123.0], [0.0, 0, -7.0]], slab), [[-1.0, 0, 123.0], [0, 0, -7.0]])
    wire = np.diag([0.0, 10.0, 0])
    np.testing.assert_allclose(minimum_image([[99.0, 9.0, 55.0]], wire), [[99.0, -1.0, 55.0]])


def test_a_rotated_box_gives_rotated_images():
    rng = np.random.default_rng(2)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for cell in BOXES.values():
        vectors = rng.uniform(-2, 2, (500, 3)) @ cell
        here, there = minimum_image(vectors, cell), minimum_image(vectors @ turn, cell @ turn)
        np.testing.assert_allclose(there, here @ turn, atol=1e-9)


@pytest.mark.parametrize(
    "cell", [np.zeros((3, 3)), [[1, 0, 0], [2, 0, 0], [0, 0, 1]], [[np.nan, 0, 0], [0, 1, 0], [0, 0, 1]]]
)
def test_a_cell_without_volume_is_refused(cell):
    with pytest.raises(TrajectoryError, match=r"a cell of .* has no volume; give the right one"):
        minimum_image([[1.0, 2, 3]], cell)


def test_numbers_beyond_all_cells_do_not_hang():
    huge = minimum_image([[1e300, 1.0, 2.0], [np.nan, 0, 0], [1e18, 3.0, 1e25]], BOXES["tilted"])
    assert huge.shape == (3, 3)


# -- schemes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("scheme", ["toroidal", "fractional", "image-flags"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_walkers_in_a_constant_box_are_followed_across_its_faces(box, scheme, dtype):
    cell = BOXES[box]
    true = walkers(np.random.default_rng(3), cell)
    inside, images = wrapped(true, cell)
    naive = np.diff(inside, axis=0)
    assert np.abs(naive - np.diff(true, axis=0)).max() > 8  # wrapped differences are wrong
    found = total(inside.astype(dtype), cell, scheme, images=images)
    np.testing.assert_allclose(found, np.diff(true, axis=0), atol=1e-9 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("scheme", ["toroidal", "fractional"])
@pytest.mark.parametrize("known", [False, True])
def test_unwrapped_input_gives_the_same(scheme, known):
    cell = BOXES["triclinic"]
    true = walkers(np.random.default_rng(4), cell)
    np.testing.assert_allclose(total(true, cell, scheme, known=known), np.diff(true, axis=0), atol=1e-9)


def test_known_images_allow_jumps_of_any_length():
    cell = BOXES["triclinic"]
    true = walkers(np.random.default_rng(5), cell, step=30.0)
    inside, images = wrapped(true, cell)
    for scheme in ("toroidal", "fractional"):
        found = total(inside, cell, scheme, images=images, known=True)
        np.testing.assert_allclose(found, np.diff(true, axis=0), atol=1e-8)
        assert np.abs(total(inside, cell, scheme) - np.diff(true, axis=0)).max() > 10


def toroidal_reference(inside, lengths):
    """Equation of von Buelow et al. for a box along the axes."""
    path = [inside[0]]
    for t in range(1, len(inside)):
        moved = inside[t] - inside[t - 1]
        path.append(path[-1] + moved - np.rint(moved / lengths[t]) * lengths[t])
    return np.array(path)


def noisy_boxes(rng, frames, cell, noise=0.02):
    """A box whose extents along x, y and z fluctuate about a mean, by ``noise`` of it."""
    wander = np.zeros((frames, 3))
    for t in range(1, frames):
        wander[t] = 0.5 * wander[t - 1] + rng.normal(0, noise * np.sqrt(0.75), 3)
    return cell * (1 + wander)[:, None, :]


def test_toroidal_is_the_published_formula():
    rng = np.random.default_rng(6)
    cells = noisy_boxes(rng, 200, np.diag([20.0, 25.0, 30.0]))
    steps = rng.normal(0, 0.03, (200, 30, 3))
    steps[0] = rng.uniform(0, 1, (30, 3))
    inside, images = wrapped(np.einsum("tni,tij->tnj", np.cumsum(steps, axis=0), cells), cells)
    lengths = cells[:, range(3), range(3)]
    want = np.diff(toroidal_reference(inside, lengths), axis=0)
    np.testing.assert_allclose(total(inside, cells, "toroidal"), want, atol=1e-9)
    # From image flags, and from positions unwrapped by them, the same comes out.
    np.testing.assert_allclose(total(inside, cells, "toroidal", images=images, known=True), want, atol=1e-9)
    unwrapped = inside + np.einsum("tni,tij->tnj", images, cells)
    np.testing.assert_allclose(total(unwrapped, cells, "toroidal", known=True), want, atol=1e-9)
    np.testing.assert_allclose(total(unwrapped, cells, "toroidal"), want, atol=1e-9)


@pytest.mark.parametrize("box", ["orthogonal", "tilted"])
def test_in_a_noisy_box_image_flags_inflate_the_diffusivity_and_the_others_do_not(box):
    rng = np.random.default_rng(7)
    frames, atoms, step, lag = 1500, 60, 1.0, 2
    cells = noisy_boxes(rng, frames, BOXES[box], noise=0.03)
    # Scaled coordinates diffuse, as under a barostat that rescales positions: the true D is step^2 / 2 per frame.
    moves = rng.normal(0, step, (frames, atoms, 3))
    moves[0] = rng.uniform(0, 1, (atoms, 3)) @ cells[0]
    scaled = np.cumsum(np.einsum("tni,tij->tnj", moves, np.linalg.inv(cells)), axis=0)
    inside, images = wrapped(np.einsum("tni,tij->tnj", scaled, cells), cells)

    def inflation(scheme):
        path = np.cumsum(total(inside, cells, scheme, images=images if scheme == "image-flags" else None), axis=0)
        path -= path.mean(axis=1, keepdims=True)
        return ((path[lag:] - path[:-lag]) ** 2).mean() / (lag * step**2) * atoms / (atoms - 1)

    # An atom n cells away follows the fluctuation n times: 0.75 noise^2 frames / lag, a half here.
    assert inflation("image-flags") > 1.2
    assert inflation("toroidal") == pytest.approx(1, abs=0.05)
    assert inflation("fractional") == pytest.approx(1, abs=0.05)


def test_a_flipped_cell_is_the_same_lattice():
    # LAMMPS replaces b by b - a when the tilt passes half of a, in the middle of an NPT run.
    rng = np.random.default_rng(8)
    cells = np.array([[[20.0, 0, 0], [9.8 + 0.02 * t, 18.0, 0], [0, 0, 22.0]] for t in range(40)])
    flipped = cells.copy()
    flipped[20:, 1, 0] -= 20.0
    true = walkers(rng, cells[0], frames=40, step=0.5)
    for scheme in ("toroidal", "fractional", "image-flags"):
        plain, plain_images = wrapped(true, cells)
        other, other_images = wrapped(true, flipped)
        for known in (False, True):
            want = total(plain, cells, scheme, images=plain_images, known=known)
            found = total(other, flipped, scheme, images=other_images, known=known)
            np.testing.assert_allclose(found, want, atol=1e-9)
    change = cell_change(lattice_of(cells[19]), lattice_of(flipped[20]))
    np.testing.assert_allclose(change, cells[20] - cells[19], atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31), box=st.sampled_from(sorted(BOXES)), scheme=st.sampled_from(["toroidal", "fractional"])
)
def test_increments_turn_with_the_system_and_follow_permutations(seed, box, scheme):
    rng = np.random.default_rng(seed)
    cell = BOXES[box]
    cells = np.array([cell, cell * 1.01])
    inside, _ = wrapped(walkers(rng, cell, frames=2, step=0.3), cells)
    here = total(inside, cells, scheme)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    np.testing.assert_allclose(total(inside @ turn, cells @ turn, scheme), here @ turn, atol=1e-8)
    order = rng.permutation(inside.shape[1])
    np.testing.assert_allclose(total(inside[:, order], cells, scheme), here[:, order], atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), box=st.sampled_from(sorted(BOXES)), where=st.tuples(*[st.floats(-50, 50)] * 3))
def test_increments_do_not_depend_on_origin_or_chosen_images_in_a_constant_cell(seed, box, where):
    rng = np.random.default_rng(seed)
    cell = BOXES[box]
    inside, _ = wrapped(walkers(rng, cell, frames=4, step=0.3), cell)
    here = total(inside, cell, "toroidal")
    np.testing.assert_allclose(total(inside + np.array(where), cell, "toroidal"), here, atol=1e-8)
    shifts = rng.integers(-3, 4, inside.shape) @ cell
    np.testing.assert_allclose(total(inside + shifts, cell, "toroidal"), here, atol=1e-8)


def test_a_supercell_shows_the_same_motion():
    rng = np.random.default_rng(9)
    cell = BOXES["triclinic"]
    true = walkers(rng, cell, frames=30, step=0.3)
    inside, _ = wrapped(true, cell)
    double = np.diag([2.0, 1, 1]) @ cell
    big, _ = wrapped(np.concatenate([true, true + cell[0]], axis=1), double)
    found = total(big, double, "toroidal")
    np.testing.assert_allclose(found, np.tile(total(inside, cell, "toroidal"), (1, 2, 1)), atol=1e-9)


def test_errors_of_increments():
    frame = Frame(0, np.zeros((2, 3)), np.diag([5.0, 5, 5]))
    with pytest.raises(TrajectoryError, match="needs ix, iy, iz"):
        increments(frame, frame, "image-flags")
    with pytest.raises(TrajectoryError, match="frame 0 has no cell"):
        increments(Frame(0, np.zeros((2, 3))), frame, "toroidal")
    with pytest.raises(UnknownNameError, match="toroidal"):
        increments(frame, frame, "torodial")


# -- which scheme ------------------------------------------------------------------------------------------------------


def test_auto_in_a_constant_box():
    cell = BOXES["triclinic"]
    true = walkers(np.random.default_rng(10), cell)
    inside, images = wrapped(true, cell)
    assert choose_scheme(trajectory(inside, cell, layout="wrapped"))[0] == "toroidal"
    assert choose_scheme(trajectory(inside, cell, layout="images", images=images))[0] == "image-flags"
    assert choose_scheme(trajectory(true, cell, layout="unwrapped"))[0] == "none"


def test_auto_in_a_changing_box_is_toroidal_whatever_the_layout():
    rng = np.random.default_rng(11)
    cells = noisy_boxes(rng, 120, BOXES["orthogonal"])
    true = walkers(rng, cells[0])
    inside, images = wrapped(true, cells)
    for given_ in (
        {"positions": inside, "layout": "wrapped"},
        {"positions": inside, "layout": "images", "images": images},
        {"positions": true, "layout": "unwrapped"},
        {"positions": inside, "layout": "unknown"},
    ):
        scheme, why = choose_scheme(trajectory(cells=cells, **given_))
        assert scheme == "toroidal"
        assert "cell changes" in why


def test_unknown_layouts_are_recognised():
    cell = BOXES["orthogonal"]
    rng = np.random.default_rng(12)
    true = walkers(rng, cell, frames=400, step=0.5)
    inside, _ = wrapped(true, cell)
    centred, _ = wrapped(true + cell.sum(0) / 2, cell)
    for positions in (inside, centred - cell.sum(0) / 2):
        scheme, why = choose_scheme(trajectory(positions, cell))
        assert scheme == "toroidal"
        assert "wrapped" in why
    scheme, why = choose_scheme(trajectory(true[200:] + 3000.0, cell))
    assert scheme == "toroidal"  # nearest images are right for these too
    assert "look unwrapped" in why
    # Unless they move too far for nearest images, when only their look tells that they need none.
    scheme, why = choose_scheme(trajectory(walkers(rng, cell, frames=400, step=8.0), cell))
    assert scheme == "none"
    assert "too far" in why
    assert choose_scheme(trajectory(true))[0] == "none"


@pytest.mark.parametrize("step", [0.4, 2.2])
def test_whole_molecules_wrapped_by_their_centres_count_as_wrapped(step):
    # As GROMACS writes them; with the long step, atoms move by a third of the cell now and then.
    cell = np.diag([20.0, 20, 20])
    rng = np.random.default_rng(13)
    centres, _ = wrapped(walkers(rng, cell, frames=200, step=0.5 * step), cell)
    atoms = np.concatenate([centres, centres + np.array([3.0, 0, 0])], axis=1)
    scheme, why = choose_scheme(trajectory(atoms, cell))
    assert scheme == "toroidal"
    assert "are wrapped" in why


def test_wrapped_coordinates_without_a_cell_are_refused():
    cell = np.diag([20.0, 20, 20])
    true = walkers(np.random.default_rng(14), cell, frames=200, atoms=200, step=0.1)
    inside, _ = wrapped(true, cell)
    with pytest.raises(TrajectoryError, match="no cell to unwrap them"):
        choose_scheme(trajectory(inside))
    assert choose_scheme(trajectory(true))[0] == "none"


# -- jumps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cells_per_sigma", "loss"), [(6, 0.009), (5, 0.040), (4, 0.136)])
def test_the_bias_that_the_limit_of_jumps_rests_on(cells_per_sigma, loss):
    jumps = np.random.default_rng(15).normal(size=4_000_000)
    folded = jumps - cells_per_sigma * np.rint(jumps / cells_per_sigma)
    assert 1 - (folded**2).mean() == pytest.approx(loss, abs=0.002)


def judge(step, *, cell=20.0, kinds=None, known=False):
    rng = np.random.default_rng(16)
    jumps = Jumps(kinds or {"Li": np.arange(300)})
    for _ in range(20):
        moved = rng.normal(0, step, (300, 3)) if np.ndim(step) == 0 else rng.normal(0, 1, (300, 3)) * step[:, None]
        jumps.add(moved if known else minimum_image(moved, np.eye(3) * cell), lattice_of(np.eye(3) * cell))
    return jumps


def test_jumps_are_judged_against_the_cell():
    fine = judge(1.0)
    fine.check("file")
    assert fine.notices(known=False) == ()
    assert fine.widest() == ("Li", pytest.approx(0.05, rel=0.02), pytest.approx(1.0, rel=0.02))
    wide = judge(2.7)
    wide.check("file")
    assert [n.code for n in wide.notices(known=False)] == ["sparse-frames"]
    for step in (4.0, 8.0, 50.0):
        with pytest.raises(TrajectoryError, match=r"file: Li moves .* as often"):
            judge(step).check("file")
    assert [n.code for n in judge(8.0, known=True).notices(known=True)] == ["long-jumps"]


def test_a_few_fast_ions_do_not_hide_in_a_slow_matrix():
    steps = np.where(np.arange(300) < 15, 6.0, 0.1)
    kinds = {"Li": np.arange(15), "O": np.arange(15, 300)}
    with pytest.raises(TrajectoryError, match="Li moves"):
        judge(steps, kinds=kinds).check("file")


def test_merged_tallies_are_those_of_all_frames():
    joined, whole, other = judge(1.0), judge(1.0), judge(3.0)
    joined.merge(other)
    rng = np.random.default_rng(16)
    for _ in range(20):
        whole.add(minimum_image(rng.normal(0, 3.0, (300, 3)), np.eye(3) * 20), lattice_of(np.eye(3) * 20))
    assert joined.widest()[1:] == pytest.approx(whole.widest()[1:])
    assert joined.widest()[2] == pytest.approx(np.sqrt((1 + 9) / 2), rel=0.02)
    assert joined.notices(known=False) == whole.notices(known=False) != ()


def test_sampled_pairs_cover_short_and_long_trajectories():
    cell = BOXES["orthogonal"]
    true = walkers(np.random.default_rng(17), cell, frames=3)
    inside, _ = wrapped(true, cell)
    assert choose_scheme(trajectory(inside, cell), sample=200)[0] == "toroidal"
    assert choose_scheme(trajectory(inside[:1], cell))[0] == "toroidal"


def test_one_long_jump_among_very_many_is_no_warning():
    jumps = Jumps({"Li": np.arange(300)})
    moved = np.random.default_rng(18).normal(0, 1.0, (300, 3))
    for number in range(500):
        moved[0, 0] = 9.5 if number == 7 else 0.1
        jumps.add(moved, lattice_of(np.eye(3) * 20))
    assert jumps.notices(known=False) == ()
    for _ in range(10):
        moved[0, 0] = 9.5
        jumps.add(moved, lattice_of(np.eye(3) * 20))
    assert [n.code for n in jumps.notices(known=False)] == ["sparse-frames"]


def test_the_compact_cell_of_a_rhombic_dodecahedron_is_judged_by_its_faces():
    # Fractional coordinates of the nearest image go up to 2/3 in this cell, its projections on lattice vectors to 1/2.
    cell = 30 * np.array([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, np.sqrt(0.5)]])
    anywhere = minimum_image(np.random.default_rng(19).uniform(-1, 1, (3000, 3)) @ cell, cell)
    assert np.abs(anywhere @ np.linalg.inv(cell)).max() > 0.6
    jumps = Jumps({"Li": np.arange(3000)})
    jumps.add(anywhere, lattice_of(cell))
    assert 0.49 < jumps.tallies["Li"].most <= 0.5 + 1e-9
    assert jumps.tallies["Li"].beyond == 0
