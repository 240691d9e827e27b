"""Whether a quantity of a run has become stationary, and its mean with an error that knows of correlations.

1. The start is discarded where that leaves the most independent samples: Chodera, J. Chem. Theory Comput. 12, 1799
   (2016), doi 10.1021/acs.jctc.5b00784, by its author's program, ``pymbar.timeseries.detect_equilibration``. A series
   of which this would discard more than half has not been seen at rest.
2. What is kept is a line plus correlated noise. The noise has one correlation time and a white part; both are unknown,
   so the error of the line and of the mean are averaged over them, each weighed by how well it explains the series
   once mean and line are taken out (generalised least squares with the restricted likelihood of Patterson and Thompson,
   Biometrika 58, 545 (1971), doi 10.1093/biomet/58.3.545). Noise that is as slow as the run is long is among them. So a
   slow wave is not taken for a trend, which is what plain t tests and Geweke's do with correlated data.
3. A trend with p < ``ALARM`` is a drift. Without one, a series is stationary that has ``LEAST_SAMPLES`` independent
   samples and no hint of a trend (p of ``DOUBT`` or more); others are too short to tell.

How often that is right, on noise and drifts that are known, is measured in ``tests/dynamics/test_judging.py``: of series
that are stationary at most one in twenty is called drifting, whatever their correlation time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atomflow.errors import BadOptionError, MissingProgramError
from atomflow.model import record

Verdict = Literal["stationary", "drifting", "too short"]
Array = NDArray[np.float64]

#: A trend this improbable without a drift is called one.
ALARM = 0.005
#: With one this improbable nothing is called stationary.
DOUBT = 0.1
#: Independent samples below which nothing is said of a mean.
LEAST_SAMPLES = 10.0
#: Fewer values say nothing of their own correlation.
LEAST_VALUES = 32
#: Longer series are averaged over neighbours down to this: slow noise is what matters.
_MOST_VALUES = 256
#: Orders of the polynomials that the noise is judged by.
_ORDERS = 64
#: Correlation times of the noise, in lengths of the series: from that of one value to noise that never comes back.
_TIMES = np.geomspace(0.004, 4.0, 16)
#: Slower noise than this leaves fewer than ``LEAST_SAMPLES``: where there are more, it is ruled out.
_SLOWEST = 0.1
#: White noise added to it, as a share of what the slow noise gives the line.
_WHITE = (0.0, 0.01, 0.1, 1.0)
#: Starts that are tried.
_STARTS = 50
#: Spacings of times may differ by this share: thermo output has few digits.
_UNEVEN = 0.01


@record("atomflow.judgement/1")
@dataclass(frozen=True)
class Judgement:
    """What can be said of one quantity of a run.

    Attributes
    ----------
    quantity, unit : str
    verdict : str
        ``stationary``, ``drifting``, or ``too short`` to tell.
    mean : float
        After ``start_ps``.
    standard_error : float or None
        Of the mean; None for too few values. It means something only for a stationary quantity.
    start_ps, end_ps : float
        What was judged; what lies before was discarded.
    correlation_time_ps : float or None
        Integral of the autocorrelation function.
    independent_samples : float
    drift_per_ns, drift_error_per_ns : float or None
        Relative to the mean, with standard error; None where the mean is not well away from zero, or for too few values.
    change, change_error : float or None
        Over what was judged, in ``unit``, with standard error.
    text : str
        One sentence for people.
    """

    quantity: str
    unit: str
    verdict: Verdict
    mean: float
    standard_error: float | None
    start_ps: float
    end_ps: float
    correlation_time_ps: float | None
    independent_samples: float
    drift_per_ns: float | None
    drift_error_per_ns: float | None
    change: float | None
    change_error: float | None
    text: str


def judge(times_ps: ArrayLike, values: ArrayLike, *, quantity: str, unit: str) -> Judgement:
    """Judge whether a quantity is stationary.

    Parameters
    ----------
    times_ps : (n,) array
        Ascending in even steps; a last one that is shorter is left out.
    values : (n,) array
        In ``unit``.
    quantity, unit : str
        For people.

    Returns
    -------
    Judgement

    Raises
    ------
    BadOptionError
        No values, values that are not finite, or times that do not ascend evenly.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).normal(size=400)
    >>> judge(np.arange(400) * 0.1, 1.0 + 0.01 * noise, quantity="density", unit="g/cm3").verdict
    'stationary'
    """
    times, series = _checked(times_ps, values, quantity)
    if len(series) < LEAST_VALUES:
        return _too_few(times, series, quantity, unit)
    step = (times[-1] - times[0]) / (len(times) - 1)
    if np.ptp(series) <= 1e-12 * np.abs(series).max():
        return _constant(times, series, quantity, unit)
    start = _start(series)
    settled = start <= len(series) // 2
    # A series that never settles keeps three quarters, so that its trend is seen.
    first = start if settled else len(series) // 4
    kept = series[first:]
    width = -(-len(kept) // _MOST_VALUES)
    coarse = kept[len(kept) % width :].reshape(-1, width).mean(axis=1)
    basis, covariances, fast = _noises(len(coarse))
    # Plain numbers near one: the sums below square them.
    middle, scale = float(coarse.mean()), float(kept.std())
    terms = basis.T @ ((coarse - middle) / scale)
    line, line_error, p = _line(terms, covariances)
    likely, bounded = _mean_variances(terms, covariances, fast)
    full = scale**2 / float(kept.var()) / len(coarse)
    samples = float(min(1 / (likely * full), len(kept)))
    quiet = settled and p >= DOUBT and samples >= LEAST_SAMPLES
    if quiet:
        samples = float(min(1 / (bounded * full), len(kept)))
    error = float(kept.std() / np.sqrt(samples))
    verdict: Verdict = "drifting" if p < ALARM else "stationary" if quiet else "too short"
    mean, length = float(kept.mean()), len(kept) * step
    rise = float(basis[-1, 1] - basis[0, 1]) * scale * len(coarse) / (len(coarse) - 1)
    change, change_error = line * rise, line_error * abs(rise)
    share = 1000.0 / (length * mean) if abs(mean) > 3 * float(kept.std()) else None
    found = Judgement(
        quantity=quantity,
        unit=unit,
        verdict=verdict,
        mean=mean,
        standard_error=error,
        start_ps=float(times[first]),
        end_ps=float(times[-1]),
        correlation_time_ps=float(0.5 * length / samples),
        independent_samples=samples,
        drift_per_ns=None if share is None else change * share,
        drift_error_per_ns=None if share is None else abs(change_error * share),
        change=change,
        change_error=change_error,
        text="",
    )
    return _told(found, settled)


def judge_equilibration(*judgements: Judgement) -> tuple[Verdict, str]:
    """The verdict on several quantities of one stage, and what to tell people.

    Parameters
    ----------
    judgements : Judgement
        Say, of density and potential energy.

    Returns
    -------
    verdict : str
        ``drifting`` if one of them drifts, else ``too short`` if one is, else ``stationary``.
    text : str
    """
    verdicts = {one.verdict for one in judgements}
    worst: Verdict = "drifting" if "drifting" in verdicts else "too short" if "too short" in verdicts else "stationary"
    said = "; ".join(one.text for one in judgements)
    if worst == "stationary":
        # Stationary is less than equilibrated: what moves more slowly than the run is long cannot be seen.
        return worst, f"stationary as far as it goes: {said}"
    return worst, f"not shown to be at equilibrium: {said}"


def _checked(times_ps: ArrayLike, values: ArrayLike, quantity: str) -> tuple[Array, Array]:
    times, series = np.asarray(times_ps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if times.ndim != 1 or times.shape != series.shape or not len(times):
        raise BadOptionError(
            f"{quantity}: {times.shape} times and {series.shape} values; give one of each, at least one, in plain lists"
        )
    bad = np.flatnonzero(~(np.isfinite(series) & np.isfinite(times)))
    if len(bad):
        raise BadOptionError(
            f"{quantity}: value {bad[0] + 1} of {len(series)} is not a number (time {times[bad[0]]:g} ps, {len(bad)} "
            "in all); the run broke there: judge what comes before"
        )
    steps = np.diff(times)
    # A stage ends where it ends: its last step of output may be a shorter one.
    if len(steps) > 1 and 0 < steps[-1] < (1 - _UNEVEN) * steps[-2]:
        times, series, steps = times[:-1], series[:-1], steps[:-1]
    if len(steps) and (steps.min() <= 0 or np.ptp(steps) > _UNEVEN * steps.mean() + 1e-6):
        odd = int(np.argmax(np.abs(steps - np.median(steps))))
        raise BadOptionError(
            f"{quantity}: times must ascend in even steps; {times[odd]:g} ps is followed by {times[odd + 1]:g} ps: judge "
            "one stage at a time, each step once"
        )
    return times, series


def _start(series: Array) -> int:
    """Values to discard."""
    with _silent():
        try:
            from pymbar.timeseries import detect_equilibration
        except ImportError as error:
            raise MissingProgramError(
                "pymbar, which finds where a run has settled", "pip install 'atomflow[md]'"
            ) from error
        return int(detect_equilibration(series, nskip=max(1, len(series) // _STARTS))[0])


@contextmanager
def _silent() -> Iterator[None]:
    """The package advertises another one when it is imported, by warnings that would reach every user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@lru_cache(maxsize=8)
