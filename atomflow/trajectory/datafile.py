"""LAMMPS data files: what the atoms are, how they are bonded, and where they start.

MDAnalysis reads the atom styles ``full`` and ``molecular`` only, takes ``charge`` and ``atomic`` for the latter without
a word, and stops at type labels; hence a reader of our own. The format is that of
https://docs.lammps.org/read_data.html.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadFileError
from atomflow.trajectory.lammps_units import units_in_title
from atomflow.trajectory.textfiles import check_file, text_lines

#: Where id, molecule, type, charge and x stand, per atom style; -1 where the style has none.
_COLUMNS = {
    "atomic": (0, -1, 1, -1, 2),
    "charge": (0, -1, 1, 2, 3),
    "molecular": (0, 1, 2, -1, 3),
    "full": (0, 1, 2, 3, 4),
    "sphere": (0, -1, 1, -1, 4),
    "dipole": (0, -1, 1, 2, 3),
    "hybrid": (0, -1, 1, -1, 2),
}
_COLUMNS |= {"bond": _COLUMNS["molecular"], "angle": _COLUMNS["molecular"]}
#: Columns after x, y, z and before the image flags.
_TRAILING = {"dipole": 3}
_SECTION = re.compile(r"[A-Z][A-Za-z0-9]*( [A-Z][A-Za-z0-9]*)*")
_COUNT = re.compile("[0-9]{1,10}")
_NO_LIMIT = 10**10


@dataclass(frozen=True, eq=False)
class DataFile:
    """What a data file says, in its own units; atoms in the order of their ids.

    Attributes
    ----------
    path : Path
    title : str
        The first line.
    units : str or None
        Unit style, when ``write_data`` noted it in the title.
    style : str
        Atom style, from the hint behind ``Atoms`` or from the columns.
    ids : (n,) int array
    types : (n,) str array
        Numbers, also where the file has labels.
    positions : (n, 3) float64 array
        From the corner of the cell.
    cell : (3, 3) float64 array or None
        Vectors in rows.
    molecules, charges, images : arrays or None
        None where the style has none.
    bonds : (m, 2) int array or None
        Places in these arrays, from 0; None without a section ``Bonds``.
    masses, labels : dicts
        Type -> mass, and type -> what it is called: its label, or the first word of the comment behind its mass.
    """

    path: Path
    title: str
    units: str | None
    style: str
    ids: NDArray[np.int64]
    types: NDArray[np.str_]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64] | None
    molecules: NDArray[np.int64] | None
    charges: NDArray[np.float64] | None
    images: NDArray[np.int32] | None
    bonds: NDArray[np.intp] | None
    masses: dict[str, float]
    labels: dict[str, str]


def read_data_file(path: str | Path) -> DataFile:
    """Read a LAMMPS data file (also packed: .gz, .bz2, .xz, .zst).

    Raises
    ------
    BadFileError
        What is wrong, and in which section.
    """
    return _Reader(check_file(path)).read()


def count_atoms(path: Path) -> int | None:
    """Number of atoms in the header of a data file; None when this is no data file."""
    try:
        for line in islice(text_lines(path), 1, 60):
            words = line.partition("#")[0].split()
            if len(words) == 2 and words[1] == "atoms" and _COUNT.fullmatch(words[0]):
                return int(words[0])
    except BadFileError:
        pass
    return None


class _Reader:
    """One pass over the lines; sections that do not matter here are skipped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, int] = {}
        self.bounds: dict[str, tuple[float, ...]] = {}
        self.masses: dict[str, float] = {}
        self.labels: dict[str, str] = {}
        self.numbers: dict[str, str] = {}
        self.ends = array("q")
        self.has_bonds = False
        self.atoms: _Atoms | None = None

    def fail(self, reason: str) -> BadFileError:
        return BadFileError(self.path, reason)

    def read(self) -> DataFile:
        lines = text_lines(self.path)
        title = next(lines, "")
        section, hint = self._header(lines)
        while section:
            body = _Body(lines)
            if section == "Masses":
                self._read_masses(body)
            elif section == "Atom Type Labels":
                self._read_labels(body)
            elif section == "Atoms":
                self._read_atoms(body, hint)
            elif section == "Bonds":
                self._read_bonds(body)
            else:
                for _ in body:
                    pass
            section, hint = body.following
        if self.atoms is None:
            raise self.fail("has no section Atoms; not a LAMMPS data file")
        return self._gathered(title, self.atoms)

    def _header(self, lines: Iterator[str]) -> tuple[str, str]:
        for line in lines:
            text, _, comment = line.partition("#")
            words = text.split()
            if not words:
                continue
            if _SECTION.fullmatch(text.strip()):
                return text.strip(), comment.strip()
            key = " ".join(word for word in words if word[0].isalpha())
            values = [word for word in words if not word[0].isalpha()]
            if key in ("atoms", "bonds", "atom types"):
                self.counts[key] = self._count(values, key)
            elif key in ("xlo xhi", "ylo yhi", "zlo zhi", "xy xz yz", "avec", "bvec", "cvec", "abc origin"):
                numbers = tuple(self._number(value, key) for value in values)
                if len(numbers) != (2 if key.endswith("hi") else 3):
                    raise self.fail(f"line {key!r} has {len(numbers)} numbers")
                self.bounds[key] = numbers
        return "", ""

    def _count(self, values: list[str], key: str) -> int:
        if len(values) != 1 or not _COUNT.fullmatch(values[0]):
            raise self.fail(f"the number of {key} in the header is not a number")
        return int(values[0])

    def _number(self, text: str, where: str) -> float:
        try:
            value = float(text)
        except ValueError as error:
            raise self.fail(f"{where}: {text[:20]!r} is not a number") from error
        if not math.isfinite(value):
            raise self.fail(f"{where}: {text[:20]!r} is not finite")
        return value

    def _whole(self, text: str, where: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise self.fail(f"{where}: {text[:20]!r} is not a whole number") from error
        if abs(value) > 1 << 62:
            raise self.fail(f"{where}: {text[:20]!r} is too large")
        return value

    def _read_labels(self, body: _Body) -> None:
        for text, _ in body:
            words = text.split()
            if len(words) != 2 or not _COUNT.fullmatch(words[0]):
                raise self.fail(f"Atom Type Labels: {text[:40]!r} is not a type and its label")
            self.labels[words[0]] = words[1]
            self.numbers[words[1]] = words[0]

    def _read_masses(self, body: _Body) -> None:
        for text, comment in body:
            words = text.split()
            if len(words) != 2:
                raise self.fail(f"Masses: {text[:40]!r} is not a type and its mass")
            kind = self.numbers.get(words[0], words[0])
            self.masses[kind] = self._number(words[1], "Masses")
            if comment:
                self.labels.setdefault(kind, comment.split()[0])

    def _read_atoms(self, body: _Body, hint: str) -> None:
        if self.atoms is not None:
            raise self.fail("has two sections Atoms")
        first = list(islice(body, 500))
        if not first:
            raise self.fail("the section Atoms is empty")
        rows = [text.split() for text, _ in first]
        self.atoms = atoms = _Atoms(self.path, *self._style(rows, hint), len(rows[0]))
        most = self.counts.get("atoms", _NO_LIMIT)
        for text, _ in chain(first, body):
            words = text.split()
            if len(atoms.ids) == most:
                raise self.fail(f"the section Atoms has more than the {most} atoms of the header")
            if len(words) != atoms.width:
                raise self.fail(f"atom line {text[:40]!r} has {len(words)} columns, the first has {atoms.width}")
            try:
                atoms.add(words)
            except (ValueError, OverflowError) as error:
                raise self.fail(
                    f"atom line {text[:40]!r} is not of atom style {atoms.style}; write the style behind Atoms: # full"
                ) from error
        if "atoms" in self.counts and len(atoms.ids) != most:
            raise self.fail(f"the header says {most} atoms but the section Atoms has {len(atoms.ids)}")

    def _style(self, rows: list[list[str]], hint: str) -> tuple[str, bool]:
        """Atom style, and whether image flags follow: from the hint when it fits, else from the columns."""
        words = hint.split()
        # LAMMPS writes "full/kk" for accelerated styles and "full # ..." never.
        hinted = words[0].partition("/")[0] if words else ""
        width = len(rows[0])
        if hinted in _COLUMNS:
            plain = _COLUMNS[hinted][4] + 3 + _TRAILING.get(hinted, 0)
            if hinted == "hybrid" and width >= plain:
                return hinted, False
            if width in (plain, plain + 3):
                return hinted, width == plain + 3
            raise self.fail(f"Atoms # {hinted} has {width} columns, expected {plain} or {plain + 3}")
        if width in (5, 8):
            return "atomic", width == 8
        if width in (7, 10):
            return "full", width == 10
        if width in (6, 9):
            return ("molecular" if self._has_molecules(rows) else "charge"), width == 9
        raise self.fail(f"atom lines have {width} columns; name the atom style behind Atoms: # full")

    def _has_molecules(self, rows: list[list[str]]) -> bool:
        """Whether the columns after the id are molecule and type, not type and charge."""
        kinds = self.counts.get("atom types", _NO_LIMIT)
        third = [row[2] for row in rows if len(row) > 2]
        return all(text in self.numbers or (_COUNT.fullmatch(text) and 1 <= int(text) <= kinds) for text in third)

    def _read_bonds(self, body: _Body) -> None:
        self.has_bonds = True
        most = self.counts.get("bonds", _NO_LIMIT)
        for text, _ in body:
            words = text.split()
            if len(words) != 4:
                raise self.fail(f"Bonds: {text[:40]!r} is not an id, a type and two atoms")
            if len(self.ends) >= 2 * most:
                raise self.fail(f"the section Bonds has more than the {most} bonds of the header")
            self.ends.extend((self._whole(words[2], "Bonds"), self._whole(words[3], "Bonds")))
        if "bonds" in self.counts and len(self.ends) != 2 * most:
            raise self.fail(f"the header says {most} bonds but the section Bonds has {len(self.ends) // 2}")

    def _gathered(self, title: str, atoms: _Atoms) -> DataFile:
        ids = np.array(atoms.ids, np.int64)
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        if len(ids) > 1 and (ids[1:] == ids[:-1]).any():
            raise self.fail(f"two atoms have the id {ids[1:][ids[1:] == ids[:-1]][0]}")
        cell, origin = self._cell()
        return DataFile(
            path=self.path,
            title=title,
            units=units_in_title(title),
            style=atoms.style,
            ids=ids,
            types=self._types(atoms)[order],
            positions=np.array(atoms.places).reshape(-1, 3)[order] - origin,
            cell=cell,
            molecules=np.array(atoms.molecules, np.int64)[order] if atoms.molecules else None,
            charges=np.array(atoms.charges)[order] if atoms.charges else None,
            images=np.array(atoms.images, np.int32).reshape(-1, 3)[order] if atoms.images else None,
            bonds=self._bonds(ids),
            masses=self.masses,
            labels=self.labels,
        )

    def _types(self, atoms: _Atoms) -> NDArray[np.str_]:
        kinds = self.counts.get("atom types", _NO_LIMIT)
        names: list[str] = []
        for text in atoms.kinds:
            number = self.numbers.get(text, text)
            if not _COUNT.fullmatch(number) or not 1 <= int(number) <= kinds:
                raise self.fail(f"atom type {text[:20]!r} is neither a number from 1 to {kinds} nor a label")
            names.append(number.lstrip("0"))
        return np.array(names)[np.frombuffer(atoms.types, np.int64)]

    def _bonds(self, ids: NDArray[np.int64]) -> NDArray[np.intp] | None:
        if not self.has_bonds:
            return None
        ends = np.array(self.ends, np.int64)
        places = np.minimum(np.searchsorted(ids, ends), len(ids) - 1)
        if (lost := ids[places] != ends).any():
            raise self.fail(f"Bonds: there is no atom {ends[lost][0]}")
        return places.reshape(-1, 2)

    def _cell(self) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
        """Cell vectors and their origin."""
        if {"avec", "bvec", "cvec"} <= self.bounds.keys():
            cell = np.array([self.bounds[key] for key in ("avec", "bvec", "cvec")])
            origin = np.array(self.bounds.get("abc origin", (0.0, 0.0, 0.0)))
        elif {"xlo xhi", "ylo yhi", "zlo zhi"} <= self.bounds.keys():
            low, high = np.array([self.bounds[key] for key in ("xlo xhi", "ylo yhi", "zlo zhi")]).T
            xy, xz, yz = self.bounds.get("xy xz yz", (0.0, 0.0, 0.0))
            lx, ly, lz = high - low
            cell, origin = np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]]), low
        else:
            return None, np.zeros(3)
        with np.errstate(all="ignore"):
            volume = float(np.linalg.det(cell))
        if not volume > 0 or not math.isfinite(volume):
            raise self.fail("the cell has no volume")
        return cell, origin


