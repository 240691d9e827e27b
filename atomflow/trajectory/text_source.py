"""Text trajectories read frame by frame: XYZ (plain, CP2K's, LAMMPS', extended), XDATCAR, and GRO with many frames.

The file is scanned once for the places of its frames; a frame is then read from there, so that memory does not grow
with the file. ASE and pymatgen hold a whole XDATCAR in memory, and MDAnalysis reads the first frame of a GRO only.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadFileError
from atomflow.model import Notice
from atomflow.trajectory.array_source import cell_matrix
from atomflow.trajectory.ase_source import notice_of_periodicity
from atomflow.trajectory.frames import Frame, Layout
from atomflow.trajectory.textfiles import (
    LONGEST_LINE,
    MOST_UNPACKED,
    UNPACKED_FLOOR,
    check_file,
    first_line,
    open_bytes,
    packing,
)

_CHUNK = 1 << 22
#: A frame line is at least this long in bytes: "H 0 0 0".
_SHORTEST_LINE = 6


class TextSource:
    """What the text formats have in common: an index of frames by byte, and unpacking.

    A packed file (gzip, bzip2, xz, zstd) is unpacked once into an unlinked temporary file, since its frames cannot be
    found otherwise.
    """

    layout: Layout = "unknown"
    #: Names of the atoms in the first frame, as the file has them.
    names: list[str]
    file_times_ps: NDArray[np.float64] | None = None
    steps: NDArray[np.int64] | None = None

    def __init__(self, path: str | Path) -> None:
        self.path = check_file(path)
        self.name = str(path)
        self.n_atoms = 0
        self.n_frames = 0
        self.notices: tuple[Notice, ...] = ()
        #: Byte where each frame begins, and where the last ends.
        self.places: NDArray[np.int64] = np.zeros(1, np.int64)
        self._handle: IO[bytes] | None = None
        with np.errstate(all="ignore"):
            self._scan(self._stream())
        if not self.n_frames:
            raise self.fail("holds no whole frame")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handle": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def fail(self, reason: str) -> BadFileError:
        """The error, named by the file."""
        return BadFileError(self.path, reason)

    def _stream(self) -> IO[bytes]:
        if self._handle is None or self._handle.closed:
            self._handle = _unpacked(self.path)
            weakref.finalize(self, self._handle.close)
        return self._handle

    def _scan(self, stream: IO[bytes]) -> None:
        """Fill ``n_atoms``, ``n_frames``, ``places`` and what else the format has."""
        raise NotImplementedError

    def _parse(self, index: int, text: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Positions and cell (A) of one frame."""
        raise NotImplementedError

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """See :class:`atomflow.trajectory.frames.FrameSource`."""
        for index in indices:
            # Not by seek and read: threads may share this source.
            length = int(self.places[index + 1] - self.places[index])
            text = os.pread(self._stream().fileno(), length, int(self.places[index]))
            try:
                with np.errstate(all="ignore"):
                    positions, cell = self._parse(index, text)
            except BadFileError:
                raise
            except (ValueError, IndexError, OverflowError) as error:
                raise self.fail(f"frame {index} cannot be read ({first_line(error)})") from error
            if atoms is not None:
                positions = positions[atoms]
            time = None if self.file_times_ps is None else float(self.file_times_ps[index])
            step = None if self.steps is None else int(self.steps[index])
            yield Frame(index=int(index), positions_A=positions, cell_A=cell, time_ps=time, step=step)

    def _truncated(self, left: int) -> None:
        text = f"the file ends within frame {left}; the {left} whole frames before it are used"
        self.notices = (*self.notices, Notice("truncated", text))

    def _line_grid(self, stream: IO[bytes], lines_per_frame: int) -> None:
        """Places of frames that all have as many lines."""
        ends = _every_line(stream, lines_per_frame)
        self.places = np.concatenate(([0], ends)).astype(np.int64)
        size = stream.seek(0, 2)
        stream.seek(int(self.places[-1]))
        cut = bool(stream.read(1 << 16).strip())
        if len(ends) and self.places[-1] == size and self._lacks_digits(stream, size):
            self.places = self.places[:-1]
            cut = True
        self.n_frames = len(self.places) - 1
        if not self.n_frames:
            raise self.fail("the file ends within its first frame")
        if cut:
            self._truncated(self.n_frames)

    def _lacks_digits(self, stream: IO[bytes], size: int) -> bool:
        """Whether the file ends within the number that should end its last line."""
        stream.seek(max(0, size - (1 << 12)))
        tail = stream.read()
        lines = tail.split(b"\n")
        return not tail.endswith(b"\n") and len(lines) > 2 and self._is_cut(lines[-1], lines[-2])

    def _is_cut(self, last: bytes, before: bytes) -> bool:
        return cut_off(last, before)

    def _heads(self, stream: IO[bytes], count: int) -> Iterator[list[str]]:
        """The first ``count`` lines of every frame."""
        for place in self.places[:-1]:
            stream.seek(int(place))
            yield [_line(stream, self.path) for _ in range(count)]


