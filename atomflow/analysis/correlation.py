"""Mean square displacements of arrays: all lags at once by Fourier transforms, and pair by pair for odd times.

With power spectra summed over particles there is one inverse transform for a whole group of them (Wiener-Khinchin;
Calandrini et al. 2011, doi:10.1051/sfn/201112010): MSD(m) = [sum x(i)^2 + x(i+m)^2 - 2 x(i) x(i+m)] / pairs(m).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from atomflow.errors import TrajectoryError

Array = NDArray[np.float64]

#: Padded coordinates that are transformed together: so many bytes (they stay in a core's cache), and at least so many
#: rows (the transform works on several at a time).
_AT_ONCE, _ROWS = 2**18, 4
#: Frames may lie this far from an even spacing, in units of it: times stored in single precision do.
_UNEVEN = 0.05
#: Gaps may make the even grid this many times longer than the frames there are.
_SPARSEST = 8
#: Uneven frames are compared pair by pair, up to this many.
_MOST_UNEVEN = 1000


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the frames lie in time.

    Attributes
    ----------
    places : (n_frames,) int array
        On an even grid, ascending from 0; consecutive when no frame is missing.
    spacing_ps : float or None
        Of the grid; None when the times are unknown.
    times_ps : (n_frames,) float array or None
        Kept for frames on no even grid (``even`` is False): their lags are differences of these.
    """

    places: NDArray[np.intp]
    spacing_ps: float | None
    times_ps: Array | None = None

    @property
    def even(self) -> bool:
        """Whether the frames lie on an even grid, perhaps with gaps."""
        return self.times_ps is None

    @property
    def length(self) -> int:
        """Places from the first frame to the last."""
        return int(self.places[-1]) + 1

    @property
    def whole(self) -> bool:
        """Whether there is a frame at every place."""
        return self.length == len(self.places)

    @cached_property
    def pairs(self) -> Array:
        """(length,) number of pairs of frames at every lag."""
        if self.whole:
            return np.arange(self.length, 0, -1, dtype=float)
        mask = np.zeros(self.length)
        mask[self.places] = 1.0
        return np.round(_correlate(mask, mask))


def frame_grid(times_ps: Array | None, n_frames: int) -> Grid:
    """Find the even grid that frames lie on, gaps allowed.

    Parameters
    ----------
    times_ps : (n_frames,) array or None
        None when nobody knows them: the frames are then taken as evenly spaced.
    n_frames : int

    Raises
    ------
    TrajectoryError
        Times that do not ascend; more than 1000 frames on no even grid.
    """
    if times_ps is None or n_frames < 2:
        return Grid(np.arange(n_frames), None)
    times = np.asarray(times_ps, dtype=float) - times_ps[0]
    gaps = np.diff(times)
    if not np.all(gaps > 0):
        where = int(np.argmin(gaps > 0)) + 1
        raise TrajectoryError(
            f"frame {where} is at {times_ps[where]:g} ps, not after the one before it ({times_ps[where - 1]:g} ps): "
            "a run was restarted or appended; drop the repeated frames with start, stop or step"
        )
    smallest = float(gaps.min())
    for parts in range(1, 11):
        base = smallest / parts
        length = times[-1] / base + 1
        if length > _SPARSEST * n_frames + 1:
            break
        counts = np.round(gaps / base)
        # Refined on the whole length, so that rounding of the smallest gap does not add up.
        base = times[-1] / counts.sum()
        if np.abs(gaps / base - counts).max() < _UNEVEN:
            return Grid(np.concatenate([[0], np.cumsum(counts)]).astype(np.intp), base)
    if n_frames > _MOST_UNEVEN:
        raise TrajectoryError(
            f"{n_frames} frames at uneven times (steps of {smallest:g} to {gaps.max():g} ps): all lags of so many take "
            f"too long; choose evenly spaced ones, or at most {_MOST_UNEVEN}, with start, stop and step"
        )
    return Grid(np.arange(n_frames), None, times)


def msd_fft(positions_A: Array, grid: Grid | None = None) -> Array:
    """Mean square displacement of every axis at every lag, averaged over particles and time origins.

    Parameters
    ----------
    positions_A : (n, n_frames, d) array
        Unwrapped.
    grid : Grid, optional
        Where the frames lie; evenly without gaps when not given.

    Returns
    -------
    (d, length) array
        In A^2; NaN at lags that no two frames have.
    """
    if grid is None:
        grid = Grid(np.arange(positions_A.shape[1]), None)
    power, squares = spectra(positions_A, grid)
    return msd_from_spectra(power, squares, len(positions_A), grid)


