"""Our recomputed values, as a finished study states them in its ``result.json``.

Everything a record says is a function of the bytes of one ``result.json``: nothing is typed in, and nothing is taken
from the clock or the machine that does the recording. That is what lets a kept record be checked later by building
it again (see :mod:`atomflow.report.published_store`).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atomflow.errors import BadFileError
from atomflow.model import Notice, Result, record

#: From quick look to result: `screened` (cheap geometries), `default`, `thorough`.
GRADES = ("screened", "default", "thorough")
_STUDY = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_ROW = re.compile(r"P[1-9][0-9]*\.[a-z]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@record("atomflow.published-value/1")
@dataclass(frozen=True)
class RecordedValue:
    """One number of ours: what it is of, in which unit, how far to trust it (same unit) and by which method."""

    label: str
    value: float
    unit: str
    uncertainty: float | None
    method: str


@record("atomflow.published-record/1")
@dataclass(frozen=True)
class Record(Result):
    """What one study says about one published row, with everything needed to make it again.

    Parameters
    ----------
    row, study, grade : str
        The published row, the workflow that recomputed it and how thoroughly (one of :data:`GRADES`).
    values : tuple of RecordedValue
        The numbers; their labels are distinct.
    statement : str or None
        The finding in words, where the published claim is an order and not a number.
    agrees : bool or None
        Whether it agrees with the published claim; None when the study does not judge.
    explanation : str or None
        Why it differs, or what the agreement rests on.
    command, created, commit, atomflow_version, inputs, packages, task_time_s
        How, when and with what it was made.
    warnings : tuple of Notice
        What could mislead a reader.
    files : dict of str to str
        Evidence beside the ``result.json``: relative path to SHA-256.
    result_sha256 : str
        SHA-256 of the ``result.json``.
    """

    row: str
    study: str
    grade: str
    values: tuple[RecordedValue, ...]
    statement: str | None
    agrees: bool | None
    explanation: str | None
    command: str
    created: str
    commit: str | None
    atomflow_version: str
    inputs: dict[str, Any]
    packages: dict[str, str]
    task_time_s: float
    warnings: tuple[Notice, ...]
    files: dict[str, str]
    result_sha256: str

    @property
    def file_name(self) -> str:
        """Name of the record's file in ``published/records``."""
        return f"{self.row}__{self.study}__{self.result_sha256[:8]}.json"

    @property
    def evidence_name(self) -> str:
        """Name of the folder in ``published/results`` that keeps the study's result and files."""
        return f"{self.study}-{self.result_sha256[:8]}"

    @property
    def methods(self) -> tuple[str, ...]:
        """The distinct methods of the values, in order of appearance."""
        return tuple(dict.fromkeys(value.method for value in self.values))

    @property
    def date(self) -> str:
        """Day on which the study finished, as 2026-01-31."""
        return self.moment.date().isoformat()

    @property
    def moment(self) -> datetime:
        """When the study finished; a time without a zone is taken as UTC, so that any two can be compared."""
        moment = datetime.fromisoformat(self.created)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_result(path: Path) -> list[Record]:
    """Read the published rows out of a ``result.json``.

    Raises
    ------
    BadFileError
        When the file is absent, is not a finished study's, or says something no record can carry.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BadFileError(
            path, "there is no such file, so the study has not finished; run its command again to go on with it"
        ) from None
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error
    return parse_result(path, content)


def parse_result(path: Path, content: bytes) -> list[Record]:
    """Read records from the bytes of a ``result.json``; ``path`` is only for messages. See :func:`read_result`."""
    try:
        data = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadFileError(path, f"not the JSON of a finished study ({error})") from error
    take = _Taker(path)
    if not isinstance(data, dict) or not str(data.get("schema", "")).startswith("atomflow."):
        raise BadFileError(path, 'not a study\'s result: it has no "schema": "atomflow..."')
    _refuse_infinite(path, data)
    # A study writes result.json last; one that ever writes it earlier must say so, and is not taken.
    if data.get("finished", True) is not True or not data.get("results"):
        raise BadFileError(path, "the study has not finished; run its command again to go on with it")
    study = take.text(data, "study", "the result")
    if not _STUDY.fullmatch(study):
        raise BadFileError(path, f"study {study!r} is no workflow name (small letters, digits and hyphens)")
    rows = take.mapping(data, "rows", "the result")
    if not rows:
        raise BadFileError(path, f"the study {study!r} states nothing about a published row")
    common = {
        "study": study,
        "command": take.text(data, "command", "the result"),
        "created": _moment(path, take.text(data, "created", "the result")),
        "commit": take.text_or_none(data, "commit", "the result"),
        "atomflow_version": take.text(data, "atomflow_version", "the result"),
        "inputs": take.mapping(data, "inputs", "the result"),
        "packages": _texts(path, "packages", take.mapping(data, "packages", "the result")),
        "task_time_s": take.number(data, "task_time_s", "the result"),
        "warnings": _notices(path, data.get("warnings")),
        "files": _hashes(path, take.mapping(data, "files", "the result")),
        "result_sha256": hashlib.sha256(content).hexdigest(),
    }
    return [_parse_row(take, row_id, rows[row_id], common) for row_id in sorted(rows)]


def _parse_row(take: _Taker, row_id: str, body: Any, common: dict[str, Any]) -> Record:
    if not _ROW.fullmatch(row_id):
        raise BadFileError(take.path, f"{row_id!r} is no published row; rows look like P4.a")
    if not isinstance(body, dict):
        raise BadFileError(take.path, f"row {row_id} must be a mapping")
    where = f"row {row_id}"
    grade = take.text(body, "grade", where)
    if grade not in GRADES:
        raise BadFileError(take.path, f"{where}: grade {grade!r} must be one of {', '.join(GRADES)}")
    agrees = body.get("agrees")
    if agrees is not None and not isinstance(agrees, bool):
        raise BadFileError(take.path, f"{where}: agrees must be true, false or null, not {agrees!r}")
    items = body.get("values")
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise BadFileError(take.path, f"{where}: values must be a list with at least one value")
    values = tuple(_parse_value(take, item, where) for item in items)
    labels = [value.label for value in values]
    if len(set(labels)) < len(labels):
        raise BadFileError(take.path, f"{where}: two values have the same label; make the labels distinct")
    return Record(
        row=row_id,
        grade=grade,
        values=values,
        statement=take.text_or_none(body, "statement", where),
        agrees=agrees,
        explanation=take.text_or_none(body, "explanation", where),
        **common,
    )


def _parse_value(take: _Taker, item: dict[str, Any], where: str) -> RecordedValue:
    label = take.text(item, "label", f"{where}, a value")
    inside = f"{where}, {label}"
    uncertainty = None if item.get("uncertainty") is None else take.number(item, "uncertainty", inside)
    if uncertainty is not None and uncertainty < 0:
        raise BadFileError(take.path, f"{inside}: an uncertainty cannot be negative")
    unit = item.get("unit")
    if not isinstance(unit, str):
        raise BadFileError(take.path, f"{inside}: unit must be text (empty for a pure number), not {unit!r}")
    return RecordedValue(
        label, take.number(item, "value", inside), unit, uncertainty, take.text(item, "method", inside)
    )


@dataclass(frozen=True)
class _Taker:
    """Takes typed entries out of parsed JSON, with one-line errors that name the file and the entry."""

    path: Path

    def _refuse(self, where: str, key: str, wanted: str, value: Any) -> BadFileError:
        return BadFileError(self.path, f"{where}: {key} must be {wanted}, not {value!r}")

    def text(self, data: dict[str, Any], key: str, where: str) -> str:
        value = data.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self._refuse(where, key, "text", value)
        return value

    def text_or_none(self, data: dict[str, Any], key: str, where: str) -> str | None:
        return None if data.get(key) is None else self.text(data, key, where)

    def number(self, data: dict[str, Any], key: str, where: str) -> float:
        value = data.get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self._refuse(where, key, "a number", value)
        return float(value)

    def mapping(self, data: dict[str, Any], key: str, where: str) -> dict[str, Any]:
        value = data.get(key)
        if not isinstance(value, dict):
            raise self._refuse(where, key, "a mapping", value)
        return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def _refuse_infinite(path: Path, data: Any, where: str = "") -> None:
    # JSON has no infinity, but 1e999 becomes one when read, and the codec writes non-finite floats behind a tag.
    if isinstance(data, float) and not math.isfinite(data):
        raise BadFileError(path, f"{where or 'a value'} is not a finite number")
    if isinstance(data, dict):
        if data.get("$type") == "float":
            raise BadFileError(path, f"{where or 'a value'} is not a finite number ({data.get('value')})")
        for key, value in data.items():
            _refuse_infinite(path, value, f"{where}/{key}" if where else key)
    if isinstance(data, list):
        for index, value in enumerate(data):
            _refuse_infinite(path, value, f"{where}/{index}")


def _moment(path: Path, text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise BadFileError(path, f"created {text!r} is not an ISO 8601 date and time") from None
    return text


def _texts(path: Path, key: str, mapping: dict[str, Any]) -> dict[str, str]:
    for name, value in mapping.items():
        if not isinstance(value, str):
            raise BadFileError(path, f"{key}: {name} must be text, not {value!r}")
    return mapping


def _hashes(path: Path, files: dict[str, Any]) -> dict[str, str]:
    for name, digest in files.items():
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise BadFileError(path, f"files: the SHA-256 of {name!r} must be 64 small hex digits")
    return files


def _notices(path: Path, items: Any) -> tuple[Notice, ...]:
    if not isinstance(items, list):
        raise BadFileError(path, "warnings must be a list (empty when there are none)")
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("code"), str) or not isinstance(item.get("text"), str):
            raise BadFileError(path, f"a warning must have a code and a text, not {item!r}")
    return tuple(Notice(code=item["code"], text=item["text"]) for item in items)
