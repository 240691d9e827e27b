"""A crystal as places: which site classes there are, what may sit on each, the primitive cell, and supercells of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import spglib
from ase import Atoms
from ase.build import make_supercell
from scipy.spatial import cKDTree

from atomflow.build.composition import Family, formula_text, parse_formula
from atomflow.build.crystals import Crystal
from atomflow.build.filling import Sites
from atomflow.errors import BadStructureError, CompositionError

#: Positions nearer than this are the same for the search of symmetry, A.
_SYMMETRY_A = 1e-3
#: Largest supercell of which every shape is looked at.
_MOST_COPIES = 40
#: Partly filled sites nearer than this are alternatives, never both filled, where the crystal says nothing, A.
_ALTERNATIVES_A = 1.6


@dataclass(frozen=True)
class SiteClass:
    """Symmetry-equivalent sites.

    Attributes
    ----------
    label, wyckoff : str
        As in the crystal, such as ``Li1`` and ``24d``.
    species : tuple of str
        Elements that may sit there.
    full : bool
        No vacancies.
    """

    label: str
    wyckoff: str
    species: tuple[str, ...]
    full: bool


@dataclass(frozen=True)
class Parent:
    """The sites of a crystal, and what an exact model holds.

    Attributes
    ----------
    name : str
    formula : dict of str to Fraction
        Per formula unit.
    charges : dict of str to float
        Oxidation states.
    classes : tuple of SiteClass
    primitive, conventional : Atoms
        Sites; the "numbers" are 1 + the index of the class.
    apart : tuple of (tuple of str, float)
        Elements that keep a distance (A) from each other.
    """

    name: str
    formula: Mapping[str, Fraction]
    charges: Mapping[str, float]
    classes: tuple[SiteClass, ...]
    primitive: Atoms
    conventional: Atoms
    apart: tuple[tuple[tuple[str, ...], float], ...]

    @property
    def per_primitive(self) -> Fraction:
        """Formula units in a primitive cell; a half or a quarter of one when the formula is that of a larger cell."""
        return formula_units(self, self.primitive)

    def families(self, places: Atoms) -> tuple[Family, ...]:
        """How species are shared among the sites of a cell."""
        groups: list[tuple[set[str], list[int]]] = []
        for index, kind in enumerate(self.classes):
            species, members = set(kind.species), [index]
            for other in [g for g in groups if g[0] & species]:
                groups.remove(other)
                species |= other[0]
                members += other[1]
            groups.append((species, members))
        return tuple(
            Family(
                tuple(sorted(species)),
                int(np.isin(places.numbers, [m + 1 for m in members]).sum()),
                all(self.classes[m].full for m in members),
            )
            for species, members in groups
        )

    def sites(self, places: Atoms, counts: Mapping[str, int], **more: object) -> Sites:
        """The sites of a cell, to be filled with so many ions of each species."""
        kinds = ("", *counts)
        column = {name: index for index, name in enumerate(kinds)}
        may = np.zeros((len(self.classes), len(kinds)), dtype=bool)
        for row, kind in enumerate(self.classes):
            may[row, [column[name] for name in kind.species if name in column]] = True
            may[row, 0] = not kind.full
        which = places.numbers - 1
        pbc = tuple(bool(p) for p in places.pbc)
        given: dict[str, object] = {
            "lattice_A": np.array(places.cell),
            "periodic": pbc,
            "positions_A": places.get_positions(),
            "kinds": kinds,
            "charges_e": np.array([0.0, *(self.charges[name] for name in counts)]),
            "allowed": may[which],
            "counts": (len(places) - sum(counts.values()), *counts.values()),
            "apart": self.apart,
            "labels": tuple(self.classes[w].label for w in which),
            "wyckoff": tuple(self.classes[w].wyckoff for w in which),
        }
        return Sites(**(given | more))  # type: ignore[arg-type]


def parent_of(crystal: Crystal) -> Parent:
    """Site classes and primitive cell of a crystal.

    Raises
    ------
    CompositionError
        When its formula is not neutral under its oxidation states.
    """
    structure = crystal.structure
    formula = parse_formula(crystal.formula)
    wyckoff = structure.site_properties.get("wyckoff") or [""] * len(structure)
    classes: list[SiteClass] = []
    numbers, charges = [], {}
    known: dict[tuple[object, ...], int] = {}
    for site, letter in zip(structure, wyckoff, strict=True):
        species = {str(kind.element if hasattr(kind, "element") else kind): kind for kind in site.species}
        for name, kind in species.items():
            charges[name] = float(getattr(kind, "oxi_state", None) or 0.0)
        full = abs(site.species.num_atoms - 1.0) < 1e-6
        key = (site.label, letter, tuple(sorted(species)), full)
        if key not in known:
            known[key] = len(classes)
            classes.append(SiteClass(site.label, letter, tuple(species), full))
        numbers.append(known[key] + 1)
    missing = [name for name in formula if name not in charges]
    if missing:
        raise CompositionError(f"{crystal.name}: no site for {missing[0]} of {crystal.formula}")
    total = sum(float(amount) * charges[name] for name, amount in formula.items())
    if abs(total) > 1e-6:
        states = ", ".join(f"{name} {charges[name]:+g}" for name in formula)
        raise CompositionError(
            f"{crystal.name}: {formula_text(formula)} has charge {total:+.3g} with {states}; correct the formula or the "
            "oxidation states"
        )
    lattice = structure.lattice.matrix
    conventional = Atoms(numbers=numbers, scaled_positions=structure.frac_coords % 1.0, cell=lattice, pbc=True)
    apart = tuple((tuple(sorted(rule.of)), float(rule.within_A)) for rule in crystal.apart)
    parent = Parent(crystal.name, formula, charges, tuple(classes), _primitive(conventional), conventional, apart)
    return parent if apart else replace(parent, apart=_alternatives(parent))


def _primitive(places: Atoms) -> Atoms:
    cell = (np.array(places.cell), places.get_scaled_positions(), places.numbers)
    found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=_SYMMETRY_A)
    if found is None:
        return places
    lattice, scaled, numbers = found
    return Atoms(numbers=numbers, scaled_positions=scaled, cell=lattice, pbc=True)


def _alternatives(parent: Parent) -> tuple[tuple[tuple[str, ...], float], ...]:
    partly = sorted({name for kind in parent.classes if not kind.full for name in kind.species})
    return ((tuple(partly), _ALTERNATIVES_A),) if partly else ()


def formula_units(parent: Parent, places: Atoms) -> Fraction:
    """Formula units in a cell, by the species that fills its sites without vacancies.

    Raises
    ------
    BadStructureError
        When sites and formula do not fit together.
    """
    ratios = {
        Fraction(family.sites) / sum(parent.formula.get(name, Fraction(0)) for name in family.species)
        for family in parent.families(places)
        if family.full and any(parent.formula.get(name) for name in family.species)
    }
    if len(ratios) != 1:
        raise BadStructureError(
            f"{parent.name}: the fully occupied sites do not fit the formula {formula_text(parent.formula)}; "
            "check the formula, or the occupancies in the file"
        )
    return ratios.pop()


def supercell(places: Atoms, matrix: np.ndarray) -> Atoms:
    """Copies of a cell; rows of ``matrix`` are the new vectors in terms of the old ones."""
    return make_supercell(places, np.asarray(matrix), wrap=True)


def roundest(places: Atoms, copies: int) -> Atoms:
    """The supercell of so many cells whose shortest vector is longest: images of a defect are far apart.

    Of more than 40 cells only the stacks along the three vectors are looked at: their sublattices are thousands.
    """
    from ase.geometry import minkowski_reduce

    best, best_score = None, (-np.inf, -np.inf)
    lattice = np.array(places.cell)
    for matrix in _sublattices(copies) if copies <= _MOST_COPIES else _stacks(copies):
        reduced, operation = minkowski_reduce(matrix @ lattice)
        lengths = np.linalg.norm(reduced, axis=1)
        score = (round(float(lengths.min()), 6), -round(float(lengths.sum()), 6))
        if score > best_score:
            best, best_score = operation @ matrix, score
    assert best is not None  # there is always the stack along one vector
    return supercell(places, best if np.linalg.det(best) > 0 else -best)


def _stacks(copies: int) -> list[np.ndarray]:
    return [
        np.diag([a, b, copies // a // b])
        for a in range(1, copies + 1)
        if copies % a == 0
        for b in range(1, copies // a + 1)
        if (copies // a) % b == 0
    ]


def _sublattices(copies: int) -> list[np.ndarray]:
    """All lattices of that index, as Hermite normal forms."""
    found = []
    for a in range(1, copies + 1):
        if copies % a:
            continue
        for b in range(1, copies // a + 1):
            if (copies // a) % b:
                continue
            c = copies // a // b
            found += [
                np.array([[a, x, y], [0, b, z], [0, 0, c]])
                for x, y, z in itertools.product(range(b), range(c), range(c))
            ]
    return found


def permutations(places: Atoms) -> np.ndarray:
    """How the symmetry of the empty sites exchanges them.

    Returns
    -------
    int array (operations, n)
        Operation ``g`` brings what sits on ``permutations[g, i]`` to site ``i``; the identity is among them.
    """
    scaled = places.get_scaled_positions()
    cell = (np.array(places.cell), scaled, places.numbers)
    symmetry = spglib.get_symmetry(cell, symprec=_SYMMETRY_A)
    identity = np.arange(len(places))[None, :]
    if symmetry is None:
        return identity
    lattice = np.array(places.cell)
    tree, owners = _periodic_tree(scaled, lattice)
    found = []
    for rotation, translation in zip(symmetry["rotations"], symmetry["translations"], strict=True):
        moved = (scaled @ rotation.T + translation) % 1.0
        distance, index = tree.query(moved @ lattice)
        image = owners[index]
        # image[i] is where i goes; what arrives at j is the inverse.
        if distance.max() < 10 * _SYMMETRY_A and len(np.unique(image)) == len(places):
            found.append(np.argsort(image))
    return np.array(found) if found else identity


def _periodic_tree(scaled: np.ndarray, lattice: np.ndarray) -> tuple[cKDTree, np.ndarray]:
    """Positions in the cell and, for those near its faces, just outside."""
    points, owners = [], []
    for shift in itertools.product((-1, 0, 1), repeat=3):
        image = scaled + np.array(shift)
        near = ((image > -1e-3) & (image < 1 + 1e-3)).all(axis=1)
        points.append(image[near])
        owners.append(np.flatnonzero(near))
    return cKDTree(np.concatenate(points) @ lattice), np.concatenate(owners)
