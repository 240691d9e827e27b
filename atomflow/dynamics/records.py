"""What a run of MD leaves in its folder: how it was asked for, a record of each stage, and ``md.json``."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from atomflow.dynamics.engine_input import EngineInput
from atomflow.dynamics.judging import Judgement
from atomflow.dynamics.protocols import Stage
from atomflow.dynamics.stages import THERMO
from atomflow.errors import BadFileError
from atomflow.lammps import LogFollower
from atomflow.model import Notice, Result, record, write_atomically

_T = TypeVar("_T")
#: Files of a run's folder.
MD_JSON, RUN_JSON, TOPOLOGY, STAGES, FINAL = "md.json", "run.json", "topology.data", "stages", "final.data"
#: Files of a stage's folder.
TABLE, RECORD = "thermo.csv", "stage.json"
_ATTEMPT = re.compile(r"attempt-(\d+)\.")
#: Names that a file of ours may give to the trajectory and to stages: nothing outside the folder.
_TRAJECTORIES, _STAGE_NAME = ("production.xtc", "production.lammpstrj"), re.compile(r"[\w-]{1,60}")
#: Commands of LAMMPS that could do anything; a run's own folder never holds them.
_FORBIDDEN = re.compile(r"""(?:^|["'\s])(?:shell|python|plugin)(?:\s|$)""")
#: A file of ours is never larger; what is larger is not ours.
_LARGEST_JSON = 50_000_000


@dataclass(frozen=True)
class RunSettings:
    """What was asked for; kept in ``run.json``, so that the folder alone is enough to go on.

    Attributes
    ----------
    protocol : str
    cannot : tuple of str
        What the protocol cannot guarantee.
    stages : tuple of Stage
        Of the equilibration.
    ensemble : str
        Of production.
    time_ps : float
        Of production.
    temperature_K, pressure_atm : float
    timestep_fs : float
    frame_spacing_ps, table_spacing_ps : float
    piece : int
        Steps between two restart files.
    seed : int
    trajectory : str
        Name of its file.
    """

    protocol: str
    cannot: tuple[str, ...]
    stages: tuple[Stage, ...]
    ensemble: str
    time_ps: float
    temperature_K: float
    pressure_atm: float
    timestep_fs: float
    frame_spacing_ps: float
    table_spacing_ps: float
    piece: int
    seed: int
    trajectory: str = "production.xtc"


@dataclass(frozen=True)
class StageRecord:
    """What came of a stage.

    Attributes
    ----------
    name, goal, ensemble : str
    time_ps : float
    steps : int
    timestep_fs : float
    temperature_K, pressure_atm, density_g_cm3 : float
        Means of the second half; of a minimisation, the last row.
    ns_per_day : float
        Of LAMMPS' own loops, 0 for a minimisation.
    cpu_s : float
        Wall time of the loops times the ranks.
    attempts : int
        Processes it took: one more than the interruptions.
    volume_ratio : float
        The volume of the mean density over the last volume; 1 at constant volume.
    judgements : tuple of Judgement
    energy_drift_kcal_per_mol_atom_ns : float or None
        Slope of the total energy at constant energy.
    """

    name: str
    goal: str
    ensemble: str
    time_ps: float
    steps: int
    timestep_fs: float
    temperature_K: float
    pressure_atm: float
    density_g_cm3: float
    ns_per_day: float
    cpu_s: float
    attempts: int
    volume_ratio: float = 1.0
    judgements: tuple[Judgement, ...] = ()
    energy_drift_kcal_per_mol_atom_ns: float | None = None


@record("atomflow.md/1")
@dataclass(frozen=True)
class MDResult(Result):
    """A run of MD, finished or not.

    Attributes
    ----------
    name : str
    out : str
        Its folder, as it was given.
    finished : bool
    production_ps : float
        Done so far.
    protocol : str
    cannot : tuple of str
        What the protocol cannot guarantee.
    temperature_K, pressure_atm : float
        Wanted.
    timestep_fs, frame_spacing_ps : float
    timestep_ps : float
    topology, trajectory : str
        Names in the folder.
    units : str
        Of the LAMMPS files.
    density_g_cm3 : float or None
        Of the last finished stage.
    equilibrated : bool or None
        Whether density and energy stood still in the last stage that was judged by them; None when none was.
    stages : tuple of StageRecord
    warnings : tuple of Notice
    """

    name: str
    out: str
    finished: bool
    production_ps: float
    protocol: str
    cannot: tuple[str, ...]
    temperature_K: float
    pressure_atm: float
    timestep_fs: float
    timestep_ps: float
    frame_spacing_ps: float
    topology: str
    trajectory: str
    density_g_cm3: float | None
    equilibrated: bool | None
    stages: tuple[StageRecord, ...]
    units: str = "real"
    warnings: tuple[Notice, ...] = ()

    @property
    def folder(self) -> Path:
        """:attr:`out` as a path."""
        return Path(self.out)

    def thermo(self, stage: str) -> dict[str, NDArray[np.float64]]:
        """The table of a stage by name, columns with units."""
        for number, one in enumerate(self.stages, start=1):
            if one.name == stage:
                return read_table(stage_folder(self.folder, number, one.name) / TABLE)
        raise BadFileError(
            self.folder, f"has no finished stage {stage!r}; it has {', '.join(s.name for s in self.stages)}"
        )


def stage_folder(out: Path, number: int, name: str) -> Path:
    """Where a stage works; ``number`` from 1."""
    return out / STAGES / f"{number:02d}-{name}"


def write_settings(out: Path, model: EngineInput, settings: RunSettings) -> None:
    """Keep what was asked for: ``run.json`` and the data file, which is the topology, too."""
    about = {
        "schema": "atomflow.md-run/1",
        "model": {
            f.name: _plain(getattr(model, f.name))
            for f in dataclasses.fields(model)
            if f.name not in ("data", "warnings")
        },
        "warnings": [{"code": one.code, "text": one.text} for one in model.warnings],
        "settings": dataclasses.asdict(settings),
    }
    write_atomically(out / TOPOLOGY, model.data)
    write_atomically(out / RUN_JSON, json.dumps(about, indent=1) + "\n")


def read_settings(out: Path) -> tuple[EngineInput, RunSettings]:
    """What was asked for when the folder was begun.

    Raises
    ------
    BadFileError
        The folder holds no run, or a damaged one.
    """
    path = out / RUN_JSON
    if not path.is_file():
        raise BadFileError(out, f"holds no MD run (no {RUN_JSON}); give a box, a folder of one, or a data file")
    about = read_json(path)
    try:
        words: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in about["model"].items()
        }
        model = EngineInput(
            data=(out / TOPOLOGY).read_text(encoding="utf-8"),
            warnings=tuple(Notice(one["code"], one["text"]) for one in about["warnings"]),
            **words,
        )
        told = dict(about["settings"])
        told["stages"] = tuple(_typed(Stage(**one)) for one in told["stages"])
        told["cannot"] = tuple(told["cannot"])
        settings = _typed(RunSettings(**told))
        _check(_typed(model), settings)
        return model, settings
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise BadFileError(path, f"is damaged ({error}); begin in another folder") from error


