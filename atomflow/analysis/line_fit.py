"""A line through mean square displacements of some lags, by generalised least squares.

The covariance is that of :mod:`atomflow.analysis.covariance`. Particles that differ more than the model says (groups of
them), or move alike (their displacements' covariance), widen it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from atomflow.analysis.correlation import Array
from atomflow.analysis.covariance import Run, SlopeLaw, covariance_parts
from atomflow.analysis.motion import SquareDisplacements, ladder
from atomflow.errors import TrajectoryError

#: Fewer groups of particles say nothing about how much particles differ.
_FEWEST_GROUPS = 6
#: Likeness of particles' paths below this is noise.
_ALIKE = 1.1


@dataclass(frozen=True, eq=False)
class Curve:
    """Mean square displacements of replicas, joined: their mean, weighted by pairs of frames and particles."""

    replicas: tuple[SquareDisplacements, ...]

    def __post_init__(self) -> None:
        spacings = [one.grid.spacing_ps for one in self.replicas]
        if any((one is None) != (spacings[0] is None) for one in spacings) or not np.allclose(
            [one or 1.0 for one in spacings], spacings[0] or 1.0, rtol=1e-3
        ):
            told = ", ".join("unknown" if one is None else f"{one:g} ps" for one in spacings)
            raise TrajectoryError(
                f"replicas with different frame spacings ({told}) cannot be joined: take every n-th frame"
            )

    @property
    def even(self) -> bool:
        """Whether all lie on even grids: only then there is a fit."""
        return all(one.grid.even for one in self.replicas)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Particles and frames of every replica; gaps count as fewer particles."""
        return tuple(
            Run(one.n_particles * float(np.mean(one.pairs / np.arange(len(one.pairs), 0, -1))), one.grid.length)
            for one in self.replicas
        )

    @cached_property
    def length(self) -> int:
        """Lags of the longest replica."""
        return max(len(one.lags) for one in self.replicas)

    @cached_property
    def pairs(self) -> Array:
        """(L,) pairs of frames times particles at every lag."""
        return np.sum([self._longer(one.pairs * one.n_particles) for one in self.replicas], axis=0)

    @cached_property
    def msd_A2(self) -> Array:
        """(d, L) mean over replicas, NaN where there is no pair of frames."""
        if len(self.replicas) == 1:
            return self.replicas[0].msd_A2
        sums = sum(self._longer(np.nan_to_num(one.msd_A2) * one.pairs * one.n_particles) for one in self.replicas)
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / self.pairs)

    @cached_property
    def total_A2(self) -> Array:
        """(L,) summed over axes."""
        return np.asarray(self.msd_A2.sum(axis=0))

    def _longer(self, values: Array) -> Array:
        missing = self.length - values.shape[-1]
        return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)]) if missing else values


@dataclass(frozen=True, eq=False)
class WindowFit:
    """A line fitted to some lags. Lengths in A, times in frames."""

    lags: NDArray[np.intp]
    weights: Array
    slope: float
    law: SlopeLaw
    #: How much wider than the model's the variance is.
    widening: float
    loglog_slope: float
    loglog_error: float

    @property
    def variance(self) -> float:
        """Of the slope, if it is the true one."""
        return self.law.variance(self.slope)


def fit_window(curve: Curve, lags: NDArray[np.intp]) -> WindowFit | None:
    """Fit a line to the mean square displacements at these lags, by generalised least squares.

    The covariance depends on the line; it is found in three rounds.

    Returns
    -------
    WindowFit or None
        None where these displacements have no covariance: they follow no random motion, or are too small or too large
        for doubles.
    """
    try:
        with np.errstate(all="ignore"):
            fit = _fit(curve, lags)
    except (np.linalg.LinAlgError, ValueError):  # a matrix that is not positive, or has what is not finite
        return None
    return fit if np.isfinite(fit.slope) and np.isfinite(fit.variance) and np.isfinite(fit.widening) else None


