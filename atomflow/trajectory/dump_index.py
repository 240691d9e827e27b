"""Where the frames of a LAMMPS dump are: one pass over the file, or over its headers where frames are large."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadFileError, TrajectoryError
from atomflow.model import Notice
from atomflow.trajectory.dump_header import LONGEST_HEADER, BadHeader, Header, read_header
from atomflow.trajectory.dump_text import Text

_PIECE = 1 << 20
_HEAD = 1 << 13
#: No atom line is longer, bytes.
_LONGEST_LINE = 10_000
#: Frames larger than this are jumped over, when the next header is within _NEAR of where it is expected, bytes.
_JUMP = 1 << 18
_NEAR = 1 << 12
#: Lines of a frame by which an unfinished number in its last line is told, when the file ends without a line feed.
_COMPARED = 1000


@dataclass(frozen=True, eq=False)
class DumpIndex:
    """The whole frames of a dump; lengths and times in the units of the file.

    Attributes
    ----------
    heads, starts, sizes : (n_frames,) int64 arrays
        Offsets of the header and of the atom lines in the unpacked text, and how many bytes those are.
    steps : (n_frames,) int64 array
    times : (n_frames,) float64 array
        NaN where the file does not say it.
    cells, origins : (n_frames, 3, 3) and (n_frames, 3) float64 arrays
        Zeros where there is no box.
    """

    n_atoms: int
    columns: tuple[str, ...]
    periodic: tuple[bool, bool, bool]
    units: str | None
    heads: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    cells: NDArray[np.float64]
    origins: NDArray[np.float64]
    notices: tuple[Notice, ...]

    def __len__(self) -> int:
        return len(self.starts)


class _Window:
    """A part of the text that moves forwards; ``base`` is its offset."""

    def __init__(self, path: Path, text: Text) -> None:
        self.path, self.text = path, text
        self.base, self.bytes, self.ended = 0, b"", False
        self._read: tuple[int, int, Header] | None = None

    @property
    def last(self) -> int:
        """Offset of its end."""
        return self.base + len(self.bytes)

    def more(self, keep: int, size: int = _PIECE) -> None:
        """Let go of what is before the offset ``keep``, and add a piece."""
        piece = memoryview(bytearray(size))
        got = self.text.read_into(self.base + len(self.bytes), piece)
        self.bytes = self.bytes[keep - self.base :] + piece[:got]
        self.base = keep
        self.ended = got < size

    def begin_at(self, offset: int) -> None:
        """Go to an offset outside of the window."""
        self.base, self.bytes, self.ended = offset, b"", False

    def header(self, at: int, frame: int) -> Header | None:
        """Header at an offset, its own offsets from ``base``; None where the file ends before it does."""
        if self._read is not None and self._read[:2] == (at, self.base):
            return self._read[2]
        while True:
            try:
                header = read_header(self.bytes, at - self.base)
            except BadHeader as error:
                raise BadFileError(self.path, f"frame {frame}: {error}") from error
            if header is not None:
                self._read = at, self.base, header
                return header
            if self.ended:
                return None
            if len(self.bytes) - (at - self.base) > LONGEST_HEADER:
                raise BadFileError(self.path, f"frame {frame}: no ITEM: ATOMS within {LONGEST_HEADER} bytes")
            self.more(at, _HEAD)

    def end(self, data: int, n_atoms: int, frame: int) -> tuple[int, int]:
        """Where the atom lines that begin at ``data`` end, and how many they are."""
        lines, at = 0, data
        while True:
            place = at - self.base
            hit = find_item(self.bytes, place)
            # The last bytes may be the beginning of the next header.
            stop = hit if hit >= 0 else len(self.bytes) if self.ended else max(place, len(self.bytes) - 4)
            lines += int(np.count_nonzero(np.frombuffer(self.bytes, np.uint8)[place:stop] == 10))
            at = self.base + stop
            if hit >= 0 or self.ended:
                return at, lines
            if lines > n_atoms + _COMPARED:
                raise BadFileError(self.path, f"frame {frame}: more lines than the {n_atoms} atoms it announces")
            if at - data > _LONGEST_LINE * (lines + 1) + _PIECE:
                raise BadFileError(self.path, f"frame {frame}: lines of more than {_LONGEST_LINE} bytes")
            self.more(at)


def find_item(text: bytes, at: int) -> int:
    """Where the next ``ITEM:`` begins, or -1."""
    place = at + 4
    # A colon is found faster by far, and atom lines usually have none.
    for _ in range(16):
        place = text.find(b":", place)
        if place < 0:
            return -1
        if text[place - 4 : place] == b"ITEM":
            return place - 4
        place += 1
    return text.find(b"ITEM:", max(at, place - 4))


def build_index(path: Path, text: Text) -> DumpIndex:
    """Find all frames.

    A frame that breaks off is left out. Where the steps go back, as after a restart, the later frames take the place of
    the earlier ones of their own and of later steps, so that steps grow; where they go back to the first step or before
    it, another run begins, and both are kept.

    Raises
    ------
    BadFileError
        This is no text dump, a header cannot be read, or there is no whole frame.
    TrajectoryError
        Number of atoms or columns change between frames.
    """
    window = _Window(path, text)
    window.more(0)
    if text.broken and not window.bytes:
        raise BadFileError(path, "the compressed file breaks off before its first frame; copy it again")
    if window.bytes.lstrip()[:5] != b"ITEM:":
        raise BadFileError(path, "not a LAMMPS text dump: it does not begin with ITEM:")
    rows = _Rows()
    first: Header | None = None
    units: str | None = None
    broken: list[str] = []
    at, frame = 0, 0
    while header := window.header(at, frame):
        base = window.base
        head, data = base + header.start, base + header.data
        if header.cut:
            broken.append(f"the header before step {header.step}")
        if first is None:
            if header.n_atoms < 1:
                raise BadFileError(path, f"frame {frame}: {header.n_atoms} atoms")
            first = header
        units = units or header.units
        _check_same(path, frame, header, first)
        following = _jump(window, data, rows, header) if text.random else None
        if following is not None:
            end, whole = following, True
        else:
            following, lines = window.end(data, header.n_atoms, frame)
            last = window.ended and following == window.last
            end = following - _begun(window, following)
            if end < following:
                broken.append("the last header" if last else f"a header after step {header.step}")
            whole = lines >= header.n_atoms or (
                last and lines == header.n_atoms - 1 and _finished(window, data, end, header)
            )
            # Every column takes a byte and what ends it: nothing is set aside for atoms that cannot be there.
            whole = whole and end - data >= 2 * len(header.columns) * header.n_atoms - 1
        if whole:
            rows.add(header, head, data, end)
        else:
            broken.append(f"step {header.step}")
        at, frame = following, frame + 1
        if window.ended and at == window.last:
            break
    else:
        # What is left may be blank lines, or a header that breaks off.
        if window.bytes[at - window.base :].strip():
            broken.append("the last header")
    if first is None or not rows.steps:
        raise BadFileError(path, "no whole frame in it: the first one breaks off")
    if text.broken and not broken:
        broken.append("the compressed file")
    return rows.index(path, first, units, broken)


def _check_same(path: Path, frame: int, header: Header, first: Header) -> None:
    if header.n_atoms != first.n_atoms:
        told = f"frame {frame} (step {header.step}) has {header.n_atoms} atoms, the first has {first.n_atoms}"
        raise TrajectoryError(f"{path}: {told}; dump a group that does not change")
    if header.columns != first.columns:
        one, other = (" ".join(columns)[:120] for columns in (header.columns, first.columns))
        told = f"frame {frame} (step {header.step}) has the columns {one}, the first has {other}"
        raise TrajectoryError(f"{path}: {told}; split the file there")


def _begun(window: _Window, end: int) -> int:
    """How many of the last bytes before ``end`` are the beginning of a header that breaks off within ``ITEM``."""
    place = end - window.base
    line = window.bytes[max(place - 5, 0) : place].rpartition(b"\n")[2]
    return len(line) if line and b"ITEM:".startswith(line) else 0


def _jump(window: _Window, data: int, rows: _Rows, header: Header) -> int | None:
    """Where the next header is, if it is where the size of the last frame lets it be expected.

    A header that is hidden between would begin another frame, of about the same size: it would be near the beginning.
    Lines are counted when the frame is read.
    """
    size = rows.sizes[-1] if rows.steps else 0
    if size < _JUMP or header.step <= rows.steps[-1]:
        return None
    expected = memoryview(bytearray(2 * _NEAR))
    expected = expected[: window.text.read_into(data + size - _NEAR, expected)]
    place = find_item(bytes(expected), 1)
    if place < 0 or expected[place - 1] != 10:
        return None
    start = memoryview(bytearray(2 * _NEAR))
    window.text.read_into(data, start)
    if find_item(bytes(start), 0) >= 0:
        return None
    end = data + size - _NEAR + place
    window.begin_at(end)
    ahead = window.header(end, len(rows.steps) + 1)
    if ahead is None or ahead.cut or ahead.step <= header.step:
        window.begin_at(data)
        return None
    return end


def _finished(window: _Window, data: int, end: int, header: Header) -> bool:
    """Whether the last line of the file, which has no line feed, has all its columns and is not cut within a number."""
    tail = window.bytes[max(data - window.base, 0) : end - window.base].split(b"\n")[-_COMPARED:]
    last = tail[-1].split()
    others = [words[-1] for line in tail[1 if len(tail) == _COMPARED else 0 : -1] if (words := line.split())]
    # A number that was cut has fewer digits behind the point than any other.
    return len(last) == len(header.columns) and (
        not others or len(last[-1].partition(b".")[2]) >= min(len(word.partition(b".")[2]) for word in others)
    )


class _Rows:
    """Frames found so far, in little memory each."""

    def __init__(self) -> None:
        self.heads, self.starts, self.sizes, self.steps = (array("q") for _ in range(4))
        self.times, self.cells, self.origins = (array("d") for _ in range(3))

    def add(self, header: Header, head: int, data: int, end: int) -> None:
        self.heads.append(head)
        self.starts.append(data)
        self.sizes.append(end - data)
        self.steps.append(header.step)
        self.times.append(float("nan") if header.time is None else header.time)
        self.cells.extend(header.cell.ravel())
        self.origins.extend(header.origin)

    def index(self, path: Path, first: Header, units: str | None, broken: list[str]) -> DumpIndex:
        steps = np.array(self.steps, dtype=np.int64)
        kept, notices = _kept(steps)
        if broken:
            shown = ", ".join(broken[:3]) + (f" and {len(broken) - 3} more" if len(broken) > 3 else "")
            text = f"{path.name} breaks off ({shown}): {len(kept)} whole frames are used"
            notices.insert(0, Notice("truncated", text))
        return DumpIndex(
            n_atoms=first.n_atoms,
            columns=first.columns,
            periodic=first.periodic,
            units=units,
            heads=np.array(self.heads, dtype=np.int64)[kept],
            starts=np.array(self.starts, dtype=np.int64)[kept],
            sizes=np.array(self.sizes, dtype=np.int64)[kept],
            steps=steps[kept],
            times=np.array(self.times)[kept],
            cells=np.array(self.cells).reshape(-1, 3, 3)[kept],
            origins=np.array(self.origins).reshape(-1, 3)[kept],
            notices=tuple(notices),
        )


def _kept(steps: NDArray[np.int64]) -> tuple[NDArray[np.intp], list[Notice]]:
    """Frames to use, and what to say about the others."""
    everything = np.arange(len(steps))
    if (np.diff(steps) > 0).all():
        return everything, []
    if (steps == steps[0]).all():
        text = f"every frame has the TIMESTEP {steps[0]}: steps say nothing about time"
        return everything, [Notice("same-step", text)]
    kept: list[int] = []
    run, runs, dropped = 0, 1, 0
    for frame, step in enumerate(steps.tolist()):
        if len(kept) > run and step <= steps[kept[-1]]:
            if step > steps[kept[run]] or (len(kept) == run + 1 and step == steps[kept[run]]):
                while len(kept) > run and steps[kept[-1]] >= step:
                    kept.pop()
                    dropped += 1
            else:
                run = len(kept)
                runs += 1
        kept.append(frame)
    notices = []
    if dropped:
        text = f"{dropped} frames were written again, as after a restart: the later ones are used, {len(kept)} in all"
        notices.append(Notice("duplicate-frames", text))
    if runs > 1:
        text = f"TIMESTEP begins again {runs - 1} times: {runs} runs in one file; choose the frames of one"
        notices.append(Notice("several-runs", text))
    return np.array(kept, dtype=np.intp), notices
