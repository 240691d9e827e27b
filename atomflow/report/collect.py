"""Results of many runs in one table, and why the numbers of two runs differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomflow.errors import BadFileError

if TYPE_CHECKING:
    import pandas as pd

_MAX_BYTES = 50_000_000
#: What a result is about, as opposed to what was found.
_SUBJECT = ("of", "ion", "ligands", "complex", "products", "beside")
#: What a result was made with, beside the inputs of its study.
_SETTINGS = ("method", "starts", "seed", "temperature_K", "standard_state")
_BOOKKEEPING = ("structure", "warnings")
_LONGEST_LIST = 20


@dataclass(frozen=True)
class Run:
    """A finished study as its ``result.json`` tells it.

    Attributes
    ----------
    folder : Path
    about : dict
        ``study``, ``created``, ``atomflow_version``, ``commit``, ``inputs``, ``packages`` ...
    results : dict of str to list of dict
        As written, group by group.
    """

    folder: Path
    about: dict[str, Any]
    results: dict[str, list[dict[str, Any]]]

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(group, result) of every result."""
        for group, members in self.results.items():
            for member in members:
                yield group, member


def read_run(place: str | Path) -> Run:
    """The run in a folder, or of a ``result.json``.

    Raises
    ------
    BadFileError
        When there is none, or it is not a study's.
    """
    place = Path(place)
    path = place / "result.json" if place.is_dir() else place
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BadFileError(path, "too large for the result of a study")
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFileError(path, f"{error.strerror}; give the folder of a finished study") from error
    except (ValueError, RecursionError) as error:
        raise BadFileError(path, f"not the result of a study ({error})") from error
    is_study = isinstance(body, dict) and str(body.get("schema", "")).startswith("atomflow.")
    results = body.pop("results", None) if is_study else None
    groups = {name: _members(group) for name, group in results.items()} if isinstance(results, dict) else {}
    if not isinstance(results, dict) or not all(
        isinstance(group, list) and all(isinstance(member, dict) for member in group) for group in groups.values()
    ):
        raise BadFileError(path, "not the result of a study")
    return Run(path.parent, body, groups)


def _members(group: Any) -> Any:
    """A group's results as a list; an analysis has them by name (``{"Li": {...}}``), or has just one."""
    if not isinstance(group, dict):
        return group
    if group and all(isinstance(member, dict) for member in group.values()):
        return [{"of": name, **member} for name, member in group.items()]
    return [group]


def collect(where: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """One row a result, of every run in a folder and below it.

    Parameters
    ----------
    where : path
        A folder; links are not followed.

    Returns
    -------
    (pandas.DataFrame, list of str)
        The table - run, study, when and by what, then the results' own fields - and a line for each file that was
        passed over.

    Raises
    ------
    BadFileError
        When no run is found.
    """
    import pandas as pd

    where = Path(where)
    rows, passed_over = [], []
    paths = [where] if where.is_file() else sorted(where.rglob("result.json"))
    for path in paths:
        try:
            run = read_run(path)
        except BadFileError as error:
            passed_over.append(str(error))
            continue
        about = {name: run.about.get(name) for name in ("study", "created", "atomflow_version", "commit")}
        for group, member in run.rows():
            facts = {key: value for key, value in _flat(member).items() if key not in _BOOKKEEPING}
            name = "." if where.is_file() else str(run.folder.relative_to(where))
            codes = ", ".join(n["code"] for n in member.get("warnings", []) if isinstance(n, dict) and "code" in n)
            rows.append({"run": name, **about, "group": group, **facts, "warnings": codes})
    if not rows:
        found = f"; passed over: {passed_over[0]}" if passed_over else ""
        raise BadFileError(where, f"no finished study in it{found}")
    return pd.DataFrame(rows), passed_over


@dataclass(frozen=True)
class Difference:
    """What differs between two runs.

    Attributes
    ----------
    made : list of (what, first, second)
        Study, versions, commit, packages and inputs that are not the same: why numbers may differ.
    found : list of dict
        ``subject``, ``field``, ``first``, ``second``, ``difference`` of every number; ``settings`` lists what of the
        method differs for this result.
    only_first, only_second : list of str
        Subjects that one run has and the other has not.
    """

    made: list[tuple[str, Any, Any]]
    found: list[dict[str, Any]]
    only_first: list[str]
    only_second: list[str]


def compare(first: Run, second: Run) -> Difference:
    """Compare two runs, result by result (matched by what they are about, then by order)."""
    made: list[tuple[str, Any, Any]] = []
    for name in ("study", "atomflow_version", "commit"):
        made += _unequal({name: first.about.get(name)}, {name: second.about.get(name)}, "")
    made += _unequal(_mapping(first.about.get("packages")), _mapping(second.about.get("packages")), "package ")
    made += _unequal(_mapping(first.about.get("inputs")), _mapping(second.about.get("inputs")), "input ")
    left, right = _by_subject(first), _by_subject(second)
    found = []
    for subject in left:
        if subject not in right:
            continue
        one, two = left[subject], right[subject]
        settings = _unequal(_pick(one, _SETTINGS), _pick(two, _SETTINGS), "")
        for field in one:
            values = (one[field], two.get(field))
            if field in _SETTINGS or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
                continue
            found.append(
                {
                    "subject": subject,
                    "field": field,
                    "first": values[0],
                    "second": values[1],
                    "difference": values[1] - values[0],
                    "settings": [f"{name}: {a} | {b}" for name, a, b in settings],
                }
            )
    return Difference(made, found, [s for s in left if s not in right], [s for s in right if s not in left])


def _by_subject(run: Run) -> dict[str, dict[str, Any]]:
    """Results by what they are about; several of one subject (methods, sites) are numbered in their order."""
    table: dict[str, dict[str, Any]] = {}
    for group, member in run.rows():
        words = [_text(member[key]) for key in _SUBJECT if member.get(key)]
        name = " - ".join(words) or group
        number = 2
        subject = name
        while subject in table:
            subject, number = f"{name} ({number})", number + 1
        table[subject] = _flat(member)
    return table


def _flat(member: Mapping[str, Any]) -> dict[str, Any]:
    """A result with lists as text and small tables (``distances_A``) spread over fields."""
    row: dict[str, Any] = {}
    for key, value in member.items():
        if isinstance(value, dict):
            row.update({f"{key} {name}": item for name, item in value.items()})
        else:
            row[key] = _text(value)
    return row


def _text(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    # Curves stay in result.json.
    return " + ".join(str(item) for item in value) if len(value) <= _LONGEST_LIST else f"({len(value)} values)"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _pick(row: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: row.get(name) for name in names}


def _unequal(one: Mapping[str, Any], two: Mapping[str, Any], label: str) -> list[tuple[str, Any, Any]]:
    return [(label + k, one.get(k), two.get(k)) for k in dict.fromkeys([*one, *two]) if one.get(k) != two.get(k)]
