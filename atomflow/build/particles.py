"""Particles: neutral, stoichiometric, whole polyhedra, as little dipole as can be had.

The frame (whole polyhedra) is what lies nearest to a random point of the cell; all other ions fill crystal sites inside
or on the surface, those that give the lowest electrostatic energy together with a penalty on the dipole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree

from atomflow.build.composition import Family, nearest_counts
from atomflow.build.crystal_models import (
    CrystalModels,
    model_of,
)
from atomflow.build.crystals import Crystal, find_crystal
from atomflow.build.cutting import frame_classes, ligands, shells
from atomflow.build.doping import targeted
from atomflow.build.filling import Sites, fill
from atomflow.build.ordering import Run, check_budget, gathered, one_by_one
from atomflow.build.parent import Parent, parent_of
from atomflow.errors import BadOptionError, CutError

#: A particle's dipole counts as small below this, e A per 100 atoms.
MOST_DIPOLE_EA_PER_100 = 1.0
#: A site is taken when enough of its first shell is in the frame: the most that leaves this many sites for each ion
#: that the crystal would have on them.
_SPARE = 1.5
#: Cost of a dipole in the search, eV/(e A)^2 along each axis.
_DIPOLE_WEIGHT = 0.03
#: Hottest replica, eV: trivalent ions find their sites.
_HOTTEST_EV = 10.0
#: Minima kept by each search, to find some with little dipole among them.
_KEEP = 40
#: Largest particle that is made: the search keeps matrices of all sites, some 8 bytes x (3 x atoms)^2.
MOST_ATOMS = 3000

METHOD = (
    "The frame of whole polyhedra nearest to a random point of the cell; other ions fill crystal sites in it and on its "
    "surface by replica exchange on the Coulomb energy (formal charges, ideal sites) with a penalty on the dipole. "
    "Nothing is relaxed."
)


def particle(
    crystal: str | Crystal,
    *,
    radius_A: float | None = None,
    atoms: int | None = None,
    composition: str | None = None,
    dope: Sequence[str] = (),
    seeds: int = 8,
    seed: int = 0,
    sweeps: int = 4000,
    keep: int = 1,
    run: Run = one_by_one,
) -> CrystalModels:
    """Particles of a crystal.

    Parameters
    ----------
    crystal : str or Crystal
    radius_A, atoms : float, int
        Size, by one of them: that of a ball of the crystal's density, or the number of atoms, in both cases to the
        nearest whole number of formula units.
    composition, dope, seeds, seed, sweeps, keep, run
        As in :func:`~atomflow.build.ordering.order`; every seed takes another centre.

    Returns
    -------
    CrystalModels
        Lowest electrostatic energy first, dipole below 1 e A per 100 atoms.

    Raises
    ------
    BadOptionError
        For a size that no particle can have.
    CutError
        When no filling with so small a dipole was found.
    """
    check_budget(seeds, seed, sweeps, keep)
    named = find_crystal(crystal) if isinstance(crystal, str) else crystal
    parent = targeted(parent_of(named), composition, dope)
    units = _formula_units(parent, radius_A, atoms)
    families = tuple(
        Family(family.species, int(family.sites * units / parent.per_primitive), family.full)
        for family in parent.families(parent.primitive)
    )
    counts = nearest_counts(parent.formula, units, parent.charges, families)
    problems = [_sites(parent, named, units, counts, np.random.default_rng(seed + n)) for n in range(seeds)]
    searches = [(problem, seed + n, sweeps, max(_KEEP, 4 * keep), _HOTTEST_EV) for n, problem in enumerate(problems)]
    found = run(fill, searches)
    total = sum(counts.values())
    limit = MOST_DIPOLE_EA_PER_100 * total / 100
    dipoles = [
        np.array([np.linalg.norm(problem.dipole_eA(state)) for state in each.states])
        for problem, each in zip(problems, found, strict=True)
    ]
    unpolar = [each.only(dipole < limit) for each, dipole in zip(found, dipoles, strict=True)]
    flat = sorted(
        (
            (energy, n, state)
            for n, each in enumerate(unpolar)
            for energy, state in zip(each.energies_eV, each.states, strict=True)
        ),
        key=lambda item: (round(item[0], 4), item[1]),
    )
    if not flat:
        least = min(float(dipole.min()) for dipole in dipoles)
        raise CutError(
            f"{parent.name}: the least dipole of {total} atoms is {least:.1f} e A, and {limit:.1f} is wanted; "
            "take more --seeds, or another size"
        )
    reach = shells(parent)
    models = tuple(
        model_of(
            problems[n],
            state,
            name=f"{parent.name}-particle-{rank}",
            kind="particle",
            energy_eV=energy,
            lowest_eV=flat[0][0],
            found_by=1,
            shells=reach,
        )
        for rank, (energy, n, state) in enumerate(flat[:keep], start=1)
    )
    return gathered(parent, named, models, counts, units, unpolar, (seeds, sweeps), METHOD)


def _formula_units(parent: Parent, radius_A: float | None, atoms: int | None) -> int:
    per_unit = float(sum(parent.formula.values()))
    volume = parent.primitive.get_volume() / parent.per_primitive
    smallest = max(1, int(np.ceil(6 / per_unit)))
    if (radius_A is None) == (atoms is None):
        raise BadOptionError("give the size of the particle either as --radius or as --atoms")
    if radius_A is not None:
        units = 4.0 / 3.0 * np.pi * radius_A**3 / volume if 0 < radius_A < 1e3 else 0.0
        least = (3 * volume * smallest / (4 * np.pi)) ** (1 / 3)
        most = (3 * volume * MOST_ATOMS / per_unit / (4 * np.pi)) ** (1 / 3)
        bad = f"--radius {radius_A:g}: a particle of {parent.name} has {least:.1f} to {most:.0f} A"
    else:
        units = float(atoms or 0) / per_unit
        bad = f"--atoms {atoms}: a particle of {parent.name} has {round(smallest * per_unit)} to {MOST_ATOMS} atoms"
    if not smallest <= round(units) or round(units) * per_unit > MOST_ATOMS * 1.001:
        raise BadOptionError(bad)
    return round(units)


def _sites(parent: Parent, crystal: Crystal, units: int, counts: dict[str, int], rng: np.random.Generator) -> Sites:
    """Sites of a ball around a random point: the frame filled, the rest to be chosen."""
    lattice = np.array(parent.primitive.cell)
    frame = frame_classes(parent, crystal)
    per_unit = Fraction(int(np.isin(parent.primitive.numbers - 1, frame).sum()), parent.per_primitive)
    wanted = int(per_unit * units)
    radius = (3 * parent.primitive.get_volume() / parent.per_primitive * units / (4 * np.pi)) ** (1 / 3)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice).T, axis=1)
    margin = 12.0  # more than a polyhedron and the shell around it
    copies = 2 * np.ceil((radius + margin) / heights).astype(int) + 1
    block = parent.primitive.repeat(copies)
    centre = (copies // 2 + rng.random(3)) @ lattice
    attached = ligands(parent, crystal, parent.primitive)
    single = len(parent.primitive)
    number = block.numbers - 1
    base = block.positions - centre
    frame_sites = np.flatnonzero(np.isin(number, frame))
    nearest = frame_sites[np.argsort(np.linalg.norm(base[frame_sites], axis=1), kind="stable")[:wanted]]
    reach = float(np.linalg.norm(base[nearest[-1]]))
    positions, classes, held = list(base[nearest]), list(number[nearest]), [True] * len(nearest)
    corners: dict[int, list[tuple[int, np.ndarray]]] = {}
    for ligand, (middle, vector) in attached.items():
        corners.setdefault(middle, []).append((ligand, vector))
    for site in nearest:
        for ligand, vector in corners.get(int(site) % single, ()):
            positions.append(base[site] + vector)
            classes.append(int(parent.primitive.numbers[ligand]) - 1)
            held.append(True)
    free = np.array([n not in frame and (s % single) not in attached for s, n in enumerate(number)])
    near = np.flatnonzero(free & (np.linalg.norm(base, axis=1) < reach + margin / 2))
    taken = near[_wrapped(parent, number[near], base[near], np.array(classes), np.array(positions), counts)]
    positions += list(base[taken])
    classes += list(number[taken])
    held += [False] * len(taken)
    places = Atoms(numbers=np.array(classes) + 1, positions=np.array(positions), pbc=False)
    sites = parent.sites(places, counts, dipole_weight_eV=(_DIPOLE_WEIGHT,) * 3)
    allowed = sites.allowed.copy()
    allowed[~np.array(held), 0] = True
    return replace(sites, allowed=allowed)


def _wrapped(
    parent: Parent,
    classes: np.ndarray,
    positions: np.ndarray,
    frame_classes: np.ndarray,
    frame: np.ndarray,
    counts: dict[str, int],
) -> np.ndarray:
    """Which of the free sites to take: those that see most of the frame, as many as the ions need."""
    reach = shells(parent)
    seen = np.zeros(len(positions), dtype=int)
    for n, kind in enumerate(parent.classes):
        mine = np.flatnonzero(classes == n)
        for m, other in enumerate(parent.classes):
            within = max(
                (
                    d
                    for pair, d in reach.items()
                    if (set(pair) & set(kind.species)) and (set(pair) & set(other.species))
                ),
                default=0.0,
            )
            if len(mine) and within and (frame_classes == m).any():
                seen[mine] += [
                    len(near) for near in cKDTree(frame[frame_classes == m]).query_ball_point(positions[mine], within)
                ]
    taken = np.zeros(len(positions), dtype=bool)
    for family in parent.families(parent.primitive):
        members = [n for n, kind in enumerate(parent.classes) if set(kind.species) <= set(family.species)]
        open_here = np.isin(classes, members)
        ions = sum(counts.get(name, 0) for name in family.species) - int(np.isin(frame_classes, members).sum())
        bulk = float(sum(parent.formula.get(name, 0) for name in family.species)) * parent.per_primitive
        if not open_here.any() or ions <= 0:
            continue
        wanted = _SPARE * ions * family.sites / bulk
        enough = [n for n in range(int(seen[open_here].max()), 0, -1) if (open_here & (seen >= n)).sum() >= wanted]
        taken = np.logical_or(taken, open_here & (seen >= (enough[0] if enough else 1)))
    return np.flatnonzero(taken)
