"""Sums over blocks of neighbouring frames, from which the error of a mean follows, however long the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

V = TypeVar("V")

#: Blocks that are kept: enough for an error to a tenth, few enough to be small.
MOST_BLOCKS = 64
#: Fewer say nothing about their spread.
LEAST_BLOCKS = 4


@dataclass
class Blocks(Generic[V]):
    """Sums of something that can be added, over blocks of frames.

    Blocks hold the frames whose numbers agree but for their last ``level`` bits; there are never more than
    ``MOST_BLOCKS``. That does not depend on the order in which frames come, so chunks of a run can be joined.

    Attributes
    ----------
    level : int
    sums : dict of int to value
    frames : dict of int to int
        How many are in each block.
    """

    level: int = 0
    sums: dict[int, V] = field(default_factory=dict)
    frames: dict[int, int] = field(default_factory=dict)

    def add(self, frame: int, value: V) -> None:
        """Add what one frame has."""
        self._put(frame >> self.level, value, 1)
        self._thin()

    def join(self, other: Blocks[V]) -> None:
        """Add all that ``other`` has; it must not be used any more."""
        while self.level < other.level:
            self._double()
        while other.level < self.level:
            other._double()
        for block, value in other.sums.items():
            self._put(block, value, other.frames[block])
        self._thin()

    def by_block(self, of_frames: Mapping[int, float]) -> NDArray[np.float64]:
        """Sums over each block, in order of time, of a number that each frame has."""
        places = {block: place for place, block in enumerate(sorted(self.sums))}
        sums = np.zeros(len(places))
        for frame in sorted(of_frames):
            sums[places[frame >> self.level]] += of_frames[frame]
        return sums

    def in_order(self) -> tuple[list[V], NDArray[np.int64]]:
        """Sums of the blocks in order of time, and how many frames each has."""
        order = sorted(self.sums)
        return [self.sums[block] for block in order], np.array([self.frames[block] for block in order], np.int64)

    def _put(self, block: int, value: Any, frames: int) -> None:
        self.sums[block] = self.sums[block] + value if block in self.sums else value
        self.frames[block] = self.frames.get(block, 0) + frames

    def _thin(self) -> None:
        while len(self.sums) > MOST_BLOCKS:
            self._double()

    def _double(self) -> None:
        sums, frames = self.sums, self.frames
        self.level, self.sums, self.frames = self.level + 1, {}, {}
        for block, value in sums.items():
            self._put(block >> 1, value, frames[block])


def ratio_error(sums: ArrayLike, weights: ArrayLike) -> NDArray[np.float64] | None:
    """Standard error of ``sums.sum() / weights.sum()`` from blocks that follow each other in time.

    The spread of the blocks and their correlation: autocovariances are added up as long as the sums of neighbouring
    ones stay positive, the initial positive sequence of Geyer, Stat. Sci. 7, 473 (1992), doi 10.1214/ss/1177011137.

    Parameters
    ----------
    sums : (n_blocks,) or (n_blocks, m) array
    weights : (n_blocks,) array
        Say, the frames in each block.

    Returns
    -------
    () or (m,) float64 array, or None with fewer than ``LEAST_BLOCKS`` blocks
    """
    if len(np.asarray(sums)) < LEAST_BLOCKS:
        return None
    return np.sqrt(_variances(sums, weights)[1]) / float(np.sum(weights))


def independent_blocks(sums: ArrayLike, weights: ArrayLike) -> float:
    """As how many independent blocks these count; a standard error from less than about ten is too small."""
    alone, together = _variances(sums, weights)
    return float(len(np.asarray(sums)) * alone / together) if together > 0 else float(len(np.asarray(sums)))


def dispersion(counts: ArrayLike, weights: ArrayLike, variances: ArrayLike) -> float:
    """By how much counts vary more than they should, pooled over all of them; at least 1.

    Parameters
    ----------
    counts : (n_blocks, m) array
    weights : (n_blocks,) array
    variances : (m,) array
        What the sum of all blocks should have.
    """
    values = np.asarray(counts, dtype=np.float64) / np.sqrt(np.asarray(variances, dtype=np.float64))
    if len(values) < LEAST_BLOCKS or not values.shape[1]:
        return 1.0
    return max(1.0, float(_variances(values, weights, pooled=True)[1]) / values.shape[1])


def _variances(
    sums: ArrayLike, weights: ArrayLike, pooled: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variance of the sum of all blocks: as if they were independent, and as they are."""
    values = np.asarray(sums, dtype=np.float64)
    weight = np.asarray(weights, dtype=np.float64).reshape(-1, *[1] * (values.ndim - 1))
    n = len(values)
    # Residuals of a ratio: blocks of unequal length count for what they hold.
    off = values - weight * (values.sum(axis=0) / weight.sum())
    axis = None if pooled else 0
    alone = np.asarray((off**2).sum(axis=axis))
    together = -alone
    lags = np.zeros(alone.shape)
    going = np.ones(alone.shape, bool)
    for lag in range(0, n - 1, 2):
        pair = (off[lag:] * off[: n - lag]).sum(axis=axis) + (off[lag + 1 :] * off[: n - lag - 1]).sum(axis=axis)
        going = going & (pair > 0)
        if not going.any():
            break
        together = together + np.where(going, 2 * pair, 0.0)
        lags = lags + 2 * going
    # Alternating blocks may make the first pair negative: then nothing is known but their spread.
    together = np.where(together > 0, together, alone)
    # The mean was taken from the same blocks, which lowers each of the autocovariances by its own variance.
    used = np.where(together > alone, 2 * lags - 1, 1)
    return alone * n / (n - 1), together / (1 - np.minimum(used / n, 0.5))
