"""Another composition for the sites of a crystal: a formula, or dopants on named sites, charge made up for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from atomflow.build.composition import charge_of, formula_text, parse_formula
from atomflow.build.parent import Parent
from atomflow.errors import BadOptionError, CompositionError

_DOPANT = re.compile(r"(?P<element>[A-Z][a-z]?)(?P<state>[+-]?\d+)?=(?P<amount>\d+(\.\d+)?|\.\d+)@(?P<where>\w+)")


def targeted(parent: Parent, composition: str | None, dope: Sequence[str]) -> Parent:
    """The parent with another composition to reach.

    Parameters
    ----------
    parent : Parent
    composition : str or None
        A neutral formula of elements that the sites hold.
    dope : sequence of str
        Such as ``"Al=0.25@24d"``, applied in turn.

    Raises
    ------
    CompositionError
        For a composition that is not neutral or does not fit the sites.
    BadOptionError
        For a dopant that is not understood.
    """
    if composition is not None:
        parent = _composed(parent, composition)
    for text in dope:
        parent = _doped(parent, text)
    return _neutral(parent, dope) if dope else parent


def _composed(parent: Parent, composition: str) -> Parent:
    wanted = parse_formula(composition)
    if unknown := sorted(set(wanted) - set(parent.charges)):
        site = parent.classes[0].wyckoff or parent.classes[0].label
        raise CompositionError(
            f"{parent.name} has no site for {unknown[0]}; say where it goes with --dope {unknown[0]}=0.25@{site}"
        )
    if abs(total := charge_of(wanted, parent.charges)) > 1e-6:
        raise CompositionError(
            f"{formula_text(wanted)} has charge {total:+.3g} per formula unit; change an amount until it is zero"
        )
    return replace(parent, formula=wanted)


def _doped(parent: Parent, text: str) -> Parent:
    """Open sites to a dopant and take away what it replaces; the charge is left to :func:`_neutral`."""
    match = _DOPANT.fullmatch(text.replace(" ", ""))
    if match is None:
        raise BadOptionError(f"--dope {text!r}: write ELEMENT=AMOUNT@SITE, for example Al=0.25@24d or Ta=0.6@Zr1")
    element, where = match["element"], match["where"]
    amount = Fraction(match["amount"]).limit_denominator(1000)
    hosts = [n for n, kind in enumerate(parent.classes) if where in (kind.label, kind.wyckoff)]
    if not hosts:
        known = ", ".join(f"{kind.wyckoff} ({kind.label})" for kind in parent.classes)
        raise BadOptionError(f"--dope {text!r}: {parent.name} has no site {where}; it has {known}")
    room = Fraction(sum(int((parent.primitive.numbers == n + 1).sum()) for n in hosts), parent.per_primitive)
    charges = {**parent.charges, element: _oxidation(parent, element, match["state"], text)}
    formula = dict(parent.formula)
    formula[element] = formula.get(element, Fraction(0)) + amount
    full = [parent.classes[n] for n in hosts if parent.classes[n].full]
    if full:
        replaced = max(full[0].species, key=lambda name: parent.formula.get(name, Fraction(0)))
        formula[replaced] -= amount
    if amount > room or any(value < 0 for value in formula.values()):
        raise CompositionError(f"--dope {text!r}: {where} has room for {float(room):g} per formula unit")
    classes = tuple(
        replace(kind, species=(*kind.species, element)) if n in hosts and element not in kind.species else kind
        for n, kind in enumerate(parent.classes)
    )
    mobile = {name for kind in parent.classes if not kind.full for name in kind.species}
    apart = parent.apart
    if not full:
        # Among the mobile ions the dopant keeps their distance.
        apart = tuple(
            (tuple(sorted({*elements, element})) if set(elements) & mobile else elements, within)
            for elements, within in apart
        )
    return replace(parent, classes=classes, formula=formula, charges=charges, apart=apart)


def _neutral(parent: Parent, dope: Sequence[str]) -> Parent:
    """Let the ions on partly filled sites make up for the charge that all dopants together leave."""
    formula, charges = dict(parent.formula), parent.charges
    excess = charge_of(formula, charges)
    if abs(excess) > 1e-9:
        added = {text.replace(" ", "").partition("=")[0].rstrip("+-0123456789") for text in dope}
        mobile = [name for kind in parent.classes if not kind.full for name in kind.species if name not in added]
        ions = [ion for ion in mobile if formula.get(ion) and charges[ion]]
        if not ions:
            raise CompositionError(
                f"--dope {' '.join(dope)} leaves a charge of {excess:+.3g} per formula unit and {parent.name} has no "
                "partly filled sites to make up for it; dope another element as well"
            )
        formula[ions[0]] -= Fraction(excess / charges[ions[0]]).limit_denominator(1000)
        if formula[ions[0]] < 0:
            raise CompositionError(
                f"--dope {' '.join(dope)} would need {float(formula[ions[0]]):g} {ions[0]} per formula unit"
            )
    # As formulas are written: anions last.
    ordered = sorted(formula, key=lambda ion: charges[ion] < 0)
    return replace(parent, formula={ion: formula[ion] for ion in ordered if formula[ion]})


def _oxidation(parent: Parent, element: str, given: str | None, text: str) -> float:
    if given is not None:
        return float(given)
    if element in parent.charges:
        return parent.charges[element]
    from pymatgen.core import Element

    try:
        common = Element(element).common_oxidation_states
    except ValueError as error:
        raise BadOptionError(f"--dope {text!r}: {element} is no element") from error
    if len(common) != 1:
        raise CompositionError(
            f"--dope {text!r}: {element} has several oxidation states; give one, as in "
            f"{element}+3=0.1@{parent.classes[0].wyckoff or parent.classes[0].label}"
        )
    return float(common[0])
