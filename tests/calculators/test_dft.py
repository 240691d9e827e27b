"""The dft backend is PySCF: the same numbers as a script written by hand."""

import numpy as np
import pytest
from ase import Atoms
from ase.units import Bohr, Hartree

from atomflow.calculators import build_calculator, calculator, parse_spec, refusal
from atomflow.energetics.derivatives import hessian
from atomflow.errors import BadOptionError, SCFError, UnknownNameError

pyscf = pytest.importorskip("pyscf")
from pyscf import dft, gto, scf  # noqa: E402

WATER = Atoms("OH2", [[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.05, -0.79, -0.47]])
HF = {"functional": "hf", "basis": "def2-svp", "dispersion": "none", "density_fit": False, "scf_tolerance_eV": 1e-9}
PBE = {**HF, "functional": "pbe"}


def mole(atoms, charge=0, spin=0, names=None, basis="def2-svp"):
    names = names or atoms.get_chemical_symbols()
    return gto.M(
        atom=list(zip(names, atoms.positions.tolist(), strict=True)), basis=basis, charge=charge, spin=spin, verbose=0
    )


def oracle(mf):
    mf.conv_tol = 1e-11
    mf.kernel()
    assert mf.converged
    return mf.e_tot * Hartree, -mf.nuc_grad_method().kernel() * Hartree / Bohr


def water_with(calc, **info):
    atoms = WATER.copy()
    atoms.info.update(info)
    atoms.calc = calc
    return atoms


def check(atoms, known):
    energy, forces = known
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=2e-6)
    assert atoms.get_forces() == pytest.approx(forces, abs=2e-4)


def test_hartree_fock():
    check(water_with(calculator("dft", **HF)), oracle(scf.RHF(mole(WATER))))


def test_unrestricted_hartree_fock():
    atoms = water_with(calculator("dft", **HF), charge=1, spin=2)
    check(atoms, oracle(scf.UHF(mole(WATER, 1, 1))))


def test_density_fitted_hartree_fock():
    fitted = oracle(scf.RHF(mole(WATER)).density_fit())
    check(water_with(calculator("dft", **{**HF, "density_fit": True})), fitted)
    exact, _ = oracle(scf.RHF(mole(WATER)))
    assert 1e-5 < abs(fitted[0] - exact) < 0.01


def test_restricted_dft_at_the_given_grid():
    mf = dft.RKS(mole(WATER), xc="pbe")
    mf.grids.level = 1
    check(water_with(calculator("dft", **PBE, grid=1)), oracle(mf))


def test_unrestricted_dft():
    mf = dft.UKS(mole(WATER, 1, 1), xc="pbe")
    mf.grids.level = 1
    check(water_with(calculator("dft", **PBE, grid=1), charge=1, spin=2), oracle(mf))


def test_b3lyp_is_the_one_of_gaussian():
    mf = dft.RKS(mole(WATER, basis="sto-3g"), xc="b3lypg")
    mf.grids.level = 1
    atoms = water_with(calculator("dft", **{**PBE, "functional": "b3lyp", "basis": "sto-3g"}, grid=1))
    check(atoms, oracle(mf))


@pytest.mark.parametrize("kind", ["d3bj", "d4"])
def test_dispersion_is_what_the_authors_packages_give(kind):
    dimer = WATER + Atoms(WATER.numbers, WATER.positions + np.array([0, 0, 3.0]))
    with_it, without = calculator("dft", **{**HF, "dispersion": kind}), calculator("dft", **HF)
    energies, forces = [], []
    for calc in (with_it, without):
        atoms = dimer.copy()
        atoms.calc = calc
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    if kind == "d3bj":
        from dftd3.ase import DFTD3

        dimer.calc = DFTD3(method="hf", damping="d3bj", params_tweaks={"method": "hf", "atm": False})
    else:
        from dftd4.ase import DFTD4

        dimer.calc = DFTD4(method="hf")
    assert energies[0] - energies[1] == pytest.approx(dimer.get_potential_energy(), abs=2e-6)
    assert forces[0] - forces[1] == pytest.approx(dimer.get_forces(), abs=1e-4)
    assert energies[0] < energies[1] - 0.01


