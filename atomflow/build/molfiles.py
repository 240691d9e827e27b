"""From coordinates somebody else made - files, ``ase.Atoms``, RDKit molecules - to a :class:`Molecule`.

Given coordinates are kept to the last digit, and the molecule is marked rigid. Only a flat drawing (a 2-D SDF), which
has no geometry to keep, is embedded.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds

from atomflow.build.embedding import embed
from atomflow.errors import BadFileError, BadStructureError
from atomflow.model import Molecule, check_geometry

_LARGEST_FILE_BYTES = 50 * 1024 * 1024
_MAX_ATOMS = 1000
# Bond orders are a combinatorial search: past these the graph stays with single bonds, which is all that donors need.
_MAX_ATOMS_FOR_BOND_ORDERS = 150
_MAX_BOND_ORDER_TRIALS = 20_000


def read_molecule(path: Path, charge: int | None, multiplicity: int | None, seed: int) -> Molecule:
    """Molecule from a file: SDF, mol and mol2 with their bonds, everything else through ASE (its last frame).

    Raises
    ------
    BadFileError
        No such file, or not one molecule with all its hydrogens; the reason says which.
    ChargeError
        When charge and multiplicity do not fit the electrons.
    """
    _check_readable(path)
    source = f"file {path.name}"
    try:
        if path.suffix.lower() in (".sdf", ".mol", ".mol2"):
            graph = _graph_from_file(path)
            return from_graph(graph, charge=charge, multiplicity=multiplicity, seed=seed, name=path.stem, source=source)
        return from_atoms(
            _atoms_from_file(path), charge=charge, multiplicity=multiplicity, name=path.stem, source=source
        )
    except BadStructureError as error:
        raise BadFileError(path, str(error)) from error


def from_atoms(
    atoms: Atoms, *, charge: int | None, multiplicity: int | None, name: str = "", source: str = "ase.Atoms"
) -> Molecule:
    """Rigid molecule from coordinates alone; charge and multiplicity fall back to ``info["charge"]``, ``info["spin"]``."""
    name = name or str(atoms.info.get("name") or atoms.get_chemical_formula("hill"))
    if atoms.pbc.any():
        raise BadStructureError(
            f"{name} is periodic, and a molecule is not; if it is one in a box of vacuum, set pbc to False"
        )
    _check_size(len(atoms), name)
    if 0 in atoms.numbers:
        raise BadStructureError(f"{name}: an atom has no element (symbol X); name the element in the file")
    check_geometry(atoms, name)
    charge = _from_info(atoms, "charge", 0, name) if charge is None else charge
    multiplicity = _from_info(atoms, "spin", 1, name) if multiplicity is None else multiplicity
    graph = _perceived_graph(atoms, charge)
    return Molecule(name, graph, charge, multiplicity, role="user", source=source, grade="assumed", rigid=True)


def from_graph(
    graph: Chem.Mol,
    *,
    charge: int | None,
    multiplicity: int | None,
    seed: int,
    name: str = "",
    source: str = "RDKit molecule",
) -> Molecule:
    """Molecule from an RDKit one: its first 3-D conformer when it has one, else embedded."""
    own_name = graph.GetProp("_Name").strip() if graph.HasProp("_Name") else ""
    graph = Chem.Mol(graph)
    with rdBase.BlockLogs():
        sound = Chem.SanitizeMol(graph, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE
        if not sound:
            graph.UpdatePropertyCache(strict=False)
    smiles = Chem.MolToSmiles(Chem.RemoveHs(graph)) if sound else ""
    name = name or own_name or smiles or "molecule"
    _check_size(graph.GetNumAtoms(), name)
    if any(atom.GetAtomicNum() == 0 for atom in graph.GetAtoms()):
        raise BadStructureError(f"{name}: holds a placeholder atom (*, R); replace it by an element")
    rigid = graph.GetNumConformers() > 0 and not _is_drawing(graph.GetConformer())
    hidden = _hidden_hydrogens(graph)
    if rigid and hidden and charge is None:
        raise BadStructureError(
            f"{name}: {hidden} hydrogens have no coordinates; add them (obabel -h), or give the charge if there are none"
        )
    if rigid and hidden:
        graph, smiles = _without_hidden_hydrogens(graph), ""
    if rigid:
        first = Chem.Conformer(graph.GetConformer())
        graph.RemoveAllConformers()
        graph.AddConformer(first, assignId=True)
    elif not sound:
        raise BadStructureError(
            f"{name}: has valences that RDKit does not accept and no 3-D coordinates; give a 3-D file"
        )
    else:
        check_embeddable(graph, name)
        graph = embed(graph, seed, name)
    formal = Chem.GetFormalCharge(graph)
    if charge is None:
        charge = formal
    if multiplicity is None:
        multiplicity = spin_of_graph(graph) if charge == formal else 1
    return Molecule(
        name, graph, charge, multiplicity, smiles=smiles, role="user", source=source, grade="assumed", rigid=rigid
    )


def check_embeddable(graph: Chem.Mol, name: str) -> None:
    """Raise BadStructureError unless the graph is one connected molecule of real elements."""
    if any(atom.GetAtomicNum() == 0 for atom in graph.GetAtoms()):
        raise BadStructureError(f"{name}: holds a placeholder atom (*, R); replace it by an element")
    if (parts := len(Chem.GetMolFrags(graph))) > 1:
        raise BadStructureError(
            f"{name}: {parts} separate molecules have no relative position; give them one at a time, or a structure file"
        )


def spin_of_graph(graph: Chem.Mol) -> int:
    """Multiplicity from the unpaired electrons drawn on the graph; those RDKit guesses for metals do not count."""
    unpaired = sum(a.GetNumRadicalElectrons() for a in graph.GetAtoms() if a.GetAtomicNum() in _MAIN_GROUP_NONMETALS)
    return unpaired + 1


_MAIN_GROUP_NONMETALS = frozenset((1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53))


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise BadFileError(path, "is a folder; give one structure file")
    if not path.is_file():
        raise BadFileError(path, "no such file")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error
    if size == 0:
        raise BadFileError(path, "is empty")
    if size > _LARGEST_FILE_BYTES:
        raise BadFileError(
            path, f"{size / 2**20:.0f} MB is too much for a molecule; write the one you mean into its own file"
        )


def _check_size(count: int, name: str) -> None:
    if count > _MAX_ATOMS:
        raise BadStructureError(f"{name}: {count} atoms is too much for a molecule, at most {_MAX_ATOMS}")


def _atoms_from_file(path: Path) -> Atoms:
    try:
        # ASE would take "name@3.xyz" for an index.
        atoms = ase.io.read(path, index=-1, do_not_split_by_at_sign=True)
    except Exception as error:  # its readers raise whatever the parsing code meets first
        why = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise BadFileError(path, f"ASE cannot read it ({why})") from error
    if not isinstance(atoms, Atoms):
        raise BadFileError(path, "holds no structure")
    return atoms


def _graph_from_file(path: Path) -> Chem.Mol:
    text = path.read_text(encoding="utf-8", errors="replace")
    mol2 = path.suffix.lower() == ".mol2"
    count = text.count("@<TRIPOS>MOLECULE") if mol2 else len([part for part in text.split("$$$$") if part.strip()])
    if count > 1:
        raise BadFileError(path, f"holds {count} molecules; write the one you mean into its own file")
    graph = None
    with rdBase.BlockLogs(), contextlib.suppress(RuntimeError, ValueError):
        read = Chem.MolFromMol2Block if mol2 else Chem.MolFromMolBlock
        # Soft on chemistry here (from_graph sanitises), so that odd valences with good coordinates still come in.
        graph = read(text, sanitize=False, removeHs=False)
        if mol2 and graph is not None:
            graph = _with_open_valences(read(text, sanitize=True, removeHs=False) or graph)
    if graph is None:
        raise BadFileError(path, f"RDKit cannot read it as {path.suffix.lower()[1:]}; check that it is complete")
    if graph.GetNumAtoms() == 0:
        raise BadFileError(path, "holds no atoms")
    if graph.GetNumConformers():
        # A polar or planar molecule may lie in z = 0 and still be a real geometry: the header decides.
        header = text.splitlines()[1] if not mol2 and len(text.splitlines()) > 1 else ""
        graph.GetConformer().Set3D(header[20:22] == "3D" or (header[20:22] != "2D" and _is_real_geometry(graph)))
    return graph


def _with_open_valences(graph: Chem.Mol) -> Chem.Mol:
    """Graph of a mol2 file whose unpaired electrons are missing hydrogens: RDKit would read a bare C4O2 as a radical."""
    for atom in graph.GetAtoms():
        if atom.GetNumRadicalElectrons() and atom.GetAtomicNum() in _MAIN_GROUP_NONMETALS:
            atom.SetNumRadicalElectrons(0)
            atom.SetNoImplicit(False)
    graph.UpdatePropertyCache(strict=False)
    return graph


def _is_real_geometry(graph: Chem.Mol) -> bool:
    """Whether a structure without the 2D/3D mark has depth, or its hydrogens at hydrogen distances."""
    positions = graph.GetConformer().GetPositions()
    if np.ptp(positions[:, 2]) > 0:
        return True
    ends = [(bond.GetBeginAtom(), bond.GetEndAtom()) for bond in graph.GetBonds()]
    lengths = [
        float(np.linalg.norm(positions[one.GetIdx()] - positions[two.GetIdx()]))
        for one, two in ends
        if 1 in (one.GetAtomicNum(), two.GetAtomicNum())
    ]
    if lengths:
        return max(lengths) < 1.3  # a drawing puts hydrogen as far away as any other atom
    copy = Chem.Mol(graph)
    copy.UpdatePropertyCache(strict=False)
    return _hidden_hydrogens(copy) == 0


def _hidden_hydrogens(graph: Chem.Mol) -> int:
    return sum(atom.GetTotalNumHs() for atom in graph.GetAtoms())


def _is_drawing(conformer: Chem.Conformer) -> bool:
    return not conformer.Is3D() and bool(np.ptp(conformer.GetPositions()[:, 2]) == 0)


def _without_hidden_hydrogens(graph: Chem.Mol) -> Chem.Mol:
    """Graph whose atoms are all there are; mol2 and careless SDF files leave formal charges out."""
    copy = Chem.Mol(graph)
    for atom in copy.GetAtoms():
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(0)
    copy.UpdatePropertyCache(strict=False)
    return copy


def _from_info(atoms: Atoms, key: str, default: int, name: str) -> int:
    value: Any = atoms.info.get(key, default)
    try:
        number = float(value)
        whole = round(number)
    except (TypeError, ValueError, OverflowError):
        number, whole = float("nan"), 0
    if isinstance(value, bool) or number != whole:
        raise BadStructureError(f"{name}: {key} {str(value)[:40]!r} of the structure is not a whole number")
    return whole


def _perceived_graph(atoms: Atoms, charge: int) -> Chem.Mol:
    """Bond graph of coordinates: with bond orders when they make sense for this charge, else single bonds."""
    bare = _bare_graph(atoms)
    if 1 < len(atoms) <= _MAX_ATOMS_FOR_BOND_ORDERS:
        trial = Chem.RWMol(bare)
        # RDKit raises ValueError or RuntimeError for metals, radicals, ion pairs and searches that do not end.
        with rdBase.BlockLogs(), contextlib.suppress(ValueError, RuntimeError):
            rdDetermineBonds.DetermineConnectivity(trial)
            rdDetermineBonds.DetermineBondOrders(trial, charge=charge, maxIterations=_MAX_BOND_ORDER_TRIALS)
            if Chem.GetFormalCharge(trial) == charge and not any(a.GetNumRadicalElectrons() for a in trial.GetAtoms()):
                return Chem.Mol(trial)
    for i, j in zip(*neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.15)), strict=True):
        if i < j:
            bare.AddBond(int(i), int(j), Chem.BondType.SINGLE)
    bare.UpdatePropertyCache(strict=False)
    if len(atoms) == 1:
        bare.GetAtomWithIdx(0).SetFormalCharge(charge)
    return Chem.Mol(bare)


def _bare_graph(atoms: Atoms) -> Chem.RWMol:
    graph = Chem.RWMol()
    for number in atoms.numbers:
        atom = Chem.Atom(int(number))
        atom.SetNoImplicit(True)
        graph.AddAtom(atom)
    conformer = Chem.Conformer(len(atoms))
    conformer.Set3D(True)
    conformer.SetPositions(np.ascontiguousarray(atoms.get_positions()))
    graph.AddConformer(conformer, assignId=True)
    return graph
