"""The molecule: a bond graph with one conformer, a charge and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from rdkit import Chem

from atomflow.errors import BadStructureError, ChargeError

#: Two atoms nearer than this cannot be a molecule; the shortest real bond (H-H) is 0.74 A.
SHORTEST_DISTANCE_A = 0.5


@dataclass(frozen=True, eq=False)
class Molecule:
    """A named, immutable molecule or ion.

    Parameters
    ----------
    name : str
        How users call it, for example ``"DMF"`` or ``"Li+"``.
    graph : rdkit.Chem.Mol
        Bond graph with explicit hydrogens and exactly one conformer (angstrom).
    charge : int
        Total charge, e.
    multiplicity : int
        Spin multiplicity 2S + 1.
    source, grade : str
        Where the description comes from and how far to trust it (``published``, ``secondary``, ``analogue``,
        ``fitted``, ``assumed``).
    rigid : bool
        True when the geometry was given by the user and other conformers must not be generated.

    Raises
    ------
    ChargeError
        When charge and multiplicity do not fit the number of electrons.
    BadStructureError
        When coordinates are not finite or atoms overlap.
    """

    name: str
    graph: Chem.Mol = field(repr=False)
    charge: int = 0
    multiplicity: int = 1
    smiles: str = ""
    aliases: tuple[str, ...] = ()
    role: str = ""
    source: str = ""
    grade: str = "assumed"
    rigid: bool = False

    def __post_init__(self) -> None:
        check_geometry(self._bare_atoms(), self.name)
        check_electrons(self._bare_atoms(), self.charge, self.multiplicity, self.name)

    def __len__(self) -> int:
        return int(self.graph.GetNumAtoms())

    def _bare_atoms(self) -> Atoms:
        if self.graph.GetNumConformers() == 0:
            raise BadStructureError(f"{self.name}: no coordinates; embed the molecule first (atomflow.build.molecule)")
        numbers = [atom.GetAtomicNum() for atom in self.graph.GetAtoms()]
        return Atoms(numbers=numbers, positions=self.graph.GetConformer().GetPositions())

    @property
    def atoms(self) -> Atoms:
        """A fresh ``ase.Atoms`` (angstrom) with ``info["charge"]``, ``info["spin"]`` and ``info["name"]``."""
        atoms = self._bare_atoms()
        atoms.info.update(charge=self.charge, spin=self.multiplicity, name=self.name)
        return atoms

    @property
    def mass_u(self) -> float:
        """Sum of the standard atomic weights, u; IUPAC 2016 as in ``ase.data``."""
        return float(sum(atomic_masses[atom.GetAtomicNum()] for atom in self.graph.GetAtoms()))

    @property
    def formula(self) -> str:
        """Hill formula without the charge."""
        return str(self._bare_atoms().get_chemical_formula("hill"))


def check_geometry(atoms: Atoms, what: str) -> None:
    """Raise BadStructureError unless the coordinates are finite and no two atoms overlap."""
    if len(atoms) == 0:
        raise BadStructureError(f"{what}: no atoms; check the file or the SMILES")
    positions = atoms.get_positions()
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if bad.size:
        raise BadStructureError(
            f"{what}: atom {bad[0] + 1} ({atoms[bad[0]].symbol}) has a coordinate that is not a finite number; mend the file"
        )
    if len(atoms) > 1:
        from scipy.spatial import cKDTree

        pairs = cKDTree(positions).query_pairs(SHORTEST_DISTANCE_A, output_type="ndarray")
        if len(pairs):
            i, j = sorted(pairs[0])
            distance = np.linalg.norm(positions[i] - positions[j])
            raise BadStructureError(
                f"{what}: atoms {i + 1} ({atoms[i].symbol}) and {j + 1} ({atoms[j].symbol}) are {distance:.2f} A apart; "
                "remove the duplicate or check that the file is in angstrom"
            )


def check_electrons(atoms: Atoms, charge: int, multiplicity: int, what: str) -> None:
    """Raise ChargeError unless the electrons can have this multiplicity."""
    electrons = int(atoms.numbers.sum()) - charge
    unpaired = multiplicity - 1
    if electrons < 0 or unpaired < 0 or unpaired > electrons or (electrons - unpaired) % 2:
        raise ChargeError(what, charge, multiplicity, electrons)
