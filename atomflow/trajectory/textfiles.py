"""Text files of any origin, read line by line: plain or compressed, with a limit to a line and to what unpacks."""

from __future__ import annotations

import bz2
import difflib
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from atomflow.errors import BadFileError

#: No line of a trajectory or topology is longer.
LONGEST_LINE = 1 << 16
#: Text packs five- to tenfold; what unpacks to more than this many times its size, and to more than the floor, is no
#: honest file.
MOST_UNPACKED, UNPACKED_FLOOR = 200, 1 << 28
_PACKED = (".gz", ".bz2", ".xz", ".zst")


def check_file(path: str | Path) -> Path:
    """The path of a file that can be read.

    Raises
    ------
    BadFileError
        No such file (with near names in its folder), not a plain file, empty, or not ours to read.
    """
    path = Path(path)
    if "\0" in str(path):
        raise BadFileError(str(path)[:80].replace("\0", "?"), "not a file name")
    try:
        if not path.exists():
            raise BadFileError(path, f"no such file{_near_names(path)}")
        if not path.is_file():
            raise BadFileError(path, "not a file; give the trajectory or topology file itself")
        if path.stat().st_size == 0:
            raise BadFileError(path, "the file is empty")
        with path.open("rb"):
            pass
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror})") from error
    return path


def _near_names(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    names = [entry.name for _, entry in zip(range(2000), path.parent.iterdir(), strict=False) if entry.is_file()]
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else ""


def plain_name(path: Path) -> str:
    """The name in lower case, without the suffix of a packer: ``traj.xyz`` of ``Traj.xyz.gz``."""
    name = path.name.lower()
    return name.rsplit(".", 1)[0] if name.endswith(_PACKED) else name


def packing(path: Path) -> str:
    """How a file is packed, by its first bytes: ``"gzip"``, ``"bzip2"``, ``"xz"``, ``"zstd"``; "" when it is not."""
    with path.open("rb") as stream:
        head = stream.read(6)
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), "")


_MARKS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, unpacked when it is packed.

    Raises
    ------
    BadFileError
        Also when reading inside the block meets a damaged or truncated archive.
    """
    packed = ""
    try:
        packed = packing(path)
        with _OPENERS[packed](path) as stream:
            yield stream
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise _cannot_read(path, packed, error) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] == "zstandard":
            raise _cannot_read(path, packed, error) from error
        raise


def _open_zst(path: Path) -> IO[bytes]:
    try:
        import zstandard
    except ImportError as error:
        raise BadFileError(path, "needs the package zstandard: pip install zstandard, or unpack the file") from error
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    return cast(IO[bytes], io.BufferedReader(unpacker.stream_reader(path.open("rb"), closefd=True)))


_OPENERS: dict[str, Callable[[Path], Any]] = {
    "": lambda path: path.open("rb"),
    "gzip": gzip.open,
    "bzip2": bz2.open,
    "xz": lzma.open,
    "zstd": _open_zst,
}


def _cannot_read(path: Path, packed: str, error: Exception) -> BadFileError:
    if isinstance(error, BadFileError):
        return error
    if packed and not isinstance(error, (FileNotFoundError, PermissionError)):
        return BadFileError(path, f"the {packed} archive is damaged or cut off; unpack what there is of it")
    return BadFileError(path, f"cannot be read ({getattr(error, 'strerror', None) or first_line(error)})")


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a text file, without their ends.

    Raises
    ------
    BadFileError
        A line longer than 64 kB, or an archive that unpacks to far more than an honest one.
    """
    most = max(UNPACKED_FLOOR, MOST_UNPACKED * path.stat().st_size)
    with open_bytes(path) as stream:
        seen, rest = 0, b""
        while chunk := stream.read(1 << 20):
            seen += len(chunk)
            if seen > most:
                raise BadFileError(path, f"unpacks to more than {most >> 20} MB, which no honest file of its size does")
            whole, newline, last = chunk.rpartition(b"\n")
            if newline:
                lines = (rest + whole).split(b"\n")
                if len(max(lines, key=len)) > LONGEST_LINE:
                    raise BadFileError(path, "a line is longer than 64 kB; not a text file of this kind")
                for line in lines:
                    yield line.decode("utf-8", "replace").rstrip("\r")
                rest = last
            else:
                rest += last
            if len(rest) > LONGEST_LINE:
                raise BadFileError(path, "a line is longer than 64 kB; not a text file of this kind")
        if rest:
            yield rest.decode("utf-8", "replace").rstrip("\r")


def first_line(error: BaseException) -> str:
    """What a foreign parser complained about, short and on one line."""
    lines = str(error).splitlines() or [type(error).__name__]
    return "".join(letter if letter.isprintable() else "?" for letter in lines[0][:120])
