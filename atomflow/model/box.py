"""The box: counted molecules placed in a cell, with the bonds and residues they brought along."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from numpy.typing import NDArray

from atomflow.errors import BadStructureError
from atomflow.model.codec import record
from atomflow.model.molecule import Molecule

#: g/cm3 of one u/A3; CODATA 2018 value of the atomic mass constant (as in ``ase.units``).
G_PER_CM3 = 1.66053906660


@record("atomflow.box/1")
@dataclass(frozen=True, eq=False)
class Box:
    """Molecules in a periodic cell.

    Atoms stand molecule by molecule, each in the order of its kind's graph. Molecules are whole: their atoms may lie
    outside the cell rather than be wrapped into it.

    Parameters
    ----------
    kinds : tuple of Molecule
        What there is; two chains of different sequence are two kinds. A rigid particle is a kind with
        ``role="particle"``, usually without bonds.
    molecules : (n_molecules,) int array
        Kind of each molecule.
    positions_A : (n_atoms, 3) float array
    cell_A : (3, 3) float array
        Rows are the cell vectors.
    name : str

    Raises
    ------
    BadStructureError
        When the coordinates do not fit the molecules, are not finite, or the cell has no volume.
    """

    kinds: tuple[Molecule, ...]
    molecules: NDArray[np.intp]
    positions_A: NDArray[np.float64] = field(repr=False)
    cell_A: NDArray[np.float64]
    name: str = "box"

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "molecules", np.asarray(self.molecules, dtype=np.intp))
        set_(self, "positions_A", np.asarray(self.positions_A, dtype=np.float64))
        set_(self, "cell_A", np.asarray(self.cell_A, dtype=np.float64))
        if self.molecules.ndim != 1 or (
            self.molecules.size and not 0 <= self.molecules.min() <= self.molecules.max() < len(self.kinds)
        ):
            raise BadStructureError(
                f"{self.name}: a molecule is of a kind that is not among the {len(self.kinds)} given"
            )
        if self.positions_A.shape != (len(self), 3):
            raise BadStructureError(
                f"{self.name}: {len(self)} atoms in the molecules, coordinates of shape {self.positions_A.shape}"
            )
        if not np.isfinite(self.positions_A).all():
            raise BadStructureError(f"{self.name}: a coordinate is not a finite number")
        if self.cell_A.shape != (3, 3) or not abs(np.linalg.det(self.cell_A)) > 0:
            raise BadStructureError(f"{self.name}: the cell must be three vectors that span a volume")

    def __len__(self) -> int:
        return int(self._sizes[self.molecules].sum())

    @cached_property
    def _sizes(self) -> NDArray[np.intp]:
        return np.array([len(kind) for kind in self.kinds], dtype=np.intp)

    @cached_property
    def first_atoms(self) -> NDArray[np.intp]:
        """Index of the first atom of each molecule, and the number of atoms behind the last: (n_molecules + 1,)."""
        return np.concatenate(([0], np.cumsum(self._sizes[self.molecules]))).astype(np.intp)

    @cached_property
    def molecule_of_atom(self) -> NDArray[np.intp]:
        """Molecule of each atom, (n_atoms,)."""
        return np.repeat(np.arange(len(self.molecules)), self._sizes[self.molecules])

    @cached_property
    def numbers(self) -> NDArray[np.intp]:
        """Atomic numbers, (n_atoms,)."""
        return self.of_atoms([[atom.GetAtomicNum() for atom in kind.graph.GetAtoms()] for kind in self.kinds])

    @property
    def masses_u(self) -> NDArray[np.float64]:
        """Standard atomic weights, u, (n_atoms,); IUPAC 2016 as in ``ase.data``."""
        return np.asarray(atomic_masses[self.numbers], dtype=np.float64)

    @property
    def volume_A3(self) -> float:
        """Volume of the cell."""
        return float(abs(np.linalg.det(self.cell_A)))

    @property
    def density_g_cm3(self) -> float:
        """Mass over volume."""
        return float(self.masses_u.sum() / self.volume_A3 * G_PER_CM3)

    @property
    def charge_e(self) -> int:
        """Sum of the molecules' formal charges."""
        return sum(self.kinds[kind].charge for kind in self.molecules)

    @cached_property
    def bonds(self) -> NDArray[np.intp]:
        """Atoms that are bonded, (n_bonds, 2)."""
        return self.tiled([bonds_of(kind) for kind in self.kinds])

    @cached_property
    def residues(self) -> tuple[NDArray[np.intp], tuple[str, ...]]:
        """Residue of each atom, (n_atoms,) counted through the box, and the name of each residue."""
        index, names, count = [], [], 0
        each = [residues_of(kind) for kind in self.kinds]
        for kind in self.molecules:
            numbers, labels = each[kind]
            index.append(numbers + count)
            names.extend(labels)
            count += len(labels)
        return (np.concatenate(index) if index else np.zeros(0, np.intp)), tuple(names)

    def count(self) -> dict[str, int]:
        """Number of molecules of each name, in the order of the kinds."""
        counts: dict[str, int] = {}
        for kind, many in enumerate(np.bincount(self.molecules, minlength=len(self.kinds))):
            counts[self.kinds[kind].name] = counts.get(self.kinds[kind].name, 0) + int(many)
        return counts

    def of_atoms(self, by_kind: list[Any]) -> NDArray[Any]:
        """One value for each atom of the box from those of each kind's atoms: (n_atoms, ...)."""
        arrays = [np.asarray(values) for values in by_kind]
        return np.concatenate([arrays[kind] for kind in self.molecules]) if len(self.molecules) else np.zeros(0)

    def tiled(self, by_kind: list[NDArray[np.intp]]) -> NDArray[np.intp]:
        """Groups of atoms of the box (bonds, angles ...) from those of each kind, whose indices begin at zero."""
        wide = by_kind[0].shape[1] if by_kind else 2
        groups = [by_kind[kind] + first for kind, first in zip(self.molecules, self.first_atoms, strict=False)]
        return np.concatenate(groups).astype(np.intp) if groups else np.zeros((0, wide), np.intp)

    @property
    def atoms(self) -> Atoms:
        """A fresh periodic ``ase.Atoms`` with the array ``molecule`` and ``info["charge"]``."""
        atoms = Atoms(numbers=self.numbers, positions=self.positions_A, cell=self.cell_A, pbc=True)
        atoms.set_array("molecule", self.molecule_of_atom)
        atoms.info.update(charge=self.charge_e, name=self.name)
        return atoms

    @property
    def universe(self) -> Any:
        """A fresh ``MDAnalysis.Universe``: elements, masses, formal charges, residues, molecules, bonds, cell."""
        return universe_of(self)


