"""Models of crystals - ordered cells, slabs, particles - as results that say what they are and how good they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from atomflow.build.filling import Sites
from atomflow.model import Notice, Result, record

#: Atoms this near to a face count as its surface, A.
SURFACE_A = 3.0


@record("atomflow.crystal-model/1")
@dataclass(frozen=True)
class CrystalModel(Result):
    """One ordered cell, slab or particle.

    Attributes
    ----------
    name : str
        Such as ``LALZO-1``.
    kind : str
        ``bulk``, ``slab`` or ``particle``.
    atoms : Atoms
        With arrays ``initial_charges`` (oxidation states, e), ``site_label``, ``wyckoff``.
    formula : str
        What it holds, for example ``Li25AlLa12Zr8O48``.
    atom_count : int
    charge_e : float
    electrostatic_eV : float
        Of formal charges on ideal sites.
    above_lowest_meV_per_atom : float
        By the electrostatic energy, or by the calculator that ranked it again.
    found_by : int
        Searches that found it.
    shortest_A : dict
        Shortest distance of each pair of elements, periodic images included.
    coordination : dict
        ``{"Zr-O": {"6": 8}}``: how many atoms have how many neighbours.
    degeneracy : int or None
        Symmetry images of a bulk ordering in the parent's sites, itself included.
    surface_coordination : dict or None
        The same for atoms within 3 A of a face.
    dipole_eA : tuple of three floats or None
        Formal charges times positions; None for a bulk cell, the last component alone of a slab (the others are zero).
    area_A2, thickness_A, radius_A : float or None
    miller : tuple of three ints or None
    rescored_eV : float or None
        By the calculator that ranked it again.
    """

    name: str
    kind: str
    atoms: Atoms = field(metadata={"shown": False})
    formula: str
    atom_count: int
    charge_e: float
    electrostatic_eV: float
    above_lowest_meV_per_atom: float
    found_by: int
    shortest_A: Mapping[str, float]
    coordination: Mapping[str, Mapping[str, int]]
    degeneracy: int | None = None
    surface_coordination: Mapping[str, Mapping[str, int]] | None = None
    dipole_eA: tuple[float, float, float] | None = None
    area_A2: float | None = None
    thickness_A: float | None = None
    radius_A: float | None = None
    miller: tuple[int, int, int] | None = None
    rescored_eV: float | None = None
    warnings: tuple[Notice, ...] = ()


@record("atomflow.crystal-models/1")
@dataclass(frozen=True)
class CrystalModels(Result):
    """Distinct models from one search, lowest first.

    Attributes
    ----------
    crystal, kind : str
    target : str
        Formula asked for.
    formula : str
        What the models hold, per formula unit; differs from ``target`` only with a warning.
    formula_units : int
    models : tuple of CrystalModel
    seeds, sweeps : int
        Independent searches, and the budget of each.
    lowest_by_seed_meV_per_atom : tuple of float or None
        The lowest model of each search, above the lowest of all; None for a search that found no unpolar one.
    hits : int
        Searches within 1 meV/atom of the lowest.
    cells : tuple of dict
        Cells that were considered: ``formula_units``, ``atoms``, ``formula``, ``exact``.
    method, source, grade : str
    """

    crystal: str
    kind: str
    target: str
    formula: str
    formula_units: float
    models: tuple[CrystalModel, ...]
    seeds: int
    sweeps: int
    lowest_by_seed_meV_per_atom: tuple[float | None, ...]
    hits: int
    cells: tuple[Mapping[str, object], ...]
    method: str
    source: str
    grade: str
    warnings: tuple[Notice, ...] = ()


def model_of(
    sites: Sites,
    state: np.ndarray,
    *,
    name: str,
    kind: str,
    energy_eV: float,
    lowest_eV: float,
    found_by: int,
    shells: Mapping[tuple[str, str], float],
    **geometry: Any,
) -> CrystalModel:
    """The model that a filling is, with everything that its atoms tell.

    Parameters
    ----------
    sites, state
        See :class:`~atomflow.build.filling.Sites`.
    name, kind, energy_eV, found_by
        As in :class:`CrystalModel`.
    lowest_eV : float
        Energy of the lowest model.
    shells : mapping
        Reach (A) of the first shell for each pair of cation and anion.
    **geometry
        Further fields of :class:`CrystalModel`.
    """
    atoms = filled_atoms(sites, state)
    atoms.info["name"] = name
    surface = None
    if kind == "slab":
        height = atoms.positions[:, 2]
        surface = np.minimum(height - height.min(), height.max() - height) < SURFACE_A
        geometry["thickness_A"] = float(np.ptp(height))
        geometry["dipole_eA"] = (0.0, 0.0, float(sites.dipole_eA(state)[2]))
    elif kind == "particle":
        atoms.positions -= atoms.positions.mean(axis=0)
        away = np.linalg.norm(atoms.positions, axis=1)
        surface = away > away.max() - SURFACE_A
        geometry["radius_A"] = float(away.max())
        geometry["dipole_eA"] = tuple(float(x) for x in sites.dipole_eA(state))
    if surface is not None:
        geometry["surface_coordination"] = coordination_numbers(atoms, shells, surface)
    return CrystalModel(
        name=name,
        kind=kind,
        atoms=atoms,
        formula=formula_of(atoms),
        atom_count=len(atoms),
        charge_e=float(atoms.get_initial_charges().sum()),
        electrostatic_eV=float(energy_eV),
        above_lowest_meV_per_atom=float((energy_eV - lowest_eV) / len(atoms) * 1e3),
        found_by=found_by,
        shortest_A=shortest_distances(atoms),
        coordination=coordination_numbers(atoms, shells),
        **geometry,
    )


def filled_atoms(sites: Sites, state: np.ndarray) -> Atoms:
    """Atoms of one filling, with formal charges and the names of their sites, sorted as the kinds are."""
    order = np.argsort(state, kind="stable")
    order = order[state[order] > 0]
    atoms = Atoms(
        symbols=[sites.kinds[k] for k in state[order]],
        positions=sites.positions_A[order],
        cell=sites.lattice_A if any(sites.periodic) else None,
        pbc=sites.periodic,
    )
    atoms.set_initial_charges(sites.charges_e[state[order]])
    atoms.new_array("site_label", np.array([sites.labels[i] for i in order]))
    atoms.new_array("wyckoff", np.array([sites.wyckoff[i] for i in order]))
    atoms.info["charge"] = round(float(sites.charges_e[state].sum()))
    return atoms


def formula_of(atoms: Atoms) -> str:
    """Formula in the order of the atoms, ``Li25AlLa12Zr8O48``."""
    counts = Counter(atoms.get_chemical_symbols())
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in counts.items())


def shortest_distances(atoms: Atoms, within_A: float = 4.0) -> dict[str, float]:
    """Shortest distance (A) for each pair of elements, up to ``within_A``."""
    i, j, d = neighbor_list("ijd", atoms, within_A)
    symbols = np.array(atoms.get_chemical_symbols())
    found: dict[str, float] = {}
    order = list(dict.fromkeys(symbols))
    for a, b, distance in zip(symbols[i], symbols[j], d, strict=True):
        pair = "-".join(sorted((a, b), key=order.index))
        found[pair] = min(found.get(pair, np.inf), float(distance))
    return {pair: round(found[pair], 3) for pair in sorted(found)}


def coordination_numbers(
    atoms: Atoms, shells: Mapping[tuple[str, str], float], among: np.ndarray | None = None
) -> dict[str, dict[str, int]]:
    """How many atoms have how many neighbours: ``{"Zr-O": {"6": 8}}``.

    Parameters
    ----------
    atoms : Atoms
    shells : mapping
        Cutoff (A) for each pair of centre and ligand.
    among : bool array, optional
        Centres to count; all without it.
    """
    symbols = np.array(atoms.get_chemical_symbols())
    counted_here = np.ones(len(atoms), dtype=bool) if among is None else among
    found = {}
    for (centre, ligand), within in shells.items():
        centres = np.flatnonzero((symbols == centre) & counted_here)
        if not len(centres):
            continue
        i, j = neighbor_list("ij", atoms, within)
        number = np.bincount(i[symbols[j] == ligand], minlength=len(atoms))[centres]
        counted = Counter(number.tolist())
        found[f"{centre}-{ligand}"] = {str(n): counted[n] for n in sorted(counted)}
    return found
