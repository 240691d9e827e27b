"""The parts of a report, free of any layout: what a study fills in and the writers of this room read."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from atomflow.errors import BadOptionError
from atomflow.model import Notice
from atomflow.model.writing import write_atomically

#: Shown where a value is missing.
MISSING = "–"


@dataclass(frozen=True)
class Column:
    """One column of a :class:`Table`.

    Parameters
    ----------
    key : str
        Name of the value in each row, and header of the csv file; carries the unit (``energy_eV``).
    label, unit : str
        What people read in the header.
    digits : int, optional
        Decimals shown for numbers; None shows values as text.
    """

    key: str
    label: str
    unit: str = ""
    digits: int | None = None

    @property
    def heading(self) -> str:
        """Label and unit, for example ``"Binding energy (eV)"``."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def show(self, value: object) -> str:
        """Text of one cell; an en dash for None and NaN."""
        if is_missing(value):
            return MISSING
        if isinstance(value, bool):
            return "yes" if value else "no"
        if self.digits is not None and isinstance(value, Real):
            number = round(float(value), self.digits)
            return f"{number + 0.0:.{self.digits}f}"  # adding zero turns "-0.00" into "0.00"
        return str(value)


@dataclass(frozen=True)
class Table:
    """Rows of values under typed columns; a row may lack a value."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, object], ...]
    note: str = ""

    def is_numeric(self, column: Column) -> bool:
        """Whether every value present in the column is a number, so that it aligns right and sorts by value."""
        present = [value for row in self.rows if not is_missing(value := row.get(column.key))]
        if not present:
            return column.digits is not None
        return all(isinstance(value, Real) and not isinstance(value, bool) for value in present)

    def to_csv(self, path: str | Path) -> Path:
        """Write the table with every digit, keys as header, missing values empty.

        Raises
        ------
        OutputError
            When the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.key for column in self.columns])
        for row in self.rows:
            writer.writerow([_exact(row.get(column.key)) for column in self.columns])
        return write_atomically(path, text.getvalue())

    def to_text(self, width: int | None = None) -> str:
        """Table for the terminal, without colour; as wide as it needs unless ``width`` is given (characters)."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table as Grid
        from rich.text import Text

        # Text objects, not strings: rich would read "[bold]" in a user's label as markup.
        grid = Grid(
            title=Text(self.title),
            box=SIMPLE_HEAD,
            caption=Text(self.note) if self.note else None,
            title_justify="left",
            caption_justify="left",
        )
        for column in self.columns:
            grid.add_column(
                Text(column.heading), justify="right" if self.is_numeric(column) else "left", overflow="fold"
            )
        for row in self.rows:
            grid.add_row(*(Text(column.show(row.get(column.key))) for column in self.columns))
        if width is None:
            probe = Console(width=10_000, file=io.StringIO())
            width = max(probe.measure(grid).maximum, len(self.title), min(len(self.note), 100))
        console = Console(width=width, file=io.StringIO(), color_system=None)
        with console.capture() as captured:
            console.print(grid)
        return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


@dataclass(frozen=True)
class BarChart:
    """Grouped bars over categories, with optional error bars and reference values.

    Parameters
    ----------
    name : str
        File stem of the figure.
    title, ylabel, caption : str
        The unit belongs into ``ylabel``.
    categories : tuple of str
        Names along the axis.
    series : mapping of str to sequence of float or None
        One bar per category and series; None leaves a gap.
    errors : mapping, optional
        Half lengths of error bars, by the names of ``series``.
    reference : mapping, optional
        Values drawn as markers, such as literature. Under the name of a series the markers stand on its bars, under
        any other name in the middle of the category.
    """

    name: str
    title: str
    ylabel: str
    categories: tuple[str, ...]
    series: Mapping[str, Sequence[float | None]]
    errors: Mapping[str, Sequence[float | None]] | None = None
    reference: Mapping[str, Sequence[float | None]] | None = None
    caption: str = ""

    def __post_init__(self) -> None:
        for kind, values in (
            ("series", self.series),
            ("errors", self.errors or {}),
            ("reference", self.reference or {}),
        ):
            for key, numbers in values.items():
                if len(numbers) != len(self.categories):
                    raise BadOptionError(
                        f"chart {self.name!r}: {kind} {key!r} has {len(numbers)} values for {len(self.categories)} categories"
                    )
        if unknown := sorted(set(self.errors or {}) - set(self.series)):
            raise BadOptionError(f"chart {self.name!r}: error bars of {unknown[0]!r}, which is not a series")


@dataclass(frozen=True)
class Curve:
    """One line of a :class:`LineChart`.

    Parameters
    ----------
    label : str
        Name in the legend; "" for none.
    x, y : sequence of float
        What is not finite leaves a gap; on a logarithmic axis so does what is not positive.
    low, high : sequence of float, optional
        Limits of a band around the line.
    dashed : bool
        For fits and guides; such a line has the colour of the one before it.
    right : bool
        Belongs to the axis on the right, dotted; it too has the colour of the one before it.
    """

    label: str
    x: Sequence[float] | NDArray[np.floating]
    y: Sequence[float] | NDArray[np.floating]
    low: Sequence[float] | NDArray[np.floating] | None = None
    high: Sequence[float] | NDArray[np.floating] | None = None
    dashed: bool = False
    right: bool = False

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.x, self.y, self.low, self.high) if part is not None}
        if len(lengths) != 1:
            raise BadOptionError(f"curve {self.label!r}: x, y and its band have different lengths {sorted(lengths)}")


@dataclass(frozen=True)
class LineChart:
    """Curves over a common axis; units belong into the labels of the axes."""

    name: str
    title: str
    xlabel: str
    ylabel: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    log_y: bool = False
    right_label: str = ""
    caption: str = ""


@dataclass(frozen=True)
class View:
    """One structure for the 3-D viewer, with its label and a line of detail."""

    label: str
    atoms: Atoms
    detail: str = ""


@dataclass(frozen=True)
class Reference:
    """A source as people cite it, and its doi (bare, as in ``10.1093/bioinformatics/btu829``, or as a URL)."""

    text: str
    doi: str = ""

    @property
    def link(self) -> str:
        """``https://doi.org/...`` or an empty string."""
        bare = self.doi.strip()
        for prefix in ("https://doi.org/", "http://doi.org/", "https://dx.doi.org/", "http://dx.doi.org/", "doi:"):
            bare = bare.removeprefix(prefix)
        return f"https://doi.org/{bare.strip()}" if bare.strip() else ""


@dataclass(frozen=True)
class Report:
    """Everything a reader needs to use, judge and repeat a study.

    Parameters
    ----------
    title, question, answer : str
        The answer is the lead sentence of the page.
    tables, charts, views : tuple
        The evidence.
    method : tuple of str
        Paragraphs of "How it was computed".
    references : tuple of Reference
    warnings : tuple of Notice
        What may mislead; shown before everything else.
    provenance : mapping of str to str
        Command, version, date, seed, wall time: what it takes to repeat the study.
    """

    title: str
    question: str
    answer: str
    tables: tuple[Table, ...] = ()
    charts: tuple[BarChart | LineChart, ...] = ()
    views: tuple[View, ...] = ()
    method: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    warnings: tuple[Notice, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def is_missing(value: object) -> bool:
    """Whether a value is absent: None or NaN."""
    return value is None or (isinstance(value, Real) and math.isnan(value))


def _exact(value: object) -> str:
    if is_missing(value):
        return ""
    # numpy scalars register as Integral and Real but their repr is "np.float64(1.0)"
    if isinstance(value, Real) and not isinstance(value, (bool, Integral)):
        return repr(float(value))
    return str(value)
