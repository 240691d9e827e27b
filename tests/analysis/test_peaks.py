"""First maximum and minimum of noisy functions whose own are known."""

import itertools

import numpy as np
import pytest

from atomflow.analysis.peaks import FirstShell, first_shell
from atomflow.analysis.rdf import RDF
from atomflow.trajectory import open_trajectory

BIN_A = 0.02
R = (np.arange(500) + 0.5) * BIN_A
SHELL = 4 * np.pi * R**2 * BIN_A


def ion_oxygen(r):
    """Sharp and high, an empty gap behind it: lithium and oxygen."""
    behind = 1.8 * np.exp(-0.5 * ((r - 4.4) / 0.5) ** 2) + 1 / (1 + np.exp(-(r - 4.0) / 0.3))
    return 15 * np.exp(-0.5 * ((r - 2.0) / 0.12) ** 2) + behind


def water(r):
    bumps = 1.9 * np.exp(-(((r - 2.78) / 0.2) ** 2)) - 0.35 * np.exp(-(((r - 3.45) / 0.35) ** 2))
    return (1 + bumps + 0.15 * np.exp(-(((r - 4.5) / 0.45) ** 2))) / (1 + np.exp(-(r - 2.5) / 0.05))


def like_ions(r):
    """Broad and low: lithium and lithium."""
    bumps = 0.6 * np.exp(-(((r - 6.3) / 0.8) ** 2)) - 0.25 * np.exp(-(((r - 8.2) / 0.7) ** 2))
    return (1 + bumps) / (1 + np.exp(-(r - 4.8) / 0.3))


def thin_gas(r):
    """A first shell and no minimum after it."""
    return np.exp(3.2 * ((2.5 / r) ** 6 - (2.5 / r) ** 12))


def noisy(function, pairs_per_A3, seed):
    expected = SHELL * pairs_per_A3
    counts = np.random.default_rng(seed).poisson(expected * function(R))
    return first_shell(R, counts / expected, expected)


def truth(function, peak_below, minimum_below):
    fine = np.arange(0.5, minimum_below, 1e-4)
    g = function(fine)
    peak = int(np.argmax(np.where(fine < peak_below, g, 0)))
    minimum = peak + int(np.argmin(g[peak:]))
    return fine[peak], g[peak], fine[minimum]


@pytest.mark.parametrize(
    ("function", "bounds", "pairs_per_A3", "peak_A", "height", "minimum_A"),
    [
        (ion_oxygen, (3, 3.2), 10, 0.06, 0.15, 0.6),  # some 30 pairs in the shell
        (ion_oxygen, (3, 3.2), 1e3, 0.02, 0.03, 0.15),
        (ion_oxygen, (3, 3.2), 1e6, 0.003, 0.003, 0.1),
        (water, (3.2, 4), 10, 0.08, 0.2, 0.5),
        (water, (3.2, 4), 1e3, 0.03, 0.03, 0.1),
        (water, (3.2, 4), 1e6, 0.003, 0.003, 0.01),
        (like_ions, (7.5, 8.9), 100, 0.15, 0.05, 0.4),
        (like_ions, (7.5, 8.9), 1e4, 0.03, 0.01, 0.1),
        (like_ions, (7.5, 8.9), 1e6, 0.01, 0.003, 0.02),
    ],
)
def test_known_shells_are_found_at_any_noise(function, bounds, pairs_per_A3, peak_A, height, minimum_A):
    peak, top, minimum = truth(function, *bounds)
    for seed in range(15):
        found = noisy(function, pairs_per_A3, seed)
        assert found.peak_A == pytest.approx(peak, abs=peak_A)
        assert found.peak_g == pytest.approx(top, rel=height)
        assert found.minimum_A == pytest.approx(minimum, abs=minimum_A)


def test_a_plain_argmax_and_argmin_would_fail_where_this_does_not():
    expected = SHELL * 10
    peak, _, minimum = truth(water, 3.2, 4)
    naive = []
    for seed in range(15):
        g = np.random.default_rng(seed).poisson(expected * water(R)) / expected
        top = int(np.argmax(g))
        dip = top + int(np.flatnonzero(np.diff(g[top:]) > 0)[0])
        naive.append(max(abs(R[top] - peak), abs(R[dip] - minimum)))
    assert np.median(naive) > 0.5


@pytest.mark.parametrize(
    "function", [lambda r: 1 + 0 * r, lambda r: (r > 2.5) * 1.0, lambda r: 1 / (1 + np.exp(-(r - 3) / 0.5))]
)
def test_noise_is_no_peak(function):
    found = [noisy(function, amount, seed) for amount in (1, 100, 1e4, 1e6) for seed in range(8)]
    assert found == [FirstShell()] * len(found)


def test_a_gas_has_a_peak_and_no_minimum():
    for seed in range(10):
        found = noisy(thin_gas, 1e3, seed)
        assert found.peak_A == pytest.approx(2.5 * 2 ** (1 / 6), abs=0.06)
        assert found.minimum_A is None
        assert found.minimum_g is None


def test_too_few_pairs_show_nothing():
    assert noisy(water, 0.01, 0) == FirstShell()
    assert first_shell(R, np.zeros_like(R), SHELL) == FirstShell()
    assert first_shell([1, 2], [1, 2], [1, 1]) == FirstShell()


def test_frames_that_resemble_each_other_count_for_less():
    """The same counts, but each seen thirty times: what looks sharp is one configuration."""
    expected = SHELL * 0.5
    g = np.random.default_rng(2).poisson(expected) / expected
    assert first_shell(R, g, 30 * expected, dispersion=1.0).peak_A is not None
    assert first_shell(R, g, 30 * expected, dispersion=30.0).peak_A is None


