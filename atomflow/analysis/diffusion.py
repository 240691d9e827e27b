"""Slopes of mean square displacements with credible intervals, and whether the motion is diffusive.

A straight line is fitted to lags from some start on (:mod:`atomflow.analysis.line_fit`). Where the line starts is
found from the data: the slope from each start is compared with those from all later starts, whose difference has the
variance of the later minus that of the earlier (the earlier fit is efficient: Hausman, doi:10.2307/1913827). If the
first agrees with all, it is used. If not, early motion was different, and the starts that agree with all later ones
are averaged with weights of their evidence: the interval then includes that the start is not known. Coverage is
proven by simulation (benchmarks/intervals.py).

R^2 says nothing about any of this. Whether motion is diffusive is read from the slope of log MSD over log lag.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from atomflow.analysis.correlation import Array
from atomflow.analysis.covariance import SlopeLaw, slope_interval
from atomflow.analysis.line_fit import Curve, WindowFit, fit_window
from atomflow.analysis.motion import SquareDisplacements, ladder
from atomflow.errors import BadOptionError

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
#: A log-log slope with a larger error is no number to print.
_ABSURD = 1.0


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
    fault : str
        The end of ``why_not``, the same for all whose slope fails in the same way.
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
    fault: str
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
        Limits that are no lags, a window without three lags, or one that no line can be fitted to.
    TrajectoryError
        Replicas with different spacings of frames.
    """
    _check_limits(fit_from, fit_to)
    curve = Curve(tuple(replicas))
    usable = _usable(curve)
    if not curve.even or len(usable) < 3 or not np.nanmax(curve.total_A2) > 0:
        return None
    if fit_from is not None:
        lags = _asked_lags(curve, fit_from, fit_to)
        if (one := fit_window(curve, lags)) is None:
            raise BadOptionError(
                f"fit from lag {lags[0]} to {lags[-1]} (in frames): no line can be fitted to the mean square displacement "
                "there; choose another window"
            )
        fits, chosen, shares, told = [one], [0], np.ones(1), 0
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
        fault=_fault(window),
        axis_slopes=axis_slopes,
        axis_ci95=axis_ci95,
        widening=fits[chosen[0]].widening * factor,
        replicas_differ=differ,
        windows=tuple(fits),
    )


def _check_limits(fit_from: float | None, fit_to: float | None) -> None:
    for limit in (fit_from, fit_to):
        if limit is not None and not (np.isfinite(limit) and limit > 0):
            raise BadOptionError(f"fit limit of {limit:g} frames: give a lag above zero")
    if fit_from is not None and fit_to is not None and fit_to <= fit_from:
        raise BadOptionError(
            f"fit from lag {fit_from:g} to {fit_to:g} (in frames): the last lag comes before the first"
        )


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
        if len(lags) < 3 or (start > latest and fits) or not curve.total_A2[lags].min() > 0:
            continue
        if (fit := fit_window(curve, lags)) is not None:
            fits.append(fit)
    return fits


def _asked_lags(curve: Curve, fit_from: float, fit_to: float | None) -> NDArray[np.intp]:
    first = max(int(np.ceil(fit_from - 1e-6)), 1)
    asked = float(_REACH * first if fit_to is None else fit_to)
    last = int(np.floor(min(asked, curve.length - 2) + 1e-6))
    lags = ladder(last)
    lags = np.unique(np.concatenate([lags[lags >= first], [first, last]]))
    if len(lags) < 4:
        lags = np.unique(np.linspace(first, last, min(_REACH, max(last - first + 1, 1))).astype(np.intp))
    lags = lags[(lags >= first) & (lags <= last)] if last >= first else lags[:0]
    lags = lags[(curve.pairs[lags] > 0) & np.isfinite(curve.total_A2[lags])]
    if len(lags) < 3:
        raise BadOptionError(
            f"fit from lag {fit_from:g} to {asked:g} (in frames): fewer than three of the {curve.length - 1} lags "
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


def _fault(fit: WindowFit) -> str:
    """What the log-log slope is, where motion with it is not called diffusive; empty if it is."""
    slope, error = fit.loglog_slope, fit.loglog_error
    if not (np.isfinite(slope) and error <= _ABSURD):
        return "not to be told from these data"
    if slope + _WITHIN * error < _LOWEST or slope < 1 - _FARTHEST:
        return "below that of diffusion (1)"
    if slope - _WITHIN * error > _HIGHEST or slope > 1 + _FARTHEST:
        return "above that of diffusion (1): drift, flow or ballistic motion"
    return "too uncertain to tell" if error > _KNOWN else ""


def _why_not(fit: WindowFit) -> str:
    """The same in one sentence, with the slope where it is a number of any meaning."""
    fault = _fault(fit)
    if not fault:
        return ""
    if not (np.isfinite(fit.loglog_slope) and fit.loglog_error <= _ABSURD):
        return f"the log-log slope of the MSD is {fault}"
    return f"the log-log slope of the MSD is {fit.loglog_slope:.2f} ± {fit.loglog_error:.2f}, {fault}"


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
