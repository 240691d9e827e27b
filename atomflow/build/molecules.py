"""One function, :func:`molecule`, that makes a :class:`Molecule` from whatever a user calls one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from rdkit import Chem, rdBase

from atomflow.build.embedding import check_seed, embed
from atomflow.build.molfiles import check_embeddable, from_atoms, from_graph, read_molecule, spin_of_graph
from atomflow.build.species import Species, find_species
from atomflow.errors import BadFileError, BadOptionError, UnknownNameError
from atomflow.model import Molecule

# A text that ends like this can only be meant as a file, so its absence is told as such.
_FILE_SUFFIXES = frozenset(
    f".{suffix}"
    for group in (
        "xyz extxyz sdf mol mol2 pdb cif vasp poscar",
        "json traj gen cube cml gjf com log out res gz db data",
    )
    for suffix in group.split()
)
_CHARGE_SUFFIX = re.compile(r"(?P<file>.+)@(?P<charge>[+-]\d{1,2}|0)")
_LONGEST_TEXT = 4096


def molecule(
    what: Molecule | Atoms | Chem.Mol | str | Path,
    *,
    charge: int | None = None,
    multiplicity: int | None = None,
    seed: int = 0,
    folders: Iterable[str | Path] = (),
) -> Molecule:
    """Molecule from a name, a SMILES, a file, an ``ase.Atoms`` or an RDKit molecule.

    Parameters
    ----------
    what : Molecule, ase.Atoms, rdkit.Chem.Mol, str or Path
        A text is tried as an existing file (when it has a file suffix or a path separator; ``anion.xyz@-1`` gives the
        charge with it), then as a name of the species library, then as a SMILES. A Molecule is returned as it is.
    charge, multiplicity : int, optional
        Override what the species, SMILES or file says. Open shells are never guessed: a file with an odd number of
        electrons needs its charge or its multiplicity told.
    seed : int
        Of the embedding. The same seed gives the same coordinates.
    folders : paths
        Folders of species files to search before the shipped library.

    Returns
    -------
    Molecule
        With explicit hydrogens and one conformer (angstrom). Geometries that were given are kept and marked rigid.

    Raises
    ------
    UnknownNameError
        A text that is neither file, species nor SMILES; carries the nearest names.
    BadFileError, BadStructureError, ChargeError, BadOptionError
        When the input cannot be a molecule; the message says what to mend.

    Examples
    --------
    >>> from atomflow.build import molecule
    >>> molecule("DMF").formula, molecule("Li+").charge, len(molecule("CCO"))
    ('C3H7NO', 1, 9)
    """
    check_seed(seed)
    charge = _whole("charge", charge)
    multiplicity = _whole("multiplicity", multiplicity)
    if isinstance(what, Molecule):
        changes = {
            key: value for key, value in (("charge", charge), ("multiplicity", multiplicity)) if value is not None
        }
        return replace(what, **changes) if changes else what
    if isinstance(what, Atoms):
        return from_atoms(what, charge=charge, multiplicity=multiplicity)
    if isinstance(what, Chem.Mol):
        return from_graph(what, charge=charge, multiplicity=multiplicity, seed=seed)
    if isinstance(what, Path):
        path, charge = _file_and_charge(str(what), charge)
        return read_molecule(path, charge, multiplicity, seed)
    if isinstance(what, str):
        return _from_text(what.strip(), charge, multiplicity, seed, folders)
    raise BadOptionError(
        f"a {type(what).__name__} is no molecule; give a name, a SMILES, a file, ase.Atoms or an RDKit molecule"
    )


def _from_text(
    text: str, charge: int | None, multiplicity: int | None, seed: int, folders: Iterable[str | Path]
) -> Molecule:
    if not text or len(text) > _LONGEST_TEXT:
        raise BadOptionError(
            "a molecule needs a name, a SMILES or a file" + (f"; {len(text)} characters are none" if text else "")
        )
    path, file_charge = _file_and_charge(text, charge)
    has_separator = os.sep in text
    if (has_separator or path.suffix) and _exists(path):
        return read_molecule(path, file_charge, multiplicity, seed)
    if path.suffix.lower() in _FILE_SUFFIXES:
        raise BadFileError(path, "no such file")
    try:
        return _from_species(find_species(text, folders), charge, multiplicity, seed)
    except UnknownNameError:
        graph = _parse_smiles(text)
        if graph is None and has_separator:
            raise BadFileError(path, "no such file") from None
        if graph is None:
            raise
    return _from_smiles(text, graph, charge, multiplicity, seed)


def _from_species(species: Species, charge: int | None, multiplicity: int | None, seed: int) -> Molecule:
    graph = embed(Chem.MolFromSmiles(species.smiles), seed, species.name)
    if charge is None:
        charge = species.charge
    if multiplicity is None:
        multiplicity = species.multiplicity if charge == species.charge else 1
    return Molecule(
        species.name,
        graph,
        charge,
        multiplicity,
        species.smiles,
        species.aliases,
        species.role,
        species.source,
        species.grade,
    )


def _from_smiles(text: str, graph: Chem.Mol, charge: int | None, multiplicity: int | None, seed: int) -> Molecule:
    check_embeddable(graph, text)
    formal = Chem.GetFormalCharge(graph)
    if charge is None:
        charge = formal
    if multiplicity is None:
        multiplicity = spin_of_graph(graph) if charge == formal else 1
    source = "SMILES given by the user; geometry by RDKit"
    return Molecule(
        text, embed(graph, seed, text), charge, multiplicity, smiles=text, role="user", source=source, grade="assumed"
    )


def _parse_smiles(text: str) -> Chem.Mol | None:
    if any(character.isspace() for character in text):
        return None  # RDKit would read "C black" as methane with a title
    with rdBase.BlockLogs():
        graph = Chem.MolFromSmiles(text)
    return graph if graph is not None and graph.GetNumAtoms() else None


def _file_and_charge(text: str, charge: int | None) -> tuple[Path, int | None]:
    """Path and charge of ``text``; a file that really has an ``@-1`` in its name is taken by its name."""
    whole = Path(text).expanduser() if text.startswith("~") else Path(text)
    match = _CHARGE_SUFFIX.fullmatch(text)
    if match is None or _exists(whole):
        return whole, charge
    told = int(match["charge"])
    path = Path(match["file"])
    path = path.expanduser() if match["file"].startswith("~") else path
    if charge is not None and charge != told and _exists(path):
        raise BadOptionError(f"{text} says charge {told:+d}, the option says {charge:+d}; give one of them")
    return path, told


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a SMILES can be too long for a file name
        return False


def _whole(what: str, value: int | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise BadOptionError(f"{what} {value!r} is not a whole number")
    if what == "multiplicity" and value < 1:
        raise BadOptionError(f"multiplicity {value} makes no sense; it is 2S + 1, so 1 or more")
    return int(value)