def test_ghosts_are_pyscf_s():
    atoms = Atoms("LiOH2", np.vstack([[0, 0, 2.0], WATER.positions]))
    atoms.info.update(charge=1, spin=1)
    atoms.set_array("ghost", np.array([False, True, True, True]))
    atoms.calc = calculator("dft", **HF)
    names = ["Li", "ghost-O", "ghost-H", "ghost-H"]
    dressed, _ = oracle(scf.RHF(mole(atoms, 1, names=names)))
    assert atoms.get_potential_energy() == pytest.approx(dressed, abs=2e-6)
    bare, _ = oracle(scf.RHF(mole(atoms[:1], 1)))
    assert dressed < bare - 1e-3


def test_swapping_ghosts_alone_computes_again():
    atoms = Atoms("He2", [[0, 0, 0], [0, 0, 1.5]])
    atoms.calc = calculator("dft", **HF)
    whole = atoms.get_potential_energy()
    atoms.set_array("ghost", np.array([False, True]))
    half = atoms.get_potential_energy()
    assert half == pytest.approx(whole / 2, abs=1.0)
    assert abs(half - whole) > 50


def test_ghosts_have_no_dispersion():
    atoms = Atoms("He2", [[0, 0, 0], [0, 0, 3.0]])
    atoms.set_array("ghost", np.array([False, True]))
    energies = []
    for kind in ("none", "d3bj"):
        atoms.calc = calculator("dft", **{**HF, "dispersion": kind})
        energies.append(atoms.get_potential_energy())
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)


@pytest.mark.parametrize("options", [HF, {**PBE, "density_fit": True, "dispersion": "d3bj", "grid": 3}])
def test_forces_are_the_slope_of_the_energy(options):
    calc = calculator("dft", **options)
    atoms = water_with(calc)
    forces = atoms.get_forces()
    step = np.random.default_rng(1).normal(size=(3, 3))
    step *= 0.005 / np.linalg.norm(step)
    energies = []
    for sign in (1, -1):
        moved = water_with(calc)
        moved.positions += sign * step
        energies.append(moved.get_potential_energy())
    assert (energies[0] - energies[1]) / 2 == pytest.approx(-(forces * step).sum(), abs=2e-5)


def test_a_warm_start_changes_nothing_but_the_number_of_cycles():
    warm, moved = calculator("dft", **HF), water_with(calculator("dft", **HF))
    first = water_with(warm)
    first.get_potential_energy()
    assert warm._last is not None
    moved.positions[1] += [0.05, 0.02, -0.03]
    cold = moved.get_potential_energy()
    moved.calc = warm
    assert moved.get_potential_energy() == pytest.approx(cold, abs=1e-7)


def test_carried_over_density_holds_the_right_number_of_electrons():
    calc = calculator("dft", **HF)
    water_with(calc).get_potential_energy()
    bent = WATER.copy()
    bent.positions[1] += [0.1, 0.1, 0]
    other = mole(bent)
    # The atoms must be named as the calculator names them for the density to be of the same composition.
    density = calc._carried_over(calc._last[0], other)
    assert np.trace(density @ other.intor("int1e_ovlp")) == pytest.approx(10.0, abs=1e-6)
    assert calc._carried_over(("another",), other) is None


def test_changing_the_charge_alone_computes_again():
    atoms = water_with(calculator("dft", **HF))
    neutral = atoms.get_potential_energy()
    atoms.info.update(charge=1, spin=2)
    assert atoms.get_potential_energy() == pytest.approx(oracle(scf.UHF(mole(WATER, 1, 1)))[0], abs=2e-6)
    atoms.info.update(charge=0, spin=1)
    assert atoms.get_potential_energy() == pytest.approx(neutral, abs=2e-6)


@pytest.mark.parametrize("options", [HF, {**HF, "dispersion": "d3bj"}])
def test_analytic_hessian_is_the_slope_of_the_forces(options):
    calc = calculator("dft", **options)
    matrix = hessian(WATER, calc)
    step = np.random.default_rng(2).normal(size=(3, 3))
    step *= 0.002 / np.abs(step).max()
    forces = []
    for sign in (1, -1):
        moved = water_with(calc)
        moved.positions += sign * step
        forces.append(moved.get_forces().ravel())
    assert matrix @ step.ravel() == pytest.approx((forces[1] - forces[0]) / 2, abs=1e-3)


