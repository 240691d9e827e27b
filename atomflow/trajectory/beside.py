"""The time step as the logs and inputs beside a trajectory have it."""

from __future__ import annotations

import fnmatch
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from atomflow.trajectory.lammps_units import lammps_units

#: The time step that LAMMPS' ``units`` command sets, in that style's own time
#: (https://docs.lammps.org/units.html). Style lj is absent: it has no picoseconds.
_LAMMPS_STEPS = {"real": 1.0, "metal": 1e-3, "si": 1e-8, "cgs": 1e-8, "electron": 1e-3, "micro": 2.0, "nano": 4.5e-4}
_LAMMPS_FILES = ("log.lammps", "log.*", "*.log", "in.*", "*.in", "*.lmp", "*.lammps")
#: Files looked at, and lines of each: an input is short, and a log names its time step near the start of each run.
_MOST_FILES = 40
_MOST_LINES = 400_000
_LARGEST_JSON = 1_000_000


@dataclass(frozen=True)
class Beside:
    """What one file beside a trajectory says about its clock.

    Attributes
    ----------
    timestep_ps : float or None
        The MD step.
    spacing_ps : float or None
        The spacing of the frames, where that is said too.
    names_it : bool
        It names this very trajectory.
    where : str
        For people: ``"timestep 1 (units real) in log.lammps"``.
    """

    timestep_ps: float | None
    spacing_ps: float | None
    names_it: bool
    where: str


def look_beside(trajectory: Path) -> tuple[Beside, ...]:
    """Read the time step from the files in a trajectory's folder.

    Looks into ``md.json``, LAMMPS logs and inputs, GROMACS ``.mdp`` and ``.log`` (for xtc and trr) and VASP's INCAR
    (for an XDATCAR). Of the files that name this trajectory (``dump ... FILE``) only those count, where there are any.

    Parameters
    ----------
    trajectory : Path
        The trajectory, or a folder.

    Returns
    -------
    tuple of Beside
        Empty when nothing was found; contradictions are left to the caller.
    """
    folder, name = (trajectory, "") if trajectory.is_dir() else (trajectory.parent, trajectory.name)
    for packed in (".gz", ".zst", ".bz2", ".xz"):
        name = name.removesuffix(packed)
    suffix = Path(name).suffix.lower()
    found = list(_md_json(folder / "md.json", name))
    if suffix in {".xtc", ".trr", ".gro"}:
        for path in _listed(folder, ("*.mdp", "*.log")):
            found += _gromacs(path, suffix)
    elif name.upper().startswith("XDATCAR"):
        found += _vasp(folder / "INCAR")
    if not found:
        for path in _listed(folder, _LAMMPS_FILES):
            if path != trajectory:
                found += _lammps(path, name)
    named = [each for each in found if each.names_it]
    return tuple(named or found)


def _listed(folder: Path, patterns: Iterable[str]) -> list[Path]:
    try:
        paths = {path: None for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()}
    except OSError:
        return []
    return list(paths)[:_MOST_FILES]


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as text:
            # The size bounds a line of a binary file that happens to be called *.log.
            while (line := text.readline(65536)) and "\0" not in line:
                yield line
    except OSError:
        return


