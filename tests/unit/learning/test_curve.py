from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truebit_async._learning.ages import COUNT, EDGES, LOG_RATIO, place
from truebit_async._learning.curve import Curve

any_rates = st.lists(st.floats(0, 3) | st.sampled_from([0.0, 1e-12, 50.0, 1e4]), max_size=COUNT)
ages = st.floats(0, 2 * EDGES[-1])


def exponential(mean: float, bins: int = COUNT) -> Curve:
    return Curve([(EDGES[number + 1] - EDGES[number]) / mean for number in range(bins)], bins)


def integral(curve: Curve, begin: float, end: float, steps: int = 2000) -> float:
    """The integral of S, by the midpoint rule over steps of the logarithm of the age."""
    low, high = math.log(begin + 0.1), math.log(end + 0.1)
    step = (high - low) / steps
    points = (math.exp(low + (number + 0.5) * step) for number in range(steps))
    return sum(curve.share(point - 0.1) * point * step for point in points)


CURVES = {
    "nothing": Curve(),
    "one bin": Curve([1.0], 1),
    "exponential": exponential(10.0),
    "cut off": exponential(10.0, 60),
    "heavy tail": Curve([LOG_RATIO / 2] * COUNT, COUNT),
    "nobody ends for long": Curve([0.0] * 80 + [0.4] * 40, 120),
}


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
@pytest.mark.parametrize("age", [0.1, 0.25, 3.0, 40.0, 500.0])
def test_the_running_time_is_the_integral_of_the_share(curve: Curve, age: float) -> None:
    assert curve.running_time(age) == pytest.approx(integral(curve, 0, age), rel=1e-4)


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
@pytest.mark.parametrize(("pending_age", "age"), [(0.0, 0.2), (0.0, 9.0), (3.0, 4.0), (30.0, 90.0), (400.0, 450.0)])
def test_the_expected_delay_is_that_of_ends_since_the_last_poll(curve: Curve, pending_age: float, age: float) -> None:
    ended = age - pending_age - integral(curve, pending_age, age) / curve.share(pending_age)
    assert curve.expected_delay(pending_age, age) == pytest.approx(ended, rel=1e-3, abs=1e-4)


def test_a_known_expected_delay() -> None:
    # Of an exponential law with a mean of 10 s: 5 - 10 (1 - exp(-5 / 10)) after 5 s, whatever the age.
    for age in (0.0, 2.0, 20.0):
        assert exponential(10.0).expected_delay(age, age + 5) == pytest.approx(1.065, abs=0.03)


@given(any_rates, ages, ages)
def test_the_share_never_rises_and_is_above_zero(rates: list[float], one: float, other: float) -> None:
    curve = Curve(rates, len(rates))
    low, high = min(one, other), max(one, other)
    assert curve.share(0) == 1
    assert 1 >= curve.share(low) >= curve.share(high) > 0
    assert 0 <= curve.running_time(low) <= curve.running_time(high) <= high * (1 + 1e-9)


@given(any_rates, ages, ages)
def test_the_expected_delay_is_from_zero_to_the_whole_gap(rates: list[float], one: float, other: float) -> None:
    curve = Curve(rates, len(rates))
    low, high = min(one, other), max(one, other)
    assert 0 <= curve.expected_delay(low, high) <= (high - low) * (1 + 1e-9) + 1e-9
    assert curve.expected_delay(high, low) == 0


@pytest.mark.parametrize("age", [math.inf, -math.inf, math.nan, -5.0, 1e300])
def test_what_is_no_age_does_no_harm(age: float) -> None:
    curve = CURVES["exponential"]
    assert 0 < curve.share(age) <= 1
    for pending_age in (0.0, 3.0, age):
        assert curve.expected_delay(pending_age, age) >= 0
        assert curve.expected_delay(age, pending_age) >= 0


def test_the_share_falls_as_one_over_the_age_beyond_the_end() -> None:
    curve = CURVES["cut off"]
    assert curve.end == EDGES[60]
    assert curve.share(curve.end * 0.9999999) == pytest.approx(curve.share(curve.end))
    assert curve.share(2 * curve.end + 0.25) == pytest.approx(curve.share(curve.end) / 2)
    assert curve.running_time(curve.end * 0.9999999) == pytest.approx(curve.running_time(curve.end))


def test_a_curve_ends_where_nobody_is_left() -> None:
    curve = Curve([0.1] * 10 + [30.0] + [0.1] * 50, 61)
    assert curve.end == curve.known == EDGES[11]
    assert curve.share_beyond < 1e-9


def test_bins_beyond_the_known_ones_are_guesses() -> None:
    curve = Curve([0.1] * 30, 20)
    assert (curve.known, curve.end) == (EDGES[20], EDGES[30])
    assert curve.share_beyond == pytest.approx(math.exp(-2))


@given(any_rates, st.floats(0.001, 0.999))
def test_a_quantile_is_where_that_share_has_ended(rates: list[float], share: float) -> None:
    curve = Curve(rates, len(rates))
    age = curve.quantile(share)
    if age is None:
        assert curve.share(curve.end) > 1 - share
    else:
        number, _ = place(age)
        before, after = curve.survival[number], curve.share(EDGES[number + 1])
        assert after - 1e-9 <= 1 - share <= before + 1e-9
        if before - after > 1e-6:
            assert curve.share(age) == pytest.approx(1 - share, abs=1e-6)


def test_a_quantile_of_guesses_is_unknown() -> None:
    curve = Curve([0.1] * 30, 20)
    assert curve.quantile(0.8) == pytest.approx(EDGES[16], rel=0.06)
    assert curve.quantile(0.9) is None
    assert Curve().quantile(0.5) is None
