"""How mean square displacements at different lags vary and vary together, and intervals for what is fitted to them.

Time averages over overlapping windows of one path are far from independent. For a Gaussian process whose increments
are stationary (Brownian motion, with noise, in a relaxing cage, with inertia) the covariance of two of them follows from
the mean square displacement alone: displacements over the windows [0, m] and [k, k + n] have, along one axis, the
covariance c(k) = [x(m - k) + x(n + k) - x(k) - x(m - n - k)] / 2 with x(t) = MSD(|t|) / d, and their squares have
2 c(k)^2 (Isserlis' theorem). Bullerjahn, von Buelow and Hummer (J. Chem. Phys. 153, 024116, 2020,
doi:10.1063/5.0008312) have it for a line, x(t) = a + b t; here the MSD before the line starts is taken as it is, so
that a cage or inertia counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammainc, ndtr

Array = NDArray[np.float64]

#: Steps in which the first lag is passed over when windows are shifted against each other.
_RESOLUTION = 16
#: Third cumulant of a fitted slope, in units of twice its squared variance over the slope; 2 for a plain mean of squares
#: (exact), 1.56 for the slope between two lags of a random walk.
_SKEW = 1.56


@dataclass(frozen=True)
class Run:
    """A trajectory that a mean square displacement was averaged over: so many independent particles and frames."""

    n_particles: float
    n_frames: int


def covariance_parts(
    lags: NDArray[np.intp], remainder_A2: Array, runs: Sequence[Run], dimensions: float
) -> tuple[Array, Array, Array]:
    """Covariance of mean square displacements as a function of the slope.

    The MSD is taken as ``slope * lag + remainder``; the covariance matrix is then ``slope^2 P + slope Q + R``.

    Parameters
    ----------
    lags : (L,) int array
        In frames, ascending; the line starts at the first.
    remainder_A2 : (lags[0] + 1,) array
        What the MSD has beyond the slope's part, up to the first lag; constant from there on.
    runs : sequence of Run
        What was averaged.
    dimensions : float
        Axes that the MSD is summed over; less where one of them moves most.

    Returns
    -------
    P, Q, R : (L, L) arrays
        In A^0, A^2 and A^4 (lags and slope in frames).
    """
    first, last = int(lags[0]), int(lags[-1])
    stride = max(1, first // _RESOLUTION)
    reach = -(-(first + last) // stride) * stride
    shifts = np.arange(-reach, reach + 1, stride)[None, :]
    rows, columns = np.triu_indices(len(lags))
    m, n = lags[rows][:, None], lags[columns][:, None]

    spans = [np.abs(span) for span in (m - shifts, n + shifts, shifts, m - n - shifts)]
    line = 0.5 * (spans[0] + spans[1] - spans[2] - spans[3])
    beyond = [remainder_A2[np.minimum(span, first)] for span in spans]
    rest = 0.5 * (beyond[0] + beyond[1] - beyond[2] - beyond[3])

    # How many pairs of windows have each shift, over all runs, as a share of all pairs.
    pairs = np.zeros(line.shape)
    windows = np.zeros(len(lags))
    for run in runs:
        starts = run.n_frames - np.maximum(m, n + shifts) + np.minimum(shifts, 0)
        pairs += run.n_particles * np.clip(starts, 0, None)
        windows += run.n_particles * np.clip(run.n_frames - lags, 0, None)
    share = pairs * (stride * 2 / dimensions) / (windows[rows] * windows[columns])[:, None]

    parts = []
    for product in (line * line, 2 * line * rest, rest * rest):
        part = np.zeros((len(lags), len(lags)))
        part[rows, columns] = np.einsum("pk,pk->p", product, share)
        part[columns, rows] = part[rows, columns]
        parts.append(part)
    return parts[0], parts[1], parts[2]


@dataclass(frozen=True)
class SlopeLaw:
    """How a fitted slope scatters around the true one: its variance is ``p slope^2 + q slope + r``.

    The law is a shifted gamma distribution (Pearson's type III) with this variance, and with the third cumulant that
    squares of Gaussian displacements give: for many displacements a normal one, for few a chi-square.
    """

    fitted: float
    p: float
    q: float
    r: float

    def variance(self, slope: float) -> float:
        """Of fitted slopes, if ``slope`` is true."""
        slope = max(slope, 0.0)
        return max(self.p * slope * slope + self.q * slope + self.r, 1e-300)

    def times(self, factor: float) -> SlopeLaw:
        """The same with a larger variance."""
        return SlopeLaw(self.fitted, self.p * factor, self.q * factor, self.r * factor)

    def above(self, slope: float) -> float:
        """Chance of a fitted slope above the one that was found, if ``slope`` is true."""
        variance = self.variance(slope)
        skewness = _SKEW * self.p**2 * max(slope, 0.0) ** 3 / variance**1.5
        score = (self.fitted - slope) / np.sqrt(variance)
        if skewness < 1e-3:
            return float(ndtr(-score))
        shape = 4 / skewness**2
        return 1.0 - float(gammainc(shape, max(shape + score * np.sqrt(shape), 0.0)))


def slope_interval(laws: Sequence[SlopeLaw], weights: Array, level: float = 0.95) -> tuple[float, float]:
    """Central interval of the true slope, from one law or a weighted mixture of several.

    The posterior of a slope b is taken as the chance that b would have given a larger estimate than was found: for a
    scale parameter this is the Bayesian posterior with Jeffreys' prior, and its intervals have their coverage.

    Returns
    -------
    low, high : float
        ``low`` is 0 where no motion at all cannot be excluded; ``high`` may be infinite.
    """
    tail = (1 - level) / 2
    size = float(np.max([abs(law.fitted) + np.sqrt(law.variance(law.fitted)) for law in laws]))
    if not np.isfinite(size) or size <= 0:
        return 0.0, float("inf")

    def below(slope: float) -> float:
        return float(sum(weight * law.above(slope) for law, weight in zip(laws, weights, strict=True)))

    tiny = 1e-9 * size
    if below(tiny) >= 1 - tail:
        # Far below zero: no slope that can be is likely.
        return 0.0, tiny
    high = size
    # Not "below(high) < 1 - tail": of a few displacements the chance may be no number, and then nothing is known.
    while not below(high) >= 1 - tail:
        high *= 2
        if high > 1e6 * size:
            return _crossing(below, tail, tiny, high) or 0.0, float("inf")
    low = _crossing(below, tail, tiny, high) or 0.0
    return low, _crossing(below, 1 - tail, max(low, tiny), high) or high


def _crossing(rising: Callable[[float], float], level: float, low: float, high: float) -> float | None:
    """Where the chance reaches a level; None where it has it already, or never gets there."""
    if not rising(low) < level < rising(high):
        return None
    return float(brentq(lambda slope: rising(slope) - level, low, high, xtol=1e-9 * high, rtol=1e-7))