def test_cpcm_is_pyscf_s():
    mf = scf.RHF(mole(WATER)).PCM()
    mf.with_solvent.method, mf.with_solvent.eps = "C-PCM", 36.7
    known = oracle(mf)
    check(water_with(build_calculator(parse_spec("dft:solvent=cpcm:36.7").with_options(**HF))), known)
    vacuum, _ = oracle(scf.RHF(mole(WATER)))
    assert known[0] < vacuum - 0.1


def test_smd_is_pyscf_s_and_knows_everyday_names():
    mf = scf.RHF(mole(WATER)).SMD()
    mf.with_solvent.solvent = "N,N-dimethylformamide"
    mf.conv_tol = 1e-10
    known = mf.kernel() * Hartree
    atoms = water_with(calculator("dft", **HF, solvent="smd:dmf"))
    assert atoms.get_potential_energy() == pytest.approx(known, abs=2e-6)


def test_heavy_elements_use_their_core_potential():
    atoms = Atoms("I", [[0, 0, 0]])
    atoms.info.update(charge=-1, spin=1)
    calc = calculator("dft", **HF)
    atoms.calc = calc
    with_core = gto.M(atom="I 0 0 0", basis="def2-svp", ecp="def2-svp", charge=-1, verbose=0)
    assert atoms.get_potential_energy() == pytest.approx(scf.RHF(with_core).run().e_tot * Hartree, abs=1e-4)


def test_an_scf_that_never_converges_ends_in_an_error_with_pyscf_s_log(monkeypatch):
    calc = calculator("dft", **HF)
    original = calc._mean_field
    rungs = []

    def starved(mole, rung):
        rungs.append(rung)
        mf = original(mole, rung)
        mf.max_cycle = 1
        return mf

    monkeypatch.setattr(calc, "_mean_field", starved)
    atoms = water_with(calc, name="my water")
    with pytest.raises(SCFError, match="my water") as failure:
        atoms.get_potential_energy()
    assert rungs == ["diis", "shifted", "newton"]
    assert "cycle" in failure.value.log


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"functional": "nonsense"}, BadOptionError),
        ({"basis": "nonsense"}, BadOptionError),
        ({"dispersion": "d9"}, BadOptionError),
        ({"grid": 12}, BadOptionError),
        ({"solvent": "smd:nectar"}, UnknownNameError),
        ({"solvent": "cpcm:0.2"}, BadOptionError),
        ({"colour": "red"}, BadOptionError),
    ],
)
def test_wrong_options_are_told_before_any_work(options, error):
    with pytest.raises(error):
        calculator("dft", **options)


def test_dispersion_without_parameters_is_told():
    atoms = WATER.copy()
    atoms.calc = calculator("dft", **{**PBE, "functional": "svwn", "dispersion": "d3bj", "grid": 0})
    with pytest.raises(BadOptionError, match="svwn"):
        atoms.get_potential_energy()


def test_supports():
    calc = calculator("dft", **HF)
    ion = Atoms("Zn", [[0, 0, 0]], info={"charge": 2})
    assert refusal(calc, ion, "difference") is None
    assert "Og" in refusal(calc, Atoms("Og", [[0, 0, 0]]))
    assert "periodic" in refusal(calc, Atoms("H", [[0, 0, 0]], cell=[3, 3, 3], pbc=True))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("dft", "B3LYP-D3(BJ)/def2-TZVP"),
        ("dft:functional=hf,basis=def2-svp,dispersion=none", "HF/def2-SVP"),
        ("dft:functional=pbe,dispersion=d4,solvent=smd:dmf", "PBE-D4/def2-TZVP, smd:dmf"),
    ],
)
def test_label_is_the_usual_notation(text, label):
    calc = build_calculator(parse_spec(text))
    assert calc.method_label == label
    assert build_calculator(calc.spec).spec == calc.spec
