"""The default wait: an end is seen late by at most a fifth of the duration, 2 s for short ones, and never 8 s."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
import tenacity
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import RetryCallState, retry, stop_after_attempt, wait_chain, wait_fixed, wait_random

from tests.unit.learning.simulated import FakeState
from truebit_async.strategies import ProportionalWait


def ages_of_polls(wait: ProportionalWait, until: float) -> list[float]:
    """Return when an execution is polled that runs for a time, the poll that sees the end included."""
    ages = [0.0]
    while ages[-1] < until:
        ages.append(ages[-1] + wait(FakeState(ages[-1], polls=len(ages))))
    return ages


def check_the_promise(duration: float, rng: Random) -> None:
    with patch("random.random", rng.random):
        late = ages_of_polls(ProportionalWait(), duration)[-1] - duration
    assert 0 <= late <= min(8, max(2, duration / 5)) * (1 + 1e-9)


durations = st.floats(0, 5) | st.floats(0, 100) | st.floats(0, 3600)
random_draws = st.randoms(use_true_random=False)


@given(durations, random_draws)
def test_an_end_is_seen_as_soon_as_promised(duration: float, rng: Random) -> None:
    check_the_promise(duration, rng)


@pytest.mark.full
@settings(max_examples=500)
@given(durations, random_draws)
def test_an_end_is_seen_as_soon_as_promised_in_many_examples(duration: float, rng: Random) -> None:
    check_the_promise(duration, rng)


@pytest.mark.full
@pytest.mark.parametrize("days", [1, 30])
def test_an_end_is_seen_as_soon_as_promised_after_days(days: int) -> None:
    check_the_promise(86_400.0 * days, Random(days))


@pytest.mark.parametrize(("fraction", "floor", "max_interval"), [(0.5, 1.0, 60.0), (0.05, 5.0, 6.0), (0.0, 3.0, 8.0)])
def test_the_promise_follows_the_arguments(fraction: float, floor: float, max_interval: float) -> None:
    wait = ProportionalWait(fraction, floor=floor, max_interval=max_interval, jitter=0)
    for before, after in pairwise(ages_of_polls(wait, 1000.0)):
        assert after - before <= min(max_interval, max(floor, fraction * before)) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("polls", "age", "failures", "gap"),
    [
        (1, 0.0, 0, 1.0),
        (2, 1.0, 0, 1.3),
        (3, 2.3, 0, 1.69),
        (4, 4.0, 0, 2.0),
        (4, 10.0, 0, 2.0),
        (5, 15.0, 0, 3.0),
        (1, 15.0, 0, 3.0),
        (9, 40.0, 0, 8.0),
        (9, 1000.0, 0, 8.0),
        (1, 0.0, 1, 2.0),
        (1, 0.0, 2, 4.0),
        (1, 0.0, 3, 8.0),
        (1, 0.0, 4, 8.0),
        (5, 15.0, 1, 6.0),
        (5, 15.0, 2, 8.0),
        (5, 15.0, 10**9, 8.0),
        (10**6, 0.0, 0, 2.0),
        (10**6, 5e6, 0, 8.0),
        (1, math.inf, 0, 8.0),
        (1, -100.0, 0, 1.0),
        (1, math.nan, 0, 1.0),
    ],
)
def test_gaps(polls: int, age: float, failures: int, gap: float) -> None:
    wait = ProportionalWait()
    assert wait.longest(polls, age, failures) == pytest.approx(gap)
    for drawn, part in ((0.0, 1.0), (0.5, 0.9), (math.nextafter(1.0, 0), 0.8)):
        with patch("random.random", lambda drawn=drawn: drawn):
            assert wait(FakeState(age, polls=polls, failures=failures)) == pytest.approx(part * gap)


@pytest.mark.parametrize("jitter", [0.0, 0.2, 1.0])
def test_jitter_takes_at_most_its_part_and_half_of_it_on_average(jitter: float) -> None:
    wait = ProportionalWait(jitter=jitter)
    gaps = [wait(FakeState(100.0, polls=9)) for _ in range(2000)]
    assert 8 * (1 - jitter) <= min(gaps) <= max(gaps) <= 8
    assert min(gaps) == pytest.approx(8 * (1 - jitter), abs=0.1)
    assert sum(gaps) / 2000 == pytest.approx(wait.mean_gap(9, 100.0), rel=0.05)


def test_a_million_polls_later() -> None:
    wait = ProportionalWait(first=1e-3, floor=1e300, max_interval=7.0, jitter=0)
    assert wait(FakeState(2e6, polls=10**6)) == 7
    assert wait(FakeState(0.0, polls=10**400)) == 7


@pytest.mark.parametrize("name", ["fraction", "first", "floor", "max_interval", "jitter"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, 0, "1", None, True, Decimal(1), []])
def test_arguments_that_cannot_be(name: str, value: Any) -> None:
    if name in ("fraction", "jitter") and value == 0 and value is not False:
        assert getattr(ProportionalWait(**{name: value}), name) == 0
        return
    is_number = isinstance(value, int | float) and value is not True
    with pytest.raises(ValueError if is_number else TypeError, match=f"^{name} must be "):
        ProportionalWait(**{name: value})


def test_no_more_than_all_of_a_gap_can_be_left_out() -> None:
    with pytest.raises(ValueError, match=r"^jitter must be at most 1, not 1\.5$"):
        ProportionalWait(jitter=1.5)


def test_repr() -> None:
    assert repr(ProportionalWait()) == "ProportionalWait(fraction=0.2, first=1, floor=2, max_interval=8, jitter=0.2)"
    wait = ProportionalWait(0.25, first=0.5, floor=1, max_interval=60, jitter=0)
    assert repr(wait) == "ProportionalWait(fraction=0.25, first=0.5, floor=1, max_interval=60, jitter=0)"
    assert repr(eval(repr(wait))) == repr(wait)  # noqa: S307


def test_it_waits_between_the_calls_of_any_function() -> None:
    slept: list[float] = []

    @retry(wait=ProportionalWait(jitter=0), sleep=slept.append, stop=stop_after_attempt(5))
    def call() -> None:
        raise ValueError

    with pytest.raises(tenacity.RetryError):
        call()
    assert slept == pytest.approx([1, 1.3, 1.69, 2])


def test_the_age_of_a_call_is_the_time_since_it_began() -> None:
    wait = ProportionalWait(jitter=0)
    state = RetryCallState(tenacity.Retrying(), None, (), {})
    assert wait(state) == 1
    state.outcome_timestamp = state.start_time + 25
    assert wait(state) == 5


def test_sums_and_chains() -> None:
    state = FakeState(25.0, polls=6)
    wait = ProportionalWait(jitter=0)
    assert (wait + wait_fixed(2))(state) == 7
    assert 5 <= (wait + wait_random(0, 1))(state) <= 6
    total: Any = sum([wait, wait_fixed(2)])
    assert total(state) == 7
    assert wait_chain(*[wait_fixed(1)] * 3, wait)(state) == 5
