"""Bruce-Vincent-Evans: a cell built from its resistances, errors against Monte Carlo, impossible cells."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from uncertainties import ufloat

from atomflow.electrochem import transference_number
from atomflow.errors import BadOptionError


def cell(t, bulk=400.0, first=200.0, last=250.0, voltage=10.0):
    """Currents of an ideal cell: dV/(Rb + R0) at first, dV/(Rb/t + Rs) in the steady state."""
    return voltage, 1e3 * voltage / (bulk + first), 1e3 * voltage / (bulk / t + last), first, last


@pytest.mark.parametrize(
    ("row", "t"), [("P1.i", 0.86), ("P2.d", 0.32), ("P2.d", 0.65), ("P3.g", 0.14), ("P3.g", 0.58), ("P4.g", 0.50)]
)
def test_ideal_cell_of_a_published_number(row, t):
    found = transference_number(*cell(t))
    assert found.transference_number == pytest.approx(t, rel=1e-12), row
    assert not found.warnings


@given(st.floats(0.01, 1.0), st.floats(1.0, 1e4), st.floats(0.0, 1e4), st.floats(0.0, 1e4), st.floats(0.1, 10.0))
def test_any_ideal_cell(t, bulk, first, last, voltage):
    assume(max(first, last) < 100 * bulk)
    assert transference_number(*cell(t, bulk, first, last, voltage)).transference_number == pytest.approx(t, rel=1e-8)


@given(st.floats(0.1, 100.0))
def test_scaling_of_area(factor):
    """A cell of k times the area: k times the currents, 1/k the resistances, the same number and error."""
    voltage, i0, i_s, r0, r_s = cell(0.4)
    small = transference_number(voltage, (i0, 0.1), (i_s, 0.1), (r0, 5), (r_s, 5))
    large = transference_number(
        voltage,
        (i0 * factor, 0.1 * factor),
        (i_s * factor, 0.1 * factor),
        (r0 / factor, 5 / factor),
        (r_s / factor, 5 / factor),
    )
    assert large.transference_number == pytest.approx(small.transference_number)
    assert large.transference_error == pytest.approx(small.transference_error)


def test_without_interfaces_it_is_the_ratio_of_currents():
    found = transference_number(10, 20.0, 7.0, 0, 0)
    assert found.transference_number == pytest.approx(0.35) == found.current_ratio


def test_error_against_monte_carlo_and_by_hand():
    voltage, i0, i_s, r0, r_s = cell(0.45)
    errors = (0.05, 0.15, 0.1, 4.0, 6.0)
    found = transference_number(*zip((voltage, i0, i_s, r0, r_s), errors, strict=True))
    rng = np.random.default_rng(5)
    v, a, b, c, d = (rng.normal(x, e, 200_000) for x, e in zip((voltage, i0, i_s, r0, r_s), errors, strict=True))
    drawn = b * (v * 1e3 - a * c) / (a * (v * 1e3 - b * d))
    assert found.transference_error == pytest.approx(drawn.std(), rel=0.02)
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert found.transference_ci95 == pytest.approx((low, high), abs=0.1 * (high - low))
    step, by_hand = 1e-6, 0.0
    for place, error in enumerate(errors):
        shifted = [voltage, i0, i_s, r0, r_s]
        shifted[place] *= 1 + step
        slope = (transference_number(*shifted).transference_number - found.transference_number) / (
            step * (voltage, i0, i_s, r0, r_s)[place]
        )
        by_hand += (slope * error) ** 2
    assert found.transference_error == pytest.approx(by_hand**0.5, rel=1e-4)


def test_coverage():
    """200 measured cells: the 95 % interval holds the truth in 90 to 98 %."""
    rng = np.random.default_rng(8)
    truth, errors = cell(0.45), (0.05, 0.15, 0.1, 4.0, 6.0)
    inside = 0
    for _ in range(200):
        drawn = [(rng.normal(x, e), e) for x, e in zip(truth, errors, strict=True)]
        low, high = transference_number(*drawn).transference_ci95
        inside += low <= 0.45 <= high
    assert 180 <= inside <= 198


def test_an_error_that_both_currents_share_cancels_without_interfaces():
    gain = ufloat(1.0, 0.05)
    shared = transference_number(10, 20.0 * gain, 7.0 * gain, 0, 0)
    assert shared.transference_error == pytest.approx(0, abs=1e-12)
    assert transference_number(10, (20.0, 1.0), (7.0, 0.35), 0, 0).transference_error > 0.02


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ((10, 10.0, 15.0, 0, 0), "out-of-range"),
        (cell(0.4, voltage=50.0), "large-polarization"),
        ((10, (16.0, 2.0), 8.0, (600, 10), 300), "rough"),
    ],
)
def test_notices(values, code):
    assert [notice.code for notice in transference_number(*values).warnings] == [code]


def test_an_initial_current_that_was_sampled_too_late():
    voltage, i0, i_s, r0, r_s = cell(0.4)
    assert not transference_number(voltage, i0, i_s, r0, r_s, bulk_resistance_ohm=400).warnings
    (notice,) = transference_number(voltage, 0.8 * i0, i_s, r0, r_s, bulk_resistance_ohm=400).warnings
    assert notice.code == "initial-current"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 10.0, 5.0, 1, 1), "polarization_mV is 0"),
        ((10, -10.0, 5.0, 1, 1), "initial_current_uA is -10"),
        ((10, 10.0, 0.0, 1, 1), "steady_current_uA is 0"),
        ((10, 10.0, 5.0, -1, 1), "initial_resistance_ohm is -1; it must be at least 0"),
        ((10, 10.0, 5.0, 1200, 1), "I0 R0 is 12 mV, and only 10 mV were applied"),
        ((10, 10.0, 9.0, 100, 1200), "Is Rs is 10.8 mV"),
        ((0.01, 16.7, 8.0, 200, 250), "check the units"),
        ((10, "12 uA", 5.0, 1, 1), "is no number"),
    ],
)
def test_impossible_cells(values, message):
    with pytest.raises(BadOptionError, match=message):
        transference_number(*values)
