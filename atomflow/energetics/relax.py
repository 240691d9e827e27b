"""The two tasks everything else is made of: relax one geometry, compute one energy."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS
from ase.units import Bohr, Hartree

from atomflow.calculators import CalculatorSpec, build_calculator, suitable_threads
from atomflow.energetics.derivatives import hessian
from atomflow.errors import AtomflowError, CalculationError, RelaxationError, SCFError
from atomflow.model import Resources, check_geometry, record, step

MAX_STEPS = 600


@record("atomflow.relaxed/1")
@dataclass(frozen=True)
class Relaxed:
    """A relaxed geometry, or why there is none.

    ``failure`` is empty on success; then ``energy_eV`` is finite and ``converged`` says whether the forces reached the
    tolerance. On failure ``log`` holds what the backend said.
    """

    atoms: Atoms
    energy_eV: float
    converged: bool
    steps: int
    failure: str = ""
    log: str = ""


def _relax_needs(atoms: Atoms, spec: CalculatorSpec, **_: object) -> Resources:
    """Only tight binding can say that it is quick: a hundred evaluations of 20 ms for 13 atoms, growing as n^2."""
    return Resources(estimate_s=2.0 * (1 + len(atoms) / 13) ** 2) if spec.name == "xtb" else Resources()


def _single_point_needs(atoms: Atoms, spec: CalculatorSpec) -> Resources:
    return Resources(estimate_s=1.0) if spec.name == "xtb" and len(atoms) < 500 else Resources()


@step(version="1", resources=_relax_needs)
def relax(
    atoms: Atoms, spec: CalculatorSpec, force_tolerance_eV_per_A: float = 0.01, guide: CalculatorSpec | None = None
) -> Relaxed:
    """Relax a molecule or complex.

    Parameters
    ----------
    atoms : ase.Atoms
        With ``info["charge"]`` and ``info["spin"]``; not changed.
    spec : CalculatorSpec
    force_tolerance_eV_per_A : float
        Largest force on any atom at the end, eV/angstrom.
    guide : CalculatorSpec, optional
        A cheap calculator whose second derivatives at the start guide a dear relaxation (half the steps).

    Returns
    -------
    Relaxed
        A calculation that fails is a result with ``failure`` set, so that one bad start does not stop the others.
    """
    work = atoms.copy()
    calc = build_calculator(spec)
    try:
        check_geometry(work, str(work.info.get("name", "start")))
        with suitable_threads(calc):
            if len(work) == 1:
                return Relaxed(work, _energy(work, calc), True, 0)
            if getattr(calc, "relaxer", "ase") == "geometric":
                return _relax_internal(work, calc, force_tolerance_eV_per_A, guide)
            return _relax_cartesian(work, calc, force_tolerance_eV_per_A)
    except CalculationError as error:
        return Relaxed(atoms, float("nan"), False, 0, failure=str(error), log=getattr(error, "log", ""))


@step(version="1", resources=_single_point_needs)
def single_point(atoms: Atoms, spec: CalculatorSpec) -> float:
    """Energy of one geometry, eV.

    Raises
    ------
    SCFError
        When the SCF does not converge.
    """
    calc = build_calculator(spec)
    with suitable_threads(calc):
        return _energy(atoms.copy(), calc)


def _energy(atoms: Atoms, calc: Calculator) -> float:
    atoms.calc = calc
    try:
        energy = float(atoms.get_potential_energy())
    except AtomflowError:
        raise
    except Exception as error:  # a foreign calculator may raise anything
        raise SCFError(type(calc).__name__, str(atoms.info.get("name", atoms.symbols)), repr(error)) from error
    finally:
        atoms.calc = None
    if not np.isfinite(energy):
        raise SCFError(
            type(calc).__name__, str(atoms.info.get("name", atoms.symbols)), "the energy is not a finite number"
        )
    return energy


def _relax_cartesian(atoms: Atoms, calc: Calculator, tolerance: float) -> Relaxed:
    atoms.calc = calc
    try:
        with BFGS(atoms, logfile=None, maxstep=0.15) as optimizer:
            converged = optimizer.run(fmax=tolerance, steps=MAX_STEPS)
            steps = optimizer.nsteps
        energy = float(atoms.get_potential_energy())
    except AtomflowError:
        raise
    except Exception as error:  # a foreign calculator may raise anything
        raise RelaxationError(f"{type(calc).__name__}: {error!r}") from error
    finally:
        atoms.calc = None
    if not np.isfinite(energy):
        raise RelaxationError(f"{type(calc).__name__}: the energy is not a finite number")
    return Relaxed(atoms, energy, bool(converged), steps)


def _guess_hessian(atoms: Atoms, guide: CalculatorSpec) -> np.ndarray | None:
    """Second derivatives in atomic units, made positive: a guess must not point uphill."""
    calc = build_calculator(guide)
    try:
        with suitable_threads(calc):
            values, vectors = np.linalg.eigh(hessian(atoms, calc) * Bohr**2 / Hartree)
    except CalculationError:
        return None  # a guess that cannot be had costs steps, not the result
    return np.asarray((vectors * np.abs(values)) @ vectors.T)


def _relax_internal(atoms: Atoms, calc: Calculator, tolerance: float, guide: CalculatorSpec | None) -> Relaxed:
    """Translation-rotation-internal coordinates (geomeTRIC, doi:10.1063/1.4952956): fewer, dearer steps."""
    from geometric.ase_engine import EngineASE
    from geometric.errors import Error as GeometricError
    from geometric.internal import DelocalizedInternalCoordinates
    from geometric.molecule import Molecule as GeometricMolecule
    from geometric.optimize import Optimize, OptParams

    logging.getLogger("geometric").setLevel(logging.CRITICAL)
    molecule = GeometricMolecule()
    molecule.elem = atoms.get_chemical_symbols()
    molecule.xyzs = [atoms.get_positions()]
    engine = EngineASE(molecule, calc)
    engine.ase_atoms.info.update(atoms.info)
    gradient_limit = tolerance / (Hartree / Bohr)
    parameters = OptParams(
        maxiter=MAX_STEPS // 3,
        convergence_energy=gradient_limit * 5e-3,
        convergence_gmax=gradient_limit,
        convergence_grms=gradient_limit / 1.5,
        # Soft modes move far for next to no energy; geomeTRIC's usual ratios of displacement to gradient (angstrom).
        convergence_dmax=4 * gradient_limit,
        convergence_drms=2.7 * gradient_limit,
    )
    if guide is not None and (guess := _guess_hessian(atoms, guide)) is not None:
        parameters.hess_data = guess
    with tempfile.TemporaryDirectory(prefix="atomflow-relax-") as scratch:
        parameters.xyzout = f"{scratch}/path.xyz"
        coordinates = DelocalizedInternalCoordinates(molecule, build=True, connect=False, addcart=False)
        try:
            path = Optimize(
                atoms.get_positions().ravel() / Bohr,
                molecule,
                coordinates,
                engine,
                scratch,
                parameters,
                print_info=False,
            )
        except GeometricError as error:
            raise RelaxationError(f"geomeTRIC: {str(error).strip() or type(error).__name__}") from error
    atoms.set_positions(path.xyzs[-1])
    return Relaxed(atoms, float(path.qm_energies[-1]) * Hartree, True, len(path.xyzs) - 1)
