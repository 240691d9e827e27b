"""Slabs: neutral, stoichiometric, without a dipole across them, polyhedra whole.

A slab is a question of filling, like an ordered cell: the frame (whole polyhedra) is cut between two of its planes, and
every other ion near a face may sit on either face, on the site it has in the crystal. Which sites are filled, and how
the partly filled ones are ordered, is found together, by the electrostatic energy of the slab itself with a penalty on
its dipole; so termination and ordering suit the cut and each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd

import numpy as np
from ase import Atoms

from atomflow.build.composition import nearest_counts
from atomflow.build.crystal_models import (
    CrystalModel,
    CrystalModels,
    filled_atoms,
    model_of,
)
from atomflow.build.crystals import Crystal, find_crystal
from atomflow.build.cutting import frame_classes, in_one_piece, ligands, shells
from atomflow.build.doping import targeted
from atomflow.build.filling import Sites, fill
from atomflow.build.ordering import Run, check_budget, gathered, one_by_one
from atomflow.build.parent import Parent, formula_units, parent_of, supercell
from atomflow.errors import BadOptionError, CutError

#: Dipole across a slab that counts as none, e A.
MOST_DIPOLE_EA = 0.1
#: Largest slab that is made: the search keeps matrices of all its sites.
MOST_ATOMS = 3000
#: How deep under a face an ion may change sides, A: the La of a garnet lie 1.6 A from the nearest cut.
REACH_A = 2.5
#: Cost of a dipole across the slab in the search, eV/(e A)^2.
_DIPOLE_WEIGHT = 0.1
#: Hottest replica, eV: trivalent ions change faces.
_HOTTEST_EV = 10.0
#: Minima kept by each search, to find some without a dipole among them.
_KEEP = 40
#: Planes of the frame nearer than this are cut together, A.
_PLANE_A = 0.4

METHOD = (
    "The frame of whole polyhedra is cut between two of its planes; all other ions within 2.5 A of a face may sit on "
    "either face. Sites are filled by replica exchange on the electrostatic energy of the slab (formal charges, ideal "
    "sites, Yeh-Berkowitz dipole term) with a penalty on its dipole. Nothing is relaxed."
)


@dataclass(frozen=True)
class Plane:
    """A family of lattice planes, on the primitive lattice.

    Attributes
    ----------
    miller : tuple of three ints
        For the conventional cell.
    matrix : int array (3, 3)
        Two vectors in the plane and one to the next plane, in primitive vectors.
    spacing_A : float
    """

    miller: tuple[int, int, int]
    matrix: np.ndarray
    spacing_A: float


def lattice_plane(parent: Parent, miller: Sequence[int]) -> Plane:
    """The smallest cell that has a lattice plane as its face.

    Raises
    ------
    BadOptionError
        For indices that name no plane.
    """
    given = np.array(miller, dtype=float)
    h = given.round().astype(int)
    if (given != h).any() or h.shape != (3,) or not h.any() or np.abs(h).max() > 6:
        raise BadOptionError(f"--miller {','.join(map(str, miller))}: give three whole numbers up to 6, not all zero")
    lattice, conventional = np.array(parent.primitive.cell), np.array(parent.conventional.cell)
    raw = lattice @ np.linalg.solve(conventional, h)
    index = _whole(raw)
    normal = np.linalg.solve(lattice, index)
    spacing = 1.0 / float(np.linalg.norm(normal))
    reach = int(np.abs(index).max()) + 3
    grid = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    level = grid @ index
    inside = grid[(level == 0) & grid.any(axis=1)]
    vectors = inside @ lattice
    order = np.lexsort((*(-inside.T), np.linalg.norm(vectors, axis=1).round(6)))
    inside, vectors = inside[order], vectors[order]
    area = abs(np.linalg.det(lattice)) / spacing
    areas = np.linalg.norm(np.cross(vectors[0], vectors), axis=1)
    second = int(np.flatnonzero(np.abs(areas - area) < 1e-6 * area)[0])
    up = grid[level == 1]
    unit = normal * spacing
    lateral = up @ lattice
    lateral = lateral - np.outer(lateral @ unit, unit)
    third = up[np.lexsort((*(up.T), np.linalg.norm(lateral, axis=1).round(6)))[0]]
    matrix = np.array([inside[0], inside[second], third])
    if np.linalg.det(matrix) < 0:
        matrix[1] = -matrix[1]
    return Plane((int(h[0]), int(h[1]), int(h[2])), matrix, spacing)


def _whole(values: np.ndarray) -> np.ndarray:
    for factor in range(1, 13):
        scaled = values * factor
        if np.abs(scaled - scaled.round()).max() < 1e-6:
            whole = scaled.round().astype(int)
            return whole // gcd(*(int(abs(v)) for v in whole))
    raise BadOptionError("these Miller indices have no plane of whole indices in the primitive cell")


def slab(
    crystal: str | Crystal,
    miller: Sequence[int] = (0, 0, 1),
    *,
    thickness_A: float = 12.0,
    layers: int | None = None,
    repeat: tuple[int, int] = (1, 1),
    vacuum_A: float = 20.0,
    composition: str | None = None,
    dope: Sequence[str] = (),
    seeds: int = 4,
    seed: int = 0,
    sweeps: int = 12000,
    keep: int = 3,
    run: Run = one_by_one,
) -> CrystalModels:
    """Slabs of a crystal that are neutral, stoichiometric and unpolar.

    Parameters
    ----------
    crystal : str or Crystal
    miller : three ints
        Of the conventional cell.
    thickness_A : float
        At least so thick, in whole layers (lattice planes of the primitive cell).
    layers : int, optional
        Number of layers instead of a thickness.
    repeat : two ints
        Copies of the surface cell.
    vacuum_A : float
        Between the outermost ions of two images.
    composition, dope, seeds, seed, sweeps, keep, run
        As in :func:`~atomflow.build.ordering.order`; ``seeds`` searches for every distinct cut.

    Returns
    -------
    CrystalModels
        Lowest electrostatic energy first; the dipole of each is below 0.1 e A.

    Raises
    ------
    CutError
        When no filling without a dipole was found, with what to change.
    BadOptionError
        For indices, layers or a thickness that make no sense.
    """
    check_budget(seeds, seed, sweeps, keep)
    if not 0 < thickness_A <= 200 or (layers is not None and not 1 <= layers <= 50):
        raise BadOptionError("a slab is 1 to 50 layers, up to 200 A thick")
    if min(repeat) < 1 or not 5 <= vacuum_A <= 200:
        raise BadOptionError("repeat must be 1 or more, and the vacuum 5 to 200 A")
    named = find_crystal(crystal) if isinstance(crystal, str) else crystal
    parent = targeted(parent_of(named), composition, dope)
    plane = lattice_plane(parent, miller)
    count = layers or max(1, int(np.ceil(thickness_A / plane.spacing_A - 1e-9)))
    layer = supercell(parent.primitive, plane.matrix).repeat((*repeat, 1))
    units = formula_units(parent, layer) * count
    size = float(sum(parent.formula.values()) * units)
    if size > MOST_ATOMS:
        raise BadOptionError(f"this slab has {size:.0f} atoms, more than {MOST_ATOMS}; take fewer layers or copies")
    cuts = _cuts(parent, named, layer)
    stack = layer.repeat((1, 1, count))
    counts = nearest_counts(parent.formula, units, parent.charges, parent.families(stack))
    problems = [_sites(parent, named, stack, counts, cut / count, vacuum_A) for cut in cuts]
    searches = [
        (problem, seed + n, sweeps, max(_KEEP, 4 * keep), _HOTTEST_EV) for problem in problems for n in range(seeds)
    ]
    found = run(fill, searches)
    dipoles = [
        np.abs([problem.dipole_eA(state)[2] for state in each.states])
        for (problem, *_), each in zip(searches, found, strict=True)
    ]
    unpolar = [each.only(dipole < MOST_DIPOLE_EA) for each, dipole in zip(found, dipoles, strict=True)]
    flat = sorted(
        (
            (energy, search, state)
            for search, each in enumerate(unpolar)
            for energy, state in zip(each.energies_eV, each.states, strict=True)
        ),
        key=lambda item: (round(item[0], 4), item[1]),
    )
    if not flat:
        least = min(float(dipole.min()) for dipole in dipoles)
        raise CutError(
            f"{parent.name} {_bracket(plane.miller)}: the least dipole of {count} layers is {least:.2f} e A, "
            f"and {MOST_DIPOLE_EA} is wanted; take a larger surface cell with --repeat "
            f"{2 * repeat[0]},{repeat[1]}, other layers or more --seeds"
        )
    models = _models(parent, plane, searches, flat, keep)
    if not models:
        raise CutError(
            f"{parent.name} {_bracket(plane.miller)}: without a dipole {count} layers fall into two pieces; take a larger "
            f"surface cell with --repeat {2 * repeat[0]},{repeat[1]}, or other layers"
        )
    return gathered(parent, named, models, counts, units, unpolar, (seeds, sweeps), METHOD)


def _bracket(miller: Sequence[int]) -> str:
    return "(" + "".join(str(h) for h in miller) + ")"


def _cuts(parent: Parent, crystal: Crystal, layer: Atoms) -> list[float]:
    """Heights of the distinct cuts, as fractions of a layer: half way between two planes of the frame."""
    frame = np.isin(layer.numbers - 1, frame_classes(parent, crystal))
    height = layer.get_scaled_positions()[:, 2] % 1.0
    spacing = abs(layer.get_volume()) / np.linalg.norm(np.cross(layer.cell[0], layer.cell[1]))
    planes = np.sort(height[frame])
    gaps = np.diff(np.concatenate([planes, planes[:1] + 1.0]))
    middles = [(planes[n] + gaps[n] / 2) % 1.0 for n in np.flatnonzero(gaps * spacing > _PLANE_A)]
    if not middles:
        middles = [(planes[int(np.argmax(gaps))] + gaps.max() / 2) % 1.0]
    distinct: dict[tuple[tuple[int, float], ...], float] = {}
    for middle in middles:
        up = _profile(layer.numbers, (height - middle) % 1.0)
        down = _profile(layer.numbers, (middle - height) % 1.0)
        distinct.setdefault(min(up, down), float(middle))
    return list(distinct.values())


def _profile(numbers: np.ndarray, height: np.ndarray) -> tuple[tuple[int, float], ...]:
    return tuple(sorted((int(n), round(float(h), 3) % 1.0) for n, h in zip(numbers, height, strict=True)))


def _sites(
    parent: Parent, crystal: Crystal, stack: Atoms, counts: dict[str, int], cut: float, vacuum_A: float
) -> Sites:
    """Sites of a slab cut at a height (fraction of the stack), frame fixed, the rest on either face."""
    lattice = np.array(stack.cell)
    normal = np.cross(lattice[0], lattice[1])
    normal = normal / np.linalg.norm(normal)
    thickness = float(lattice[2] @ normal)
    attached = ligands(parent, crystal, stack)
    frame = set(frame_classes(parent, crystal)) if crystal.units else set()
    scaled = stack.get_scaled_positions()
    scaled[:, 2] = (scaled[:, 2] - cut) % 1.0
    base = scaled @ lattice
    for ligand, (centre, vector) in attached.items():
        base[ligand] = base[centre] + vector
    height = base @ normal
    positions, numbers, may_be_empty = list(base), list(stack.numbers), np.zeros(len(stack), dtype=bool).tolist()
    for site in range(len(stack)):
        if site in attached or stack.numbers[site] - 1 in frame:
            continue
        for shift in (-1, 1):
            if -REACH_A < height[site] + shift * thickness < thickness + REACH_A:
                positions.append(base[site] + shift * lattice[2])
                numbers.append(stack.numbers[site])
                may_be_empty.append(True)
                may_be_empty[site] = True
    x = lattice[0] / np.linalg.norm(lattice[0])
    axes = np.array([x, np.cross(normal, x), normal])
    turned = np.array(positions) @ axes.T
    cell = lattice @ axes.T
    extent = float(np.ptp(turned[:, 2]))
    cell[2] = [0.0, 0.0, extent + vacuum_A]
    turned[:, 2] += (vacuum_A / 2) - turned[:, 2].min()
    places = Atoms(numbers=numbers, positions=turned, cell=cell, pbc=(True, True, False))
    places.wrap()
    sites = parent.sites(places, counts, dipole_weight_eV=(0.0, 0.0, _DIPOLE_WEIGHT))
    allowed = sites.allowed.copy()
    allowed[np.array(may_be_empty), 0] = True
    return replace(sites, allowed=allowed)


def _models(
    parent: Parent,
    plane: Plane,
    searches: Sequence[tuple[Sites, int, int, int, float]],
    flat: Sequence[tuple[float, int, np.ndarray]],
    keep: int,
) -> tuple[CrystalModel, ...]:
    reach = shells(parent)
    energies: list[float] = []
    chosen: list[tuple[float, Sites, np.ndarray]] = []
    finders: list[set[int]] = []
    for energy, search, state in flat:
        same = [n for n, known in enumerate(energies) if abs(known - energy) < 1e-4]
        if same:
            finders[same[0]].add(search)
        elif len(chosen) < keep and in_one_piece(filled_atoms(searches[search][0], state), reach):
            energies.append(energy)
            chosen.append((energy, searches[search][0], state))
            finders.append({search})
    indices = "".join(map(str, plane.miller))
    return tuple(
        model_of(
            sites,
            state,
            name=f"{parent.name}-{indices}-slab-{number}",
            kind="slab",
            energy_eV=energy,
            lowest_eV=energies[0],
            found_by=len(by),
            shells=reach,
            area_A2=float(np.linalg.norm(np.cross(sites.lattice_A[0], sites.lattice_A[1]))),
            miller=plane.miller,
        )
        for number, ((energy, sites, state), by) in enumerate(zip(chosen, finders, strict=True), start=1)
    )
