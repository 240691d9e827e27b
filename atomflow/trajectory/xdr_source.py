"""GROMACS' xtc and trr, read by byte, with every length checked before it is used.

MDAnalysis' readers are not used: their C code writes behind its buffers when a file is damaged, and they leave index
files beside the trajectory. Formats: https://manual.gromacs.org/current/reference-manual/file-formats.html.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import BadFileError
from atomflow.model import Notice
from atomflow.trajectory.frames import Frame, Layout
from atomflow.trajectory.textfiles import check_file

_NM_A = 10.0
_MOST_ATOMS = 1 << 31


class _Damaged(Exception):  # noqa: N818 - caught here, it says where the whole frames end
    """A frame that is not whole."""


class XdrSource:
    """What xtc and trr have in common: frames of any length, found by walking from header to header.

    Attributes
    ----------
    file_times_ps : (n_frames,) float64 array or None
        As the headers have them; None when they are all equal.
    steps : (n_frames,) int array
        As the headers have them.
    """

    layout: Layout = "unknown"

    def __init__(self, path: str | Path) -> None:
        self.path = check_file(path)
        self.name = str(path)
        self.notices: tuple[Notice, ...] = ()
        self.n_atoms = 0
        times: list[float] = []
        steps: list[int] = []
        size = self.path.stat().st_size
        skipped = 0
        starts: list[int] = []
        with self.path.open("rb") as stream:
            at = 0
            while at < size:
                try:
                    end, step, time, useful = self._walk(stream.fileno(), at, size)
                except _Damaged as damage:
                    if not starts:
                        raise BadFileError(self.path, str(damage)) from damage
                    text = f"frame {len(starts)} is not whole ({damage}); the {len(starts)} frames before it are used"
                    self.notices = (Notice("truncated", text),)
                    break
                if useful:
                    starts.append(at)
                    steps.append(step)
                    times.append(time)
                else:
                    skipped += 1
                at = end
        if not starts:
            raise BadFileError(self.path, "holds no frame with coordinates")
        if skipped:
            text = f"{skipped} frames have velocities or forces but no coordinates; they are left out"
            self.notices = (*self.notices, Notice("frames-left-out", text))
        self.n_frames = len(starts)
        self._starts = np.array(starts, np.int64)
        self.steps = np.array(steps, np.int64)
        known = np.array(times, np.float64)
        self.file_times_ps = known if np.isfinite(known).all() and (self.n_frames == 1 or np.ptp(known) > 0) else None

    def _walk(self, handle: int, at: int, size: int) -> tuple[int, int, float, bool]:
        """End, step, time of the frame at this byte, and whether it has coordinates; _Damaged when it is not whole."""
        raise NotImplementedError

    def _read(self, handle: int, at: int) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
        """Positions and box (A) of the frame at this byte; _Damaged when they make no sense."""
        raise NotImplementedError

    def _check_count(self, n_atoms: int) -> None:
        if not 0 < n_atoms < _MOST_ATOMS:
            raise _Damaged(f"a number of atoms of {n_atoms}")
        if self.n_atoms and n_atoms != self.n_atoms:
            raise _Damaged(f"{n_atoms} atoms where the first frame has {self.n_atoms}")
        self.n_atoms = n_atoms

    def frames(self, indices: Sequence[int], atoms: NDArray[np.intp] | None = None) -> Iterator[Frame]:
        """See :class:`atomflow.trajectory.frames.FrameSource`."""
        with self.path.open("rb") as stream:
            for index in indices:
                # Damaged numbers become infinite, which the preflight reports.
                try:
                    with np.errstate(all="ignore"):
                        positions, box = self._read(stream.fileno(), int(self._starts[index]))
                except (_Damaged, struct.error) as damage:
                    raise BadFileError(self.path, f"frame {index} is damaged ({damage})") from damage
                if atoms is not None:
                    positions = positions[atoms]
                cell = box if np.isfinite(box).all() and abs(np.linalg.det(box)) > 0 else None
                time = None if self.file_times_ps is None else float(self.file_times_ps[index])
                step = int(self.steps[index])
                yield Frame(index=int(index), positions_A=positions, cell_A=cell, time_ps=time, step=step)


_XTC_HEAD = struct.Struct(">iiif36si")
_XTC_PACKED = struct.Struct(">f3i3ii")
#: Format with 64-bit lengths, for more than 298 million atoms.
_XTC, _XTC_LONG = 1995, 2023
#: Fewer atoms than this are not packed.
_XTC_FEW = 10


class XtcSource(XdrSource):
    """Frames of an xtc file; coordinates as float32 in angstrom."""

    def _walk(self, handle: int, at: int, size: int) -> tuple[int, int, float, bool]:
        head = os.pread(handle, _XTC_HEAD.size + _XTC_PACKED.size + 8, at)
        if len(head) < _XTC_HEAD.size:
            raise _Damaged("the file ends within its header")
        magic, n_atoms, step, time, _, repeated = _XTC_HEAD.unpack_from(head)
        if magic not in (_XTC, _XTC_LONG):
            raise _Damaged("no xtc frame begins where one should")
        if repeated != n_atoms:
            raise _Damaged(f"two different numbers of atoms, {n_atoms} and {repeated}")
        self._check_count(n_atoms)
        if n_atoms < _XTC_FEW:
            end = at + _XTC_HEAD.size + 12 * n_atoms
        else:
            begin, length = self._packed(head, magic)
            # Every atom takes one bit at the very least.
            if length < n_atoms // 8:
                raise _Damaged(f"{length} bytes for {n_atoms} atoms")
            end = at + begin + (length + 3) // 4 * 4
        if end > size:
            raise _Damaged("the file ends within it")
        return end, step, time, True

    @staticmethod
    def _packed(head: bytes, magic: int) -> tuple[int, int]:
        """Where the packed coordinates begin, and their length."""
        at = _XTC_HEAD.size + _XTC_PACKED.size
        wide = magic == _XTC_LONG
        if len(head) < at + (8 if wide else 4):
            raise _Damaged("the file ends within its header")
        (length,) = struct.unpack_from(">q" if wide else ">i", head, at)
        if length < 0:
            raise _Damaged("a negative length")
        return at + (8 if wide else 4), length

    def _read(self, handle: int, at: int) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
        from atomflow.trajectory import _xtc_kernels as kernels

        head = os.pread(handle, _XTC_HEAD.size + _XTC_PACKED.size + 8, at)
        magic, n_atoms, _, _, box, _ = _XTC_HEAD.unpack_from(head)
        if n_atoms != self.n_atoms:
            raise _Damaged("the file was changed since it was opened")
        cell = np.frombuffer(box, ">f4").astype(np.float64).reshape(3, 3) * _NM_A
        if n_atoms < _XTC_FEW:
            raw = os.pread(handle, 12 * n_atoms, at + _XTC_HEAD.size)
            if len(raw) < 12 * n_atoms:
                raise _Damaged("the file was changed since it was opened")
            return np.frombuffer(raw, ">f4").astype(np.float32).reshape(-1, 3) * np.float32(_NM_A), cell
        precision, *bounds, index = _XTC_PACKED.unpack_from(head, _XTC_HEAD.size)
        low, sizes, bits, widths = _ranges(bounds)
        if not np.isfinite(precision) or precision <= 0:
            raise _Damaged(f"a precision of {precision}")
        if not kernels.FIRST_INDEX <= index < len(kernels.SMALL_RANGES):
            raise _Damaged(f"a packing of {index}")
        begin, length = self._packed(head, magic)
        data = np.zeros(length + kernels.MARGIN, np.uint8)
        raw = os.pread(handle, length, at + begin)
        if len(raw) < length:
            raise _Damaged("the file was changed since it was opened")
        data[:length] = np.frombuffer(raw, np.uint8)
        positions = np.empty((n_atoms, 3), np.float32)
        scale = _NM_A / precision
        if not kernels.unpack(data, length, low, sizes, bits, widths, index, scale, kernels.SMALL_RANGES, positions):
            raise _Damaged("its packed coordinates make no sense")
        return positions, cell


def _ranges(bounds: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64], int, NDArray[np.int64]]:
    """Smallest integers, their numbers, bits of a full atom (0: packed axis by axis), bits of each axis."""
    low = np.array(bounds[:3], np.int64)
    sizes = np.array(bounds[3:], np.int64) - low + 1
    if (sizes < 1).any() or (sizes > 1 << 32).any():
        raise _Damaged("bounds that hold nothing")
    widths = np.array([int(size).bit_length() for size in sizes], np.int64)
    if (sizes > 0xFFFFFF).any():
        return low, sizes, 0, np.minimum(widths, 32)
    product = int(sizes[0]) * int(sizes[1]) * int(sizes[2])
    return low, sizes, product.bit_length(), widths


_TRR_HEAD = struct.Struct(">iii12s13i")
_TRR_MAGIC, _TRR_TAG = 1993, b"GMX_trn_file"


class TrrSource(XdrSource):
    """Frames of a trr file, in single or double precision as they are; frames without coordinates are left out."""

    def _head(self, handle: int, at: int) -> tuple[Any, int, int, float]:
        """Lengths of the blocks, place of the first, step, time."""
        head = os.pread(handle, _TRR_HEAD.size + 16, at)
        if len(head) < _TRR_HEAD.size + 8:
            raise _Damaged("the file ends within its header")
        magic, _, length, tag, *numbers = _TRR_HEAD.unpack_from(head)
        if magic != _TRR_MAGIC or length != len(_TRR_TAG) or tag != _TRR_TAG:
            raise _Damaged("no trr frame begins where one should")
        *blocks, n_atoms, step, _ = numbers
        self._check_count(n_atoms)
        box, places = blocks[2], blocks[7:]
        width = next((size // (3 * n_atoms) for size in places if size), box // 9)
        counts = {2: 9, 3: 9, 4: 9, 7: 3 * n_atoms, 8: 3 * n_atoms, 9: 3 * n_atoms}
        misfit = any(blocks[k] not in (0, width * count) for k, count in counts.items())
        if width not in (4, 8) or misfit or min(blocks) < 0:
            raise _Damaged("lengths that do not fit its number of atoms")
        if len(head) < _TRR_HEAD.size + 2 * width:
            raise _Damaged("the file ends within its header")
        (time,) = struct.unpack_from(">f" if width == 4 else ">d", head, _TRR_HEAD.size)
        return (blocks, width), at + _TRR_HEAD.size + 2 * width, step, time

    def _walk(self, handle: int, at: int, size: int) -> tuple[int, int, float, bool]:
        (blocks, _), begin, step, time = self._head(handle, at)
        end = begin + sum(blocks)
        if end > size:
            raise _Damaged("the file ends within it")
        return end, step, time, blocks[7] > 0

    def _read(self, handle: int, at: int) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
        (blocks, width), begin, _, _ = self._head(handle, at)
        kind = np.dtype(f">f{width}")
        raw = os.pread(handle, blocks[7], begin + sum(blocks[:7]))
        box = os.pread(handle, blocks[2], begin + sum(blocks[:2]))
        if len(raw) < blocks[7] or len(box) < blocks[2] or not blocks[7]:
            raise _Damaged("the file was changed since it was opened")
        native = kind.newbyteorder("=")
        positions = np.frombuffer(raw, kind).astype(native).reshape(-1, 3)
        positions *= _NM_A
        cell = np.frombuffer(box, kind).astype(np.float64).reshape(3, 3) * _NM_A if box else np.zeros((3, 3))
        return positions, cell
