"""``Conductivity``: ions whose correlations are known, charges that are odd, and the ways out of the result."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest

from atomflow.analysis import MSD, Conductivity
from atomflow.errors import BadOptionError, SelectionError, TrajectoryError, UnknownNameError
from atomflow.trajectory import Topology, open_trajectory

matplotlib.use("Agg")

EDGE_A = 20.0
STEP_A = 0.25  # standard deviation of one step along one axis
SPACING_PS = 2.0
D_CM2_PER_S = STEP_A**2 / (2 * SPACING_PS) * 1e-4
KELVIN = 300.0
PAIRS = 20
SALT = {"Li": "element Li", "Cl": "element Cl"}
CHARGES = {"Li": 1.0, "Cl": -1.0}


def steps(n, n_frames=1500, seed=0, step_A=STEP_A):
    """(n_frames, n, 3) of Brownian motion, the first frame anywhere in the cube."""
    rng = np.random.default_rng(seed)
    moved = rng.normal(0.0, step_A, (n_frames, n, 3))
    moved[0] = rng.random((n, 3)) * EDGE_A
    return moved


def opened(positions, symbols=None, dt_ps=SPACING_PS, edge_A=EDGE_A):
    n = positions.shape[1] // 2
    wrapped = positions if edge_A is None else positions % edge_A
    cell = None if edge_A is None else [edge_A] * 3
    return open_trajectory(wrapped, symbols or ["Li"] * n + ["Cl"] * n, dt_ps=dt_ps, cell_A=cell)


def conductivity(trajectory, charges=CHARGES, species=SALT, **options):
    asked = {"temperature_K": KELVIN, "drift": "none"} | options
    return Conductivity(trajectory, species, charges, **asked).run().results


def by_hand(sum_n_z2_d_cm2_per_s, edge_A=EDGE_A, kelvin=KELVIN):
    """e^2 / (V k T) sum N z^2 D, in SI, then S/cm."""
    return 1.602176634e-19**2 * sum_n_z2_d_cm2_per_s * 1e-4 / ((edge_A * 1e-10) ** 3 * 1.380649e-23 * kelvin) / 100


def codes(result):
    return {notice.code for notice in result.warnings}


@pytest.fixture(scope="module")
def independent():
    return conductivity(opened(np.cumsum(steps(2 * PAIRS), axis=0)))


def test_independent_ions(independent):
    """Both conductivities are e^2 N D / (V k T) of the known D, and their ratio is one."""
    expected = by_hand(2 * PAIRS * D_CM2_PER_S)
    low, high = independent.nernst_einstein_ci95_S_per_cm
    assert low < expected < high and low < independent.nernst_einstein_S_per_cm < high
    assert independent.nernst_einstein_S_per_cm == pytest.approx(expected, rel=0.1)
    low, high = independent.einstein_helfand_ci95_S_per_cm
    assert low < expected < high and low < independent.einstein_helfand_S_per_cm < high
    low, high = independent.haven_ratio_ci95
    assert low < 1 < high and low < independent.haven_ratio < high
    assert independent.warnings == ()
    assert independent.volume_A3 == pytest.approx(EDGE_A**3)
    assert independent.n_particles == {"Li": PAIRS, "Cl": PAIRS}


def test_nernst_einstein_is_the_sum_of_its_diffusivities():
    """Two and one charges, unlike numbers and diffusivities: against MSD's diffusivities and the formula by hand."""
    positions = np.concatenate([steps(10, step_A=0.15), steps(20, seed=1, step_A=0.3)], axis=1).cumsum(axis=0)
    trajectory = opened(positions, ["Mg"] * 10 + ["Cl"] * 20)
    species, charges = {"Mg": "element Mg", "Cl": "element Cl"}, {"Mg": 2.0, "Cl": -1.0}
    result = conductivity(trajectory, charges, species)
    msd = MSD(trajectory, species, drift="none").run().results
    shares = {name: charges[name] ** 2 * result.n_particles[name] for name in species}
    total = sum(shares[name] * msd[name].diffusivity_cm2_per_s for name in species)
    assert result.nernst_einstein_S_per_cm == pytest.approx(by_hand(total), rel=1e-6)
    for side, sign in ((0, -1), (1, 1)):
        apart = [
            shares[name] * (msd[name].diffusivity_ci95_cm2_per_s[side] - msd[name].diffusivity_cm2_per_s)
            for name in species
        ]
        limit = by_hand(total + sign * math.hypot(*apart))
        assert result.nernst_einstein_ci95_S_per_cm[side] == pytest.approx(limit, rel=1e-6)
    low, high = result.haven_ratio_ci95
    assert low < 1 < high


def test_ions_that_move_oppositely_conduct_more():
    """Each anion steps as its cation does, backwards: the collective charge moves twice as fast as that of independent ions."""
    moved = steps(PAIRS)
    back = -moved
    back[0] = steps(PAIRS, n_frames=1, seed=1)[0]
    result = conductivity(opened(np.concatenate([moved, back], axis=1).cumsum(axis=0)))
    expected = by_hand(2 * PAIRS * D_CM2_PER_S)
    low, high = result.einstein_helfand_ci95_S_per_cm
    assert low < 2 * expected < high
    assert low > result.nernst_einstein_ci95_S_per_cm[1]
    low, high = result.haven_ratio_ci95
    assert low < 0.5 < high < 1