def _fit(curve: Curve, lags: NDArray[np.intp]) -> WindowFit:
    msd, first = curve.total_A2, int(lags[0])
    y = msd[lags]
    size = max(float(y.max()), 1e-300)
    early = _filled(msd[: first + 1])
    design = np.stack([np.ones(len(lags)), lags], axis=1)
    slope = (y[-1] - y[0]) / (lags[-1] - lags[0])
    offset = y[0] - slope * first
    dimensions = float(len(curve.msd_A2))
    for turn in range(3):
        # A covariance needs a line that some motion could have.
        line = max(slope, 1e-6 * size / first)
        start = max(offset, -0.6 * line * first) + line * first
        remainder = early * (start / early[-1] if early[-1] > 0 else 0.0) - line * np.arange(first + 1)
        parts = covariance_parts(lags, remainder, curve.runs, dimensions)
        covariance = line * line * parts[0] + line * parts[1] + parts[2]
        weights = _gls_weights(design, covariance)
        offset, slope = weights @ y
        if turn == 1:
            dimensions = _dimensions(curve, lags, weights[1], covariance)
    law = SlopeLaw(float(slope), *(float(weights[1] @ part @ weights[1]) for part in parts))
    widening = max(1.0, _group_scatter(curve, lags, weights[1], law), _likeness(curve, 2 * first))
    with np.errstate(divide="ignore", invalid="ignore"):
        log_weights = np.linalg.pinv(np.stack([np.ones(len(lags)), np.log(lags)], axis=1))[1]
        positive = np.maximum(y, 1e-12 * size)
        loglog = float(log_weights @ np.log(positive))
        error = float(np.sqrt(widening * (log_weights / positive) @ covariance @ (log_weights / positive)))
    return WindowFit(lags, weights[1], float(slope), law.times(widening), widening, loglog, error)


def _gls_weights(design: Array, covariance: Array) -> Array:
    """(2, L): what the observations are multiplied by to give offset and slope."""
    scale = np.sqrt(np.diag(covariance))
    # Neighbouring lags of long windows are nearly the same number; a trace of independent noise keeps it solvable.
    scaled = covariance / np.outer(scale, scale) + 1e-9 * np.eye(len(scale))
    whitened = cho_solve(cho_factor(scaled), design / scale[:, None])
    return np.asarray(np.linalg.solve((design / scale[:, None]).T @ whitened, whitened.T) / scale)


def _group_scatter(curve: Curve, lags: NDArray[np.intp], weights: Array, law: SlopeLaw) -> float:
    """Variance of the slope from the scatter among groups of particles, over the model's."""
    slopes: list[float] = []
    shares: list[float] = []
    for one in curve.replicas:
        kept = ladder(one.grid.length - 1)
        places = np.searchsorted(kept, lags)
        if lags[-1] > kept[-1] or not np.array_equal(kept[places], lags):
            return 1.0
        slopes += list(one.group_msd_A2[:, places] @ weights)
        shares += list(one.group_sizes * float(one.pairs[lags].mean()))
    if len(slopes) < _FEWEST_GROUPS:
        return 1.0
    share = np.array(shares) / sum(shares)
    scatter = float(np.sum(share**2 * (np.array(slopes) - share @ slopes) ** 2)) * len(share) / (len(share) - 1)
    return scatter / law.variance(law.fitted)


def _likeness(curve: Curve, lag: int) -> float:
    """How much particles moving alike widens the variance, at windows of about this length."""
    found = [
        min(one.likeness, key=lambda pair: abs(np.log(pair[0] / lag)))[1] for one in curve.replicas if one.likeness
    ]
    widest = float(np.mean(found)) if found else 1.0
    return widest if widest > _ALIKE else 1.0


def _dimensions(curve: Curve, lags: NDArray[np.intp], weights: Array, covariance: Array) -> float:
    """Axes that share the motion: fewer when one of them moves most; then the sum over axes varies more."""
    slopes = curve.msd_A2[:, lags] @ weights
    noise = float(weights @ covariance @ weights)
    squares = float(slopes @ slopes) - noise
    if squares <= 0 or slopes.sum() <= 0:
        return float(len(slopes))
    shared = float(np.clip((slopes.sum() ** 2 - noise) / squares, 1.0, len(slopes)))
    return shared if shared < 0.8 * len(slopes) else float(len(slopes))


def _filled(msd: Array) -> Array:
    """With lags that no two frames have filled in by interpolation."""
    missing = ~np.isfinite(msd)
    if missing.any():
        places = np.arange(len(msd))
        msd = msd.copy()
        msd[missing] = np.interp(places[missing], places[~missing], msd[~missing])
    return msd
