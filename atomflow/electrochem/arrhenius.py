"""Activation energies of conduction and diffusion, with honest intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from ase.units import kB
from numpy.typing import ArrayLike

from atomflow.electrochem.lines import Line, fit_line
from atomflow.electrochem.measured import same_length, series
from atomflow.errors import BadOptionError
from atomflow.model import Notice, Result, record

#: ``plain``: value = A exp(-Ea/kT); ``times-T``: value * T = A exp(-Ea/kT).
Form = Literal["plain", "times-T"]

#: Chance below which a bend of the Arrhenius plot is reported.
_BENT = 0.01
#: No electrolyte is measured over a wider span; a wider one mixes kelvin and degrees Celsius.
_WIDEST_SPAN = 4.0
_COLDEST_USUAL_K = 130.0
_LARGEST_LOG = 700.0


@record("atomflow.arrhenius_value/1")
@dataclass(frozen=True)
class ArrheniusValue(Result):
    """Value of a fitted Arrhenius line at one temperature.

    Attributes
    ----------
    value, ci95 : float, (float, float) or None
        In ``unit``. The interval is that of the line (lognormal), not of a further measurement; None where two points
        gave none.
    extrapolated : bool
        The temperature lies outside of those that were fitted.
    """

    temperature_K: float
    value: float
    ci95: tuple[float, float] | None
    unit: str
    extrapolated: bool
    warnings: tuple[Notice, ...] = ()


@record("atomflow.arrhenius/1")
@dataclass(frozen=True)
class Arrhenius(Result):
    """Arrhenius fit.

    Attributes
    ----------
    activation_energy_eV, activation_energy_error_eV : float
        Slope of the logarithm against 1/kT, and its standard error (None from two points without errors).
    activation_energy_ci95_eV : (float, float) or None
        Student's t when the errors come from the scatter.
    prefactor, prefactor_ci95 : float, (float, float) or None
        In ``prefactor_unit``.
    form : str
        ``plain`` or ``times-T``; activation energies of the two differ by about kT.
    curvature_p : float or None
        Chance of a bend as large as the one seen, were the plot straight.
    """

    activation_energy_eV: float
    activation_energy_error_eV: float | None
    activation_energy_ci95_eV: tuple[float, float] | None
    prefactor: float
    prefactor_ci95: tuple[float, float] | None
    prefactor_unit: str
    form: str
    unit: str
    n_points: int
    temperature_range_K: tuple[float, float]
    curvature_p: float | None
    line: tuple[float, ...] = field(metadata={"shown": False}, default=())
    warnings: tuple[Notice, ...] = ()

    def at(self, temperature_K: float) -> ArrheniusValue:
        """Value of the line at one temperature, with its 95 % interval.

        Raises
        ------
        BadOptionError
            The temperature is not positive.
        """
        if not (isinstance(temperature_K, (int, float, np.generic)) and 0 < temperature_K < math.inf):
            raise BadOptionError(f"temperature_K is {temperature_K!r}; it must be positive")
        slope, intercept, factor, *covariance = self.line
        rebuilt = Line(
            slope,
            intercept,
            (covariance[0], covariance[1], covariance[2]) if covariance else None,
            factor,
            0,
            False,
            None,
            0.0,
        )
        log, error = rebuilt.at(1 / (kB * temperature_K))
        if self.form == "times-T":
            log -= math.log(temperature_K)
        low, high = self.temperature_range_K
        return ArrheniusValue(
            temperature_K=float(temperature_K),
            value=_exp(log),
            ci95=None if error is None else (_exp(log - factor * error), _exp(log + factor * error)),
            unit=self.unit,
            extrapolated=not low <= temperature_K <= high,
            warnings=self.warnings,
        )


def arrhenius_fit(
    temperature_K: ArrayLike,
    values: ArrayLike,
    *,
    errors: ArrayLike | None = None,
    unit: str = "S/cm",
    form: Form = "plain",
) -> Arrhenius:
    """Activation energy from values at several temperatures, by weighted least squares of their logarithm.

    Parameters
    ----------
    temperature_K : (n,) array-like
    values : (n,) array-like
        Conductivities or diffusivities, all in ``unit``.
    errors : (n,) array-like, optional
        Standard errors of the values. Without them the scatter about the line gives the error, with Student's t for
        n - 2 degrees of freedom. With them they are believed, unless the scatter rules them out (Notice).
    unit : str
        Of the values; only repeated in the result.
    form : {"plain", "times-T"}
        ``ln(value)`` or ``ln(value * T)`` against 1/T. Experiments on polymers mostly use the first, theory of hopping
        and work on ceramics the second. State it: the activation energies differ by about kT, 10 to 15 % of a small
        barrier (R. B. Nuernberg, Ionics 2019, doi 10.1007/s11581-019-03243-7, abstract read).

    Raises
    ------
    BadOptionError
        Fewer than two temperatures; a temperature, value or error that is not positive; kelvin mixed with degrees
        Celsius.

    Examples
    --------
    >>> from atomflow.electrochem import arrhenius_fit
    >>> fit = arrhenius_fit([298.15, 313.15, 333.15, 353.15], [1.1e-4, 1.5e-4, 2.4e-4, 3.2e-4])
    >>> round(fit.activation_energy_eV, 2), [round(e, 2) for e in fit.activation_energy_ci95_eV]
    (0.18, [0.14, 0.22])
    """
    if form not in ("plain", "times-T"):
        raise BadOptionError(f"form {form!r}: choose 'plain' (ln value) or 'times-T' (ln value times T)")
    temperature = series(temperature_K, "temperature_K", positive=True)
    numbers = series(values, "values", positive=True)
    given = None if errors is None else series(errors, "errors", positive=True)
    same_length(temperature_K=temperature, values=numbers, errors=given)
    if len(numbers) < 2:
        raise BadOptionError("one temperature gives no activation energy; measure at two at least, better five")
    if temperature.max() > _WIDEST_SPAN * temperature.min():
        raise BadOptionError(
            f"temperatures from {temperature.min():g} to {temperature.max():g} K: kelvin mixed with degrees Celsius?"
        )
    logs = np.log(numbers * temperature) if form == "times-T" else np.log(numbers)
    line = fit_line(1 / (kB * temperature), logs, None if given is None else given / numbers, "the Arrhenius plot")
    error, log_error = line.slope_error, line.intercept_error
    energy, half = -line.slope, None if error is None else line.factor * error
    span = None if log_error is None else line.factor * log_error
    return Arrhenius(
        activation_energy_eV=energy,
        activation_energy_error_eV=error,
        activation_energy_ci95_eV=None if half is None else (energy - half, energy + half),
        prefactor=_exp(line.intercept),
        prefactor_ci95=None if span is None else (_exp(line.intercept - span), _exp(line.intercept + span)),
        prefactor_unit=f"{unit} K" if form == "times-T" else unit,
        form=form,
        unit=unit,
        n_points=line.n_points,
        temperature_range_K=(float(temperature.min()), float(temperature.max())),
        curvature_p=line.curvature_p,
        line=(line.slope, line.intercept, line.factor, *(line.covariance or ())),
        warnings=_notices(line, energy, float(temperature.max())),
    )


def _notices(line: Line, energy_eV: float, hottest_K: float) -> tuple[Notice, ...]:
    notices = []
    if line.covariance is None:
        notices.append(Notice("two-points", "two points without errors give a slope and no interval; measure more"))
    if line.scatter_exceeds_errors:
        notices.append(
            Notice("scatter-exceeds-errors", "the points scatter more than their errors allow; the scatter was used")
        )
    if line.curvature_p is not None and line.curvature_p < _BENT:
        # Downwards at low temperature: a barrier that grows on cooling, as in polymers above their glass transition.
        kind = (
            "the barrier grows on cooling, as where chains must move (Vogel-Tammann-Fulcher)"
            if line.curvature < 0
            else "the barrier shrinks on cooling, as with two processes or a phase change"
        )
        notices.append(
            Notice("curved", f"the Arrhenius plot is bent (p = {line.curvature_p:.1g}): {kind}; one Ea is an average")
        )
    if energy_eV < 0:
        notices.append(Notice("negative-barrier", "the values fall with temperature; check the order of the points"))
    if hottest_K < _COLDEST_USUAL_K:
        notices.append(Notice("cold", f"all temperatures are below {_COLDEST_USUAL_K:g} K; are they degrees Celsius?"))
    return tuple(notices)


def _exp(logarithm: float) -> float:
    """Infinity rather than an error where a steep line meets the axis beyond what a float holds."""
    return math.exp(logarithm) if logarithm < _LARGEST_LOG else math.inf
