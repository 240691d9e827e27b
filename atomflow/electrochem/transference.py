"""Transference number from the polarisation of a symmetric cell (Bruce, Vincent, Evans)."""

from __future__ import annotations

from dataclasses import dataclass

from atomflow.electrochem.measured import Measured, interval, measured
from atomflow.errors import BadOptionError
from atomflow.model import Notice, Result, record

#: Above this polarisation the small-signal theory is doubtful: 10 mV, with room for a rounded value.
_SMALL_POLARISATION_mV = 10.5
#: The first-order error is not to be trusted where the driving voltage is this uncertain.
_ROUGH = 0.3
_INITIAL_CURRENT_TOLERANCE = 0.1


@record("atomflow.transference/1")
@dataclass(frozen=True)
class Transference(Result):
    """Transference number by polarisation.

    Attributes
    ----------
    transference_number, transference_error : float
        Value and standard error (first order).
    transference_ci95 : (float, float)
        Not cut off at 0 and 1: an interval that leaves them says that the measurement is too rough.
    current_ratio : float
        Steady over initial current: what the number would be without interfaces.
    """

    transference_number: float
    transference_error: float
    transference_ci95: tuple[float, float]
    current_ratio: float
    warnings: tuple[Notice, ...] = ()


def transference_number(
    polarization_mV: Measured,
    initial_current_uA: Measured,
    steady_current_uA: Measured,
    initial_resistance_ohm: Measured,
    steady_resistance_ohm: Measured,
    *,
    bulk_resistance_ohm: Measured | None = None,
) -> Transference:
    """Cation transference number ``t = Is (dV - I0 R0) / (I0 (dV - Is Rs))`` with its error.

    Parameters
    ----------
    polarization_mV : Measured
        Voltage dV over the symmetric cell. Every value is a number, ``(value, standard error)`` or a ``ufloat``.
    initial_current_uA, steady_current_uA : Measured
        I0 just after the voltage is applied and Is in the steady state.
    initial_resistance_ohm, steady_resistance_ohm : Measured
        R0 and Rs of the *interfaces* (both electrodes together), from impedance before and after.
    bulk_resistance_ohm : Measured, optional
        Of the electrolyte. With it, I0 is compared with dV / (Rb + R0).

    Raises
    ------
    BadOptionError
        Values that no cell can have: voltage or currents that are not positive, negative resistances, interfaces that
        would take all of the voltage.

    Notes
    -----
    J. Evans, C. A. Vincent and P. G. Bruce, Polymer 28, 2324 (1987), doi 10.1016/0032-3861(87)90394-6; derived from
    P. G. Bruce and C. A. Vincent, J. Electroanal. Chem. 225, 1 (1987), doi 10.1016/0022-0728(87)80001-3 (both known
    from a secondary source, M. Lacey's derivation in "Lithium Inventory", which was read). It holds for
    dissociated ions and small voltages (10 mV); with ion pairs the result is the limiting current fraction, not the
    transference number. Errors are propagated to first order; the tests compare them with a Monte Carlo.

    Examples
    --------
    >>> from atomflow.electrochem import transference_number
    >>> found = transference_number(10, (12.0, 0.1), (5.5, 0.1), (210, 5), (230, 5))
    >>> f"{found.transference_number:.2f} +- {found.transference_error:.2f}"
    '0.39 +- 0.01'
    """
    voltage = measured(polarization_mV, "polarization_mV") * 1e-3
    initial = measured(initial_current_uA, "initial_current_uA") * 1e-6
    steady = measured(steady_current_uA, "steady_current_uA") * 1e-6
    first = measured(initial_resistance_ohm, "initial_resistance_ohm", strictly=False)
    last = measured(steady_resistance_ohm, "steady_resistance_ohm", strictly=False)
    over_bulk, over_bulk_steady = voltage - initial * first, voltage - steady * last
    for name, rest, drop in (("I0 R0", over_bulk, initial * first), ("Is Rs", over_bulk_steady, steady * last)):
        if rest.n <= 0:
            raise BadOptionError(
                f"{name} is {drop.n * 1e3:.3g} mV, and only {voltage.n * 1e3:.3g} mV were applied: no voltage is left "
                "for the electrolyte; check the units, and that the resistances are those of the interfaces alone"
            )
    number = steady * over_bulk / (initial * over_bulk_steady)
    notices = []
    if not 0 <= number.n <= 1:
        notices.append(
            Notice("out-of-range", f"t = {number.n:.2f} is none of a binary salt; check steady state and resistances")
        )
    if voltage.n * 1e3 > _SMALL_POLARISATION_mV:
        notices.append(
            Notice("large-polarization", f"{voltage.n * 1e3:.3g} mV; the theory is for small voltages, 10 mV or less")
        )
    if max(over_bulk.s / over_bulk.n, over_bulk_steady.s / over_bulk_steady.n) > _ROUGH:
        notices.append(
            Notice("rough", "the voltage left for the electrolyte is so uncertain that the error is a rough guess")
        )
    if bulk_resistance_ohm is not None:
        ohmic = voltage / (measured(bulk_resistance_ohm, "bulk_resistance_ohm") + first)
        if abs(ohmic.n / initial.n - 1) > _INITIAL_CURRENT_TOLERANCE:
            notices.append(
                Notice(
                    "initial-current",
                    f"I0 is {initial.n * 1e6:.3g} uA, dV/(Rb + R0) {ohmic.n * 1e6:.3g} uA: sampled too late, or charging "
                    "of the double layer",
                )
            )
    return Transference(
        transference_number=number.n,
        transference_error=number.s,
        transference_ci95=interval(number),
        current_ratio=(steady / initial).n,
        warnings=tuple(notices),
    )
