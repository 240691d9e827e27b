"""Reading a LAMMPS log while it is written: new rows of the thermo table, errors, speed."""

from __future__ import annotations

import os
import re
from pathlib import Path

#: A log that grows faster than it is read must not fill the memory at once.
_MOST_AT_ONCE = 4_000_000
_LOOP = re.compile(r"^Loop time of ([0-9.eE+-]+) on \d+ procs for (\d+) steps with (\d+) atoms")
_GRID = re.compile(r"^\s+(\d+) by (\d+) by (\d+) MPI processor grid")
_ERROR = re.compile(r"^ERROR(?: on proc \d+)?: *(.+)$")


class LogFollower:
    """A log that may still grow.

    Parameters
    ----------
    path : Path
        It need not be there yet.

    Attributes
    ----------
    columns : tuple of str
        Of the newest table; empty before there is one.
    rows : dict of int to tuple of float
        Rows by step. A step that is printed twice, at the end of one run and the start of the next, is there once.
    loops : list of (seconds, steps)
        Of the finished runs.
    errors : list of str
    ranks : int
        Processes that it runs on, as it says; 0 before it does.
    grown_bytes : int
        How much was read so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: tuple[str, ...] = ()
        self.rows: dict[int, tuple[float, ...]] = {}
        self.loops: list[tuple[float, int]] = []
        self.errors: list[str] = []
        self.ranks = 0
        self.grown_bytes = 0
        self._rest = ""
        self._in_table = False

    def poll(self) -> list[int]:
        """Read what is new; the steps whose rows were added."""
        new: list[int] = []
        while chunk := self._read():
            lines = (self._rest + chunk).split("\n")
            self._rest = lines.pop()
            for line in lines:
                self._take(line, new)
        return new

    def _read(self) -> str:
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.grown_bytes, os.SEEK_SET)
                data = stream.read(_MOST_AT_ONCE)
        except OSError:
            return ""
        self.grown_bytes += len(data)
        return data.decode("utf-8", errors="replace")

    def _take(self, line: str, new: list[int]) -> None:
        words = line.split()
        if not words:
            return
        if words[0] == "Step" and all(word[0].isalpha() for word in words):
            self.columns, self._in_table = tuple(words), True
        elif found := _LOOP.match(line):
            self.loops.append((float(found[1]), int(found[2])))
            self._in_table = False
        elif found := _GRID.match(line):
            self.ranks = int(found[1]) * int(found[2]) * int(found[3])
        elif found := _ERROR.match(line):
            self.errors.append(found[1])
        elif self._in_table and len(words) == len(self.columns):
            try:
                row = tuple(float(word) for word in words)
                step = int(words[0])
            except ValueError:
                return
            self.rows[step] = row
            new.append(step)
