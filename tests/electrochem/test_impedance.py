"""Conductivity from impedance: known values, errors, and spectra of known circuits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from atomflow.electrochem import ionic_conductivity, spectrum_resistance
from atomflow.errors import BadOptionError

FREQUENCY = np.geomspace(1e6, 0.1, 60)


def circuit(series=5.0, arc=None, spike=None, inductance=0.0, frequency=FREQUENCY):
    """Series resistance + (R parallel CPE) + CPE + inductance."""
    w = 2j * np.pi * frequency
    z = series + w * inductance
    if arc:
        resistance, capacity, n = arc
        z = z + 1 / (1 / resistance + capacity * w**n)
    if spike:
        capacity, n = spike
        z = z + 1 / (capacity * w**n)
    return z.real, z.imag, frequency


def test_known_value_and_units():
    by_area = ionic_conductivity(2.0, thickness_cm=0.01, area_cm2=2.5)
    assert by_area.conductivity_S_per_cm == pytest.approx(0.002)
    assert by_area.conductivity_error_S_per_cm == 0
    assert by_area.area_specific_resistance_ohm_cm2 == pytest.approx(5.0)
    by_disc = ionic_conductivity(2.0, thickness_um=100, diameter_mm=10 * math.sqrt(10 / math.pi))
    assert by_disc.conductivity_S_per_cm == pytest.approx(by_area.conductivity_S_per_cm)


@pytest.mark.parametrize(("row", "value"), [("P1.g", 1.13e-3), ("P2.b", 1.77e-4), ("P3.f", 8.17e-4), ("P4.e", 5.52e-4)])
def test_published_conductivities_as_area_resistance(row, value):
    """A membrane of 3 um (P2) or 50 um: the resistance that the published value stands for gives it back."""
    for thickness_um in (3.0, 50.0):
        area_resistance = thickness_um * 1e-4 / value
        found = ionic_conductivity(area_resistance / 2.01, thickness_um=thickness_um, area_cm2=2.01)
        assert found.conductivity_S_per_cm == pytest.approx(value, rel=1e-12), row
        assert found.area_specific_resistance_ohm_cm2 == pytest.approx(area_resistance)


def test_error_is_the_root_of_the_sum_of_squares_and_twice_that_of_a_diameter():
    found = ionic_conductivity((20, 0.4), thickness_um=(100, 3), diameter_mm=(16, 0.16))
    relative = math.sqrt(0.02**2 + 0.03**2 + (2 * 0.01) ** 2)
    assert found.conductivity_error_S_per_cm / found.conductivity_S_per_cm == pytest.approx(relative)
    low, high = found.conductivity_ci95_S_per_cm
    assert high - low == pytest.approx(2 * 1.959964 * found.conductivity_error_S_per_cm)


@given(st.floats(1e-2, 1e6), st.floats(1e-3, 10.0), st.floats(1e-2, 10.0), st.floats(0.1, 10.0))
def test_scaling(resistance, thickness, area, factor):
    """Resistance and thickness together, or area and thickness together: nothing changes."""
    value = ionic_conductivity(resistance, thickness_cm=thickness, area_cm2=area).conductivity_S_per_cm
    more = ionic_conductivity(resistance * factor, thickness_cm=thickness * factor, area_cm2=area)
    wide = ionic_conductivity(resistance, thickness_cm=thickness * factor, area_cm2=area * factor)
    assert more.conductivity_S_per_cm == pytest.approx(value)
    assert wide.conductivity_S_per_cm == pytest.approx(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thickness_um": 50, "area_cm2": 0}, "area_cm2 is 0; it must be above 0"),
        ({"thickness_um": -50, "area_cm2": 1}, "thickness_um is -50"),
        ({"thickness_um": 50, "thickness_cm": 0.005, "area_cm2": 1}, "thickness once"),
        ({"thickness_um": 50, "area_cm2": 1, "diameter_mm": 16}, "electrode once"),
        ({"thickness_um": 50}, "electrode once"),
        ({"thickness_um": (50, -1), "area_cm2": 1}, r"thickness_um \(50, -1\) is no number"),
        ({"thickness_um": "50 um", "area_cm2": 1}, "is no number"),
        ({"thickness_um": float("nan"), "area_cm2": 1}, "is no number"),
        ({"thickness_um": True, "area_cm2": 1}, "is no number"),
    ],
)
def test_nonsense_is_refused_in_one_line(options, message):
    with pytest.raises(BadOptionError, match=message) as caught:
        ionic_conductivity(2.0, **options)
    assert "\n" not in str(caught.value)


def test_millimetres_taken_for_centimetres_are_noticed():
    assert not ionic_conductivity(2.0, thickness_um=50, diameter_mm=16).warnings
    (notice,) = ionic_conductivity(2.0, thickness_cm=5, diameter_mm=16).warnings
    assert notice.code == "thick-sample"


def test_crossing_of_an_inductive_spectrum():
    """Lead inductance and a slow interface: Z' at the crossing is the series resistance."""
    found = spectrum_resistance(*circuit(series=7.0, arc=(100.0, 1e-3, 1.0), inductance=2e-6))
    assert found.method == "crossing"
    assert found.resistance_ohm == pytest.approx(7.0, abs=0.02)


