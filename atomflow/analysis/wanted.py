"""What is asked of a trajectory: by name, or all that its species suggest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atomflow.errors import UnknownNameError
from atomflow.model import Notice
from atomflow.trajectory import Trajectory, find_species


@dataclass(frozen=True)
class Wanted:
    """What to find out.

    Attributes
    ----------
    species : mapping of str to selection
        MDAnalysis selections, or atom indices, by the labels that all else uses.
    rdf : tuple of str
        Pairs ``A:B``.
    coordination : mapping of str to float or None
        Cutoffs by pair, A; None for the first minimum of g(r).
    shells : mapping of str to tuple of str
        Ligands by centre.
    shell_cutoffs_A : mapping of str to float
        By ``centre:ligand``; others are the first minima.
    msd : tuple of str
        Whose diffusion.
    chains : tuple of str
        Polymers whose size and relaxation.
    charges_e : mapping of str to float
        Charges of the particles in ``msd``; with them conductivities are computed, and ligands with a negative one
        are anions.
    molecules : bool
        Follow centres of mass of molecules.
    fit_ps : pair of float or None
        First and last lag to fit; None to choose from the data.
    assumed : tuple of str
        What was found out rather than said, for people.
    """

    species: Mapping[str, Any] = field(default_factory=dict)
    rdf: tuple[str, ...] = ()
    coordination: Mapping[str, float | None] = field(default_factory=dict)
    shells: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shell_cutoffs_A: Mapping[str, float] = field(default_factory=dict)
    msd: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    charges_e: Mapping[str, float] = field(default_factory=dict)
    molecules: bool = False
    unwrap: Any = "auto"
    drift: str = "auto"
    fit_ps: tuple[float | None, float | None] = (None, None)
    temperature_K: float = 298.15
    viscosity_mPa_s: float | None = None
    r_max_A: float | None = None
    bin_A: float = 0.02
    exclude_molecules: bool = False
    assumed: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()


def everything(trajectory: Trajectory) -> Wanted:
    """Find out what there is and ask for all of it: diffusion of what moves, shells of what is positive.

    Parameters
    ----------
    trajectory : Trajectory

    Returns
    -------
    Wanted
        Molecules are followed by their centres of mass; ``assumed`` has a line for each kind that was found.
    """
    frame = next(iter(trajectory.source.frames([0])))
    found = find_species(trajectory.topology, frame.positions_A, frame.cell_A)
    has_cell = frame.cell_A is not None
    pairs = found.pairs if has_cell else ()
    shells: dict[str, list[str]] = {}
    for pair in pairs:
        centre, _, ligand = pair.partition(":")
        if centre != ligand:
            shells.setdefault(centre, []).append(ligand)
    notices = list(found.notices)
    charges = found.charges_e
    if unknown := [kind.name for kind in found.kinds if kind.role in ("ion", "molecule") and kind.charge_e is None]:
        text = (
            f"the charge of {', '.join(unknown)} is unknown, so there is no conductivity; give --charge {unknown[0]}=-1"
        )
        notices.append(Notice("charges-unknown", text))
        charges = {}
    masses = trajectory.topology.masses_u is not None
    if found.mobile and not masses:
        notices.append(Notice("no-masses", "masses are unknown: atoms are followed, not centres of mass of molecules"))
    moving = found.mobile or tuple(kind.name for kind in found.kinds if kind.role in ("type", "element"))
    return Wanted(
        species=found.labels,
        rdf=pairs,
        coordination=dict.fromkeys(pairs),
        shells={centre: tuple(ligands) for centre, ligands in shells.items()},
        msd=moving,
        chains=() if trajectory.topology.bonds is None else found.polymers,
        charges_e=charges,
        molecules=bool(found.mobile) and masses,
        assumed=found.describe(),
        notices=tuple(notices),
    )


def check_labels(wanted: Wanted) -> None:
    """Refuse what is said of a species that nobody named: most likely a slip of the pen."""
    names = {*wanted.species, *(owner(label) for label in wanted.species)}
    for name in wanted.charges_e:
        if name not in names:
            raise UnknownNameError("species", name, wanted.species, known_species(wanted))


def known_species(wanted: Wanted) -> str:
    """What could have been meant."""
    return f"there are {', '.join(wanted.species) or 'none'}; name others with --species, or in species="


def owner(label: str) -> str:
    """The particle that a site is part of: TFSI of O_TFSI."""
    return label.partition("_")[2]


def is_anion(label: str, charges_e: Mapping[str, float]) -> bool:
    """Whether a site, such as O_TFSI, belongs to a particle of negative charge."""
    return charges_e.get(label if label in charges_e else owner(label), 0.0) < 0
