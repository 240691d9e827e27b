"""The library of named species: small YAML files, found by name or alias.

A species says what a molecule *is* (its constitution, charge and where that comes from), never where its atoms sit;
:mod:`atomflow.build.molecules` makes the geometry. A user's folder stands before the shipped one, so anybody can add
a species or replace ours without touching the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from ase import Atoms
from rdkit import Chem, rdBase

from atomflow.build.datafiles import check_keys, find_entry, list_entries, read_yaml, search_path
from atomflow.errors import BadFileError, ChargeError
from atomflow.model import GRADES, check_electrons

#: Environment variable with more folders of species, separated as in PATH.
PATH_VARIABLE = "ATOMFLOW_SPECIES_PATH"

_LARGEST_FILE_BYTES = 64 * 1024
_LONGEST_SMILES = 2000


@dataclass(frozen=True)
class Species:
    """One entry of the library, as its file says it.

    Parameters
    ----------
    name : str
        How users call it.
    aliases : tuple of str
        Other names; unique in a folder, case ignored.
    smiles : str
        Constitution, with implicit or explicit hydrogens.
    charge, multiplicity : int
        Total charge (e) and 2S + 1.
    role : str
        ``cation``, ``anion``, ``solvent``, ``additive``, ``amide``, ``polymer-fragment``, ...
    source, grade : str
        Where the entry comes from and how far to trust it (one of :data:`GRADES`).
    note : str
        What a user should know before comparing numbers.
    formula : str
        Hill formula without the charge; checked against the SMILES when given.
    units : int or None
        Repeat units of a polymer fragment.
    path : Path or None
        The file.
    """

    name: str
    aliases: tuple[str, ...]
    smiles: str
    charge: int
    multiplicity: int
    role: str
    source: str
    grade: str
    note: str = ""
    formula: str = ""
    units: int | None = None
    path: Path | None = field(default=None, compare=False)


def find_species(name: str, folders: Iterable[str | Path] = ()) -> Species:
    """Species called ``name``, by name or alias; case and typographic signs (``Li⁺``) do not matter.

    Parameters
    ----------
    name : str
    folders : paths
        The user's folders, searched first; then those of ``ATOMFLOW_SPECIES_PATH``, then the shipped library.

    Raises
    ------
    UnknownNameError
        With the nearest names.
    BadFileError
        When a species file in these folders is malformed.
    """
    mend = "give a SMILES or a structure file, or see `atomflow list species`"
    return find_entry(name, search_path(folders, PATH_VARIABLE, "species"), _read, "species", mend)


def list_species(folders: Iterable[str | Path] = ()) -> list[Species]:
    """Every species that :func:`find_species` can reach by its name, sorted by role, then name."""
    found = list_entries(search_path(folders, PATH_VARIABLE, "species"), _read)
    return sorted(found, key=lambda s: (s.role, s.name.lower()))


def species_names(folders: Iterable[str | Path] = ()) -> list[str]:
    """Names (without aliases) of :func:`list_species`, sorted."""
    return sorted((species.name for species in list_species(folders)), key=str.lower)


@lru_cache(maxsize=1024)
def _read(path: Path, mtime_ns: int, size: int) -> Species:
    """Read one file; time and size are in the key so that an edited file is read again."""
    species = _checked(path, read_yaml(path, "species", _LARGEST_FILE_BYTES))
    _check_chemistry(path, species)
    return species


_KEYS = {f.name: f for f in fields(Species) if f.name != "path"}
_WHOLE_NUMBERS = ("charge", "multiplicity", "units")


def _checked(path: Path, data: Any) -> Species:
    """Species from parsed YAML; the values themselves never enter a message, they may be huge."""
    if not isinstance(data, Mapping):
        raise BadFileError(path, "not a species: expected keys such as name, smiles, charge")
    values = dict(data)
    required = [key for key, spec in _KEYS.items() if spec.default is MISSING]
    check_keys(path, values, required, (key for key in _KEYS if key not in required), "")
    for key, value in values.items():
        if key == "aliases":
            if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
                raise BadFileError(path, "aliases must be a list of texts; put numbers and yes/no in quotes")
            values[key] = tuple(value)
        elif key in _WHOLE_NUMBERS:
            if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 1000:
                raise BadFileError(path, f"{key} must be a whole number")
            if key != "charge" and value < 1:
                raise BadFileError(path, f"{key} must be 1 or more")
        elif not isinstance(value, str):
            raise BadFileError(path, f"{key} must be text; put it in quotes")
        elif key not in ("note", "formula") and not value.strip():
            raise BadFileError(path, f"{key} is empty")
        else:
            values[key] = value.strip()
    if values["grade"] not in GRADES:
        raise BadFileError(path, f"grade must be one of {', '.join(GRADES)}")
    if any(not text.isprintable() for text in (values["name"], *values["aliases"])):
        raise BadFileError(path, "a name holds a line break or another control character")
    return Species(path=path, **values)


def _check_chemistry(path: Path, species: Species) -> None:
    """Raise BadFileError unless the SMILES parses and agrees with charge, multiplicity and formula."""
    if len(species.smiles) > _LONGEST_SMILES:
        raise BadFileError(path, f"smiles is longer than {_LONGEST_SMILES} characters")
    with rdBase.BlockLogs():
        graph = Chem.MolFromSmiles(species.smiles)
    if graph is None or graph.GetNumAtoms() == 0:
        raise BadFileError(path, f"RDKit cannot read the smiles {species.smiles[:60]!r}")
    if len(Chem.GetMolFrags(graph)) > 1:
        raise BadFileError(path, "smiles holds more than one molecule; write one species for each")
    if (formal := Chem.GetFormalCharge(graph)) != species.charge:
        raise BadFileError(path, f"charge is {species.charge:+d} but the smiles has {formal:+d}")
    atoms = Atoms(numbers=[atom.GetAtomicNum() for atom in Chem.AddHs(graph).GetAtoms()])
    formula = atoms.get_chemical_formula("hill")
    if species.formula and species.formula != formula:
        raise BadFileError(path, f"formula is {species.formula[:60]!r} but the smiles is {formula}")
    try:
        check_electrons(atoms, species.charge, species.multiplicity, species.name)
    except ChargeError as error:
        raise BadFileError(path, str(error)) from error