@pytest.mark.parametrize("jitter_A", [0.0, 0.1])
def test_paired_ions_carry_nothing(jitter_A):
    """An anion goes wherever its cation goes: Einstein-Helfand cannot be told from zero, and the ratio is not a number."""
    centres = np.cumsum(steps(PAIRS), axis=0)
    rattle = np.random.default_rng(1).normal(0, 1, centres.shape) * jitter_A
    result = conductivity(opened(np.concatenate([centres, centres + rattle + 2.0], axis=1)))
    expected = by_hand(2 * PAIRS * D_CM2_PER_S)
    low, high = result.nernst_einstein_ci95_S_per_cm
    assert low < expected < high
    assert result.einstein_helfand_S_per_cm is None
    assert result.haven_ratio is None and result.haven_ratio_ci95 is None
    assert {"einstein-helfand-undetermined", "haven-undetermined"} <= codes(result)
    if result.einstein_helfand_ci95_S_per_cm is not None:
        low, high = result.einstein_helfand_ci95_S_per_cm
        assert low >= 0 and high < 0.1 * expected


def test_half_paired_ions_have_a_ratio_above_one():
    """Half of the ions in pairs: they add to Nernst-Einstein and not to Einstein-Helfand, so the ratio is two."""
    half = PAIRS // 2
    bound, free = steps(half, seed=2), steps(2 * half, seed=3)
    after = bound.copy()
    after[0] += 2.0
    parts = [bound, free[:, :half], after, free[:, half:]]
    result = conductivity(opened(np.concatenate(parts, axis=1).cumsum(axis=0)))
    low, high = result.haven_ratio_ci95
    assert 1 < low < 2 < high


def test_units(independent):
    """Conductivity goes as 1 / (time x length x temperature)."""
    positions = np.cumsum(steps(2 * PAIRS), axis=0)
    names = ("nernst_einstein_S_per_cm", "einstein_helfand_S_per_cm")
    cases = (
        (opened(positions, dt_ps=2 * SPACING_PS), {}, 1 / 2),
        (opened(2 * positions, edge_A=2 * EDGE_A), {}, 1 / 2),
        (opened(positions), {"temperature_K": 2 * KELVIN}, 1 / 2),
        (opened(positions), {"charges": {"Li": 2.0, "Cl": -2.0}}, 4),
        (opened(positions), {"charges": {"Li": -1.0, "Cl": 1.0}}, 1),
    )
    for trajectory, options, factor in cases:
        result = conductivity(trajectory, **options)
        for name in names:
            assert getattr(result, name) == pytest.approx(factor * getattr(independent, name))
        assert result.haven_ratio == pytest.approx(independent.haven_ratio)


def test_a_flow_of_all_moves_no_net_charge(independent):
    """The collective displacement of a neutral system does not see a drift; diffusivities do, and are withheld."""
    flow = 0.3 * np.arange(1500)[:, None, None] * np.array([1, 0, 0])
    result = conductivity(opened(np.cumsum(steps(2 * PAIRS), axis=0) + flow))
    assert result.einstein_helfand_S_per_cm == pytest.approx(independent.einstein_helfand_S_per_cm, rel=1e-6)
    assert result.nernst_einstein_S_per_cm is None and result.haven_ratio is None
    assert {"nernst-einstein-undetermined", "haven-undetermined"} <= codes(result)


def test_molecular_ions_are_followed_by_their_centres():
    """A two-atom anion that spins: as atoms it would carry its charge along the spin."""
    rng = np.random.default_rng(4)
    n_frames, n = 600, 8
    cations = np.cumsum(steps(n, n_frames), axis=0)
    centres = np.cumsum(steps(n, n_frames, seed=5), axis=0)
    turn = rng.normal(size=(n_frames, n, 3))
    turn /= np.linalg.norm(turn, axis=2, keepdims=True)
    masses = np.array([12.011, 14.007])
    apart = 1.15 * np.array([-masses[1], masses[0]]) / masses.sum()
    atoms = (centres[:, :, None] + turn[:, :, None] * apart[:, None]).reshape(n_frames, 2 * n, 3)
    topology = Topology(
        3 * n,
        elements=np.array(["Li"] * n + ["C", "N"] * n),
        masses_u=np.concatenate([np.full(n, 6.94), np.tile(masses, n)]),
        bonds=n + np.arange(2 * n).reshape(n, 2),
    )
    wrapped = np.concatenate([cations, atoms], axis=1) % EDGE_A
    trajectory = open_trajectory(wrapped, topology, dt_ps=SPACING_PS, cell_A=[EDGE_A] * 3)
    result = conductivity(trajectory, {"Li": 1, "CN": -1}, {"Li": "element Li", "CN": "element C N"})
    expected = conductivity(opened(np.concatenate([cations, centres], axis=1)))
    assert result.n_particles == {"Li": n, "CN": n}
    for name in ("nernst_einstein_S_per_cm", "einstein_helfand_S_per_cm"):
        assert getattr(result, name) == pytest.approx(getattr(expected, name), rel=1e-6)
    as_atoms = conductivity(trajectory, {"Li": 1, "CN": -1}, {"Li": "element Li", "CN": "element N"}, molecules=False)
    assert as_atoms.einstein_helfand_S_per_cm != pytest.approx(expected.einstein_helfand_S_per_cm, rel=1e-3)