def test_crossing_error_covers_the_truth_on_coarse_spectra():
    """The error is that of the spacing of the points: within two of it in nearly every coarse spectrum."""
    inside = 0
    for shift in np.linspace(0, 1, 50):
        frequency = np.geomspace(1e6, 1, 15) * 10 ** (shift * 6 / 14)
        real, imag, f = circuit(series=7.0, arc=(100.0, 1e-6, 0.9), inductance=2e-6, frequency=frequency)
        found = spectrum_resistance(real, imag, f)
        fine = circuit(7.0, (100.0, 1e-6, 0.9), inductance=2e-6, frequency=np.geomspace(1e7, 1, 20001))
        truth = spectrum_resistance(*fine).resistance_ohm
        inside += abs(found.resistance_ohm - truth) <= 2 * found.resistance_error_ohm
    assert inside >= 45


@pytest.mark.parametrize("n", [1.0, 0.9, 0.8])
def test_blocking_spike_is_extended_to_bulk_and_grain_boundary(n):
    """Steel | electrolyte | steel, the bulk's semicircle seen: R of the spike's foot is series + arc."""
    real, imag, f = circuit(series=0.5, arc=(40.0, 1e-10, 1.0), spike=(1e-5, n))
    found = spectrum_resistance(real, imag, f, method="blocking")
    assert found.resistance_ohm == pytest.approx(40.5, rel=1e-3)
    assert found.spike_angle_degrees == pytest.approx(90 * n, abs=0.1)
    assert not found.warnings
    assert spectrum_resistance(real, imag, f).method == "blocking"


def test_order_of_the_points_does_not_matter():
    real, imag, f = circuit(series=7.0, arc=(100.0, 1e-3, 1.0), inductance=2e-6)
    mixed = np.random.default_rng(1).permutation(len(f))
    assert spectrum_resistance(real[mixed], imag[mixed], f[mixed]) == spectrum_resistance(real, imag, f)


def test_diffusion_is_no_blocking_electrode():
    (notice,) = spectrum_resistance(*circuit(series=10.0, spike=(1e-2, 0.5)), method="blocking").warnings
    assert notice.code == "shallow-spike"


def test_interval_of_the_spike_covers():
    """200 noisy spectra: the 95 % interval holds the resistance in 90 to 98 % of them."""
    rng = np.random.default_rng(7)
    frequency = np.geomspace(1e4, 1, 20)
    real, imag, f = circuit(series=20.0, spike=(1e-5, 0.95), frequency=frequency)
    size = 0.005 * np.hypot(real, imag)
    inside = 0
    for _ in range(200):
        found = spectrum_resistance(real + rng.normal(0, size), imag + rng.normal(0, size), f, method="blocking")
        factor = t.ppf(0.975, found.n_points - 2)
        inside += abs(found.resistance_ohm - 20.0) <= factor * found.resistance_error_ohm
    assert 180 <= inside <= 198


def test_spectrum_and_sample_together():
    """Row P2.f, Eq. 1: from a spectrum to a conductivity with its error."""
    found = spectrum_resistance(*circuit(series=1.69, arc=(100.0, 1e-3, 1.0), inductance=1e-7))
    conductivity = ionic_conductivity(found.measured, thickness_um=(3.0, 0.1), area_cm2=1.0)
    assert conductivity.conductivity_S_per_cm == pytest.approx(1.77e-4, rel=0.02)
    assert conductivity.conductivity_error_S_per_cm > 1.77e-4 * 0.1 / 3 * 0.99


@pytest.mark.parametrize(
    ("data", "method", "message"),
    [
        (([1.0], [-1.0], [10.0]), "auto", "one point"),
        (([1.0, 2.0], [-1.0], [10.0, 1.0]), "auto", "different numbers of points"),
        (([1.0, 2.0], [-1.0, -2.0], [10.0, 0.0]), "auto", "frequency_Hz: number 2 is 0"),
        (([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [10.0, 1.0, 0.1]), "auto", "give Z'' with its sign"),
        (([1.0, 2.0, 3.0], [-1.0, -2.0, -3.0], [10.0, 1.0, 0.1]), "crossing", "does not pass through zero"),
        (([1.0, 2.0, 3.0], [-1.0, -2.0, -1.0], [10.0, 1.0, 0.1]), "auto", "no blocking spike"),
        (([-1.0, -2.0], [1.0, -2.0], [10.0, 1.0]), "auto", "a resistance is positive"),
        (([1.0, 2.0], [1.0, -2.0], [10.0, 1.0]), "guess", "choose auto, crossing or blocking"),
    ],
)
def test_spectra_that_tell_nothing(data, method, message):
    with pytest.raises(BadOptionError, match=message):
        spectrum_resistance(*data, method=method)
