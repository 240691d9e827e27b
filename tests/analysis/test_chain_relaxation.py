"""Sizes and relaxation of chains: known answers, MDAnalysis and tidynamics as oracles, and what must not matter."""

import warnings

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.spatial.transform import Rotation

from atomflow.analysis import ChainRelaxation, Wanted, analyse, everything
from atomflow.analysis.chain_relaxation import _relaxation
from atomflow.errors import BadOptionError, TrajectoryError
from atomflow.model import dumps, loads
from atomflow.trajectory import Topology, open_trajectory

CELL = np.array([[11.0, 0, 0], [3.0, 12.0, 0], [-2.0, 2.5, 10.0]])


def topology(n_chains, n_beads, hydrogens=True):
    """Carbon chains, each carbon with a hydrogen that no path may end at; and a lone ion at the end."""
    elements, bonds = [], []
    for _ in range(n_chains):
        first = len(elements)
        elements += ["C"] * n_beads
        bonds += [(first + k, first + k + 1) for k in range(n_beads - 1)]
        if hydrogens:
            bonds += [(first + k, first + n_beads + k) for k in range(n_beads)]
            elements += ["H"] * n_beads
    elements.append("Li")
    masses = np.array([{"C": 12.011, "H": 1.008, "Li": 6.94}[e] for e in elements])
    return Topology(len(elements), elements=np.array(elements), masses_u=masses, bonds=np.array(bonds))


def walks(rng, n_frames, n_chains, n_beads, bond=1.5):
    """Freely jointed chains with hydrogens, new ones in every frame: (n_frames, n_atoms, 3)."""
    frames = []
    for _ in range(n_frames):
        atoms = []
        for _ in range(n_chains):
            steps = rng.normal(size=(n_beads, 3))
            steps *= bond / np.linalg.norm(steps, axis=1, keepdims=True)
            carbons = rng.uniform(0, 10, 3) + np.cumsum(steps, axis=0)
            atoms += [carbons, carbons + np.array([0, 0, 1.09])]
        frames.append(np.concatenate([*atoms, np.zeros((1, 3))]))
    return np.array(frames)


def analysed(positions, top, cell=None, chains=None, **options):
    made = open_trajectory(positions, top, cell_A=cell, dt_ps=2.0)
    return ChainRelaxation(made, "element C" if chains is None else chains).run(**options).results


@pytest.fixture
def small():
    rng = np.random.default_rng(5)
    return walks(rng, 12, 5, 9), topology(5, 9)


def test_freely_jointed_chains_have_n_b_squared():
    rng = np.random.default_rng(1)
    found = analysed(walks(rng, 60, 20, 30), topology(20, 30))["chains"]
    assert found.n_chains == 20 and found.backbone_bonds == 29
    exact = 29 * 1.5**2
    assert found.end_to_end_A**2 == pytest.approx(exact, abs=4 * 2 * found.end_to_end_A * found.end_to_end_error_A)
    # The error is that of 1,200 independent chains: <R^4> - <R^2>^2 = 2/3 <R^2>^2 for long ones.
    assert 2 * found.end_to_end_A * found.end_to_end_error_A == pytest.approx(exact * np.sqrt(2 / 3 / 1200), rel=0.5)
    # A new chain in every frame forgets at once.
    assert found.relaxed and abs(found.correlation[1]) < 0.1


def test_radius_and_ends_agree_with_mdanalysis_in_a_wrapped_triclinic_cell(small):
    import MDAnalysis as mda

    positions, top = small
    wrapped = (positions @ np.linalg.inv(CELL) % 1.0) @ CELL
    found = analysed(wrapped, top, CELL)["chains"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = mda.Universe.empty(top.n_atoms, n_residues=1, atom_resindex=[0] * top.n_atoms, trajectory=True)
        universe.load_new(wrapped)
        universe.add_TopologyAttr("masses", top.masses_u)
        universe.add_TopologyAttr("bonds", [tuple(bond) for bond in top.bonds])
        lengths = np.linalg.norm(CELL, axis=1)
        angles = [
            np.degrees(np.arccos(CELL[a] @ CELL[b] / lengths[a] / lengths[b])) for a, b in ((1, 2), (0, 2), (0, 1))
        ]
        squares, ends = [], []
        for step in universe.trajectory:
            step.dimensions = [*lengths, *angles]
            for fragment in universe.atoms.fragments[:-1]:
                fragment.unwrap(reference=None)
                squares.append(fragment.radius_of_gyration() ** 2)
                ends.append(((fragment[8].position - fragment[0].position) ** 2).sum())
    assert found.radius_of_gyration_A == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-5)
    assert found.end_to_end_A == pytest.approx(np.sqrt(np.mean(ends)), rel=1e-5)


