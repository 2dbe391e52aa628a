from __future__ import annotations

import functools
import logging
import math
import sys
import tracemalloc
from array import array
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import pytest
import tenacity
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import RetryCallState, retry, wait_chain, wait_combine, wait_fixed

from tests.unit.learning.simulated import FakeState, found
from truebit_async._learning.curve import Curve
from truebit_async._learning.group import Group
from truebit_async.strategies import LearnedWait, Observation, ProportionalWait, _dice


def teach(wait: LearnedWait, execution_id: str = "id", *, kind: str = "function", count: int = 40) -> None:
    """Let executions end after four to nine seconds."""
    rng = Random(1)
    for _ in found(wait._group(kind, execution_id), (rng.uniform(4, 9) for _ in range(count)), rng):
        pass


def gap(wait: LearnedWait, age: float = 5.0, **state: Any) -> float:
    return wait(FakeState(age, wait_strategy=wait, **state))


# Arguments


@pytest.mark.parametrize("name", ["effort", "mean_delay", "min_interval", "max_interval"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, -math.inf, "1", True, Decimal(1), []])
def test_arguments_that_cannot_be(name: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and value is not True
    with pytest.raises(ValueError if is_number else TypeError, match=f"^{name} must be "):
        LearnedWait(**{name: value})


def test_effort_and_mean_delay_exclude_each_other() -> None:
    with pytest.raises(
        ValueError, match=r"^give effort or mean_delay, not both: each of them decides how often to poll$"
    ):
        LearnedWait(effort=1, mean_delay=1)
    assert LearnedWait()._terms == (LearnedWait(1.0))._terms
    assert LearnedWait(mean_delay=2)._terms.mean_delay == 2


def test_the_shortest_gap_is_not_above_the_longest() -> None:
    with pytest.raises(ValueError, match=r"^min_interval must be at most max_interval, not 3 and 2$"):
        LearnedWait(min_interval=3, max_interval=2)
    with pytest.raises(ValueError, match=r"^min_interval must be at most max_interval"):
        LearnedWait(max_interval=0.25)


@pytest.mark.parametrize("key", ["text", 7, ("a",)])
def test_a_key_that_is_no_function(key: Any) -> None:
    with pytest.raises(TypeError, match=f"^key must be a function of an execution ID, not {type(key).__name__}$"):
        LearnedWait(key=key)


# Groups


def test_kinds_are_learned_apart() -> None:
    wait = LearnedWait()
    teach(wait)
    assert [(each.kind, each.key, each.completed) for each in wait.describe()] == [("function", "", 40)]
    gap(wait, kind="api")
    assert [(each.kind, each.completed) for each in wait.describe()] == [("function", 40)]


def test_keys_are_learned_apart() -> None:
    wait = LearnedWait(key=lambda execution_id: execution_id.partition("-")[0])
    teach(wait, "quick-1")
    for polls in (1, 2):
        wait.observe(Observation("slow-1", "function", 1.0, None, polls, "pending"))
    assert [(each.key, each.completed) for each in wait.describe()] == [("quick", 40)]
    unknown = Curve().expected_delay(3.0, 8.0)
    assert wait.expected_delay("quick-2", "function", 3.0, 8.0) != pytest.approx(unknown, rel=0.05)
    assert wait.expected_delay("slow-2", "function", 3.0, 8.0) == unknown


def uses(wait: LearnedWait) -> list[Callable[[], object]]:
    return [
        lambda: gap(wait),
        lambda: wait.observe(Observation("id", "function", 1.0, None, 1, "pending")),
        lambda: wait.expected_delay("id", "function", 1.0, 2.0),
    ]


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (lambda _: None, "must return a str, not NoneType"),
        (lambda _: 7, "must return a str, not int"),
        (lambda _: b"text", "must return a str, not bytes"),
        (lambda _: "x" * 201, "must return at most 200 characters, not 201"),
        (lambda execution_id: {"a": "b"}[execution_id], "KeyError: 'id'"),
    ],
)
def test_executions_for_which_the_key_fails_are_in_a_group_of_their_own(
    key: Any, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    wait = LearnedWait(key=key)
    for use in uses(wait):
        use()
    assert list(wait._groups) == [("function", "")]
    (record,) = caplog.records
    assert "failed for execution 'id'" in record.message
    assert problem in caplog.text


def test_a_filter_of_the_log_that_raises_as_well() -> None:
    def filter_that_raises(_: logging.LogRecord) -> bool:
        raise ValueError

    logger = logging.getLogger("truebit_async")
    logger.addFilter(filter_that_raises)
    try:
        for use in uses(LearnedWait(key=lambda _: 7)):  # type: ignore[arg-type,return-value]
            use()
    finally:
        logger.removeFilter(filter_that_raises)


def test_a_key_may_have_200_characters() -> None:
    wait = LearnedWait(key=lambda _: "x" * 200)
    for use in uses(wait):
        use()
    assert list(wait._groups) == [("function", "x" * 200)]


def new_groups_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new groups share one plan, since making ten thousand takes seconds."""
    plan = LearnedWait()._group("function", "id").plan
    monkeypatch.setattr(Group, "_best_plan", lambda _: plan)


def test_of_ten_thousand_keys_the_last_thousand_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    new_groups_cost_little(monkeypatch)
    wait = LearnedWait(key=lambda execution_id: execution_id)
    for number in range(10_000):
        gap(wait, execution_id=str(number))
    assert list(wait._groups) == [("function", str(number)) for number in range(9000, 10_000)]


def test_the_group_that_was_not_used_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    new_groups_cost_little(monkeypatch)
    wait = LearnedWait(key=lambda execution_id: execution_id)
    for number in range(1000):
        gap(wait, execution_id=str(number))
    gap(wait, execution_id="0")
    wait.observe(Observation("1", "function", 1.0, None, 1, "pending"))
    wait.expected_delay("2", "function", 1.0, 2.0)
    for number in range(1000, 1500):
        gap(wait, execution_id=str(number))
    kept = {key for _, key in wait._groups}
    assert len(kept) == 1000
    assert {"0", "1", "2", "503"} <= kept
    assert not {"3", "502"} & kept


def size(thing: object, seen: set[int]) -> int:
    """Return the bytes of an object of ours and of all that it alone holds."""
    if id(thing) in seen or isinstance(thing, type | ProportionalWait):
        return 0
    seen.add(id(thing))
    attributes = getattr(thing, "__dict__", None) or {
        name: getattr(thing, name) for name in getattr(type(thing), "__slots__", ()) if name != "__weakref__"
    }
    held = [] if isinstance(thing, array) else list(attributes.values())
    return sys.getsizeof(thing) + (sys.getsizeof(attributes) if held else 0) + sum(size(each, seen) for each in held)


def let_some_end_after_hours(group: Group) -> None:
    for age in (5.0, 500.0, 50_000.0):
        for _ in range(3):
            group.learn("pending", None, 0.0, 1)
            group.learn("pending", 0.0, age, 2)
            group.learn("finished", age, age + 5, 3)
    group._update()


def test_a_group_takes_at_most_20_kb() -> None:
    group = LearnedWait()._group("function", "id")
    let_some_end_after_hours(group)
    assert 10_000 < size(group, set()) <= 20_000


@pytest.mark.full
def test_a_hundred_groups_take_at_most_2_mb() -> None:
    wait = LearnedWait(key=lambda execution_id: execution_id)
    tracemalloc.start()
    try:
        for number in range(100):
            let_some_end_after_hours(wait._group("function", str(number)))
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()


# Misuse


def is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"use it as PollPolicy\(wait=LearnedWait\(\)\): in a sum or a chain"):
        call()


def test_it_says_how_to_use_it_with_a_session() -> None:
    wait = LearnedWait()
    is_refused(lambda: wait + wait_fixed(1))
    is_refused(lambda: sum([wait, wait]))
    for outer in (wait_fixed(1) + wait, wait_chain(wait), wait_combine(wait), functools.partial(wait)):
        is_refused(functools.partial(outer, FakeState(5.0, wait_strategy=outer)))
    is_refused(functools.partial(wait, FakeState(5.0)))


def test_it_is_no_wait_for_calls_that_tenacity_repeats() -> None:
    wait = LearnedWait()
    is_refused(lambda: wait(RetryCallState(tenacity.Retrying(), None, (), {})))

    @retry(wait=wait)
    def call() -> None:
        raise ValueError

    is_refused(call)


def test_another_strategy_may_pass_on_what_it_is_told() -> None:
    class Outer:
        def __init__(self) -> None:
            self.inner = LearnedWait()

        def __call__(self, state: RetryCallState) -> float:
            return self.inner(state) + 100

        def observe(self, observation: Observation) -> bool:
            return self.inner.observe(observation)

    outer = Outer()
    for _ in range(20):
        outer.observe(Observation("id", "function", 0.0, None, 1, "pending"))
        outer.observe(Observation("id", "function", 6.0, 0.0, 2, "finished"))
    assert 100.5 <= outer(FakeState(1.0, wait_strategy=outer)) <= 160
    assert outer.inner.describe()[0].completed == 20


# Decisions


def test_the_default_decides_until_16_executions_have_ended() -> None:
    wait, default = LearnedWait(max_interval=600), ProportionalWait()
    teach(wait, count=15)
    for polls, age in ((1, 0.0), (5, 5.0), (9, 30.0), (20, 1000.0)):
        longest = default.longest(polls, age)
        assert 0.8 * longest <= gap(wait, age, polls=polls) <= longest


def test_what_was_learned_decides_after_16() -> None:
    wait = LearnedWait()
    teach(wait, count=40)
    target = wait._groups["function", ""].plan.next_poll(0.0)
    assert target > 2.5
    gaps = [gap(wait, 0.0, seen_at=float(number)) for number in range(200)]
    assert sum(each > 0.8 * target for each in gaps) > 170
    delay = wait.expected_delay("id", "function", 3.0, 8.0)
    assert delay is not None
    assert delay == pytest.approx(1.6, abs=0.5)
    assert wait.expected_delay("id", "function", None, 0.0) == 0
    assert wait.expected_delay("id", "function", None, 2.0) == wait.expected_delay("id", "function", 0.0, 2.0)


def test_the_default_decides_after_failures() -> None:
    wait = LearnedWait()
    teach(wait)
    for failures, longest in ((1, 4.0), (2, 8.0), (9, 8.0)):
        assert 0.8 * longest <= gap(wait, 0.0, polls=20, is_pending=False, failures=failures) <= longest


def test_limits_hold_for_the_default_too() -> None:
    wait = LearnedWait(min_interval=20, max_interval=30)
    assert gap(wait, 0.0) == 20
    assert gap(LearnedWait(max_interval=0.7), 1000.0) == 0.7
    assert gap(LearnedWait(min_interval=0.01, max_interval=0.02), is_pending=False, failures=3) == 0.02


def test_a_decision_is_the_same_when_it_is_made_again() -> None:
    wait = LearnedWait()
    teach(wait)
    for number in range(50):
        first, again = (gap(wait, execution_id=f"id-{number}", seen_at=number / 7, polls=polls) for polls in (3, 9))
        assert first == again
    assert len({gap(wait, execution_id=f"id-{number}") for number in range(50)}) > 40
    assert len({gap(wait, seen_at=float(number)) for number in range(50)}) > 40


@pytest.mark.parametrize(
    "inputs",
    [
        lambda number: (f"id-{number}", 1000.0),
        lambda number: ("abf5e6d2-f72d-4324-a046-bc6e9f27b303", float(number)),
        lambda number: ("id", 1e6 + number / 1000),
    ],
    ids=["many executions", "whole seconds", "milliseconds"],
)
def test_random_numbers_are_uniform(inputs: Callable[[int], tuple[str, float]]) -> None:
    drawn = [_dice(*inputs(number)) for number in range(8000)]
    for numbers in zip(*drawn, strict=True):
        assert all(0 <= number < 1 for number in numbers)
        sizes = Counter(int(number * 20) for number in numbers)
        # Of 400 expected in each of 20 parts, chi-squared is 19 on average; 60 is one in 300,000.
        assert sum((sizes[part] - 400) ** 2 / 400 for part in range(20)) < 60
    pairs = Counter((int(dice.spread * 4), int(dice.probe * 4), int(dice.earlier * 4)) for dice in drawn)
    assert sum((pairs[a, b, c] - 125) ** 2 / 125 for a in range(4) for b in range(4) for c in range(4)) < 135


def test_it_says_when_waits_that_are_asleep_shall_be_planned_anew() -> None:
    wait, answers = LearnedWait(), []
    for _ in range(24):
        assert not wait.observe(Observation("id", "function", 0.0, None, 1, "pending"))
        answers.append(wait.observe(Observation("id", "function", 6.0, 0.0, 2, "finished")))
    assert [number for number, answer in enumerate(answers, start=1) if answer] == [16, 24]


# What it tells


def test_nothing_was_learned_yet() -> None:
    assert LearnedWait().describe() == ()


def test_what_was_learned_is_described() -> None:
    wait = LearnedWait(key=lambda execution_id: execution_id)
    for execution_id, kind in (("b", "function"), ("a", "function"), ("z", "api")):
        teach(wait, execution_id, kind=kind, count=200)
    described = wait.describe()
    assert [(each.kind, each.key) for each in described] == [("api", "z"), ("function", "a"), ("function", "b")]
    one = described[0]
    assert one.completed == 200
    assert list(one.quantiles) == [0.1, 0.5, 0.9, 0.99]
    assert one.quantiles[0.1] == pytest.approx(4.5, abs=0.5)
    assert one.quantiles[0.5] == pytest.approx(6.5, abs=0.5)
    assert one.quantiles[0.9] == pytest.approx(8.5, abs=0.7)
    assert one.expected_requests == pytest.approx(5, abs=2)
    assert one.expected_delay == pytest.approx(0.5, abs=0.3)
    default = ProportionalWait(jitter=0)
    ages = [0.0]
    while ages[-1] < 12:
        ages.append(ages[-1] + default.mean_gap(len(ages), ages[-1]) * 0.9)
    polls = [sum(age < 4 + number / 20 for age in ages) for number in range(100)]
    assert one.default_requests == pytest.approx(1 + sum(polls) / 100, rel=0.1)
    late = [ages[polls[number]] - 4 - number / 20 for number in range(100)]
    assert one.default_delay == pytest.approx(sum(late) / 100, abs=0.25)


# Whatever happens

Budget = tuple[float | None, float | None]
any_age = st.one_of(
    st.floats(0, 100),
    st.floats(0, 10 * 86_400),
    st.sampled_from([0.0, 86_400.0, 1e300, -1.0, -1e300, math.inf, -math.inf, math.nan]),
)
observations = st.builds(
    Observation,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["function", "api"]),
    any_age,
    st.none() | any_age,
    st.integers(1, 10) | st.sampled_from([0, 10**6]),
    st.sampled_from(["pending", "finished", "left"]),
    st.just(0.0) | any_age,
)
extremes = st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e6])
budgets = st.tuples(extremes, st.none()) | st.tuples(st.none(), extremes)
intervals = st.sampled_from([(0.5, 60.0), (0.5, 0.5), (60.0, 60.0), (1e-6, 1e6), (1e-3, 1e-3), (3600.0, 86_400.0)])


def check_decisions(wait: LearnedWait, ages: list[float]) -> None:
    shortest, longest = wait._terms.min_interval, wait._terms.max_interval
    for age in ages:
        for number, is_pending in enumerate((True, True, True, False)):
            assert shortest <= gap(wait, age, seen_at=float(number), is_pending=is_pending) <= longest
        for pending_age in (None, 0.0, *ages[:3]):
            delay = wait.expected_delay("a", "function", pending_age, age)
            assert delay is None or delay >= 0
    for described in wait.describe():
        numbers = (described.expected_requests, described.expected_delay, described.default_requests)
        assert all(math.isfinite(number) and number >= 0 for number in (*numbers, described.default_delay))
    for each in wait._groups.values():
        passes, ends = each.durations.counts()
        assert all(0 <= count < math.inf for count in (*passes, *ends, each.price))


def check_any_story(
    budget: Budget, limits: tuple[float, float], told: list[tuple[Observation, int]], ages: list[float]
) -> None:
    effort, mean_delay = budget
    wait = LearnedWait(effort, mean_delay=mean_delay, min_interval=limits[0], max_interval=limits[1])
    for observation, times in told:
        for _ in range(times):
            assert wait.observe(observation) in (True, False)
    check_decisions(wait, ages)


stories = st.lists(st.tuples(observations, st.sampled_from([1, 1, 5, 40])), max_size=12)
some_ages = st.lists(any_age, min_size=1, max_size=4)


@given(budgets, intervals, stories, some_ages)
def test_a_gap_is_within_its_limits_whatever_happens(
    budget: Budget, limits: tuple[float, float], told: list[tuple[Observation, int]], ages: list[float]
) -> None:
    check_any_story(budget, limits, told, ages)


@pytest.mark.full
@settings(max_examples=1000)
@given(budgets, intervals, stories, some_ages)
def test_a_gap_is_within_its_limits_whatever_happens_in_many_examples(
    budget: Budget, limits: tuple[float, float], told: list[tuple[Observation, int]], ages: list[float]
) -> None:
    check_any_story(budget, limits, told, ages)


def at_once(_: Random) -> float:
    return 0.0


LAWS: dict[str, Callable[[Random], float]] = {
    "at once": at_once,
    "all the same": lambda _: 5.0,
    "soon": lambda rng: rng.uniform(0, 1e-3),
    "days": lambda rng: rng.uniform(1, 5) * 86_400,
    "seconds or days": lambda rng: rng.choice([1.0, 200_000.0]),
    "never": lambda _: math.inf,
}


@pytest.mark.parametrize("budget", [(1e-6, None), (1e6, None), (None, 1e-6), (None, 1e6), (None, None)])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_extreme_durations_and_budgets(law: Callable[[Random], float], budget: Budget) -> None:
    effort, mean_delay = budget
    wait, rng = LearnedWait(effort, mean_delay=mean_delay), Random(1)
    for number in range(40):
        duration, age, pending_age, polls = law(rng), 0.0, None, 1
        while age < duration and polls < 20:
            wait.observe(Observation("id", "function", age, pending_age, polls, "pending"))
            pending_age = age
            age += gap(wait, age, seen_at=float(number), polls=polls) * (1 if polls < 5 else 100)
            polls += 1
        what: Any = "left" if age < duration else "finished"
        wait.observe(Observation("id", "function", age, pending_age, polls, what))
    check_decisions(wait, [0.0, 1e-9, 1.0, 6.0, 1000.0, 86_400.0, 1e6])


def test_one_execution_only() -> None:
    wait = LearnedWait()
    wait.observe(Observation("id", "function", 0.0, None, 1, "pending"))
    wait.observe(Observation("id", "function", 9.0, 0.0, 2, "finished"))
    check_decisions(wait, [0.0, 5.0, 20.0])


def test_ends_without_a_begin_and_twice() -> None:
    wait = LearnedWait()
    for what in ("finished", "left", "left", "finished", "pending", "finished"):
        for _ in range(20):
            wait.observe(Observation("id", "function", 9.0, 4.0, 3, what))
    check_decisions(wait, [0.0, 5.0, 20.0])
