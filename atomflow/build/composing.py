"""From weights and moles to whole molecules: how many of each a box of a wanted size holds.

The amounts of a recipe are linear in the weights of its components and in the volume, so one small system of equations
gives the weight percents. Then the coarse pieces are counted first (particles, chains, whose length bends to the box),
the rest by the weight that these stand for, and everything is reported beside what was asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from atomflow.build.crystals import find_crystal
from atomflow.build.molecules import molecule
from atomflow.build.parent import parent_of
from atomflow.build.particles import MOST_ATOMS
from atomflow.build.polymers import find_polymer
from atomflow.build.recipes import Amount, Component, Recipe, changed, find_recipe
from atomflow.build.sequences import with_fractions
from atomflow.errors import BadOptionError, CompositionError
from atomflow.model import Molecule, Notice, Result, record

#: A box has at least so many chains of a polymer, each of at least so many units, where it can.
FEWEST_CHAINS, FEWEST_UNITS = 2, 5
#: How far the size of a box may go from what was asked for, so that a particle is of whole formula units.
_SIZE_SLACK = 0.1
#: Largest particle, atoms; more filler than this is several particles.
_LARGEST_PARTICLE = 1000
#: Smallest particle that :func:`atomflow.build.particle` makes has more than this many atoms.
_SMALLEST_PARTICLE = 12

MOST_BOX_ATOMS = 2_000_000


@record("atomflow.portion/1")
@dataclass(frozen=True)
class Portion(Result):
    """How much of one component a box holds.

    Attributes
    ----------
    name, role, asked : str
        ``asked`` as in the recipe or the option, ``10 wt%``.
    grade, source : str
        Of that amount.
    count : int
        Formula units of a salt, molecules of a solvent, chains, particles.
    units : int
        Repeat units of a chain, formula units of a particle; 1 of anything else.
    mass_u, atoms : float, float
        Of one of them.
    target_wt_percent, achieved_wt_percent : float
    target_count : float
        As many as the achieved weight of the whole box asks for.
    """

    name: str
    role: str
    asked: str
    grade: str
    source: str
    count: int
    units: int
    mass_u: float
    atoms: float
    target_wt_percent: float
    achieved_wt_percent: float
    target_count: float
    warnings: tuple[Notice, ...] = ()


@record("atomflow.composition/1")
@dataclass(frozen=True)
class Composition(Result):
    """What a box is made of, asked for and achieved.

    Attributes
    ----------
    recipe : str
    atoms_asked, atoms : int
    portions : tuple of Portion
    density_g_cm3 : float
        Wanted in the end; of additive volumes unless the recipe states it.
    mass_u : float
    grade : str
        The worst of the recipe's figures.
    """

    recipe: str
    atoms_asked: int
    atoms: int
    portions: tuple[Portion, ...]
    density_g_cm3: float
    mass_u: float
    grade: str
    warnings: tuple[Notice, ...] = ()

    def portion(self, name: str) -> Portion:
        """Portion of the component of that name."""
        return next(one for one in self.portions if one.name == name)

    def molarity_M(self, name: str) -> float:
        """Mol per litre at the wanted density."""
        litres = self.mass_u / self.density_g_cm3 / 1000.0
        return self.portion(name).count / litres


def compose(
    recipe: str | Recipe,
    *,
    atoms: int = 3000,
    seed: int = 0,
    changes: Mapping[str, str] | None = None,
    units: int | None = None,
    filler_radius_A: float | None = None,
    folders: tuple[str | Path, ...] = (),
) -> Composition:
    """Whole numbers of molecules for a box of about ``atoms`` atoms.

    Parameters
    ----------
    recipe : str or Recipe
    atoms : int
        Kept within a tenth.
    seed : int
        Of the chain that is grown to weigh it.
    changes : mapping
        See :func:`atomflow.build.recipes.changed`.
    units : int
        Length of every chain; without it that of the recipe, shorter in a small box.
    filler_radius_A : float
        Size of a particle; without it that of the recipe, or one particle that holds all of the filler.
    folders : paths
        Folders of recipes to search before the shipped ones.

    Returns
    -------
    Composition
        Neutral, every count within one molecule (chain, formula unit of a particle) of what the weight of the box asks
        for.

    Raises
    ------
    CompositionError
        When the amounts do not add up to 100 wt%, or the ions are not neutral.
    BadOptionError
        When the box is too small for one piece of each component; says how many atoms it takes.
    """
    found = find_recipe(recipe, folders) if isinstance(recipe, str) else recipe
    found = changed(found, changes or {})
    if not isinstance(atoms, int) or isinstance(atoms, bool) or not 1 <= atoms <= MOST_BOX_ATOMS:
        raise BadOptionError(f"--atoms {atoms}: a box has 1 to {MOST_BOX_ATOMS:,} atoms")
    if units is not None and not 1 <= units <= 10000:
        raise BadOptionError(f"--units {units}: a chain has 1 to 10000 units")
    if filler_radius_A is not None and not 0 < filler_radius_A < 1e3:
        raise BadOptionError(f"--filler-radius {filler_radius_A:g}: give a radius of some angstrom, such as 9")
    pieces = [_piece(one, seed) for one in found.components]
    percents, density = weight_percents(found, [piece.unit_mass_u for piece in pieces])
    per_atom = sum(w * piece.atoms_per_mass for w, piece in zip(percents, pieces, strict=True)) / 100.0
    mass = atoms / per_atom
    shares = percents / 100.0
    radii = [one.radius_A.value if one.radius_A else None for one in found.components]
    plan: dict[int, tuple[int, int]] = {}
    for n, one in enumerate(found.components):
        if one.role == "filler":
            plan[n], mass = _particles(one, pieces[n], shares[n], mass, filler_radius_A or radii[n], per_atom)
    for n, one in enumerate(found.components):
        if one.role == "polymer":
            plan[n] = _chains(one, pieces[n], shares[n] * mass, units, per_atom, shares[n])
    sizes = [
        _mean_chain(one, *plan[n], seed)
        if one.role == "polymer"
        else (pieces[n].mass_u(plan[n][1] if n in plan else 1), pieces[n].atoms(plan[n][1] if n in plan else 1))
        for n, one in enumerate(found.components)
    ]
    masses = [size[0] for size in sizes]
    counts = _rounded(shares, np.array(masses), {n: count for n, (count, _length) in plan.items()}, mass)
    plan = {n: (int(counts[n]), plan[n][1] if n in plan else 1) for n in range(len(pieces))}
    needed = max(pieces[n].unit_mass_u / shares[n] for n in plan) * per_atom
    for n, one in enumerate(found.components):
        if plan[n][0] == 0:
            raise BadOptionError(
                f"--atoms {atoms}: {found.name} with {one.amount} of {one.name} needs {_round_up(needed)} atoms for one of "
                f"each; take --atoms {_round_up(needed)} or more {one.name}"
            )
    return _composition(found, atoms, sizes, plan, percents, density)


def weight_percents(recipe: Recipe, unit_masses_u: list[float]) -> tuple[np.ndarray, float]:
    """Weight percent of each component, and the density (g/cm3).

    Parameters
    ----------
    recipe : Recipe
    unit_masses_u : list of float
        Mass of one formula unit, molecule or repeat unit of each component.

    Raises
    ------
    CompositionError
        When they cannot add up to 100.
    """
    parts = recipe.components
    many = len(parts)
    names = [one.name for one in parts]
    filling = [one for one in parts if one.amount.unit == "parts"]
    # Unknowns: weight (g) of each component in 100 g, the volume (cm3), and the weight of one part.
    matrix, right = np.zeros((many + 2, many + 2)), np.zeros(many + 2)
    for n, one in enumerate(parts):
        matrix[n, n] = 1.0
        if one.amount.unit == "wt_percent":
            right[n] = one.amount.value
        elif one.amount.unit == "parts":
            matrix[n, many + 1] = -one.amount.value
        elif one.amount.unit == "molar_M":
            matrix[n, many] = -one.amount.value * unit_masses_u[n] / 1000.0
        else:
            other = names.index(one.amount.of)
            matrix[n, other] = -one.amount.value * unit_masses_u[n] / unit_masses_u[other]
    matrix[many, many] = -1.0
    if recipe.density_g_cm3 is None:
        matrix[many, :many] = [1.0 / one.density_g_cm3.value for one in parts]
    else:
        right[many] = -100.0 / recipe.density_g_cm3.value
    if filling:
        matrix[many + 1, :many], right[many + 1] = 1.0, 100.0
    else:
        matrix[many + 1, many + 1] = 1.0
    try:
        solved = np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        solved = np.full(many + 2, -1.0)
    weights, volume = solved[:many], solved[many]
    fixed = ", ".join(f"{one.name} {one.amount}" for one in parts if one.amount.unit != "parts")
    if filling and (not (weights > 1e-9).all() or volume <= 0):
        rest = " and ".join(one.name for one in filling)
        raise CompositionError(f"{recipe.name}: {fixed} leave nothing of 100 wt% for {rest}; take less of one of them")
    if not filling and (abs(weights.sum() - 100.0) > 0.01 or not (weights > 0).all()):
        raise CompositionError(
            f"{recipe.name}: {fixed} add up to {weights.sum():.4g} wt%, not 100; mend them, or give one component by "
            "parts, which then fills up the rest"
        )
    return weights, float(100.0 / volume)


@dataclass(frozen=True)
class _Piece:
    """What one component weighs: ``mass_u`` of a piece of some length is ``end + units * unit``."""

    unit_mass_u: float
    unit_atoms: float
    end_mass_u: float = 0.0
    end_atoms: float = 0.0
    volume_A3: float = 0.0

    def mass_u(self, units: int) -> float:
        return self.end_mass_u + units * self.unit_mass_u

    def atoms(self, units: int) -> float:
        return self.end_atoms + units * self.unit_atoms

    @property
    def atoms_per_mass(self) -> float:
        return self.unit_atoms / self.unit_mass_u


def _piece(one: Component, seed: int) -> _Piece:
    if one.role == "filler":
        parent = parent_of(find_crystal(one.source_name))
        mass = sum(float(many) * atomic_masses[atomic_numbers[element]] for element, many in parent.formula.items())
        atoms = float(sum(parent.formula.values()))
        return _Piece(mass, atoms, volume_A3=parent.primitive.get_volume() / parent.per_primitive)
    if one.role == "polymer":
        wanted = int(one.units.value) if one.units else 30
        short = chain_size(one.source_name, FEWEST_UNITS, seed, options_of(one))
        long = chain_size(one.source_name, max(wanted, 2 * FEWEST_UNITS), seed, options_of(one))
        mass, atoms = (
            (b - a) / (max(wanted, 2 * FEWEST_UNITS) - FEWEST_UNITS) for a, b in zip(short, long, strict=True)
        )
        return _Piece(mass, atoms, short[0] - FEWEST_UNITS * mass, short[1] - FEWEST_UNITS * atoms)
    mass, atoms, charge = 0.0, 0, 0
    for name, many in one.made_of.items():
        species = molecule(name)
        mass += many * species.mass_u
        atoms += many * len(species)
        charge += many * species.charge
    if charge:
        raise CompositionError(
            f"{one.name} has charge {charge:+d}; correct the numbers of its ions in the recipe, so that it is neutral"
        )
    return _Piece(mass, atoms)


def options_of(one: Component) -> tuple[tuple[str, float], ...]:
    """Options of a component's chains, as the growing takes them."""
    return tuple(sorted((key, figure.value) for key, figure in one.options.items()))


