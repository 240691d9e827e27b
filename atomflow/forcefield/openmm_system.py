"""A system for OpenMM, from the same numbers, each term in a force group of its own.

OpenMM's own Lennard-Jones mixes sigma arithmetically; here the mixed numbers stand in tables, type by type, and Coulomb
is left to a ``NonbondedForce`` without Lennard-Jones. Units inside are OpenMM's: nm, kJ/mol, e, u.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from atomflow.errors import BadOptionError, MissingProgramError
from atomflow.forcefield.pairing import held_of_atom, lower_cell, neighbours, pair_tables
from atomflow.model import CosineTerm, System, short_name

KJ_PER_KCAL = 4.184
#: Force group of each term.
GROUPS = {"bond": 0, "angle": 1, "torsion": 2, "improper": 3, "lennard_jones": 4, "coulomb": 5}


@dataclass(frozen=True, eq=False)
class OpenMMSystem:
    """What OpenMM needs for a simulation.

    Attributes
    ----------
    system : openmm.System
    topology : openmm.app.Topology
        One chain for each molecule.
    positions : Quantity
        (n_atoms, 3); turned into the cell as OpenMM wants it.
    """

    system: Any
    topology: Any
    positions: Any


def openmm_system(
    system: System, *, cutoff_A: float | None = None, ewald_tolerance: float = 1e-6, tail: bool = False
) -> OpenMMSystem:
    """The same system in OpenMM.

    Parameters
    ----------
    system : System
    cutoff_A : float, optional
        Of Lennard-Jones and the direct part of PME in the periodic box; by default no box and no cutoff at all.
    ewald_tolerance : float
        Of PME.
    tail : bool
        OpenMM's correction for Lennard-Jones beyond the cutoff.

    Raises
    ------
    MissingProgramError
        OpenMM is not installed.
    BadOptionError
        The cutoff is beyond half the box, which OpenMM cannot do.

    Notes
    -----
    Force groups are those of :data:`GROUPS`. 1-4 Lennard-Jones is in the group of Lennard-Jones. Coulomb's constant is
    OpenMM's own, see ``COULOMB_OPENMM`` in :mod:`atomflow.forcefield.pairing`.
    """
    try:
        import openmm
        from openmm import unit
    except ImportError as error:
        raise MissingProgramError("openmm", "pip install openmm") from error

    cell, rotation = lower_cell(system.box.cell_A)
    periodic = cutoff_A is not None
    if cutoff_A is not None and not 0 < 2 * cutoff_A <= np.diag(cell).min():
        raise BadOptionError(
            f"cutoff_A {cutoff_A:g}: OpenMM takes at most half of the narrowest width of the cell, "
            f"{np.diag(cell).min() / 2:.3f} A; use a smaller cutoff or a larger box"
        )
    model = openmm.System()
    for mass in (system.types[kind].mass_u for kind in system.type_of_atom):
        model.addParticle(mass)
    if periodic:
        model.setDefaultPeriodicBoxVectors(*(openmm.Vec3(*row) for row in (cell / 10).tolist()))
    forces = {
        "bond": _bond_force(openmm, system),
        "angle": _angle_force(openmm, system),
        "torsion": _cosine_force(openmm, system.torsions),
        "improper": _cosine_force(openmm, system.impropers),
    }
    for force in forces.values():
        force.setUsesPeriodicBoundaryConditions(periodic)
    pairs = _Pairs.of(system)
    grouped = list(forces.items())
    grouped += [("lennard_jones", force) for force in _lennard_jones(openmm, system, pairs, cutoff_A, tail)]
    grouped.append(("coulomb", _coulomb(openmm, system, pairs, cutoff_A, ewald_tolerance)))
    for name, force in grouped:
        force.setForceGroup(GROUPS[name])
        force.setName(name)
        model.addForce(force)
    positions = unit.Quantity(system.box.positions_A @ rotation / 10, unit.nanometer)
    return OpenMMSystem(model, _topology(system, cell if periodic else None), positions)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs that the general rule does not hold for."""

    silent: NDArray[np.intp]
    half: NDArray[np.intp]

    @classmethod
    def of(cls, system: System) -> _Pairs:
        near = neighbours(system)
        silent = [near.excluded]
        held = held_of_atom(system)
        for molecule in sorted({*held[held >= 0].tolist()}):
            atoms = np.flatnonzero(held == molecule)
            silent.append(atoms[np.column_stack(np.triu_indices(len(atoms), 1))])
        return cls(np.concatenate(silent), near.one_four)


def _bond_force(openmm: Any, system: System) -> Any:
    force = openmm.HarmonicBondForce()
    for (i, j), index in zip(system.bonds.atoms.tolist(), system.bonds.term.tolist(), strict=True):
        term = system.bonds.terms[index]
        # OpenMM's energy is k/2 (r - r0)^2.
        force.addBond(i, j, term.r0_A / 10, 2 * term.k_kcal_per_mol_A2 * KJ_PER_KCAL * 100)
    return force


