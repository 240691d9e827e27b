"""The force field's own profile along a torsion or an angle: relaxed with the coordinate held, by OpenMM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadOptionError, MissingProgramError
from atomflow.forcefield.openmm_system import KJ_PER_KCAL, openmm_system
from atomflow.model import Box, Molecule, System

#: Stiffness that holds the coordinate, kJ/mol/rad^2: it gives way by less than 0.1 degrees in these profiles.
_HOLD_KJ_PER_MOL_RAD2 = 5e4
#: Root-mean-square force at which a geometry counts as relaxed.
_FORCE_KJ_PER_MOL_NM = 0.5
_HELD_GROUP = 30


@dataclass(frozen=True, eq=False)
class Profile:
    """Energies of relaxed geometries, without the holding force.

    ``positions_A`` is (points, atoms, 3), ``energies_kcal_per_mol`` (points,).
    """

    positions_A: NDArray[np.float64]
    energies_kcal_per_mol: NDArray[np.float64]


def alone(molecule: Molecule) -> Box:
    """One molecule in a box that is far larger."""
    positions = molecule.graph.GetConformer().GetPositions()
    return Box((molecule,), np.zeros(1, np.intp), positions, np.eye(3) * 100.0, molecule.name)


def held_profile(system: System, atoms: Sequence[int], starts_A: NDArray[np.float64]) -> Profile:
    """Relax each start with the angle (three atoms) or dihedral (four) held where it is.

    Parameters
    ----------
    system : System
        One molecule; no cutoff is applied.
    atoms : sequence of int
    starts_A : (points, atoms, 3) float array

    Raises
    ------
    MissingProgramError
        OpenMM is not installed.
    BadOptionError
        For another number of atoms than three or four.
    """
    try:
        import openmm
        from openmm import unit
    except ImportError as error:
        raise MissingProgramError("openmm", "pip install openmm") from error
    if len(atoms) not in (3, 4):
        raise BadOptionError(f"held_profile: {len(atoms)} atoms; give three for an angle, four for a dihedral")
    model = openmm_system(system).system
    if len(atoms) == 4:
        hold = openmm.CustomTorsionForce("k*min(d, 6.283185307179586-d)^2; d=abs(theta-held)")
    else:
        hold = openmm.CustomAngleForce("k*(theta-held)^2")
    hold.addGlobalParameter("k", _HOLD_KJ_PER_MOL_RAD2)
    hold.addGlobalParameter("held", 0.0)
    (hold.addTorsion if len(atoms) == 4 else hold.addAngle)(*[int(atom) for atom in atoms], [])
    hold.setForceGroup(_HELD_GROUP)
    model.addForce(hold)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(model, openmm.VerletIntegrator(0.001), platform)
    positions, energies = [], []
    for start in np.asarray(starts_A, dtype=np.float64):
        context.setPositions(start / 10)
        context.setParameter("held", float(np.radians(measured_deg(start[list(atoms)]))))
        openmm.LocalEnergyMinimizer.minimize(context, _FORCE_KJ_PER_MOL_NM, 0)
        state = context.getState(getPositions=True, getEnergy=True, groups={*range(_HELD_GROUP)})
        positions.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        energies.append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / KJ_PER_KCAL)
    return Profile(np.array(positions), np.array(energies))


def measured_deg(points_A: NDArray[np.float64]) -> float:
    """Angle of three points, or dihedral of four (IUPAC sign), degrees."""
    points = np.asarray(points_A, dtype=np.float64)
    steps = np.diff(points, axis=0)
    if len(points) == 3:
        cosine = -steps[0] @ steps[1] / (np.linalg.norm(steps[0]) * np.linalg.norm(steps[1]))
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    left, right = np.cross(steps[0], steps[1]), np.cross(steps[1], steps[2])
    axis = steps[1] / np.linalg.norm(steps[1])
    return float(np.degrees(np.arctan2(np.cross(left, right) @ axis, left @ right)))


def dihedrals_of(system: System, classes: tuple[str, ...]) -> NDArray[np.intp]:
    """Atoms of every torsion whose term has these classes, read either way: (n, 4)."""
    wanted = {index for index, term in enumerate(system.torsions.terms) if term.classes in (classes, classes[::-1])}
    rows = [row for row, term in zip(system.torsions.atoms, system.torsions.term, strict=True) if int(term) in wanted]
    return np.array(rows, np.intp).reshape(-1, 4)
