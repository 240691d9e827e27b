"""Header of one frame of a LAMMPS dump: step, count, box, columns.

Boxes: https://docs.lammps.org/Howto_triclinic.html. The bounds of a tilted box are those of the upright box around it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: A header longer than this is none, bytes.
LONGEST_HEADER = 1 << 16

_BOUNDARY = re.compile("[pfsm]{2}")
_INTEGER = re.compile(r"[+-]?\d{1,18}")


class BadHeader(ValueError):  # noqa: N818 - a reason for BadFileError, which knows the path
    """Why a header cannot be read."""


@dataclass(frozen=True, slots=True)
class Header:
    """What stands above the atoms; lengths and times in the units of the file.

    Attributes
    ----------
    start, data : int
        Where the header and the first atom line begin in the text.
    cut : bool
        The header of another frame, broken off, stands before it.
    cell, origin : (3, 3) and (3,) float64 arrays
        Zeros where there is no box, NaN where a bound is not finite.
    """

    start: int
    data: int
    step: int
    n_atoms: int
    columns: tuple[str, ...]
    cell: NDArray[np.float64]
    origin: NDArray[np.float64]
    periodic: tuple[bool, bool, bool]
    time: float | None = None
    units: str | None = None
    cut: bool = False


def read_header(text: bytes, at: int) -> Header | None:
    """Header that begins at ``at``; None where the text ends before it does.

    Raises
    ------
    BadHeader
        What stands there is not one.
    """
    end = text.find(b"ITEM: ATOMS", at)
    stop = text.find(b"\n", end) if end >= 0 else -1
    if stop < 0:
        return None
    step = text.rfind(b"ITEM: TIMESTEP", at, end)
    cut = text.count(b"ITEM: TIMESTEP", at, end) > 1 or (step > at and text[step - 1] != 10)
    begin = step if cut else at
    columns = tuple(text[end + 11 : stop].decode("latin-1").split())
    if not columns:
        raise BadHeader("ITEM: ATOMS names no columns; write the dump with LAMMPS of 2011 or later")
    items = _items(text[begin:end].decode("latin-1"))
    if "NUMBER OF ENTRIES" in items or "NUMBER OF GRID CELLS" in items:
        raise BadHeader("this is a dump of local or grid data, not of atoms")
    box = next((name for name in items if name.startswith("BOX BOUNDS")), "BOX BOUNDS")
    for name in ("TIMESTEP", "NUMBER OF ATOMS", box):
        if name not in items:
            raise BadHeader(f"no ITEM: {name} before ITEM: ATOMS")
    cell, origin, periodic = _box(box[10:], tuple(items[box]))
    time = _first(items, "TIME")
    return Header(
        start=begin,
        data=stop + 1,
        step=_integer(items, "TIMESTEP"),
        n_atoms=_integer(items, "NUMBER OF ATOMS"),
        columns=columns,
        cell=cell,
        origin=origin,
        periodic=periodic,
        time=None if time is None else _numbers(time, 1)[0],
        units=_first(items, "UNITS"),
        cut=cut,
    )


def _items(text: str) -> dict[str, list[str]]:
    """The lines below each ITEM."""
    items: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("ITEM:"):
            lines = items[" ".join(stripped[5:].split())] = []
        elif stripped:
            if lines is None:
                raise BadHeader(f"{stripped[:40]!r} where ITEM: TIMESTEP should be")
            lines.append(stripped)
    return items


def _first(items: dict[str, list[str]], name: str) -> str | None:
    return next(iter(items.get(name, ())), None)


def _integer(items: dict[str, list[str]], name: str) -> int:
    value = _first(items, name) or ""
    if not _INTEGER.fullmatch(value):
        raise BadHeader(f"{value[:40]!r} for ITEM: {name}, where an integer should be")
    return int(value)


def _numbers(line: str, least: int) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        values = []
    if len(values) < least:
        raise BadHeader(f"{line[:60]!r} where {least} number{'s' * (least > 1)} should be")
    return values


@lru_cache(maxsize=16)  # Usually all frames have the same box.
def _box(
    bounds: str, lines: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[bool, bool, bool]]:
    if len(lines) != 3:
        raise BadHeader(f"{len(lines)} lines below ITEM: BOX BOUNDS, where 3 should be")
    words = bounds.split()
    tilted, general = words[:3] == ["xy", "xz", "yz"], words[:2] == ["abc", "origin"]
    flags = [word for word in words if _BOUNDARY.fullmatch(word)]
    x, y, z = (flag == "pp" for flag in flags) if len(flags) == 3 else (True, True, True)
    rows = [_numbers(line, 4 if general else 3 if tilted else 2) for line in lines]
    if general:
        cell, origin = [row[:3] for row in rows], [row[3] for row in rows]
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = cell
        volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    else:
        xy, xz, yz = (row[2] for row in rows) if tilted else (0.0, 0.0, 0.0)
        origin = [rows[0][0] - min(0.0, xy, xz, xy + xz), rows[1][0] - min(0.0, yz), rows[2][0]]
        high = (rows[0][1] - max(0.0, xy, xz, xy + xz), rows[1][1] - max(0.0, yz), rows[2][1])
        a, b, c = (top - bottom for top, bottom in zip(high, origin, strict=True))
        cell = [[a, 0.0, 0.0], [xy, b, 0.0], [xz, yz, c]]
        volume = a * b * c if min(a, b, c) > 0 else 0.0
    flat = [number for row in (*cell, origin) for number in row]
    if not all(map(math.isfinite, (volume, *flat))):
        return np.full((3, 3), math.nan), np.full(3, math.nan), (x, y, z)
    if volume <= 0 and any(flat[:9]):
        raise BadHeader(f"a box without volume below ITEM: BOX BOUNDS: {'; '.join(lines)[:120]}")
    return np.array(cell), np.array(origin), (x, y, z)
