"""A user's own input script, taken apart so that its run can be stopped and gone on with.

LAMMPS is started from the data file once, and then from restart files as often as it takes. Not all of a script may be
said again then: bond styles would forget their coefficients, a group by region would take in other atoms.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from atomflow.errors import BadFileError, OutputError
from atomflow.lammps.data_coefficients import data_coefficients
from atomflow.lammps.script_kinds import BAROSTAT, CONSTRAINT, INTEGRATOR, STYLES, THERMOSTAT
from atomflow.lammps.script_lines import Command, quoted, read_commands, substituted
from atomflow.lammps.script_sorting import InputLine, ScriptSorter, inside, written_by
from atomflow.model import Notice

_DEEPEST = 10


@dataclass(frozen=True)
class UserInput:
    """A user's input script as it stands at its first ``run``.

    Attributes
    ----------
    path, data : Path
        The script, and the data file that it is run with.
    units : str
        ``real`` or ``metal``.
    timestep : float or None
        In the script's units (fs or ps); None when it says nothing. The runner says it.
    lines : tuple of InputLine
        Everything kept, in the script's order.
    velocities : tuple of str
        Its ``velocity`` commands; they are neither in :meth:`first` nor in :meth:`again`.
    run_steps : int or None
        Steps of all its runs together, when they can be read.
    files : tuple of str
        Files beside the script that its lines name, as they name them (tables, potentials).
    minimizes : bool
        It has a ``minimize`` before the first run.
    warnings : tuple of Notice
        ``another-data``: the script names another data file than the one given; ``own-files``: a fix writes files that
        begin anew when the run is gone on with.
    """

    path: Path
    data: Path
    units: str
    timestep: float | None
    lines: tuple[InputLine, ...] = field(repr=False)
    velocities: tuple[str, ...] = ()
    run_steps: int | None = None
    files: tuple[str, ...] = ()
    minimizes: bool = False
    warnings: tuple[Notice, ...] = ()
    #: Coefficients of the data file that hybrid styles do not find in a restart file.
    data_coefficients: tuple[str, ...] = field(default=(), repr=False)

    @property
    def timestep_fs(self) -> float | None:
        """The time step in fs."""
        return None if self.timestep is None else self.timestep * (1000.0 if self.units == "metal" else 1.0)

    @property
    def settings(self) -> tuple[str, ...]:
        """Commands that make the model, without ``read_data``, fixes and computes."""
        return tuple(line.text for line in self.lines if line.where != "data" and not _is_fix(line))

    @property
    def fixes(self) -> tuple[str, ...]:
        """The script's own fixes and computes."""
        return tuple(line.text for line in self.lines if _is_fix(line))

    @property
    def read_data(self) -> str:
        """The ``read_data`` line, with ``{data}`` for the file."""
        return next(line.text for line in self.lines if line.where == "data")

    @property
    def motion(self) -> tuple[str, ...]:
        """Its integrators, thermostats and barostats, with what modifies them."""
        return tuple(line.text for line in self.lines if line.motion)

    @property
    def integrators(self) -> tuple[str, ...]:
        """Styles of its fixes that move atoms, such as ``npt`` and ``rigid/small``."""
        return self._fixes(INTEGRATOR)

    @property
    def own_integrator(self) -> bool:
        """Whether the script moves its atoms itself."""
        return bool(self.integrators)

    @property
    def thermostats(self) -> tuple[str, ...]:
        """Styles of its fixes that hold the temperature; ``nvt`` is one, and an integrator, too."""
        return self._fixes(THERMOSTAT)

    @property
    def barostats(self) -> tuple[str, ...]:
        """Styles of its fixes that change the box."""
        return self._fixes(BAROSTAT)

    @property
    def constraints(self) -> tuple[str, ...]:
        """Styles of its fixes that hold bonds."""
        return self._fixes(CONSTRAINT)

    @property
    def temperature_K(self) -> float | None:
        """To which its first thermostat leads; None without one, or when that is no plain number."""
        for line in self.lines:
            if line.command.name == "fix" and THERMOSTAT.fullmatch(line.style):
                stop = next((stop for what, _start, stop in _targets(line) if what == "temp"), "")
                return _number(stop)
        return None

    @property
    def ramps(self) -> bool:
        """Whether a fix of its motion changes something over the length of a run."""
        for line in self.lines:
            if line.command.name != "fix" or not line.motion:
                continue
            if line.style.partition("/")[0] in ("deform", "move"):
                return True
            for _what, start, stop in _targets(line):
                low, high = _number(start), _number(stop)
                # A variable says the same at the same step, however long the run.
                if (low != high) if low is not None and high is not None else start != stop and "v_" not in start:
                    return True
        return False

    def _fixes(self, kind: re.Pattern[str]) -> tuple[str, ...]:
        fixes = (line.style for line in self.lines if line.command.name == "fix")
        return tuple(style for style in fixes if kind.fullmatch(style))

    def first(self, data: str = "{data}", *, motion: bool = True, folder: str = "") -> tuple[str, ...]:
        """Commands of the first start, in the script's order.

        Parameters
        ----------
        data : str
            Name of the data file as LAMMPS is to find it.
        motion : bool
            With the script's own integrators, thermostats and barostats (:attr:`motion`); else they are to be said
            behind these lines, or the runner's own.
        folder : str
            Where :attr:`files` lie, as seen from where LAMMPS works.
        """
        script = []
        for line in self.lines:
            if line.where == "data":
                script.append(_moved(line, folder).replace("{data}", quoted(data), 1))
            elif motion or not line.motion:
                script.append(_moved(line, folder))
        return tuple(script)

    def again(self, restart: str = "{restart}", *, motion: bool = True, folder: str = "") -> tuple[str, ...]:
        """Commands that go on from a restart file, with the same forces and the same state of the fixes.

        Parameters
        ----------
        restart : str
            Name of the restart file as LAMMPS is to find it.
        motion, folder
            As for :meth:`first`, and the same for both: a fix finds its state by its name and style.

        Notes
        -----
        Styles are not said again, since LAMMPS would forget the coefficients of the data file, but for pair styles that
        a restart file does not hold (``eam``, ``reaxff``): these LAMMPS says if it has none. Coefficients are, since
        styles such as ``hybrid`` and ``table`` stop without. Files that ``fix ave/...`` and ``fix print`` write get the
        step behind their names, so that what was written before stays.
        """
        kept = [line for line in self.lines if motion or not line.motion]
        made = {kind: _made_at(kept, kind) for kind in STYLES}
        script = [_moved(line, folder) for line in kept if line.where == "before"]
        script.append(f"read_restart {quoted(restart)}")
        for place, line in enumerate(kept):
            name = line.command.name
            text = _moved(line, folder)
            if line.where == "after" and not (name == "pair_modify" and place < made["pair"]):
                script.append(text)
                if written := written_by(line.command, line.style):
                    script[-1] = _renamed(line, {index: _later_name(line, index) for index in written}, plain=True)
            elif line.where == "data":
                script.extend(self.data_coefficients)
            elif line.where == "style":
                kind, _, what = name.partition("_")
                if what == "coeff" and place > made[kind]:
                    script.append(text)
                elif name == "pair_style" and place == _last(kept, name):
                    script.extend(_unless_there(line, text))
        return tuple(script)

    def copy_files(self, folder: str | Path) -> tuple[Path, ...]:
        """Copy what the lines name into the folder where LAMMPS is to work, under the same names.

        Raises
        ------
        OutputError
            The folder cannot be written.
        """
        copies = []
        for name in self.files:
            copy = Path(folder) / name
            try:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.path.parent / name, copy)
            except OSError as error:
                raise OutputError(copy, error.strerror or str(error)) from error
            copies.append(copy)
        return tuple(copies)


