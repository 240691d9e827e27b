"""Molecules as graphs of elements and bonds: which are alike, and bonds where a file has none.

Bond orders, charges and stereochemistry are left out: most topologies do not have them, and elements with connectivity
tell the species of the library apart.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from atomflow.errors import TrajectoryError

#: What bonds covalently; metals and everything else stay alone: their bonds to a ligand come and go.
COVALENT = frozenset((1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53))
#: Two atoms are bonded when nearer than this times the sum of their covalent radii. Hydrogen moves more. With these an
#: S...S of a sulfonyl imide (2.8 A) is no bond, and an O-H that vibrates (1.2 A) still is one.
_STRETCH, _STRETCH_OF_HYDROGEN = 1.2, 1.25
#: Rounds of refinement: atoms count as different when their surroundings differ within this many bonds.
_ROUNDS = 12
#: A cube with the edge of the reach holds some five nonmetal atoms; far more are a collapsed or wrongly scaled frame.
_MOST_IN_CUBE = 40
_MOST_IMAGES = 8
_FARTHEST_A = 1e7


@dataclass(frozen=True, eq=False)
class Molecules:
    """Atoms sorted by molecule, and what each molecule is.

    Attributes
    ----------
    members : (n,) int array
        Atom indices, molecule after molecule; within one, alike atoms come in the same order in alike molecules.
    starts : (n_molecules + 1,) int array
        Where in ``members`` each molecule begins.
    keys : (n_molecules,) uint64 array
        Equal for molecules with the same graph.
    surroundings : (n,) uint64 array
        For every atom (in the order of the topology): its element and those of its neighbours.
    numbers : (n,) int array
        Atomic numbers.
    bonds, bond_starts : (m, 2) int array, (n_molecules + 1,) int array
        Bonds molecule after molecule, and where those of each begin.
    """

    members: NDArray[np.intp]
    starts: NDArray[np.intp]
    keys: NDArray[np.uint64]
    surroundings: NDArray[np.uint64]
    numbers: NDArray[np.intp]
    bonds: NDArray[np.intp]
    bond_starts: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.keys)

    def atoms_of(self, molecule: int) -> NDArray[np.intp]:
        """Atom indices of one molecule."""
        return self.members[self.starts[molecule] : self.starts[molecule + 1]]

    def graph_of(self, molecule: int) -> Any:
        """:func:`bare_graph` of one molecule, its atoms in the order of :meth:`atoms_of`."""
        atoms = self.atoms_of(molecule)
        order = np.argsort(atoms)
        inside = self.bonds[self.bond_starts[molecule] : self.bond_starts[molecule + 1]]
        return bare_graph(self.numbers[atoms], order[np.searchsorted(atoms[order], inside)])

    @property
    def sizes(self) -> NDArray[np.intp]:
        """Atoms in each molecule."""
        return np.diff(self.starts)


def find_molecules(
    numbers: NDArray[np.intp], bonds: NDArray[np.intp], together: NDArray[np.intp] | None = None
) -> Molecules:
    """Molecules of a system, and a key for the graph of each.

    The key is that of Weisfeiler-Lehman refinement (Shervashidze et al., J. Mach. Learn. Res. 12, 2539 (2011); known
    from networkx's documentation) over all atoms at once: the time grows with the number of atoms, not of molecules.
    Graphs that this refinement cannot tell apart (decalin and bicyclopentyl) get one key.

    Parameters
    ----------
    numbers : (n,) int array
        Atomic numbers; 0 for what has no element.
    bonds : (m, 2) int array
        Each bond once.
    together : (n,) int array, optional
        Number of the molecule of every atom, where there are no bonds to tell.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(numbers)
    if together is None:
        graph = coo_array((np.ones(len(bonds), np.int8), (bonds[:, 0], bonds[:, 1])), shape=(n, n))
        together = connected_components(graph, directed=False)[1]
    both = np.concatenate([bonds, bonds[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    owners, first = np.unique(both[:, 0], return_index=True)
    labels = _mixed(numbers.astype(np.uint64) + np.uint64(1))
    surroundings = labels
    for turn in range(_ROUNDS):
        around = np.zeros(n, np.uint64)
        if len(owners):
            around[owners] = np.add.reduceat(_mixed(labels)[both[:, 1]], first)
        labels = _mixed(labels + _mixed(around + np.uint64(turn + 1)))
        if turn == 0:
            surroundings = labels
    members = np.lexsort((labels, together)).astype(np.intp)
    starts = np.flatnonzero(np.diff(together[members], prepend=-1)) if n else np.zeros(0, np.intp)
    keys = np.add.reduceat(_mixed(labels[members]), starts) if n else np.zeros(0, np.uint64)
    starts = np.append(starts, n).astype(np.intp)
    owner = np.empty(n, np.intp)
    owner[members] = np.repeat(np.arange(len(keys)), np.diff(starts))
    of_bond = owner[bonds[:, 0]]
    order = np.argsort(of_bond, kind="stable")
    bond_starts = np.searchsorted(of_bond[order], np.arange(len(keys) + 1)).astype(np.intp)
    return Molecules(members, starts, keys, surroundings, numbers, bonds[order], bond_starts)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bits spread so that sums of them tell multisets apart: the last step of the splitmix64 generator."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def bare_graph(numbers: NDArray[np.intp], bonds: NDArray[np.intp]) -> Any:
    """RDKit molecule of elements and single bonds, not sanitised."""
    from rdkit import Chem

    graph = Chem.RWMol()
    for number in numbers.tolist():
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        graph.AddAtom(atom)
    for one, other in bonds.tolist():
        graph.AddBond(one, other, Chem.BondType.SINGLE)
    return graph.GetMol()


def same_graph(one: Any, other: Any) -> bool:
    """Whether two graphs of :func:`bare_graph` are one: exact, by RDKit."""
    alike = one.GetNumAtoms() == other.GetNumAtoms() and one.GetNumBonds() == other.GetNumBonds()
    return bool(alike and one.HasSubstructMatch(other))


def guess_bonds(
    numbers: NDArray[np.intp], positions_A: NDArray[np.floating], cell_A: NDArray[np.float64] | None = None
) -> NDArray[np.intp]:
    """Bonds between nonmetals that are near enough, through periodic boundaries.

    Parameters
    ----------
    numbers : (n,) int array
        Atomic numbers.
    positions_A : (n, 3) array
        Wrapped or not.
    cell_A : (3, 3) array, optional
        Vectors in rows; a row of zeros is not periodic.

    Returns
    -------
    (m, 2) int array
        Each bond once, sorted. Radii are ASE's covalent radii (Cordero et al. 2008, doi 10.1039/b801115j; secondary).

    Raises
    ------
    TrajectoryError
        Coordinates or a cell that no matter has.
    """
    from scipy.spatial import cKDTree

    somewhere = (np.abs(positions_A) < _FARTHEST_A).all(axis=1)  # false for nan
    chosen = np.flatnonzero(np.isin(numbers, list(COVALENT)) & somewhere)
    if len(chosen) < 2:
        return np.zeros((0, 2), np.intp)
    radii = covalent_radii[numbers[chosen]]
    reach = 2 * _STRETCH_OF_HYDROGEN * float(radii.max())
    points, owner = _with_images(np.asarray(positions_A, np.float64)[chosen], cell_A, reach)
    crowd = np.unique(np.floor(points / reach), axis=0, return_counts=True)[1]
    if crowd.max() > _MOST_IN_CUBE:
        raise TrajectoryError(
            "no bonds can be guessed: the atoms lie on top of each other; are the lengths in angstrom?"
        )
    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")
    # An image stands only for the other end of a bond that leaves the cell.
    pairs = pairs[(pairs < len(chosen)).any(axis=1)]
    one, other = owner[pairs[:, 0]], owner[pairs[:, 1]]
    hydrogen = (numbers[chosen][one] == 1) | (numbers[chosen][other] == 1)
    longest = (radii[one] + radii[other]) * np.where(hydrogen, _STRETCH_OF_HYDROGEN, _STRETCH)
    near = ((points[pairs[:, 0]] - points[pairs[:, 1]]) ** 2).sum(axis=1) <= longest**2
    bonds = np.sort(chosen[np.column_stack([one, other])[near & (one != other)]], axis=1)
    return np.unique(bonds, axis=0).astype(np.intp)


def _with_images(
    positions_A: NDArray[np.float64], cell_A: NDArray[np.float64] | None, reach: float
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Positions within the cell, then their images within ``reach`` of it, and the atom of each."""
    from atomflow.trajectory.cells import lattice_of

    everyone = np.arange(len(positions_A))
    if cell_A is None or not np.any(cell_A):
        return positions_A, everyone
    lattice = lattice_of(cell_A)
    inside = lattice.wrap(positions_A)
    fractions = lattice.fractions(inside)
    # The distance between the faces of the cell is one over the length of its reciprocal vector.
    margin = reach * np.linalg.norm(lattice.inverse, axis=0)
    times = np.ceil(margin).astype(int)
    if times.max() > _MOST_IMAGES:
        raise TrajectoryError("no bonds can be guessed: the cell is smaller than a bond; are the lengths in angstrom?")
    points, owner = [inside], [everyone]
    for shift in itertools.product(*(range(-t, t + 1) for t in times)):
        if any(shift):
            moved = fractions + shift
            within = np.flatnonzero(((moved >= -margin) & (moved < 1 + margin))[:, lattice.periodic].all(axis=1))
            points.append(inside[within] + np.array(shift) @ lattice.cell_A)
            owner.append(within)
    return np.concatenate(points), np.concatenate(owner)
