"""Trajectories that grow by pieces: where each frame begins, joining files, and cutting one back.

Only headers are read. XTC: a frame holds the magic number 1995 (or 2023 with a 64-bit size), the atoms, the step, the
time, nine numbers of the cell, then the packed positions (the layout of GROMACS' xtcio.cpp and libxdrf.cpp, all
big-endian). Text: a frame begins with ``ITEM: TIMESTEP``.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from atomflow.errors import BadFileError, OutputError

#: Bytes of an XTC header up to the second number of atoms.
_XTC_HEAD = 56
_XTC_MAGIC, _XTC_MAGIC_LARGE = 1995, 2023
_XTC_UNPACKED = 9


@dataclass(frozen=True)
class FrameSpan:
    """One complete frame: its step, and its bytes from ``begin`` to ``end``."""

    step: int
    begin: int
    end: int


def frame_spans(path: Path) -> Iterator[FrameSpan]:
    """Complete frames of an XTC or a text dump, in order; ends before the first that is cut short or damaged.

    Raises
    ------
    BadFileError
        The file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            yield from (_xtc_spans if path.suffix == ".xtc" else _text_spans)(stream, size)
    except OSError as error:
        raise BadFileError(path, f"cannot be read: {error.strerror or error}") from error


def _xtc_spans(stream: BinaryIO, size: int) -> Iterator[FrameSpan]:
    begin = 0
    while begin + _XTC_HEAD <= size:
        stream.seek(begin)
        head = stream.read(_XTC_HEAD)
        magic, atoms, step = struct.unpack(">iii", head[:12])
        if magic not in (_XTC_MAGIC, _XTC_MAGIC_LARGE) or atoms < 0 or len(head) < _XTC_HEAD:
            return
        if atoms <= _XTC_UNPACKED:
            end = begin + _XTC_HEAD + 12 * atoms
        else:
            # Precision, three smallest and three largest numbers, the index of the packing, then the size.
            large = magic == _XTC_MAGIC_LARGE
            rest = stream.read(40 if large else 36)
            if len(rest) < (40 if large else 36):
                return
            (packed,) = struct.unpack(">q" if large else ">i", rest[32:])
            if packed < 0:
                return
            end = begin + _XTC_HEAD + len(rest) + (packed + 3) // 4 * 4
        if end > size:
            return
        yield FrameSpan(step, begin, end)
        begin = end


def _text_spans(stream: BinaryIO, size: int) -> Iterator[FrameSpan]:
    begin = 0
    while begin < size:
        if stream.readline() != b"ITEM: TIMESTEP\n":
            return
        try:
            step = int(stream.readline())
            if not stream.readline().startswith(b"ITEM: NUMBER OF ATOMS"):
                return
            atoms = int(stream.readline())
        except ValueError:
            return
        # The cell's heading and its three lines, the heading of the atoms and theirs.
        for _ in range(5 + atoms):
            line = stream.readline()
            if not line.endswith(b"\n"):
                return
        end = stream.tell()
        yield FrameSpan(step, begin, end)
        begin = end


class GrowingTrajectory:
    """A trajectory to which pieces are joined; frames that it has already are passed over.

    Parameters
    ----------
    path : Path
        It need not be there yet; a half frame at its end goes with the next change.

    Attributes
    ----------
    last_step : int or None
        Of the last complete frame.

    Raises
    ------
    BadFileError
        The file is there and cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_step: int | None = None
        self._end = 0
        if path.is_file():
            for frame in frame_spans(path):
                self.last_step, self._end = frame.step, frame.end

    def add(self, piece: Path) -> None:
        """Add the complete frames of a piece that lie behind the last one, then remove the piece.

        Killed in between, the same call again ends as if it had not been.

        Raises
        ------
        OutputError
            There is no room, for instance.
        """
        spans = [one for one in frame_spans(piece) if self.last_step is None or one.step > self.last_step]
        try:
            if spans:
                with piece.open("rb") as source, self.path.open("ab") as sink:
                    sink.truncate(self._end)
                    sink.seek(0, os.SEEK_END)
                    source.seek(spans[0].begin)
                    _copy(source, sink, spans[-1].end - spans[0].begin)
                    sink.flush()
                    os.fsync(sink.fileno())
                    self._end = sink.tell()
                self.last_step = spans[-1].step
            piece.unlink()
        except OSError as error:
            raise OutputError(self.path, error.strerror or str(error)) from error

    def cut_behind(self, step: int) -> None:
        """Cut off the frames behind a step.

        Raises
        ------
        OutputError
            The file cannot be changed.
        """
        if not self.path.is_file():
            return
        self.last_step, self._end = None, 0
        for frame in frame_spans(self.path):
            if frame.step > step:
                break
            self.last_step, self._end = frame.step, frame.end
        try:
            os.truncate(self.path, self._end)
        except OSError as error:
            raise OutputError(self.path, error.strerror or str(error)) from error


def _copy(source: BinaryIO, sink: BinaryIO, many: int) -> None:
    while many > 0:
        block = source.read(min(many, 1 << 20))
        if not block:
            return
        sink.write(block)
        many -= len(block)


def free_bytes(folder: Path) -> int:
    """Room left on the disk of a folder."""
    return shutil.disk_usage(folder).free
