from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truebit_async._default_wait import ProportionalWait
from truebit_async._learning.ages import COUNT, EDGES, LOG_RATIO, place
from truebit_async._learning.curve import Curve
from truebit_async._learning.plan import Plan, best_plan, forecast

GAP_BEYOND = 5.0


def curve_of(share: Callable[[float], float], bins: int = COUNT) -> Curve:
    shares = [max(share(age), 1e-30) for age in EDGES[: bins + 1]]
    return Curve([math.log(before / after) for before, after in pairwise(shares)], bins)


def normal(mean: float, deviation: float) -> Callable[[float], float]:
    return lambda age: math.erfc((age - mean) / deviation / math.sqrt(2)) / 2


def exponential(mean: float) -> Callable[[float], float]:
    return lambda age: math.exp(-age / mean)


def two_peaks(age: float) -> float:
    return (normal(2, 0.2)(age) + normal(30, 1)(age)) / 2


SHARES: dict[str, Callable[[float], float]] = {
    "exponential": exponential(5.0),
    "normal": normal(6.0, 1.0),
    "two peaks": lambda age: (normal(1.5, 0.2)(age) + normal(8, 0.5)(age)) / 2,
    "Pareto": lambda age: (1 + age) ** -1.5,
}


def polls_of(plan: Plan) -> Iterator[float]:
    age = 0.0
    while age < plan.curve.end:
        yield age
        age = plan.next_poll(age)


def cost_between(curve: Curve, price: float, age: float, target: float) -> float:
    """What a poll costs, and the delay of ends between it and the one before."""
    share = curve.share(age)
    return price * share + share * (target - age) - (curve.running_time(target) - curve.running_time(age))


def cost_beyond(curve: Curve, price: float) -> float:
    return curve.survival[-1] * (price + GAP_BEYOND / 2)


@pytest.mark.parametrize("price", [0.02, 0.2, 2.0])
@pytest.mark.parametrize("share", SHARES.values(), ids=SHARES)
def test_a_plan_is_nearly_as_cheap_as_the_best_of_all_schedules(share: Callable[[float], float], price: float) -> None:
    curve = curve_of(share, 65)
    points = [k * curve.end / 200 for k in range(200)] + [curve.end]
    least = [0.0] * 200 + [cost_beyond(curve, price)]
    for number in range(199, -1, -1):
        least[number] = min(
            cost_between(curve, price, points[number], points[later]) + least[later]
            for later in range(number + 1, min(201, number + 100))
        )
    ages = [*polls_of(best_plan(curve, price, 1e-3, 1e3, GAP_BEYOND)), curve.end]
    cost = sum(cost_between(curve, price, *pair) for pair in pairwise(ages)) + cost_beyond(curve, price)
    assert cost <= 1.05 * least[0]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=25), st.floats(1e-3, 1e3))
def test_of_the_edges_of_bins_the_best_is_found(rates: list[float], price: float) -> None:
    curve = Curve(rates, len(rates))
    top = len(curve.survival) - 1
    plan = best_plan(curve, price, 1e6, 1e6, GAP_BEYOND)  # so long that no bin gets several polls
    least = [0.0] * top + [cost_beyond(curve, price)]
    for number in range(top - 1, -1, -1):
        costs = {
            EDGES[later]: cost_between(curve, price, EDGES[number], EDGES[later]) + least[later]
            for later in range(number + 1, top + 1)
        }
        least[number] = min(costs.values())
        assert costs[plan.targets[number]] == pytest.approx(least[number], rel=1e-9)


@pytest.mark.parametrize("price", [0.002, 0.02, 0.2, 1.0])
def test_an_exponential_law_gives_even_gaps(price: float) -> None:
    plan = best_plan(curve_of(exponential(10.0)), price, 0.01, 1000, GAP_BEYOND)
    ages = [age for age in polls_of(plan) if age < 40]
    gaps = [after - before for before, after in pairwise(ages)]
    assert fmean(gaps) == pytest.approx(math.sqrt(2 * price * 10), rel=0.1)
    assert pstdev(gaps) < 0.25 * fmean(gaps)  # within bins, polls are not quite where they should be


def test_polls_are_where_ends_are() -> None:
    plan = best_plan(curve_of(two_peaks), 0.2, 0.1, 1000, GAP_BEYOND)
    ages = list(polls_of(plan))
    assert not [age for age in ages if 0 < age < 1.3 or 3 < age < 26.5]
    assert len([age for age in ages if 1.3 <= age <= 3]) >= 2
    assert len([age for age in ages if 26.5 <= age <= 35]) >= 3


def test_of_two_polls_within_a_bin_and_one_after_the_next_bin_the_cheaper_is_chosen() -> None:
    ending = [2.0] * 20  # the second bin is much shorter than the first, and most executions end in it
    for rate, price, target in ((0.1, 0.005, 0.265), (0.1, 0.003, 0.125)):
        plan = best_plan(Curve([rate, *ending], 21), price, 1e-3, 100, GAP_BEYOND)
        assert plan.targets[0] == pytest.approx(target)