def test_correlation_agrees_with_tidynamics():
    import tidynamics

    rng = np.random.default_rng(2)
    vectors = np.cumsum(rng.normal(size=(40, 6, 3)), axis=0)
    found = analysed(straight(vectors), topology(6, 4, hydrogens=False))["chains"]
    products = sum(tidynamics.acf(vectors[:, chain]) for chain in range(6)) / 6
    squares = (vectors**2).sum(axis=2).mean(axis=1)
    norms = [0.5 * (squares[: 40 - lag].mean() + squares[lag:].mean()) for lag in range(40)]
    assert found.correlation == pytest.approx(products / norms, abs=1e-10)
    assert found.lag_ps[1] == 2.0


def straight(vectors):
    """Chains of four atoms along these vectors, (n_frames, n_chains, 3), and a lone ion."""
    chains = vectors[:, :, None, :] * np.linspace(0, 1, 4)[:, None]
    flat = chains.reshape(len(vectors), -1, 3)
    return np.concatenate([flat, np.zeros((len(vectors), 1, 3))], axis=1)


def modes(rng, n_frames, n_chains, times, weights):
    """Sums of Ornstein-Uhlenbeck vectors, stationary from the first frame."""
    total = np.zeros((n_frames, n_chains, 3))
    for time, weight in zip(times, weights, strict=True):
        kept = np.exp(-1 / time)
        kicks = rng.normal(size=(n_frames, n_chains, 3))
        kicks[1:] *= np.sqrt(1 - kept**2)
        one = lfilter([1.0], [1.0, -kept], kicks, axis=0)
        total += np.sqrt(weight) * one
    return total


def test_rouse_chain_has_its_relaxation_time():
    """The integral is pi^2/12 tau_1, in the run's own error; the error itself is right within a factor of two."""
    tau, times = 40.0, []
    odd = np.arange(1, 20, 2)
    for seed in range(12):
        vectors = modes(np.random.default_rng(seed), 1500, 16, tau / odd**2, 1 / odd**2)
        found = analysed(straight(vectors), topology(16, 4, hydrogens=False))["chains"]
        assert found.relaxed
        times.append((found.relaxation_time_ps, found.relaxation_time_error_ps))
    values, errors = np.array(times).T
    exact = 2.0 * np.pi**2 / 12 * tau
    assert values.mean() == pytest.approx(exact, abs=3 * values.std(ddof=1) / np.sqrt(12))
    assert values.mean() == pytest.approx(exact, rel=0.06)
    assert 0.5 < errors.mean() / values.std(ddof=1) < 2.0


def test_relaxation_of_exact_curves():
    lags = np.arange(2000)
    assert _relaxation(np.exp(-lags / 100)) == pytest.approx(100, rel=1e-3)
    rouse = sum(8 / np.pi**2 / p**2 * np.exp(-(p**2) * lags / 200) for p in range(1, 40, 2))
    assert _relaxation(rouse) == pytest.approx(np.pi**2 / 12 * 200, rel=0.01)
    assert _relaxation(np.exp(-lags / 1500)) is None


def test_frozen_chains_are_not_called_relaxed():
    vectors = modes(np.random.default_rng(4), 151, 8, [2000.0], [1.0])
    found = analysed(straight(vectors), topology(8, 4, hydrogens=False))
    kind = found["chains"]
    assert kind.relaxation_time_ps is None and not kind.relaxed
    assert 0.8 < kind.correlation_at_end <= 1 and kind.correlation.max() <= 1 + 1e-12
    assert f"still {kind.correlation_at_end:.2f} after 300 ps" in kind.text
    assert [notice.code for notice in found.warnings] == ["chains-not-relaxed"]


def test_a_run_of_two_relaxation_times_is_said_to_be_short():
    vectors = modes(np.random.default_rng(7), 100, 200, [40.0], [1.0])
    kind = analysed(straight(vectors), topology(200, 4, hydrogens=False))["chains"]
    assert kind.relaxation_time_ps == pytest.approx(80, rel=0.25)
    assert not kind.relaxed and "times as long" in kind.text


@pytest.mark.parametrize("change", ["moved", "turned", "wrapped", "broken", "doubled"])
def test_what_must_not_matter(small, change):
    positions, top = small
    reference = analysed(positions, top, CELL)["chains"]
    cell = CELL
    if change == "moved":
        positions = positions + np.array([3.0, -40.0, 7.7])
    elif change == "turned":
        turn = Rotation.random(random_state=3).as_matrix()
        positions, cell = positions @ turn.T, CELL @ turn.T
    elif change == "wrapped":
        positions = (positions @ np.linalg.inv(CELL) % 1.0) @ CELL
    elif change == "broken":
        images = np.random.default_rng(0).integers(-2, 3, positions.shape)
        positions = positions + images @ CELL
    else:
        cell = 5 * CELL
    found = analysed(positions, top, cell)["chains"]
    for name in ("radius_of_gyration_A", "end_to_end_A", "radius_of_gyration_error_A", "correlation_at_end"):
        assert getattr(found, name) == pytest.approx(getattr(reference, name), rel=1e-9)


