"""Slopes of mean square displacements with credible intervals, and whether the motion is diffusive.

A straight line is fitted by generalised least squares, with the covariance of :mod:`atomflow.analysis.covariance`, to
lags from some start on. Particles that differ more than the model says (groups of them), or move alike (their
displacements' covariance), widen it. Where the line starts is found from the data: the slope from each start is compared
with those from all later starts, whose difference has the variance of the later minus that of the earlier (the
earlier fit is efficient: Hausman, doi:10.2307/1913827). If the first agrees with all, it is used. If not, early
motion was different, and the starts that agree with all later ones are averaged with weights of their evidence:
the interval then includes that the start is not known. Coverage is proven by simulation (benchmarks/intervals.py).

R^2 says nothing about any of this. Whether motion is diffusive is read from the slope of log MSD over log lag.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import chi2

from atomflow.analysis.correlation import Array
from atomflow.analysis.covariance import Run, SlopeLaw, covariance_parts, slope_interval
from atomflow.analysis.motion import SquareDisplacements, ladder
from atomflow.errors import BadOptionError, TrajectoryError

#: A window of lags ends at this many times its start: later ones add nothing to the fit.
_REACH = 8
#: The longest lag that is fitted, and the latest start, as shares of the longest run; the latter is doubled where motion
#: is not diffusive before.
_LONGEST, _LATEST = 0.6, 0.1
#: The latest start for one particle's path, as a share of the run: its slope is then known to a third.
_LATEST_OF_ONE = 0.07
#: Standard errors by which the first slope may differ from later ones, and those of later starts that are averaged. Chosen
#: by simulation: less costs precision where there is no early motion of another kind, more misses a weak one.
_FIRST, _LATER = 1.25, 2.5
#: Variance of what early motion adds to the difference of two slopes, over that of noise: a weak assumption.
_UNLIKE = 1.0
#: Log-log slopes within these limits, or so many standard errors of them, are diffusion, if they are known to _KNOWN.
_LOWEST, _HIGHEST, _WITHIN, _KNOWN = 0.9, 1.1, 0.7, 0.2
#: And at most this far from one, however badly they are known.
_FARTHEST = 0.2
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


@dataclass(frozen=True, eq=False)
class Estimate:
    """What the mean square displacements say about diffusion. Lengths in A, times in frames.

    Attributes
    ----------
    slope : float
        May be negative, by noise.
    ci95 : pair of float
        Credible interval of the slope; from 0 where no motion at all cannot be excluded.
    offset_A2 : float
        Of the line through the fitted window.
    window : pair of int
        First and last lag fitted.
    loglog_slope, loglog_error : float
        Over the window, with its standard error.
    diffusive : bool
    why_not : str
        For people.
    axis_slopes : (d,) array
    axis_ci95 : (d, 2) array
    widening : float
        Variance over that of the model of independent, alike, Gaussian particles.
    replicas_differ : bool
        Replicas scatter more than their intervals allow; the interval was widened.
    """

    slope: float
    ci95: tuple[float, float]
    offset_A2: float
    window: tuple[int, int]
    loglog_slope: float
    loglog_error: float
    diffusive: bool
    why_not: str
    axis_slopes: Array
    axis_ci95: Array
    widening: float
    replicas_differ: bool = False
    windows: tuple[WindowFit, ...] = field(default=(), repr=False)


def estimate(
    replicas: Sequence[SquareDisplacements], *, fit_from: float | None = None, fit_to: float | None = None
) -> Estimate | None:
    """Fit the slope of mean square displacements.

    Parameters
    ----------
    replicas : sequence of SquareDisplacements
        One or more trajectories of the same system.
    fit_from, fit_to : float, optional
        First and last lag in frames, instead of what the data say.

    Returns
    -------
    Estimate or None
        None when there are too few frames, or nothing moves.

    Raises
    ------
    BadOptionError
        A window without three lags.
    TrajectoryError
        Replicas with different spacings of frames.
    """
    curve = Curve(tuple(replicas))
    usable = _usable(curve)
    if not curve.even or len(usable) < 3 or not np.nanmax(curve.total_A2) > 0:
        return None
    if fit_from is not None:
        fits = [fit_window(curve, _asked_lags(curve, fit_from, fit_to))]
        chosen, shares, told = [0], np.ones(1), 0
    else:
        usable = usable if fit_to is None else usable[usable <= fit_to]
        fits = _windows(curve, usable, _LATEST)
        if not fits and fit_to is None:
            return None
        if not fits:
            raise BadOptionError(f"fit up to lag {fit_to:g} (in frames): fewer than three lags; let the fit end later")
        chosen, shares, told = _choose(fits)
        if _why_not(fits[told]):
            fits = _windows(curve, usable, 2 * _LATEST)
            chosen, shares, told = _choose(fits)
    window = fits[told]
    factor, differ = _replica_scatter(curve, fits[chosen[0]])
    variances = np.array([fits[k].variance for k in chosen])
    # Of the mean of all: what an earlier fit and a later one have in common is the earlier's variance.
    common = float(shares @ np.minimum.outer(variances, variances) @ shares)
    laws = [fits[k].law.times(factor * common / variance) for k, variance in zip(chosen, variances, strict=True)]
    slope = float(sum(share * fits[k].slope for share, k in zip(shares, chosen, strict=True)))
    axis_slopes, axis_ci95 = _axes(curve, [fits[k] for k in chosen], laws, shares)
    why_not = _why_not(window)
    return Estimate(
        slope=slope,
        ci95=slope_interval(laws, shares),
        offset_A2=float(np.mean(curve.total_A2[window.lags] - slope * window.lags)),
        window=(int(window.lags[0]), int(window.lags[-1])),
        loglog_slope=window.loglog_slope,
        loglog_error=window.loglog_error * np.sqrt(factor),
        diffusive=not why_not,
        why_not=why_not,
        axis_slopes=axis_slopes,
        axis_ci95=axis_ci95,
        widening=fits[chosen[0]].widening * factor,
        replicas_differ=differ,
        windows=tuple(fits),
    )


def fit_window(curve: Curve, lags: NDArray[np.intp]) -> WindowFit:
    """Fit a line to the mean square displacements at these lags, by generalised least squares.

    The covariance depends on the line; it is found in three rounds.
    """
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


def _usable(curve: Curve) -> NDArray[np.intp]:
    """Lags that fits may use: those of the ladder that frames have."""
    lags = ladder(max(int(_LONGEST * curve.length), 1))
    lags = lags[lags < curve.length]
    return lags[(curve.pairs[lags] > 0) & np.isfinite(curve.total_A2[lags])]


def _windows(curve: Curve, usable: NDArray[np.intp], latest: float) -> list[WindowFit]:
    particles = sum(run.n_particles for run in curve.runs)
    latest = curve.length * min(latest, _LATEST_OF_ONE * particles)
    fits: list[WindowFit] = []
    for start in usable:
        lags = usable[(usable >= start) & (usable <= _REACH * start)]
        if len(lags) >= 3 and (start <= latest or not fits) and curve.total_A2[lags].min() > 0:
            fits.append(fit_window(curve, lags))
    return fits


def _asked_lags(curve: Curve, fit_from: float, fit_to: float | None) -> NDArray[np.intp]:
    first = max(int(np.ceil(fit_from - 1e-6)), 1)
    last = min(int(np.floor((fit_to or _REACH * first) + 1e-6)), curve.length - 2)
    lags = ladder(last)
    lags = np.unique(np.concatenate([lags[lags >= first], [first, last]]))
    if len(lags) < 4:
        lags = np.unique(np.linspace(first, last, min(_REACH, max(last - first + 1, 1))).astype(np.intp))
    lags = lags[(lags >= first) & (curve.pairs[lags] > 0)] if last >= first else lags[:0]
    if len(lags) < 3:
        raise BadOptionError(
            f"fit from lag {fit_from:g} to {fit_to or last:g} (in frames): fewer than three of the {curve.length - 1} lags "
            "are there; choose a wider window"
        )
    return lags


def _choose(fits: Sequence[WindowFit]) -> tuple[list[int], Array, int]:
    """Which fits count, with which shares, and which of them stands for them: the first with diffusive motion."""
    apart = [max((_apart(one, later) for later in fits[k + 1 :]), default=0.0) for k, one in enumerate(fits)]
    straight = abs(fits[0].loglog_slope - 1) < 0.05 + 2.5 * fits[0].loglog_error
    if apart[0] <= _FIRST and straight:
        return [0], np.ones(1), 0
    begin = next(k for k, one in enumerate(apart) if one <= _LATER)
    if begin:
        # One step further: what remains of the early motion fades fast.
        begin = min(begin + 1, len(fits) - 1)
    chosen = [begin]
    for k in range(begin + 1, len(fits)):
        if fits[k].lags[0] >= 2 * fits[chosen[-1]].lags[0]:
            chosen.append(k)
    # Evidence that the line starts at each: slopes before it differ from the next by some times what noise would do.
    evidence = np.zeros(len(chosen))
    for place, (k, later) in enumerate(itertools.pairwise(chosen)):
        variance = _difference_variance(fits[k], fits[later])
        score = (fits[k].slope - fits[later].slope) ** 2 / variance
        evidence[: place + 1] -= 0.5 * score
        evidence[place + 1 :] -= 0.5 * (score / (1 + _UNLIKE) + np.log(1 + _UNLIKE))
    shares = np.exp(evidence - evidence.max())
    told = next((k for k in range(begin, len(fits)) if not _why_not(fits[k])), begin)
    return chosen, shares / shares.sum(), told


def _difference_variance(earlier: WindowFit, later: WindowFit) -> float:
    # Both at the same slope: a slope that is small by chance would otherwise seem well known.
    late = max(later.variance, later.law.variance(max(earlier.slope, later.slope)))
    return max(late - earlier.variance, 0.05 * late)


def _apart(earlier: WindowFit, later: WindowFit) -> float:
    return float(abs(earlier.slope - later.slope) / np.sqrt(_difference_variance(earlier, later)))


def _why_not(fit: WindowFit) -> str:
    """Why motion with this log-log slope is not called diffusive; empty if it is."""
    slope, error = fit.loglog_slope, fit.loglog_error
    told = f"the log-log slope of the MSD is {slope:.2f} ± {error:.2f}"
    if slope + _WITHIN * error < _LOWEST or slope < 1 - _FARTHEST:
        return f"{told}, below that of diffusion (1)"
    if slope - _WITHIN * error > _HIGHEST or slope > 1 + _FARTHEST:
        return f"{told}, above that of diffusion (1): drift, flow or ballistic motion"
    if error > _KNOWN:
        return f"{told}, too uncertain to tell"
    return ""


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


def _axes(curve: Curve, fits: Sequence[WindowFit], laws: Sequence[SlopeLaw], shares: Array) -> tuple[Array, Array]:
    """Slope and interval of every axis by itself, with the weights of the whole."""
    d = len(curve.msd_A2)
    slopes, intervals = np.empty(d), np.empty((d, 2))
    for axis, msd in enumerate(curve.msd_A2):
        own = [float(fit.weights @ msd[fit.lags]) for fit in fits]
        narrower = [SlopeLaw(slope, law.p * d, law.q, law.r / d) for slope, law in zip(own, laws, strict=True)]
        slopes[axis] = shares @ own
        intervals[axis] = slope_interval(narrower, shares)
    return slopes, intervals


def _replica_scatter(curve: Curve, fit: WindowFit) -> tuple[float, bool]:
    """Factor on the variance when replicas differ more than they should (one chance in a hundred), and whether."""
    if len(curve.replicas) < 2:
        return 1.0, False
    slopes, precisions = [], []
    for one, run in zip(curve.replicas, curve.runs, strict=True):
        if len(one.lags) > fit.lags[-1]:
            slopes.append(float(fit.weights @ one.total_A2[fit.lags]))
            precisions.append(run.n_particles * max(run.n_frames - float(fit.lags.mean()), 1.0))
    if len(slopes) < 2:
        return 1.0, False
    share = np.array(precisions) / sum(precisions)
    # Each one's variance is that of all over its share.
    score = float(np.sum(share * (np.array(slopes) - share @ slopes) ** 2)) / fit.variance
    free = len(slopes) - 1
    if score <= chi2.ppf(0.99, free):
        return 1.0, False
    return score / free, True


def _filled(msd: Array) -> Array:
    """With lags that no two frames have filled in by interpolation."""
    missing = ~np.isfinite(msd)
    if missing.any():
        places = np.arange(len(msd))
        msd = msd.copy()
        msd[missing] = np.interp(places[missing], places[~missing], msd[~missing])
    return msd
