"""Conductivity from the resistance of a sample, and that resistance from an impedance spectrum.

Fitting an equivalent circuit is not done here: the package ``impedance`` (doi 10.21105/joss.02349) does it; give the
resistance and the standard error that it finds to :func:`ionic_conductivity`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atomflow.electrochem.lines import fit_line
from atomflow.electrochem.measured import Measured, UFloat, interval, measured, same_length, series, with_error
from atomflow.errors import BadOptionError
from atomflow.model import Notice, Result, record

_FEWEST_SPIKE_POINTS = 4
#: Flatter than this, the spike is diffusion rather than a blocking electrode.
_STEEP_DEGREES = 60.0


@record("atomflow.conductivity_measured/1")
@dataclass(frozen=True)
class Conductivity(Result):
    """Conductivity of a sample between two parallel electrodes.

    Attributes
    ----------
    conductivity_S_per_cm, conductivity_error_S_per_cm : float
        Value and standard error (first order; zero where the input had none).
    conductivity_ci95_S_per_cm : (float, float)
    area_specific_resistance_ohm_cm2 : float
        Resistance times area: what a thin membrane adds to a cell.
    """

    conductivity_S_per_cm: float
    conductivity_error_S_per_cm: float
    conductivity_ci95_S_per_cm: tuple[float, float]
    resistance_ohm: float
    thickness_cm: float
    area_cm2: float
    area_specific_resistance_ohm_cm2: float
    warnings: tuple[Notice, ...] = ()


@record("atomflow.spectrum_resistance/1")
@dataclass(frozen=True)
class SpectrumResistance(Result):
    """Resistance read from an impedance spectrum.

    Attributes
    ----------
    resistance_ohm, resistance_error_ohm : float
        ``crossing``: the error is that of an even distribution between the two points around it, their distance over
        the root of 12; ``blocking``: the standard error of the extrapolated line.
    method : str
        ``crossing`` or ``blocking``.
    n_points : int
        Points that were used.
    spike_angle_degrees : float or None
        Angle of the blocking spike with the Z' axis; 90 for an ideal capacitor.
    """

    resistance_ohm: float
    resistance_error_ohm: float
    method: str
    n_points: int
    spike_angle_degrees: float | None = None
    warnings: tuple[Notice, ...] = ()

    @property
    def measured(self) -> UFloat:
        """Value and error, to be handed to :func:`ionic_conductivity`."""
        return with_error(self.resistance_ohm, self.resistance_error_ohm)


def ionic_conductivity(
    resistance_ohm: Measured,
    *,
    thickness_um: Measured | None = None,
    thickness_cm: Measured | None = None,
    area_cm2: Measured | None = None,
    diameter_mm: Measured | None = None,
) -> Conductivity:
    """Conductivity ``L / (S R)`` of a membrane of thickness L between electrodes of area S, with its error.

    Parameters
    ----------
    resistance_ohm : Measured
        Of the electrolyte alone. Every value is a number, ``(value, standard error)`` or a ``ufloat``.
    thickness_um, thickness_cm : Measured
        One of the two.
    area_cm2, diameter_mm : Measured
        One of the two; a diameter is that of a disc.

    Raises
    ------
    BadOptionError
        A value that is not positive; both or none of a pair of options.

    Notes
    -----
    Eq. 1 of doi 10.1002/aenm.202303940 (row P2.f of the published targets; the paper itself was not read). Errors are
    propagated to first order and taken as independent, except those that ``ufloat`` values share.

    Examples
    --------
    >>> from atomflow.electrochem import ionic_conductivity
    >>> found = ionic_conductivity((2.1, 0.1), thickness_um=(50, 1), diameter_mm=16)
    >>> round(found.conductivity_S_per_cm * 1e3, 2), round(found.conductivity_error_S_per_cm * 1e3, 2)
    (1.18, 0.06)
    """
    resistance = measured(resistance_ohm, "resistance_ohm")
    if (thickness_um is None) == (thickness_cm is None):
        raise BadOptionError("give the thickness once: either thickness_um or thickness_cm")
    if (area_cm2 is None) == (diameter_mm is None):
        raise BadOptionError("give the electrode once: either area_cm2 or diameter_mm")
    if thickness_um is not None:
        length = measured(thickness_um, "thickness_um") * 1e-4
    else:
        assert thickness_cm is not None
        length = measured(thickness_cm, "thickness_cm")
    if area_cm2 is not None:
        area = measured(area_cm2, "area_cm2")
    else:
        assert diameter_mm is not None
        area = math.pi / 4 * (measured(diameter_mm, "diameter_mm") / 10) ** 2
    conductivity = length / (area * resistance)
    return Conductivity(
        conductivity_S_per_cm=conductivity.n,
        conductivity_error_S_per_cm=conductivity.s,
        conductivity_ci95_S_per_cm=interval(conductivity),
        resistance_ohm=resistance.n,
        thickness_cm=length.n,
        area_cm2=area.n,
        area_specific_resistance_ohm_cm2=(area * resistance).n,
        warnings=_thickness_notices(length.n, area.n),
    )


def _thickness_notices(length_cm: float, area_cm2: float) -> tuple[Notice, ...]:
    if length_cm**2 <= area_cm2:
        return ()
    text = (
        f"the sample is {length_cm:g} cm thick between electrodes of {area_cm2:g} cm2: where it is wider than "
        "they are, current spreads and L/(S R) is too large; check the units of both"
    )
    return (Notice("thick-sample", text),)


def spectrum_resistance(
    z_real_ohm: ArrayLike,
    z_imag_ohm: ArrayLike,
    frequency_Hz: ArrayLike,
    *,
    method: Literal["auto", "crossing", "blocking"] = "auto",
) -> SpectrumResistance:
    """Resistance of the electrolyte from a Nyquist plot, without a circuit model.

    Parameters
    ----------
    z_real_ohm, z_imag_ohm, frequency_Hz : (n,) array-like
        ``z_imag_ohm`` with its sign: capacitive is negative.
    method : {"auto", "crossing", "blocking"}
        ``crossing``: Z' where Z'' passes through zero, coming from the highest frequency, between two points by
        straight line: the series resistance. It is the electrolyte's when the semicircle of its bulk lies above the
        highest frequency, as in most membranes near room temperature. ``blocking``: the straight spike of blocking
        electrodes at low frequencies, extended to Z'' = 0: bulk and grain boundaries together; points weigh by
        1/abs(Z). ``auto``: the crossing where there is one, else the spike.

    Raises
    ------
    BadOptionError
        Too few points, no crossing, no spike, Z'' with the wrong sign, or a resistance that is not positive.
    """
    real, imag = series(z_real_ohm, "z_real_ohm"), series(z_imag_ohm, "z_imag_ohm")
    frequency = series(frequency_Hz, "frequency_Hz", positive=True)
    same_length(z_real_ohm=real, z_imag_ohm=imag, frequency_Hz=frequency)
    if method not in ("auto", "crossing", "blocking"):
        raise BadOptionError(f"method {method!r}: choose auto, crossing or blocking")
    if len(real) < 2:
        raise BadOptionError("a spectrum of one point has no crossing and no spike; give more frequencies")
    if np.count_nonzero(imag > 0) > len(imag) / 2:
        raise BadOptionError("most of z_imag_ohm is positive: give Z'' with its sign, capacitive is negative")
    falling = np.argsort(-frequency, kind="stable")
    real, imag = real[falling], imag[falling]
    passes = np.flatnonzero((imag[:-1] >= 0) & (imag[1:] < 0))
    if method == "crossing" and not passes.size:
        raise BadOptionError(
            "Z'' does not pass through zero at high frequency; measure to higher frequencies, use method='blocking', "
            "or fit a circuit (package impedance)"
        )
    found = _crossing(real, imag, int(passes[0])) if passes.size and method != "blocking" else _spike(real, imag)
    if found.resistance_ohm <= 0:
        raise BadOptionError(
            f"the {found.method} lies at {found.resistance_ohm:g} ohm; a resistance is positive: check the data"
        )
    return found


def _crossing(real: NDArray[np.float64], imag: NDArray[np.float64], at: int) -> SpectrumResistance:
    part = imag[at] / (imag[at] - imag[at + 1])
    width = abs(real[at + 1] - real[at])
    return SpectrumResistance(
        resistance_ohm=float(real[at] + part * (real[at + 1] - real[at])),
        resistance_error_ohm=float(width / math.sqrt(12)),
        method="crossing",
        n_points=2,
    )


def _spike(real: NDArray[np.float64], imag: NDArray[np.float64]) -> SpectrumResistance:
    height = -imag
    low = len(height) - 1
    while low > 0 and height[low - 1] < height[low]:
        low -= 1
    # Higher than the resistance at its foot, the spike is free of what the semicircle before it leaves.
    chosen = (np.arange(len(height)) >= low) & (height >= real[low])
    count = int(chosen.sum())
    if count < _FEWEST_SPIKE_POINTS or height[-1] <= 0:
        raise BadOptionError(
            f"no blocking spike: -Z'' rises over {count} points at the low-frequency end, {_FEWEST_SPIKE_POINTS} are "
            "needed; measure to lower frequencies, or fit a circuit (package impedance)"
        )
    modulus = np.hypot(real, imag)[chosen]  # noise of impedance is a fraction of it
    line = fit_line(height[chosen], real[chosen], modulus, "the blocking spike", relative=True)
    angle = math.degrees(math.atan2(1.0, line.slope))
    notices = []
    if abs(90 - angle) > 90 - _STEEP_DEGREES:
        notices.append(
            Notice(
                "shallow-spike", f"the spike rises at {angle:.0f} degrees: diffusion or a lossy contact, no blocking"
            )
        )
    if line.curvature_p is not None and line.curvature_p < 0.001:
        notices.append(Notice("curved-spike", "the spike is bent, its extension depends on the points used"))
    return SpectrumResistance(
        resistance_ohm=line.intercept,
        resistance_error_ohm=line.intercept_error or 0.0,
        method="blocking",
        n_points=count,
        spike_angle_degrees=angle,
        warnings=tuple(notices),
    )