def test_workers_and_frames(small):
    positions, top = small
    alone = analysed(positions, top, CELL)["chains"]
    shared = analysed(positions, top, CELL, workers=2)["chains"]
    assert np.array_equal(alone.correlation, shared.correlation)
    assert analysed(positions, top, CELL, step=3)["chains"].lag_ps.tolist() == [0, 6, 12, 18]
    one = analysed(positions[:1], top, CELL)
    assert one["chains"].correlation_at_end is None and "one frame" in one["chains"].text


def test_branches_end_the_backbone_at_the_longest_path():
    """A side group of two atoms at the second of six carbons: the ends are still the first and the last."""
    bonds = [(k, k + 1) for k in range(5)] + [(3, 6), (6, 7)]
    elements = np.array(["C"] * 8)
    places = np.zeros((1, 8, 3))
    places[0, :, 0] = [0, 1, 2, 3, 4, 5, 3, 3]
    places[0, 6:, 1] = [1, 2]
    top = Topology(8, elements=elements, masses_u=np.full(8, 12.0), bonds=np.array(bonds))
    found = analysed(places, top)["chains"]
    assert found.backbone_bonds == 5 and found.end_to_end_A == pytest.approx(5)


def test_replicas_are_not_correlated_with_each_other():
    """Three replicas of six chains are worth one run of eighteen."""
    vectors = modes(np.random.default_rng(9), 50, 18, [20.0], [1.0])
    top = topology(6, 4, hydrogens=False)
    parts = [open_trajectory(straight(vectors[:, 6 * k : 6 * k + 6]), top, dt_ps=2.0) for k in range(3)]
    found = analyse(parts, Wanted(species={"P": "element C"}, chains=("P",))).chains["P"]
    whole = analysed(straight(vectors), topology(18, 4, hydrogens=False))["chains"]
    assert found.end_to_end_A == pytest.approx(whole.end_to_end_A)
    assert found.correlation == pytest.approx(whole.correlation)
    assert found.relaxation_time_ps == pytest.approx(whole.relaxation_time_ps)


def test_polymers_are_found_and_all_of_it_is_in_the_results(tmp_path):
    rng = np.random.default_rng(3)
    positions, top = walks(rng, 5, 4, 90), topology(4, 90)
    made = open_trajectory(positions, top, cell_A=np.eye(3) * 40.0, dt_ps=1.0)
    found = ChainRelaxation(made).run().results
    assert list(found.kinds) == ["polymer-1"] and found["polymer-1"].n_chains == 4
    assert everything(made).chains == ("polymer-1",)
    body = analyse([made], Wanted(species={"P": "element C"}, chains=("P",))).to_dict()
    assert body["results"]["chains"]["P"]["n_chains"] == 4
    again = loads(dumps(found))
    assert again["polymer-1"].radius_of_gyration_A == found["polymer-1"].radius_of_gyration_A
    assert found.save(tmp_path / "chains.csv").read_text().startswith("kind,lag_frames,lag_ps,correlation")
    assert found.plot().get_xlabel() == "lag (ps)"


def test_what_is_no_chain_is_refused(small):
    positions, top = small
    with pytest.raises(BadOptionError, match="no chains"):
        analysed(positions, top, chains="element Li")
    with pytest.raises(TrajectoryError, match="no polymer"):
        ChainRelaxation(open_trajectory(positions, top, dt_ps=1.0))
    bare = Topology(top.n_atoms, elements=top.elements, masses_u=top.masses_u)
    with pytest.raises(TrajectoryError, match="bonds"):
        analysed(positions, bare)


def test_without_masses_or_times(small):
    positions, top = small
    bare = Topology(top.n_atoms, elements=top.elements, bonds=top.bonds)
    found = ChainRelaxation(open_trajectory(positions, bare), "element C").run().results
    assert "no-masses" in [notice.code for notice in found.warnings]
    assert found["chains"].lag_ps is None and found["chains"].relaxation_time_ps is None


def test_report_has_sizes_and_the_sentence(tmp_path):
    from atomflow.report import write_outcome
    from atomflow.report.analysis_report import analysis_outcome

    vectors = modes(np.random.default_rng(4), 151, 8, [2000.0], [1.0])
    made = open_trajectory(straight(vectors), topology(8, 4, hydrogens=False), dt_ps=2.0)
    found = analyse([made], Wanted(species={"P": "element C"}, chains=("P",)))
    outcome = analysis_outcome(found)
    table = next(table for table in outcome.report.tables if table.title == "Polymer chains")
    assert table.rows[0]["kind"] == "P" and table.rows[0]["relaxed"] is False
    assert found.chains["P"].text in table.note
    assert outcome.report.answer.endswith("Å, not relaxed.")
    assert [chart.name for chart in outcome.report.charts] == ["chains"]
    about = {"study": "analyze", "wall_time_s": 1.0, "inputs": {}, "command": "atomflow analyze walk.xtc"}
    write_outcome(outcome, tmp_path, about)
    assert found.chains["P"].text in (tmp_path / "report.html").read_text()
