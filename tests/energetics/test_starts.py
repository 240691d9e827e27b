"""What becomes of starts that fail, react, agree or stop half-way."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from atomflow.build import molecule
from atomflow.calculators import as_spec
from atomflow.energetics import Ladder, binding_energy, find_minima, ladder, relax, run_serially
from atomflow.energetics.minima import same_minimum
from atomflow.energetics.relax import Relaxed
from atomflow.errors import AtomflowError, BadStructureError, RelaxationError, SCFError

pytest.importorskip("tblite")
LI, WATER = molecule("Li+"), molecule("water")


def spoil(change):
    """A task runner that changes what some relaxations of the complex give: ``change(index, result)``."""

    def run(function, arguments):
        results = run_serially(function, arguments)
        if function is relax and len(arguments[0][0]) == 4:
            return [change(index, result) for index, result in enumerate(results)]
        return results

    return run


def failed(result):
    return replace(result, energy_eV=float("nan"), converged=False, failure="the SCF did not converge", log="the log")


def reacted(result):
    atoms = result.atoms.copy()
    atoms.positions[2] += [3.0, 0, 0]  # a hydrogen of the water leaves
    return replace(result, atoms=atoms)


def test_failed_starts_are_counted_and_not_fatal():
    run = spoil(lambda index, result: failed(result) if index in (0, 2) else result)
    found = binding_energy(LI, [WATER], ladder("xtb"), starts=4, run=run)
    assert (found.starts, found.hit_rate) == (4, 0.5)
    (notice,) = (n for n in found.warnings if n.code == "failed-starts")
    assert "2 of 4" in notice.text
    assert found.binding_energy_eV == pytest.approx(
        binding_energy(LI, [WATER], ladder("xtb"), starts=4).binding_energy_eV, abs=2e-3
    )


def test_reacted_starts_are_left_out_and_told():
    # A spoiled start that would win on energy must not: it is another molecule.
    run = spoil(lambda index, result: replace(reacted(result), energy_eV=-1e4) if index == 1 else result)
    found = find_minima((LI, WATER), ladder("xtb"), starts=3, run=run)
    assert found.best.energy_eV > -1e4
    assert found.best.hits == 2
    assert [n.code for n in found.notices] == ["reacted-starts"]
    assert "1 of 3" in found.notices[0].text


def test_when_all_starts_react_there_is_no_binding_energy():
    with pytest.raises(RelaxationError, match="react rather than bind"):
        find_minima((LI, WATER), ladder("xtb"), starts=2, run=spoil(lambda _, result: reacted(result)))


def test_when_all_starts_fail_the_logs_are_kept():
    with pytest.raises(SCFError) as failure:
        find_minima((LI, WATER), ladder("xtb"), starts=2, run=spoil(lambda _, result: failed(result)))
    assert failure.value.log.count("the log") == 2


def test_a_relaxation_that_stops_early_is_told():
    run = spoil(lambda _, result: replace(result, converged=False))
    found = binding_energy(LI, [WATER], ladder("xtb"), starts=1, run=run)
    assert "unconverged-geometry" in {n.code for n in found.warnings}


def test_spread_of_the_starts_is_in_the_uncertainty():
    run = spoil(lambda index, result: replace(result, energy_eV=result.energy_eV + 0.004 * index))
    found = binding_energy(LI, [WATER], ladder("xtb"), starts=3, run=run)
    assert found.uncertainty_eV == pytest.approx(0.008, abs=2e-3)
    assert found.hit_rate == 1


class Touchy(Calculator):
    """A foreign calculator that breaks in its own way."""

    implemented_properties = ("energy", "forces")

    def __init__(self, how):
        super().__init__()
        self._how = how

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if isinstance(self._how, Exception):
            raise self._how
        self.results = {"energy": self._how, "forces": np.zeros((len(atoms), 3))}


@pytest.mark.parametrize(
    "how", [ZeroDivisionError("its own bug"), RuntimeError("no license"), float("nan"), float("inf")]
)
@pytest.mark.parametrize("system", [LI, WATER], ids=["atom", "molecule"])
def test_a_foreign_calculator_s_failure_is_a_failed_start(how, system):
    result = relax(system.atoms, as_spec(Touchy(how)))
    assert result.failure
    assert not result.converged
    assert np.isnan(result.energy_eV)
    with pytest.raises(AtomflowError) as failure:
        binding_energy(LI, [WATER], ladder(Touchy(how)), starts=1)
    assert failure.value.exit_code == 1


def test_relaxation_ends_where_forces_vanish_and_leaves_its_input_alone():
    atoms = WATER.atoms
    before = atoms.positions.copy()
    result = relax(atoms, as_spec("xtb"), 0.005)
    assert np.array_equal(atoms.positions, before)
    assert result.converged
    from tblite.ase import TBLite

    check = Atoms(result.atoms.numbers, result.atoms.positions, calculator=TBLite(method="GFN2-xTB", verbosity=0))
    assert np.linalg.norm(check.get_forces(), axis=1).max() < 0.006
    assert check.get_potential_energy() == pytest.approx(result.energy_eV, abs=1e-6)
    again = relax(result.atoms, as_spec("xtb"), 0.005)
    assert again.steps <= 1


def test_a_geometry_that_cannot_be_is_refused():
    with pytest.raises(BadStructureError, match="apart"):
        relax(Atoms("H2", [[0, 0, 0], [0, 0, 0.1]]), as_spec("xtb"))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), mirrored=st.booleans(), energy=st.floats(-0.009, 0.009))
def test_one_minimum_stays_one_however_it_is_turned(seed, mirrored, energy):
    rng = np.random.default_rng(seed)
    atoms = molecule("VC").atoms
    moved = atoms[rng.permutation(len(atoms))]
    moved.positions = Rotation.random(rng=rng).apply(moved.positions) * (-1 if mirrored else 1) + rng.normal(size=3)
    first, second = Relaxed(atoms, -1.0, True, 1), Relaxed(moved, -1.0 + energy, True, 1)
    assert same_minimum(first, second)
    assert same_minimum(second, first)
    assert not same_minimum(first, replace(second, energy_eV=-0.98))


def test_other_conformers_are_other_minima_and_the_lowest_comes_first():
    found = find_minima((molecule("CCCO"),), replace(ladder("xtb"), force_tolerance_eV_per_A=0.005), starts=8, keep=8)
    energies = [m.energy_eV for m in found.minima]
    assert len(energies) > 1
    assert energies == sorted(energies)
    assert sum(m.hits for m in found.minima) == found.best.starts


def test_a_ladder_screens_with_one_and_reports_the_other():
    two = Ladder(energy=ladder("xtb:method=gfn1").energy, geometry=ladder("xtb").geometry)
    found = binding_energy(LI, [WATER], two, starts=1)
    assert found.method == "GFN1-xTB // GFN2-xTB"
    plain = binding_energy(LI, [WATER], ladder("xtb"), starts=1)
    assert found.minima[0].geometry_energy_eV == pytest.approx(plain.minima[0].energy_eV, abs=1e-6)
    assert abs(found.binding_energy_eV - plain.binding_energy_eV) > 0.01


@pytest.mark.parametrize("host", ["DMF", "DME", "EC"])
def test_deformation_costs_energy(host):
    """A host in the shape it has in the complex lies above its own minimum."""
    found = binding_energy(LI, [molecule(host)], ladder("xtb"), starts=4)
    assert -1e-3 < found.deformation_eV < 1