def cut_off(last: bytes, before: bytes) -> bool:
    """Whether the last line of a file looks cut off beside the line before it: a word less, or decimals less."""
    words, others = last.split(), before.split()
    if len(words) != len(others):
        return len(words) < len(others)
    return bool(words) and len(words[-1].partition(b".")[2]) < len(others[-1].partition(b".")[2])


def _unpacked(path: Path) -> IO[bytes]:
    if not packing(path):
        return path.open("rb")
    most = max(UNPACKED_FLOOR, MOST_UNPACKED * path.stat().st_size)
    room = shutil.disk_usage(tempfile.gettempdir()).free // 2
    target = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the source
    try:
        with open_bytes(path) as stream:
            while chunk := stream.read(_CHUNK):
                if target.tell() + len(chunk) > min(most, room):
                    raise BadFileError(path, "unpacks to more than its size or the temporary disk allow; unpack it")
                target.write(chunk)
        target.flush()
    except BaseException:
        target.close()
        raise
    return target


def _line(stream: IO[bytes], path: Path) -> str:
    line = stream.readline(LONGEST_LINE)
    if len(line) == LONGEST_LINE:
        raise BadFileError(path, "a line is longer than 64 kB; not a text trajectory")
    return line.decode("utf-8", "replace").rstrip("\r\n")


def _every_line(stream: IO[bytes], step: int) -> NDArray[np.int64]:
    """Byte behind every ``step``-th line; a last line may lack its end."""
    stream.seek(0)
    found: list[NDArray[np.int64]] = []
    lines, base, last = 0, 0, b"\n"
    while chunk := stream.read(_CHUNK):
        ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == 10)
        # The line with number k (from 1) ends a frame when k % step == 0.
        first = (-lines - 1) % step
        found.append(ends[first::step] + (base + 1))
        lines += len(ends)
        base += len(chunk)
        last = chunk[-1:]
    if last != b"\n" and (lines + 1) % step == 0:
        found.append(np.array([base]))
    return np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)


def _count_of(text: str) -> int:
    """A count of atoms, 0 when it is none."""
    return int(text) if re.fullmatch(r"\s*[0-9]{1,10}\s*", text) else 0


@dataclass(frozen=True)
class _Columns:
    """Where the name and the coordinates stand in an XYZ line."""

    name: int = 0
    place: int = 1


