"""Arrhenius fits: known lines, oracle, coverage by simulation, bends."""

import math

import numpy as np
import pytest
from ase.units import kB
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

from atomflow.electrochem import arrhenius_fit
from atomflow.errors import BadOptionError
from atomflow.model import decode, encode

TEMPERATURES = np.array([298.15, 308.15, 318.15, 328.15, 338.15, 348.15])


def line(energy, prefactor, temperatures=TEMPERATURES):
    return prefactor * np.exp(-energy / (kB * np.asarray(temperatures)))


def codes(result):
    return {notice.code for notice in result.warnings}


@given(st.floats(0.02, 1.5), st.floats(1e-8, 1e6))
def test_exact_data_give_their_parameters(energy, prefactor):
    fit = arrhenius_fit(TEMPERATURES, line(energy, prefactor))
    assert fit.activation_energy_eV == pytest.approx(energy, rel=1e-9)
    assert math.log(fit.prefactor) == pytest.approx(math.log(prefactor), abs=1e-8)
    assert not fit.warnings


@given(st.floats(0.05, 1.0), st.floats(1e-6, 1e6))
def test_the_unit_changes_the_prefactor_only(energy, factor):
    values = line(energy, 1.0) * np.array([1.02, 0.99, 1.01, 0.97, 1.0, 1.03])
    one, other = arrhenius_fit(TEMPERATURES, values), arrhenius_fit(TEMPERATURES, values * factor, unit="mS/cm")
    assert other.activation_energy_eV == pytest.approx(one.activation_energy_eV)
    assert other.activation_energy_error_eV == pytest.approx(one.activation_energy_error_eV)
    assert other.prefactor / one.prefactor == pytest.approx(factor)
    assert other.prefactor_unit == "mS/cm"


def test_against_scipy():
    values = line(0.25, 3.0) * np.array([1.05, 0.93, 1.02, 1.01, 0.96, 1.04])
    fit = arrhenius_fit(TEMPERATURES, values)
    oracle = linregress(1 / (kB * TEMPERATURES), np.log(values))
    assert fit.activation_energy_eV == pytest.approx(-oracle.slope)
    assert fit.activation_energy_error_eV == pytest.approx(oracle.stderr)
    assert math.log(fit.prefactor) == pytest.approx(oracle.intercept)
    span = 2.776445 * oracle.intercept_stderr  # Student's t, four degrees of freedom
    assert math.log(fit.prefactor_ci95[1]) == pytest.approx(oracle.intercept + span)


def test_weights_against_numpy():
    values = line(0.25, 3.0) * np.array([1.05, 0.93, 1.02, 1.01, 0.96, 1.04])
    errors = values * np.array([0.05, 0.06, 0.02, 0.02, 0.05, 0.04])
    fit = arrhenius_fit(TEMPERATURES, values, errors=errors)
    (slope, _), covariance = np.polyfit(1 / (kB * TEMPERATURES), np.log(values), 1, w=values / errors, cov="unscaled")
    assert fit.activation_energy_eV == pytest.approx(-slope, rel=1e-6)
    assert fit.activation_energy_error_eV == pytest.approx(math.sqrt(covariance[0, 0]), rel=1e-6)


def test_forms_differ_by_about_kT():
    values = line(0.3, 1.0)
    plain, times_t = (arrhenius_fit(TEMPERATURES, values, form=form) for form in ("plain", "times-T"))
    difference = times_t.activation_energy_eV - plain.activation_energy_eV
    assert difference == pytest.approx(kB * TEMPERATURES.mean(), rel=0.01)
    assert times_t.prefactor_unit == "S/cm K"
    assert times_t.at(320.0).value == pytest.approx(plain.at(320.0).value, rel=2e-3)


@pytest.mark.parametrize(
    ("energy", "conductivity", "at"), [(0.223, 5.52e-4, 303.15), (0.196, 1.06e-3, 303.15), (0.13, 1.77e-4, 298.15)]
)
def test_published_pairs_of_value_and_barrier(energy, conductivity, at):
    """P4.e with P4.f, P2.b with P2.c: a line through the published value with the published barrier gives both back."""
    temperatures = np.array([303.15, 313.15, 323.15, 333.15])
    prefactor = conductivity * math.exp(energy / (kB * at))
    fit = arrhenius_fit(temperatures, line(energy, prefactor, temperatures))
    assert fit.activation_energy_eV == pytest.approx(energy)
    assert fit.at(at).value == pytest.approx(conductivity)
    assert fit.at(at).extrapolated == (at == 298.15)


def test_the_published_gain_of_zinc_shrinks_with_temperature():
    """P4: the blend with the lower barrier gains by exp(dE (1/kT0 - 1/kT)) less at 333 K than at 303 K."""
    temperatures = np.array([303.15, 318.15, 333.15])
    plain = arrhenius_fit(temperatures, line(0.223, 5.52e-4 * math.exp(0.223 / (kB * 303.15)), temperatures))
    zinc = arrhenius_fit(temperatures, line(0.196, 1.06e-3 * math.exp(0.196 / (kB * 303.15)), temperatures))
    gain = [zinc.at(t).value / plain.at(t).value for t in (303.15, 333.15)]
    assert gain[0] == pytest.approx(1.06 / 0.552)
    assert gain[1] / gain[0] == pytest.approx(math.exp(-0.027 * (1 / (kB * 303.15) - 1 / (kB * 333.15))))


