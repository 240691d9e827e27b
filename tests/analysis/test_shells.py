"""Shells and ion pairs: by hand, and beside solvation-analysis on random and real electrolytes."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from atomflow.analysis.shells import Shells
from atomflow.errors import BadOptionError, TrajectoryError, UnknownNameError
from atomflow.model import dumps, loads
from atomflow.trajectory import Topology, open_trajectory

EDGE = 60.0


class Sketch:
    """Molecules put down by hand."""

    def __init__(self):
        self.positions, self.residues, self.kinds, self.molecules = [], [], [], 0

    def add(self, kind, *atoms):
        self.molecules += 1
        for atom in atoms:
            self.positions.append(atom)
            self.residues.append(self.molecules)
            self.kinds.append(kind)

    def trajectory(self, frames=1):
        positions = np.array([self.positions] * frames, dtype=float)
        topology = Topology(len(self.kinds), types=np.array(self.kinds), residues=np.array(self.residues))
        return open_trajectory(positions, topology, cell_A=[EDGE] * 3, dt_ps=1.0)


def site(x, y=0.0):
    return np.array([x, y, 0.0])


@pytest.fixture
def sketch():
    """Six lithium ions whose class is known, 10 A apart along x (the first beside the face of the cell)."""
    s = Sketch()
    for k in range(6):
        s.add("Li", site(10.0 * k))
    up, down, side = np.array([0, 2.0, 0]), np.array([0, -2.0, 0]), np.array([0, 0, 2.0])
    s.add("S", site(0) + up)  # 0: solvent only
    s.add("S", site(0) + down)
    s.add("A", site(10) + up, site(10) + side)  # 1: one anion with both of its atoms
    s.add("S", site(10) + down)
    s.add("A", site(20) + up)  # 2: two anions
    s.add("A", site(20) + down)
    s.add("A", site(30) + np.array([2.0, 0, 0]), site(40) - np.array([2.0, 0, 0]))  # 3 and 4 share one
    # 5: nothing near
    s.add("A", site(25, 20.0))  # free
    s.add("S", site(-1.5, 30.0))
    return s


def test_shells_drawn_by_hand(sketch):
    result = Shells(sketch.trajectory(), "type Li", {"S": "type S", "A": "type A"}, 2.5, anions=["A"]).run().results
    assert {tuple(c.molecules.values()): round(6 * c.fraction) for c in result.compositions} == {
        (2, 0): 1, (1, 1): 1, (0, 2): 1, (0, 1): 2, (0, 0): 1,
    }  # fmt: skip
    assert result.compositions[0].molecules == {"S": 0, "A": 1}  # the most frequent first
    shares = {name: round(6 * share.fraction) for name, share in result.ion_pairing.items()}
    assert shares == {"solvent_separated": 2, "contact": 1, "aggregate": 3}
    anion, solvent = result.ligands["A"], result.ligands["S"]
    assert anion.n_molecules == 5
    assert anion.denticity == {"1": pytest.approx(4 / 5), "2": pytest.approx(1 / 5)}
    assert anion.centres == {"0": pytest.approx(0.2), "1": pytest.approx(0.6), "2": pytest.approx(0.2)}
    assert anion.free_fraction == pytest.approx(0.2)
    assert anion.mean_molecules == pytest.approx(5 / 6)
    assert anion.mean_atoms == pytest.approx(6 / 6)
    assert solvent.free_fraction == pytest.approx(0.25)
    assert solvent.mean_molecules == pytest.approx(3 / 6)


def test_classes_need_anions_and_counting_atoms_would_call_a_chelate_an_aggregate(sketch):
    assert Shells(sketch.trajectory(), "type Li", {"A": "type A"}, 2.5).run().results.ion_pairing is None
    loose = Topology(len(sketch.kinds), types=np.array(sketch.kinds))
    trajectory = open_trajectory(np.array([sketch.positions]), loose, cell_A=[EDGE] * 3)
    result = Shells(trajectory, "type Li", {"A": "type A"}, 2.5, anions=["A"]).run().results
    assert "molecules-unknown" in {notice.code for notice in result.warnings}
    assert round(6 * result.ion_pairing["contact"].fraction) == 2  # what comes of not knowing the molecules
    assert round(6 * result.ion_pairing["aggregate"].fraction) == 2


def test_one_anion_under_two_names_is_one_anion():
    s = Sketch()
    s.add("Li", site(5))
    s.positions += [site(7), site(5, 2)]
    s.residues += [2, 2]
    s.kinds += ["O", "N"]
    result = Shells(s.trajectory(), "type Li", {"O": "type O", "N": "type N"}, 2.5, anions=["O", "N"]).run().results
    assert result.compositions[0].molecules == {"O": 1, "N": 1}
    assert result.ion_pairing["contact"].fraction == 1.0


def test_atoms_of_the_centres_own_molecule_are_no_ligands():
    s = Sketch()
    s.add("M", site(5))
    s.positions.append(site(6))
    s.residues.append(1)
    s.kinds.append("O")
    s.add("O", site(3))
    result = Shells(s.trajectory(), "type M", {"O": "type O"}, 2.5).run().results
    assert result.compositions[0].molecules == {"O": 1}


def random_electrolyte(seed, frames=8):
    """Ions and two solvents of several atoms at random: many shared and double contacts."""
    rng = np.random.default_rng(seed)
    edge, kinds, residues, places = 22.0, [], [], []
    for kind, count, size in (("Li", 30, 1), ("A", 30, 4), ("S", 60, 3), ("T", 40, 2)):
        for _ in range(count):
            number = (residues[-1] if residues else 0) + 1
            heart = rng.random((frames, 1, 3)) * edge
            places.append(heart + rng.normal(size=(frames, size, 3)) * (0 if size == 1 else 1.2))
            residues += [number] * size
            kinds += [kind] * size
    return np.concatenate(places, axis=1), np.array(kinds), np.array(residues), edge


def universe_of(positions, kinds, residues, edge):
    import MDAnalysis
    from MDAnalysis.coordinates.memory import MemoryReader

    universe = MDAnalysis.Universe.empty(
        len(kinds), n_residues=int(residues.max()), atom_resindex=residues - 1, trajectory=True
    )
    universe.add_TopologyAttr("types", kinds)
    universe.add_TopologyAttr("masses", np.ones(len(kinds)))
    universe.load_new(
        positions.astype(np.float32), format=MemoryReader, dimensions=np.array([edge, edge, edge, 90, 90, 90])
    )
    return universe


def theirs(universe, centre, ligands, radii, anions):
    from solvation_analysis.solute import Solute

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        solute = Solute.from_atoms(
            universe.select_atoms(centre), {name: universe.select_atoms(text) for name, text in ligands.items()},
            radii=dict(radii), skip_rdf=True, analysis_classes=["pairing", "coordination", "speciation", "networking"],
            networking_solvents=anions,
        )  # fmt: skip
        return solute.run()


def compare(result, solute, names):
    """Compositions, means, free fractions and classes beside theirs."""
    table = solute.speciation.speciation_fraction
    expected = {
        tuple(int(row.get(name, 0)) for name in names): row["count" if "count" in row else "fraction"]
        for row in table.to_dict("records")
    }
    ours = {tuple(c.molecules[name] for name in names): c.fraction for c in result.compositions}
    bare = ours.pop((0,) * len(names), 0.0)  # they have no row for it
    assert ours == pytest.approx(expected)
    assert bare == pytest.approx(1 - sum(expected.values()))
    for name, mean in solute.coordination.coordination_numbers.items():
        assert result.ligands[name].mean_molecules == pytest.approx(mean)
    for name, fraction in solute.pairing.fraction_free_solvents.items():
        assert result.ligands[name].free_fraction == pytest.approx(fraction)


def classes_of(solute, n_solutes, n_frames):
    """From their networks; their own solute_status counts a network once, however many solutes it holds."""
    seen = Counter()
    for _, network in solute.networking.network_df.groupby(level=[0, 1]):
        members = network.iloc[:, 0]
        cations = int((members == "solute_0").sum())
        seen["contact" if len(members) == 2 else "aggregate"] += cations
    total = n_solutes * n_frames
    seen["solvent_separated"] = total - sum(seen.values())
    return {name: seen[name] / total for name in ("solvent_separated", "contact", "aggregate")}


@pytest.mark.parametrize("seed", range(4))
def test_random_electrolytes_beside_solvation_analysis(seed):
    positions, kinds, residues, edge = random_electrolyte(seed)
    universe = universe_of(positions, kinds, residues, edge)
    ligands = {"A": "type A", "S": "type S", "T": "type T"}
    radii = {"A": 2.8, "S": 2.6, "T": 3.1}
    result = Shells(universe, "type Li", ligands, radii, anions=["A"]).run().results
    solute = theirs(universe, "type Li", ligands, radii, "A")
    compare(result, solute, list(ligands))
    shares = {name: share.fraction for name, share in result.ion_pairing.items()}
    assert shares == pytest.approx(classes_of(solute, 30, len(positions)))
    assert min(shares.values()) > 0.05


def test_a_real_electrolyte_beside_solvation_analysis():
    """LiPF6 in butyronitrile and fluoroethylene carbonate, the data of solvation-analysis."""
    import MDAnalysis
    import solvation_analysis.tests

    folder = Path(solvation_analysis.tests.__file__).parent / "data" / "bn_fec_data"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe(folder / "bn_fec.data", folder / "bn_fec_short_wrap.dcd")
        ligands = {"pf6": "byres type 20", "bn": "byres type 5", "fec": "byres type 19"}
        radii = {"pf6": 2.8, "bn": 2.61468, "fec": 2.43158}
        solute = theirs(universe, "type 22", ligands, radii, "pf6")
        species = {"Li": "type 22", **ligands}
        files = open_trajectory(folder / "bn_fec_short_wrap.dcd", folder / "bn_fec.data")
        for trajectory in (universe, files):
            result = Shells(trajectory, "Li", list(ligands), radii, species=species, anions=["pf6"]).run().results
            compare(result, solute, list(ligands))
            shares = {name: share.fraction for name, share in result.ion_pairing.items()}
            assert shares == pytest.approx(classes_of(solute, 49, 10))
            assert result.ligands["bn"].mean_molecules == pytest.approx(4.3286, abs=1e-4)


def test_without_cutoffs_first_minima_are_taken():
    rng = np.random.default_rng(0)
    n, frames = 20, 40
    centre = np.stack(np.meshgrid([7.0, 21, 35, 49], [7.0, 21, 35, 49], [7.0, 21], indexing="ij"), -1).reshape(-1, 3)[
        :n
    ]
    away = rng.normal(size=(frames, n, 4, 3))
    away *= (2.0 + 0.1 * rng.normal(size=(frames, n, 4, 1))) / np.linalg.norm(away, axis=-1, keepdims=True)
    bound = (centre[:, None] + away).reshape(frames, -1, 3)
    bulk = rng.random((frames, 900, 3)) * 56
    apart = np.linalg.norm((bulk[:, :, None] - centre + 28) % 56 - 28, axis=-1).min(axis=2) > 4.5
    bulk = np.where(apart[..., None], bulk, 55.0)
    positions = np.concatenate([np.tile(centre, (frames, 1, 1)), bound, bulk], axis=1)
    trajectory = open_trajectory(positions, Topology(positions.shape[1]), cell_A=[56.0] * 3)
    ligands = {"S": np.arange(n, positions.shape[1])}
    result = Shells(trajectory, "M", ligands, species={"M": np.arange(n)}).run().results
    assert 2.4 < result.ligands["S"].cutoff_A < 4.6
    assert result.ligands["S"].cutoff_from == "first minimum of g(r)"
    assert result.compositions[0].molecules == {"S": 4}


def test_every_run_finds_its_own_cutoff():
    """The second half of the trajectory is the first, stretched."""
    rng = np.random.default_rng(1)
    centre = np.stack(np.meshgrid([7.0, 21, 35, 49], [7.0, 21, 35, 49], [7.0, 21], indexing="ij"), -1).reshape(-1, 3)
    away = rng.normal(size=(30, 32, 4, 3))
    away *= (2.0 + 0.1 * rng.normal(size=(30, 32, 4, 1))) / np.linalg.norm(away, axis=-1, keepdims=True)
    bulk = rng.random((30, 900, 3)) * 56
    apart = np.linalg.norm((bulk[:, :, None] - centre + 28) % 56 - 28, axis=-1).min(axis=2) > 4.5
    bulk = np.where(apart[..., None], bulk, 55.0)
    shells = (centre[:, None] + away).reshape(30, -1, 3)
    narrow = np.concatenate([np.tile(centre, (30, 1, 1)), shells, bulk], axis=1)
    cells = np.array([np.eye(3) * 56.0] * 30 + [np.eye(3) * 70.0] * 30)
    both = open_trajectory(np.concatenate([narrow, 1.25 * narrow]), cell_A=cells)
    ligands = {"S": np.arange(32, narrow.shape[1])}
    analysis = Shells(both, "M", ligands, species={"M": np.arange(32)})
    first, second = analysis.run(0, 30).results.ligands["S"], analysis.run(30, 60).results.ligands["S"]
    assert second.cutoff_A > first.cutoff_A + 0.2
    assert analysis.run(0, 30).results.ligands["S"].cutoff_A == first.cutoff_A


def test_errors_of_fractions_cover_the_truth():
    rng = np.random.default_rng(5)
    inside = tried = 0
    for _ in range(40):
        s = Sketch()
        for k in range(10):
            s.add("Li", site(5.5 * k))
        for k in range(10):
            s.add("A", site(5.5 * k, 2.0))
        positions = np.tile(np.array(s.positions), (320, 1, 1))
        state = rng.random(10) < 0.3
        for t in range(320):  # contacts that last five frames
            again = rng.random(10) < 0.2
            state = np.where(again, rng.random(10) < 0.3, state)
            positions[t, 10:, 1] = np.where(state, 2.0, 20.0)
        topology = Topology(20, types=np.array(s.kinds), residues=np.array(s.residues))
        trajectory = open_trajectory(positions, topology, cell_A=[EDGE] * 3)
        contact = Shells(trajectory, "type Li", {"A": "type A"}, 2.5, anions=["A"]).run().results.ion_pairing["contact"]
        inside += abs(contact.fraction - 0.3) < 1.96 * contact.fraction_error
        tried += 1
    assert inside / tried >= 0.85, "errors too small"


def test_two_workers_give_exactly_what_one_gives():
    positions, kinds, residues, edge = random_electrolyte(9, frames=11)
    trajectory = open_trajectory(positions, Topology(len(kinds), types=kinds, residues=residues), cell_A=[edge] * 3)
    ligands = {"A": "type A", "S": "type S"}
    one = Shells(trajectory, "type Li", ligands, 2.7, anions=["A"]).run(1, None, 3).results
    two = Shells(trajectory, "type Li", ligands, 2.7, anions=["A"]).run(1, None, 3, workers=2).results
    assert one.to_dict() == two.to_dict()
    assert one.n_frames == 4


def test_a_result_can_be_stored_saved_and_drawn(sketch, tmp_path):
    result = Shells(sketch.trajectory(6), "type Li", {"S": "type S", "A": "type A"}, 2.5, anions=["A"]).run().results
    assert loads(dumps(result)).to_dict() == result.to_dict()
    table = result.to_dataframe()
    assert table["fraction"].sum() == pytest.approx(1.0)
    assert list(table.columns) == ["S", "A", "fraction", "fraction_error"]
    for name in ("x.json", "x.csv", "x.npz"):
        assert result.save(tmp_path / name).stat().st_size > 0
    import matplotlib

    matplotlib.use("Agg")
    assert len(result.plot().patches) == 5


@pytest.mark.parametrize(
    ("ligands", "cutoffs", "anions", "error", "told"),
    [
        ({}, 2.5, (), BadOptionError, "no ligands"),
        ({"S": "type S"}, 2.5, ("A",), UnknownNameError, "unknown ligand 'A'"),
        ({"S": "type S"}, {"X": 2.5}, (), UnknownNameError, "unknown ligand 'X'"),
        ({"S": "type S"}, 0.0, (), BadOptionError, "above zero"),
        ({"S": "type S", "T": "type S or type A"}, 2.5, (), BadOptionError, "two ligands"),
    ],
)
def test_refusals(sketch, ligands, cutoffs, anions, error, told):
    with pytest.raises(error, match=told):
        Shells(sketch.trajectory(), "type Li", ligands, cutoffs, anions=anions)


def test_no_cell_is_an_error(sketch):
    topology = Topology(len(sketch.kinds), types=np.array(sketch.kinds), residues=np.array(sketch.residues))
    trajectory = open_trajectory(np.array([sketch.positions]), topology)
    with pytest.raises(TrajectoryError, match="no cell"):
        Shells(trajectory, "type Li", {"S": "type S"}, 2.5).run()
