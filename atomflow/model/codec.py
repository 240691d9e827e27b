"""One typed JSON codec, shared by result files, study folders and (later) the store.

Nothing here can run code: a tag in a file is looked up among types that registered themselves, never imported.
Floats are written with ``repr`` precision, so encode-decode is exact.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ase import Atoms
from rdkit import Chem

from atomflow.errors import BadFileError
from atomflow.model.crystal import structure_from_data, structure_to_data
from atomflow.model.molecule import Molecule

_TAG = "$type"
#: Truth values, integers, floats (but not long doubles, "g") and text have an exact form in JSON.
_DTYPE_KINDS = "biufU"
_RECORDS: dict[str, type] = {}
_T = TypeVar("_T")


def record(schema: str) -> Callable[[type[_T]], type[_T]]:
    """Register a frozen dataclass under a schema name such as ``"atomflow.minimum/1"``."""

    def register(cls: type[_T]) -> type[_T]:
        if not dataclasses.is_dataclass(cls):
            raise TypeError(f"{cls.__name__} must be a dataclass to be a record")
        if _RECORDS.setdefault(schema, cls) is not cls and _RECORDS[schema].__qualname__ != cls.__qualname__:
            raise TypeError(f"schema {schema!r} is taken by {_RECORDS[schema].__qualname__}")
        _RECORDS[schema] = cls
        cls.schema = schema  # type: ignore[attr-defined]
        return cls

    return register


def encode(obj: Any) -> Any:
    """Turn an object into plain JSON data.

    Parameters
    ----------
    obj : Atoms, Molecule, pymatgen Structure, numpy array or scalar, registered dataclass, Path, or nested plain data

    Raises
    ------
    TypeError
        For anything else: an object that cannot be read back must not be written.
    """
    if obj is None or isinstance(obj, (str, bool, int)):
        return obj
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else {_TAG: "float", "value": repr(obj)}
    if isinstance(obj, np.generic) and obj.dtype.kind in _DTYPE_KINDS and obj.dtype.char != "g":
        return encode(obj.item())
    if isinstance(obj, np.ndarray):
        if isinstance(obj, np.ma.MaskedArray):
            raise TypeError("masked arrays cannot be written: they would come back without the mask")
        if obj.dtype.kind not in _DTYPE_KINDS or obj.dtype.char == "g":
            raise TypeError(f"arrays of {obj.dtype} cannot be written to JSON exactly")
        return {_TAG: "ndarray", "dtype": obj.dtype.str, "shape": list(obj.shape), "data": encode(obj.ravel().tolist())}
    if isinstance(obj, Atoms):
        return _encode_atoms(obj)
    if isinstance(obj, Molecule):
        fields = {f.name: encode(getattr(obj, f.name)) for f in dataclasses.fields(obj) if f.name != "graph"}
        positions = obj.graph.GetConformer().GetPositions()
        # A mol block alone would round coordinates to 1e-4 A.
        return {
            _TAG: "molecule",
            "molblock": Chem.MolToV3KMolBlock(obj.graph),
            "positions": encode(positions),
            **_encode_residues(obj.graph),
            **fields,
        }
    if type(obj).__module__ == "pymatgen.core.structure":  # looked at by name: importing pymatgen takes a second
        return {_TAG: "structure", **encode(structure_to_data(obj))}
    if isinstance(obj, Path):
        return {_TAG: "path", "value": str(obj)}
    if isinstance(obj, tuple):
        return {_TAG: "tuple", "items": [encode(item) for item in obj]}
    if isinstance(obj, list):
        return [encode(item) for item in obj]
    if isinstance(obj, dict):
        if not all(isinstance(key, str) for key in obj) or _TAG in obj:
            raise TypeError("only dictionaries with plain string keys can be written")
        return {key: encode(value) for key, value in obj.items()}
    if dataclasses.is_dataclass(obj) and getattr(type(obj), "schema", None) in _RECORDS:
        stored = [f for f in dataclasses.fields(obj) if f.metadata.get("stored", True)]
        for f in dataclasses.fields(obj):
            if f not in stored and getattr(obj, f.name) is not None:
                raise TypeError(
                    f"a {type(obj).__name__} with its own {f.name} cannot be written: it would come back without"
                )
        return {_TAG: getattr(type(obj), "schema"), **{f.name: encode(getattr(obj, f.name)) for f in stored}}  # noqa: B009
    raise TypeError(f"cannot write a {type(obj).__name__} to JSON")


#: What RDKit keeps of an atom's residue, by the names of its accessors.
_RESIDUE_FIELDS = (
    "Name",
    "SerialNumber",
    "AltLoc",
    "ResidueName",
    "ResidueNumber",
    "ChainId",
    "InsertionCode",
    "Occupancy",
    "TempFactor",
    "IsHeteroAtom",
    "SecondaryStructure",
    "SegmentNumber",
)


def _encode_residues(graph: Chem.Mol) -> dict[str, Any]:
    """Residue information, which a mol block drops: one column for each field, one entry for each atom that has it."""
    found = [(atom.GetIdx(), info) for atom in graph.GetAtoms() if (info := atom.GetPDBResidueInfo()) is not None]
    if not found:
        return {}  # as it was before residues were written: such a molecule keeps its text, and its key in a store
    columns: dict[str, Any] = {"atoms": [index for index, _ in found]}
    for name in _RESIDUE_FIELDS:
        columns[name] = [encode(getattr(info, f"Get{name}")()) for _, info in found]
    return {"residues": columns}


def _set_residues(graph: Chem.Mol, columns: dict[str, list[Any]]) -> None:
    for row, index in enumerate(columns["atoms"]):
        info = Chem.AtomPDBResidueInfo()
        for name in _RESIDUE_FIELDS:
            getattr(info, f"Set{name}")(columns[name][row])
        graph.GetAtomWithIdx(index).SetMonomerInfo(info)


def _encode_atoms(atoms: Atoms) -> dict[str, Any]:
    if atoms.calc is not None:
        raise TypeError(
            "atoms with a calculator cannot be written: they would come back without; set atoms.calc = None"
        )
    if atoms.constraints:
        raise TypeError("atoms with constraints cannot be written: they would come back free")
    arrays = {key: encode(value) for key, value in atoms.arrays.items() if key not in ("numbers", "positions")}
    out: dict[str, Any] = {
        _TAG: "atoms",
        "numbers": atoms.numbers.tolist(),
        "positions": encode(atoms.get_positions().tolist()),
        "info": encode(dict(atoms.info)),
    }
    if atoms.pbc.any() or atoms.cell.any():
        out["cell"] = encode(np.asarray(atoms.cell).tolist())
        out["pbc"] = atoms.pbc.tolist()
    if arrays:
        out["arrays"] = arrays
    return out


def decode(data: Any) -> Any:
    """Turn what :func:`encode` wrote back into objects.

    Raises
    ------
    ValueError
        When a tag is unknown or its content malformed.
    """
    if isinstance(data, list):
        return [decode(item) for item in data]
    if not isinstance(data, dict):
        return data
    if _TAG not in data:
        return {key: decode(value) for key, value in data.items()}
    tag = data[_TAG]
    body = {key: decode(value) for key, value in data.items() if key != _TAG}
    try:
        return _rebuild(tag, body)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:  # what a field of the wrong kind ends in
        raise ValueError(f"malformed {tag!r} ({type(error).__name__}: {error})") from error


def _rebuild(tag: str, body: dict[str, Any]) -> Any:
    if tag == "float":
        return float(body["value"])
    if tag == "ndarray":
        return np.array(body["data"], dtype=_plain_dtype(body["dtype"])).reshape(body["shape"])
    if tag == "tuple":
        return tuple(body["items"])
    if tag == "path":
        return Path(body["value"])
    if tag == "atoms":
        return _decode_atoms(body)
    if tag == "molecule":
        return _decode_molecule(body)
    if tag == "structure":
        return structure_from_data(body)
    if tag in _RECORDS:
        cls = _RECORDS[tag]
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := set(body) - known:
            raise ValueError(f"{tag} has no field {sorted(unknown)[0]!r}")
        return cls(**body)
    raise ValueError(f"unknown type tag {tag!r}")


def _decode_atoms(body: dict[str, Any]) -> Atoms:
    atoms = Atoms(
        numbers=body["numbers"], positions=body["positions"] or None, cell=body.get("cell"), pbc=body.get("pbc", False)
    )
    atoms.info.update(body["info"])
    for key, value in body.get("arrays", {}).items():
        atoms.set_array(key, value)
    return atoms


def _plain_dtype(text: str) -> np.dtype:
    dtype = np.dtype(text)
    if dtype.hasobject:
        raise ValueError("arrays of Python objects are not read")
    return dtype


def _decode_molecule(body: dict[str, Any]) -> Molecule:
    block = body.pop("molblock")
    graph = Chem.MolFromMolBlock(block, removeHs=False, sanitize=False)
    if graph is None:
        raise ValueError("the molecule's bond graph cannot be read")
    # RDKit reads chirality into any carbon with coordinates; what was written without must come back without.
    marked = {int(line.split()[2]) - 1 for line in block.splitlines() if re.match(r"M  V30 \d+ [A-Z].* CFG=", line)}
    for atom in graph.GetAtoms():
        if atom.GetIdx() not in marked:
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    graph.UpdatePropertyCache(strict=False)
    positions = body.pop("positions")
    if len(positions) != graph.GetNumAtoms():
        raise ValueError("the molecule's coordinates do not match its bond graph")
    conformer = graph.GetConformer()
    for index, xyz in enumerate(positions):
        conformer.SetAtomPosition(index, [float(x) for x in xyz])
    if (residues := body.pop("residues", None)) is not None:
        _set_residues(graph, residues)
    return Molecule(graph=graph, **body)


def dumps(obj: Any, indent: int | None = None) -> str:
    """JSON text of an object."""
    return json.dumps(encode(obj), indent=indent, ensure_ascii=False, allow_nan=False)


def loads(text: str) -> Any:
    """Object from JSON text; ValueError when it is not ours."""
    return decode(json.loads(text))


def load_file(path: str | Path) -> Any:
    """Read an object from a JSON file; BadFileError says what is wrong with the file."""
    try:
        return loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFileError(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise BadFileError(path, f"not a file atomflow wrote ({error})") from error


def content_key(obj: Any) -> str:
    """SHA-256 (hex) of an object's canonical JSON: equal content, equal key, on every machine."""
    text = json.dumps(encode(obj), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