def test_odd_charges_are_told():
    positions = np.cumsum(steps(2 * PAIRS, n_frames=300), axis=0)
    result = conductivity(opened(positions), {"Li": 1, "Cl": -2})
    (notice,) = [notice for notice in result.warnings if notice.code == "not-neutral"]
    assert f"{-PAIRS:+g} e" in notice.text
    alone = conductivity(opened(positions), {"Li": 1})
    assert "not-neutral" in codes(alone) and alone.n_particles == {"Li": PAIRS}
    # A species without charge changes nothing.
    with_none = conductivity(opened(positions), {"Li": 1, "Cl": 0})
    for name in ("nernst_einstein_S_per_cm", "einstein_helfand_S_per_cm", "haven_ratio"):
        assert getattr(with_none, name) == pytest.approx(getattr(alone, name))
    # Scaled charges of a force field: neutral within rounding.
    assert "not-neutral" not in codes(conductivity(opened(positions), {"Li": 0.8, "Cl": -0.8}))


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"charges": {}}, BadOptionError, "Li=1"),
        ({"charges": {"Li": 0, "Cl": 0}}, BadOptionError, "charge of each ion"),
        ({"charges": {"Li": math.nan, "Cl": -1}}, BadOptionError, "charge of each ion"),
        ({"charges": {"Li": 1, "Br": -1}}, UnknownNameError, "Br"),
        ({"temperature_K": 0.0}, BadOptionError, "above zero"),
        ({"temperature_K": math.inf}, BadOptionError, "above zero"),
        ({"species": {"Li": "element Li", "Cl": "element I"}}, SelectionError, "element I"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, error, told):
    with pytest.raises(error, match=told):
        conductivity(opened(np.cumsum(steps(4, n_frames=20), axis=0)), **changes)


def test_a_clock_and_a_volume_are_needed():
    positions = np.cumsum(steps(4, n_frames=50), axis=0)
    with pytest.raises(TrajectoryError, match="dt_ps=10"):
        conductivity(opened(positions, dt_ps=None))
    with pytest.raises(TrajectoryError, match="cell_A"):
        conductivity(opened(positions, edge_A=None), unwrap="none")


def test_two_frames_say_nothing():
    result = conductivity(opened(np.cumsum(steps(4, n_frames=2), axis=0)))
    assert result.nernst_einstein_S_per_cm is None and result.einstein_helfand_S_per_cm is None
    assert {"nernst-einstein-undetermined", "einstein-helfand-undetermined", "haven-undetermined"} <= codes(result)
    data = json.loads(result.to_json(), parse_constant=pytest.fail)
    assert data["haven_ratio"] is None
    result.plot()
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("how", [pytest.param("two workers", marks=pytest.mark.slow), "executor"])
def test_workers_change_nothing(how, independent):
    analysis = Conductivity(
        opened(np.cumsum(steps(2 * PAIRS), axis=0)), SALT, CHARGES, temperature_K=KELVIN, drift="none"
    )
    if how == "executor":
        with ThreadPoolExecutor(2) as pool:
            other = analysis.run(executor=pool).results
    else:
        other = analysis.run(workers=2).results
    for name in ("nernst_einstein_ci95_S_per_cm", "einstein_helfand_ci95_S_per_cm", "haven_ratio_ci95"):
        assert getattr(other, name) == pytest.approx(getattr(independent, name), rel=1e-6)


def test_ways_out(independent, tmp_path):
    data = json.loads(independent.to_json(), parse_constant=pytest.fail)
    assert data == json.loads(json.dumps(independent.to_dict(), allow_nan=False))
    assert data["schema"] == "atomflow.conductivity-md/1"
    assert data["haven_ratio"] == independent.haven_ratio
    assert data["einstein_helfand_ci95_S_per_cm"] == list(independent.einstein_helfand_ci95_S_per_cm)
    assert json.loads(independent.save(tmp_path / "c.json").read_text(), parse_constant=pytest.fail) == data
    import pandas as pd

    table = independent.to_dataframe()
    assert len(table) == 1 and table["nernst_einstein_S_per_cm"][0] == independent.nernst_einstein_S_per_cm
    read = pd.read_csv(independent.save(tmp_path / "c.csv"))
    assert read["haven_ratio"][0] == pytest.approx(independent.haven_ratio)
    with np.load(independent.save(tmp_path / "c.npz")) as arrays:
        assert float(arrays["haven_ratio"]) == independent.haven_ratio
        assert float(arrays["charges_e/Cl"]) == -1
    axes = independent.plot()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["Nernst-Einstein", "Einstein-Helfand"]
    assert axes.get_ylim()[0] == 0
    matplotlib.pyplot.close("all")
