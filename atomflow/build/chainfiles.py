"""Chains as files: PDB with residues and every bond, XYZ, SDF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rdkit import Chem

from atomflow.errors import BadOptionError
from atomflow.model import Molecule

_MOST_SERIALS = 99_999  # five columns
_BONDS_PER_LINE = 4


def chain_text(molecule: Molecule, path: str | Path) -> str:
    """A molecule in the format of a file's suffix: .pdb, .xyz, .extxyz or .sdf.

    PDB keeps residue names and numbers and lists all bonds (CONECT); SDF keeps bond orders; XYZ keeps neither.

    Raises
    ------
    BadOptionError
        When there is no writer for the suffix, or the molecule is too large for it.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise BadOptionError(f"no writer for {suffix or 'a name without a suffix'}; use {', '.join(_WRITERS)}")
    return _WRITERS[suffix](molecule)


def _pdb(molecule: Molecule) -> str:
    if len(molecule) > _MOST_SERIALS:
        raise BadOptionError(f"{molecule.name}: {len(molecule)} atoms are too many for PDB; write .sdf or .xyz")
    positions = molecule.graph.GetConformer().GetPositions()
    lines = [f"REMARK   1 {molecule.name[:60]}"]
    for atom in molecule.graph.GetAtoms():
        info = atom.GetPDBResidueInfo()
        index, symbol = atom.GetIdx(), atom.GetSymbol()
        name = info.GetName() if info else f" {symbol:<3}"
        residue = info.GetResidueName() if info else "MOL"
        number = (info.GetResidueNumber() if info else 1) % 10_000
        x, y, z = positions[index]
        # A residue name of four letters runs into column 21, which the format leaves blank and readers accept.
        lines.append(
            f"HETATM{index + 1:>5} {name:<4} {residue:>3}".ljust(21)[:21]
            + f"A{number:>4}    {x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{0:6.2f}".ljust(55)
            + f"{symbol:>2}"
        )
    for atom in molecule.graph.GetAtoms():
        partners = sorted(other.GetIdx() + 1 for other in atom.GetNeighbors())
        for first in range(0, len(partners), _BONDS_PER_LINE):
            some = partners[first : first + _BONDS_PER_LINE]
            lines.append(f"CONECT{atom.GetIdx() + 1:>5}" + "".join(f"{other:>5}" for other in some))
    return "\n".join([*lines, "END", ""])


def _xyz(molecule: Molecule) -> str:
    positions = molecule.graph.GetConformer().GetPositions()
    symbols = [atom.GetSymbol() for atom in molecule.graph.GetAtoms()]
    rows = [f"{s:<2} {x:14.8f} {y:14.8f} {z:14.8f}" for s, (x, y, z) in zip(symbols, positions, strict=True)]
    head = f'Properties=species:S:1:pos:R:3 name="{molecule.name}" charge={molecule.charge} pbc="F F F"'
    return "\n".join([str(len(rows)), head, *rows, ""])


def _sdf(molecule: Molecule) -> str:
    graph = Chem.Mol(molecule.graph)
    graph.SetProp("_Name", molecule.name)
    # The old format has three columns for the number of atoms.
    block = Chem.MolToMolBlock(graph) if len(molecule) < 1000 else Chem.MolToV3KMolBlock(graph)
    return block + "$$$$\n"


_WRITERS: dict[str, Callable[[Molecule], str]] = {".pdb": _pdb, ".xyz": _xyz, ".extxyz": _xyz, ".sdf": _sdf}
