"""Exchange currents from the full Butler-Volmer equation, in both limits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.constants import physical_constants
from scipy.optimize import brentq

from atomflow.electrochem import exchange_current_linear, exchange_current_tafel
from atomflow.errors import BadOptionError

GAS, FARADAY = (physical_constants[name][0] for name in ("molar gas constant", "Faraday constant"))


def butler_volmer(eta_mV, i0, alpha=0.5, n=1, temperature=298.15):
    f = n * FARADAY / (GAS * temperature) * np.asarray(eta_mV) * 1e-3
    return i0 * (np.exp(alpha * f) - np.exp(-(1 - alpha) * f))


def codes(result):
    return [notice.code for notice in result.warnings]


@given(st.floats(1e-4, 10), st.floats(0.3, 0.7), st.sampled_from([1, 2]), st.floats(250, 400))
def test_small_overpotentials(i0, alpha, n, temperature):
    eta = np.linspace(-5, 5, 11) / n
    found = exchange_current_linear(
        eta, butler_volmer(eta, i0, alpha, n, temperature), temperature_K=temperature, electrons=n
    )
    assert found.exchange_current_mA_per_cm2 == pytest.approx(i0, rel=0.01)
    assert found.transfer_resistance_ohm_cm2 == pytest.approx(1e3 * GAS * temperature / (n * FARADAY * i0), rel=0.01)


@given(st.floats(1e-6, 1), st.floats(0.3, 0.7), st.sampled_from([1, 2]), st.sampled_from(["anodic", "cathodic"]))
def test_large_overpotentials(i0, alpha, n, branch):
    eta = np.concatenate([-np.linspace(130, 300, 12), np.linspace(130, 300, 12)]) / n
    found = exchange_current_tafel(
        eta, butler_volmer(eta, i0, alpha, n), temperature_K=298.15, electrons=n, branch=branch
    )
    own = alpha if branch == "anodic" else 1 - alpha
    assert found.exchange_current_mA_per_cm2 == pytest.approx(i0, rel=0.02)
    assert found.transfer_coefficient == pytest.approx(own, rel=0.01)
    assert found.tafel_slope_mV_per_decade == pytest.approx(
        math.log(10) * 1e3 * GAS * 298.15 / (own * n * FARADAY), rel=0.01
    )


def test_the_textbook_slope():
    """One electron, symmetric barrier, 25 C: 118 mV per decade."""
    eta = np.linspace(150, 300, 10)
    found = exchange_current_tafel(eta, butler_volmer(eta, 0.1), temperature_K=298.15)
    assert found.tafel_slope_mV_per_decade == pytest.approx(118.3, abs=0.2)


def test_both_methods_agree():
    small, large = np.linspace(-8, 8, 9), np.linspace(130, 250, 9)
    linear = exchange_current_linear(small, butler_volmer(small, 0.37), temperature_K=298.15)
    tafel = exchange_current_tafel(large, butler_volmer(large, 0.37), temperature_K=298.15)
    assert linear.exchange_current_mA_per_cm2 == pytest.approx(tafel.exchange_current_mA_per_cm2, rel=0.02)


def test_symmetric_cell_with_an_electrolyte_in_series():
    """Half of the voltage that is left after the electrolyte falls on either electrode."""
    current = np.linspace(-0.1, 0.1, 9)
    eta = np.array([brentq(lambda e, i=i: float(butler_volmer(e, 0.8)) - i, -50, 50) for i in current])
    voltage = 2 * eta + current * 60.0
    found = exchange_current_linear(
        voltage, current, temperature_K=298.15, interfaces=2, series_resistance_ohm_cm2=60.0
    )
    assert found.exchange_current_mA_per_cm2 == pytest.approx(0.8, rel=2e-3)
    ignored = exchange_current_linear(voltage, current, temperature_K=298.15)
    assert ignored.exchange_current_mA_per_cm2 < 0.3


def test_an_offset_of_the_potential_does_no_harm():
    eta = np.linspace(-5, 5, 11)
    current = butler_volmer(eta, 0.5)
    shifted = exchange_current_linear(eta + 3.0, current, temperature_K=298.15)
    assert shifted.exchange_current_mA_per_cm2 == pytest.approx(
        exchange_current_linear(eta, current, temperature_K=298.15).exchange_current_mA_per_cm2
    )


@pytest.mark.parametrize("method", ["linear", "tafel"])
def test_coverage(method):
    """200 replicas with noise: the 95 % intervals hold the truth in 90 to 98 %."""
    rng = np.random.default_rng(9)
    inside = slopes = 0
    for _ in range(200):
        if method == "linear":
            eta = np.linspace(-5, 5, 8)
            unit = 1e3 * GAS * 298.15 / FARADAY
            found = exchange_current_linear(eta, 0.5 * eta / unit + rng.normal(0, 0.005, 8), temperature_K=298.15)
        else:
            eta = np.linspace(130, 250, 8)
            current = 0.5 * np.exp(0.5 * eta / (1e3 * GAS * 298.15 / FARADAY) + rng.normal(0, 0.05, 8))
            found = exchange_current_tafel(eta, current, temperature_K=298.15)
            low, high = found.tafel_slope_ci95_mV_per_decade
            slopes += low <= math.log(10) * 2e3 * GAS * 298.15 / FARADAY <= high
        low, high = found.exchange_current_ci95_mA_per_cm2
        inside += low <= 0.5 <= high
    assert 180 <= inside <= 198
    assert method == "linear" or 180 <= slopes <= 198


def test_notices():
    wide = np.linspace(-40, 40, 9)
    assert codes(exchange_current_linear(wide, butler_volmer(wide, 0.5), temperature_K=298.15)) == ["not-small"]
    near = np.linspace(20, 250, 30)
    found = exchange_current_tafel(near, butler_volmer(near, 0.5), temperature_K=298.15)
    assert codes(found) == ["reverse-reaction", "curved"]
    windowed = exchange_current_tafel(near, butler_volmer(near, 0.5), temperature_K=298.15, window_mV=(120, 250))
    assert windowed.n_points < 30 and codes(windowed)[:1] != ["reverse-reaction"]
    assert windowed.exchange_current_mA_per_cm2 == pytest.approx(0.5, rel=0.02)
    two = exchange_current_tafel([150, 200], butler_volmer([150, 200], 0.5), temperature_K=298.15)
    assert codes(two) == ["two-points"] and two.exchange_current_ci95_mA_per_cm2 is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exchange_current_linear([1.0], [0.1], temperature_K=298), "two points"),
        (lambda: exchange_current_linear([1.0, 2.0], [0.2, 0.1], temperature_K=298), "falls with the overpotential"),
        (lambda: exchange_current_linear([1.0, 2.0], [0.1, 0.2], temperature_K=-5), "temperature_K is -5"),
        (lambda: exchange_current_linear([1.0, 2.0], [0.1, 0.2], temperature_K=298, electrons=0), "electrons is 0"),
        (lambda: exchange_current_linear([1.0, 2.0], [0.1, 0.2], temperature_K=298, interfaces=3), "interfaces"),
        (
            lambda: exchange_current_linear([1.0, 2.0], [0.1, 0.2], temperature_K=298, series_resistance_ohm_cm2=-1),
            "cannot be negative",
        ),
        (lambda: exchange_current_tafel([-150, 150], [-1, 1], temperature_K=298), "both signs"),
        (lambda: exchange_current_tafel([150, 200], [1, -2], temperature_K=298), "sign of the overpotential"),
        (lambda: exchange_current_tafel([150, 200], [1, 0], temperature_K=298), "sign of the overpotential"),
        (lambda: exchange_current_tafel([150, 200], [2, 1], temperature_K=298), "falls with the overpotential"),
        (lambda: exchange_current_tafel([150, 200], [1, 2], temperature_K=298, window_mV=(300, 400)), "0 points"),
        (lambda: exchange_current_tafel([150, 200], [1, 2], temperature_K=298, window_mV=(400, 300)), "smallest"),
        (lambda: exchange_current_tafel([150, 200], [1, 2], temperature_K=298, branch="left"), "choose anodic"),
        (lambda: exchange_current_tafel([150, 200], [1], temperature_K=298), "different numbers"),
    ],
)
def test_nonsense_is_refused(call, message):
    with pytest.raises(BadOptionError, match=message):
        call()