def test_a_small_shell_before_a_large_one_is_the_first():
    """Ion pairs: a few contacts at 2 A, and bulk beyond."""

    def contacts(r):
        return 1.8 * np.exp(-0.5 * ((r - 2.1) / 0.15) ** 2) + (1 + 0.5 * np.exp(-((r - 7) ** 2))) / (
            1 + np.exp(-(r - 5) / 0.4)
        )

    for seed in range(10):
        found = noisy(contacts, 60, seed)
        assert found.peak_A == pytest.approx(2.1, abs=0.15)
        assert 2.4 < found.minimum_A < 4.5


def test_bins_as_wide_as_the_peak():
    edges = np.arange(0, 10.01, 0.2)
    r = (edges[1:] + edges[:-1]) / 2
    g = np.array([np.mean(ion_oxygen(np.linspace(a, b, 50))) for a, b in itertools.pairwise(edges)])
    found = first_shell(r, g, 4 * np.pi * r**2 * 0.2 * 1e4)
    assert found.peak_A == pytest.approx(2.0, abs=0.05)
    assert found.peak_g >= g.max()
    assert 2.4 < found.minimum_A < 3


def test_cutoffs_of_solvation_analysis_on_its_own_data():
    """Radial functions of real electrolytes (0.2 A bins): minima within a bin of its spline's."""
    from pathlib import Path

    import solvation_analysis.tests as theirs
    from solvation_analysis.rdf_parser import identify_cutoff_scipy

    folder = Path(theirs.__file__).parent / "data" / "rdf_vs_li_easy"
    for name in ("bn_N", "bn_all", "fec_O", "pf6_F", "pf6_all", "universe_all"):
        r, g = (next(iter(np.load(folder / f"rdf_{name}_{part}.npz").values())) for part in ("bins", "data"))
        found = first_shell(r, g, 4 * np.pi * r**2 * (r[1] - r[0]) * 30)
        assert found.minimum_A == pytest.approx(identify_cutoff_scipy(r, g), abs=0.25), name


def hard_gap(r):
    """A shell that ends at 2.6 A, and nothing up to 4.2 A."""
    return 15 * np.exp(-0.5 * ((r - 2.0) / 0.12) ** 2) * (r < 2.6) + np.where(r > 4.2, 1.2, 0.0)


def flat_gap(r):
    """The same, with as much everywhere in the gap: neighbours that change places."""
    return np.maximum(hard_gap(r), 0.1 * (r > 2.0))


@pytest.mark.parametrize("function", [hard_gap, flat_gap])
@pytest.mark.parametrize("pairs_per_A3", [1, 10, 1e3, 1e6])
def test_the_minimum_of_a_broad_gap_is_its_middle(function, pairs_per_A3):
    for seed in range(10):
        found = noisy(function, pairs_per_A3, seed)
        # Where few pairs reach far from the peak the gap seems wider.
        assert found.minimum_A == pytest.approx(3.3, abs=0.18)
        assert found.minimum_g == pytest.approx(function(np.array([3.4]))[0], abs=0.12)
        assert found.peak_A == pytest.approx(2.0, abs=0.15 if pairs_per_A3 < 10 else 0.06)


def test_an_exact_gap_has_its_minimum_in_the_middle():
    found = first_shell(R, hard_gap(R), SHELL * 1e9)
    assert found.minimum_A == pytest.approx(3.4, abs=0.05)
    assert found.minimum_g == pytest.approx(0.0, abs=1e-6)


def test_ten_frames_put_the_end_of_the_nitrile_shell_where_all_do():
    """Of 250 pairs some lie in the gap: whichever part of the run is taken, its end stays where the whole run has it."""
    from pathlib import Path

    import solvation_analysis.tests as theirs

    folder = Path(theirs.__file__).parent / "data" / "bn_fec_data"
    run = open_trajectory(folder / "bn_fec_short_wrap.dcd", folder / "bn_fec.data")
    species = {"Li": "element Li", "N": "element N"}
    for start, stop in ((0, 10), (0, 5), (5, 10), (0, 3), (2, 9)):
        found = RDF(run, ["Li:N"], species).run(start, stop).results["Li:N"]
        assert found.first_minimum_A == pytest.approx(3.7, abs=0.25)  # 3.7 by solvation-analysis' spline
        assert found.first_peak_A == pytest.approx(2.1, abs=0.05)


def test_an_analysis_says_what_it_does_not_find():
    rng = np.random.default_rng(0)
    ideal = open_trajectory(rng.random((20, 50, 3)) * 20, cell_A=[20.0] * 3)
    result = RDF(ideal, ["x:x"], {"x": np.arange(50)}).run().results
    assert result["x:x"].first_peak_A is None
    assert result["x:x"].number_at_minimum is None
    assert "no-first-peak" in {notice.code for notice in result.warnings}

    crystal = np.stack(np.meshgrid(*[np.arange(6.0) * 3] * 3), -1).reshape(1, -1, 3)
    shaken = crystal + 0.15 * rng.normal(size=(20, 216, 3))
    result = RDF(open_trajectory(shaken, cell_A=[18.0] * 3), ["x:x"], {"x": np.arange(216)}).run().results["x:x"]
    assert result.first_peak_A == pytest.approx(3.0, abs=0.03)
    assert 3.4 < result.first_minimum_A < 3.85
    assert result.number_at_minimum == pytest.approx(6.0, abs=0.1)