def spectra(positions_A: Array, grid: Grid) -> tuple[Array, Array]:
    """Power spectra and squares, each summed over the particles; what :func:`msd_from_spectra` needs.

    Returns
    -------
    power : (d, n_frequencies) array
    squares : (d, n_frames) array
        Of positions from each particle's mean: without that, coordinates far from the origin lose their digits.
    """
    n, n_frames, d = positions_A.shape
    padded = scipy.fft.next_fast_len(2 * grid.length - 1, real=True)
    at_once = min(n, max(_ROWS, _AT_ONCE // (8 * padded)))
    buffer = np.zeros((at_once, padded))
    power = np.zeros((d, 2 * (padded // 2 + 1)))
    squares = np.zeros((d, n_frames))
    for first in range(0, n, at_once):
        part = positions_A[first : first + at_once]
        # A product with ones: numpy's mean over a middle axis of rows of three is ten times slower.
        means = np.matmul(np.full(n_frames, 1.0 / n_frames), part)
        room = buffer[: len(part)]
        for axis in range(d):
            centred = room[:, :n_frames] if grid.whole else np.empty((len(part), n_frames))
            np.subtract(part[:, :, axis], means[:, axis, None], out=centred)
            squares[axis] += np.einsum("kt,kt->t", centred, centred)
            if not grid.whole:
                room[:, grid.places] = centred
            parts = scipy.fft.rfft(room, axis=1).view(np.float64)
            power[axis] += np.einsum("kf,kf->f", parts, parts)
    return power[:, ::2] + power[:, 1::2], squares


def msd_from_spectra(power: Array, squares: Array, n_particles: int, grid: Grid) -> Array:
    """Finish what :func:`spectra` began: (..., length) mean square displacements."""
    length = grid.length
    padded = scipy.fft.next_fast_len(2 * length - 1, real=True)
    products = scipy.fft.irfft(power, padded, axis=-1)[..., :length]
    if grid.whole:
        sums = np.zeros((*squares.shape[:-1], length + 1))
        np.cumsum(squares, axis=-1, out=sums[..., 1:])
        lags = np.arange(length)
        both = sums[..., length - lags] + sums[..., length:] - sums[..., lags]
    else:
        placed, mask = np.zeros((*squares.shape[:-1], length)), np.zeros(length)
        placed[..., grid.places], mask[grid.places] = squares, 1.0
        both = _correlate(placed, mask) + _correlate(mask, placed)
    pairs = grid.pairs
    with np.errstate(invalid="ignore", divide="ignore"):
        msd = np.maximum(both - 2 * products, 0.0) / (pairs * n_particles)
    msd[..., pairs == 0] = np.nan
    msd[..., 0] = 0.0
    return msd


def msd_direct(positions_A: Array, lags: NDArray[np.intp]) -> Array:
    """(d, n_lags) mean square displacements at these lags in frames, by their definition."""
    out = np.empty((positions_A.shape[2], len(lags)))
    for place, lag in enumerate(lags):
        moved = positions_A[:, lag:] - positions_A[:, : positions_A.shape[1] - lag]
        out[:, place] = np.einsum("ktd,ktd->d", moved, moved) / (moved.shape[0] * moved.shape[1])
    return out


def uneven_lags(times_ps: Array) -> tuple[Array, Array, NDArray[np.intp]]:
    """Lags that uneven frames have.

    Returns
    -------
    lags_ps : (m,) array
        Ascending; lags closer than a millionth of the whole time are one.
    pairs : (m,) array
        Pairs of frames at every lag.
    kinds : (n_frames * (n_frames - 1) / 2,) int array
        Lag of every pair, in the order of ``np.triu_indices``.
    """
    earlier, later = np.triu_indices(len(times_ps), 1)
    spans = times_ps[later] - times_ps[earlier]
    order = np.argsort(spans, kind="stable")
    kinds = np.empty(len(spans), dtype=np.intp)
    breaks = np.diff(spans[order]) > 1e-6 * (times_ps[-1] - times_ps[0])
    kinds[order] = np.concatenate([[0], np.cumsum(breaks)])
    pairs = np.bincount(kinds).astype(float)
    return np.bincount(kinds, weights=spans) / pairs, pairs, kinds


def msd_uneven(positions_A: Array, times_ps: Array) -> Array:
    """(d, m) mean square displacements at the lags of :func:`uneven_lags`, pair by pair."""
    earlier, later = np.triu_indices(len(times_ps), 1)
    _, pairs, kinds = uneven_lags(times_ps)
    squares = np.zeros((positions_A.shape[2], len(kinds)))
    for path in positions_A:
        squares += ((path[later] - path[earlier]) ** 2).T
    return np.array([np.bincount(kinds, weights=row) for row in squares]) / (pairs * len(positions_A))


def _correlate(first: Array, second: Array) -> Array:
    """Sum over i of first(i) second(i + m), for every m from 0, along the last axis."""
    length = first.shape[-1]
    padded = scipy.fft.next_fast_len(2 * length - 1, real=True)
    product = scipy.fft.rfft(first, padded).conj() * scipy.fft.rfft(second, padded)
    return scipy.fft.irfft(product, padded)[..., :length]