@lru_cache(maxsize=256)
def chain_of(
    name: str,
    units: int,
    seed: int,
    options: tuple[tuple[str, float], ...] = (),
    fractions: tuple[tuple[str, float], ...] = (),
) -> Molecule:
    """A grown chain; kept, since the same one is asked for again. ``fractions`` stand over the polymer's own."""
    from atomflow.build.chains import polymer

    more: dict[str, Any] = dict(options)
    if fractions:
        more = {**{key: value for key, value in more.items() if key != "hfp_fraction"}, "fractions": dict(fractions)}
    return polymer(name, units=units, seed=seed, **more)


def chain_size(
    name: str,
    units: int,
    seed: int,
    options: tuple[tuple[str, float], ...],
    fractions: tuple[tuple[str, float], ...] = (),
) -> tuple[float, float]:
    """Mass (u) and atoms of a chain."""
    chain = chain_of(name, units, seed, options, fractions)
    return chain.mass_u, len(chain)


def _mean_chain(one: Component, chains: int, units: int, seed: int) -> tuple[float, float]:
    """Mass (u) and atoms of the mean of so many chains; those of equal composition weigh the same."""
    options = options_of(one)
    shares = Counter(shared_fractions(one.source_name, chains, units, dict(options)))
    sizes = np.array([chain_size(one.source_name, units, seed, options, fractions) for fractions in shares])
    mass, atoms = np.average(sizes, axis=0, weights=list(shares.values()))
    return float(mass), float(atoms)