def read_user_input(path: str | Path, data: str | Path) -> UserInput:
    """Take a user's input script apart.

    Parameters
    ----------
    path : path
        The script. Files that it includes or names must lie in its folder or below; included ones are read as if they
        stood in it.
    data : path
        The data file, which takes the place of the one in its ``read_data``.

    Returns
    -------
    UserInput
        What holds at the first ``run``: fixes that were taken away before it are not there. All runs must be the same
        but for their lengths; what follows the last is left out, as are ``minimize`` and all output.

    Raises
    ------
    BadFileError
        A file that cannot be read, or a command that is unsafe or cannot be gone on with; with its line and why.
    """
    path, data = Path(path), Path(data)
    if not data.is_file():
        raise BadFileError(data, "no such data file")
    sorter = ScriptSorter(path, data)
    for command in _followed(path, sorter, 0):
        sorter.take(command)
    sorter.finish()
    lines = tuple(sorter.lines)
    return UserInput(
        path=path,
        data=data,
        units=sorter.units,
        timestep=sorter.timestep,
        lines=lines,
        velocities=tuple(command.text for command in sorter.velocities),
        run_steps=sorter.run_steps,
        files=tuple(sorter.files),
        minimizes=sorter.minimizes,
        warnings=tuple(sorter.warnings),
        data_coefficients=_from_data(lines, data),
    )


