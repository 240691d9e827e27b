"""The commands of a user's script taken in one by one, each to where it belongs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePath

from atomflow.errors import BadFileError
from atomflow.lammps.script_kinds import (
    AGAIN,
    BAROSTAT,
    BEFORE_BOX,
    INTEGRATOR,
    LEFT_OUT,
    MOVING,
    ONCE,
    OWN_FILES,
    REFUSED,
    REFUSED_FIXES,
    REFUSED_VARIABLES,
    STYLES,
    SUFFIX,
    THERMOSTAT,
    WRITING_FIXES,
)
from atomflow.lammps.script_lines import Command, substituted, substitutions
from atomflow.model import Notice

_UNITS = ("real", "metal")
_VARIABLE_WORD = re.compile(r"\bv_(\w+)")
#: Styles of variables that are put in as numbers, and the formats that leave them one word.
_NUMBERS = ("equal", "atom", "vector", "timer", "internal")
_FORMAT = re.compile(r"%[-+0-9.]*[a-zA-Z]")
#: What a variable may not put into a line, since LAMMPS would take other words than those that stand there.
_SPLITTING = re.compile(r"[\s\"'#$&]")


@dataclass(frozen=True)
class InputLine:
    """A command that is kept.

    Attributes
    ----------
    text : str
        With ``{data}`` for the file in the ``read_data`` line.
    where : str
        ``once``: only before the first step; ``before``: ahead of the box, always; ``after``: behind it, always;
        ``style``: a style or its coefficients; ``data``: the ``read_data`` line.
    command : Command
    motion : bool
        A fix that integrates, thermostats or barostats.
    files : tuple of int
        Words that name files which are read.
    style : str
        Of a fix (without the suffix of an accelerator), or of ``pair_style`` and its like; empty for other commands.
    """

    text: str
    where: str
    command: Command
    motion: bool = False
    style: str = ""
    files: tuple[int, ...] = ()
    #: The words with known variables put in; those with others as they stand.
    plain: tuple[str, ...] = ()


class ScriptSorter:
    """What is known of a script at one of its lines.

    Attributes
    ----------
    lines : list of InputLine
    velocities : list of Command
    values : dict
        Variables whose value is plain text.
    files : dict
        Names of files beside the script that its lines name, in order.
    units : str
    timestep : float or None
    run_steps : int or None
    minimizes : bool
        There was a ``minimize`` before the first run.
    warnings : list of Notice
    """

    def __init__(self, path: Path, data: Path) -> None:
        self.path, self.data = path, data
        self.home = path.resolve().parent
        self.lines: list[InputLine] = []
        self.velocities: list[Command] = []
        self.values: dict[str, str] = {}
        self.files: dict[str, None] = {}
        self.units = ""
        self.timestep: float | None = None
        self.run_steps: int | None = 0
        self.minimizes = False
        self.warnings: list[Notice] = []
        #: Variables that are put in as a number.
        self._numbers: set[str] = set()
        #: Variables with another value later in a run, and those whose definition has put in such a value.
        self._moving: set[str] = set()
        self._frozen: set[str] = set()
        self._run: Command | None = None
        self._changed: Command | None = None
        self._special = {
            "read_data": self._read_data, "run": self._runs, "minimize": self._minimize, "units": self._take_units,
            "timestep": self._take_timestep, "velocity": self._velocity, "variable": self._variable,
            "group": self._group, "fix": self._fix, "compute": self._fix, "fix_modify": self._fix_modify, "unfix": self._unfix,
            "uncompute": self._unfix, **{f"{kind}_style": self._style for kind in STYLES},
        }  # fmt: skip

    def take(self, command: Command) -> None:
        """One command more."""
        name = command.name
        if name in REFUSED:
            why = REFUSED[name]
            raise command.refused(f"{name} {why}, cannot be gone on with after a restart; write the script without it")
        if name in LEFT_OUT:
            return
        if self._run is not None and name != "run":
            # What follows the last run is not done; between two runs it would be another run.
            self._changed = self._changed or command
            return
        self._one_word_each(command)
        if special := self._special.get(name):
            special(command)
        elif name in ONCE:
            self._keep(command, "once")
        elif name in AGAIN:
            self._keep(command, "before" if name in BEFORE_BOX and not self.has_data else "after")
        elif name in [f"{kind}_coeff" for kind in STYLES]:
            self._keep(command, "style")
        else:
            raise command.refused(f"{name[:40]!r} is no command that is known to be safe to go on with; leave it out")

    def finish(self) -> None:
        """Raise BadFileError unless the script has all it needs."""
        if not self.units:
            raise BadFileError(self.path, f"no units, which means lj; write units {' or '.join(_UNITS)}")
        if not self.has_data:
            raise BadFileError(self.path, "no read_data; the model must come from a data file")

    @property
    def has_data(self) -> bool:
        """Whether the box is there."""
        return any(line.where == "data" for line in self.lines)

    def plain(self, command: Command, index: int, what: str) -> str:
        """A word whose value must be known; BadFileError when it is not there or a formula."""
        value = substituted(command.words[index], self.values) if index < len(command.words) else ""
        if not value:
            raise command.refused(f"{command.text[:60]!r}: {what} must stand there as it is")
        return value

    def _keep(
        self, command: Command, where: str, text: str | None = None, motion: bool = False, style: str = ""
    ) -> None:
        if where not in ("once", "data"):
            self._same_again(command)
        files = self._files(command)
        self._stays_inside(command, text or command.text)
        self.lines.append(
            InputLine(text or command.text, where, command, motion, style, files, self._plain_words(command))
        )

    def _plain_words(self, command: Command) -> tuple[str, ...]:
        put_in = (substituted(word, self.values) for word in command.words)
        return tuple(word if done is None else done for word, done in zip(command.words, put_in, strict=True))

    def _one_word_each(self, command: Command) -> None:
        """LAMMPS puts in variables before it splits a line, so that their values must not be several words, or none."""
        for word, (start, end) in zip(command.words, command.spans, strict=True):
            names, _formulas = substitutions(command.text[start:end])
            bad = next((name for name in sorted(names) if _SPLITTING.search(self.values.get(name, ""))), None)
            if bad is not None or (names and substituted(word, self.values) == ""):
                raise command.refused(f"{word[:60]!r} is not one word once its value is put in; write it out")

    def _stays_inside(self, command: Command, text: str) -> None:
        """Nothing may be read or written outside the folder, whatever the command makes of its words."""
        names = substitutions(text)[0] - set(self.values) - self._numbers
        if names:
            raise command.refused(f"${{{min(names)[:40]}}} has no value that is known here; write the word itself")
        for index, words in enumerate(zip(command.words, self._plain_words(command), strict=True)):
            said = command.name == "fix" and index == 5 and self._is_print(command)
            if index == 0 or said or (command.name == "read_data" and index == 1):
                continue
            if any(word.startswith(("/", "~")) or ".." in word.split("/") for word in words):
                raise command.refused(
                    f"{words[0][:60]!r} lies outside the folder of the run; give a name without a folder"
                )

    def _is_print(self, command: Command) -> bool:
        return substituted(command.words[3], self.values) == "print"

    def _same_again(self, command: Command) -> None:
        """A line that is said again must then mean the same."""
        names, formulas = substitutions(command.text)
        moving = [f"${{{name}}}" for name in sorted(names & (self._moving | self._frozen))]
        moving += [f"$({formula})" for formula in formulas if self._moves(formula)]
        moving += [f"v_{name}" for name in _VARIABLE_WORD.findall(command.text) if name in self._frozen]
        if moving:
            raise command.refused(
                f"{moving[0][:40]} has another value when the run is gone on with; write the number itself"
            )

    def _moves(self, formula: str) -> bool:
        return bool(MOVING.search(formula)) or bool(self._moving & set(_VARIABLE_WORD.findall(formula)))

    def _files(self, command: Command) -> tuple[int, ...]:
        """Words that name files which are there: tables, potentials, templates."""
        first = {"read_data": 2, "fix": 4, "compute": 4}.get(command.name, 1)
        style = SUFFIX.sub("", command.words[3]) if command.name == "fix" else ""
        written = written_by(command, style)
        found = []
        for index, word in enumerate(command.words):
            name = substituted(word, self.values)
            # Not every word is to be looked up: an element may have the name of a file, too.
            if (
                index < first
                or index in written
                or name is None
                or not (len(name) > 2 and re.search(r"[A-Za-z]", name))
            ):
                continue
            if style in OWN_FILES and index > 4:
                continue
            if _is_file(self.home / name):
                inside(command, self.home, name)
                if PurePath(name).is_absolute():
                    raise command.refused(
                        f"{name[:60]!r}: name the file without its folder, as it lies beside the script"
                    )
                found.append(index)
                self.files[str(PurePath(name))] = None
        return tuple(found)

    def _minimize(self, command: Command) -> None:
        """A minimisation before the run: the runner does its own."""
        self.minimizes = True

    def _velocity(self, command: Command) -> None:
        self._stays_inside(command, command.text)
        self.velocities.append(command)

    def _read_data(self, command: Command) -> None:
        if self.has_data:
            raise command.refused("a second read_data; write one data file of both by write_data")
        if len(command.words) < 2:
            raise command.refused("read_data without a file")
        named = substituted(command.words[1], self.values)
        if named is not None and PurePath(named).name != self.data.name:
            text = f"{self.path.name} reads {named[:60]}; {self.data.name} was given and is taken instead"
            self.warnings.append(Notice("another-data", text))
        self._keep(command, "data", command.with_word(1, "{data}"))

    def _take_units(self, command: Command) -> None:
        self.units = self.plain(command, 1, "the units")
        if self.units not in _UNITS:
            raise command.refused(
                f"units {self.units[:20]}: temperatures, pressures and times are known in {' and '.join(_UNITS)} only"
            )
        self._keep(command, "once")

    def _take_timestep(self, command: Command) -> None:
        text = self.plain(command, 1, "the time step")
        try:
            self.timestep = float(text)
        except ValueError:
            self.timestep = math.nan
        if not 0 < self.timestep < math.inf:
            raise command.refused(f"timestep {text[:40]}: a number above zero is expected")

    def _style(self, command: Command) -> None:
        style = self.plain(command, 1, "the style")
        if "python" in (SUFFIX.sub("", word) for word in self._plain_words(command)[1:]):
            raise command.refused("pair style python runs Python; write the script without it")
        self._keep(command, "style", style=style)

    def _group(self, command: Command) -> None:
        # A restart file keeps who is in a group, but not that the group is dynamic.
        dynamic = len(command.words) > 2 and command.words[2] == "dynamic"
        self._keep(command, "after" if dynamic else "once")

    def _variable(self, command: Command) -> None:
        if len(command.words) < 3:
            raise command.refused(f"{command.text[:60]!r} is no variable")
        # A name or style that is itself a variable would be another one than is checked here.
        name, style = self.plain(command, 1, "the name"), self.plain(command, 2, "the style")
        words = command.words[3:]
        if style in REFUSED_VARIABLES:
            raise command.refused(
                f"a variable of style {style} {REFUSED_VARIABLES[style]}; write the script without it"
            )
        formula = " ".join(words)
        names, formulas = substitutions(command.text)
        for known in (self._moving, self._frozen, self._numbers):
            known.discard(name)
        if style in _NUMBERS or (style == "format" and len(words) == 2 and _FORMAT.fullmatch(words[1])):
            self._numbers.add(name)
        elif style not in ("index", "string", "delete", "format"):
            raise command.refused(f"a variable of style {style[:20]} is not known here; write the script without it")
        if any(one.startswith(("/", "~")) or ".." in one.split("/") for one in words):
            raise command.refused(f"{command.text[:60]!r} names a place outside the folder of the run")
        if "py_" in formula and re.search(r"\bpy_\w+", formula):
            raise command.refused("a formula with Python in it; write the script without it")
        if (
            names & (self._moving | self._frozen)
            or any(self._moves(text) for text in formulas)
            or self._frozen & set(_VARIABLE_WORD.findall(formula))
        ):
            self._frozen.add(name)
        if style in ("equal", "atom", "vector", "timer") and (self._moves(formula) or style == "timer"):
            self._moving.add(name)
        value = substituted(words[0], self.values) if words else None
        if style == "index" and name in self.values:
            pass  # LAMMPS keeps what an index variable was first
        elif value is not None and (style in ("index", "string") or (style == "equal" and _is_number(formula))):
            self.values[name] = value
        else:
            self.values.pop(name, None)
        where = "after" if self.has_data else "before"
        self.lines.append(InputLine(command.text, where, command))

    def _fix(self, command: Command) -> None:
        words = command.words
        if len(words) < 4:
            raise command.refused(f"{command.text[:60]!r}: a {words[0]} has a name, a group and a style")
        style = SUFFIX.sub("", self.plain(command, 3, "the style"))
        self._forget(words[0], words[1])
        if words[0] == "compute":
            self._keep(command, "after")
            return
        for part in (style, style.partition("/")[0]):
            if part in REFUSED_FIXES:
                raise command.refused(f"fix {style[:40]} {REFUSED_FIXES[part]}; write the script without it")
        for index in written_by(command, style):
            name = PurePath(words[index])
            if name.is_absolute() or ".." in name.parts:
                raise command.refused(
                    f"{str(name)[:60]!r}: files are written beside the run; give a name without folder"
                )
        if style in OWN_FILES:
            text = f"line {command.line}: the files of fix {style} begin anew when the run is gone on with"
            self.warnings.append(Notice("own-files", text))
        moves = any(kind.fullmatch(style) for kind in (INTEGRATOR, THERMOSTAT, BAROSTAT))
        self._keep(command, "after", motion=moves, style=style)

    def _fix_modify(self, command: Command) -> None:
        name = self.plain(command, 1, "the name")
        found = [line for line in self.lines if line.command.name == "fix" and line.command.words[1] == name]
        if not found:
            raise command.refused(f"{command.text[:60]!r}: there is no fix of that name")
        self._keep(command, "after", motion=found[0].motion)

    def _unfix(self, command: Command) -> None:
        name = self.plain(command, 1, "the name")
        if not self._forget(command.name.removeprefix("un"), name):
            raise command.refused(f"{command.text[:60]!r}: there is none of that name")

    def _forget(self, kind: str, name: str) -> bool:
        """Take out a fix or compute with what modifies it."""
        gone = [line for line in self.lines if line.command.name == kind and line.command.words[1] == name]
        gone += (
            [
                line
                for line in self.lines
                if line.command.name == f"{kind}_modify" and line.command.words[1:2] == (name,)
            ]
            if gone
            else []
        )
        self.lines = [line for line in self.lines if line not in gone]
        return bool(gone)

    def _runs(self, command: Command) -> None:
        if not self.has_data:
            raise command.refused("run before read_data")
        if self._run is not None and self._changed is not None:
            raise command.refused(
                f"this run is another one than that of line {self._run.line}, by line {self._changed.line} "
                f"({self._changed.text[:40]}); keep one of them in the script"
            )
        if "every" in command.words[2:]:
            place = command.words.index("every")
            if command.words[place + 2 : place + 3] != ("NULL",):
                raise command.refused("run with commands every so many steps cannot be gone on with; leave them out")
        self._run = self._run or command
        steps = substituted(command.words[1], self.values) if len(command.words) > 1 else None
        known = steps is not None and steps.isdecimal() and len(steps) < 19 and "upto" not in command.words
        self.run_steps = self.run_steps + int(steps or 0) if known and self.run_steps is not None else None


def inside(command: Command, home: Path, name: str) -> Path:
    """The file that a command names, which must lie in the script's folder or below; BadFileError else."""
    try:
        found = (home / name).resolve()
        if found.is_relative_to(home):
            return found
    except (OSError, ValueError, RuntimeError):
        pass
    raise command.refused(f"{name[:60]!r} lies outside the folder of the script; put a copy beside it")


def written_by(command: Command, style: str) -> list[int]:
    """Places of the words of a fix that name files which it writes."""
    if not WRITING_FIXES.fullmatch(style):
        return []
    words = command.words
    # The text of fix print is one word, in the place where others have numbers.
    return [index + 1 for index in range(5, len(words) - 1) if words[index] in ("file", "append")]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
