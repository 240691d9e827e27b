"""Pair counts and g(r): against brute force, MDAnalysis and freud, and the traps of normalisation."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomflow.analysis._pair_kernels import reference_counts
from atomflow.analysis.pairs import brick_of, count_pairs, near_pairs, plan_pairs
from atomflow.analysis.rdf import RDF
from atomflow.errors import BadOptionError, SelectionError, TrajectoryError, UnknownNameError
from atomflow.model import dumps, loads
from atomflow.trajectory import Topology, open_trajectory

CELLS = {
    "cube": np.diag([14.0, 14.0, 14.0]),
    "long": np.diag([40.0, 7.0, 11.0]),
    "triclinic": np.array([[15.0, 0, 0], [6, 14, 0], [-5, 6, 13]]),
    "strongly tilted": np.array([[15.0, 0, 0], [31, 14, 0], [-27, 40, 13]]),
    "left-handed": np.array([[0, 14.0, 1], [13, 0, 2], [1, 3, 15]]),
    "any orientation": np.array([[9.0, 5, 8], [-7, 9, 4], [3, -8, 10]]),
}


def gas(cell, n, seed, out=2.0):
    """Uniform positions, also outside of the cell."""
    return (np.random.default_rng(seed).random((n, 3)) * (1 + 2 * out) - out) @ np.asarray(cell)


def counted(positions, cell, groups, pairs, r_max, n_bins, molecules=None):
    plan = plan_pairs(groups, pairs, len(positions), molecules)
    return count_pairs(np.asarray(positions), brick_of(cell), plan, r_max, n_bins)


def brute(positions, cell, groups, pairs, r_max, n_bins, molecules=None):
    unique = {label: np.unique(atoms) for label, atoms in groups.items()}
    return np.array(
        [reference_counts(positions, cell, unique[a], unique[b], r_max, n_bins, molecules) for a, b in pairs]
    )


@pytest.mark.parametrize("molecules", [False, True], ids=["all", "between molecules"])
@pytest.mark.parametrize("name", CELLS)
def test_counts_are_those_of_brute_force(name, molecules):
    cell = CELLS[name]
    n, rng = 130, np.random.default_rng(3)
    positions = gas(cell, n, 1)
    groups = {"a": rng.choice(n, 20, False), "b": rng.choice(n, 70, False), "all": np.arange(n), "one": np.array([7])}
    number = rng.integers(0, 40, n) if molecules else None
    r_max = brick_of(cell).limit_A
    for pairs in (
        [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b"), ("all", "b"), ("all", "all"), ("one", "all")],
        [("a", "b")],
        [("b", "one"), ("a", "one")],
        [("a", "a"), ("a", "all")],
    ):
        ours = counted(positions, cell, groups, pairs, r_max, 173, number)
        np.testing.assert_array_equal(ours, brute(positions, cell, groups, pairs, r_max, 173, number))


def test_bins_are_exact_in_double_however_fine():
    """Single precision would misplace most pairs: bins of 1e-5 A at coordinates of 200 A."""
    cell = np.diag([200.0, 200.0, 200.0])
    rng = np.random.default_rng(0)
    positions = 195 + 5 * rng.random((150, 3))
    groups = {"all": np.arange(150)}
    ours = counted(positions, cell, groups, [("all", "all")], 4.0, 400_000)
    expected = brute(positions, cell, groups, [("all", "all")], 4.0, 400_000)
    assert expected.sum() > 5000
    # Wrapping into the cell may cost the last digit: a pair may then fall on the other side of an edge.
    assert np.abs(ours - expected).sum() <= 4


def test_atoms_on_edges_of_the_cell_and_of_bins_of_the_grid():
    """A crystal with atoms on every face, as stored, shifted by whole cells, and a hair outside."""
    edge = 8
    grid = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), -1).reshape(-1, 3).astype(float)
    cell = np.diag([float(edge)] * 3)
    shells = [(1.0, 6), (np.sqrt(2), 12), (np.sqrt(3), 8), (2.0, 6), (np.sqrt(5), 24), (np.sqrt(6), 24)]
    for positions in (grid, grid + edge, grid - 3 * edge, grid - 1e-17, grid - 1e-13, np.nextafter(grid, 9)):
        counts = counted(positions, cell, {"x": np.arange(len(grid))}, [("x", "x")], 2.7, 270)[0]
        found = {int(b): int(counts[b]) for b in np.flatnonzero(counts)}
        wanted = {}
        for distance, neighbours in shells:
            wanted[round(distance * 100)] = wanted.get(round(distance * 100), 0) + neighbours * len(grid)
        near = {}
        for b, times in found.items():  # a distance on an edge of a bin may fall to either side
            key = min(wanted, key=lambda k: abs(k - b))
            assert abs(key - b) <= 1
            near[key] = near.get(key, 0) + times
        assert near == wanted


def test_a_box_smaller_than_three_grid_cells_and_images_beyond_half_of_it():
    for edges, r_max in (((3.0, 3.0, 3.0), 1.5), ((2.0, 9.0, 30.0), 1.0), ((3.0, 4.0, 5.0), 7.0)):
        cell = np.diag(edges)
        positions = gas(cell, 30, 2)
        groups = {"a": np.arange(10), "b": np.arange(10, 30)}
        pairs = [("a", "b"), ("b", "a")]
        ours = counted(positions, cell, groups, pairs, r_max, 60)
        np.testing.assert_array_equal(ours, brute(positions, cell, groups, pairs, r_max, 60))


def test_empty_group_counts_nothing():
    positions = gas(CELLS["cube"], 10, 0)
    groups = {"none": np.array([], np.intp), "all": np.arange(10)}
    assert counted(positions, CELLS["cube"], groups, [("none", "all"), ("none", "none")], 5, 10).sum() == 0


cells = st.tuples(*[st.floats(6, 14)] * 3, *[st.floats(-20, 20)] * 3).map(
    lambda p: np.array([[p[0], 0, 0], [p[3], p[1], 0], [p[4], p[5], p[2]]])
)


@settings(max_examples=40, deadline=None)
@given(cell=cells, seed=st.integers(0, 2**32 - 1))
def test_rotation_translation_permutation_and_basis_change_nothing(cell, seed):
    rng = np.random.default_rng(seed)
    n = 60
    positions = gas(cell, n, seed, out=0.5)
    groups = {"a": np.arange(15), "b": np.arange(10, n)}
    pairs = [("a", "b"), ("b", "b")]
    r_max = 0.999 * brick_of(cell).limit_A
    first = counted(positions, cell, groups, pairs, r_max, 20)

    def same(counts):
        # Rounding moves a pair over an edge at worst: cumulative counts then differ by it.
        return np.abs(np.cumsum(counts - first, axis=1)).max() <= 2 and abs(counts - first).sum() <= 4

    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert same(counted(positions @ rotation, cell @ rotation, groups, pairs, r_max, 20))
    assert same(counted(positions + rng.normal(size=3) * 30, cell, groups, pairs, r_max, 20))
    assert same(counted(positions + rng.integers(-3, 4, (n, 3)) @ cell, cell, groups, pairs, r_max, 20))
    order = rng.permutation(n)
    moved = {label: np.flatnonzero(np.isin(order, atoms)) for label, atoms in groups.items()}
    assert same(counted(positions[order], cell, moved, pairs, r_max, 20))
    basis = np.array([[1, 1, 0], [0, 1, 0], [0, -2, 1]])
    assert same(counted(positions, basis @ cell, groups, pairs, r_max, 20))
    assert same(counted(positions * 1e-2, cell * 1e-2, groups, pairs, r_max * 1e-2, 20))


@settings(max_examples=15, deadline=None)
@given(cell=cells, seed=st.integers(0, 2**32 - 1))
def test_a_supercell_has_the_same_pairs_per_atom(cell, seed):
    n = 20
    positions = gas(cell, n, seed)
    groups = {"a": np.arange(5), "b": np.arange(n)}
    images = np.array([[i, j, 0] for i in range(2) for j in range(3)]) @ cell
    larger = (positions[None] + images[:, None]).reshape(-1, 3)
    more = {label: np.concatenate([atoms + k * n for k in range(6)]) for label, atoms in groups.items()}
    r_max = 0.999 * brick_of(cell).limit_A
    one = counted(positions, cell, groups, [("a", "b")], r_max, 10)
    six = counted(larger, np.diag([2, 3, 1]) @ cell, more, [("a", "b")], r_max, 10)
    assert np.abs(np.cumsum(six - 6 * one)).max() <= 6


@pytest.mark.parametrize("name", CELLS)
def test_listed_pairs_are_those_of_brute_force(name):
    cell, n = CELLS[name], 150
    positions = gas(cell, n, 5)
    centres, others = np.arange(0, n, 4), np.arange(0, n, 2)
    cutoff = 0.9 * brick_of(cell).limit_A
    i, j, distance = near_pairs(positions, brick_of(cell), centres, others, cutoff)
    assert (distance <= cutoff).all()
    assert not (centres[i] == others[j]).any()
    assert len(set(zip(i.tolist(), j.tolist(), strict=True))) == len(i)
    counts = np.histogram(distance, 50, (0, cutoff))[0]
    np.testing.assert_array_equal(counts, reference_counts(positions, cell, centres, others, cutoff, 50))


# ------------------------------------------------------------------ g(r)


def test_an_ideal_gas_of_twenty_atoms_gives_one():
    """Counting over N^2 would give 0.95, counting an atom with itself a peak in the first bin."""
    edge = 9.0
    positions = np.random.default_rng(0).random((4000, 20, 3)) * edge
    g = (
        RDF(open_trajectory(positions, cell_A=[edge] * 3), ["x:x"], {"x": np.arange(20)}, bin_A=0.1)
        .run()
        .results["x:x"]
    )
    mean = np.average(g.g, weights=g.r_A**2)
    assert mean == pytest.approx(1.0, abs=0.01)
    assert g.g[:3].max() < 3
    assert g.number_around_first[-1] == pytest.approx(19 * 4 / 3 * np.pi * g.edge_A[-1] ** 3 / edge**3, rel=0.01)


def test_pairs_within_molecules_are_left_out_and_the_rest_still_gives_one():
    """Ten molecules of two atoms 0.7 A apart; a normalisation with all pairs would give 18/19."""
    edge, frames = 9.0, 3000
    rng = np.random.default_rng(1)
    heads = rng.random((frames, 10, 1, 3)) * edge
    bond = rng.normal(size=(frames, 10, 1, 3))
    bond *= 0.7 / np.linalg.norm(bond, axis=-1, keepdims=True)
    positions = np.concatenate([heads, heads + bond], axis=2).reshape(frames, 20, 3)
    topology = Topology(20, residues=np.repeat(np.arange(1, 11), 2))
    trajectory = open_trajectory(positions, topology, cell_A=[edge] * 3)
    species = {"x": np.arange(20), "head": np.arange(0, 20, 2)}
    whole = RDF(trajectory, ["x:x", "head:x"], species, bin_A=0.1).run().results
    between = RDF(trajectory, ["x:x", "head:x"], species, bin_A=0.1, exclude_molecules=True).run().results
    for pair in ("x:x", "head:x"):
        assert whole[pair].g[6:8].max() > 5
        assert between[pair].g[6:8].max() < 1.5
        assert np.average(between[pair].g, weights=between[pair].r_A ** 2) == pytest.approx(1.0, abs=0.01)
        assert (whole[pair].counts - between[pair].counts).sum() == frames * (20 if pair == "x:x" else 10)


def test_a_breathing_cell_is_normalised_frame_by_frame():
    """Half of the frames in a cell of an eighth of the volume: mean density over mean volume would be far off."""
    rng = np.random.default_rng(2)
    edges = np.tile([8.0, 16.0], 1500)
    positions = rng.random((3000, 20, 3)) * edges[:, None, None]
    trajectory = open_trajectory(positions, cell_A=np.array([np.diag([e] * 3) for e in edges]))
    g = RDF(trajectory, ["x:x"], {"x": np.arange(20)}, r_max_A=4.0, bin_A=0.2).run().results["x:x"]
    assert np.average(g.g, weights=g.r_A**2) == pytest.approx(1.0, abs=0.01)


def test_the_band_covers_the_truth():
    """Runs whose frames resemble each other: an ideal gas of which a few atoms move at a time."""
    rng = np.random.default_rng(3)
    edge, n, inside, counted_band = 8.0, 30, 0, 0
    for _ in range(25):
        positions = np.empty((320, n, 3))
        positions[0] = rng.random((n, 3)) * edge
        for t in range(1, 320):
            positions[t] = positions[t - 1]
            some = rng.choice(n, 6, False)
            positions[t, some] = rng.random((6, 3)) * edge
        g = (
            RDF(open_trajectory(positions, cell_A=[edge] * 3), ["x:x"], {"x": np.arange(n)}, bin_A=0.5)
            .run()
            .results["x:x"]
        )
        inside += (np.abs(g.g - 1) < 1.96 * g.g_error)[2:].sum()
        counted_band += len(g.g) - 2
        independent = np.sqrt(2 * g.counts) / g.counts
    assert 0.88 < inside / counted_band < 0.99
    assert (g.g_error[2:] > 1.3 * independent[2:]).mean() > 0.7  # counting alone would be too small


def test_few_frames_have_the_error_of_counting():
    positions = gas(CELLS["cube"], 100, 1)[None]
    g = (
        RDF(open_trajectory(positions, cell_A=CELLS["cube"]), ["x:x"], {"x": np.arange(100)}, bin_A=0.5)
        .run()
        .results["x:x"]
    )
    np.testing.assert_allclose(g.g_error, g.g * np.sqrt(2 / np.maximum(g.counts, 1)), rtol=1e-12)


def test_running_numbers_count_both_ways():
    positions = gas(CELLS["triclinic"], 90, 4)[None]
    species = {"a": np.arange(30), "b": np.arange(30, 90)}
    g = RDF(open_trajectory(positions, cell_A=CELLS["triclinic"]), ["a:b"], species, bin_A=0.1).run().results["a:b"]
    np.testing.assert_array_equal(g.number_around_first, np.cumsum(g.counts) / 30)
    np.testing.assert_array_equal(g.number_around_second, np.cumsum(g.counts) / 60)
    assert g.edge_A[-1] == pytest.approx(g.r_A[-1] + 0.05)


@pytest.fixture
def mixture():
    rng = np.random.default_rng(6)
    cells = np.array([np.diag([15.0, 16.0, 17.0]) * (1 + 0.02 * rng.random()) for _ in range(23)])
    positions = np.array([rng.random((300, 3)) @ cell for cell in cells])
    species = {"Li": np.arange(20), "O": np.arange(20, 150), "any": np.arange(300)}
    return open_trajectory(positions, cell_A=cells, dt_ps=1.0), species


def test_two_workers_give_exactly_what_one_gives(mixture):
    trajectory, species = mixture
    pairs = ["Li:Li", "Li:O", "O:any"]
    one = RDF(trajectory, pairs, species).run(1, None, 2).results
    two = RDF(trajectory, pairs, species).run(1, None, 2, workers=2).results
    assert one.to_dict() == two.to_dict()
    assert one.n_frames == 11


def test_a_long_run_is_kept_in_a_bounded_number_of_blocks(mixture):
    trajectory, species = mixture
    rdf = RDF(trajectory, ["Li:O"], species)
    frame = next(iter(trajectory.source.frames([0])))
    tallies = [rdf._begin(), rdf._begin(), rdf._begin()]
    for number in range(500):
        at = type(frame)(number, frame.positions_A, frame.cell_A)
        rdf._look(tallies[0], at)
        rdf._look(tallies[1 if number < 137 else 2], at)
    joined = rdf._merge(tallies[1], tallies[2])
    assert len(tallies[0].blocks.sums) <= 64
    for ours, theirs in zip(joined.blocks.in_order()[0], tallies[0].blocks.in_order()[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_result_can_be_stored_saved_and_drawn(mixture, tmp_path):
    trajectory, species = mixture
    result = RDF(trajectory, ["Li:O", "Li:Li"], species, bin_A=0.1).run().results
    assert loads(dumps(result)).to_dict() == result.to_dict()
    table = result.to_dataframe()
    assert list(table["pair"].unique()) == ["Li:O", "Li:Li"]
    assert len(table) == 2 * len(result["Li:O"].r_A)
    for name in ("x.json", "x.csv", "x.npz"):
        assert result.save(tmp_path / name).stat().st_size > 0
    np.testing.assert_array_equal(np.load(tmp_path / "x.npz")["pairs/Li:O/g"], result["Li:O"].g)
    with pytest.raises(BadOptionError, match=r"end it with"):
        result.save(tmp_path / "x.xlsx")
    import matplotlib

    matplotlib.use("Agg")
    axes = result.plot()
    assert axes.get_xlabel() == "r (Å)"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), result["Li:O"].g)


# ------------------------------------------------------------------ refusals


def test_no_cell_is_an_error_that_says_so():
    with pytest.raises(TrajectoryError, match="no cell is stored"):
        RDF(open_trajectory(np.zeros((2, 5, 3))), ["x:x"], {"x": np.arange(5)})


def test_a_radius_beyond_the_cell_names_the_largest_allowed(mixture):
    tilted = open_trajectory(gas(CELLS["strongly tilted"], 50, 0)[None], cell_A=CELLS["strongly tilted"])
    allowed = brick_of(CELLS["strongly tilted"]).limit_A
    with pytest.raises(TrajectoryError, match=f"largest allowed is {int(allowed * 1000) / 1000:g} A"):
        RDF(tilted, ["x:x"], {"x": np.arange(50)}, r_max_A=10)
    result = RDF(tilted, ["x:x"], {"x": np.arange(50)}).run().results
    assert 0 < allowed - result.r_max_A < 0.02
    assert "r-max-shortened" in {notice.code for notice in result.warnings}
    trajectory, species = mixture
    assert RDF(trajectory, ["Li:O"], species).r_max_A < 7.65


def test_coordinates_that_are_no_numbers_name_frame_and_atom():
    positions = np.random.default_rng(0).random((4, 20, 3)) * 10
    positions[2, 7, 1] = np.nan
    with pytest.raises(TrajectoryError, match=r"frame 2 .*atom 8"):
        RDF(open_trajectory(positions, cell_A=[10.0] * 3), ["x:x"], {"x": np.arange(20)}).run()
    positions[2, 7, 1] = 1e30
    with pytest.raises(TrajectoryError, match=r"frame 2: atom 8 .*million cells"):
        RDF(open_trajectory(positions, cell_A=[10.0] * 3), ["x:x"], {"x": np.arange(20)}).run()
    with pytest.raises(TrajectoryError, match="atom 8 has a coordinate that is not a number"):
        counted(
            np.where(positions > 1e29, np.nan, positions)[2],
            np.diag([10.0] * 3),
            {"x": np.arange(20)},
            [("x", "x")],
            4,
            9,
        )


@pytest.mark.parametrize(
    ("pairs", "species", "options", "error", "told"),
    [
        (["Li:Q"], {"Li": [0]}, {}, UnknownNameError, "unknown species 'Q'"),
        (["Li"], {"Li": [0]}, {}, BadOptionError, "two species"),
        ([], {"Li": [0]}, {}, BadOptionError, "no pairs"),
        (["Li:Li"], {"Li": [0]}, {}, SelectionError, "no two atoms"),
        (["Li:Li"], {"Li": [0, 1]}, {"bin_A": 0}, BadOptionError, "bin_A"),
        (["Li:Li"], {"Li": [0, 1]}, {"bin_A": 1e-9}, BadOptionError, "bin_A"),
        (["Li:Li"], {"Li": [0, 1]}, {"bin_A": 50}, BadOptionError, "bin_A"),
        (["Li:Li"], {"Li": [0, 1]}, {"r_max_A": float("nan")}, BadOptionError, "r_max_A"),
        (["Li:Li"], {"Li": [0, 99]}, {}, SelectionError, "99"),
    ],
)
def test_refusals(pairs, species, options, error, told):
    trajectory = open_trajectory(np.zeros((1, 5, 3)), cell_A=[9.0] * 3)
    with pytest.raises(error, match=told):
        RDF(trajectory, pairs, species, **options)


def test_no_results_before_run(mixture):
    with pytest.raises(TrajectoryError, match=r"call \.run"):
        _ = RDF(mixture[0], ["Li:O"], mixture[1]).results


# ------------------------------------------------------------------ oracles


def near_an_edge(positions, cell, first, second, r_max, n_bins, tolerance):
    """Pairs whose distance is so near an edge of a bin that single precision cannot tell its side."""
    fine = reference_counts(positions, cell, first, second, r_max, 2 * n_bins * int(1 / tolerance))
    per_bin = fine.reshape(n_bins, -1)
    return per_bin[:, 0].sum() + per_bin[:, -1].sum()


@pytest.mark.parametrize("name", ["cube", "long", "triclinic"])
def test_counts_beside_mdanalysis_and_freud(name):
    """Both keep single-precision coordinates; pairs change bins only where that cannot tell."""
    import freud
    import MDAnalysis
    from MDAnalysis.analysis.rdf import InterRDF

    cell = CELLS[name]
    n, n_bins = 400, 60
    positions = gas(cell, n, 8, out=0.0).astype(np.float32)
    groups = {"a": np.arange(40), "b": np.arange(40, n)}
    r_max = 0.98 * brick_of(cell).limit_A
    universe = MDAnalysis.Universe.empty(n, trajectory=True)
    universe.atoms.positions = positions
    universe.dimensions = MDAnalysis.lib.mdamath.triclinic_box(*cell)
    box = freud.box.Box.from_matrix(cell.T)
    # freud wants a smaller radius in tilted cells: half the distance of opposite faces.
    heights = abs(np.linalg.det(cell)) / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    r_max = min(r_max, 0.49 * heights.min())
    for a, b in (("a", "b"), ("b", "b")):
        ours = counted(positions, cell, groups, [(a, b)], r_max, n_bins)[0]
        block = (1, 1) if a == b else None
        theirs = (
            InterRDF(
                universe.atoms[groups[a]],
                universe.atoms[groups[b]],
                n_bins,
                (0, r_max),
                norm="none",
                exclusion_block=block,
            )
            .run()
            .results.count
        )
        doubtful = near_an_edge(positions, cell, groups[a], groups[b], r_max, n_bins, 1e-3)
        assert np.abs(ours - theirs).sum() <= 2 * doubtful
        assert ours.sum() > 500
        rdf = freud.density.RDF(n_bins, r_max)
        rdf.compute(
            (box, positions[groups[b]]), query_points=positions[groups[a]],
            neighbors={"mode": "ball", "r_max": r_max, "exclude_ii": a == b},
        )  # fmt: skip
        assert np.abs(ours - rdf.bin_counts.astype(int)).sum() <= 2 * doubtful
        np.testing.assert_allclose(np.cumsum(ours)[9::10], np.cumsum(theirs)[9::10], atol=max(2, doubtful))


def test_g_of_a_real_run_beside_mdanalysis():
    """Water of AdK in a dodecahedral cell: around sodium, and around the protein's CA, two frames."""
    import MDAnalysis
    from MDAnalysis.analysis.rdf import InterRDF
    from MDAnalysisTests.datafiles import GRO, XTC

    universe = MDAnalysis.Universe(GRO, XTC)
    species = {"Na": "resname NA+", "CA": "name CA", "OW": "name OW"}
    ours = RDF(universe, ["Na:OW", "CA:OW"], species, r_max_A=8, bin_A=0.1).run(0, 2).results
    for pair in ours.pairs:
        a, b = (universe.select_atoms(species[label]) for label in pair.split(":"))
        theirs = InterRDF(a, b, 80, (0, 8)).run(stop=2).results
        assert np.abs(ours[pair].counts - theirs.count).sum() <= 2e-3 * theirs.count.sum() + 2
        np.testing.assert_allclose(ours[pair].g[30:], theirs.rdf[30:], rtol=0.02, atol=0.02)
        assert theirs.count.sum() > 300


