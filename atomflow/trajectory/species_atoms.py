"""Elements, bonds and virtual sites of a topology, from whatever it has."""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from atomflow.model import Notice
from atomflow.trajectory.elements import elements_of_atoms, elements_of_types
from atomflow.trajectory.molecule_graphs import COVALENT, guess_bonds
from atomflow.trajectory.topology import Topology

_LIGHTEST_U = 0.5


def numbers_of(topology: Topology, notices: list[Notice]) -> NDArray[np.intp] | None:
    """(n,) atomic numbers, 0 where unknown; None when no atom has an element."""
    symbols = topology.elements
    if symbols is None and topology.masses_u is not None:
        keys = np.array([f"{mass:.4f}" for mass in topology.masses_u])
        of_key = elements_of_types({key: float(key) for key in set(keys.tolist())})
        symbols = np.array([of_key[key] for key in keys.tolist()])
    if (symbols is None or not (symbols != "").any()) and topology.names is not None:
        symbols = _symbols_of_names(topology)
        if (symbols != "").any():
            text = "the elements were read from the atom names; give a topology with elements or masses to be sure"
            notices.append(Notice("elements-from-names", text))
    if symbols is None or not (symbols != "").any():
        return None
    of_symbol = {symbol: atomic_numbers.get(symbol, 0) for symbol in set(symbols.tolist())}
    return np.array([of_symbol[symbol] for symbol in symbols.tolist()], np.intp)


def _symbols_of_names(topology: Topology) -> NDArray[np.str_]:
    assert topology.names is not None
    names = topology.names.tolist()
    # Without residue names an atom that is a residue by itself is called like it.
    resnames = names if topology.resnames is None else topology.resnames.tolist()
    residues = None if topology.residues is None else topology.residues.tolist()
    return np.array(elements_of_atoms(names, resnames, residues))


def bonds_of(
    topology: Topology,
    numbers: NDArray[np.intp],
    positions_A: NDArray[np.floating] | None,
    cell_A: NDArray[np.float64] | None,
    notices: list[Notice],
) -> tuple[NDArray[np.intp] | None, NDArray[np.intp] | None]:
    """Bonds, and molecules where there are no bonds; both None where nothing tells."""
    bonds = _chemical(topology.bonds, numbers)
    if not _incomplete(numbers, bonds):
        return bonds, None
    if positions_A is not None:
        guessed = guess_bonds(numbers, positions_A, cell_A)
        if len(guessed):
            text = "bonds were guessed from the distances in the first frame; a topology file with bonds is safer"
            notices.append(Notice("bonds-guessed", text))
            return _chemical(np.concatenate([bonds, guessed]), numbers), None
    if len(bonds):
        return bonds, None
    together = topology.molecules
    if together.max(initial=-1) + 1 < topology.n_atoms:
        text = "there are no bonds: the molecules of the file were told by their formula alone, which isomers share"
        notices.append(Notice("species-by-formula", text))
        return bonds, together
    if np.isin(numbers, (1, 6)).any():
        return None, None
    return bonds, None


def _chemical(bonds: NDArray[np.intp] | None, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Each bond once, without those from H to H that only keep a water molecule rigid (CHARMM, Amber)."""
    if bonds is None or not len(bonds):
        return np.zeros((0, 2), np.intp)
    bonds = np.unique(np.sort(bonds, axis=1), axis=0)
    bonds = bonds[bonds[:, 0] != bonds[:, 1]]
    degree = np.bincount(bonds.ravel(), minlength=len(numbers))
    rigid = (numbers[bonds] == 1).all(axis=1) & (degree[bonds] > 1).any(axis=1)
    return bonds[~rigid]


def _incomplete(numbers: NDArray[np.intp], bonds: NDArray[np.intp]) -> bool:
    """Whether atoms that always have bonds have none: hydrogen, carbon; without any bond at all, every nonmetal."""
    bonded = np.zeros(len(numbers), bool)
    bonded[bonds.ravel()] = True
    organic = np.isin(numbers, (1, 6))
    if organic.any():
        return bool((~bonded[organic]).mean() > 0.01)
    return not len(bonds) and bool(np.isin(numbers, list(COVALENT)).any())


def virtual_sites(topology: Topology, numbers: NDArray[np.intp], bonds: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which atoms are none: no element and no mass; or no element, no bond, and a residue that has real atoms."""
    unknown = numbers == 0
    if not unknown.any():
        return unknown
    if topology.masses_u is not None:
        return unknown & (topology.masses_u < _LIGHTEST_U)
    if topology.residues is None:
        return np.zeros(len(numbers), bool)
    bonded = np.zeros(len(numbers), bool)
    bonded[bonds.ravel()] = True
    return unknown & ~bonded & (topology.residues != 0) & np.isin(topology.residues, topology.residues[~unknown])


def whole_charges(
    topology: Topology, virtual: NDArray[np.bool_], bonds: NDArray[np.intp]
) -> NDArray[np.float64] | None:
    """(n,) charges with those of virtual sites moved to the atom they belong to; None where there are none."""
    if topology.charges_e is None or not np.nan_to_num(topology.charges_e).any():
        return None
    charges = np.nan_to_num(topology.charges_e)
    sites = np.flatnonzero(virtual)
    if not len(sites):
        return charges
    host = np.full(topology.n_atoms, -1)
    if topology.residues is not None:
        real = np.flatnonzero(~virtual)
        residues, first = np.unique(topology.residues[real], return_index=True)
        place = np.minimum(np.searchsorted(residues, topology.residues[sites]), len(residues) - 1)
        same = (residues[place] == topology.residues[sites]) & (topology.residues[sites] != 0)
        host[sites[same]] = real[first[place[same]]]
    for one, other in ((0, 1), (1, 0)):
        held = bonds[virtual[bonds[:, one]] & ~virtual[bonds[:, other]]] if len(bonds) else bonds
        host[held[:, one]] = held[:, other]
    np.add.at(charges, host[sites[host[sites] >= 0]], charges[sites[host[sites] >= 0]])
    return charges
