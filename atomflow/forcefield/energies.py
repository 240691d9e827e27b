"""The energy of a system, term by term, from two programs that share no code: what one writes, the other confirms."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from atomflow.errors import BadOptionError
from atomflow.forcefield.lammps_files import data_text, lammps_settings
from atomflow.forcefield.openmm_system import GROUPS, KJ_PER_KCAL, openmm_system
from atomflow.lammps import run_lammps, scratch_folder
from atomflow.model import System, write_atomically

_COLUMNS = {
    "bond": ("E_bond",),
    "angle": ("E_angle",),
    "torsion": ("E_dihed",),
    "improper": ("E_impro",),
    "lennard_jones": ("E_vdwl",),
    "coulomb": ("E_coul", "E_long"),
}


@dataclass(frozen=True)
class TermEnergies:
    """Energies in kcal/mol; Lennard-Jones and Coulomb with their 1-4 parts, Coulomb with the reciprocal part."""

    bond: float
    angle: float
    torsion: float
    improper: float
    lennard_jones: float
    coulomb: float

    @property
    def total(self) -> float:
        """Sum of the terms."""
        return float(sum(asdict(self).values()))

    def to_dict(self) -> dict[str, float]:
        """The terms by name."""
        return asdict(self)


def lammps_energies(
    system: System,
    *,
    cutoff_A: float | None = None,
    ewald_accuracy: float = 1e-10,
    kspace: str = "ewald",
    ranks: int = 1,
    folder: str | Path | None = None,
) -> TermEnergies:
    """What LAMMPS makes of the system where it stands (``run 0``).

    Parameters
    ----------
    system : System
    cutoff_A : float, optional
        In the periodic box; by default no box and no cutoff.
    ewald_accuracy : float
        Error that LAMMPS is asked for, relative to the force of two charges 1 A apart. Its erfc is a polynomial good
        to 1e-7, so that energies gain nothing beyond this default.
    kspace : {"ewald", "pppm"}
    ranks : int
    folder : str or Path, optional
        Keeps the files there.

    Notes
    -----
    With held molecules the periodic Coulomb energy holds a constant: LAMMPS leaves out the direct part of the pairs
    inside, but not their share of the reciprocal sum. It does not change any force between bodies.
    """
    if kspace not in ("ewald", "pppm"):
        raise BadOptionError(f"kspace {kspace!r}: give ewald or pppm")
    accuracy: float | None = ewald_accuracy
    if cutoff_A is None:
        system, cutoff_A, accuracy = _alone(system)
    lines = lammps_settings(system, "energies.data", cutoff_A=cutoff_A, kspace_accuracy=accuracy, kspace=kspace)
    # Tables of the error function are good to 1e-6 of a pair energy only.
    lines = [line.replace("pair_modify", "pair_modify table 0") for line in lines]
    columns = "step ebond eangle edihed eimp evdwl ecoul elong"
    lines += [f"thermo_style custom {columns}", "thermo_modify format float %.15g", "run 0"]
    with scratch_folder(folder) as place:
        write_atomically(place / "energies.data", data_text(system))
        table = run_lammps("\n".join(lines) + "\n", place, ranks=ranks, name="energies").log.tables[-1]
    return TermEnergies(**{name: float(sum(table[c][-1] for c in parts)) for name, parts in _COLUMNS.items()})


def openmm_energies(
    system: System, *, cutoff_A: float | None = None, ewald_tolerance: float = 1e-6, platform: str = "Reference"
) -> TermEnergies:
    """What OpenMM makes of the same, in double precision on the platform ``Reference``."""
    model = openmm_system(system, cutoff_A=cutoff_A, ewald_tolerance=ewald_tolerance)
    import openmm
    from openmm import unit

    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(model.system, integrator, openmm.Platform.getPlatformByName(platform))
    context.setPositions(model.positions)
    found = {}
    for name, group in GROUPS.items():
        energy = context.getState(getEnergy=True, groups={group}).getPotentialEnergy()
        found[name] = energy.value_in_unit(unit.kilojoule_per_mole) / KJ_PER_KCAL
    return TermEnergies(**found)


def _alone(system: System) -> tuple[System, float, None]:
    """The atoms in a box with walls far off, and a cutoff beyond its diagonal."""
    positions = system.box.positions_A
    low, high = positions.min(axis=0) - 10.0, positions.max(axis=0) + 10.0
    alone = system.moved(positions - low, np.diag(high - low))
    return alone, float(np.linalg.norm(high - low)) + 1.0, None