def _angle_force(openmm: Any, system: System) -> Any:
    force = openmm.HarmonicAngleForce()
    for atoms, index in zip(system.angles.atoms.tolist(), system.angles.term.tolist(), strict=True):
        term = system.angles.terms[index]
        force.addAngle(*atoms, math.radians(term.theta0_deg), 2 * term.k_kcal_per_mol_rad2 * KJ_PER_KCAL)
    return force


def _cosine_force(openmm: Any, bonded: Any) -> Any:
    force = openmm.PeriodicTorsionForce()
    for atoms, index in zip(bonded.atoms.tolist(), bonded.term.tolist(), strict=True):
        term: CosineTerm = bonded.terms[index]
        for k, n, shift in term.parts:
            force.addTorsion(*atoms, n, math.radians(shift), k * KJ_PER_KCAL)
    return force


def _lennard_jones(openmm: Any, system: System, pairs: _Pairs, cutoff_A: float | None, tail: bool) -> list[Any]:
    epsilons, sigmas = pair_tables(system)
    epsilons, sigmas = epsilons * KJ_PER_KCAL, sigmas / 10
    kinds = np.asarray(system.type_of_atom)
    many = len(system.types)
    force = openmm.CustomNonbondedForce("4*epsilon(kind1, kind2)*(x*x - x); x = (sigma(kind1, kind2)/r)^6")
    force.addPerParticleParameter("kind")
    force.addTabulatedFunction("epsilon", openmm.Discrete2DFunction(many, many, epsilons.T.ravel().tolist()))
    force.addTabulatedFunction("sigma", openmm.Discrete2DFunction(many, many, sigmas.T.ravel().tolist()))
    for kind in kinds.tolist():
        force.addParticle([kind])
    for i, j in np.concatenate((pairs.silent, pairs.half)).tolist():
        force.addExclusion(i, j)
    if cutoff_A is None:
        force.setNonbondedMethod(force.NoCutoff)
    else:
        force.setNonbondedMethod(force.CutoffPeriodic)
        force.setCutoffDistance(cutoff_A / 10)
        force.setUseLongRangeCorrection(tail)
    halves = openmm.CustomBondForce("4*epsilon*(x*x - x); x = (sigma/r)^6")
    halves.addPerBondParameter("epsilon")
    halves.addPerBondParameter("sigma")
    halves.setUsesPeriodicBoundaryConditions(cutoff_A is not None)
    for i, j in pairs.half.tolist():
        place = kinds[i], kinds[j]
        halves.addBond(i, j, [float(epsilons[place]) * system.lj_14, float(sigmas[place])])
    return [force, halves]


def _coulomb(openmm: Any, system: System, pairs: _Pairs, cutoff_A: float | None, tolerance: float) -> Any:
    force = openmm.NonbondedForce()
    charges = np.asarray(system.charges_e, dtype=np.float64).tolist()
    for charge in charges:
        force.addParticle(charge, 1.0, 0.0)
    for i, j in pairs.silent.tolist():
        force.addException(i, j, 0.0, 1.0, 0.0)
    for i, j in pairs.half.tolist():
        force.addException(i, j, charges[i] * charges[j] * system.coulomb_14, 1.0, 0.0)
    if cutoff_A is None:
        force.setNonbondedMethod(force.NoCutoff)
    else:
        force.setNonbondedMethod(force.PME)
        force.setCutoffDistance(cutoff_A / 10)
        force.setEwaldErrorTolerance(tolerance)
        force.setExceptionsUsePeriodicBoundaryConditions(True)
        force.setUseDispersionCorrection(False)
    return force


def _topology(system: System, cell_A: NDArray[np.float64] | None) -> Any:
    from openmm import Vec3, unit
    from openmm.app import Element, Topology

    topology = Topology()
    if cell_A is not None:
        topology.setPeriodicBoxVectors([Vec3(*row) for row in (cell_A / 10).tolist()] * unit.nanometer)
    residue_of, names = system.box.residues
    molecule_of = system.box.molecule_of_atom
    atoms: list[Any] = []
    chain = residue = None
    for index, number in enumerate(system.box.numbers.tolist()):
        if index == 0 or molecule_of[index] != molecule_of[index - 1]:
            chain = topology.addChain()
        if index == 0 or residue_of[index] != residue_of[index - 1]:
            residue = topology.addResidue(short_name(names[residue_of[index]]), chain)
        symbol = chemical_symbols[number]
        atoms.append(topology.addAtom(symbol, Element.getBySymbol(symbol), residue))
    for i, j in system.bonds.atoms.tolist():
        topology.addBond(atoms[i], atoms[j])
    return topology