def test_a_higher_price_gives_fewer_polls_and_more_delay() -> None:
    curve = curve_of(normal(20, 4))
    forecasts = [forecast(curve, best_plan(curve, price, 0.01, 1000, 5.0).gap) for price in (0.01, 0.1, 1.0, 10.0)]
    polls, delays = zip(*forecasts, strict=True)
    assert list(polls) == sorted(polls, reverse=True)
    assert list(delays) == sorted(delays)


@given(
    st.lists(st.floats(0, 2) | st.sampled_from([1e-9, 20.0]), max_size=COUNT),
    st.floats(1e-6, 1e3),
    st.floats(1e-3, 100),
    st.floats(1, 1000),
    st.lists(st.floats(0, 200_000), min_size=1),
)
def test_limits_are_kept(rates: list[float], price: float, shortest: float, factor: float, ages: list[float]) -> None:
    longest = shortest * factor
    gap_beyond = min(max(GAP_BEYOND, shortest), longest)
    plan = best_plan(Curve(rates, len(rates)), price, shortest, longest, gap_beyond)
    for age in (*ages, 0.0, plan.curve.end, math.nextafter(plan.curve.end, 0)):
        rounding = 1e-12 * (age + longest)
        assert shortest - rounding <= plan.next_poll(age) - age <= longest + rounding


def test_the_gap_beyond_the_end_is_that_of_the_caller() -> None:
    plan = best_plan(curve_of(exponential(5.0), 60), 1.0, 0.5, 60, 7.5)
    for age in (plan.curve.end, 1.5 * plan.curve.end, 100_000.0):
        assert plan.gap(1, age) == pytest.approx(7.5)


def test_between_the_beginnings_of_bins_targets_are_interpolated() -> None:
    plan = best_plan(curve_of(normal(20, 4)), 0.5, 0.01, 1000, GAP_BEYOND)
    number = place(15.0)[0]
    middle = (EDGES[number] + EDGES[number + 1]) / 2
    assert plan.next_poll(middle) == pytest.approx((plan.targets[number] + plan.targets[number + 1]) / 2)


@pytest.mark.parametrize("price", [0.05, 1.0])
@pytest.mark.parametrize("share", SHARES.values(), ids=SHARES)
def test_a_forecast_is_what_a_simulation_shows(share: Callable[[float], float], price: float) -> None:
    curve, rng = curve_of(share, 160), Random(1)
    plan = best_plan(curve, price, 0.1, 60, GAP_BEYOND)
    ages = [*polls_of(plan)]
    ages.append(plan.next_poll(ages[-1]))
    durations = sorted(curve.quantile(rng.uniform(0, 1 - 2 * curve.share_beyond)) or 0.0 for _ in range(4000))
    polls, delay, number = 0, 0.0, 0
    for duration in durations:
        while ages[number] < duration:
            number += 1
        polls += number + 1
        delay += ages[number] - duration
    assert forecast(curve, plan.gap) == pytest.approx((polls / 4000, delay / 4000), rel=0.03)


def exact_forecast(curve: Curve, gap: Callable[[int, float], float]) -> tuple[float, float]:
    age, polls, delay, number = 0.0, 1.0, 0.0, 1
    while age < curve.end and curve.share(age) > 1e-3:
        next_age = age + gap(number, age)
        polls += curve.share(age)
        delay += cost_between(curve, 0.0, age, next_age)
        age, number = next_age, number + 1
    return polls, delay


@pytest.mark.parametrize("gap", [ProportionalWait().mean_gap, lambda _, age: 0.5 + age / 100, lambda *_: 0.5])
@pytest.mark.parametrize("share", [exponential(300.0), normal(900, 90), lambda age: (1 + age / 100) ** -1.2])
def test_close_polls_may_be_forecast_together(
    share: Callable[[float], float], gap: Callable[[int, float], float]
) -> None:
    curve = curve_of(share, 170)
    assert forecast(curve, gap) == pytest.approx(exact_forecast(curve, gap), rel=0.02)


@pytest.mark.parametrize("length", [0.5, 1e-3, 1e-300, 0.0])
def test_a_forecast_of_long_executions_takes_few_steps(length: float) -> None:
    calls = 0

    def gap(_polls: int, _age: float) -> float:
        nonlocal calls
        calls += 1
        return length

    polls, delay = forecast(Curve([LOG_RATIO / 20] * (COUNT - 1), COUNT), gap)
    assert calls < 500
    assert polls > 80_000
    assert 0 <= delay <= max(length, 1e-6)


def test_nothing_is_forecast_where_nothing_is_known() -> None:
    assert forecast(Curve(), lambda *_: 1.0) == (1, 0)


def test_a_forecast_ends_where_hardly_any_execution_runs() -> None:
    ages: list[float] = []

    def gap(_polls: int, age: float) -> float:
        ages.append(age)
        return 1.0

    forecast(curve_of(exponential(1.0)), gap)
    assert ages == list(range(7))  # exp(-7) is below a thousandth
