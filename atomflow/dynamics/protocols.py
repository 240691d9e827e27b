"""Equilibration as data: the stages that bring a box to its density and temperature, in YAML files with their source.

A file speaks of ``target`` and ``hot`` instead of one user's temperature; :func:`find_protocol` puts the numbers in and
shortens the stages to the time there is. A user's folder stands before the shipped one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from atomflow.build import Values, check_keys, read_yaml, search_path
from atomflow.build.datafiles import find_entry, list_entries
from atomflow.errors import BadFileError, BadOptionError
from atomflow.model import GRADES

#: Environment variable with more folders of protocols, separated as in PATH.
PATH_VARIABLE = "ATOMFLOW_PROTOCOLS_PATH"

#: ``soft``: NVT by Langevin with limited displacements, for what is still too near after packing.
ENSEMBLES = ("minimise", "soft", "nvt", "npt", "nve")
#: What a stage is judged by at its end: its mean temperature, a stationary energy, or a stationary density and energy.
CHECKS = ("none", "temperature", "energy", "density")
#: A stage of dynamics is never shorter: 100 steps of 1 fs.
SHORTEST_PS = 0.1
#: Times are cut to this, so that steps of 1, 2 and 5 fs fill them exactly.
_GRID_PS = 0.01
#: Damping time of the barostat unless a file says otherwise, ps.
_BAROSTAT_PS = 1.0
#: A density is not judged on less than this many damping times of the barostat; a shorter protocol says so.
_JUDGED_BAROSTAT_TIMES = 20.0

_LARGEST_FILE_BYTES = 64 * 1024
_MOST_STAGES = 200
_HOTTEST_K, _HIGHEST_ATM = 2000.0, 100_000.0
_MEND = "see `atomflow list protocols`"


@dataclass(frozen=True)
class Stage:
    """One stage, all numbers resolved.

    Parameters
    ----------
    name : str
        Unique in its protocol.
    goal : str
        What it is for, one line for people.
    ensemble : str
        One of :data:`ENSEMBLES`.
    time_ps : float
        0 for a minimisation.
    temperature_K, end_temperature_K : float
        At its start and end; a straight ramp between.
    pressure_atm, end_pressure_atm : float
        The same; of no meaning outside ``npt``.
    timestep_fs : float
        0 for the run's own.
    thermostat_ps, barostat_ps : float
        Damping times.
    production : bool
        Whether its trajectory is the result. No stage of an equilibration is.
    check : str
        What is judged at its end: one of :data:`CHECKS`, with ``""`` for none.
    """

    name: str
    goal: str
    ensemble: str
    time_ps: float = 0.0
    temperature_K: float = 0.0
    end_temperature_K: float = 0.0
    pressure_atm: float = 1.0
    end_pressure_atm: float = 1.0
    timestep_fs: float = 0.0
    thermostat_ps: float = 0.1
    barostat_ps: float = _BAROSTAT_PS
    production: bool = False
    check: str = ""


@dataclass(frozen=True)
class Protocol:
    """Stages in their order, where they come from, and what they cannot guarantee (for the result)."""

    name: str
    title: str
    source: str
    grade: str
    stages: tuple[Stage, ...]
    cannot: tuple[str, ...]

    @property
    def time_ps(self) -> float:
        """Time of all stages together, ps."""
        return math.fsum(stage.time_ps for stage in self.stages)


@dataclass(frozen=True)
class _Line:
    """A stage as its file says it; temperatures and pressures may be words."""

    name: str
    goal: str
    ensemble: str
    check: str
    time_ps: float
    temperature: float | str
    end_temperature: float | str
    pressure: float | str
    end_pressure: float | str
    timestep_fs: float
    thermostat_ps: float
    barostat_ps: float


@dataclass(frozen=True)
class _Entry:
    """One file."""

    name: str
    title: str
    source: str
    grade: str
    cannot: tuple[str, ...]
    path: Path
    lines: tuple[_Line, ...] = ()
    hot_K: float | None = None
    based_on: str = ""
    longest_ps: float | None = None
    aliases: tuple[str, ...] = field(default=())


def find_protocol(
    name: str,
    *,
    temperature_K: float,
    pressure_atm: float = 1.0,
    longest_ps: float | None = None,
    folders: str | Path | Iterable[str | Path] = (),
) -> Protocol:
    """Protocol called ``name`` with the wanted temperature and pressure put in.

    Parameters
    ----------
    name : str
        Case ignored.
    temperature_K, pressure_atm : float
        What the file calls ``target``. Its ``hot`` is the temperature it names, or the target if that is higher.
    longest_ps : float, optional
        Shortens all dynamics in proportion to at most this total, no stage below :data:`SHORTEST_PS`; a shortened
        protocol says so in ``cannot``.
    folders : paths
        The user's folders, searched first; then those of ``ATOMFLOW_PROTOCOLS_PATH``, then the shipped library.

    Returns
    -------
    Protocol

    Raises
    ------
    UnknownNameError
        With the nearest names.
    BadOptionError
        For a temperature, pressure or time that makes no sense.
    BadFileError
        When a protocol in these folders is malformed.
    """
    if not 0 < temperature_K <= _HOTTEST_K:
        raise BadOptionError(f"temperature {temperature_K:g} K: give a number between 0 and {_HOTTEST_K:g}")
    if not -_HIGHEST_ATM <= pressure_atm <= _HIGHEST_ATM:
        raise BadOptionError(f"pressure {pressure_atm:g} atm: give a number up to {_HIGHEST_ATM:g}")
    search = search_path(folders, PATH_VARIABLE, "protocols")
    entry = find_entry(name, search, _read, "protocol", _MEND)
    cannot = entry.cannot
    of = entry
    if entry.based_on:
        of = find_entry(entry.based_on, search, _read, "protocol", f"mend based_on in {entry.path}")
        if of.based_on:
            raise BadFileError(entry.path, f"based_on names {of.name!r}, which is itself based on another; name that")
        cannot = (*entry.cannot, *(text for text in of.cannot if text not in entry.cannot))
    protocol = Protocol(
        name=entry.name,
        title=entry.title,
        source=entry.source,
        grade=entry.grade,
        stages=tuple(_resolved(line, of, temperature_K, pressure_atm) for line in of.lines),
        cannot=cannot,
    )
    if entry.longest_ps is not None:
        protocol = replace(protocol, stages=_shortened(protocol, entry.longest_ps))
    if longest_ps is not None and not protocol.time_ps <= longest_ps + 1e-9:  # nan is caught below
        full = protocol.time_ps
        protocol = replace(protocol, stages=_shortened(protocol, longest_ps))
        told = f"it was shortened from {full:g} to {protocol.time_ps:g} ps: less is settled than the full one settles"
        protocol = replace(protocol, cannot=(told, *protocol.cannot))
    return replace(protocol, cannot=(*protocol.cannot, *_too_short_for_density(protocol)))


def protocol_names(folders: str | Path | Iterable[str | Path] = ()) -> dict[str, str]:
    """Every name that :func:`find_protocol` knows, with its title, in alphabetical order.

    Raises
    ------
    BadFileError
        When a protocol in these folders is malformed.
    """
    found = list_entries(search_path(folders, PATH_VARIABLE, "protocols"), _read)
    return {entry.name: entry.title for entry in sorted(found, key=lambda entry: entry.name.casefold())}


def _resolved(line: _Line, entry: _Entry, temperature_K: float, pressure_atm: float) -> Stage:
    kelvin = {"target": temperature_K, "hot": max(entry.hot_K or 0.0, temperature_K)}
    atm = {"target": pressure_atm}
    return Stage(
        name=line.name,
        goal=line.goal,
        ensemble=line.ensemble,
        time_ps=line.time_ps,
        temperature_K=_number(line.temperature, kelvin),
        end_temperature_K=_number(line.end_temperature, kelvin),
        pressure_atm=_number(line.pressure, atm),
        end_pressure_atm=_number(line.end_pressure, atm),
        timestep_fs=line.timestep_fs,
        thermostat_ps=line.thermostat_ps,
        barostat_ps=line.barostat_ps,
        check="" if line.check == "none" else line.check,
    )


def _number(value: float | str, words: dict[str, float]) -> float:
    return words[value] if isinstance(value, str) else value


def _shortened(protocol: Protocol, longest_ps: float) -> tuple[Stage, ...]:
    """The stages with their times in the same proportions and at most ``longest_ps`` together."""
    times = [stage.time_ps for stage in protocol.stages]
    moving = [index for index, time in enumerate(times) if time > 0]
    least = SHORTEST_PS * len(moving)
    # The comparison also refuses nan.
    if not longest_ps >= least - 1e-9:
        raise BadOptionError(
            f"protocol {protocol.name}: {longest_ps:g} ps is too short for its {len(moving)} stages, which need "
            f"{least:g} ps at least; give more, or take another protocol"
        )
    if math.fsum(times) <= longest_ps + 1e-9:
        return protocol.stages
    # Stages that reach the shortest time stay there, and the others share what is left.
    held: set[int] = set()
    while True:
        free = [index for index in moving if index not in held]
        if not free:
            break
        factor = (longest_ps - SHORTEST_PS * len(held)) / math.fsum(times[index] for index in free)
        too_short = {index for index in free if times[index] * factor < SHORTEST_PS}
        if not too_short:
            break
        held |= too_short
    for index in moving:
        cut = times[index] * factor if index not in held else SHORTEST_PS
        times[index] = max(SHORTEST_PS, round(math.floor(cut / _GRID_PS + 1e-6) * _GRID_PS, 6))
    return tuple(replace(stage, time_ps=time) for stage, time in zip(protocol.stages, times, strict=True))


def _too_short_for_density(protocol: Protocol) -> tuple[str, ...]:
    """What to say when the last stage at constant pressure is too short to tell a settled density."""
    last = next((stage for stage in reversed(protocol.stages) if stage.ensemble == "npt"), None)
    if last is None or last.time_ps >= _JUDGED_BAROSTAT_TIMES * last.barostat_ps:
        return ()
    return (f"its last stage at constant pressure has only {last.time_ps:g} ps, too little to judge the density",)


_STAGE_REQUIRED = ("name", "goal", "ensemble", "check")
_STAGE_OPTIONAL = (
    "time_ps",
    "temperature_K",
    "end_temperature_K",
    "pressure_atm",
    "end_pressure_atm",
    "timestep_fs",
    "thermostat_ps",
    "barostat_ps",
)


@lru_cache(maxsize=256)
def _read(path: Path, mtime_ns: int, size: int) -> _Entry:
    """Read one file; time and size are in the key so that an edited file is read again."""
    check = Values(path)
    data = dict(check.mapping(read_yaml(path, "protocol", _LARGEST_FILE_BYTES), "a protocol"))
    required = ("name", "title", "source", "grade", "cannot")
    check_keys(path, data, required, ("stages", "hot_K", "based_on", "longest_ps", "note"), "")
    if ("stages" in data) == ("based_on" in data):
        raise check.fail("give either stages, or based_on with longest_ps")
    if ("based_on" in data) != ("longest_ps" in data) or ("based_on" in data and "hot_K" in data):
        raise check.fail("based_on goes with longest_ps, and has no hot_K of its own")
    hot_K = float(check.number(data["hot_K"], "hot_K", 1, _HOTTEST_K)) if "hot_K" in data else None
    listed = check.items(data.get("stages", []), "stages")
    if len(listed) > _MOST_STAGES:
        raise check.fail(f"more than {_MOST_STAGES} stages")
    lines = tuple(_line(check, item, hot_K is not None) for item in listed)
    if "stages" in data:
        _check_stages(check, lines)
    check.text(data.get("note", ""), "note", empty=True, long=True)
    return _Entry(
        name=check.text(data["name"], "name"),
        title=check.text(data["title"], "title"),
        source=check.text(data["source"], "source", long=True),
        grade=check.choice(data["grade"], "grade", GRADES),
        cannot=tuple(check.text(item, "an entry of cannot") for item in check.items(data["cannot"], "cannot")),
        path=path,
        lines=lines,
        hot_K=hot_K,
        based_on=check.text(data["based_on"], "based_on") if "based_on" in data else "",
        longest_ps=float(check.number(data["longest_ps"], "longest_ps", 1, 1e6)) if "longest_ps" in data else None,
    )


def _line(check: Values, item: Any, has_hot: bool) -> _Line:
    item = dict(check.mapping(item, "a stage"))
    check_keys(check.path, item, _STAGE_REQUIRED, _STAGE_OPTIONAL, " of a stage")
    name = check.text(item["name"], "name of a stage")
    # The name becomes that of a folder.
    if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum() or len(name) > 40:
        raise check.fail("name of a stage must be at most 40 letters, digits, - and _")
    what = f" of stage {name}"
    ensemble = check.choice(item["ensemble"], f"ensemble{what}", ENSEMBLES)
    needs = {"minimise": (), "nve": ("time_ps",)}.get(ensemble, ("time_ps", "temperature_K"))
    needs += ("pressure_atm",) if ensemble == "npt" else ()
    # A soft stage is there because the run's own step may be too long for it.
    needs += ("timestep_fs",) if ensemble == "soft" else ()
    allowed = {
        "minimise": (),
        "nve": ("time_ps", "timestep_fs"),
        "soft": ("time_ps", "temperature_K", "timestep_fs", "thermostat_ps"),
        "nvt": ("time_ps", "temperature_K", "end_temperature_K", "timestep_fs", "thermostat_ps"),
        "npt": _STAGE_OPTIONAL,
    }[ensemble]
    for key in _STAGE_OPTIONAL:
        if key in needs and key not in item:
            raise check.fail(f"missing key {key!r}{what}, which is {ensemble}")
        if key in item and key not in allowed:
            raise check.fail(f"{key}{what} means nothing for {ensemble}")
    words = ("target", "hot") if has_hot else ("target",)
    temperature = _value(check, item.get("temperature_K", "target"), f"temperature_K{what}", 1, _HOTTEST_K, words)
    pressure = _value(
        check, item.get("pressure_atm", "target"), f"pressure_atm{what}", -_HIGHEST_ATM, _HIGHEST_ATM, ("target",)
    )
    return _Line(
        name=name,
        goal=check.text(item["goal"], f"goal{what}"),
        ensemble=ensemble,
        check=check.choice(item["check"], f"check{what}", CHECKS),
        time_ps=float(check.number(item["time_ps"], f"time_ps{what}", SHORTEST_PS, 1e6)) if "time_ps" in item else 0.0,
        temperature=temperature,
        end_temperature=_value(
            check, item.get("end_temperature_K", temperature), f"end_temperature_K{what}", 1, _HOTTEST_K, words
        ),
        pressure=pressure,
        end_pressure=_value(
            check,
            item.get("end_pressure_atm", pressure),
            f"end_pressure_atm{what}",
            -_HIGHEST_ATM,
            _HIGHEST_ATM,
            ("target",),
        ),
        timestep_fs=float(
            check.number(item["timestep_fs"], f"timestep_fs{what}", 0.01, 1.0 if ensemble == "soft" else 5.0)
        )
        if "timestep_fs" in item
        else 0.0,
        thermostat_ps=float(check.number(item.get("thermostat_ps", 0.1), f"thermostat_ps{what}", 0.01, 10)),
        barostat_ps=float(check.number(item.get("barostat_ps", _BAROSTAT_PS), f"barostat_ps{what}", 0.1, 100)),
    )


def _value(check: Values, value: Any, what: str, low: float, high: float, words: tuple[str, ...]) -> float | str:
    """A number, or one of the words that a run fills in."""
    if isinstance(value, str):
        if value == "hot" and "hot" not in words:
            raise check.fail(f"{what} is hot, so the file needs hot_K")
        return check.choice(value, f"{what}, where it is no number,", words)
    return float(check.number(value, what, low, high))


def _check_stages(check: Values, lines: tuple[_Line, ...]) -> None:
    names = [line.name for line in lines]
    if not lines or len(set(names)) < len(names):
        raise check.fail("stages must be one or more, each with a name of its own")
    for line in lines:
        if line.check == "density" and line.ensemble != "npt":
            raise check.fail(f"check of stage {line.name}: only an npt stage has a density to judge")
        if line.check != "none" and line.ensemble == "minimise":
            raise check.fail(f"check of stage {line.name}: a minimisation has no time, so nothing of it is stationary")
    pressed = [line for line in lines if line.ensemble == "npt"]
    if not pressed:
        return
    last = pressed[-1]
    ends = (last.temperature, last.end_temperature, last.pressure, last.end_pressure)
    if ends != ("target",) * 4 or last.check != "density":
        raise check.fail(f"stage {last.name}, the last npt one, must stay at target and have the check density")
