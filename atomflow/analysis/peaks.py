"""First maximum and first minimum of a radial distribution function, told from the noise of counting."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Points that lie apart by this many widths of the smoothing are independent.
_APART = 2.5
#: Features of g lower than this mean nothing for a shell, however well they are resolved.
_LEAST = 0.05
#: A maximum is over when g has fallen by this part of what it stood above 1; a dent on its top is no minimum.
_FALL = 0.25
#: Widest smoothing, A.
_WIDEST_A = 0.5
#: A gap ends where g is above its least value by noise, or by this part of the rise to the next shell: a few pairs that
#: say little about where the next shell begins would be noise for long.
_END_OF_GAP = 0.1
#: Fewer bins than this are as wide as the feature itself.
_BINS_OF_A_FEATURE = 5


@dataclass(frozen=True)
class FirstShell:
    """Where the first shell is; None for what the data do not show.

    Attributes
    ----------
    peak_A, peak_g : float or None
        First maximum.
    minimum_A, minimum_g : float or None
        First minimum after it.
    """

    peak_A: float | None = None
    peak_g: float | None = None
    minimum_A: float | None = None
    minimum_g: float | None = None


@dataclass(frozen=True, eq=False)
class _Curve:
    radius: NDArray[np.float64]
    g: NDArray[np.float64]
    ideal: NDArray[np.float64]
    smooth: NDArray[np.float64]
    error: NDArray[np.float64]
    #: A rise or fall counts when it is this many standard errors.
    significant: float


def first_shell(r_A: ArrayLike, g: ArrayLike, expected: ArrayLike, dispersion: float = 1.0) -> FirstShell:
    """Find the first maximum and the minimum after it.

    The function is smoothed no more than its noise asks for: from none upwards, the first width at which g rises,
    falls and rises again by more than noise does decides, unless a wider one shows a shell still nearer. Position and
    height of the maximum are then those of a cubic through the unsmoothed bins around.

    The minimum is the middle of the stretch where g is as low as its least value, within noise: where a gap is broad
    (lithium and its ligands) every place in it is a minimum as good as the others, and the noise would choose. Its middle
    is farthest from both shells, so the number of neighbours there depends least on it. With more data the stretch
    shrinks to the minimum itself.

    Parameters
    ----------
    r_A, g : (n,) arrays
        Centres of equal bins, and the function.
    expected : (n,) array
        Pairs that each bin would have counted at g = 1: the counting error of g is ``sqrt(g / expected)``.
    dispersion : float
        By how much the variance exceeds that of counting, because frames resemble each other.
    """
    radius = np.asarray(r_A, dtype=np.float64)
    heights = np.asarray(g, dtype=np.float64)
    ideal = np.asarray(expected, dtype=np.float64)
    if len(radius) < 5 or not (ideal > 0).all():
        return FirstShell()
    found: tuple[_Curve, int, int | None] | None = None
    for width in _widths(float(radius[1] - radius[0])):
        curve = _Curve(
            radius, heights, ideal, *_smoothed(heights, ideal, width, dispersion), _noise(len(radius), width)
        )
        peak, minimum = _scan(curve)
        if peak is None:
            continue
        # Wider smoothing may show a small shell before one that stood out at once.
        if found is None or (minimum is not None and (found[2] is None or minimum < found[1])):
            found = curve, peak, minimum
    if found is None:
        return FirstShell()
    curve, peak, minimum = found
    if minimum is None:
        return FirstShell(*_top(curve, peak, len(radius) - 1))
    return FirstShell(*_top(curve, peak, minimum), *_bottom(curve, peak, minimum))


def _widths(bin_A: float) -> list[float]:
    """Widths of smoothing to try, in bins."""
    widths, width = [0.0], 1.0
    while width * bin_A <= _WIDEST_A:
        widths.append(width)
        width *= 2**0.5
    return widths


def _smoothed(
    g: NDArray[np.float64], ideal: NDArray[np.float64], width: float, dispersion: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of g over neighbouring bins (Gaussian, weighted with what they expect) and its standard error."""
    reach = int(np.ceil(3 * width))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(width, 1e-9)) ** 2)
    counts = _convolved(g * ideal, kernel)
    whole = _convolved(ideal, kernel)
    # One more count than there are: none seen is not known to be none.
    variance = _convolved(g * ideal, kernel**2) + 1.0
    return counts / whole, np.sqrt(dispersion * variance) / whole