def _noises(n: int) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Orthonormal polynomials of n points, the covariance of a series' terms for each noise, and which noises are fast."""
    from scipy.linalg import toeplitz

    orders = min(_ORDERS, n // 2)
    basis = np.linalg.qr(np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, n), orders))[0]
    covariances, fast = [np.eye(orders + 1)], [True]
    for time in _TIMES * n:
        if time >= 0.5:
            fast += [bool(time <= _SLOWEST * n)] * len(_WHITE)
            slow = basis.T @ toeplitz(np.exp(-np.arange(n) / time)) @ basis
            covariances += [slow / slow[1, 1] + white * np.eye(orders + 1) for white in _WHITE]
    return basis, np.array(covariances), np.array(fast)


def _predicted(terms: Array, covariances: Array, target: int) -> tuple[Array, Array, Array]:
    """One term as each noise predicts it from all higher ones: weight of the noise, prediction, variance."""
    above = slice(target + 1, None)
    rest, known = terms[above], covariances[:, above, above]
    shared = covariances[:, target, above]
    columns = np.stack([np.broadcast_to(rest, shared.shape), shared], axis=-1)
    solved = np.linalg.solve(known, columns)
    size = len(rest)
    squares = np.einsum("j,mj->m", rest, solved[..., 0]) / size
    logs = -0.5 * np.linalg.slogdet(known)[1] - 0.5 * size * np.log(squares)
    weights = np.exp(logs - logs.max())
    left = covariances[:, target, target] - np.einsum("mj,mj->m", shared, solved[..., 1])
    return weights / weights.sum(), solved[..., 1] @ rest, squares * left


