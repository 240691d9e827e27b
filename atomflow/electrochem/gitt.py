"""Chemical diffusion coefficient from galvanostatic intermittent titration (GITT)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.constants import physical_constants

from atomflow.electrochem.lines import fit_line
from atomflow.electrochem.measured import Measured, UFloat, interval, measured, same_length, series, with_error
from atomflow.errors import BadOptionError
from atomflow.model import Notice, Result, record

_FARADAY_C_PER_MOL = physical_constants["Faraday constant"][0]
#: Largest D tau / L**2 for which a pulse counts as short. In a slab with a closed back the surface then follows the
#: root of time to 1e-5 (at 0.25: to 0.4 %, at 0.5: to 4 %); in a sphere the error grows sooner, with its square root.
_SHORT = 0.1
#: Chance below which a bend of the potential against the root of time is reported.
_BENT = 0.001


@record("atomflow.gitt/1")
@dataclass(frozen=True)
class Gitt(Result):
    """Chemical diffusion coefficient from one pulse.

    Attributes
    ----------
    diffusivity_cm2_per_s, diffusivity_error_cm2_per_s : float
        Value and standard error (first order). The error of the area is squared in the value, and mostly larger than
        all others: give it.
    form : str
        ``simplified`` (potential changes) or ``full`` (titration slope and current).
    pulse_over_diffusion_time : float or None
        ``D tau / L**2``, which must be much smaller than one; None where the length is not known.
    """

    diffusivity_cm2_per_s: float
    diffusivity_error_cm2_per_s: float
    diffusivity_ci95_cm2_per_s: tuple[float, float]
    form: str
    pulse_over_diffusion_time: float | None
    warnings: tuple[Notice, ...] = ()


@record("atomflow.gitt_pulse/1")
@dataclass(frozen=True)
class PulseSlope(Result):
    """Slope of the potential against the root of time during a pulse.

    Attributes
    ----------
    slope_V_per_sqrt_s, slope_error_V_per_sqrt_s : float
    transient_change_mV : float
        Slope times the root of the pulse length: the change without the jump at its start (ohmic and kinetic).
    jump_mV : float
        Potential of the line at time zero less the one before the pulse; None where that is not given.
    """

    slope_V_per_sqrt_s: float
    slope_error_V_per_sqrt_s: float
    transient_change_mV: float
    jump_mV: float | None
    n_points: int
    warnings: tuple[Notice, ...] = ()

    @property
    def measured(self) -> UFloat:
        """Slope and error, to be handed to :func:`gitt_full`."""
        return with_error(self.slope_V_per_sqrt_s, self.slope_error_V_per_sqrt_s)


def effective_length_um(
    mass_g: Measured, molar_mass_g_per_mol: Measured, molar_volume_cm3_per_mol: Measured, area_cm2: Measured
) -> UFloat:
    """Volume over contact area, ``m V_M / (M S)``: the length that the simplified form needs, in micrometres.

    Raises
    ------
    BadOptionError
        A value that is not positive.
    """
    moles = measured(mass_g, "mass_g") / measured(molar_mass_g_per_mol, "molar_mass_g_per_mol")
    volume = moles * measured(molar_volume_cm3_per_mol, "molar_volume_cm3_per_mol")
    return volume / measured(area_cm2, "area_cm2") * 1e4


def gitt_simplified(
    pulse_s: Measured, steady_change_mV: Measured, transient_change_mV: Measured, length_um: Measured
) -> Gitt:
    """Diffusivity ``4 L**2 / (pi tau) (dEs / dEt)**2`` of a short pulse.

    Parameters
    ----------
    pulse_s : Measured
        Length tau of the pulse. Every value is a number, ``(value, standard error)`` or a ``ufloat``.
    steady_change_mV : Measured
        dEs: change of the equilibrium potential by the pulse.
    transient_change_mV : Measured
        dEt: change during the pulse without the jump at its start (see :func:`pulse_slope`).
    length_um : Measured
        L: volume of the active material over its contact area (see :func:`effective_length_um`), the thickness of a
        dense film; not the radius of a particle.

    Raises
    ------
    BadOptionError
        A value that is not positive, or potential changes of opposite sign.

    Notes
    -----
    W. Weppner and R. A. Huggins, J. Electrochem. Soc. 124, 1569 (1977), doi 10.1149/1.2133112 (formula and condition
    known from secondary sources). It needs tau << L**2/D, a single phase, a small step, and that the potential follows
    the root of time; the first is checked with the D found.
    """
    tau, length = measured(pulse_s, "pulse_s"), measured(length_um, "length_um") * 1e-4
    steady = measured(steady_change_mV, "steady_change_mV", least=None)
    transient = measured(transient_change_mV, "transient_change_mV", least=None)
    if steady.n * transient.n <= 0:
        raise BadOptionError(
            f"dEs is {steady.n:g} mV and dEt {transient.n:g} mV: both must be there and of one sign; check whether the "
            "jump at the start of the pulse is still in dEt"
        )
    diffusivity = 4 * length**2 / (math.pi * tau) * (steady / transient) ** 2
    return _gitt(diffusivity, "simplified", tau.n, length.n)


def gitt_full(
    current_mA: Measured,
    area_cm2: Measured,
    molar_volume_cm3_per_mol: Measured,
    titration_slope_V: Measured,
    pulse_slope_V_per_sqrt_s: Measured,
    *,
    charge_number: int = 1,
    pulse_s: float | None = None,
    length_um: float | None = None,
) -> Gitt:
    """Diffusivity ``4/pi [ (I V_m / (z F S)) (dE/dx) / (dE/d sqrt t) ]**2`` from current and titration curve.

    Parameters
    ----------
    current_mA, area_cm2 : Measured
        Current and contact area of the active material.
    molar_volume_cm3_per_mol : Measured
        Of the host, per formula unit.
    titration_slope_V : Measured
        dE/dx of the equilibrium potential against the content x of the mobile ion per formula unit.
    pulse_slope_V_per_sqrt_s : Measured
        dE/d(sqrt t) during the pulse (see :func:`pulse_slope`). Signs do not matter.
    charge_number : int
        z of the mobile ion.
    pulse_s, length_um : float, optional
        To check ``tau << L**2/D``.

    Raises
    ------
    BadOptionError
        A value that is not positive (slopes: zero), or a charge number that is no positive whole number.

    Notes
    -----
    Constant flux into a half space: the concentration at the surface grows by ``2 I sqrt(t) / (z F S sqrt(pi D))``.
    Weppner and Huggins, doi 10.1149/1.2133112 (not read; derived here, and tested against a numerical solution).
    """
    if isinstance(charge_number, bool) or not isinstance(charge_number, (int, np.integer)) or charge_number < 1:
        raise BadOptionError(f"charge_number {charge_number!r}: it is 1, 2 or 3")
    current, area = measured(current_mA, "current_mA") * 1e-3, measured(area_cm2, "area_cm2")
    volume = measured(molar_volume_cm3_per_mol, "molar_volume_cm3_per_mol")
    titration = measured(titration_slope_V, "titration_slope_V", least=None)
    pulse = measured(pulse_slope_V_per_sqrt_s, "pulse_slope_V_per_sqrt_s", least=None)
    for name, slope in (("titration_slope_V", titration), ("pulse_slope_V_per_sqrt_s", pulse)):
        if slope.n == 0:
            raise BadOptionError(f"{name} is zero: on a plateau (two phases) GITT gives no diffusivity")
    diffusivity = (
        4 / math.pi * (current * volume / (charge_number * _FARADAY_C_PER_MOL * area) * titration / pulse) ** 2
    )
    tau = None if pulse_s is None else measured(pulse_s, "pulse_s").n
    length = None if length_um is None else measured(length_um, "length_um").n * 1e-4
    return _gitt(diffusivity, "full", tau, length)


def _gitt(diffusivity: UFloat, form: str, tau_s: float | None, length_cm: float | None) -> Gitt:
    ratio = None if tau_s is None or length_cm is None else diffusivity.n * tau_s / length_cm**2
    notices = []
    if ratio is None:
        notices.append(Notice("not-checked", "tau << L**2/D was not checked; give pulse_s and length_um"))
    elif ratio > _SHORT:
        notices.append(
            Notice(
                "long-pulse",
                f"D tau / L**2 is {ratio:.2g}: the pulse is not short against diffusion, and D comes out too small",
            )
        )
    return Gitt(diffusivity.n, diffusivity.s, interval(diffusivity), form, ratio, tuple(notices))


def pulse_slope(
    time_s: ArrayLike, potential_V: ArrayLike, *, skip_s: float = 0.0, potential_before_V: float | None = None
) -> PulseSlope:
    """Fit the potential during a pulse against the root of time.

    Parameters
    ----------
    time_s, potential_V : (n,) array-like
        Since the start of the pulse; all of the pulse.
    skip_s : float
        Points before this are left out: charging of the double layer is no diffusion.
    potential_before_V : float, optional
        Equilibrium potential before the pulse, to tell the jump.

    Raises
    ------
    BadOptionError
        Negative or unordered times, or fewer than three points after ``skip_s``.
    """
    time, potential = series(time_s, "time_s"), series(potential_V, "potential_V")
    same_length(time_s=time, potential_V=potential)
    if (time < 0).any() or (np.diff(time) <= 0).any():
        raise BadOptionError("time_s must grow from the start of the pulse, which is zero")
    used = time >= skip_s
    if used.sum() < 3:
        raise BadOptionError(f"{used.sum()} points after skip_s = {skip_s:g} s; a slope with its error needs three")
    line = fit_line(np.sqrt(time[used]), potential[used], what="the pulse")
    notices = []
    if line.curvature_p is not None and line.curvature_p < _BENT:
        notices.append(
            Notice("not-root-of-time", "the potential does not follow the root of time; leave out its start (skip_s)")
        )
    return PulseSlope(
        slope_V_per_sqrt_s=line.slope,
        slope_error_V_per_sqrt_s=line.slope_error or 0.0,
        transient_change_mV=1e3 * line.slope * math.sqrt(time[-1]),
        jump_mV=None if potential_before_V is None else 1e3 * (line.intercept - potential_before_V),
        n_points=line.n_points,
        warnings=tuple(notices),
    )
