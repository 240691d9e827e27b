"""Verdicts on series whose nature is known: how often they are right is what is tested."""

from collections import Counter

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from atomflow.dynamics.judging import LEAST_SAMPLES, LEAST_VALUES, Judgement, judge, judge_equilibration
from atomflow.errors import BadOptionError
from atomflow.model import dumps, loads

#: Values of a series; correlation times below are in values.
N = 400
ONE_IN_A_THOUSAND = 1e-3


def noise(rng, time, count, n=N):
    """Stationary noise of variance 1 and this correlation time, (count, n)."""
    kept = np.exp(-1 / time) if time else 0.0
    kicks = rng.normal(size=(count, n))
    kicks[:, 1:] *= np.sqrt(1 - kept**2)
    return lfilter([1.0], [1.0, -kept], kicks, axis=1)


def ringing(rng, count):
    """As the density under a barostat: damped swings of 20 values."""
    swing = np.exp(-np.arange(200) / 50) * np.cos(2 * np.pi * np.arange(200) / 20)
    found = np.array([np.convolve(rng.normal(size=N + 199), swing, "valid") for _ in range(count)])
    return found / found.std()


def verdicts(series, mean=50.0):
    judged = [judge(np.arange(len(one)) * 0.1, mean + one, quantity="density", unit="g/cm3") for one in series]
    return judged, Counter(one.verdict for one in judged)


def at_most(seen, of, rate):
    """Whether a rate no higher than this explains what was seen."""
    return binom.sf(seen - 1, of, rate) > ONE_IN_A_THOUSAND


def check_false_alarms(count):
    """At most one stationary series in twenty is said to drift, however slow its noise."""
    rng = np.random.default_rng(11)
    told = {}
    for time in (0, 2, 5, 10, 20, 50, 200, 1000, 10000):
        told[f"noise {time}"] = verdicts(noise(rng, time, count))[1]
    told["ringing"] = verdicts(ringing(rng, count))[1]
    told["noise 5 and white"] = verdicts(noise(rng, 5, count) + 2 * rng.normal(size=(count, N)))[1]
    for name, seen in told.items():
        assert at_most(seen["drifting"], count, 0.05), name
    for name in ("noise 0", "noise 2", "noise 5", "ringing", "noise 5 and white"):
        # 40 samples or more: enough to call it what it is in five of six.
        assert at_most(count - told[name]["stationary"], count, 1 / 6), name
    for name in ("noise 50", "noise 200", "noise 1000", "noise 10000"):
        # Fewer than five samples: hardly ever taken for a mean.
        assert at_most(told[name]["stationary"], count, 0.05), name
        assert told[name]["too short"] > 0.85 * count


def check_power(count):
    """Drifts that matter are seen, or at least not called stationary."""
    rng = np.random.default_rng(12)
    line = np.sqrt(3) * np.linspace(-1, 1, N)
    decay = np.exp(-np.arange(N) / N)
    cases = {
        # (series, least share that is said to drift, greatest that is said to be stationary)
        "line of 1, noise 0": (line + noise(rng, 0, count), 0.95, 0.01),
        "line of 1, noise 5": (line + noise(rng, 5, count), 0.25, 0.25),
        "line of 2, noise 5": (2 * line + noise(rng, 5, count), 0.80, 0.01),
        "line of 4, noise 20": (4 * line + noise(rng, 20, count), 0.25, 0.01),
        "decay over the run, noise 0": (10 * decay + noise(rng, 0, count), 0.95, 0.01),
        "decay over the run, noise 5": (10 * decay + noise(rng, 5, count), 0.60, 0.03),
        # Half of these are "too short": what is left when the start is discarded hardly moves any more.
        "decay over a third, noise 0": (10 * decay**3.3 + noise(rng, 0, count), 0.40, 0.01),
    }
    told = {name: verdicts(series)[1] for name, (series, _, _) in cases.items()}
    for name, (_, drifting, stationary) in cases.items():
        assert at_most(count - told[name]["drifting"], count, 1 - drifting), name
        assert at_most(told[name]["stationary"], count, stationary), name