def _followed(path: Path, sorter: ScriptSorter, depth: int) -> Iterator[Command]:
    """Commands with those of included files in their place."""
    for command in read_commands(path):
        if command.name != "include":
            yield command
            continue
        if depth == _DEEPEST:
            raise command.refused(f"files include each other more than {_DEEPEST} deep")
        name = substituted(command.words[1], sorter.values) if len(command.words) == 2 else None
        if not name:
            raise command.refused(f"{command.text[:60]!r}: give one file by its name")
        # LAMMPS looks from the folder where it works, not from that of the including file.
        yield from _followed(inside(command, sorter.home, name), sorter, depth + 1)


def _from_data(lines: tuple[InputLine, ...], data: Path) -> tuple[str, ...]:
    """What hybrid styles took from the data file."""
    place = next(index for index, line in enumerate(lines) if line.where == "data")
    if "nocoeff" in lines[place].command.words:
        return ()
    kinds = set()
    for kind in STYLES:
        last = _last(lines, f"{kind}_style")
        if 0 <= last < place and _is_hybrid(lines[last]):
            kinds.add(kind)
    if not kinds:
        return ()
    found = data_coefficients(data, kinds)
    return tuple(row for kind in STYLES for row in found.get(kind, ()))


def _targets(line: InputLine) -> list[tuple[str, str, str]]:
    """What a thermostat or barostat holds, from where and to where."""
    words, style = line.plain, line.style
    if style in ("langevin", "gld", "temp/berendsen", "langevin/eff", "langevin/spin"):
        place = 4
    elif style in ("gle", "temp/csvr", "temp/csld", "temp/rescale", "temp/rescale/eff"):
        place = 5 if style != "temp/csvr" and style != "temp/csld" else 4
    else:
        place = 0
    if place:
        return [("temp", words[place], words[place + 1])] if len(words) > place + 1 else []
    held = ("temp", "iso", "aniso", "tri", "x", "y", "z", "xy", "xz", "yz")
    return [
        (words[index], words[index + 1], words[index + 2]) for index in range(4, len(words) - 2) if words[index] in held
    ]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _is_fix(line: InputLine) -> bool:
    return line.command.name in ("fix", "fix_modify", "compute", "compute_modify")


def _is_hybrid(line: InputLine) -> bool:
    return line.style.startswith("hybrid")


def _last(lines: list[InputLine] | tuple[InputLine, ...], name: str) -> int:
    """Place of the last command of a name; -1 without."""
    return max((index for index, line in enumerate(lines) if line.command.name == name), default=-1)


def _made_at(lines: list[InputLine], kind: str) -> int:
    """Place of the command that made the style which is in force; the same pair style once more is but changed."""
    made, before = -1, ""
    for index, line in enumerate(lines):
        if line.command.name == f"{kind}_style":
            if kind != "pair" or line.style != before or _is_hybrid(line):
                made = index
            before = line.style
    return made


def _unless_there(line: InputLine, text: str) -> list[str]:
    """The pair style, for LAMMPS to take if the restart file held none."""
    if line.style == "none":
        return []
    quote = '"""' if '"' in text else '"'
    return [f'if "$(is_active(pair_style,{line.style})) == 0" then {quote}{text}{quote}']


def _moved(line: InputLine, folder: str) -> str:
    """A line whose files lie in a folder."""
    if not folder or not line.files:
        return line.text
    words = {index: f"{folder}/{line.command.words[index]}" for index in line.files}
    return _renamed(line, words | {1: "{data}"} if line.where == "data" else words)


def _later_name(line: InputLine, index: int) -> str:
    """Name of a file that is written from a later step on; LAMMPS puts no variables into what is in quotes."""
    start, end = line.command.spans[index]
    name = line.command.words[index]
    bare = name if line.command.text[start:end] == name else re.sub(r"[\s\"'#$&]", "_", name)
    return f"{bare}.from-$(step:%.0f)"


def _renamed(line: InputLine, words: dict[int, str], plain: bool = False) -> str:
    """A line with other words; they keep their quotes unless they are plain."""
    text = line.command.text
    for index in sorted(words, reverse=True):
        start, end = line.command.spans[index]
        was_quoted = text[start:end] != line.command.words[index] and not plain
        text = text[:start] + (quoted(words[index]) if was_quoted else words[index]) + text[end:]
    return text