def bonds_of(molecule: Molecule) -> NDArray[np.intp]:
    """Bonds of one molecule, (n, 2)."""
    pairs = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.graph.GetBonds()]
    return np.array(pairs, np.intp).reshape(-1, 2)


def residues_of(molecule: Molecule) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Residue of each atom and the residues' names: as the graph's residue information says, else one residue."""
    found = [atom.GetPDBResidueInfo() for atom in molecule.graph.GetAtoms()]
    if not found or any(info is None for info in found):
        return np.zeros(len(molecule), np.intp), (short_name(molecule.name),)
    places: dict[int, int] = {}
    names: list[str] = []
    for info in found:
        if places.setdefault(info.GetResidueNumber(), len(places)) == len(names):
            names.append(info.GetResidueName().strip())
    return np.array([places[info.GetResidueNumber()] for info in found], np.intp), tuple(names)


def short_name(name: str) -> str:
    """At most four letters and digits, as residue names in PDB and GRO files have."""
    return "".join(letter for letter in name if letter.isascii() and letter.isalnum())[:4].upper() or "MOL"


def universe_of(box: Box, charges_e: NDArray[np.float64] | None = None, types: list[str] | None = None) -> Any:
    """MDAnalysis universe of a box; partial charges and force-field types when they are known."""
    import MDAnalysis as mda
    from ase.data import chemical_symbols

    residue, names = box.residues
    first = np.unique(residue, return_index=True)[1]
    universe = mda.Universe.empty(
        len(box), n_residues=len(names), atom_resindex=residue, residue_segindex=[0] * len(names), trajectory=True
    )
    elements = [chemical_symbols[number] for number in box.numbers]
    if charges_e is None:
        formal = [[atom.GetFormalCharge() for atom in kind.graph.GetAtoms()] for kind in box.kinds]
        charges_e = box.of_atoms(formal).astype(np.float64)
    universe.add_TopologyAttr("names", elements)
    universe.add_TopologyAttr("elements", elements)
    universe.add_TopologyAttr("types", types if types is not None else elements)
    universe.add_TopologyAttr("masses", box.masses_u)
    universe.add_TopologyAttr("charges", charges_e)
    universe.add_TopologyAttr("resnames", list(names))
    universe.add_TopologyAttr("resids", np.arange(1, len(names) + 1))
    universe.add_TopologyAttr("molnums", box.molecule_of_atom[first])
    universe.add_TopologyAttr("segids", ["SYS"])
    universe.add_TopologyAttr("bonds", [tuple(pair) for pair in box.bonds.tolist()])
    universe.atoms.positions = box.positions_A
    universe.dimensions = Atoms(cell=box.cell_A).cell.cellpar()
    return universe
