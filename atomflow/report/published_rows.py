"""The rows of the scoreboard: what papers claim about systems that atomflow models, one data file each."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from atomflow.errors import BadFileError, UnknownNameError
from atomflow.library import library_folder

_ID = re.compile(r"P[1-9][0-9]*\.[a-z]")
_DOI = re.compile(r"10\.\d{4,9}/\S+")
_KINDS = ("computed", "measured", "picture", "equation")
_READ = {
    "primary": "we read the paper itself",
    "secondary": "read through the project's list of published targets; we did not read the paper",
}
_KEYS = ("id", "paper", "doi", "quantity", "unit", "values", "kind", "read", "study", "commands", "note")


@dataclass(frozen=True)
class Row:
    """One published claim.

    Parameters
    ----------
    id : str
        Stable name, ``"P4.a"``.
    paper, doi : str
        What the paper is about and where it is.
    quantity : str
        What was published, in words.
    unit : str or None
        Unit of every number in ``values``; None where they are words or pure numbers.
    values : mapping of str to float or str
        System to number, or to text where the claim is no number; ``"-"`` where the paper gives none.
    kind : str
        ``computed``, ``measured``, ``picture`` or ``equation``: how the paper came by it.
    read : str
        ``primary`` or ``secondary``: whether we took it from the paper or from somebody's list.
    study : str or None
        The workflow that recomputes it.
    commands : tuple of str
        Documented commands that recompute it; empty means not yet.
    note : str
        What a reader must know, the systems' abbreviations among it.
    """

    id: str
    paper: str
    doi: str
    quantity: str
    unit: str | None
    values: Mapping[str, float | str]
    kind: str
    read: str
    study: str | None
    commands: tuple[str, ...]
    note: str

    @property
    def provenance(self) -> str:
        """How the published value was read, as a sentence part."""
        return _READ[self.read]

    def published(self) -> list[str]:
        """Say the published values in text, one system each: ``["bare: 5.42 eV"]``."""
        return [f"{system}: {_with_unit(value, self.unit)}" for system, value in self.values.items()]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, in the order of the row's file."""
        plain = {"values": dict(self.values), "commands": list(self.commands)}
        return {key: plain.get(key, getattr(self, key)) for key in _KEYS}


def load_rows(folder: Path | None = None) -> list[Row]:
    """Read every row, in the order of the ids.

    Parameters
    ----------
    folder : path, optional
        A ``published`` folder with ``rows/*.yaml``; default is the one atomflow ships.

    Raises
    ------
    BadFileError
        When a row cannot be used; one line that names the file and the key.
    """
    rows = [_load_row(path) for path in sorted(((folder or library_folder("published")) / "rows").glob("*.yaml"))]
    return sorted(rows, key=lambda row: (int(row.id[1:-2]), row.id[-1]))


def find_row(rows: Iterable[Row], row_id: str) -> Row:
    """Return the row with this id, whatever its case; UnknownNameError with the nearest ones if there is none."""
    by_id = {row.id: row for row in rows}
    for known, row in by_id.items():
        if known.lower() == row_id.strip().lower():
            return row
    raise UnknownNameError("published row", row_id, by_id, mend="`atomflow published` lists them")


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key may stand only once: a second ``PL:`` would silently replace a published number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if doubled := [key for index, key in enumerate(keys) if key in keys[:index]]:
            raise yaml.YAMLError(f"the key {doubled[0]!r} stands twice")
        return super().construct_mapping(node, deep=deep)


def _load_row(path: Path) -> Row:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, OSError) as error:
        raise BadFileError(path, "cannot be read as YAML: " + " ".join(str(error).split())) from error
    if not isinstance(data, dict):
        raise BadFileError(path, f"a row is a mapping with the keys {', '.join(_KEYS)}")
    if unknown := [str(key) for key in data if key not in _KEYS]:
        raise BadFileError(path, f"unknown key {unknown[0]!r}; a row has {', '.join(_KEYS)}")
    if missing := [key for key in _KEYS if key not in data]:
        raise BadFileError(path, f"the key {missing[0]!r} is missing")

    for key in ("id", "paper", "doi", "quantity", "kind", "read", "note"):
        if not isinstance(data[key], str) or (not data[key].strip() and key != "note"):
            raise BadFileError(path, f"{key} must be text, not {data[key]!r}")
    if not _ID.fullmatch(data["id"]) or data["id"] != path.stem:
        raise BadFileError(path, f"id {data['id']!r} must look like P4.a and be the file's name")
    if not _DOI.fullmatch(data["doi"]):
        raise BadFileError(path, f"doi {data['doi']!r} does not look like 10.1002/...")
    if data["kind"] not in _KINDS:
        raise BadFileError(path, f"kind {data['kind']!r} must be one of {', '.join(_KINDS)}")
    if data["read"] not in _READ:
        raise BadFileError(path, f"read {data['read']!r} must be one of {', '.join(_READ)}")
    for key in ("unit", "study"):
        if data[key] is not None and (not isinstance(data[key], str) or not data[key].strip()):
            raise BadFileError(path, f"{key} must be text or null, not {data[key]!r}")
    commands = data["commands"]
    if not isinstance(commands, list) or not all(
        isinstance(item, str) and item.startswith("atomflow ") for item in commands
    ):
        raise BadFileError(path, "commands must be a list of `atomflow ...` lines (an empty list means not yet)")
    if bool(commands) != (data["study"] is not None):
        raise BadFileError(path, "study and commands go together: give both or neither")
    _check_values(path, data["values"])
    data["note"] = data["note"].strip()
    return Row(**{**data, "values": MappingProxyType(data["values"]), "commands": tuple(commands)})


def _check_values(path: Path, values: Any) -> None:
    if not isinstance(values, dict) or not values:
        raise BadFileError(path, "values must map at least one system to a number or a text")
    for system, value in values.items():
        if not isinstance(system, str):
            raise BadFileError(path, f"the system {system!r} must be text; put it in quotes")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and not math.isfinite(value):
            raise BadFileError(path, f"the value of {system!r} is not a finite number")
        if not is_number and (not isinstance(value, str) or not value.strip()):
            raise BadFileError(path, f"the value of {system!r} must be a number or a text, not {value!r}")


def _with_unit(value: float | str, unit: str | None) -> str:
    if isinstance(value, str):
        # "~0.5" is text that stands for a number, but every such row is a pure number: no unit is lost here.
        return value
    if unit and unit[0].isdigit():
        return f"{value:g} x {unit}"
    return f"{value:g} {unit}" if unit else f"{value:g}"