def check_ended_relaxation(count):
    """What has relaxed is stationary once its start is discarded, and the mean does not suffer."""
    rng = np.random.default_rng(13)
    judged, seen = verdicts(10 * np.exp(-np.arange(N) / 15) + noise(rng, 3, count))
    assert at_most(count - seen["stationary"], count, 0.2) and at_most(seen["drifting"], count, 0.05)
    assert 2.0 < np.median([one.start_ps for one in judged]) < 15.0
    calm = [one for one in judged if one.verdict == "stationary"]
    missed = sum(abs(one.mean - 50.0) > 1.96 * one.standard_error for one in calm)
    assert at_most(missed, len(calm), 0.12)


def check_errors(count):
    """Means lie within 1.96 standard errors about as often as they should, and not always."""
    rng = np.random.default_rng(14)
    for time in (0, 2, 5, 10):
        judged = [one for one in verdicts(noise(rng, time, count))[0] if one.verdict == "stationary"]
        missed = sum(abs(one.mean - 50.0) > 1.96 * one.standard_error for one in judged)
        assert at_most(missed, len(judged), 0.1), time
        exact = N / (1 + 2 / (np.exp(1 / time) - 1)) if time else N
        assert 0.5 < np.median([one.independent_samples for one in judged]) / exact < 1.3


@pytest.mark.parametrize("check", [check_false_alarms, check_power, check_ended_relaxation, check_errors])
def test_verdicts_are_right_as_often_as_they_say(check):
    check(12)


@pytest.mark.slow
@pytest.mark.parametrize("check", [check_false_alarms, check_power, check_ended_relaxation, check_errors])
def test_verdicts_are_right_as_often_as_they_say_on_many(check):
    check(60)


def test_plain_tests_would_raise_more_alarms():
    """What all this is for: a least-squares slope and its usual error call half of these stationary series drifting."""
    from scipy.stats import linregress

    series = noise(np.random.default_rng(15), 20, 30)
    plain = sum(linregress(np.arange(N), one).pvalue < 0.01 for one in series)
    assert plain > 12
    assert verdicts(series)[1]["drifting"] <= 2


def example(**change):
    series = 0.94 + 0.002 * noise(np.random.default_rng(16), 3, 1)[0]
    times = np.arange(N) * 0.5
    options = {"quantity": "density", "unit": "g/cm3", **change}
    return times, series, options


def test_units_and_offsets_only_scale_the_numbers():
    times, series, options = example()
    one = judge(times, series, **options)
    other = judge(times + 70.0, 1000.0 * series, **options)
    assert one.verdict == other.verdict == "stationary"
    assert other.mean == pytest.approx(1000 * one.mean)
    assert other.standard_error == pytest.approx(1000 * one.standard_error)
    assert other.drift_per_ns == pytest.approx(one.drift_per_ns)
    assert other.start_ps == pytest.approx(one.start_ps + 70.0)
    assert judge(times, -series, **options).change == pytest.approx(-one.change)
    assert loads(dumps(one)) == one


def test_drift_has_its_size_and_sign():
    times, _, options = example()
    found = [judge(times, 0.94 * (1 + slope * times / 1000) + 0.0005 * noise(np.random.default_rng(s), 2, 1)[0], **options)
             for s, slope in enumerate((0.2, -0.2, 0.2, -0.2))]  # fmt: skip
    for one, slope in zip(found, (0.2, -0.2, 0.2, -0.2), strict=True):
        assert one.verdict == "drifting" and "still drifts" in one.text
        assert one.drift_per_ns == pytest.approx(slope, rel=0.1, abs=4 * one.drift_error_per_ns)


def test_a_mean_near_zero_has_no_relative_drift():
    times, series, options = example()
    found = judge(times, series - series.mean(), **options)
    assert found.drift_per_ns is None and found.change is not None and "%" not in found.text


