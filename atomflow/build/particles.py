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

from atomflow.build.composition import Family, formula_text, nearest_counts
from atomflow.build.crystal_models import (
    CrystalModel,
    CrystalModels,
    coordination_numbers,
    filled_atoms,
    formula_of,
    shortest_distances,
)
from atomflow.build.crystals import Crystal, find_crystal
from atomflow.build.cutting import SURFACE_A, frame_classes, ligands, shells
from atomflow.build.filling import Sites, fill
from atomflow.build.ordering import (
    FOUND_MEV_PER_ATOM,
    Run,
    composition_notices,
    library_notices,
    lowest_by_seed,
    one_by_one,
    source_text,
    targeted,
)
from atomflow.build.parent import Parent, parent_of
from atomflow.errors import BadOptionError, CutError

#: A particle's dipole counts as small below this, e A per 100 atoms.
MOST_DIPOLE_EA_PER_100 = 1.0
#: A site is taken when enough of its first shell is in the frame: the most that leaves this many sites for each ion
#: that the crystal would have on them.
_SPARE = 1.5
#: Cost of a dipole in the search, eV/(e A)^2 along each axis.
_DIPOLE_WEIGHT = 0.03
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
    named = find_crystal(crystal) if isinstance(crystal, str) else crystal
    parent = targeted(parent_of(named), composition, dope)
    units = _formula_units(parent, radius_A, atoms)
    families = tuple(
        Family(family.species, family.sites * units // parent.per_primitive, family.full)
        for family in parent.families(parent.primitive)
    )
    counts = nearest_counts(parent.formula, units, parent.charges, families)
    problems = [_sites(parent, named, units, counts, np.random.default_rng(seed + n)) for n in range(seeds)]
    found = run(fill, [(problem, seed + n, sweeps, 4 * keep) for n, problem in enumerate(problems)])
    total = sum(counts.values())
    limit = MOST_DIPOLE_EA_PER_100 * total / 100
    scored = sorted(
        (
            (energy, n, state, float(np.linalg.norm(problems[n].dipole_eA(state))))
            for n, each in enumerate(found)
            for energy, state in zip(each.energies_eV, each.states, strict=True)
        ),
        key=lambda item: (round(item[0], 4), item[1]),
    )
    flat = [item for item in scored if item[3] < limit]
    if not flat:
        raise CutError(
            f"{parent.name}: the least dipole of {total} atoms is {min(item[3] for item in scored):.1f} e A, and "
            f"{limit:.1f} is wanted; take more --seeds, or another size"
        )
    best = lowest_by_seed(found, total)
    warnings = composition_notices(parent, counts, units) + library_notices(named)
    return CrystalModels(
        crystal=parent.name,
        kind="particle",
        target=formula_text(parent.formula),
        formula=formula_text({name: Fraction(number, units) for name, number in counts.items()}),
        formula_units=units,
        models=_models(parent, problems, flat[:keep]),
        seeds=seeds,
        sweeps=sweeps,
        lowest_by_seed_meV_per_atom=best,
        hits=sum(value <= FOUND_MEV_PER_ATOM for value in best),
        cells=(),
        method=METHOD,
        source=source_text(named),
        grade=named.grade,
        warnings=warnings,
    )


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


def _models(
    parent: Parent, problems: Sequence[Sites], chosen: Sequence[tuple[float, int, np.ndarray, float]]
) -> tuple[CrystalModel, ...]:
    reach = shells(parent)
    models = []
    for rank, (energy, n, state, _) in enumerate(chosen, start=1):
        atoms = filled_atoms(problems[n], state)
        dipole = problems[n].dipole_eA(state)
        atoms.positions -= atoms.positions.mean(axis=0)
        name = f"{parent.name}-particle-{rank}"
        atoms.info["name"] = name
        from_centre = np.linalg.norm(atoms.positions, axis=1)
        models.append(
            CrystalModel(
                name=name,
                kind="particle",
                atoms=atoms,
                formula=formula_of(atoms),
                atom_count=len(atoms),
                charge_e=float(atoms.get_initial_charges().sum()),
                electrostatic_eV=energy,
                above_lowest_meV_per_atom=(energy - chosen[0][0]) / len(atoms) * 1e3,
                degeneracy=None,
                found_by=1,
                shortest_A=shortest_distances(atoms),
                coordination=coordination_numbers(atoms, reach),
                surface_coordination=coordination_numbers(atoms, reach, from_centre > from_centre.max() - SURFACE_A),
                dipole_eA=(float(dipole[0]), float(dipole[1]), float(dipole[2])),
                radius_A=float(from_centre.max()),
            )
        )
    return tuple(models)
