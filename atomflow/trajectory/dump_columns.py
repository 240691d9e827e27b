"""Which columns of a LAMMPS dump are read, and in which units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import units as ase_units
from numpy.typing import NDArray

from atomflow.errors import BadFileError
from atomflow.trajectory.dump_index import DumpIndex
from atomflow.trajectory.frames import Layout

#: Length in angstrom and time in picoseconds of LAMMPS' unit styles (https://docs.lammps.org/units.html).
UNITS = {
    "real": (1.0, 1e-3),
    "metal": (1.0, 1.0),
    "si": (1e10, 1e12),
    "cgs": (1e8, 1e12),
    "electron": (ase_units.Bohr, 1e-3),
    "micro": (1e4, 1e6),
    "nano": (10.0, 1e3),
}


@dataclass(frozen=True)
class ColumnPlan:
    """What to read from a line: ``columns`` up to the last that matters, as the kernels number them."""

    columns: NDArray[np.int64]
    id_column: int
    layout: Layout
    scaled: bool


def plan_of(path: Path, index: DumpIndex) -> ColumnPlan:
    """Choose the columns to read: with image flags rather than already unwrapped, unwrapped rather than wrapped.

    Raises
    ------
    BadFileError
        No coordinates, two columns of one name, or scaled coordinates without a box.
    """
    columns = index.columns
    from_flags = all(name in columns for name in ("ix", "iy", "iz"))
    orders: list[tuple[str, Layout]] = [("xu", "unwrapped"), ("xsu", "unwrapped"), ("x", "wrapped"), ("xs", "wrapped")]
    if from_flags:
        orders = [("x", "images"), ("xs", "images"), *orders]
    there = [order for order in orders if all(axis + order[0][1:] in columns for axis in "xyz")]
    if not there:
        raise BadFileError(path, f"no coordinates (x y z, xs, xu or xsu) among its columns {' '.join(columns)[:200]}")
    name, layout = there[0]
    axes = [axis + name[1:] for axis in "xyz"]
    doubled = [axis for axis in axes if columns.count(axis) > 1]
    if doubled or columns.count("id") > 1:
        raise BadFileError(path, f"the column {(doubled or ['id'])[0]} is there more than once")
    scaled = name.startswith("xs")
    if scaled and not index.cells.any(axis=(1, 2)).all():
        raise BadFileError(path, f"scaled coordinates ({name}) without a box")
    kinds = {axis: k for k, axis in enumerate(axes)} | {"id": -2}
    if layout == "images":
        kinds |= {"ix": 3, "iy": 4, "iz": 5}
    elif not any(index.periodic):
        layout = "unwrapped"
    elif layout == "wrapped" and not index.cells.any():
        layout = "unknown"
    codes = [kinds.get(column, -1) for column in columns]
    last = max(k for k, code in enumerate(codes) if code != -1)
    return ColumnPlan(
        columns=np.array(codes[: last + 1], dtype=np.int64),
        id_column=columns.index("id") if "id" in columns else -1,
        layout=layout,
        scaled=scaled,
    )
