"""Intervals hold the truth as often as they say: on simulated replicas, by the benchmark's own processes."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SPEC = importlib.util.spec_from_file_location("intervals", Path(__file__).parents[2] / "benchmarks" / "intervals.py")
intervals = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(intervals)


def coverage(make, particles, frames, replicas, told=False):
    rows = []
    for seed in range(replicas):
        paths, truth, start = make(np.random.default_rng([seed, particles, frames]), particles, frames)
        rows.append(intervals.by_atomflow(paths, start, told=told))
    return intervals.summary(rows, truth)


def test_a_few_replicas_are_near_the_truth():
    found = coverage(intervals.brownian, 10, 200, 12)
    assert found["coverage"] >= 0.75
    assert abs(found["bias"]) < 0.1
    assert found["called_diffusive"] >= 0.75


def test_a_straight_line_s_standard_error_does_not_hold_the_truth():
    """What everybody does; it must fail here, or this file proves nothing."""
    rows = []
    for seed in range(30):
        paths, truth, start = intervals.brownian(np.random.default_rng([seed, 10, 200]), 10, 200)
        rows.append(intervals.by_straight_line(paths, start, seed))
    assert intervals.summary(rows, truth)["coverage"] < 0.3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "particles", "frames", "most"),
    [
        (intervals.brownian, 10, 400, 0.98),
        (intervals.brownian, 50, 200, 0.98),
        (intervals.cage, 10, 1000, 0.99),
        # One particle says little about where its motion becomes diffusion: the interval is wider than it need be.
        (intervals.brownian, 1, 1000, 1.0),
    ],
    ids=["brownian-10", "brownian-50", "cage-10", "brownian-1"],
)
def test_200_replicas(make, particles, frames, most):
    """95 of 100, as well as 200 replicas can tell."""
    found = coverage(make, particles, frames, 200)
    assert 0.90 <= found["coverage"] <= most, found
    assert abs(found["bias"]) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "particles", "frames"),
    [(intervals.brownian, 1, 1000), (intervals.brownian, 10, 400), (intervals.cage, 10, 1000)],
    ids=["brownian-1", "brownian-10", "cage-10"],
)
def test_200_replicas_told_where_diffusion_begins(make, particles, frames):
    """With what kinisi must be told, ``fit_from_ps``, the interval is neither too narrow nor too wide, and half as wide."""
    found = coverage(make, particles, frames, 200, told=True)
    assert 0.90 <= found["coverage"] <= 0.98, found
    assert abs(found["bias"]) < 0.05
