"""What a group decides, and whether it keeps to its budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from random import Random
from statistics import fmean
from typing import Any

import pytest

from tests.unit.learning.simulated import found, new_group
from truebit_async._default_wait import ProportionalWait
from truebit_async._learning.group import MIN_COMPLETED, Dice, Group, Terms, full_jitter_requests
from truebit_async._learning.plan import best_plan
from truebit_async._learning.saved import SavedGroup

MIDDLE = Dice(0.5, 1.0, 1.0)  # neither jitter nor a probe

LAWS: dict[str, Callable[[Random], float]] = {
    "exponential": lambda rng: rng.expovariate(0.1),
    "uniform": lambda rng: rng.uniform(5, 35),
    "lognormal": lambda rng: rng.lognormvariate(math.log(8), 0.5),
    "two peaks": lambda rng: rng.gauss(*rng.choice([(2, 0.2), (30, 2)])),
    "constant": lambda rng: rng.gauss(12, 0.2),
    "Pareto": lambda rng: 4 * rng.paretovariate(1.5),
}


def taught(law: Callable[[Random], float] = LAWS["exponential"], count: int = 300, **terms: Any) -> Group:
    group, rng = new_group(**terms), Random(1)
    for _ in found(group, (law(rng) for _ in range(count)), rng):
        pass
    return group


def test_sixteen_executions_must_end_before_it_decides() -> None:
    assert MIN_COMPLETED == 16
    group, rng = new_group(), Random(1)
    for number, _ in enumerate(found(group, (rng.uniform(5, 9) for _ in range(16)), rng), start=1):
        assert group.is_known is (number >= 16)
        assert (group.gap(1.0, MIDDLE) is None) is (number < 16)


def test_executions_that_had_ended_before_the_first_poll_teach_nothing() -> None:
    group = new_group()
    for _ in range(100):
        assert not group.learn("finished", None, 3.0, 1)
        group.learn("left", None, 3.0, 1)
    assert group.durations.completed == 0


@pytest.mark.parametrize(
    ("running", "ended", "age", "age_at_start", "learns"),
    [
        (20, 0, 5.0, 0.0, True),
        (20, 4, 5.0, 0.0, True),
        (20, 5, 5.0, 0.0, False),
        (0, 0, 5.0, 0.0, False),
        (20, 0, 0.9, 0.0, False),
        (20, 0, 65.0, 60.0, False),
    ],
)
def test_a_first_poll_that_was_held_up_teaches_if_most_executions_run_when_their_waits_begin(
    running: int, ended: int, age: float, age_at_start: float, learns: bool
) -> None:
    group = new_group()
    for _ in range(running):
        group.learn("pending", None, 0.1, 1)
    for _ in range(ended):
        group.learn("finished", None, 0.1, 1)
    group.learn("pending", None, age, 1, age_at_start)
    group.learn("finished", None, age, 1, age_at_start)
    assert group.durations.completed == learns
    group.learn("finished", None, age, 2, age_at_start)  # the polls before it failed
    assert group.durations.completed == learns


def test_executions_that_were_submitted_earlier_have_the_budget_of_their_wait() -> None:
    """They run for 110 to 130 s, and the waits begin at 100 s."""
    group, rng = new_group(), Random(1)
    requests = count = 0
    for _ in range(600):
        duration, age, pending_age, polls = rng.uniform(110, 130), 100.0, None, 1
        while age < duration:
            group.learn("pending", pending_age, age, polls, 100.0)
            pending_age = age
            age += group.gap(age, Dice(rng.random(), rng.random(), rng.random())) or 2.0
            polls += 1
        group.learn("finished", pending_age, age, polls, 100.0)
        if group.durations.completed > 300:
            requests, count = requests + polls, count + 1
    assert group.durations.curve.quantile(0.1) == pytest.approx(112, abs=6)
    assert requests / count == pytest.approx(full_jitter_requests(20), rel=0.1)
    assert group.forecast()[0] == pytest.approx(requests / count, rel=0.1)
    default_requests, default_delay = group.forecast_of_default()
    gain = group.gain()
    assert gain.default_requests == pytest.approx(default_requests, rel=0.15)
    assert gain.default_delay == pytest.approx(default_delay, rel=0.25)


def test_waits_that_were_left_are_no_completions() -> None:
    group = new_group()
    for _ in range(100):
        group.learn("pending", None, 1.0, 1)
        group.learn("pending", 1.0, 3.0, 2)
        group.learn("left", 3.0, 4.0, 2)
    assert group.durations.completed == 0
    assert not group.is_known


def test_it_says_when_the_plan_has_changed() -> None:
    group, changes = new_group(), []
    for number in range(1, 101):
        group.learn("pending", None, 0.0, 1)
        plan = group.plan
        changed = group.learn("finished", 0.0, 5.0, 2)
        assert changed is (group.plan is not plan and number >= 16)
        if group.plan is not plan:
            changes.append(number)
    assert changes[:6] == [8, 16, 24, 32, 40, 48]
    assert changes[-1] - changes[-2] > 8


def test_beyond_the_known_ages_the_default_decides() -> None:
    group = taught()
    known = group.plan.curve.known
    assert group.gap(math.nextafter(known, 0), MIDDLE) is not None
    for age in (known, 2 * known, 1e9, math.inf, -1.0, -math.inf, math.nan):
        assert group.gap(age, MIDDLE) is None


def test_a_part_of_each_gap_is_random() -> None:
    group = taught()
    target = group.plan.next_poll(5.0)
    gap = target - 5.0
    smaller = min(gap, group.plan.next_poll(target) - target)
    assert group.gap(5.0, MIDDLE) == pytest.approx(gap)
    assert group.gap(5.0, Dice(0.0, 1.0, 1.0)) == pytest.approx(gap - 0.15 * smaller)
    assert group.gap(5.0, Dice(1.0, 1.0, 1.0)) == pytest.approx(gap + 0.15 * smaller)


def test_one_poll_in_twenty_is_early() -> None:
    group = taught()
    gap = group.plan.next_poll(5.0) - 5.0
    assert group.gap(5.0, Dice(0.5, 0.05, 0.25)) == pytest.approx(gap)
    assert group.gap(5.0, Dice(0.5, math.nextafter(0.05, 0), 0.25)) == pytest.approx(gap / 4)


@pytest.mark.parametrize(("law", "effort"), [("exponential", 0.6), ("lognormal", 2.0), ("two peaks", 1.0)])
def test_requests_are_within_5_percent_of_the_budget(law: str, effort: float) -> None:
    group, rng = new_group(effort=effort, min_interval=0.1), Random(2)
    durations = [LAWS[law](rng) for _ in range(1500)]
    requests = sum(each.requests for each in found(group, durations, rng))
    assert requests == pytest.approx(effort * sum(map(full_jitter_requests, durations)), rel=0.05)


@pytest.mark.full
@pytest.mark.parametrize("effort", [0.6, 1.0, 1.5])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_requests_are_within_5_percent_of_the_budget_for_every_law(
    law: Callable[[Random], float], effort: float
) -> None:
    group, rng = new_group(effort=effort, min_interval=0.1), Random(3)
    durations = [law(rng) for _ in range(10_000)]
    requests = sum(each.requests for each in found(group, durations, rng))
    assert requests == pytest.approx(effort * sum(map(full_jitter_requests, durations)), rel=0.05)


@pytest.mark.full
@pytest.mark.parametrize("mean_delay", [0.4, 1.0])
@pytest.mark.parametrize("law", ["exponential", "lognormal", "uniform"])
def test_a_mean_delay_is_reached_for_every_law(law: str, mean_delay: float) -> None:
    group, rng = new_group(mean_delay=mean_delay, min_interval=0.1), Random(12)
    delays = [each.delay for each in found(group, (LAWS[law](rng) for _ in range(8000)), rng)]
    assert fmean(delays[500:]) == pytest.approx(mean_delay, rel=0.15)


@pytest.mark.parametrize(("law", "mean_delay"), [("exponential", 2.5), ("lognormal", 1.0), ("uniform", 1.0)])
def test_a_mean_delay_is_reached(law: str, mean_delay: float) -> None:
    group, rng = new_group(mean_delay=mean_delay, min_interval=0.1), Random(4)
    delays = [each.delay for each in found(group, (LAWS[law](rng) for _ in range(1800)), rng)]
    assert fmean(delays[500:]) == pytest.approx(mean_delay, rel=0.15)


@pytest.mark.parametrize("law", [LAWS[name] for name in ("exponential", "constant")])
def test_at_the_requests_of_full_jitter_ends_are_seen_much_earlier(law: Callable[[Random], float]) -> None:
    group, rng = new_group(), Random(5)
    durations = [law(rng) for _ in range(1200)]
    delays = [each.delay for each in found(group, durations, rng)]
    usual = fmean(full_jitter(duration, rng)[1] for duration in durations[500:])
    assert fmean(delays[500:]) < usual / 1.6


def test_executions_that_become_much_faster_are_noticed() -> None:
    group, rng = new_group(), Random(6)
    for _ in found(group, (rng.uniform(27, 33) for _ in range(500)), rng):
        pass
    delays = [each.delay for each in found(group, (rng.uniform(1.8, 2.2) for _ in range(400)), rng)]
    assert fmean(delays[200:]) < 1
    assert group.plan.curve.quantile(0.9) == pytest.approx(2.2, abs=1)


def test_what_is_forgotten_is_not_made_up_for() -> None:
    group = taught()
    assert group._spent > 0
    group._update(forget=True)
    assert (group._spent, group._allowed) == (0, 0)


def test_executions_that_become_much_slower_are_noticed() -> None:
    group, rng = new_group(), Random(7)
    for _ in found(group, (rng.uniform(1.8, 2.2) for _ in range(500)), rng):
        pass
    delays = [each.delay for each in found(group, (rng.uniform(27, 33) for _ in range(400)), rng)]
    assert fmean(delays[200:]) < 1.5


def test_while_most_ends_are_unknown_it_polls_more_like_the_default() -> None:
    group, rng = new_group(effort=0.01), Random(7)
    for _ in range(600):
        duration = 50 * rng.paretovariate(1)  # ends at the rate 1 / age
        group.learn("pending", None, 0.0, 1)
        for age in range(0, 60, 4):
            if duration < age + 4:
                group.learn("finished", age, age + 4, 2)
                break
            group.learn("pending", age, age + 4, 2)
        else:
            group.learn("left", 60, 60, 2)
    assert group.price == 1000
    assert group.plan.curve.share_beyond > 0.5
    at_that_price = best_plan(group.plan.curve, 1000, 0.5, 60, 7.2)
    assert at_that_price.gap(1, 52.0) == 60
    assert 7 < group.plan.gap(1, 52.0) < 40


@pytest.mark.parametrize("effort", [1e-6, 1e6, 5e-324, 1e308])
def test_the_price_stays_within_bounds(effort: float) -> None:
    group = taught(effort=effort)
    assert 1e-6 <= group.price <= 1e3
    gap = group.gap(5.0, MIDDLE)
    assert gap is not None
    assert 0.5 <= gap <= 60


@pytest.mark.parametrize("interval", [1e-200, 1e-9, 1e9, 1e200])
def test_extreme_intervals(interval: float) -> None:
    group = new_group(min_interval=interval, max_interval=interval)
    for _ in range(40):
        group.learn("pending", None, 0.0, 1)
        group.learn("pending", 0.0, 4.0, 2)
        group.learn("finished", 4.0, 9.0, 3)
        for _ in range(20):
            group.learn("pending", None, 0.0, 1)
            group.learn("pending", 0.0, 12.0, 2)
            group.learn("left", 12.0, 12.0, 2)
    assert group.plan.curve.share_beyond > 0.1
    for age in (0.0, 3.0, 8.0):
        gap = group.gap(age, MIDDLE)
        assert gap is not None
        assert math.isfinite(gap)


def test_hours_long_executions_are_within_reach_of_a_short_delay() -> None:
    group, rng = new_group(mean_delay=1.0), Random(8)
    for _ in range(400):
        duration = rng.expovariate(1 / 20_000)
        group.learn("pending", None, 0.0, 1)
        before = math.floor(duration / 100) * 100.0
        group.learn("pending", 0.0, before, 2)
        group.learn("finished", before, before + 100, 3)
    gaps = [group.gap(age, MIDDLE) for age in (2000.0, 5000.0, 10_000.0)]
    assert gaps == pytest.approx([2.0] * 3, rel=0.35)


def test_what_clocks_that_went_wrong_say_breaks_no_budget() -> None:
    group, usual = taught(), taught()
    for pending_age, age in (
        (0.0, math.inf),
        (math.inf, math.inf),
        (-math.inf, math.nan),
        (9.0, 2.0),
        (-5.0, -2.0),
        (-1e12, 0.0),
    ):
        for what in ("pending", "finished", "left"):
            group.learn(what, pending_age, age, 2)
    for each in (group, usual):
        for _ in found(each, [7.0] * 200, Random(9)):
            pass
    assert group.price == pytest.approx(usual.price, rel=0.25)
    for age in (0.0, 5.0, 10.0):
        gap = group.gap(age, MIDDLE)
        assert gap is not None
        assert math.isfinite(gap)


def test_an_answer_that_came_before_the_last_one_is_no_pass() -> None:
    group, usual = taught(), taught()
    group.learn("pending", 9.0, 2.0, 3)
    assert group.saved() == usual.saved()


def test_a_saved_group_decides_the_same() -> None:
    group = taught()
    saved = group.saved()
    again = Group(Terms(1.0, None, 0.5, 60.0), ProportionalWait(), saved)
    assert again.is_known
    assert again.price == pytest.approx(group.price, rel=0.2)
    for age in (0.0, 3.0, 10.0, 25.0):
        gaps = [each.gap(age, MIDDLE) for each in (group, again)]
        assert gaps[0] is not None
        assert gaps[1] == pytest.approx(gaps[0], rel=0.1)


def test_a_saved_price_is_brought_within_bounds() -> None:
    saved = taught().saved()
    for price in (0.0, 1e9):
        group = Group(Terms(1.0, None, 0.5, 60.0), ProportionalWait(), SavedGroup(300, 300.0, price, [], []))
        assert 1e-6 <= group.price <= 1e3
        group = Group(
            Terms(1.0, None, 0.5, 60.0), ProportionalWait(), SavedGroup(300, 300.0, price, saved.passes, saved.ends)
        )
        assert 1e-6 <= group.price <= 1e3


def full_jitter(duration: float, rng: Random) -> tuple[int, float]:
    """Return the requests of full jitter, and its delay."""
    age, polls = 0.0, 1
    while age < duration:
        age += 0.5 + rng.random() * min(9.5, 0.5 * 2.0 ** (polls - 1))
        polls += 1
    return polls, age - duration


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_the_requests_of_full_jitter_are_those_of_a_simulation(law: Callable[[Random], float]) -> None:
    rng = Random(10)
    durations = [law(rng) for _ in range(2500)]
    simulated = fmean(full_jitter(duration, rng)[0] for duration in durations)
    assert fmean(map(full_jitter_requests, durations)) == pytest.approx(simulated, rel=0.03)


@pytest.mark.parametrize("age", [5.0, 10.0, 20.0, 40.0, 100.0])
def test_the_requests_of_full_jitter_at_an_age(age: float) -> None:
    rng = Random(11)
    simulated = fmean(full_jitter(age, rng)[0] for _ in range(1500))
    assert full_jitter_requests(age) == pytest.approx(simulated, rel=0.03)


def test_longer_executions_take_more_requests() -> None:
    requests = [full_jitter_requests(age / 10) for age in range(1000)]
    assert all(before < after for before, after in pairwise(requests))