class _Body:
    """Lines of one section, as text and comment; ``following`` is the next section and its hint, at the end."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._over = False
        self.following = ("", "")

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self

    def __next__(self) -> tuple[str, str]:
        # Asked again after its end, it must not go on into the next section.
        for line in () if self._over else self._lines:
            text, _, comment = line.partition("#")
            text = text.strip()
            if not text:
                continue
            if text[0].isupper() and _SECTION.fullmatch(text):
                self.following = (text, comment.strip())
                break
            return text, comment.strip()
        self._over = True
        raise StopIteration


class _Atoms:
    """Columns of the section Atoms, compact while they grow."""

    def __init__(self, path: Path, style: str, flagged: bool, width: int) -> None:
        self.style, self.width = style, width
        self._id, self._molecule, self._type, self._charge, self._x = _COLUMNS[style]
        self._flags = width - 3 if flagged else 0
        self.ids, self.molecules, self.types = array("q"), array("q"), array("q")
        self.charges, self.places, self.images = array("d"), array("d"), array("i")
        #: Different types, in the order of their first atoms.
        self.kinds: dict[str, int] = {}

    def add(self, words: list[str]) -> None:
        """One atom; ValueError or OverflowError where a word does not fit."""
        self.ids.append(int(words[self._id]))
        self.types.append(self.kinds.setdefault(words[self._type], len(self.kinds)))
        if self._molecule >= 0:
            self.molecules.append(int(words[self._molecule]))
        if self._charge >= 0:
            charge = float(words[self._charge])
            if not math.isfinite(charge):
                raise ValueError
            self.charges.append(charge)
        self.places.extend(map(float, words[self._x : self._x + 3]))
        if self._flags:
            self.images.extend(map(int, words[self._flags :]))
