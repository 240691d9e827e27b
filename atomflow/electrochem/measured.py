"""A measured number: its value and its standard error, however the caller writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from uncertainties import UFloat
from uncertainties.core import Variable

from atomflow.errors import BadOptionError

#: A number, ``(value, standard error)``, or a ``ufloat`` of the package uncertainties (which keeps correlations).
Measured: TypeAlias = float | tuple[float, float] | UFloat

#: Half width of a 95 % interval in standard errors, for errors that are known and normal.
NORMAL_95 = float(norm.ppf(0.975))


def measured(value: Measured, what: str, *, least: float | None = 0.0, strictly: bool = True) -> UFloat:
    """Number with its standard error (0 when none is given), checked.

    Parameters
    ----------
    value : float, (float, float) or ufloat
    what : str
        Its name with the unit, for messages.
    least : float or None
        The value must be larger than this; None: anything finite goes.
    strictly : bool
        False: it may also be equal.

    Raises
    ------
    BadOptionError
        Not a number, not finite, a negative error, or too small a value.
    """
    try:
        if isinstance(value, (tuple, list)):
            nominal, error = value
            number = with_error(float(nominal), float(error)) if error >= 0 else None
        else:
            number = value if isinstance(value, UFloat) else with_error(_plain(value), 0.0)
    except (TypeError, ValueError):
        number = None
    if number is None or not math.isfinite(number.n) or not math.isfinite(number.s):
        raise BadOptionError(f"{what} {value!r} is no number; give a number or (value, standard error)")
    if least is not None and (number.n < least or (strictly and number.n == least)):
        raise BadOptionError(f"{what} is {number.n:g}; it must be {'above' if strictly else 'at least'} {least:g}")
    return number


def with_error(value: float, error: float) -> UFloat:
    """``ufloat``, without its warning where the error is zero: an exact number is no accident here."""
    return Variable(value, error)


def _plain(value: Any) -> float:
    if isinstance(value, (bool, str)) or not isinstance(value, (Real, np.generic)):
        raise TypeError(value)
    return float(value)


def interval(number: UFloat) -> tuple[float, float]:
    """95 % interval of a number with a known, normal standard error."""
    return (number.n - NORMAL_95 * number.s, number.n + NORMAL_95 * number.s)


def series(values: ArrayLike | Sequence[float], what: str, *, positive: bool = False) -> NDArray[np.float64]:
    """One-dimensional array of finite numbers.

    Raises
    ------
    BadOptionError
        Empty, not numbers, not finite, or not positive where they must be; the message says which one.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadOptionError(f"{what} must be a list of numbers") from None
    if array.ndim != 1 or not array.size:
        raise BadOptionError(f"{what} must be a list of numbers; this one has the shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array) | ((array <= 0) if positive else False))
    if bad.size:
        wanted = "positive" if positive else "finite"
        raise BadOptionError(f"{what}: number {bad[0] + 1} is {array[bad[0]]:g}; all must be {wanted}")
    return array


def same_length(**named: NDArray[np.float64] | None) -> None:
    """Raise BadOptionError unless all arrays that are given have one length."""
    lengths = {name: len(array) for name, array in named.items() if array is not None}
    if len(set(lengths.values())) > 1:
        raise BadOptionError("different numbers of points: " + ", ".join(f"{k} has {v}" for k, v in lengths.items()))
