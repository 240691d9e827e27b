"""What LAMMPS is told about the atoms, apart from any protocol: the data, the force field, who moves and who is stiff."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from atomflow.errors import BadOptionError
from atomflow.forcefield import bodies, data_text, lammps_settings, neutrality
from atomflow.model import Notice, System

if TYPE_CHECKING:
    from atomflow.lammps import UserInput

#: Atoms of which SHAKE can hold the bonds to one centre; one more and LAMMPS stops.
_MOST_HYDROGENS = 3
_HYDROGEN_U = 1.008
#: The section of a data file that has them.
_VELOCITIES = re.compile(r"^\s*Velocities\b", re.MULTILINE)


@dataclass(frozen=True, eq=False)
class EngineInput:
    """A model in LAMMPS' words.

    Attributes
    ----------
    name : str
    atoms : int
    data : str
        Text of the data file.
    first, again : tuple of str
        Commands up to the last coefficient; ``{start}`` stands for the data file in the first, for a restart file in the
        second.
    stiff_hydrogens : bool
        Bonds to hydrogen are to be held by SHAKE, so that steps of 2 fs are possible.
    held : bool
        There are groups ``held`` (rigid bodies) and ``free``.
    charged : bool
    labels : tuple of str
        For people, such as ``"CT of DMF 12"``; one for each atom, or empty.
    chains : bool
        It holds molecules of more than 100 atoms that are not held.
    own_motion : tuple of str
        Fixes of a user's own input that move the atoms; then no protocol applies.
    own_velocities : tuple of str
        Commands of a user's own input that set velocities, for a run with ``own_motion``.
    keep_velocities : bool
        Those of the data file stay.
    minimise_first : bool
        A user's own input minimises before its own fixes move the atoms.
    own_ramp, own_barostat : bool
        Whether those fixes change something over the run, and let the box breathe.
    own_temperature_K : float or None
        To which they lead, where that can be read.
    timestep_fs : float or None
        Of a user's own input.
    warnings : tuple of Notice
    """

    name: str
    atoms: int
    data: str = field(repr=False)
    first: tuple[str, ...] = field(repr=False)
    again: tuple[str, ...] = field(repr=False)
    stiff_hydrogens: bool = False
    held: bool = False
    charged: bool = True
    labels: tuple[str, ...] = field(default=(), repr=False)
    chains: bool = False
    own_motion: tuple[str, ...] = ()
    own_velocities: tuple[str, ...] = ()
    keep_velocities: bool = False
    minimise_first: bool = False
    own_ramp: bool = False
    own_barostat: bool = False
    own_temperature_K: float | None = None
    timestep_fs: float | None = None
    warnings: tuple[Notice, ...] = ()

    @property
    def leaning(self) -> bool:
        """Whether the box is triclinic."""
        return re.search(r"^.*\bxy xz yz\b", self.data[:10_000], re.MULTILINE) is not None

    @property
    def moving(self) -> str:
        """The group that is not held."""
        return "free" if self.held else "all"

    def label(self, atom: int) -> str:
        """An atom in a user's words, by its number from 1."""
        return f"atom {atom} ({self.labels[atom - 1]})" if 0 < atom <= len(self.labels) else f"atom {atom}"


#: A molecule of more atoms is a chain, which relaxes slower than a liquid.
CHAIN_ATOMS = 100
#: A packed box becomes at most so many times denser.
_DENSER = 4.0


def engine_input(
    system: System, *, cutoff_A: float = 12.0, kspace_accuracy: float = 1e-4, shift: bool = False
) -> EngineInput:
    """A system in LAMMPS' words.

    Parameters
    ----------
    system : System
    cutoff_A : float
        Of Lennard-Jones and of the direct part of Coulomb; half of the shortest width of the box is no limit for LAMMPS.
    kspace_accuracy : float
        Relative error of the forces of PPPM.
    shift : bool
        Lennard-Jones energies shifted to zero at the cutoff, without tail corrections: for tests of energy conservation.

    Raises
    ------
    BadOptionError
        A cutoff or accuracy that makes no sense.
    """
    for name, value in (("cutoff_A", cutoff_A), ("kspace_accuracy", kspace_accuracy)):
        if not 0 < value < float("inf"):
            raise BadOptionError(f"{name} must be above zero, not {value!r}")
    settings = lammps_settings(system, "{start}", cutoff_A=cutoff_A, kspace_accuracy=kspace_accuracy, tail=not shift)
    if shift:
        settings.append("pair_modify shift yes")
    held = bool(bodies(system))
    charged = bool(np.any(system.charges_e))
    if held and charged:
        settings = _with_one_splitting(settings, system, cutoff_A, kspace_accuracy)
    hydrogens, stiff = _hydrogens(system)
    notices = [*system.warnings, *neutrality(system)]
    if hydrogens and not stiff:
        notices.append(
            Notice(
                "no-shake",
                f"{system.box.name}: an atom has more than {_MOST_HYDROGENS} hydrogens, which SHAKE cannot hold; "
                "bonds to hydrogen vibrate, and the time step is 1 fs",
            )
        )
    sizes = np.bincount(system.box.molecule_of_atom, minlength=len(system.box.molecules))
    sizes[list(system.held)] = 0
    return EngineInput(
        name=system.box.name,
        atoms=len(system),
        data=data_text(system),
        first=tuple(settings),
        again=tuple(_again(settings)),
        stiff_hydrogens=stiff,
        held=held,
        charged=charged,
        labels=_labels(system),
        chains=bool((sizes > CHAIN_ATOMS).any()),
        warnings=tuple(notices),
    )