class XyzSource(TextSource):
    """XYZ: a count, a comment, a line per atom; the comment may hold a cell (extended XYZ) and a time (CP2K).

    CP2K's comment ``i = 5, time = 2.500, E = -17.1`` is in fs; LAMMPS' ``Atoms. Timestep: 100`` is a step number.
    Of an extended XYZ file the keys ``Lattice``, ``pbc``, ``Properties``, and ``time_ps`` or ``time_fs`` are used: a
    key ``time`` has no agreed unit.
    """

    def _scan(self, stream: IO[bytes]) -> None:
        stream.seek(0)
        self.n_atoms = _count_of(_line(stream, self.path))
        if not self.n_atoms:
            raise self.fail("the first line is not a number of atoms")
        size = stream.seek(0, 2)
        if self.n_atoms * _SHORTEST_LINE > size:
            raise self.fail(f"the first line says {self.n_atoms} atoms, more than the file can hold; it is cut off")
        self._line_grid(stream, self.n_atoms + 2)
        self._read_comments(stream)
        stream.seek(int(self.places[0]))
        rows = stream.read(int(self.places[1])).decode("utf-8", "replace").splitlines()[2 : 2 + self.n_atoms]
        try:
            self.names = [row.split()[self._columns.name] for row in rows]
        except IndexError as error:
            raise self.fail("an atom line of the first frame is empty or short") from error

    def _read_comments(self, stream: IO[bytes]) -> None:
        times: list[float] = []
        steps: list[int] = []
        self._columns = _Columns()
        for index, (count, comment) in enumerate(self._heads(stream, 2)):
            if _count_of(count) != self.n_atoms:
                raise self.fail(
                    f"frame {index} does not begin with the {self.n_atoms} atoms of the first; frames of different "
                    "size, or a line too many, cannot be analysed"
                )
            if index == 0:
                self._read_properties(comment)
            if (time := _time_of(comment)) is not None:
                times.append(time)
            if (step := _step_of(comment)) is not None:
                steps.append(step)
        self.file_times_ps = np.array(times) if len(times) == self.n_frames and np.isfinite(times).all() else None
        self.steps = np.array(steps, np.int64) if len(steps) == self.n_frames else None

    def _read_properties(self, comment: str) -> None:
        if "=" not in comment:
            return
        values = self._values(comment)
        if "pbc" in values:
            self.notices = (*self.notices, *notice_of_periodicity(np.resize(values["pbc"], 3)))
        if "Properties" not in values:
            return
        fields = str(values["Properties"]).split(":")
        at: dict[str, int] = {}
        column = 0
        for name, kind, many in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
            if not _count_of(many) or _count_of(many) > 1000:
                raise self.fail(f"Properties: {many[:20]!r} columns of {name[:20]!r}")
            if (name == "pos" and (kind, many) == ("R", "3")) or name in ("species", "Z", "atomic_number"):
                at.setdefault(name, column)
            column += int(many)
        if "pos" not in at:
            raise self.fail("Properties names no pos:R:3")
        self._columns = _Columns(at.get("species", at.get("Z", at.get("atomic_number", 0))), at["pos"])

    def _values(self, comment: str) -> dict[str, Any]:
        from ase.io.extxyz import key_val_str_to_dict

        try:
            return dict(key_val_str_to_dict(comment))
        except Exception as error:  # a grammar of its own, which raises whatever it meets
            raise self.fail(f"the comment {comment[:40]!r} cannot be read ({first_line(error)})") from error

    def _parse(self, index: int, text: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        lines = text.decode("utf-8", "replace").split("\n", 2)
        column = self._columns.place
        places = np.loadtxt(
            lines[2].split("\n"),
            usecols=(column, column + 1, column + 2),
            max_rows=self.n_atoms,
            comments=None,
            ndmin=2,
        )
        if len(places) != self.n_atoms:
            raise self.fail(f"frame {index} has {len(places)} atom lines, not {self.n_atoms}")
        return places, self._cell(index, lines[1])

    def _cell(self, index: int, comment: str) -> NDArray[np.float64] | None:
        if "attice" not in comment:
            return None
        values = self._values(comment)
        lattice = values.get("Lattice", values.get("lattice"))
        if lattice is None or not np.any(values.get("pbc", True)):
            return None
        vectors = np.asarray(lattice, float)
        if vectors.size != 9 or not np.isfinite(vectors).all():
            raise self.fail(f"frame {index} has a Lattice that is not nine numbers")
        if not vectors.any():
            return None
        # ASE hands the vectors over in columns.
        return cell_matrix(vectors.reshape(3, 3).T if vectors.ndim == 2 else vectors.reshape(3, 3))


_TIME = re.compile(r"\bi\s*=\s*([0-9]{1,18})\s*,\s*time\s*=\s*([-+0-9.eE]+)")
_STEP = re.compile(r"\b[Tt]imestep\s*[:=]\s*([0-9]{1,18})\b")
_LABELLED = re.compile(r"\btime_([pf])s\s*=\s*\"?([-+0-9.eE]+)")


def _time_of(comment: str) -> float | None:
    """Time (ps) that a comment line states together with its unit, or in CP2K's words, which mean fs."""
    factor, text = 1e-3, ""
    if found := _LABELLED.search(comment):
        factor, text = (1.0 if found.group(1) == "p" else 1e-3), found.group(2)
    elif found := _TIME.search(comment):
        text = found.group(2)
    try:
        return factor * float(text)
    except ValueError:
        return None


def _step_of(comment: str) -> int | None:
    found = _TIME.search(comment) or _STEP.search(comment)
    return int(found.group(1)) if found else None


class GroSource(TextSource):
    """GROMACS' GRO with one or many frames: a title, a count, a line per atom, the box; lengths in nm."""

    def _scan(self, stream: IO[bytes]) -> None:
        stream.seek(0)
        _line(stream, self.path)
        self.n_atoms = _count_of(_line(stream, self.path))
        first = _line(stream, self.path)
        if not self.n_atoms or self.n_atoms * 20 > stream.seek(0, 2):
            raise self.fail("the second line is not the number of atoms of a GRO file")
        dots = [at for at, letter in enumerate(first) if letter == "."]
        if len(dots) < 3 or not 5 <= dots[1] - dots[0] == dots[2] - dots[1] <= 30:
            raise self.fail(f"the atom line {first[:40]!r} is not one of a GRO file")
        self._width = dots[1] - dots[0]
        self._line_grid(stream, self.n_atoms + 3)
        times = []
        for index, (title, count) in enumerate(self._heads(stream, 2)):
            if _count_of(count) != self.n_atoms:
                raise self.fail(f"frame {index} does not have the {self.n_atoms} atoms of the first")
            if found := re.search(r"\bt\s*=\s*([-+0-9.eE]+)", title):
                times.append(_number_or_nan(found.group(1)))
        self.file_times_ps = np.array(times) if len(times) == self.n_frames and np.isfinite(times).all() else None
        self.names = []

    def _parse(self, index: int, text: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        lines = text.split(b"\n")
        end = 20 + 3 * self._width
        rows = np.array([line[20:end].ljust(end - 20) for line in lines[2 : 2 + self.n_atoms]])
        places = rows.view(f"S{self._width}").reshape(-1, 3).astype(float)
        return 10 * places, _gro_cell(_numbers(lines[2 + self.n_atoms]))

    def _is_cut(self, last: bytes, before: bytes) -> bool:
        words = last.split()
        return len(words) not in (3, 9) or len(words[-1].partition(b".")[2]) < len(words[0].partition(b".")[2])


def _numbers(line: bytes) -> list[float]:
    """Numbers of the last line; those of a huge box stand without a blank between."""
    words = line.split()
    if len(words) not in (3, 9):
        decimals = len(line.rstrip().rpartition(b".")[2])
        words = re.findall(rb"-?[0-9]+\.[0-9]{%d}" % decimals, line)
    if len(words) not in (3, 9):
        raise ValueError("the box has neither three nor nine numbers")
    return [float(word) for word in words]


def _gro_cell(box: list[float]) -> NDArray[np.float64] | None:
    """Cell (A) of the last line of a GRO file: v1(x) v2(y) v3(z) v1(y) v1(z) v2(x) v2(z) v3(x) v3(y)."""
    if not any(box):
        return None
    x1, y2, z3, y1, z1, x2, z2, x3, y3 = box if len(box) == 9 else (*box[:3], *[0.0] * 6)
    return cell_matrix(10 * np.array([[x1, y1, z1], [x2, y2, z2], [x3, y3, z3]]))


def _number_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