def _check(model: EngineInput, settings: RunSettings) -> None:
    """Refuse what no run of ours says: numbers without sense, names outside the folder, commands that do anything."""
    above_zero = (settings.time_ps, settings.timestep_fs, settings.frame_spacing_ps, settings.table_spacing_ps)
    if min(*above_zero, settings.piece, settings.temperature_K, model.atoms) <= 0:
        raise ValueError("a number that must be above zero is not")
    names = [stage.name for stage in settings.stages]
    if settings.trajectory not in _TRAJECTORIES or not all(map(_STAGE_NAME.fullmatch, names)):
        raise ValueError("a name of a file or stage is none of ours")
    if any(_FORBIDDEN.search(line) for line in (*model.first, *model.again, *model.own_motion, *model.own_velocities)):
        raise ValueError("a command that no run of ours has")


#: What a field of a record may hold, by the words of its annotation.
_TYPES: dict[str, tuple[type, ...]] = {"float": (int, float), "int": (int,), "str": (str,), "bool": (bool,)}


def _typed(value: _T) -> _T:
    """A dataclass whose plain fields hold what they should; JSON may have said anything.

    Raises
    ------
    TypeError
    """
    for one in dataclasses.fields(value):  # type: ignore[arg-type]
        kind, held = str(one.type), getattr(value, one.name)
        allowed = _TYPES.get(kind.removesuffix(" | None"))
        if held is None and kind.endswith("| None"):
            continue
        wrong = allowed is not None and (not isinstance(held, allowed) or (kind != "bool" and isinstance(held, bool)))
        if kind == "tuple[str, ...]":
            wrong = not isinstance(held, tuple) or not all(isinstance(word, str) for word in held)
        if wrong or (isinstance(held, float) and not math.isfinite(held)):
            raise TypeError(f"{one.name} is {held!r}")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of ours.

    Raises
    ------
    BadFileError
        It is something else.
    """
    try:
        with path.open("rb") as stream:
            content = json.loads(stream.read(_LARGEST_JSON).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadFileError(path, "cannot be read as JSON") from error
    if not isinstance(content, dict):
        raise BadFileError(path, "is no JSON object")
    return content


def gather_table(folder: Path) -> tuple[tuple[str, ...], NDArray[np.float64], list[LogFollower]]:
    """The rows of all attempts at a stage, each step once: what a later attempt did again counts.

    Returns
    -------
    columns : tuple of str
        Ours, with units.
    rows : (n, n_columns) float array
    logs : list of LogFollower
        One for each attempt, in order.
    """
    rows: dict[int, tuple[float, ...]] = {}
    logs = []
    for path in attempt_logs(folder):
        log = LogFollower(path)
        log.poll()
        logs.append(log)
        if log.rows:
            first = min(log.rows)
            rows = {step: row for step, row in rows.items() if step < first} | log.rows
    width = len(THERMO)
    kept = [row for _step, row in sorted(rows.items()) if len(row) == width]
    return tuple(THERMO.values()), np.array(kept, dtype=np.float64).reshape(-1, width), logs


def attempt_logs(folder: Path) -> list[Path]:
    """Logs of the attempts at a stage, in order."""
    return sorted(folder.glob("attempt-*.log"))


def next_attempt(folder: Path) -> str:
    """Name for the files of the next attempt; never one that was there before, as far as can be seen."""
    taken = [int(found[1]) for path in folder.glob("attempt-*") if (found := _ATTEMPT.match(path.name))]
    return f"attempt-{max(taken, default=0) + 1:03d}"


def write_table(folder: Path, columns: tuple[str, ...], rows: NDArray[np.float64], timestep_fs: float) -> None:
    """``thermo.csv``, with the time beside the step."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([columns[0], "time_ps", *columns[1:]])
    for row in rows.tolist():
        writer.writerow([int(row[0]), repr(row[0] * timestep_fs / 1000), *map(repr, row[1:])])
    write_atomically(folder / TABLE, text.getvalue())


def read_table(path: Path) -> dict[str, NDArray[np.float64]]:
    """A table by columns.

    Raises
    ------
    BadFileError
        It cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            names = stream.readline().strip().split(",")
            rows = np.loadtxt(stream, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise BadFileError(path, f"cannot be read: {error}") from error
    if rows.shape[1] != len(names):
        raise BadFileError(path, f"has {len(names)} headings over {rows.shape[1]} columns")
    return {name: rows[:, index] for index, name in enumerate(names)}


def write_stage(folder: Path, done: StageRecord) -> None:
    """Say that a stage is finished."""
    write_atomically(folder / RECORD, json.dumps(_plain(done), indent=1) + "\n")


def read_stage(folder: Path) -> StageRecord | None:
    """The record of a stage; None when it is not finished, or its record damaged: then it is judged again."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        about = read_json(path)
        about["judgements"] = tuple(Judgement(**one) for one in about["judgements"])
        return _typed(StageRecord(**about))
    except (BadFileError, KeyError, TypeError):
        return None


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and numbers as JSON has them; what is not finite is null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
