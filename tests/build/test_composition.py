"""Whole counts of ions: neutral, within their sites, exact where the cell allows, otherwise the nearest there are."""

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition

from atomflow.build.composition import (
    Family,
    charge_of,
    deviation,
    formula_text,
    nearest_counts,
    parse_formula,
    smallest_multiple,
)
from atomflow.errors import CompositionError

GARNET = {"Li": 1.0, "Al": 3.0, "La": 3.0, "Zr": 4.0, "Ta": 5.0, "O": -2.0}


def families(units):
    """The sites of a garnet: 24d + 96h for Li and Al (with vacancies), the others full."""
    return (
        Family(("Al", "Li"), 15 * units, False),
        Family(("La",), 3 * units, True),
        Family(("Ta", "Zr"), 2 * units, True),
        Family(("O",), 12 * units, True),
    )


def garnet(aluminium, tantalum):
    lithium = 7 - 3 * aluminium - tantalum
    return {"Li": lithium, "Al": aluminium, "La": Fraction(3), "Zr": 2 - tantalum, "Ta": tantalum, "O": Fraction(12)}


amounts = st.fractions(0, 1, max_denominator=40)


@settings(max_examples=60, deadline=None)
@given(aluminium=amounts, tantalum=amounts, units=st.integers(1, 40))
@example(aluminium=Fraction(1, 2), tantalum=Fraction(1, 5), units=4)
def test_counts_are_whole_neutral_and_within_the_sites(aluminium, tantalum, units):
    formula = garnet(aluminium, tantalum)
    counts = nearest_counts(formula, units, GARNET, families(units))
    assert all(isinstance(n, int) and n >= 0 for n in counts.values())
    assert list(counts) == list(formula)
    assert sum(counts[name] * GARNET[name] for name in counts) == 0
    for family in families(units):
        filled = sum(counts[name] for name in family.species)
        assert filled <= family.sites
        assert filled == family.sites or not family.full
    for name, amount in formula.items():
        assert amount or not counts[name]  # nothing that was not asked for
    if all((amount * units).denominator == 1 for amount in formula.values()):
        assert counts == {name: amount * units for name, amount in formula.items()}
        assert deviation(formula, counts, units) == {}


@settings(max_examples=40, deadline=None)
@given(aluminium=amounts, tantalum=amounts, units=st.integers(1, 8))
@example(aluminium=Fraction(1, 2), tantalum=Fraction(1, 5), units=4)
def test_counts_are_the_nearest_of_all_neutral_ones(aluminium, tantalum, units):
    formula = garnet(aluminium, tantalum)

    def off(counts):
        return sum(abs(counts[e] - float(formula[e] * units)) * max(abs(GARNET[e]), 1) for e in counts)

    best = min(
        off({"Li": 7 * units - 3 * a - t, "Al": a, "La": 3 * units, "Zr": 2 * units - t, "Ta": t, "O": 12 * units})
        for a in range(2 * units + 1 if aluminium else 1)
        for t in range(2 * units + 1 if tantalum else 1)
        if 7 * units - 3 * a - t >= 0
    )
    assert off(nearest_counts(formula, units, GARNET, families(units))) == pytest.approx(best, abs=1e-4)


def test_the_published_cells():
    lalzo = parse_formula("Li6.25Al0.25La3Zr2O12")
    assert smallest_multiple(lalzo, 4) == 1  # 94 atoms, Li25AlLa12Zr8O48
    assert nearest_counts(lalzo, 4, GARNET, families(4)) == {"Li": 25, "Al": 1, "La": 12, "Zr": 8, "O": 48} | {
        name: 0 for name in lalzo if name not in ("Li", "Al", "La", "Zr", "O")
    }
    llzto = parse_formula("Li6.4La3Zr1.4Ta0.6O12")
    assert smallest_multiple(llzto, 4) == 5
    counts = nearest_counts(llzto, 20, GARNET, families(20))
    assert {k: v for k, v in counts.items() if v} == {"Li": 128, "La": 60, "Zr": 28, "Ta": 12, "O": 240}


def test_no_neutral_composition_is_told():
    full = (Family(("Li",), 1, True), Family(("O",), 1, True))
    with pytest.raises(CompositionError, match="oxidation states"):
        nearest_counts(parse_formula("LiO"), 1, GARNET, full)


def test_elements_without_charge():
    assert nearest_counts({"Li": Fraction(1)}, 7, {"Li": 0.0}, (Family(("Li",), 7, True),)) == {"Li": 7}


symbols = st.sampled_from(["Li", "Al", "La", "Zr", "Ta", "O", "Si", "Fe", "P", "F"])
formulas = st.dictionaries(symbols, st.integers(1, 40000).map(lambda n: Fraction(n, 1000)), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(formula=formulas)
def test_text_and_formula_are_each_other(formula):
    text = formula_text(formula)
    assert parse_formula(text) == formula
    assert list(parse_formula(text)) == list(formula)
    assert Composition(text).get_el_amt_dict() == pytest.approx({k: float(v) for k, v in formula.items()})


@settings(max_examples=60, deadline=None)
@given(formula=formulas, per_cell=st.integers(1, 12))
def test_smallest_multiple_is_the_smallest(formula, per_cell):
    found = smallest_multiple(formula, per_cell)

    def whole(copies):
        return all((amount * per_cell * copies).denominator == 1 for amount in formula.values())

    assert whole(found)
    assert not any(whole(n) for n in range(1, min(found, 400)))


@pytest.mark.parametrize("text", ["", "(((", "Li-7La3", "xyz", "7", "Li 7 ?", "Li7La3)"])
def test_what_is_no_formula(text):
    with pytest.raises(CompositionError, match="write"):
        parse_formula(text)


def test_brackets_and_charge():
    latp = parse_formula("Li1.3Al0.3Ti1.7(PO4)3")
    assert latp == {"Li": Fraction(13, 10), "Al": Fraction(3, 10), "Ti": Fraction(17, 10), "P": 3, "O": 12}
    assert charge_of(latp, {"Li": 1, "Al": 3, "Ti": 4, "P": 5, "O": -2}) == pytest.approx(0)


@pytest.mark.parametrize("text", ["Li6.9997Al0.0001La3Zr2O12", "Li6.9994Al0.0002La3Zr2O12"])
def test_a_small_amount_is_not_dropped_in_silence(text):
    try:
        formula = parse_formula(text)
    except CompositionError:
        return  # being told is as good
    assert formula["Al"] > 0


def test_four_decimals_of_a_thirtieth_stay_neutral():
    text = formula_text(garnet(Fraction(1, 30), Fraction(0)))
    assert charge_of(parse_formula(text), GARNET) == pytest.approx(0, abs=1e-9)