def test_long_series_are_judged_alike_and_quickly():
    import time

    series = noise(np.random.default_rng(17), 30, 1, n=20000)[0]
    began = time.process_time()
    found = judge(np.arange(20000) * 0.01, series, quantity="energy", unit="kcal/mol")
    assert time.process_time() - began < 20
    assert found.verdict == "stationary"
    assert found.independent_samples == pytest.approx(20000 / 60, rel=0.5)
    assert found.correlation_time_ps == pytest.approx(0.3, rel=0.5)


@pytest.mark.parametrize("value", [0.0, 1.5, -3e4])
def test_constant(value):
    found = judge(np.arange(100.0), np.full(100, value), quantity="density", unit="g/cm3")
    assert found.verdict == "stationary" and found.standard_error == 0 and found.mean == value
    assert "does not change" in found.text


@pytest.mark.parametrize("n", [1, 5, LEAST_VALUES - 1])
def test_few_values(n):
    found = judge(np.arange(float(n)), np.linspace(1, 2, n), quantity="density", unit="g/cm3")
    assert found.verdict == "too short" and found.standard_error is None
    assert str(n) in found.text


def test_least_number_of_values():
    rng = np.random.default_rng(18)
    judged, seen = verdicts(noise(rng, 0, 60, n=LEAST_VALUES))
    assert at_most(seen["drifting"], 60, 0.05)
    assert all(np.isfinite(one.standard_error) for one in judged)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers(bad):
    series = np.ones(100)
    series[41] = bad
    with pytest.raises(BadOptionError, match=r"density: value 42 of 100 is not a number \(time 41 ps"):
        judge(np.arange(100.0), series, quantity="density", unit="g/cm3")


@pytest.mark.parametrize(
    "times", [np.r_[np.arange(50.0), np.arange(50.0)], np.r_[np.arange(50.0), np.arange(60.0, 110.0)], np.zeros(100)]
)
def test_times_that_are_not_even(times):
    with pytest.raises(BadOptionError, match="even steps"):
        judge(times, np.random.default_rng(0).normal(size=100), quantity="density", unit="g/cm3")


def test_the_last_step_may_be_shorter():
    times, series, options = example()
    whole = judge(times, series, **options)
    assert judge(np.append(times, times[-1] + 0.2), np.append(series, 7.0), **options) == whole


def test_shapes():
    with pytest.raises(BadOptionError, match="one of each"):
        judge(np.arange(3.0), np.arange(4.0), quantity="density", unit="g/cm3")
    with pytest.raises(BadOptionError, match="one of each"):
        judge([], [], quantity="density", unit="g/cm3")


def test_nothing_is_printed(capfd, caplog):
    times, series, options = example()
    judge(times, series, **options)
    seen = capfd.readouterr()
    assert not seen.out and not seen.err and not caplog.records


def test_verdict_on_several():
    def one(verdict):
        return Judgement("density", "g/cm3", verdict, 1.0, 0.1, 0.0, 1.0, 0.1, 20.0, 0.0, 0.1, 0.0, 0.1, verdict + "!")

    assert judge_equilibration(one("stationary"), one("stationary"))[0] == "stationary"
    assert judge_equilibration(one("stationary"), one("too short"))[0] == "too short"
    verdict, text = judge_equilibration(one("drifting"), one("too short"))
    assert verdict == "drifting" and "drifting!; too short!" in text


def test_a_trend_in_doubt_is_said_to_be_one():
    """Enough samples, but a trend of some standard errors: the words must not ask for more samples."""
    times = np.arange(400) * 0.1
    noise = np.random.default_rng(3).normal(size=400)
    noise -= np.polyval(np.polyfit(times, noise, 1), times)
    found = judge(times, 10.0 + noise + 6.0 * np.sqrt(12 / 400) * times / times[-1], quantity="density", unit="g/cm3")
    assert found.verdict == "too short" and found.independent_samples >= LEAST_SAMPLES
    assert "a drift cannot be ruled out" in found.text and "are needed" not in found.text
