"""Counterpoise, vibrations and the rule that a reaction never mixes methods."""

import numpy as np
import pytest
from ase.build import molecule as ase_molecule

from atomflow.build import molecule
from atomflow.calculators import CalculatorSpec
from atomflow.energetics import Ladder, binding_energy, build_spec, ladder, vibrations
from atomflow.energetics.minima import run_serially
from atomflow.energetics.reactions import SearchSettings, reaction_energy
from atomflow.errors import BadOptionError, SCFError

pytest.importorskip("tblite")
CHEAP = CalculatorSpec("dft", {"functional": "hf", "basis": "def2-svp", "dispersion": "none", "density_fit": False})


def test_counterpoise_is_boys_and_bernardi_s():
    pytest.importorskip("pyscf")
    from ase.units import Hartree
    from pyscf import gto, scf

    li, water = molecule("Li+"), molecule("water")
    xtb = build_spec("xtb")
    found = binding_energy(li, [water], Ladder(build_spec(CHEAP), xtb), starts=1, with_counterpoise=True)
    atoms = found.minima[0].atoms
    symbols, xyz = atoms.get_chemical_symbols(), atoms.positions

    def energy(names, points, charge):
        mole = gto.M(atom=list(zip(names, points.tolist(), strict=True)), basis="def2-svp", charge=charge, verbose=0)
        return scf.RHF(mole).run(conv_tol=1e-10).e_tot * Hartree

    own = energy(symbols[:1], xyz[:1], 1) + energy(symbols[1:], xyz[1:], 0)
    full = energy([symbols[0], *(f"ghost-{s}" for s in symbols[1:])], xyz, 1)
    full += energy([f"ghost-{symbols[0]}", *symbols[1:]], xyz, 0)
    assert own - full > 0
    assert found.counterpoise_eV - found.binding_energy_eV == pytest.approx(own - full, abs=2e-5)


def test_counterpoise_needs_a_basis():
    with pytest.raises(BadOptionError, match="basis"):
        binding_energy(molecule("Li+"), [molecule("water")], ladder("xtb"), starts=1, with_counterpoise=True)


def test_vibrations_of_water_agree_with_pyscf():
    pytest.importorskip("pyscf")
    from pyscf import gto, scf
    from pyscf.hessian import thermo

    atoms = ase_molecule("H2O")
    ours = vibrations(atoms, build_spec(CHEAP))
    mole = gto.M(
        atom=list(zip(atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True)), basis="def2-svp", verbose=0
    )
    mean_field = scf.RHF(mole).run()
    known = thermo.harmonic_analysis(mole, mean_field.Hessian().kernel())["freq_wavenumber"]
    assert ours.frequencies_per_cm == pytest.approx(np.sort(known), rel=5e-3)
    assert ours.is_minimum
    assert ours.gibbs_eV < ours.enthalpy_eV


def test_an_atom_has_translation_only():
    found = vibrations(molecule("Li+").atoms, build_spec("xtb"))
    assert found.zero_point_eV == 0
    # 5/2 kT of an ideal gas of atoms
    assert found.enthalpy_eV == pytest.approx(2.5 * 8.617333e-5 * 298.15, rel=1e-4)


def test_hessian_by_differences_equals_the_analytic_one():
    pytest.importorskip("pyscf")
    from atomflow.calculators import build_calculator
    from atomflow.energetics.derivatives import hessian

    atoms = ase_molecule("H2O")
    calc = build_calculator(CHEAP)
    analytic = hessian(atoms, calc)

    class NoHessian:
        def __getattr__(self, name):
            if name == "get_hessian":
                raise AttributeError(name)
            return getattr(calc, name)

    assert hessian(atoms, NoHessian()) == pytest.approx(analytic, abs=0.05)


def test_a_failed_scf_changes_the_method_of_every_species():
    """The first method fails for the complex only; the ions and hosts must be redone with the next one, too."""
    used = []

    def run(function, arguments):
        for args in arguments:
            spec = args[1]
            used.append(spec.options.get("electronic_temperature_K"))
            if spec.options.get("electronic_temperature_K") == 300.0 and len(args[0]) == 4:
                raise SCFError("GFN2-xTB", "Li+ + water")
        return run_serially(function, arguments)

    parts = (molecule("Li+"), molecule("water"))
    found = reaction_energy([(p,) for p in parts], [parts], ladder("xtb"), SearchSettings(starts=2), run)
    after = used[used.index(1000.0) :]
    assert set(after) == {1000.0}
    assert len(after) >= 4
    assert [n.code for n in found.notices] == ["fallback-settings"]
    assert "1000 K" in found.ladder.method


def test_an_unbalanced_reaction_is_refused():
    with pytest.raises(BadOptionError, match="differ"):
        reaction_energy([(molecule("Li+"),)], [(molecule("Na+"),)], ladder("xtb"), SearchSettings(), run_serially)


def test_free_energy_of_binding_counts_the_free_ion_s_translation():
    """A bare ion has no vibrations, but its lost entropy is most of the difference between G and E."""
    from ase.thermochemistry import IdealGasThermo

    li, water = molecule("Li+"), molecule("water")
    found = binding_energy(li, [water], ladder("xtb", hessian=True), starts=2)
    host = vibrations(_relaxed(water), build_spec("xtb"))
    both = vibrations(found.minima[0].atoms, build_spec("xtb"))
    ion = IdealGasThermo(vib_energies=[], geometry="monatomic", atoms=li.atoms, symmetrynumber=1, spin=0)
    expected = both.gibbs_eV - host.gibbs_eV - ion.get_gibbs_energy(298.15, 1e5, verbose=False)
    assert found.gibbs_eV - found.binding_energy_eV == pytest.approx(expected, abs=5e-3)
    assert found.gibbs_eV - found.binding_energy_eV > 0.2


def _relaxed(host):
    from atomflow.energetics import relax

    return relax(host.atoms, build_spec("xtb")).atoms