def shared_fractions(
    polymer: str, chains: int, units: int, options: Mapping[str, float]
) -> list[tuple[tuple[str, float], ...]]:
    """Mole fractions of the comonomers for each chain, so that all chains together have those of the polymer.

    A chain holds whole units: short ones would else each round 5.5 % in the same direction.
    """
    found = find_polymer(polymer)
    if "hfp_fraction" in options:
        found = with_fractions(found, {"HFP": options["hfp_fraction"]})
    if found.sequence not in ("random", "blocky"):
        return [()] * chains
    each: list[list[tuple[str, float]]] = [[] for _chain in range(chains)]
    for share in found.units[1:]:
        if share.fraction is None:
            return [()] * chains
        many = round(share.fraction * chains * units)
        for n, chain in enumerate(each):
            chain.append((share.residue, ((n + 1) * many // chains - n * many // chains) / units))
    return [tuple(chain) for chain in each]


def _particles(
    one: Component, piece: _Piece, share: float, mass_u: float, radius_A: float | None, per_atom: float
) -> tuple[tuple[int, int], float]:
    """Particles and the formula units of each; and the mass of a box that suits them, within the slack."""
    least = int(np.ceil(_SMALLEST_PARTICLE / piece.unit_atoms))
    if radius_A is None:
        whole = share * mass_u / piece.unit_mass_u
        many = max(1, int(np.ceil(whole * piece.unit_atoms / _LARGEST_PARTICLE)))
        units = max(least, round(whole / many))
        enough = least
    else:
        units = round(4.0 / 3.0 * np.pi * radius_A**3 / piece.volume_A3)
        if not least <= units <= MOST_ATOMS / piece.unit_atoms:
            low, high = (
                (3 * piece.volume_A3 * n / (4 * np.pi)) ** (1 / 3) for n in (least, MOST_ATOMS / piece.unit_atoms)
            )
            raise BadOptionError(
                f"a particle of {one.name} has a radius of {low:.1f} to {high:.1f} A, not {radius_A:g}"
            )
        many = round(share * mass_u / (units * piece.unit_mass_u))
        enough = units
    one_needs = enough * piece.unit_mass_u / share * per_atom
    if many == 0 or many * units * piece.unit_mass_u > (share * mass_u + piece.unit_mass_u) * 1.5:
        size = f"of {radius_A:g} A" if radius_A else f"of {enough} formula units"
        raise BadOptionError(
            f"too few atoms for one particle of {one.name} {size} at {100 * share:.3g} wt%; take --atoms "
            f"{_round_up(one_needs)}, or a smaller --filler-radius or more --filler-wt"
        )
    suits = many * units * piece.unit_mass_u / share
    return (many, units), float(np.clip(suits, (1 - _SIZE_SLACK) * mass_u, (1 + _SIZE_SLACK) * mass_u))


def _chains(
    one: Component, piece: _Piece, mass_u: float, units: int | None, per_atom: float, share: float
) -> tuple[int, int]:
    """Chains and the units of each, nearest to the wanted mass."""
    needs = piece.mass_u(FEWEST_UNITS if units is None else units) / share * per_atom
    if mass_u < 0.6 * piece.mass_u(FEWEST_UNITS if units is None else units):
        long = f"{FEWEST_UNITS if units is None else units} units"
        raise BadOptionError(
            f"too few atoms for one chain of {long} of {one.name} at {100 * share:.3g} wt%; take --atoms "
            f"{_round_up(needs)}" + ("" if units is None else ", or a smaller --units")
        )
    if units is not None:
        return max(1, round(mass_u / piece.mass_u(units))), units
    wanted = int(one.units.value) if one.units else 30
    fewest = max(1, min(FEWEST_CHAINS, int(mass_u / piece.mass_u(FEWEST_UNITS))))
    around = max(fewest, round(mass_u / piece.mass_u(wanted)))
    found = []
    for many in range(max(fewest, around - 2), around + 3):
        length = max(FEWEST_UNITS, round((mass_u / many - piece.end_mass_u) / piece.unit_mass_u))
        # As near in weight as can be; of two that are equally near, the one nearer to the wanted length.
        found.append(
            (abs(many * piece.mass_u(length) - mass_u) / piece.unit_mass_u, abs(length - wanted), many, length)
        )
    _off, _far, many, length = min(found)
    return many, length


def _rounded(shares: np.ndarray, masses_u: np.ndarray, fixed: Mapping[int, int], mass_u: float) -> np.ndarray:
    """Whole numbers nearest to what the weight of the box, which they themselves make up, asks for.

    Rounding moves that weight, and so what it asks for: among boxes around the wanted one, the nearest whose counts are
    all right is taken.
    """
    wanted = np.linspace(-0.03, 0.03, 601)
    counts = np.rint(shares * mass_u * (1.0 + wanted[:, None]) / masses_u)
    for n, count in fixed.items():
        counts[:, n] = count
    asked = shares * (counts @ masses_u)[:, None] / masses_u
    off = np.abs(counts - asked)
    free = [n for n in range(len(shares)) if n not in fixed] or list(range(len(shares)))
    worst = off[:, free].max(axis=1)
    # A count that is half a molecule off cannot be bettered; beyond that, closeness to the wanted size decides less.
    best = np.argmin(np.maximum(worst, 0.6) + np.abs(wanted))
    return np.asarray(counts[best])


def _round_up(atoms: float) -> int:
    digits = 10 ** max(0, len(str(int(atoms))) - 2)
    return int(np.ceil(1.02 * atoms / digits) * digits)


def _composition(
    recipe: Recipe,
    asked: int,
    sizes: list[tuple[float, float]],
    plan: Mapping[int, tuple[int, int]],
    percents: np.ndarray,
    density: float,
) -> Composition:
    rows = [(one, *sizes[n], *plan[n], float(percents[n])) for n, one in enumerate(recipe.components)]
    total = sum(count * mass for _one, mass, _atoms, count, _length, _percent in rows)
    portions = tuple(
        _portion(one, one.amount, count, length, mass, atoms, percent, total)
        for one, mass, atoms, count, length, percent in rows
    )
    return Composition(
        recipe=recipe.name,
        atoms_asked=asked,
        atoms=round(sum(one.count * one.atoms for one in portions)),
        portions=portions,
        density_g_cm3=density,
        mass_u=float(total),
        grade=recipe.worst_grade,
    )


def _portion(
    one: Component, amount: Amount, count: int, units: int, mass: float, atoms: float, percent: float, total: float
) -> Portion:
    return Portion(
        name=one.name,
        role=one.role,
        asked=str(amount),
        grade=amount.grade,
        source=amount.source,
        count=count,
        units=units,
        mass_u=float(mass),
        atoms=float(atoms),
        target_wt_percent=percent,
        achieved_wt_percent=float(100.0 * count * mass / total),
        target_count=float(percent / 100.0 * total / mass),
    )
