"""Blocks of frames: independent of the order of frames, and errors that cover the truth."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomflow.analysis.blocks import LEAST_BLOCKS, MOST_BLOCKS, Blocks, dispersion, independent_blocks, ratio_error


def filled(frames, value=lambda frame: np.array([1, frame])):
    blocks = Blocks()
    for frame in frames:
        blocks.add(frame, value(frame))
    return blocks


@given(st.integers(0, 500), st.integers(1, 900), st.integers(1, 7), st.lists(st.integers(0, 900), max_size=4))
def test_chunks_join_to_what_one_sweep_gives(start, count, step, cuts):
    frames = list(range(start, start + count * step, step))
    whole = filled(frames)
    bounds = [0, *sorted(cut % (count + 1) for cut in cuts), count]
    joined = Blocks()
    for a, b in itertools.pairwise(bounds):
        joined.join(filled(frames[a:b]))
    assert joined.level == whole.level
    assert joined.frames == whole.frames
    assert len(whole.sums) <= MOST_BLOCKS
    assert len(whole.sums) > MOST_BLOCKS // 4 or len(whole.sums) == count or step > 1
    for block, total in whole.sums.items():
        np.testing.assert_array_equal(joined.sums[block], total)
    assert sum(whole.sums.values()).tolist() == [count, sum(frames)]
    weights = {frame: float(frame) for frame in frames}
    np.testing.assert_allclose(whole.by_block(weights), [total[1] for total in whole.in_order()[0]])


def test_anything_that_adds_up_can_be_kept():
    blocks = filled(range(200), lambda frame: Counter({"even" if frame % 2 == 0 else "odd": 1}))
    sums, lengths = blocks.in_order()
    assert sum(sums, Counter()) == Counter(even=100, odd=100)
    assert lengths.sum() == 200


def correlated(phi, n, rng):
    x = np.empty(n)
    x[0] = rng.normal() / np.sqrt(1 - phi**2)
    for t in range(1, n):
        x[t] = phi * x[t - 1] + rng.normal()
    return x


@pytest.mark.parametrize(("phi", "n"), [(0.0, 50), (0.0, 3000), (0.8, 1000), (0.95, 3000)])
def test_errors_cover_the_truth_for_correlated_series(phi, n):
    """Mean of a first-order autoregressive series; errors as if frames were independent would be 3 to 6 times too small."""
    rng = np.random.default_rng(0)
    inside, errors, means = 0, [], []
    for _ in range(150):
        sums, lengths = filled(range(n), correlated(phi, n, rng).__getitem__).in_order()
        error = ratio_error(sums, lengths)
        inside += abs(np.sum(sums) / n) < 1.96 * error
        errors.append(error)
        means.append(np.sum(sums) / n)
    assert 0.86 <= inside / 150 <= 0.99
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(means), rel=0.25)


def test_unequal_blocks_weigh_what_they_hold():
    rng = np.random.default_rng(1)
    weights = np.array([1.0, 10, 3, 7, 2, 9, 4, 4, 6, 8] * 3)
    values = [weights * 5 + rng.normal(size=30) * np.sqrt(weights) for _ in range(300)]
    errors = [ratio_error(value, weights) for value in values]
    assert np.mean(errors) == pytest.approx(np.std([v.sum() / weights.sum() for v in values]), rel=0.15)


def test_many_at_once_are_what_each_is_alone():
    sums = np.random.default_rng(2).normal(size=(40, 5))
    together = ratio_error(sums, np.ones(40))
    np.testing.assert_allclose(together, [ratio_error(sums[:, k], np.ones(40)) for k in range(5)])


def test_few_blocks_say_nothing_and_constant_ones_have_no_error():
    assert ratio_error(np.ones(LEAST_BLOCKS - 1), np.ones(LEAST_BLOCKS - 1)) is None
    assert ratio_error(np.full(20, 3.0), np.ones(20)) == 0
    assert independent_blocks(np.full(20, 3.0), np.ones(20)) == 20


def test_a_run_shorter_than_its_memory_is_told():
    rng = np.random.default_rng(3)
    slow = np.median([independent_blocks(correlated(0.99, 60, rng), np.ones(60)) for _ in range(50)])
    quick = np.median([independent_blocks(rng.normal(size=60), np.ones(60)) for _ in range(50)])
    assert slow < 10 < 30 < quick


def test_dispersion_of_independent_counts_is_one_and_of_repeated_ones_more():
    rng = np.random.default_rng(4)
    counts = rng.poisson(30, (40, 60))
    assert dispersion(counts, np.ones(40), counts.sum(axis=0)) == pytest.approx(1.0, abs=0.2)
    repeated = np.repeat(counts[::4], 4, axis=0)  # every block seen four times
    assert dispersion(repeated, np.ones(40), repeated.sum(axis=0)) == pytest.approx(4.0, rel=0.3)
    assert dispersion(counts[:2], np.ones(2), counts.sum(axis=0)) == 1.0
    assert dispersion(counts[:, :0], np.ones(40), []) == 1.0
