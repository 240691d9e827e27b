"""GITT: formulas against a numerical solution of diffusion in a slab, and their limits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.constants import physical_constants
from scipy.special import erfc

from atomflow.electrochem import effective_length_um, gitt_full, gitt_simplified, pulse_slope
from atomflow.errors import BadOptionError

FARADAY = physical_constants["Faraday constant"][0]
LENGTH_CM, VOLUME, AREA, CURRENT_A, TITRATION_V = 5e-4, 20.0, 1.5, 2e-5, -0.8


def surface_content(times, diffusivity):
    """Rise of x at the surface of a slab with a closed back under constant current: images of the half space."""
    flux = CURRENT_A / (FARADAY * AREA)
    total = np.zeros_like(times)
    for image in range(200):
        depth = 2 * image * LENGTH_CM / (2 * np.sqrt(diffusivity * times))
        ierfc = np.exp(-(depth**2)) / math.sqrt(math.pi) - depth * erfc(depth)
        total += (1 if image == 0 else 2) * ierfc
    return VOLUME * 2 * flux * np.sqrt(times / diffusivity) * total


def by_differences(times, diffusivity, cells=400):
    """The same by Crank-Nicolson, to check the series."""
    h = LENGTH_CM / cells
    steps = 4000
    dt = times[-1] / steps
    r = diffusivity * dt / (2 * h * h)
    laplace = np.diag(np.full(cells, -2.0)) + np.diag(np.ones(cells - 1), 1) + np.diag(np.ones(cells - 1), -1)
    laplace[0, 0] = laplace[-1, -1] = -1.0
    forward = np.linalg.solve(np.eye(cells) - r * laplace, np.eye(cells) + r * laplace)
    source = np.linalg.solve(np.eye(cells) - r * laplace, np.eye(cells)[0]) * CURRENT_A / (FARADAY * AREA) * dt / h
    c = np.zeros(cells)
    for _ in range(steps):
        c = forward @ c + source
    return VOLUME * (c[0] + 0.5 * h * CURRENT_A / (FARADAY * AREA) / diffusivity)


def pulse(diffusivity, tau, jump_V=-0.005, points=60):
    times = np.linspace(tau / points, tau, points)
    return times, 3.7 + jump_V + TITRATION_V * surface_content(times, diffusivity)


def steady_mV(tau):
    return 1e3 * TITRATION_V * CURRENT_A * tau / FARADAY / (AREA * LENGTH_CM / VOLUME)


def test_the_series_against_finite_differences():
    tau, diffusivity = 1000.0, 1e-10
    assert surface_content(np.array([tau]), diffusivity)[0] == pytest.approx(
        by_differences(np.array([tau]), diffusivity), rel=2e-3
    )


@pytest.mark.parametrize("diffusivity", [1e-12, 1e-11])
def test_both_forms_find_the_diffusivity_of_a_short_pulse(diffusivity):
    tau = 0.05 * LENGTH_CM**2 / diffusivity
    slope = pulse_slope(*pulse(diffusivity, tau), potential_before_V=3.7)
    assert slope.jump_mV == pytest.approx(-5.0, abs=1e-3)
    assert not slope.warnings
    simplified = gitt_simplified(tau, steady_mV(tau), slope.transient_change_mV, LENGTH_CM * 1e4)
    full = gitt_full(CURRENT_A * 1e3, AREA, VOLUME, TITRATION_V, slope.measured, pulse_s=tau, length_um=LENGTH_CM * 1e4)
    for found in (simplified, full):
        assert found.diffusivity_cm2_per_s == pytest.approx(diffusivity, rel=1e-4)
        assert found.pulse_over_diffusion_time == pytest.approx(0.05, rel=1e-3)
        assert not found.warnings


@pytest.mark.parametrize(("theta", "error"), [(0.1, 1e-5), (0.25, 0.004), (0.5, 0.045)])
def test_how_well_the_surface_follows_the_root_of_time(theta, error):
    """The numbers that the threshold of the condition is chosen by."""
    time = np.array([theta * LENGTH_CM**2 / 1e-11])
    ideal = VOLUME * 2 * CURRENT_A / (FARADAY * AREA) * math.sqrt(time[0] / (math.pi * 1e-11))
    excess = surface_content(time, 1e-11)[0] / ideal - 1
    assert error / 4 < excess < error


def test_a_long_pulse_is_noticed_and_indeed_wrong():
    tau = 3.0 * LENGTH_CM**2 / 1e-11
    times, potential = pulse(1e-11, tau, jump_V=0.0)
    found = gitt_simplified(tau, steady_mV(tau), 1e3 * (potential[-1] - 3.7), LENGTH_CM * 1e4)
    assert found.diffusivity_cm2_per_s < 0.5e-11
    assert [notice.code for notice in found.warnings] == ["long-pulse"]
    assert [notice.code for notice in pulse_slope(times, potential).warnings] == ["not-root-of-time"]


def test_full_form_without_the_check_says_so():
    found = gitt_full(1.0, 1.0, 20.0, 0.5, 1e-3)
    assert found.pulse_over_diffusion_time is None
    assert [notice.code for notice in found.warnings] == ["not-checked"]


def test_effective_length_is_volume_over_area():
    assert effective_length_um(0.01, 100.0, 20.0, 2.0).n == pytest.approx(0.001 * 1e4)
    assert effective_length_um((0.01, 0.001), 100.0, 20.0, (2.0, 0.2)).s == pytest.approx(10 * math.sqrt(0.02))


def test_errors_grow_as_powers():
    found = gitt_simplified((600, 6), 10.0, (20.0, 0.4), (5.0, 0.5))
    relative = math.sqrt(0.01**2 + (2 * 0.02) ** 2 + (2 * 0.1) ** 2)
    assert found.diffusivity_error_cm2_per_s / found.diffusivity_cm2_per_s == pytest.approx(relative)


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_scaling(length, time):
    """Twice the length in four times the time: the same diffusivity; potentials count only as their ratio."""
    one = gitt_simplified(600, 10.0, 20.0, 5.0).diffusivity_cm2_per_s
    scaled = gitt_simplified(600 * time, 10.0 * length, 20.0 * length, 5.0 * math.sqrt(time))
    assert scaled.diffusivity_cm2_per_s == pytest.approx(one)


def test_coverage_of_the_pulse_slope():
    """200 noisy pulses: Student's interval of the slope holds the truth in 90 to 98 %."""
    rng = np.random.default_rng(4)
    tau = 0.05 * LENGTH_CM**2 / 1e-11
    times, potential = pulse(1e-11, tau, points=12)
    truth = pulse_slope(times, potential).slope_V_per_sqrt_s
    inside = 0
    for _ in range(200):
        found = pulse_slope(times, potential + rng.normal(0, 1e-4, len(times)))
        inside += abs(found.slope_V_per_sqrt_s - truth) <= 2.228139 * found.slope_error_V_per_sqrt_s
    assert 180 <= inside <= 198


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gitt_simplified(0, 10, 20, 5), "pulse_s is 0"),
        (lambda: gitt_simplified(600, 10, -20, 5), "of one sign"),
        (lambda: gitt_simplified(600, 10, 0, 5), "of one sign"),
        (lambda: gitt_simplified(600, 10, 20, -5), "length_um is -5"),
        (lambda: gitt_full(1, 0, 20, 0.5, 1e-3), "area_cm2 is 0"),
        (lambda: gitt_full(1, 1, 20, 0.0, 1e-3), "plateau"),
        (lambda: gitt_full(1, 1, 20, 0.5, 1e-3, charge_number=0), "charge_number"),
        (lambda: effective_length_um(0.01, 100, 20, 0), "area_cm2 is 0"),
        (lambda: pulse_slope([0.0, 1.0], [3.7, 3.6]), "needs three"),
        (lambda: pulse_slope([0.0, 1.0, 2.0], [3.7, 3.6, 3.5], skip_s=1.5), "1 points after skip_s"),
        (lambda: pulse_slope([2.0, 1.0, 0.0], [3.7, 3.6, 3.5]), "must grow"),
        (lambda: pulse_slope([-1.0, 1.0, 2.0], [3.7, 3.6, 3.5]), "must grow"),
    ],
)
def test_nonsense_is_refused(call, message):
    with pytest.raises(BadOptionError, match=message):
        call()
