"""Whole numbers of ions: which cell holds a composition exactly, and what a smaller one holds instead.

A crystal's sites fall into *families*: site classes that share a species (24d and 96h of a garnet share Li). In a family
without vacancies the counts must sum to its sites; everywhere they must be neutral together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import lcm

import numpy as np

from atomflow.errors import CompositionError


@dataclass(frozen=True)
class Family:
    """Sites among which species are shared.

    Attributes
    ----------
    species : tuple of str
    sites : int
        Of one formula unit's worth of crystal times ``units``.
    full : bool
        No vacancies allowed.
    """

    species: tuple[str, ...]
    sites: int
    full: bool


def parse_formula(text: str) -> dict[str, Fraction]:
    """Amounts per formula unit as exact fractions: ``Li6.25Al0.25La3Zr2O12``, brackets allowed.

    Raises
    ------
    CompositionError
        When the text is no formula.
    """
    from pymatgen.core import Composition

    try:
        amounts = {str(name): _exact(value) for name, value in Composition(text).get_el_amt_dict().items()}
    except (ValueError, KeyError, TypeError) as error:
        raise CompositionError(f"{text[:80]!r} is not a formula; write it like Li6.25Al0.25La3Zr2O12") from error
    if vanished := [name for name, amount in amounts.items() if not amount]:
        raise CompositionError(f"{text[:80]!r}: the amount of {vanished[0]} is too small; no cell could hold it")
    if not amounts:
        raise CompositionError("an empty formula; write one like Li6.25Al0.25La3Zr2O12")
    return amounts


def _exact(amount: float) -> Fraction:
    """The fraction that is meant: up to three decimals as they stand, 0.0333 as a thirtieth."""
    if abs(amount * 1000 - round(amount * 1000)) < 1e-9:
        return Fraction(round(amount * 1000), 1000)
    simple = Fraction(amount).limit_denominator(200)
    return simple if abs(float(simple) - amount) < 5.1e-5 and simple else Fraction(amount).limit_denominator(10000)


def formula_text(amounts: Mapping[str, Fraction | float]) -> str:
    """The reverse of :func:`parse_formula`, to four decimals, in the given order."""
    return "".join(
        f"{element}{float(amount):.4f}".rstrip("0").rstrip(".") if amount != 1 else element
        for element, amount in amounts.items()
        if amount
    )


def smallest_multiple(formula: Mapping[str, Fraction], per_cell: Fraction | int) -> int:
    """How many primitive cells (of ``per_cell`` formula units) make all counts whole."""
    return reduce(lcm, ((amount * per_cell).denominator for amount in formula.values()), 1)


def charge_of(formula: Mapping[str, Fraction], charges: Mapping[str, float]) -> float:
    """Sum of charges, e per formula unit."""
    return float(sum(float(amount) * charges[element] for element, amount in formula.items()))


def nearest_counts(
    formula: Mapping[str, Fraction], units: Fraction | int, charges: Mapping[str, float], families: tuple[Family, ...]
) -> dict[str, int]:
    """Neutral whole counts nearest to a composition in ``units`` formula units.

    "Nearest" is the smallest sum of deviations, where a deviation counts by the charge of its ion: an aluminium too
    many weighs as much as three lithium.

    Raises
    ------
    CompositionError
        When the sites of ``families`` cannot hold any neutral composition.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    names = list(formula)
    n = len(names)
    target = np.array([float(formula[name] * units) for name in names])
    q = np.array([charges[name] for name in names])
    # Unknowns: the counts, then their deviations.
    rows = [LinearConstraint(np.concatenate([q, np.zeros(n)])[None, :], 0.0, 0.0)] if np.any(q) else []
    for family in families:
        member = np.array([float(name in family.species) for name in names])
        least = family.sites if family.full else 0.0
        rows.append(LinearConstraint(np.concatenate([member, np.zeros(n)])[None, :], least, family.sites))
    eye = np.eye(n)
    rows.append(LinearConstraint(np.hstack([eye, -eye]), -np.inf, target))
    rows.append(LinearConstraint(np.hstack([-eye, -eye]), -np.inf, -target))
    # Of two neighbours equally near, the one richer in what comes first in the formula: a rule, so that runs agree.
    weight = np.concatenate([-1e-6 * np.arange(n, 0, -1.0), np.maximum(np.abs(q), 1.0)])
    present = np.array([1.0 if formula[name] > 0 else 0.0 for name in names])
    bounds = Bounds(np.zeros(2 * n), np.concatenate([np.where(present > 0, np.inf, 0.0), np.full(n, np.inf)]))
    # Without presolve: HiGHS gives up in it on some garnets that have an answer.
    kinds = np.concatenate([np.ones(n), np.zeros(n)])
    answer = milp(weight, constraints=rows, integrality=kinds, bounds=bounds, options={"presolve": False})
    if answer.x is None:
        raise CompositionError(
            f"no neutral whole number of ions near {formula_text(formula)} fits the sites of {units} formula units; "
            "take more of them, or check the oxidation states"
        )
    return {name: round(count) for name, count in zip(names, answer.x[:n], strict=True)}


def deviation(formula: Mapping[str, Fraction], counts: Mapping[str, int], units: Fraction | int) -> dict[str, float]:
    """Counts per formula unit minus the target, elements without any left out."""
    excess = {name: float(counts[name] / Fraction(units) - amount) for name, amount in formula.items()}
    return {name: value for name, value in excess.items() if abs(value) > 1e-9}
