"""VASP's XDATCAR, of constant or variable cell, read frame by frame."""

from __future__ import annotations

import re
from typing import IO

import numpy as np
from numpy.typing import NDArray

from atomflow.trajectory.array_source import cell_matrix
from atomflow.trajectory.text_source import TextSource, cut_off
from atomflow.trajectory.textfiles import first_line

_MARK = re.compile(rb"^[ \t]*(?:Direct|Cartesian) configuration[^\n]*\n", re.MULTILINE)
_CHUNK = 1 << 22
_LONGEST_HEADER = 1 << 14
#: "0 0 0" and its end.
_SHORTEST_LINE = 6


class XdatcarSource(TextSource):
    """Frames of an XDATCAR; a header stands before every frame (variable cell), or before the first only."""

    def _scan(self, stream: IO[bytes]) -> None:
        marks = _marks(stream)
        size = stream.seek(0, 2)
        if not marks:
            raise self.fail("has no line 'Direct configuration='; not an XDATCAR")
        cells: list[NDArray[np.float64]] = []
        which: list[int] = []
        before = 0
        for number, (start, end, cartesian) in enumerate(marks):
            if cartesian:
                raise self.fail(f"frame {number} is in Cartesian coordinates, which VASP does not write here")
            stream.seek(max(before, start - _LONGEST_HEADER))
            header = stream.read(start - stream.tell()).decode("utf-8", "replace").splitlines()
            found = self._header(header, required=number == 0)
            if found is not None:
                cells.append(found)
            which.append(len(cells) - 1)
            before = end
        self._cells, self._which = np.array(cells), np.array(which)
        self._set_places(stream, [end for _, end, _ in marks], size)

    def _set_places(self, stream: IO[bytes], starts: list[int], size: int) -> None:
        """A frame begins behind its mark and ends before the next; only a last one may be cut off."""
        if self.n_atoms * _SHORTEST_LINE > size - starts[0]:
            raise self.fail(f"the header says {self.n_atoms} atoms, more than the file can hold; it is cut off")
        self.places = np.array([*starts, size], np.int64)
        self.n_frames = len(starts)
        stream.seek(starts[-1])
        last = stream.read(size - starts[-1])
        rows = last.split(b"\n")[: self.n_atoms]
        if (
            len(rows) < self.n_atoms
            or len(rows[-1].split()) < 3
            or (not last.endswith(b"\n") and cut_off(rows[-1], rows[-2] if len(rows) > 1 else b""))
        ):
            self.n_frames -= 1
            self.places = self.places[:-1]
            if self.n_frames:
                self._truncated(self.n_frames)

    def _header(self, lines: list[str], *, required: bool) -> NDArray[np.float64] | None:
        """Cell of the header that ends with these lines; None when they are coordinates of the frame before."""
        counts = lines[-1].split() if lines else []
        is_header = bool(counts) and all(re.fullmatch(r"[0-9]{1,9}", word) for word in counts)
        if not is_header and not required:
            return None
        try:
            if not is_header:
                raise ValueError("no line with the numbers of atoms")
            numbers = [int(word) for word in counts]
            symbols = lines[-2].split()
            has_symbols = not _is_number(symbols[0]) if symbols else False
            vectors = lines[-5:-2] if has_symbols else lines[-4:-1]
            scale = float(lines[-6 if has_symbols else -5])
            matrix = np.array([[float(word) for word in line.split()[:3]] for line in vectors])
            # A negative factor is the volume of the cell (https://www.vasp.at/wiki/index.php/POSCAR).
            factor = scale if scale > 0 else (-scale / abs(np.linalg.det(matrix))) ** (1 / 3)
            cell = cell_matrix(factor * matrix)
        except (ValueError, IndexError, ZeroDivisionError) as error:
            raise self.fail(f"a header cannot be read ({first_line(error)})") from error
        if has_symbols and len(symbols) != len(numbers):
            raise self.fail(f"a header has {len(symbols)} elements and {len(numbers)} numbers of atoms")
        if required:
            if not 0 < sum(numbers) < 10**9:
                raise self.fail(f"a header says {sum(numbers)} atoms")
            self.n_atoms = sum(numbers)
            self._counts = numbers
            # VASP 6 may add a hash of the potential: "Li_sv/a0c8c1d".
            self._symbols = [re.split(r"[_/]", symbol)[0] for symbol in symbols] if has_symbols else None
        elif numbers != self._counts:
            raise self.fail(f"a later header has {sum(numbers)} atoms in another order; the first has {self.n_atoms}")
        return cell

    @property
    def symbols(self) -> list[str] | None:
        """Element of every atom; None in the files of VASP 4, which do not say."""
        if self._symbols is None:
            return None
        return [symbol for symbol, count in zip(self._symbols, self._counts, strict=True) for _ in range(count)]

    def _parse(self, index: int, text: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        rows = text.decode("ascii", "replace").split("\n", self.n_atoms)[: self.n_atoms]
        places = np.loadtxt(rows, usecols=(0, 1, 2), comments=None, ndmin=2)
        if len(places) != self.n_atoms:
            raise self.fail(f"frame {index} has {len(places)} atom lines, not {self.n_atoms}")
        cell = self._cells[self._which[index]]
        return places @ cell, cell


def _marks(stream: IO[bytes]) -> list[tuple[int, int, bool]]:
    """Begin and end of every line that opens a frame, and whether it says Cartesian."""
    stream.seek(0)
    found: list[tuple[int, int, bool]] = []
    base, rest = 0, b""
    while chunk := stream.read(_CHUNK):
        whole, newline, after = (rest + chunk).rpartition(b"\n")
        text = whole + newline
        for match in _MARK.finditer(text):
            found.append((base + match.start(), base + match.end(), b"Cartesian" in match.group()))
        base += len(text)
        # A line without an end in sight is no line of an XDATCAR.
        rest = after if len(after) < _LONGEST_HEADER else b""
        base += len(after) - len(rest)
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
