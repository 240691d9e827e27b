"""Straight lines through points, with intervals that are right for few points, and a test whether they are straight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm, t

from atomflow.errors import BadOptionError

#: Below this chance that given errors explain the scatter, the scatter is believed instead.
_UNLIKELY = 0.01
#: Scatter below this fraction of the range of y is rounding, not noise.
_ROUNDING = 1e-10


@dataclass(frozen=True)
class Line:
    """Least-squares line ``y = intercept + slope * x``.

    Attributes
    ----------
    slope, intercept : float
    covariance : (3 floats) or None
        Variances of intercept and slope, and their covariance; None with two points and no errors.
    factor : float
        Half width of a 95 % interval in standard errors: Student's t, or 1.96 with errors that are known.
    n_points : int
    scatter_exceeds_errors : bool
        The given errors cannot explain the scatter; the covariance then comes from the scatter.
    curvature_p : float or None
        Chance of a quadratic term at least as large as the one found, were the truth a straight line; None where there
        are too few points to say.
    curvature : float
        Quadratic coefficient about the mean of x; zero where there are too few points.
    """

    slope: float
    intercept: float
    covariance: tuple[float, float, float] | None
    factor: float
    n_points: int
    scatter_exceeds_errors: bool
    curvature_p: float | None
    curvature: float

    @property
    def slope_error(self) -> float | None:
        """Standard error of the slope."""
        return None if self.covariance is None else float(np.sqrt(self.covariance[1]))

    @property
    def intercept_error(self) -> float | None:
        """Standard error of the intercept."""
        return None if self.covariance is None else float(np.sqrt(self.covariance[0]))

    def at(self, x: float) -> tuple[float, float | None]:
        """Value of the line and its standard error (of the line, not of a further point)."""
        value = self.intercept + self.slope * x
        if self.covariance is None:
            return value, None
        a, b, ab = self.covariance
        return value, float(np.sqrt(max(a + b * x * x + 2 * ab * x, 0.0)))


def fit_line(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    errors: NDArray[np.float64] | None = None,
    what: str = "the points",
    *,
    relative: bool = False,
) -> Line:
    """Weighted least-squares line.

    Without errors the scatter gives them, and intervals use Student's t with n - 2 degrees of freedom. With standard
    errors these are believed (weights 1/error**2, normal intervals), unless the scatter is so large that they explain
    it with a chance below 1 %: then the covariance is scaled up to the scatter, with Student's t. The formulas of the
    straight line are those of NAG's g02cbc (read in its manual; a secondary source).

    Parameters
    ----------
    x, y : (n,) arrays
    errors : (n,) array, optional
        Standard errors of ``y``.
    what : str
        What is fitted, for messages.
    relative : bool
        The errors are known only relative to each other: they weigh, the scatter gives their size.

    Raises
    ------
    BadOptionError
        Fewer than two different ``x``, or an error that is not positive.
    """
    if len(np.unique(x)) < 2:
        raise BadOptionError(f"{what}: a line needs two points with different abscissae; there is {len(np.unique(x))}")
    if errors is not None and not (np.isfinite(errors) & (errors > 0)).all():
        raise BadOptionError(f"{what}: standard errors must be positive")
    # Centred and scaled, or the normal equations of 1/T lose half of the digits.
    middle, width = float(x.mean()), float(np.ptp(x)) / 2
    u = (x - middle) / width
    weights = np.ones_like(y) if errors is None else 1 / errors
    c, cov, chi_square = _solve(u, y, weights, 1)
    freedom = len(x) - 2
    known, exceeded, factor = errors is not None and not relative, False, float(norm.ppf(0.975))
    if known and freedom > 0:
        exceeded = bool(chi2.sf(chi_square, freedom) < _UNLIKELY)
    scale: float | None = 1.0
    if not known or exceeded:
        scale = chi_square / freedom if freedom > 0 else None
        factor = float(t.ppf(0.975, freedom)) if freedom > 0 else float("nan")
    p_curved, bend = _curvature(u, y, weights, chi_square, known and not exceeded)
    return Line(
        slope=float(c[1] / width),
        intercept=float(c[0] - c[1] * middle / width),
        covariance=None if scale is None else _uncentred(cov * scale, middle, width),
        factor=factor,
        n_points=len(x),
        scatter_exceeds_errors=exceeded,
        curvature_p=p_curved,
        curvature=bend / width**2,
    )


def _solve(
    u: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64], degree: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Coefficients, their covariance for unit weights, and the weighted sum of squared residuals."""
    design = np.vander(u, degree + 1, increasing=True) * weights[:, None]
    q, r = np.linalg.qr(design)
    coefficients = np.linalg.solve(r, q.T @ (weights * y))
    inverse = np.linalg.inv(r)
    residuals = weights * y - design @ coefficients
    return coefficients, inverse @ inverse.T, float(residuals @ residuals)


def _uncentred(cov: NDArray[np.float64], middle: float, width: float) -> tuple[float, float, float]:
    step = middle / width
    a = cov[0, 0] - 2 * step * cov[0, 1] + step**2 * cov[1, 1]
    return float(a), float(cov[1, 1] / width**2), float((cov[0, 1] - step * cov[1, 1]) / width)


def _curvature(
    u: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64], straight: float, known: bool
) -> tuple[float | None, float]:
    freedom = len(u) - 3
    if len(np.unique(u)) < 3 or freedom < (0 if known else 1):
        return None, 0.0
    c, cov, bent = _solve(u, y, weights, 2)
    rounding = (_ROUNDING * float(np.max(weights)) * max(float(np.ptp(y)), float(np.max(np.abs(y))), 1e-300)) ** 2
    if straight <= rounding * len(u):
        return 1.0, float(c[2])
    if known:
        return float(2 * norm.sf(abs(c[2]) / np.sqrt(cov[2, 2]))), float(c[2])
    variance = max(bent / freedom, rounding)
    return float(2 * t.sf(abs(c[2]) / np.sqrt(cov[2, 2] * variance), freedom)), float(c[2])