@pytest.mark.slow
def test_kernels_stay_within_their_arrays(tmp_path):
    """Random cells, radii and groups with numba's bounds checks on, against brute force."""
    script = tmp_path / "fuzz.py"
    script.write_text(
        """
import numpy as np
from atomflow.analysis._pair_kernels import reference_counts
from atomflow.analysis.pairs import brick_of, count_pairs, near_pairs, plan_pairs
done = 0
for seed in range(150):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-1, 2)
    cell = rng.normal(size=(3, 3)) * scale if seed % 3 else np.diag(rng.uniform(0.1, 2, 3)) * scale
    if abs(np.linalg.det(cell)) < 1e-2 * scale**3:
        continue
    n = int(rng.integers(1, 90))
    positions = (rng.normal(size=(n, 3)) * rng.choice([0.5, 3, 300]) + rng.choice([0, 0, 1e4])) @ cell
    if seed % 5 == 0:
        positions = np.round(positions / scale * 4) / 4 * scale  # coincident atoms, atoms on edges
    if seed % 7 == 0:
        positions = positions.astype(np.float32)
    groups = {"a": rng.choice(n, rng.integers(0, n + 1), False), "b": rng.choice(n, rng.integers(0, n + 1), False)}
    r_max = brick_of(cell).limit_A * rng.choice([0.03, 0.5, 1.0, 1.9])
    bins = int(rng.choice([1, 7, 300, 5000]))
    molecules = rng.integers(0, n, n) if seed % 2 else None
    plan = plan_pairs(groups, [("a", "b"), ("b", "b")], n, molecules)
    ours = count_pairs(positions, brick_of(cell), plan, r_max, bins)
    for row, (x, y) in zip(ours, plan.pairs):
        expected = reference_counts(positions, cell, groups[x], groups[y], r_max, bins, molecules)
        if seed % 5 and seed % 7:
            assert np.abs(np.cumsum(row - expected)).max() <= 2, (seed, row.sum(), expected.sum())
    i, j, distance = near_pairs(positions, brick_of(cell), groups["a"], groups["b"], r_max)
    assert len(i) == len(distance) and (distance <= r_max).all()
    done += 1
print("done", done)
"""
    )
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert int(ended.stdout.split()[1]) > 100