def _md_json(path: Path, name: str) -> Iterator[Beside]:
    try:
        with path.open("rb") as stream:
            content = json.loads(stream.read(_LARGEST_JSON).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if not isinstance(content, dict):
        return
    if name and isinstance(about := content.get("trajectory"), str) and about.rsplit("/", 1)[-1] != name:
        return
    spacing, step = _positive(content.get("frame_spacing_ps")), _positive(content.get("timestep_ps"))
    if spacing or step:
        what = "frame_spacing_ps" if spacing else "timestep_ps"
        yield Beside(step, spacing, True, f"{what} in {path.name}")


def _positive(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _settings(path: Path, assign: str = "=") -> dict[str, str]:
    pairs: dict[str, str] = {}
    for line in itertools.islice(_lines(path), _MOST_LINES):
        left, found, right = re.split(r"[;#!]", line, maxsplit=1)[0].partition(assign)
        if found and right.split():
            pairs.setdefault(left.strip().lower().replace("_", "-"), right.split()[0])
    return pairs


def _gromacs(path: Path, suffix: str) -> Iterator[Beside]:
    # https://manual.gromacs.org/current/user-guide/mdp-options.html: dt in ps; md.log repeats all options.
    options = _settings(path)
    every = ("nstxout",) if suffix == ".trr" else ("nstxout-compressed", "nstxtcout")
    step = _positive(options.get("dt"))
    many = next((number for name in every if (number := _positive(options.get(name)))), None)
    if step and many:
        yield Beside(step, step * many, False, f"dt and {every[0]} in {path.name}")


def _vasp(path: Path) -> Iterator[Beside]:
    # https://www.vasp.at/wiki/index.php/POTIM and NBLOCK: fs, and the steps between two entries of the XDATCAR.
    options = _settings(path)
    step = _positive(options.get("potim"))
    if step and options.get("ibrion", "0") == "0":
        yield Beside(
            1e-3 * step, 1e-3 * step * (_positive(options.get("nblock")) or 1.0), True, f"POTIM in {path.name}"
        )


@dataclass
class _Script:
    """A LAMMPS input or log, read command by command as far as time is concerned."""

    name: str
    units: str | None = None
    step: float | None = None
    said: bool = False
    adaptive: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    #: Of the dumps into this trajectory: id -> steps between frames.
    dumps: dict[str, float | None] = field(default_factory=dict)
    named: bool = False
    names_others: bool = False
    #: (time step, steps between frames) of every run: while it was dumped into, and otherwise.
    during: list[tuple[float, float | None]] = field(default_factory=list)
    others: list[tuple[float, float | None]] = field(default_factory=list)

    def number(self, word: str) -> float | None:
        variable = re.fullmatch(r"(?:\$\{(\w+)\}|\$(\w)|v_(\w+))", word)
        if variable:
            word = self.variables.get(next(filter(None, variable.groups())), "")
        return _positive(word)

    def ran(self) -> None:
        if self.step is None:
            return
        if self.dumps:
            self.during += [(self.step, every) for every in self.dumps.values()]
        else:
            self.others.append((self.step, None))

    def obey(self, words: list[str]) -> None:
        match words:
            case ["units", style, *_]:
                self.units = style
                self.step = _LAMMPS_STEPS.get(style)
            case ["Unit", "style", ":", style]:
                self.units = style
            case ["timestep", value, *_] | ["Time", "step", ":", value]:
                # A log has a command as it was written, then with its variables filled in.
                if number := self.number(value):
                    self.step, self.said = number, True
            case ["variable", name, "equal" | "index" | "string" | "internal", value, *_]:
                self.variables.setdefault(name, value.strip("'\""))
            case ["fix", _, _, "dt/reset", *_]:
                self.adaptive = True
            case ["dump", tag, _, _, every, file, *_]:
                if self.name and fnmatch.fnmatchcase(self.name, _pattern(file)):
                    self.named = True
                    self.dumps[tag] = self.number(every)
                else:
                    self.names_others |= bool(_pattern(file))
            case ["dump_modify", tag, *rest] if tag in self.dumps and "every" in rest[:-1]:
                self.dumps[tag] = self.number(rest[rest.index("every") + 1])
            case ["undump", tag]:
                self.dumps.pop(tag, None)
            case ["run", *_] | ["Setting", "up", "Verlet", *_]:
                self.ran()


def _pattern(file: str) -> str:
    """What a dump writes, as a pattern: its folder left out, ``${x}`` standing for anything."""
    bare = re.sub(r"\$\{\w+\}|\$\w|%", "*", file.strip("'\"").rsplit("/", 1)[-1])
    # One file per frame, or nothing but a variable: a pattern that fits every name says nothing.
    return bare if bare.strip("*.") else ""


def _lammps(path: Path, name: str) -> Iterator[Beside]:
    script = _Script(name)
    for line in itertools.islice(_lines(path), _MOST_LINES):
        words = line.split("#", 1)[0].split()
        if words:
            script.obey(words)
    # A script that writes other trajectories is another run's.
    if script.units not in _LAMMPS_STEPS or script.adaptive or (name and script.names_others and not script.named):
        return
    runs = script.during or script.others
    if not runs and script.said and script.step:
        runs = [(script.step, every) for every in script.dumps.values()] or [(script.step, None)]
    unit = lammps_units(script.units).time_ps
    for step, every in dict.fromkeys(runs):
        where = f"timestep {step:g} (units {script.units}) in {path.name}"
        yield Beside(step * unit, step * unit * every if every else None, script.named, where)
