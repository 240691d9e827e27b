"""Coordination numbers: against brute force, g(r) and MDAnalysis, with errors that cover the truth."""

import numpy as np
import pytest

from atomflow.analysis.coordination import Coordination
from atomflow.analysis.rdf import RDF
from atomflow.errors import BadOptionError, SelectionError, TrajectoryError, UnknownNameError
from atomflow.model import dumps, loads
from atomflow.trajectory import Topology, open_trajectory

TILTED = np.array([[16.0, 0, 0], [7, 15, 0], [-6, 7, 14]])


@pytest.fixture(scope="module")
def mixture():
    rng = np.random.default_rng(0)
    positions = (rng.random((12, 260, 3)) * 2 - 0.5) @ TILTED
    topology = Topology(260, residues=1 + np.arange(260) // 4)
    species = {"Li": np.arange(0, 40), "O": np.arange(30, 150), "any": np.arange(260)}
    return open_trajectory(positions, topology, cell_A=TILTED, dt_ps=1.0), positions, species


def counts_by_hand(positions, centres, others, cutoff, residues=None):
    from MDAnalysis.lib.distances import capped_distance
    from MDAnalysis.lib.mdamath import triclinic_box

    found = []
    for frame in positions:
        pairs = capped_distance(
            frame[centres].astype(np.float32), frame[others].astype(np.float32), cutoff, box=triclinic_box(*TILTED),
            return_distances=False,
        )  # fmt: skip
        i, j = centres[pairs[:, 0]], others[pairs[:, 1]]
        keep = i != j
        if residues is not None:
            keep &= residues[i] != residues[j]
        found.append(np.bincount(pairs[keep, 0], minlength=len(centres)))
    return np.array(found)


@pytest.mark.parametrize("between", [False, True], ids=["all", "between molecules"])
def test_numbers_are_those_of_mdanalysis(mixture, between):
    trajectory, positions, species = mixture
    pairs = {"Li:O": 3.3, "Li:any": 4.1, "O:Li": 2.7, "Li:Li": 5.0}
    result = Coordination(trajectory, pairs, species, exclude_molecules=between, by_frame=True).run().results
    for name, cutoff in pairs.items():
        a, b = name.split(":")
        expected = counts_by_hand(
            positions, species[a], species[b], cutoff, trajectory.topology.residues if between else None
        )
        ours = result[name]
        assert ours.mean == pytest.approx(expected.mean(), abs=1e-12)
        np.testing.assert_allclose(ours.by_frame, expected.mean(axis=1), atol=1e-12)
        histogram = np.bincount(expected.ravel()) / expected.size
        assert list(ours.distribution) == [str(k) for k in range(len(histogram))]
        np.testing.assert_allclose(list(ours.distribution.values()), histogram, atol=1e-12)
        assert ours.n_centres == len(species[a])
        assert ours.cutoff_from == "given"


def test_the_mean_is_the_running_number_of_g(mixture):
    trajectory, _, species = mixture
    rdf = RDF(trajectory, ["Li:O", "O:O"], species, bin_A=0.1, r_max_A=5.0).run().results
    for name in ("Li:O", "O:O"):
        result = Coordination(trajectory, {name: 3.0}, species).run().results[name]
        assert rdf[name].edge_A[29] == pytest.approx(3.0)
        assert result.mean == pytest.approx(rdf[name].number_around_first[29], abs=1e-12)


def test_neighbours_across_faces_and_exactly_at_the_cutoff_count():
    """An octahedron around an atom in the corner of the cell."""
    edge = 9.0
    arms = 2.0 * np.concatenate([np.eye(3), -np.eye(3)])
    positions = np.concatenate([[[0.0, 0, 0]], arms, [[4.5, 4.5, 4.5]]])[None]
    trajectory = open_trajectory(positions, cell_A=[edge] * 3)
    species = {"M": [0], "O": np.arange(1, 8)}
    for cutoff, expected in ((1.999, 0), (2.0, 6), (3.0, 6)):
        assert Coordination(trajectory, {"M:O": cutoff}, species).run().results["M:O"].mean == expected
    assert Coordination(trajectory, {"M:O": 2.5}, species).run().results["M:O"].distribution["6"] == 1.0


def liquid(frames, seed, memory=0.0):
    """Centres with four or five neighbours at 2 A, and others far away; a neighbour leaves or comes now and then."""
    rng = np.random.default_rng(seed)
    n, edge = 12, 60.0
    centre = np.stack(np.meshgrid([10.0, 30, 50], [10.0, 30], [10.0, 30], indexing="ij"), -1).reshape(-1, 3)
    directions = rng.normal(size=(n, 5, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    bound = rng.random(n) < 0.5
    positions = np.empty((frames, 6 * n, 3))
    for t in range(frames):
        again = rng.random(n) > memory
        bound = np.where(again, rng.random(n) < 0.5, bound)
        radius = 2.0 + 0.1 * rng.normal(size=(n, 5, 1))
        # The free one is anywhere between 4 and 9 A, with the density of a gas.
        radius[:, 4, 0] = np.where(bound, radius[:, 4, 0], (64 + 665 * rng.random(n)) ** (1 / 3))
        positions[t] = np.concatenate([centre, (centre[:, None] + radius * directions).reshape(-1, 3)])
    return open_trajectory(positions, cell_A=[edge] * 3), {"M": np.arange(n), "O": np.arange(n, 6 * n)}


def test_without_a_cutoff_the_first_minimum_of_g_is_taken():
    trajectory, species = liquid(60, 0)
    result = Coordination(trajectory, ["M:O"], species).run(10, 60, 2).results["M:O"]
    rdf = RDF(trajectory, ["M:O"], species).run(10, 60, 2).results["M:O"]
    assert result.cutoff_A == rdf.first_minimum_A
    assert 2.3 < result.cutoff_A < 4
    assert result.cutoff_from == "first minimum of g(r)"
    assert result.mean == pytest.approx(4.5, abs=0.1)
    assert set(result.distribution) == {"0", "1", "2", "3", "4", "5"}


def test_every_run_finds_its_own_cutoff():
    """The second half of the trajectory is wider, by as much as its first minimum."""
    trajectory, species = liquid(60, 0)
    narrow = np.stack([frame.positions_A for frame in trajectory.source.frames(range(30))])
    cells = np.array([np.eye(3) * 60.0] * 30 + [np.eye(3) * 72.0] * 30)
    both = open_trajectory(np.concatenate([narrow, 1.2 * narrow]), cell_A=cells)
    analysis = Coordination(both, ["M:O"], species)
    first, second = analysis.run(0, 30).results["M:O"], analysis.run(30, 60).results["M:O"]
    assert second.cutoff_A == RDF(both, ["M:O"], species).run(30, 60).results["M:O"].first_minimum_A
    assert second.cutoff_A > first.cutoff_A + 0.2
    assert second.mean == pytest.approx(first.mean, abs=0.1)
    assert analysis.run(0, 30).results["M:O"].cutoff_A == first.cutoff_A


def test_no_minimum_is_an_error_that_asks_for_a_cutoff():
    ideal = open_trajectory(np.random.default_rng(0).random((5, 40, 3)) * 20, cell_A=[20.0] * 3)
    with pytest.raises(BadOptionError, match=r"x:x: g\(r\) shows no first minimum .* x:x@3"):
        Coordination(ideal, ["x:x"], {"x": np.arange(40)}).run()


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_the_standard_error_covers_the_truth(memory):
    """Bonds that last ten frames: as if frames were independent, the error would be four times too small."""
    inside, tried = 0, 60
    for seed in range(tried):
        trajectory, species = liquid(400, seed, memory)
        result = Coordination(trajectory, {"M:O": 3.0}, species).run().results["M:O"]
        inside += abs(result.mean - 4.5) < 1.96 * result.mean_error
        assert result.distribution_error["4"] == pytest.approx(result.mean_error, rel=1e-6)  # two states only
    assert 0.85 <= inside / tried <= 1.0


def test_short_and_slow_runs_are_told():
    trajectory, species = liquid(40, 1, memory=0.97)
    told = {notice.code for notice in Coordination(trajectory, {"M:O": 3.0}, species).run().results.warnings}
    assert "few-independent-frames" in told
    one = Coordination(trajectory, {"M:O": 3.0}, species).run(0, 2).results
    assert one["M:O"].mean_error is None
    assert one["M:O"].distribution_error is None
    assert "few-frames" in {notice.code for notice in one.warnings}


def test_two_workers_give_exactly_what_one_gives(mixture):
    trajectory, _, species = mixture
    one = Coordination(trajectory, {"Li:O": 3.3, "Li:any": 4.0}, species, by_frame=True)
    two = Coordination(trajectory, {"Li:O": 3.3, "Li:any": 4.0}, species, by_frame=True)
    first, second = one.run(0, None, 1).results, two.run(workers=2).results
    assert first["Li:O"].distribution == second["Li:O"].distribution
    assert first["Li:any"].mean_error == second["Li:any"].mean_error
    np.testing.assert_array_equal(first["Li:any"].by_frame, second["Li:any"].by_frame)


def test_a_result_can_be_stored_saved_and_drawn(mixture, tmp_path):
    trajectory, _, species = mixture
    result = Coordination(trajectory, {"Li:O": 3.3, "Li:Li": 5.0}, species).run().results
    assert loads(dumps(result)).to_dict() == result.to_dict()
    assert set(result.to_dict()["pairs"]["Li:O"]) >= {"cutoff_A", "mean", "distribution"}
    table = result.to_dataframe()
    assert table.groupby("pair")["fraction"].sum().tolist() == pytest.approx([1.0, 1.0])
    for name in ("x.json", "x.csv", "x.npz"):
        assert result.save(tmp_path / name).stat().st_size > 0
    import matplotlib

    matplotlib.use("Agg")
    axes = result.plot()
    assert len(axes.patches) == len(table)


@pytest.mark.parametrize(
    ("pairs", "error", "told"),
    [
        ({}, BadOptionError, "no pairs"),
        ({"Li:O": -1}, BadOptionError, "above zero"),
        ({"Li:O": float("nan")}, BadOptionError, "above zero"),
        ({"Li:X": 3.0}, UnknownNameError, "unknown species 'X'"),
        ({"LiO": 3.0}, BadOptionError, "two species"),
    ],
)
def test_refusals(mixture, pairs, error, told):
    with pytest.raises(error, match=told):
        Coordination(mixture[0], pairs, mixture[2])


def test_refusals_while_running(mixture):
    trajectory, positions, species = mixture
    with pytest.raises(TrajectoryError, match=r"cutoff 30 A reaches beyond .* largest allowed"):
        Coordination(trajectory, {"Li:O": 30.0}, species).run()
    with pytest.raises(TrajectoryError, match="no cell is stored"):
        Coordination(open_trajectory(positions), {"Li:O": 3.0}, species).run()
    with pytest.raises(SelectionError):
        Coordination(trajectory, {"Li:O": 3.0}, {"Li": [0], "O": [9999]})
