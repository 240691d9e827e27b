"""Recognise the species of a trajectory: every molecule by its graph, with the sites worth a look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from atomflow.model import Notice
from atomflow.trajectory.species_atoms import bonds_of, numbers_of, virtual_sites, whole_charges
from atomflow.trajectory.species_kinds import FoundSpecies, Kind, Role
from atomflow.trajectory.species_library import library_graphs
from atomflow.trajectory.species_sorting import ALKALI, Part, Sorter
from atomflow.trajectory.topology import Topology

__all__ = ["FoundSpecies", "Kind", "find_species"]

#: Charges of force fields are rounded, and scaled.
_WHOLE, _UNSCALED, _AGREE = 0.15, 0.05, 0.1


def find_species(
    topology: Topology,
    positions_A: NDArray[np.floating] | None = None,
    cell_A: NDArray[np.float64] | None = None,
    *,
    folders: Iterable[str | Path] = (),
) -> FoundSpecies:
    """Recognise every molecule of a topology.

    Connected components of the bonds are compared, as graphs of elements and connectivity, with the species of the
    library. Atoms without bonds are ions, or together a framework. What is not in the library is called by its formula,
    or ``polymer-1`` when large. Everything that was guessed is in the notices.

    Parameters
    ----------
    topology : Topology
    positions_A, cell_A : (n, 3) array, (3, 3) array, optional
        Of one frame; bonds are guessed from them where the topology has none.
    folders : paths
        The user's folders of species, searched before the library.

    Raises
    ------
    TrajectoryError
        Bonds must be guessed, and the coordinates are no matter.

    Examples
    --------
    >>> from atomflow.trajectory import Topology
    >>> from atomflow.trajectory.species import find_species
    >>> found = find_species(Topology.from_symbols(["Li", "Cl"]))
    >>> found.pairs, found.charges_e
    (('Li:Cl',), {'Li': 1.0, 'Cl': -1.0})
    """
    notices: list[Notice] = []
    numbers = numbers_of(topology, notices)
    if numbers is None:
        return _by_type(topology)
    bonds, together = bonds_of(topology, numbers, positions_A, cell_A, notices)
    if bonds is None:
        return _by_element(topology, numbers, notices)
    virtual = virtual_sites(topology, numbers, bonds)
    if virtual.any():
        text = f"{virtual.sum()} sites without element and mass (charges beside the atoms) were left out"
        notices.append(Notice("virtual-sites", text))
    real = np.flatnonzero(~virtual)
    place = np.full(topology.n_atoms, -1)
    place[real] = np.arange(len(real))
    inside = place[bonds]
    part = Part(
        topology=topology,
        index=real,
        numbers=numbers[real],
        bonds=inside[(inside >= 0).all(axis=1)],
        together=None if together is None else together[real],
    )
    kinds = Sorter(part, library_graphs(folders, by_formula=together is not None), notices).kinds()
    charges = whole_charges(topology, virtual, bonds)
    if charges is not None:
        kinds = _with_charges(kinds, charges, notices)
    return FoundSpecies(kinds, _pairs(kinds), tuple(notices))


def _with_charges(kinds: tuple[Kind, ...], charges: NDArray[np.float64], notices: list[Notice]) -> tuple[Kind, ...]:
    """Charges of what the library does not know, from the topology, whose scale the known ions tell."""
    sums = [float(charges[kind.members].sum()) / kind.n_molecules for kind in kinds]
    ratios = [total / kind.charge_e for kind, total in zip(kinds, sums, strict=True) if kind.charge_e]
    scale = float(np.median(ratios)) if ratios else 1.0
    agree = all(abs(ratio - scale) < _AGREE for ratio in ratios)
    if agree and abs(scale - 1) > _UNSCALED and scale > 0:
        text = f"ions carry {scale:.2f} of their formal charge in the topology; the formal charges are used"
        notices.append(Notice("scaled-charges", text))
    else:
        scale = 1.0
    done = []
    for kind, total in zip(kinds, sums, strict=True):
        if kind.charge_source == "library" or (kind.charge_source == "element" and kind.role == "ion"):
            if abs(total / scale - (kind.charge_e or 0.0)) > _WHOLE:
                text = f"{kind.name} has {total:+.2f} e in the topology and {kind.charge_e:+g} by its formula"
                notices.append(Notice("odd-charge", text + "; the latter is used"))
            done.append(kind)
            continue
        unscaled = total / scale
        whole = float(round(unscaled))
        near = abs(unscaled - whole) < _WHOLE
        value = whole + 0.0 if near else round(unscaled, 3)
        if not near and kind.role in ("molecule", "polymer"):
            notices.append(
                Notice("charge-not-whole", f"{kind.name} has {total:+.2f} e in the topology, no whole number")
            )
        role: Role = "ion" if kind.role == "element" and value else kind.role
        sites = {kind.name: kind.atoms} if role == "ion" else kind.sites
        done.append(replace(kind, charge_e=value, charge_source="topology", role=role, sites=sites))
    return tuple(sorted(done, key=lambda kind: not kind.is_cation))


def _pairs(kinds: Sequence[Kind]) -> tuple[str, ...]:
    """Every cation with every donor; without cations, the best donor of the most frequent molecule with itself."""
    cations = [kind for kind in kinds if kind.is_cation]
    others = [label for kind in kinds if not kind.is_cation for label in kind.sites]
    if cations:
        return tuple(f"{kind.name}:{label}" for kind in cations for label in others)
    return (f"{others[0]}:{others[0]}",) if others else ()


def _by_type(topology: Topology) -> FoundSpecies:
    types = topology.types if topology.types is not None else np.full(topology.n_atoms, "1")
    text = "nothing tells the elements: each atom type is a species; give --top, masses or a type map"
    charges = topology.charges_e
    kinds = []
    for kind in sorted(set(types.tolist()), key=lambda t: (len(t) if t.isdigit() else 0, t)):
        atoms = np.flatnonzero(types == kind)
        charge = None if charges is None or not np.isfinite(charges[atoms]).all() else float(charges[atoms].mean())
        kinds.append(_simple(f"type-{kind}", "type", atoms, charge))
    return FoundSpecies(tuple(kinds), (), (Notice("species-by-type", text),))


def _by_element(topology: Topology, numbers: NDArray[np.intp], notices: list[Notice]) -> FoundSpecies:
    text = "neither bonds nor molecules are known: each element is a species; give a topology with bonds"
    kinds = [
        _simple(chemical_symbols[z] if z else "unknown", "element", np.flatnonzero(numbers == z), None)
        for z in np.unique(numbers).tolist()
    ]
    cations = [k.name for k in kinds if atomic_numbers.get(k.name, 0) in ALKALI]
    donors = [k.name for k in kinds if k.name in ("O", "N", "F", "S", "Cl")]
    pairs = tuple(f"{cation}:{donor}" for cation in cations for donor in donors)
    return FoundSpecies(tuple(kinds), pairs, (*notices, Notice("species-by-element", text)))


def _simple(name: str, role: Role, atoms: NDArray[np.intp], charge: float | None) -> Kind:
    source = "topology" if charge is not None else "unknown"
    starts = np.arange(len(atoms) + 1, dtype=np.intp)
    return Kind(
        name,
        name if role == "element" else "",
        role,
        None,
        charge,
        source,
        atoms.astype(np.intp),
        starts,
        {name: atoms},
    )
