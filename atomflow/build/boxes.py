"""Boxes by name: the recipe's molecules counted, made, packed, and looked at before anybody uses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Geometry import Point3D
from scipy.spatial import cKDTree

from atomflow.build.composing import Composition, Portion, chain_of, compose, options_of, shared_fractions
from atomflow.build.crystals import find_crystal
from atomflow.build.molecules import molecule
from atomflow.build.packing import TOLERANCE_A, pack, replicated
from atomflow.build.particles import particle
from atomflow.build.piercing import pierced_rings
from atomflow.build.recipes import Recipe, changed, find_recipe
from atomflow.errors import BadStructureError, PackingError
from atomflow.model import Box, Molecule, System, bonds_of, residues_of

#: Density at which boxes are packed, as a fraction of the wanted one, and what is taken when that does not go.
_LOOSE = (0.4, 0.32, 0.25)
#: Sets of coils that are tried at the loosest, and what their seeds differ by: more than a box has chains.
_COILS, _APART = 4, 1_000_000
#: Budget of the search for a particle's filling; its ions move in any case.
_PARTICLE_SEEDS, _PARTICLE_SWEEPS = 2, 300

Say = Callable[[str], None]


@dataclass(frozen=True)
class BuiltBox:
    """A packed box, what it is made of, and the recipe."""

    box: Box
    composition: Composition
    recipe: Recipe
    seed: int
    packer: str


def box(name: str | Recipe, *, atoms: int = 3000, seed: int = 0, **options: object) -> Box:
    """A loose box of a membrane, liquid or melt; see :func:`build_box` for the options.

    Examples
    --------
    >>> from atomflow.build import box
    >>> built = box("dmf", atoms=300)
    >>> built.count(), built.charge_e
    ({'DMF': 25}, 0)
    """
    return build_box(name, atoms=atoms, seed=seed, **options).box  # type: ignore[arg-type]


def build_box(
    name: str | Recipe,
    *,
    atoms: int = 3000,
    seed: int = 0,
    changes: Mapping[str, str] | None = None,
    units: int | None = None,
    filler_radius_A: float | None = None,
    pack_density_g_cm3: float | None = None,
    packer: str = "atomflow",
    timeout_s: float = 300.0,
    replicate: tuple[int, int, int] = (1, 1, 1),
    folders: tuple[str | Path, ...] = (),
    say: Say = lambda _text: None,
) -> BuiltBox:
    """Compose, make the molecules, pack.

    Parameters
    ----------
    name : str or Recipe
    atoms : int
        About so many.
    seed : int
        Of chains, particles and packing; the same seed gives the same box.
    changes, units, filler_radius_A, folders
        See :func:`atomflow.build.compose`.
    pack_density_g_cm3 : float
        Of the loose box; without it two fifths of the wanted one, less when that cannot be packed, and other coils when
        these are too long for a small box.
    packer, timeout_s
        See :func:`atomflow.build.pack`.
    replicate : three ints
        A cell of ``atoms`` divided by their product is packed, and repeated.
    say : callable
        Told what is being done.

    Raises
    ------
    UserError
        As :func:`atomflow.build.compose` and :func:`atomflow.build.pack`.
    """
    recipe = changed(find_recipe(name, folders) if isinstance(name, str) else name, changes or {})
    copies = int(np.prod(replicate))
    composition = compose(
        recipe, atoms=max(1, atoms // max(copies, 1)), seed=seed, units=units, filler_radius_A=filler_radius_A
    )
    wanted = composition.density_g_cm3
    tries = [(0, fraction * wanted) for fraction in _LOOSE] + [(n, _LOOSE[-1] * wanted) for n in range(1, _COILS)]
    if pack_density_g_cm3 is not None:
        tries = [(0, pack_density_g_cm3)]
    grown = None
    for number, (coils, density) in enumerate(tries):
        if coils != grown:
            say("growing chains and cutting particles")
            kinds, counts, conformers = _molecules(recipe, composition, seed, coils)
            grown = coils
        say(f"packing {sum(counts)} molecules at {density:.2f} g/cm3")
        try:
            packed = pack(
                kinds, counts, density_g_cm3=density, seed=seed, conformers=conformers, packer=packer,
                timeout_s=timeout_s, name=recipe.name,
            )  # fmt: skip
            break
        except PackingError:
            if number == len(tries) - 1:
                raise
    if copies != 1 or len(replicate) != 3:
        packed = replicated(packed, replicate)
    crystals = {one.name: one.source_name for one in recipe.components if one.role == "filler"}
    achieved = achieved_composition(packed, composition, copies, atoms, crystals)
    check_box(packed, achieved)
    return BuiltBox(packed, achieved, recipe, seed, packer)


def _molecules(
    recipe: Recipe, composition: Composition, seed: int, coils: int = 0
) -> tuple[list[Molecule], list[int], list[list[NDArray[np.float64]]]]:
    """Kinds, how many of each, and geometries; chains of one constitution are one kind, each with its own coil."""
    kinds: list[Molecule] = []
    counts: list[int] = []
    shapes: list[list[NDArray[np.float64]]] = []
    known: dict[object, int] = {}

    def add(one: Molecule, many: int) -> None:
        place = known.setdefault(_constitution(one), len(kinds))
        if place == len(kinds):
            kinds.append(one)
            counts.append(0)
            shapes.append([])
        counts[place] += many
        shapes[place].append(one.graph.GetConformer().GetPositions())

    for portion in composition.portions:
        component = recipe.component(portion.name)
        if portion.role == "polymer":
            options = options_of(component)
            shares = shared_fractions(component.source_name, portion.count, portion.units, dict(options))
            for n, fractions in enumerate(shares):
                chain = chain_of(component.source_name, portion.units, seed + coils * _APART + n, options, fractions)
                add(replace(chain, name=portion.name), 1)
        elif portion.role == "filler":
            add(particle_molecule(component.source_name, portion.units, seed), portion.count)
        else:
            for species, many in component.made_of.items():
                add(molecule(species, seed=seed), many * portion.count)
    return kinds, counts, shapes


def _constitution(one: Molecule) -> object:
    """What two molecules share when the same types and terms fit both: name, atoms, bonds, residues."""
    atoms = [(atom.GetAtomicNum(), atom.GetFormalCharge()) for atom in one.graph.GetAtoms()]
    residues, names = residues_of(one)
    return one.name, tuple(atoms), bonds_of(one).tobytes(), residues.tobytes(), names


@lru_cache(maxsize=16)
def particle_molecule(crystal: str, formula_units: int, seed: int = 0) -> Molecule:
    """A neutral particle of a crystal as a molecule without bonds, its ions with their formal charges.

    Parameters
    ----------
    crystal : str
    formula_units : int
    seed : int
    """
    from atomflow.build.parent import parent_of

    named = find_crystal(crystal)
    per_unit = float(sum(parent_of(named).formula.values()))
    models = particle(
        named, atoms=round(formula_units * per_unit), seeds=_PARTICLE_SEEDS, seed=seed, sweeps=_PARTICLE_SWEEPS
    )
    atoms = models.models[0].atoms
    graph = Chem.RWMol()
    conformer = Chem.Conformer(len(atoms))
    for n, (number, charge, position) in enumerate(
        zip(atoms.numbers, atoms.get_initial_charges(), atoms.positions, strict=True)
    ):
        ion = Chem.Atom(int(number))
        ion.SetFormalCharge(round(float(charge)))
        ion.SetNoImplicit(True)
        graph.AddAtom(ion)
        conformer.SetAtomPosition(n, Point3D(*map(float, position)))
    graph.AddConformer(conformer, assignId=True)
    return Molecule(
        name=crystal,
        graph=graph.GetMol(),
        charge=round(float(atoms.get_initial_charges().sum())),
        role="particle",
        source=models.source,
        grade=models.grade,
        rigid=True,
    )


def achieved_composition(
    built: Box,
    composition: Composition,
    copies: int = 1,
    asked: int | None = None,
    kind_names: Mapping[str, str] | None = None,
) -> Composition:
    """The composition with the weights of the molecules that were made (chains of random sequence differ a little)."""
    masses: dict[str, float] = {}
    sizes: dict[str, int] = {}
    many = np.bincount(built.molecules, minlength=len(built.kinds))
    for kind, count in zip(built.kinds, many.tolist(), strict=True):
        masses[kind.name] = masses.get(kind.name, 0.0) + kind.mass_u * count
        sizes[kind.name] = sizes.get(kind.name, 0) + len(kind) * int(count)
    total = float(built.masses_u.sum())
    names = kind_names or {}

    def mended(one: Portion) -> Portion:
        count = one.count * copies
        in_box = one.role in ("polymer", "filler")
        mass = masses[names.get(one.name, one.name)] / count if in_box else one.mass_u
        return replace(
            one,
            count=count,
            mass_u=mass,
            atoms=sizes[names.get(one.name, one.name)] / count if in_box else one.atoms,
            achieved_wt_percent=100.0 * count * mass / total,
            target_count=one.target_wt_percent / 100.0 * total / mass,
        )

    return replace(
        composition,
        portions=tuple(mended(one) for one in composition.portions),
        mass_u=total,
        atoms=len(built),
        atoms_asked=composition.atoms_asked if asked is None else asked,
    )


@dataclass(frozen=True)
class BoxChecks:
    """What was looked at in a box.

    Attributes
    ----------
    charge_e : int
    off_molecules : dict
        How far the count of each component is from what the weight of the box asks for, in molecules; of a particle in
        formula units.
    shortest_A : float
        Between atoms of different molecules, or of two images of one.
    pierced : int
        Rings with a bond through them.
    """

    charge_e: int
    off_molecules: Mapping[str, float]
    shortest_A: float
    pierced: int


def check_box(built: Box, composition: Composition | None = None, shortest_A: float = TOLERANCE_A) -> BoxChecks:
    """Look whether a box is neutral, of the right composition, without overlaps and without pierced rings.

    Parameters
    ----------
    built : Box
    composition : Composition, optional
    shortest_A : float
        Atoms of different molecules must be at least so far apart.

    Raises
    ------
    BadStructureError
        Names the first thing that is wrong.
    """
    charge = built.charge_e
    if charge:
        raise BadStructureError(f"{built.name}: the box has charge {charge:+d}; correct the numbers of its ions")
    off = {}
    for one in composition.portions if composition else ():
        scale = one.units if one.role == "filler" else 1
        off[one.name] = float((one.count - one.target_count) * scale)
        if abs(off[one.name]) > 1.0:
            raise BadStructureError(
                f"{built.name}: {one.count} of {one.name}, {one.target_count:.1f} are asked for; take more --atoms"
            )
    shortest, i, j = shortest_contact_A(built)
    if shortest < shortest_A:
        a, b = (built.kinds[built.molecules[built.molecule_of_atom[n]]].name for n in (i, j))
        raise BadStructureError(
            f"{built.name}: atoms {i + 1} ({a}) and {j + 1} ({b}) are {shortest:.2f} A apart; pack at a lower density"
        )
    pierced = pierced_rings(built.bonds, built.positions_A, built.cell_A)
    if pierced:
        raise BadStructureError(f"{built.name}: {pierced[0]}; take another --seed")
    return BoxChecks(charge, off, shortest, len(pierced))


def check_terms(system: System) -> None:
    """Look whether every bond, angle and torsion of the graph has a term.

    Raises
    ------
    BadStructureError
        With how many are there and how many should be.
    """
    bonds = system.box.bonds
    degree = np.bincount(bonds.ravel(), minlength=len(system.box))
    chains = int(((degree[bonds[:, 0]] - 1) * (degree[bonds[:, 1]] - 1)).sum())
    # Of three bonds in a row those that close a ring of three are no torsion.
    closed = 3 * _triangles(bonds)
    wanted = {"bonds": len(bonds), "angles": int((degree * (degree - 1) // 2).sum()), "torsions": chains - closed}
    for kind, many in wanted.items():
        there = len(getattr(system, kind))
        if there != many:
            raise BadStructureError(f"{system.box.name}: {there} {kind} have a term, {many} are in the graph")


def _triangles(bonds: NDArray[np.intp]) -> int:
    near: dict[int, set[int]] = {}
    for i, j in bonds.tolist():
        near.setdefault(i, set()).add(j)
        near.setdefault(j, set()).add(i)
    return sum(len(near[i] & near[j]) for i, j in bonds.tolist()) // 3


def shortest_contact_A(built: Box, within_A: float = 4.0) -> tuple[float, int, int]:
    """Shortest distance between atoms of different molecules or images, and the two atoms; infinite beyond ``within_A``.

    Orthogonal cells only, as boxes are packed.
    """
    edges = np.diag(built.cell_A)
    tree = cKDTree(np.mod(built.positions_A, edges) % edges, boxsize=edges)
    for reach in (*(r for r in (1.5, 2.5) if r < within_A), within_A):  # most pairs are within the last
        pairs = tree.query_pairs(reach, output_type="ndarray")
        apart = built.positions_A[pairs[:, 0]] - built.positions_A[pairs[:, 1]]
        image = np.rint(apart / edges)
        own = (built.molecule_of_atom[pairs[:, 0]] == built.molecule_of_atom[pairs[:, 1]]) & (image == 0).all(axis=1)
        distance = np.where(own, np.inf, np.linalg.norm(apart - image * edges, axis=1))
        if len(distance) and np.isfinite(distance).any():
            n = int(distance.argmin())
            return float(distance[n]), int(pairs[n, 0]), int(pairs[n, 1])
    return float("inf"), 0, 0
