"""Warnings that say the same are said once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomflow.analysis.gathering import gathered
from atomflow.model import Notice


def test_the_same_of_several_species_is_one_sentence_that_names_them():
    notices = [
        Notice("no-first-peak", "Li:O: g(r) shows no first peak"),
        Notice("drift", "the barycentre drifts: subtract it"),
        Notice("no-first-peak", "Li:F: g(r) shows no first peak"),
        Notice("not-diffusive", "Li (0.58 ± 0.07): not diffusive yet"),
        Notice("drift", "the barycentre drifts: subtract it"),
        Notice("not-diffusive", "PF6 (0.66 ± 0.06): not diffusive yet"),
        Notice("not-diffusive", "Li (0.58 ± 0.07): not diffusive yet"),
        Notice("not-diffusive", "FEC (1.30 ± 0.06): too fast: ballistic"),
        Notice("other", "Li:O: g(r) shows no first peak"),
    ]
    assert gathered(notices) == (
        Notice("no-first-peak", "Li:O, Li:F: g(r) shows no first peak"),
        Notice("drift", "the barycentre drifts: subtract it"),
        Notice("not-diffusive", "Li (0.58 ± 0.07), PF6 (0.66 ± 0.06): not diffusive yet"),
        Notice("not-diffusive", "FEC (1.30 ± 0.06): too fast: ballistic"),
        Notice("other", "Li:O: g(r) shows no first peak"),
    )


@pytest.mark.parametrize(
    "text", ["", "a", "a:", ": b", "a: ", "frames are 2 ps apart: so", "a, b", "f(x): y", "a\nb: c"]
)
def test_other_words_stay_as_they_are(text):
    assert gathered([Notice("x", text)] * 2) == (Notice("x", text),)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text("LiO:, (1)é", max_size=12)), max_size=8))
def test_gathering_twice_changes_nothing_and_loses_no_code(said):
    once = gathered(Notice(*each) for each in said)
    assert gathered(once) == once
    assert {notice.code for notice in once} == {code for code, _ in said}