@pytest.mark.parametrize("given_errors", [False, True])
@pytest.mark.parametrize("points", [3, 4, 6])
def test_coverage(points, given_errors):
    """200 replicas: the 95 % intervals of barrier, prefactor and prediction hold the truth in 90 to 98 %."""
    rng = np.random.default_rng(20 + points + given_errors)
    temperatures = np.linspace(298.15, 353.15, points)
    truth = line(0.25, 3.0, temperatures)
    noise = np.linspace(0.02, 0.08, points) if given_errors else np.full(points, 0.05)
    inside = np.zeros(3, dtype=int)
    for _ in range(200):
        values = truth * np.exp(rng.normal(0, noise))
        fit = arrhenius_fit(temperatures, values, errors=values * noise if given_errors else None)
        low, high = fit.activation_energy_ci95_eV
        inside[0] += low <= 0.25 <= high
        low, high = fit.prefactor_ci95
        inside[1] += low <= 3.0 <= high
        low, high = fit.at(310.0).ci95
        inside[2] += low <= line(0.25, 3.0, [310.0])[0] <= high
    assert ((inside >= 180) & (inside <= 198)).all(), inside


def test_a_normal_interval_would_not_cover():
    """What Student's t is for: with four points 1.96 standard errors hold the truth in about 80 %."""
    rng = np.random.default_rng(3)
    temperatures = np.linspace(298.15, 353.15, 4)
    inside = 0
    for _ in range(200):
        fit = arrhenius_fit(temperatures, line(0.25, 3.0, temperatures) * np.exp(rng.normal(0, 0.05, 4)))
        inside += abs(fit.activation_energy_eV - 0.25) <= 1.96 * fit.activation_energy_error_eV
    assert inside < 176


def test_errors_that_cannot_explain_the_scatter_are_not_believed():
    values = line(0.25, 3.0) * np.array([1.3, 0.7, 1.2, 0.8, 1.3, 0.7])
    fit = arrhenius_fit(TEMPERATURES, values, errors=values * 0.01)
    assert "scatter-exceeds-errors" in codes(fit)
    free = arrhenius_fit(TEMPERATURES, values)
    assert fit.activation_energy_ci95_eV == pytest.approx(free.activation_energy_ci95_eV)


def test_a_polymer_above_its_glass_transition_is_bent():
    temperatures = np.linspace(293.15, 363.15, 8)
    polymer = 0.1 * np.exp(-800 / (temperatures - 200))
    fit = arrhenius_fit(temperatures, polymer)
    assert codes(fit) == {"curved"} and "Vogel" in fit.warnings[0].text
    two_processes = line(0.1, 1e-2, temperatures) + line(0.9, 1e10, temperatures)
    (notice,) = arrhenius_fit(temperatures, two_processes).warnings
    assert notice.code == "curved" and "shrinks on cooling" in notice.text


def test_straight_noisy_lines_are_seldom_called_bent():
    rng = np.random.default_rng(11)
    bent = sum(
        "curved" in codes(arrhenius_fit(TEMPERATURES, line(0.25, 3.0) * np.exp(rng.normal(0, 0.05, 6))))
        for _ in range(300)
    )
    assert bent <= 9


def test_two_points_have_no_interval_unless_errors_are_given():
    fit = arrhenius_fit([303.15, 333.15], [1e-4, 2e-4])
    assert fit.activation_energy_eV == pytest.approx(math.log(2) / (1 / (kB * 303.15) - 1 / (kB * 333.15)))
    assert fit.activation_energy_ci95_eV is None and fit.prefactor_ci95 is None and fit.at(310.0).ci95 is None
    assert codes(fit) == {"two-points"}
    low, high = arrhenius_fit([303.15, 333.15], [1e-4, 2e-4], errors=[5e-6, 5e-6]).activation_energy_ci95_eV
    assert low < fit.activation_energy_eV < high


def test_odd_data_are_noticed():
    assert "negative-barrier" in codes(arrhenius_fit(TEMPERATURES, line(0.25, 3.0)[::-1]))
    assert "cold" in codes(arrhenius_fit([25.0, 40.0, 60.0], [1e-4, 2e-4, 3e-4]))


@pytest.mark.parametrize(
    ("temperatures", "values", "options", "message"),
    [
        ([300.0], [1e-4], {}, "one temperature"),
        ([300.0, 300.0], [1e-4, 2e-4], {}, "two points with different"),
        ([-10.0, 300.0], [1e-4, 2e-4], {}, "temperature_K: number 1 is -10"),
        ([25.0, 333.15], [1e-4, 2e-4], {}, "mixed with degrees Celsius"),
        ([300.0, 320.0], [1e-4, 0.0], {}, "values: number 2 is 0; all must be positive"),
        ([300.0, 320.0], [1e-4, float("nan")], {}, "values: number 2 is nan"),
        ([300.0, 320.0], [1e-4], {}, "different numbers of points: temperature_K has 2, values has 1"),
        ([300.0, 320.0], [1e-4, 2e-4], {"errors": [1e-5, -1e-5]}, "errors: number 2"),
        ([300.0, 320.0], [1e-4, 2e-4], {"form": "sigma"}, "choose 'plain'"),
        ([300.0, 320.0], ["a", "b"], {}, "list of numbers"),
        ([], [], {}, "list of numbers"),
    ],
)
def test_nonsense_is_refused(temperatures, values, options, message):
    with pytest.raises(BadOptionError, match=message):
        arrhenius_fit(temperatures, values, **options)


def test_a_temperature_that_is_none():
    with pytest.raises(BadOptionError, match="must be positive"):
        arrhenius_fit(TEMPERATURES, line(0.25, 3.0)).at(0)


def test_stored_and_read_again():
    fit = arrhenius_fit(TEMPERATURES, line(0.25, 3.0) * np.array([1.05, 0.93, 1.02, 1.01, 0.96, 1.04]))
    again = decode(encode(fit))
    assert again == fit and again.at(310.0) == fit.at(310.0)
    assert "line" not in fit.to_dict()