def user_engine_input(own: UserInput, data: str, atoms: int, name: str, folder: str) -> EngineInput:
    """A user's own data and input in the same shape.

    Parameters
    ----------
    own : UserInput
        When none of its fixes moves the atoms, its baths are left out, too, and a protocol applies.
    data : str
        Text of the data file.
    atoms : int
    name : str
    folder : str
        Where the files that the input reads are, as seen from the folder of a stage.
    """
    moves = own.own_integrator
    warnings = own.warnings
    if own.motion and not moves:
        text = f"left out, since nothing in {own.path.name} moves the atoms: {'; '.join(own.motion)}"
        warnings = (*warnings, Notice("bath-left-out", text))
    return EngineInput(
        name=name,
        atoms=atoms,
        data=data,
        first=own.first("{start}", motion=False, folder=folder),
        again=own.again("{start}", motion=False, folder=folder),
        own_motion=own.motion if moves else (),
        own_velocities=own.velocities if moves else (),
        minimise_first=moves and own.minimizes,
        own_ramp=moves and own.ramps,
        own_barostat=moves and bool(own.barostats),
        own_temperature_K=own.temperature_K if moves else None,
        keep_velocities=moves and _VELOCITIES.search(data) is not None,
        timestep_fs=own.timestep_fs,
        warnings=warnings,
    )


def _with_one_splitting(settings: list[str], system: System, cutoff_A: float, accuracy: float) -> list[str]:
    """The same splitting of Coulomb's sum at every volume.

    Pairs within a body are left out of the near part but not of the far one, so the energy depends on where the two meet.
    LAMMPS would choose that anew whenever the volume has changed, and the energy would jump. This is its own estimate
    (src/KSPACE/pppm.cpp) for the densest that the box may become: the near part is exact enough at every volume.
    """
    volume = system.box.volume_A3 / _DENSER
    error = accuracy * math.sqrt(len(system) * cutoff_A * volume) / (2.0 * float(np.sum(system.charges_e**2)))
    if error >= 1.0:
        return settings
    place = next(number for number, line in enumerate(settings) if line.startswith("kspace_style"))
    splitting = math.sqrt(-math.log(error)) / cutoff_A
    return [*settings[: place + 1], f"kspace_modify gewald {splitting:.6f}", *settings[place + 1 :]]


def _again(settings: list[str]) -> list[str]:
    """Behind a restart file, which has the styles and coefficients of pairs and bonds in it, only the rest is said."""
    lines = ["read_restart {start}"]
    kept = ("kspace_style", "kspace_modify", "neigh_modify", "neighbor", "group", "#")
    return lines + [line for line in settings if line.startswith(kept)]


def _hydrogens(system: System) -> tuple[bool, bool]:
    """Whether bonds to hydrogen that move are there, and whether SHAKE can hold all of them."""
    light = np.array([abs(one.mass_u - _HYDROGEN_U) < 0.1 for one in system.types])[system.type_of_atom]
    held = np.isin(system.box.molecule_of_atom, list(system.held))
    pairs = system.bonds.atoms
    if not len(pairs):
        return False, False
    of_hydrogen = (light[pairs[:, 0]] != light[pairs[:, 1]]) & ~held[pairs[:, 0]]
    if not of_hydrogen.any():
        return False, False
    pairs = pairs[of_hydrogen]
    centres = np.where(light[pairs[:, 0]], pairs[:, 1], pairs[:, 0])
    return True, max(Counter(centres.tolist()).values()) <= _MOST_HYDROGENS


def _labels(system: System) -> tuple[str, ...]:
    kinds = [kind.name for kind in system.box.kinds]
    names = [one.name for one in system.types]
    return tuple(
        f"{names[kind]} of {kinds[system.box.molecules[molecule]]} {molecule + 1}"
        for kind, molecule in zip(system.type_of_atom.tolist(), system.box.molecule_of_atom.tolist(), strict=True)
    )
