"""Where paths are kept: particle by particle, in memory or in a temporary file that has no name."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from atomflow.errors import TrajectoryError

#: Bytes of one position.
POSITION = 24
_AT_A_TIME = 64


class PathStore(Protocol):
    """Takes runs of frames of all particles, gives whole paths of some particles."""

    def add(self, block: Block) -> None:
        """Append the next frames: (b, n_particles, 3)."""

    def read(self, rows: slice) -> NDArray[np.float64]:
        """Paths of these particles, (k, n_frames, 3), C-contiguous; read-only where it is no copy."""

    def close(self) -> None:
        """Free what it holds."""


@dataclass(frozen=True)
class Block:
    """Consecutive frames on their way to a store: positions, and what to take off those of each particle.

    Attributes
    ----------
    positions_A : (b, n, 3) float array
        As read, perhaps in single precision: the difference is taken in double.
    shift_A : (n, 3) float64 array
    """

    positions_A: NDArray[np.floating]
    shift_A: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.positions_A)

    def until(self, frame: int) -> Block:
        """The first frames."""
        return Block(self.positions_A[:frame], self.shift_A)

    def after(self, frame: int) -> Block:
        """The others."""
        return Block(self.positions_A[frame:], self.shift_A)

    def shifted(self) -> NDArray[np.float64]:
        """(b, n, 3) positions less the shift."""
        return self.positions_A - self.shift_A


def make_store(n_particles: int, n_frames: int, memory_GB: float) -> PathStore:
    """A store in memory, or on disk when it would be larger than ``memory_GB``.

    Raises
    ------
    TrajectoryError
        The disk of temporary files is too small.
    """
    if n_particles * n_frames * POSITION <= memory_GB * 1e9:
        return MemoryStore(n_particles, n_frames)
    return DiskStore(n_particles, n_frames, max(int(memory_GB * 0.5e9 / POSITION / n_particles), 1))


def _turn(block: Block, into: NDArray[np.float64]) -> None:
    """Frame by frame to particle by particle, a few frames at a time so that what is read stays in the cache."""
    from atomflow.trajectory import _unwrap_kernels as kernels

    for first in range(0, len(block), _AT_A_TIME):
        some = slice(first, first + _AT_A_TIME)
        kernels.turn_block(block.positions_A[some], block.shift_A, into[:, some])


class MemoryStore:
    """All paths in one array."""

    def __init__(self, n_particles: int, n_frames: int) -> None:
        self._paths = np.empty((n_particles, n_frames, 3))
        self._done = 0

    def add(self, block: Block) -> None:
        """Append frames."""
        _turn(block, self._paths[:, self._done : self._done + len(block)])
        self._done += len(block)

    def read(self, rows: slice) -> NDArray[np.float64]:
        """A read-only view."""
        view = self._paths[rows]
        view.flags.writeable = False
        return view

    def close(self) -> None:
        """Let go of the array."""
        self._paths = np.empty((0, 0, 3))


class DiskStore:
    """All paths in an unlinked file: it vanishes with the process, however that ends.

    It is written and read with plain calls, not mapped, so that the memory of the process stays flat.
    """

    def __init__(self, n_particles: int, n_frames: int, buffered: int) -> None:
        self.shape = (n_particles, n_frames, 3)
        self._written = self._filled = 0
        folder = tempfile.gettempdir()
        size = n_particles * n_frames * POSITION
        self._short = (
            f"{folder}: the paths of {n_particles} particles over {n_frames} frames need {size / 1e9:.1f} GB on disk, but "
            "{free:.1f} GB are free; set TMPDIR to a larger disk, take fewer frames with a step, or raise memory_GB"
        )
        if shutil.disk_usage(folder).free < size:
            raise self._too_small()
        self._file = tempfile.TemporaryFile(prefix="atomflow-paths-")  # noqa: SIM115 - lives as long as the paths
        try:
            os.posix_fallocate(self._file.fileno(), 0, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                self._file.close()
                raise self._too_small() from error
            # A file system that cannot reserve space still can be written to.
        self._buffer = np.empty((n_particles, min(buffered, n_frames), 3))

    def _too_small(self) -> TrajectoryError:
        return TrajectoryError(self._short.format(free=shutil.disk_usage(tempfile.gettempdir()).free / 1e9))

    def add(self, block: Block) -> None:
        """Append frames; they are written when the buffer is full, or with the last frame."""
        while len(block):
            some = block.until(self._buffer.shape[1] - self._filled)
            _turn(some, self._buffer[:, self._filled : self._filled + len(some)])
            self._filled += len(some)
            block = block.after(len(some))
            if self._filled == self._buffer.shape[1] or self._written + self._filled == self.shape[1]:
                self._flush()

    def _flush(self) -> None:
        """Write what is in the buffer, one piece for each particle."""
        handle, frames = self._file.fileno(), self.shape[1]
        try:
            for particle in range(self.shape[0]):
                left = memoryview(self._buffer[particle, : self._filled].data).cast("B")
                place = (particle * frames + self._written) * POSITION
                while left:
                    count = os.pwrite(handle, left, place)
                    left, place = left[count:], place + count
        except OSError as error:
            raise self._too_small() from error
        self._written, self._filled = self._written + self._filled, 0
        if self._written == frames:
            self._buffer = np.empty((0, 0, 3))

    def read(self, rows: slice) -> NDArray[np.float64]:
        """Read particles that lie one after another in the file in one go."""
        first, last, _ = rows.indices(self.shape[0])
        paths = np.empty((max(last - first, 0), *self.shape[1:]))
        left = memoryview(paths.data).cast("B") if paths.size else memoryview(b"")
        place = first * self.shape[1] * POSITION
        while left:
            read = os.preadv(self._file.fileno(), [left], place)
            if not read:
                raise TrajectoryError(f"{tempfile.gettempdir()}: the temporary file of paths was cut short; run again")
            left, place = left[read:], place + read
        return paths

    def close(self) -> None:
        """Free the disk."""
        self._file.close()
