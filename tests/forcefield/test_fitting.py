"""Fits of charges and cosine terms: they find what is known, and the shipped numbers are what they give."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomflow.errors import BadOptionError
from atomflow.forcefield.fitting import (
    COULOMB_V_A,
    Potential,
    dipole_D,
    fit_angle,
    fit_charges,
    fit_cosines,
    shell_points,
)
from atomflow.forcefield.fitting_profiles import dihedrals_of, held_profile, measured_deg

ROOT = Path(__file__).parents[2]


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fits():
    return script("forcefield_fits")


SYMBOLS = ["C", "F", "H", "H", "O"]
PLACES = np.array([[0, 0, 0], [1.36, 0, 0], [-0.4, 1.0, 0.2], [-0.4, -0.5, 0.9], [-0.5, -0.6, -1.1]])
CHARGES = np.array([0.35, -0.21, 0.11, 0.08, -0.33])
BALANCED = np.vstack([np.eye(4), -np.ones(4)])


def around(charges, places):
    points = shell_points(SYMBOLS, places)
    potential = COULOMB_V_A * (charges / np.linalg.norm(points[:, None] - places, axis=2)).sum(axis=1)
    return Potential(places, points, potential)


def rotation(seed):
    turn, upper = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn = turn * np.sign(np.diag(upper))
    return turn * np.sign(np.linalg.det(turn))


def test_shells_keep_their_distance():
    points = shell_points(SYMBOLS, PLACES, shells=(1.4, 2.0))
    radii = np.array([1.70, 1.47, 1.20, 1.20, 1.52])
    nearest = (np.linalg.norm(points[:, None] - PLACES, axis=2) / radii).min(axis=1)
    assert set(np.round(nearest, 6)) == {1.4, 2.0}
    # One point for each square angstrom of what is left of the spheres.
    assert 100 < len(points) < 4 * np.pi * (radii**2).sum() * (1.4**2 + 2.0**2)


@given(st.integers(0, 10_000))
def test_known_charges_come_back_however_the_molecule_lies(seed):
    charges = np.random.default_rng(seed).normal(scale=0.4, size=5)
    charges -= charges.mean()
    places = PLACES @ rotation(seed).T + seed / 1000
    start = np.zeros(5)
    fit = fit_charges([around(charges, places)], start, BALANCED)
    assert np.allclose(fit.charges_e, charges, atol=1e-6)
    assert fit.relative_rms < 1e-6 < fit.relative_rms_before
    assert abs(fit.charges_e.sum()) < 1e-9


def test_a_rotated_molecule_and_its_points_give_the_same_charges():
    one = around(CHARGES, PLACES)
    noise = np.random.default_rng(1).normal(scale=0.02, size=len(one.potential_V))
    noisy = Potential(one.positions_A, one.points_A, one.potential_V + noise)
    turn = rotation(3)
    turned = Potential(noisy.positions_A @ turn.T, noisy.points_A @ turn.T, noisy.potential_V)
    fit, other = (fit_charges([each], np.zeros(5), BALANCED, restraint=1e-3) for each in (noisy, turned))
    assert np.allclose(fit.charges_e, other.charges_e, atol=1e-9)
    assert fit.rms_V == pytest.approx(0.02, rel=0.2)


def test_held_charges_stay_and_conformers_share_theirs():
    bent = PLACES.copy()
    bent[4] += (0.3, 0.4, 0.0)
    start = np.where([1, 1, 0, 0, 0], CHARGES, 0)
    start[4] = -start.sum()
    fit = fit_charges([around(CHARGES, PLACES), around(CHARGES, bent)], start, BALANCED[:, 2:])
    assert np.allclose(fit.charges_e, CHARGES, atol=1e-6)
    assert np.array_equal(fit.charges_e[:2], start[:2])


def test_a_strong_restraint_keeps_the_start():
    start = CHARGES[::-1].copy()
    fit = fit_charges([around(CHARGES, PLACES)], start, BALANCED, restraint=1e9)
    assert np.allclose(fit.charges_e, start, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"design": np.ones((4, 1))}, "for 5 atoms"),
        ({"restraint": -1.0}, "is negative"),
        ({"design": np.hstack([BALANCED, BALANCED[:, :1]])}, "does not determine"),
        ({"potentials": [Potential(PLACES[:4], np.zeros((3, 3)), np.zeros(3))]}, "conformer 1"),
    ],
)
def test_charges_that_cannot_be_fitted_are_told_in_a_line(arguments, message):
    given = {"potentials": [around(CHARGES, PLACES)], "start_e": np.zeros(5), "design": BALANCED} | arguments
    with pytest.raises(BadOptionError, match=message) as error:
        fit_charges(**given)
    assert "\n" not in str(error.value)


def test_dipole_of_two_charges():
    found = dipole_D(np.array([[0, 0, 0], [0, 0, 1.0]]), np.array([-1.0, 1.0]))
    assert found == pytest.approx([0, 0, 4.80320], abs=1e-4)


def cosines(barriers, angles):
    turned = np.radians(angles)
    return sum(v / 2 * (1 - (-1) ** n * np.cos(n * turned)).sum(axis=1) for n, v in enumerate(barriers, 1))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=4), st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_known_barriers_come_back(wanted, start):
    values = np.arange(0, 181, 15.0)
    angles = np.stack([values, values + 119.0, -values], axis=1)
    rest = np.random.default_rng(0).normal(size=len(values))
    start = start[: len(wanted)]
    fit = fit_cosines(angles, rest + cosines(wanted, angles) + 7.0, rest + cosines(start, angles), start)
    assert np.allclose(fit.barriers_kcal_per_mol, wanted, atol=1e-6)
    assert fit.rms_kcal_per_mol < 1e-6


def test_only_free_orders_change_and_the_ridge_goes_to_the_anchor():
    values = np.arange(0, 181, 30.0)[:, None]
    wanted = cosines([1.0, 2.0, 3.0], values)
    fit = fit_cosines(values, wanted, np.zeros(7), [0.0, 0.0, 0.0], orders=(2,))
    assert fit.barriers_kcal_per_mol[[0, 2]].tolist() == [0, 0]
    assert fit.barriers_kcal_per_mol[1] == pytest.approx(2.0, abs=0.5)
    held = fit_cosines(values, wanted, np.zeros(7), [0.0] * 3, ridge=1e9, anchor_kcal_per_mol=[0.5, 0.6, 0.7])
    assert held.barriers_kcal_per_mol == pytest.approx([0.5, 0.6, 0.7], abs=1e-5)


def test_a_profile_that_does_not_determine_the_barriers_is_told():
    # Two instances half a turn apart see no first cosine.
    values = np.arange(0, 181, 30.0)
    angles = np.stack([values, values + 180], axis=1)
    with pytest.raises(BadOptionError, match="does not determine"):
        fit_cosines(angles, np.zeros(7), np.zeros(7), [0.0, 0.0])


def test_a_known_angle_comes_back():
    angles = np.array([100, 105, 110, 115, 120.0])
    rest = 0.01 * angles
    assert fit_angle(angles, 60 * np.radians(angles - 112) ** 2 + rest + 3, rest) == pytest.approx((60, 112))
    with pytest.raises(BadOptionError, match="stiffer"):
        fit_angle(angles, np.zeros(5), np.radians(angles - 110) ** 2)


def test_measured_angles():
    corner = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 1.0]])
    assert measured_deg(corner[:3]) == pytest.approx(90)
    from MDAnalysis.lib.distances import calc_dihedrals

    for seed in range(5):
        points = np.random.default_rng(seed).normal(size=(4, 3))
        assert measured_deg(points) == pytest.approx(float(np.degrees(calc_dihedrals(*points))), abs=1e-3)


def test_a_held_dihedral_stays_while_the_rest_relaxes(fits):
    data = fits.reference("pvdf")
    starts = np.array([point["positions_A"] for point in data["points"][2:4]])
    model = fits.system(data, starts[0], [])
    found = held_profile(model, data["scanned"], starts)
    turned = [measured_deg(places[data["scanned"]]) for places in found.positions_A]
    assert turned == pytest.approx([60, 90], abs=0.1)
    # The stored geometries hold what the scan says.
    for point in data["points"]:
        held = measured_deg(np.array(point["positions_A"])[data["scanned"]])
        assert abs((held - point["value_deg"] + 180) % 360 - 180) < 0.1
    with pytest.raises(BadOptionError, match="2 atoms"):
        held_profile(model, [0, 1], starts)
    rows = dihedrals_of(model, ("CVF", "CVH", "CVF", "CVH"))
    assert rows.shape == (1, 4)
    assert set(rows[0]) == set(data["scanned"])


def test_shipped_numbers_are_what_the_fits_give(fits, tmp_path):
    found, files = fits.fit_everything(tmp_path)
    kept = json.loads((ROOT / "benchmarks/forcefield_fits.json").read_text())
    for group, change in found["charges"]["changes_e"].items():
        assert kept["charges"]["changes_e"][group] == pytest.approx(change, abs=2e-4)
    for kind, numbers in (("torsions", "barriers"), ("angles", "theta0")):
        assert set(found[kind]) == set(kept[kind])
        for name, fit in found[kind].items():
            assert fit[numbers] == pytest.approx(kept[kind][name][numbers], abs=0.05)
            assert fit["rms_kcal_per_mol"] <= fit["rms_before_kcal_per_mol"] + 0.01
    for name, text in files.items():
        shipped = (fits.SHIPPED / name).read_text()
        # The numbers may differ in the last digit between platforms, nothing else.
        assert _without_numbers(shipped) == _without_numbers(text)


def _without_numbers(text):
    import re

    return re.sub(r"-?\d+\.\d+", "#", text)


def test_the_fitted_charges_are_those_that_the_force_field_gives(fits):
    data = fits.reference("hfp_esp")
    kept = json.loads((ROOT / "benchmarks/forcefield_fits.json").read_text())["charges"]
    given = fits.system(data, data["conformers"][0]["positions_A"], [])
    assert np.allclose(given.charges_e, kept["charges_e"], atol=5e-4)
    assert given.charge_e == pytest.approx(0, abs=1e-9)
    assert kept["relative_rms"] < kept["relative_rms_before"]


@pytest.mark.slow
def test_a_stored_dft_point_is_computed_again(fits):
    from ase import Atoms

    from atomflow.calculators import calculator, limited_threads

    data = fits.reference("dmf_bend")
    level = {key: value for key, value in data["energy"].items() if key != "method"}
    point = data["points"][2]
    atoms = Atoms(data["symbols"], point["positions_A"], info={"charge": 0, "spin": 1})
    atoms.calc = calculator("dft", **level)
    with limited_threads(1):
        # The loose SCF and where it starts from are worth some tenths of a meV.
        assert atoms.get_potential_energy() == pytest.approx(point["energy_eV"], abs=2e-3)


@pytest.mark.slow
def test_a_stored_potential_is_computed_again(fits):
    from ase.units import Bohr, Hartree
    from pyscf import df, gto, scf

    made = script("forcefield_reference")
    data = fits.reference("dmf_esp")
    one = data["conformers"][0]
    mole = gto.M(atom=list(zip(data["symbols"], one["positions_A"], strict=True)), basis="6-31g*", verbose=0)
    # Without density fitting: what it costs is seen, too.
    mean_field = scf.RHF(mole).run(conv_tol=1e-8)
    points = np.array(one["points_A"][::20]) / Bohr
    volts = made.esp(mole, mean_field.make_rdm1(), points, df, gto) * Hartree
    assert np.allclose(1000 * volts, one["potential_mV"][::20], atol=3.0)
