"""Exchange current density: from small overpotentials (a straight line) and from large ones (Tafel)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.constants import physical_constants

from atomflow.electrochem.lines import Line, fit_line
from atomflow.electrochem.measured import same_length, series
from atomflow.errors import BadOptionError
from atomflow.model import Notice, Result, record

_GAS_J_PER_MOL_K = physical_constants["molar gas constant"][0]
_FARADAY_C_PER_MOL = physical_constants["Faraday constant"][0]
#: n F eta / RT up to which the line is right within 1 % (symmetric barrier: the error is its square over 24).
_LINEAR = 0.5
#: n F eta / RT from which the reverse reaction is below 1 %.
_TAFEL = math.log(100)
_BENT = 0.01


@record("atomflow.exchange_current/1")
@dataclass(frozen=True)
class ExchangeCurrent(Result):
    """Exchange current density.

    Attributes
    ----------
    exchange_current_mA_per_cm2, exchange_current_error_mA_per_cm2 : float
        Value and standard error (None where there are too few points for one).
    exchange_current_ci95_mA_per_cm2 : (float, float) or None
    method : str
        ``linear`` or ``tafel``.
    transfer_resistance_ohm_cm2 : float
        RT / (n F i0).
    tafel_slope_mV_per_decade, tafel_slope_ci95_mV_per_decade, transfer_coefficient : float or None
        Of the Tafel fit only.
    """

    exchange_current_mA_per_cm2: float
    exchange_current_error_mA_per_cm2: float | None
    exchange_current_ci95_mA_per_cm2: tuple[float, float] | None
    method: str
    transfer_resistance_ohm_cm2: float
    n_points: int
    tafel_slope_mV_per_decade: float | None = None
    tafel_slope_ci95_mV_per_decade: tuple[float, float] | None = None
    transfer_coefficient: float | None = None
    warnings: tuple[Notice, ...] = ()


def exchange_current_linear(
    overpotential_mV: ArrayLike,
    current_mA_per_cm2: ArrayLike,
    *,
    temperature_K: float,
    electrons: int = 1,
    interfaces: Literal[1, 2] = 1,
    series_resistance_ohm_cm2: float = 0.0,
) -> ExchangeCurrent:
    """Exchange current density ``i0 = (RT / nF) di/d eta`` from small overpotentials.

    Parameters
    ----------
    overpotential_mV, current_mA_per_cm2 : (n,) array-like
        The line is fitted with an intercept, so that an offset of the potential does no harm.
    temperature_K : float
    electrons : int
        n of the reaction.
    interfaces : {1, 2}
        2: the potential is that of a symmetric cell, half of it for either electrode.
    series_resistance_ohm_cm2 : float
        Of the electrolyte, times area; its voltage is taken off first. In a solid cell it is not small.

    Raises
    ------
    BadOptionError
        Fewer than two points, values that make no sense, or a current that falls with the overpotential.

    Notes
    -----
    Small-argument limit of the Butler-Volmer equation (textbook relation; no original was read). The tests solve the
    full equation.
    """
    potential, current, unit_mV = _cleaned(
        overpotential_mV, current_mA_per_cm2, temperature_K, electrons, interfaces, series_resistance_ohm_cm2
    )
    line = fit_line(potential, current, what="current against overpotential")
    if line.slope <= 0:
        raise BadOptionError(
            "the current falls with the overpotential; check signs, and that series_resistance_ohm_cm2 is not too large"
        )
    value = unit_mV * line.slope
    error = None if line.slope_error is None else unit_mV * line.slope_error
    notices = []
    largest = float(np.abs(potential).max()) / unit_mV
    if largest > _LINEAR:
        notices.append(
            Notice(
                "not-small",
                f"overpotentials reach {largest * unit_mV:.3g} mV; the straight line holds within 1 % to "
                f"{_LINEAR * unit_mV:.3g} mV",
            )
        )
    return ExchangeCurrent(
        exchange_current_mA_per_cm2=value,
        exchange_current_error_mA_per_cm2=error,
        exchange_current_ci95_mA_per_cm2=None
        if error is None
        else (value - line.factor * error, value + line.factor * error),
        method="linear",
        transfer_resistance_ohm_cm2=unit_mV / value,
        n_points=line.n_points,
        warnings=(*notices, *_line_notices(line)),
    )


def exchange_current_tafel(
    overpotential_mV: ArrayLike,
    current_mA_per_cm2: ArrayLike,
    *,
    temperature_K: float,
    electrons: int = 1,
    branch: Literal["anodic", "cathodic"] | None = None,
    window_mV: tuple[float, float] | None = None,
    series_resistance_ohm_cm2: float = 0.0,
) -> ExchangeCurrent:
    """Exchange current density and Tafel slope from ``log10 |i|`` against overpotential.

    Parameters
    ----------
    overpotential_mV, current_mA_per_cm2 : (n,) array-like
        Anodic positive.
    temperature_K : float
    electrons : int
        n; only for the transfer coefficient and the transfer resistance.
    branch : {"anodic", "cathodic"}, optional
        Needed when both signs are there.
    window_mV : (float, float), optional
        Smallest and largest ``|overpotential|`` that is used. Without it all points are, and a Notice says when some of
        them are so small that the reverse reaction takes part.
    series_resistance_ohm_cm2 : float
        Of the electrolyte, times area; its voltage is taken off first.

    Raises
    ------
    BadOptionError
        Both branches and no choice, fewer than two points in the window, a current of zero or of the wrong sign, or a
        current that falls with the overpotential.

    Notes
    -----
    Large-argument limit of the Butler-Volmer equation, ``|i| = i0 exp(alpha n F |eta| / RT)`` (textbook relation; no
    original was read). The interval of i0 is lognormal.
    """
    potential, current, unit_mV = _cleaned(
        overpotential_mV, current_mA_per_cm2, temperature_K, electrons, 1, series_resistance_ohm_cm2
    )
    potential, current = _branch(potential, current, branch)
    size = np.abs(potential)
    if window_mV is not None:
        low, high = window_mV
        if not 0 <= low < high:
            raise BadOptionError(f"window_mV {window_mV}: give the smallest and the largest |overpotential|")
        inside = (size >= low) & (size <= high)
        potential, current, size = potential[inside], current[inside], size[inside]
    if len(size) < 2:
        raise BadOptionError(f"{len(size)} points to fit; a Tafel line needs two, better ten")
    wrong = np.flatnonzero(current * potential <= 0)
    if wrong.size:
        raise BadOptionError(
            f"at {potential[wrong[0]]:g} mV the current is {current[wrong[0]]:g} mA/cm2; it must have the sign of the "
            "overpotential"
        )
    line = fit_line(size, np.log(np.abs(current)), what="the Tafel plot")
    if line.slope <= 0:
        raise BadOptionError("the current falls with the overpotential; check the data or the series resistance")
    notices = list(_line_notices(line))
    if size.min() < _TAFEL * unit_mV:
        notices.append(
            Notice(
                "reverse-reaction",
                f"overpotentials start at {size.min():.3g} mV; below {_TAFEL * unit_mV:.3g} mV the reverse reaction is "
                "more than 1 %: raise window_mV",
            )
        )
    if line.curvature_p is not None and line.curvature_p < _BENT:
        notices.append(
            Notice("curved", "the Tafel plot is bent: reverse reaction, series resistance or mass transport")
        )
    value, half = math.exp(line.intercept), _half(line, line.intercept_error)
    slope_half = _half(line, line.slope_error)
    decade = math.log(10)
    slopes = None
    if slope_half is not None and line.slope > slope_half:
        slopes = (decade / (line.slope + slope_half), decade / (line.slope - slope_half))
    return ExchangeCurrent(
        exchange_current_mA_per_cm2=value,
        exchange_current_error_mA_per_cm2=None if line.intercept_error is None else value * line.intercept_error,
        exchange_current_ci95_mA_per_cm2=None if half is None else (value * math.exp(-half), value * math.exp(half)),
        method="tafel",
        transfer_resistance_ohm_cm2=unit_mV / value,
        n_points=line.n_points,
        tafel_slope_mV_per_decade=decade / line.slope,
        tafel_slope_ci95_mV_per_decade=slopes,
        transfer_coefficient=line.slope * unit_mV,
        warnings=tuple(notices),
    )


def _cleaned(
    overpotential_mV: ArrayLike,
    current_mA_per_cm2: ArrayLike,
    temperature_K: float,
    electrons: int,
    interfaces: int,
    series_resistance_ohm_cm2: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Overpotential of one interface, current, and RT/nF in mV."""
    potential = series(overpotential_mV, "overpotential_mV")
    current = series(current_mA_per_cm2, "current_mA_per_cm2")
    same_length(overpotential_mV=potential, current_mA_per_cm2=current)
    if not 0 < temperature_K < math.inf:
        raise BadOptionError(f"temperature_K is {temperature_K:g}; it must be positive")
    if isinstance(electrons, bool) or not isinstance(electrons, (int, np.integer)) or electrons < 1:
        raise BadOptionError(f"electrons is {electrons!r}; it is a whole number, 1 or more")
    if interfaces not in (1, 2):
        raise BadOptionError(f"interfaces is {interfaces!r}; it is 1, or 2 for a symmetric cell")
    if not 0 <= series_resistance_ohm_cm2 < math.inf:
        raise BadOptionError(f"series_resistance_ohm_cm2 is {series_resistance_ohm_cm2:g}; it cannot be negative")
    unit_mV = 1e3 * _GAS_J_PER_MOL_K * temperature_K / (electrons * _FARADAY_C_PER_MOL)
    return (potential - current * series_resistance_ohm_cm2) / interfaces, current, unit_mV


def _branch(
    potential: NDArray[np.float64], current: NDArray[np.float64], branch: str | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if branch not in (None, "anodic", "cathodic"):
        raise BadOptionError(f"branch {branch!r}: choose anodic or cathodic")
    if branch is None:
        if (potential > 0).any() and (potential < 0).any():
            raise BadOptionError("overpotentials of both signs; choose branch='anodic' or 'cathodic'")
        return potential, current
    chosen = potential > 0 if branch == "anodic" else potential < 0
    return potential[chosen], current[chosen]


def _half(line: Line, error: float | None) -> float | None:
    return None if error is None else line.factor * error


def _line_notices(line: Line) -> tuple[Notice, ...]:
    if line.covariance is None:
        return (Notice("two-points", "two points give a line and no interval; measure more"),)
    return ()
