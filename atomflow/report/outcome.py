"""From a finished study to its files: minima, table, figures, report and, last of all, ``result.json``."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atomflow.model import Notice, Result, write_atomically
from atomflow.report.content import Report, View
from atomflow.report.html import write_report


@dataclass(frozen=True)
class Outcome:
    """What a study hands over to be written.

    Attributes
    ----------
    results : mapping of str to tuple of Result, or to mapping
        For example ``{"binding": (...)}``; a mapping is plain already and written as it is.
    report : Report
        Its tables, charts, method and references; views, warnings and provenance are added here.
    rows : mapping
        Published rows this study recomputes, as ``atomflow published --record`` reads them.
    attachments : mapping
        Further files, by their path in the folder.
    schema : str
        That of ``result.json``; by default the first result's.
    """

    results: Mapping[str, tuple[Result, ...] | Mapping[str, Any]]
    report: Report
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    attachments: Mapping[str, str | bytes] = field(default_factory=dict)
    schema: str = ""

    @property
    def members(self) -> tuple[Result, ...]:
        """All results."""
        return tuple(r for group in self.results.values() if isinstance(group, tuple) for r in group)

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """Warnings of all results, without repeats."""
        return tuple(dict.fromkeys([*self.report.warnings, *(n for r in self.members for n in r.warnings)]))


def write_outcome(outcome: Outcome, folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write everything a study leaves behind.

    Parameters
    ----------
    outcome : Outcome
    folder : Path
    about : mapping
        ``study``, ``command``, ``created``, ``atomflow_version``, ``wall_time_s``, ``inputs``, ``packages``,
        ``commit``; written into ``result.json`` and shown in the report.

    Returns
    -------
    list of Path
        ``result.json`` is last: where it exists, everything else does.
    """
    files: list[Path] = []
    views: list[View] = []
    geometries: dict[Path, np.ndarray] = {}
    results: dict[str, Any] = {}
    for group, members in outcome.results.items():
        if not isinstance(members, tuple):
            results[group] = members
            continue
        results[group] = []
        for member in members:
            placed, kept, shown = _write_minima(member, folder, geometries)
            files += kept
            views += shown
            results[group].append({key: value for key, value in placed.to_dict().items() if key != "schema"})
    files += [write_atomically(folder / name, content) for name, content in outcome.attachments.items()]
    for number, table in enumerate(outcome.report.tables):
        files.append(table.to_csv(folder / ("table.csv" if number == 0 else f"table-{number + 1}.csv")))
    report = dataclasses.replace(
        outcome.report, views=(*outcome.report.views, *views), warnings=outcome.warnings, provenance=_provenance(about)
    )
    files += write_report(report, folder)
    evidence = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.suffix in (".xyz", ".csv", ".extxyz", ".cif", ".data")
    }
    body = {
        "schema": outcome.schema or outcome.members[0].schema,
        **about,
        "warnings": [dataclasses.asdict(notice) for notice in outcome.warnings],
        "results": results,
        "rows": {name: dict(row) for name, row in outcome.rows.items()},
        "files": evidence,
    }
    files.append(
        write_atomically(folder / "result.json", json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    )
    return files


def _write_minima(
    result: Result, folder: Path, written: dict[Path, np.ndarray]
) -> tuple[Result, list[Path], list[View]]:
    """Write a result's minima; one geometry under several energy methods is written and shown once.

    ``written`` says which geometry (positions, angstrom) each file of this study holds; it grows.
    """
    minima: Sequence[Any] = getattr(result, "minima", ())
    places: list[Path] = []
    files: list[Path] = []
    views: list[View] = []
    for number, minimum in enumerate(minima):
        name = str(minimum.atoms.info["name"])
        positions = minimum.atoms.get_positions()
        path, serial = _place(name, positions, folder / "minima", written)
        places.append(path)
        if path in written:
            continue
        written[path] = positions
        text = io.StringIO()
        clean = minimum.atoms.copy()
        clean.info.update(energy_eV=minimum.energy_eV, hits=minimum.hits, starts=minimum.starts)
        from ase.io import write  # takes half a second to import

        write(text, clean, format="extxyz")
        files.append(write_atomically(path, text.getvalue()))
        above = minimum.energy_eV - minima[0].energy_eV
        detail = f"found by {minimum.hits} of {minimum.starts} starts" + (
            f", {above:.2f} eV above the best" if number else ""
        )
        views.append(View(name if serial == 1 else f"{name} ({serial})", minimum.atoms, detail))
    if places and "structure" in {f.name for f in dataclasses.fields(result)}:  # type: ignore[arg-type]
        result = dataclasses.replace(result, structure=str(places[0].relative_to(folder)))  # type: ignore[type-var]
    return result, files, views


def _place(name: str, positions: np.ndarray, folder: Path, written: Mapping[Path, np.ndarray]) -> tuple[Path, int]:
    """The file that holds this geometry, or the next free one of the name, and its number."""
    stem = re.sub(r"[^A-Za-z0-9+-]+", "_", name).strip("_")
    for serial in itertools.count(1):
        path = folder / (f"{stem}.xyz" if serial == 1 else f"{stem}-{serial}.xyz")
        known = written.get(path)
        if known is None or np.array_equal(known, positions):
            return path, serial
    raise AssertionError("unreachable: counting does not end")


def _provenance(about: Mapping[str, Any]) -> dict[str, str]:
    packages = ", ".join(f"{name} {version}" for name, version in about.get("packages", {}).items())
    rows = {
        "Command": about.get("command"),
        "Date": about.get("created"),
        "atomflow": about.get("atomflow_version"),
        "Commit": about.get("commit"),
        "Packages": packages,
        "Seed": about.get("inputs", {}).get("seed"),
        "Wall time": f"{about['wall_time_s']:.0f} s" if "wall_time_s" in about else None,
        "Processor time in tasks": f"{about['task_time_s']:.0f} s" if "task_time_s" in about else None,
    }
    return {label: str(value) for label, value in rows.items() if value not in (None, "")}