def _convolved(values: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    reach = len(kernel) // 2
    return np.convolve(values, kernel)[reach : reach + len(values)]


def _noise(n_bins: int, width: float) -> float:
    """Standard errors of a difference that noise alone does not reach.

    The range of N independent normal numbers is about 2 (2 ln N)^(1/2) standard deviations; one more is for safety.
    """
    independent = max(n_bins / max(_APART * width, 1.0), 2.0)
    return 1.0 + 2.0 * float(np.sqrt(np.log(independent)))


def _scan(curve: _Curve) -> tuple[int | None, int | None]:
    """Bins of the first significant maximum and of the significant minimum after it."""
    g, error = curve.smooth.tolist(), curve.error.tolist()

    def differ(one: int, other: int, least: float = _LEAST) -> bool:
        noise = curve.significant * math.hypot(error[one], error[other])
        return bool(abs(g[one] - g[other]) > max(noise, least))

    low = top = dip = 0
    risen = fallen = False
    for b in range(len(g)):
        if not risen:
            low = b if g[b] < g[low] else low
            risen = differ(b, low)
            top = b
        elif not fallen:
            top = b if g[b] > g[top] else top
            fallen = differ(b, top, max(_LEAST, _FALL * (g[top] - 1.0)))
            dip = b
        else:
            dip = b if g[b] < g[dip] else dip
            if differ(b, dip):
                return top, dip
    return (top if fallen else None), None


def _top(curve: _Curve, peak: int, end: int) -> tuple[float, float]:
    depth = curve.smooth[peak] - max(curve.smooth[: peak + 1].min(), curve.smooth[peak : end + 1].min())
    inside = curve.smooth >= curve.smooth[peak] - np.clip(
        curve.significant * curve.error[peak], 0.1 * depth, 0.3 * depth
    )
    return _extremum(curve, *_around(inside, peak), +1.0)


def _bottom(curve: _Curve, peak: int, minimum: int) -> tuple[float, float]:
    """Middle of the gap, and the mean of g over it."""
    depth = min(curve.smooth[peak], curve.smooth[minimum:].max()) - curve.smooth[minimum]
    noise = curve.significant * np.hypot(curve.error, curve.error[minimum])
    a, b = _around(curve.smooth <= curve.smooth[minimum] + np.minimum(noise, _END_OF_GAP * depth), minimum)
    if b - a < _BINS_OF_A_FEATURE:
        return _extremum(curve, a, b, -1.0)
    middle = (curve.radius[a] + curve.radius[b - 1]) / 2
    return float(middle), float(np.average(curve.g[a:b], weights=curve.ideal[a:b]))


def _around(inside: NDArray[np.bool_], at: int) -> tuple[int, int]:
    """Bounds of the run of true values that holds ``at``."""
    outside = np.flatnonzero(~inside)
    return int(outside[outside < at].max(initial=-1)) + 1, int(outside[outside > at].min(initial=len(inside)))


def _extremum(curve: _Curve, a: int, b: int, sign: float) -> tuple[float, float]:
    """Extremum of a cubic through the bins from ``a`` to ``b``, weighted with their counting errors."""
    degree = 3
    if b - a < _BINS_OF_A_FEATURE:
        # Bins as wide as the feature: a parabola through the best and its neighbours.
        best = a + int(np.argmax(sign * curve.g[a:b]))
        a, b, degree = max(best - 1, 0), min(best + 2, len(curve.g)), 2
    radius, g, ideal = curve.radius[a:b], curve.g[a:b], curve.ideal[a:b]
    if len(g) <= degree:
        return float(radius[np.argmax(sign * g)]), float(max(sign * g) * sign)
    centre, half = (radius[0] + radius[-1]) / 2, (radius[-1] - radius[0]) / 2
    weight = np.sqrt(ideal / np.maximum(g, 1.0 / ideal))
    poly = np.polynomial.Polynomial(np.polynomial.polynomial.polyfit((radius - centre) / half, g, degree, w=weight))
    fine = np.linspace(-1.0, 1.0, 401)
    spot = int(np.argmax(sign * poly(fine)))
    return float(centre + half * fine[spot]), max(float(poly(fine[spot])), 0.0)
