"""The scoreboard: every published row with our value beside it, or "not yet"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ase import units

from atomflow.errors import BadFileError, BadOptionError
from atomflow.report.published_records import Record, RecordedValue, read_result
from atomflow.report.published_rows import Row, find_row, load_rows
from atomflow.report.published_store import ScoreboardFolderError, load_records, record_study

__all__ = [
    "Difference",
    "Record",
    "RecordedValue",
    "Row",
    "ScoreboardFolderError",
    "compare",
    "find_row",
    "latest_records",
    "load_records",
    "load_rows",
    "record_study",
    "scoreboard_table",
    "to_markdown",
]

NOT_YET = "not yet"
_JUDGED = {True: "yes", False: "no", None: "not judged"}
_EV = {"eV": 1.0, "meV": 1e-3, "kJ/mol": units.kJ / units.mol, "kcal/mol": units.kcal / units.mol, "Ha": units.Hartree}


def latest_records(records: Iterable[Record]) -> list[Record]:
    """Pick the newest record of each row, study, grade, method and set of labels, oldest first: a rerun replaces its forerunner."""
    newest: dict[tuple[object, ...], Record] = {}
    for record in sorted(records, key=lambda item: item.moment):
        labels = frozenset(value.label for value in record.values)
        newest[(record.row, record.study, record.grade, frozenset(record.methods), labels)] = record
    return sorted(newest.values(), key=lambda item: item.moment)


def scoreboard_table(rows: Iterable[Row], records: Iterable[Record]) -> list[dict[str, Any]]:
    """Put our values beside the published ones.

    Returns
    -------
    list of dict
        In the order of the rows; a row that was recomputed by two methods appears twice. Keys: ``id``, ``quantity``,
        ``published`` (list of text), ``ours`` (list of text), ``uncertainty`` (list of text, one for each of ours),
        ``method`` (list), ``grade``, ``date``, ``agrees``, ``command`` (list: the documented ones of the row) and
        ``made_by`` (the command that made our value). ``ours`` and ``command`` are ``["not yet"]`` where there is none;
        the others are then empty.
    """
    by_row: dict[str, list[Record]] = {}
    for record in latest_records(records):
        by_row.setdefault(record.row, []).append(record)
    table = []
    for row in rows:
        published = {
            "id": row.id,
            "quantity": row.quantity,
            "published": row.published(),
        }
        command = {"command": list(row.commands) or [NOT_YET]}
        for record in by_row.get(row.id, []):
            table.append({**published, **_ours(record), **command, "made_by": record.command})
        if row.id not in by_row:
            none = {"ours": [NOT_YET], "uncertainty": [], "method": [], "grade": "", "date": "", "agrees": ""}
            table.append({**published, **none, **command, "made_by": ""})
    return table


def _ours(record: Record) -> dict[str, Any]:
    statement = [record.statement] if record.statement else []
    return {
        "ours": [*(f"{value.label}: {_number(value)}" for value in record.values), *statement],
        "uncertainty": [
            *(
                "not stated" if value.uncertainty is None else f"{value.uncertainty:.2g} {value.unit}".strip()
                for value in record.values
            ),
            *("" for _ in statement),
        ],
        "method": list(record.methods),
        "grade": record.grade,
        "date": record.date,
        "agrees": _JUDGED[record.agrees],
    }


def _number(value: RecordedValue) -> str:
    # Energies are worth three decimals at most; other quantities may span powers of ten.
    text = f"{value.value:.3f}" if value.unit == "eV" else f"{value.value:.4g}"
    return f"{text} {value.unit}".strip()


def to_markdown(table: Iterable[dict[str, Any]]) -> str:
    """Write a markdown table of what :func:`scoreboard_table` returns, for the docs."""
    lines = [
        "| row | quantity | published | ours | uncertainty | method | grade | date | agrees | command |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in table:
        cells = [
            entry["id"],
            _cell([entry["quantity"]]),
            _cell(entry["published"]),
            _cell(entry["ours"]),
            _cell(entry["uncertainty"]),
            _cell(entry["method"]),
            entry["grade"],
            entry["date"],
            entry["agrees"],
            _cell([text if text == NOT_YET else f"`{text}`" for text in entry["command"]]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(texts: Iterable[str]) -> str:
    # "~0.5" beside another "~" would be struck through, and "|" would end the cell.
    return "<br>".join(" ".join(text.split()).replace("|", "\\|").replace("~", "\\~") for text in texts)


@dataclass(frozen=True)
class Difference:
    """A value of a rerun that is not the recorded one.

    ``recorded_eV`` or ``recomputed_eV`` is None where that side has no such label; ``reason`` says what differs.
    """

    label: str
    recorded_eV: float | None
    recomputed_eV: float | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def compare(record: Record, result_json_path: Path, tolerance_eV: float = 0.02) -> list[Difference]:
    """Compare a recorded row with a rerun of its study, label by label.

    Parameters
    ----------
    record : Record
        What was recorded.
    result_json_path : path
        ``result.json`` of the rerun; its files are not looked at.
    tolerance_eV : float
        Largest difference that counts as the same, eV. Energies in other units are converted.

    Returns
    -------
    list of Difference
        Empty when the rerun gives the recorded values by the recorded methods.

    Raises
    ------
    BadFileError
        When the file is not a finished result of the record's study.
    BadOptionError
        When a value is no energy, so that a tolerance in eV says nothing about it.
    """
    path = Path(result_json_path)
    again = read_result(path)
    if again[0].study != record.study:
        raise BadFileError(path, f"a result of {again[0].study!r}, but {record.file_name} is of {record.study!r}")
    recorded = {value.label: value for value in record.values}
    recomputed = {value.label: value for item in again if item.row == record.row for value in item.values}
    differences = []
    for label in dict.fromkeys([*recorded, *recomputed]):
        old, new = recorded.get(label), recomputed.get(label)
        old_eV, new_eV = _energy(record.row, old), _energy(record.row, new)
        if old is None or new is None or old_eV is None or new_eV is None:
            reason = "not in the record" if old is None else "not in the rerun"
        elif old.method != new.method:
            reason = f"another method: {new.method} instead of {old.method}"
        elif abs(new_eV - old_eV) > tolerance_eV:
            reason = f"off by {new_eV - old_eV:+.4f} eV, more than {tolerance_eV:g} eV"
        else:
            continue
        differences.append(Difference(label, old_eV, new_eV, reason))
    return differences


def _energy(row: str, value: RecordedValue | None) -> float | None:
    if value is None:
        return None
    if value.unit not in _EV:
        raise BadOptionError(
            f"{row}, {value.label}: {value.unit or 'a pure number'} is no energy; compare takes {', '.join(_EV)}"
        )
    return value.value * _EV[value.unit]