def _line(terms: Array, covariances: Array) -> tuple[float, float, float]:
    """What a drift adds to the linear term, its standard error, and how probable as much is without a drift."""
    from scipy.stats import t as student

    weights, predicted, variances = _predicted(terms, covariances, 1)
    freedom = len(terms) - 2
    excess = terms[1] - predicted
    p = float(weights @ (2 * student.sf(np.abs(excess) / np.sqrt(variances), freedom)))
    best = float(weights @ excess)
    error = float(np.sqrt(weights @ (variances * freedom / (freedom - 2) + (excess - best) ** 2)))
    return best, error, p


def _mean_variances(terms: Array, covariances: Array, fast: NDArray[np.bool_]) -> tuple[float, float]:
    """Variance of the zeroth term without a drift: over all noises, and over the fast ones.

    The first is a geometric mean: the slowest noises are improbable, and leave the mean without bound. It tells whether
    there is a mean at all. Where there is, the slow ones are ruled out, and the second is its variance.
    """
    weights, _, variances = _predicted(terms, covariances, 0)
    likely = np.exp(weights @ np.log(variances))
    return float(likely), float(weights[fast] @ variances[fast] / weights[fast].sum())


def _told(found: Judgement, settled: bool) -> Judgement:
    from dataclasses import replace

    length = found.end_ps - found.start_ps
    assert found.change is not None and found.change_error is not None and found.standard_error is not None
    moved = f"{_with_error(found.change, found.change_error, '+')} {found.unit} in {length:.4g} ps"
    if found.drift_per_ns is not None and found.drift_error_per_ns is not None:
        moved += f" ({_with_error(100 * found.drift_per_ns, 100 * found.drift_error_per_ns, '+')} % per ns)"
    value = _with_error(found.mean, found.standard_error)
    if found.verdict == "stationary":
        text = (
            f"{found.quantity} is stationary after the first {found.start_ps:.4g} ps: {value} {found.unit} from about "
            f"{found.independent_samples:.0f} independent samples; trend {moved}"
        )
    elif found.verdict == "drifting":
        text = f"{found.quantity} still drifts: {moved}; equilibrate longer"
    elif settled and found.independent_samples >= LEAST_SAMPLES:
        text = f"{found.quantity}: too short to tell; a drift cannot be ruled out ({moved}); mean {value} {found.unit}"
    elif settled:
        text = (
            f"{found.quantity}: too short to tell; {length:.4g} ps hold about {found.independent_samples:.1g} independent "
            f"samples of it, and {LEAST_SAMPLES:.0f} are needed (correlation time {found.correlation_time_ps:.2g} ps or "
            "longer)"
        )
    else:
        text = (
            f"{found.quantity}: too short to tell; it did not come to rest in the first half of the run, and a slow wave "
            f"cannot be told from a drift ({moved})"
        )
    return replace(found, text=text)


def _with_error(value: float, error: float, sign: str = "-") -> str:
    """The value with the digits that its error leaves."""
    if not error > 0:
        return f"{value:{sign}.6g}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:{sign}.{digits}f} ± {error:.{digits}f}"


def _too_few(times: Array, series: Array, quantity: str, unit: str) -> Judgement:
    text = f"{quantity}: too short to tell; there are {len(series)} values, and {LEAST_VALUES} are needed"
    return Judgement(
        quantity, unit, "too short", float(series.mean()), None, float(times[0]), float(times[-1]), None, 1.0,
        None, None, None, None, text,
    )  # fmt: skip


def _constant(times: Array, series: Array, quantity: str, unit: str) -> Judgement:
    text = f"{quantity} does not change: {series[0]:.6g} {unit}"
    return Judgement(
        quantity, unit, "stationary", float(series[0]), 0.0, float(times[0]), float(times[-1]), 0.0, float(len(series)),
        0.0 if series[0] else None, 0.0 if series[0] else None, 0.0, 0.0, text,
    )  # fmt: skip
