"""What a LAMMPS log says: tables of thermodynamic output, warnings, and the error that ended it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadFileError

if TYPE_CHECKING:
    import pandas as pd

_ERROR = re.compile(r"^ERROR(?: on proc \d+)?: *(.+?)(?: \((?:src/|\.\./|/)?[^()\s]+:\d+\))?$")
_WARNING = re.compile(r"^WARNING(?: on proc \d+)?: *(.+?)(?: \((?:src/|\.\./|/)?[^()\s]+:\d+\))?$")
_VERSION = re.compile(r"^LAMMPS \((.+)\)$")


@dataclass(frozen=True, eq=False)
class ThermoTable:
    """Output of one ``run`` or ``minimize``.

    Attributes
    ----------
    columns : tuple of str
        As LAMMPS heads them, such as ``("Step", "Temp")``; units are those of the run.
    values : (n_rows, n_columns) float array
    finished : bool
        False when the run was cut short.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64] = field(repr=False)
    finished: bool

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, column: str) -> NDArray[np.float64]:
        """One column, (n_rows,)."""
        if column not in self.columns:
            raise KeyError(f"no column {column!r}; there are {', '.join(self.columns)}")
        return self.values[:, self.columns.index(column)]

    def to_dataframe(self) -> pd.DataFrame:
        """The table with its columns."""
        import pandas as pd

        return pd.DataFrame(self.values, columns=list(self.columns))


@dataclass(frozen=True, eq=False)
class LammpsLog:
    """A log file.

    Attributes
    ----------
    path : Path
    version : str
    tables : tuple of ThermoTable
        One for each run, in order.
    warnings : tuple of str
        Each once, in order, without the place in LAMMPS' source.
    error : str
        Empty when there was none.
    error_line : str
        The input line at which it stopped, when LAMMPS says.
    wall : str
        ``h:mm:ss`` of a run that came to its end, else empty.
    """

    path: Path
    version: str
    tables: tuple[ThermoTable, ...]
    warnings: tuple[str, ...]
    error: str
    error_line: str
    wall: str

    @property
    def finished(self) -> bool:
        """Whether LAMMPS came to the end of its input."""
        return bool(self.wall) and not self.error


def read_log(path: str | Path) -> LammpsLog:
    """Read a log, finished or not, of ``thermo_modify line one`` (the default).

    Raises
    ------
    BadFileError
        When it cannot be read.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise BadFileError(path, f"cannot be read: {error.strerror or error}") from error
    version = wall = error_text = error_line = ""
    warnings: dict[str, None] = {}
    for line in lines:
        if found := _VERSION.match(line):
            version = version or found[1]
        elif found := _WARNING.match(line):
            warnings[found[1]] = None
        elif (found := _ERROR.match(line)) and not error_text:
            error_text = found[1].rstrip(".")
        elif line.startswith(("Last input line:", "Last command:")):
            error_line = line.partition(":")[2].strip()
        elif line.startswith("Total wall time:"):
            wall = line.partition(":")[2].strip()
    return LammpsLog(path, version, tuple(_tables(lines)), tuple(warnings), error_text, error_line, wall)


def _tables(lines: list[str]) -> Iterator[ThermoTable]:
    """Tables between the line that names the columns and ``Loop time``; lines that are no rows are passed over."""
    columns: tuple[str, ...] = ()
    rows: list[list[float]] = []
    for line in lines:
        words = line.split()
        if words and words[0] == "Step" and all(word[0].isalpha() for word in words):
            if columns:
                yield _table(columns, rows, False)
            columns, rows = tuple(words), []
        elif columns and line.startswith("Loop time of"):
            yield _table(columns, rows, True)
            columns = ()
        elif columns and len(words) == len(columns):
            row = _numbers(words)
            if row is not None:
                rows.append(row)
    if columns:
        yield _table(columns, rows, False)


def _numbers(words: list[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _table(columns: tuple[str, ...], rows: list[list[float]], finished: bool) -> ThermoTable:
    return ThermoTable(columns, np.array(rows, np.float64).reshape(-1, len(columns)), finished)
