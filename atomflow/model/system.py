"""The system: a box whose every atom has a type and a charge, and whose every bonded term has numbers with a grade."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadStructureError
from atomflow.model.box import Box, universe_of
from atomflow.model.codec import record
from atomflow.model.results import Notice

#: How far a number may be trusted, best first.
GRADES = ("published", "secondary", "analogue", "fitted", "assumed")


@record("atomflow.origin/1")
@dataclass(frozen=True)
class Origin:
    """Where a number comes from, and how far to trust it (one of :data:`GRADES`)."""

    source: str
    grade: str


@record("atomflow.atom-type/1")
@dataclass(frozen=True)
class AtomType:
    """Lennard-Jones type; energy 4 eps ((sigma/r)^12 - (sigma/r)^6)."""

    name: str
    element: str
    mass_u: float
    epsilon_kcal_per_mol: float
    sigma_A: float
    origin: Origin


@record("atomflow.bond-term/1")
@dataclass(frozen=True)
class BondTerm:
    """Energy k (r - r0)^2."""

    classes: tuple[str, ...]
    k_kcal_per_mol_A2: float
    r0_A: float
    origin: Origin


@record("atomflow.angle-term/1")
@dataclass(frozen=True)
class AngleTerm:
    """Energy k (theta - theta0)^2."""

    classes: tuple[str, ...]
    k_kcal_per_mol_rad2: float
    theta0_deg: float
    origin: Origin


@record("atomflow.cosine-term/1")
@dataclass(frozen=True)
class CosineTerm:
    """Torsion or improper: energy sum of k (1 + cos(n phi - d)) over ``(k_kcal_per_mol, n, d_deg)``; d is 0 or 180.

    No parts at all is a torsion known to be zero, which is not the same as one that nobody knows.
    """

    classes: tuple[str, ...]
    parts: tuple[tuple[float, int, float], ...]
    origin: Origin


@record("atomflow.pair-term/1")
@dataclass(frozen=True)
class PairTerm:
    """Lennard-Jones numbers of two types that replace those of the mixing rule."""

    types: tuple[str, str]
    epsilon_kcal_per_mol: float
    sigma_A: float
    origin: Origin


T = TypeVar("T", BondTerm, AngleTerm, CosineTerm)


@record("atomflow.bonded/1")
@dataclass(frozen=True, eq=False)
class Bonded(Generic[T]):
    """Groups of atoms and the term of each: ``atoms`` (n, 2 to 4), ``term`` (n,) into ``terms``."""

    atoms: NDArray[np.intp]
    term: NDArray[np.intp]
    terms: tuple[T, ...]

    def __len__(self) -> int:
        return len(self.atoms)


@record("atomflow.system/1")
@dataclass(frozen=True, eq=False)
class System:
    """A box with a force field.

    Parameters
    ----------
    box : Box
    types : tuple of AtomType
    type_of_atom : (n_atoms,) int array
        Into ``types``.
    charges_e : (n_atoms,) float array
        As they enter the energy, so with ``charge_scale`` applied to the ions.
    bonds, angles, torsions, impropers : Bonded
    pairs : tuple of PairTerm
        Exceptions to geometric mixing.
    charge_origins : tuple of (kind name, Origin)
        Where the charges of each kind of molecule come from.
    held : tuple of int
        Molecules that move as one rigid body (particles).
    forcefield : str
    charge_scale : float
        Factor on the charges of ions; 1 as published.
    warnings : tuple of Notice

    Notes
    -----
    Mixing is geometric for both sigma and epsilon; 1-4 pairs count half (OPLS-AA), 1-2 and 1-3 pairs not at all. Atoms
    of one held molecule do not see each other.
    """

    box: Box
    types: tuple[AtomType, ...]
    type_of_atom: NDArray[np.intp] = field(repr=False)
    charges_e: NDArray[np.float64] = field(repr=False)
    bonds: Bonded[BondTerm] = field(repr=False)
    angles: Bonded[AngleTerm] = field(repr=False)
    torsions: Bonded[CosineTerm] = field(repr=False)
    impropers: Bonded[CosineTerm] = field(repr=False)
    pairs: tuple[PairTerm, ...] = ()
    charge_origins: tuple[tuple[str, Origin], ...] = ()
    held: tuple[int, ...] = ()
    forcefield: str = "opls-clp"
    charge_scale: float = 1.0
    warnings: tuple[Notice, ...] = ()

    #: Factors on Lennard-Jones and Coulomb energies of 1-4 pairs.
    lj_14: float = 0.5
    coulomb_14: float = 0.5

    def __post_init__(self) -> None:
        for name, array in (("types", self.type_of_atom), ("charges", self.charges_e)):
            if len(array) != len(self.box):
                raise BadStructureError(f"{self.box.name}: {len(array)} {name} for {len(self.box)} atoms")

    def __len__(self) -> int:
        return len(self.box)

    @property
    def charge_e(self) -> float:
        """Sum of the partial charges."""
        return float(self.charges_e.sum())

    @property
    def universe(self) -> Any:
        """A fresh ``MDAnalysis.Universe`` with partial charges and force-field types."""
        return universe_of(self.box, self.charges_e, [self.types[t].name for t in self.type_of_atom])

    def moved(self, positions_A: NDArray[np.float64], cell_A: NDArray[np.float64] | None = None) -> System:
        """The same system with its atoms elsewhere."""
        cell = self.box.cell_A if cell_A is None else cell_A
        return replace(self, box=replace(self.box, positions_A=positions_A, cell_A=cell))

    def origins(self) -> Iterator[tuple[str, str, Origin]]:
        """Every number's kind, what it is for, and its origin; one for each term, not for each use."""
        for one in self.types:
            yield "lennard-jones", one.name, one.origin
        for pair in self.pairs:
            yield "pair", "-".join(pair.types), pair.origin
        for name, origin in self.charge_origins:
            yield "charges", name, origin
        for kind in ("bonds", "angles", "torsions", "impropers"):
            for term in getattr(self, kind).terms:
                yield kind[:-1], "-".join(term.classes), term.origin

    def grades(self) -> dict[str, int]:
        """How many numbers there are of each grade, best first."""
        counts = Counter(origin.grade for _kind, _what, origin in self.origins())
        return {grade: counts[grade] for grade in GRADES if counts[grade]}

    @property
    def worst_grade(self) -> str:
        """The grade of the least trustworthy number."""
        return list(self.grades())[-1]
