"""The text of a dump, plain or compressed, by byte offset."""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import zstandard

from atomflow.errors import BadFileError

#: Most that a compressed file hands out at once, bytes.
_PIECE = 1 << 20
_PACKED_PIECE = 1 << 17
#: A compressed file that gives more than this many times its own size is no trajectory, if it is also large.
_FOLD = 400
_LARGE = 1 << 25
#: Memory that unpacking may take, bytes.
_WINDOW = 1 << 28


class Text(Protocol):
    """Bytes of an unpacked file."""

    #: Whether any offset can be read at once; otherwise reading backwards begins anew.
    random: bool
    #: A compressed file that breaks off; known once its end was reached.
    broken: bool

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` from ``offset`` on; fewer bytes only where the text ends."""
        ...

    def close(self) -> None:
        """Let the file go."""
        ...


def open_text(path: Path) -> Text:
    """Open a file; how it is compressed is told by its first bytes, not by its name.

    Raises
    ------
    BadFileError
        No such file, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(6)
        for mark, pieces in _UNPACKERS.items():
            if head.startswith(mark):
                return PackedText(path, pieces)
        return PlainText(path)
    except OSError as error:
        raise BadFileError(path, error.strerror or str(error)) from error


class PlainText:
    """A file as it is. Read, not mapped: a file that shrinks while it is read must not kill the process."""

    random = True
    broken = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` from ``offset`` on; fewer bytes only where the text ends."""
        done = 0
        try:
            while done < len(view):
                got = os.preadv(self._file.fileno(), [view[done:]], offset + done)
                if not got:
                    break
                done += got
        except OSError as error:
            raise BadFileError(self._path, error.strerror or str(error)) from error
        return done

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


class PackedText:
    """A compressed file, unpacked forwards piece by piece."""

    random = False

    def __init__(self, path: Path, pieces: Callable[[BinaryIO], Iterator[bytes]]) -> None:
        self._path = path
        self._pieces = pieces
        self._file: BinaryIO | None = None
        self.broken = False
        self._rewind()

    def _rewind(self) -> None:
        self.close()
        self._file = self._path.open("rb", buffering=0)
        self._stream = self._pieces(self._file)
        self._piece = memoryview(b"")
        self._start = 0

    def _next(self) -> bool:
        """Go on to the next piece; False at the end."""
        assert self._file is not None
        self._start += len(self._piece)
        self._piece = memoryview(b"")
        try:
            self._piece = memoryview(next(self._stream, b""))
        except EOFError:
            self.broken = True
            self._stream = iter(())
        except (OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError, ValueError) as error:
            raise BadFileError(self._path, f"the compressed data are damaged ({error}); copy the file again") from error
        text = self._start + len(self._piece)
        if text > _LARGE and text > _FOLD * max(self._file.tell(), 1):
            raise BadFileError(self._path, f"unpacks to more than {_FOLD} times its size: this is no trajectory")
        return len(self._piece) > 0

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` from ``offset`` on; fewer bytes only where the text ends."""
        if offset < self._start:
            self._rewind()
        done = 0
        while done < len(view):
            place = offset + done - self._start
            if place >= len(self._piece):
                if not self._next():
                    break
                continue
            part = self._piece[place : place + len(view) - done]
            view[done : done + len(part)] = part
            done += len(part)
        return done

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()


def _gzip_pieces(file: BinaryIO) -> Iterator[bytes]:
    # Several members may follow each other; what follows and is none is ignored, as gzip does.
    packed = file.read(_PACKED_PIECE)
    while packed.startswith(b"\x1f\x8b"):
        unpacker = zlib.decompressobj(31)
        while not unpacker.eof:
            if not packed:
                raise EOFError
            piece = unpacker.decompress(packed, _PIECE)
            packed = unpacker.unconsumed_tail or (unpacker.unused_data if unpacker.eof else file.read(_PACKED_PIECE))
            if piece:
                yield piece
        if len(packed) < 2:
            packed += file.read(_PACKED_PIECE)


def _pieces_of(make: Callable[[], Any], mark: bytes) -> Callable[[BinaryIO], Iterator[bytes]]:
    def pieces(file: BinaryIO) -> Iterator[bytes]:
        packed = file.read(_PACKED_PIECE)
        while packed.startswith(mark):
            unpacker = make()
            while not unpacker.eof:
                if not packed and unpacker.needs_input:
                    raise EOFError
                piece = unpacker.decompress(packed, _PIECE)
                packed = b""
                if unpacker.eof:
                    packed = unpacker.unused_data
                elif unpacker.needs_input:
                    packed = file.read(_PACKED_PIECE)
                if piece:
                    yield piece
            if len(packed) < len(mark):
                packed += file.read(_PACKED_PIECE)

    return pieces


def _zstd_pieces(file: BinaryIO) -> Iterator[bytes]:
    unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    with unpacker.stream_reader(file, read_size=_PACKED_PIECE, read_across_frames=True, closefd=False) as reader:
        while piece := reader.read(_PIECE):
            yield piece


_UNPACKERS: dict[bytes, Callable[[BinaryIO], Iterator[bytes]]] = {
    b"\x1f\x8b": _gzip_pieces,
    b"\x28\xb5\x2f\xfd": _zstd_pieces,
    b"BZh": _pieces_of(bz2.BZ2Decompressor, b"BZh"),
    b"\xfd7zXZ\x00": _pieces_of(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _WINDOW), b"\xfd7zXZ"),
}
