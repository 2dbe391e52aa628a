"""Whom to ask first when a cap holds polls up."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import pytest
from tenacity import RetryCallState

from tests.fake_dispatcher import FakeDispatcher
from truebit_async import PollPolicy
from truebit_async._scheduler.backlog import Backlog
from truebit_async._scheduler.timetable import DueTimes
from truebit_async._scheduler.waiter import Phase, Waiter, WaiterGroup

Delays = dict[str, float | None]


class Ranking:
    """Knows the delay that an execution had at time 0, and how fast that grows."""

    def __init__(self, at_zero: Delays, growth: float = 0.0) -> None:
        self.at_zero = at_zero
        self.growth = growth
        self.asked = 0

    def __call__(self, _: RetryCallState) -> float:
        return 1.0

    def expected_delay(self, execution_id: str, _kind: str, _pending_age: float | None, age: float) -> Any:
        self.asked += 1
        delay = self.at_zero[execution_id]
        return delay if delay is None else delay + self.growth * age


def sleeping(strategy: Any, *due: tuple[str, float]) -> list[Waiter[Any]]:
    group = WaiterGroup(FakeDispatcher().source, PollPolicy(wait=strategy), lambda *_: None)
    return [Waiter(group, execution_id, 0.0, phase=Phase.ASLEEP, due=time) for execution_id, time in due]


def order(backlog: Backlog, now: float, count: int) -> list[str]:
    popped = [backlog.pop(now) for _ in range(count)]
    return [waiter.execution_id for waiter in popped if waiter is not None]


def test_the_highest_expected_delay_goes_first() -> None:
    backlog = Backlog()
    for waiter in sleeping(Ranking({"a": 2.0, "b": 5.0, "c": 0.0, "d": 3.0}), *((name, 0.0) for name in "abcd")):
        backlog.add(waiter, 10.0)
    assert order(backlog, 10.0, 4) == ["b", "d", "a", "c"]
    assert not backlog
    assert backlog.pop(10.0) is None


@pytest.mark.parametrize("seed", range(5))
def test_what_was_computed_before_is_an_upper_bound(seed: int) -> None:
    """Delays that grow at different speeds, each by at most one second per second, come out in the right order."""
    rng = random.Random(seed)
    backlog = Backlog()
    strategies = {}
    for number in range(12):
        name = str(number)
        strategies[name] = Ranking({name: rng.uniform(0, 20)}, rng.random())
        for waiter in sleeping(strategies[name], (name, 0.0)):
            backlog.add(waiter, 0.0)
    for now in range(10, 130, 10):
        delays = {name: strategy.at_zero[name] + strategy.growth * now for name, strategy in strategies.items()}  # type: ignore[operator]
        assert order(backlog, now, 1) == [max(delays, key=delays.__getitem__)]
        del strategies[max(delays, key=delays.__getitem__)]


def test_where_a_strategy_does_not_know_the_time_since_it_was_due_counts(caplog: pytest.LogCaptureFixture) -> None:
    broken: Delays = {"none": None, "nan": math.nan, "negative": -1.0, "infinite": math.inf}
    backlog = Backlog()
    due = {"none": 6.0, "nan": 5.0, "negative": 8.0, "infinite": 7.0}
    for waiter in sleeping(Ranking(broken), *due.items()):
        backlog.add(waiter, 10.0)
    for waiter in sleeping(Ranking({"known": 3.5}), ("known", 9.9)):
        backlog.add(waiter, 10.0)
    for waiter in sleeping(lambda _: 1.0, ("a function", 6.4)):
        backlog.add(waiter, 10.0)
    for waiter in sleeping(Ranking({}), ("raises", 9.0)):
        backlog.add(waiter, 10.0)
    nonsense: dict[str, Any] = {"text": "long", "huge": 10**400, "a list": [1.0]}
    for waiter in sleeping(Ranking(nonsense), ("text", 9.1), ("huge", 9.2), ("a list", 9.3)):
        backlog.add(waiter, 10.0)
    in_order = ["nan", "none", "a function", "known", "infinite", "negative", "raises", "text", "huge", "a list"]
    assert order(backlog, 10.0, 10) == in_order
    assert [record.message for record in caplog.records] == [
        "the method expected_delay of a wait strategy failed; this is logged once"
    ]


def test_nobody_starves() -> None:
    backlog = Backlog()
    (last,) = sleeping(Ranking({"last": 0.0}), ("last", 0.0))
    backlog.add(last, 0.0)
    popped = []
    for number in range(30):
        for waiter in sleeping(Ranking({str(number): 100.0}), (str(number), float(number))):
            backlog.add(waiter, float(number))
        popped += order(backlog, float(number), 1)
    assert popped.index("last") == 19


def test_whoever_has_ended_is_passed_over() -> None:
    backlog = Backlog()
    waiters = sleeping(Ranking({"a": 1.0, "b": 2.0, "c": 3.0}), ("a", 0.0), ("b", 0.0), ("c", 0.0))
    for waiter in waiters:
        backlog.add(waiter, 10.0)
    backlog.remove(waiters[2])
    assert order(backlog, 10.0, 1) == ["b"]
    backlog.remove(waiters[0])
    assert not backlog
    assert not backlog._bounds


def test_the_turn_of_the_oldest_passes_over_whoever_has_ended() -> None:
    backlog = Backlog()
    waiters = sleeping(Ranking({str(number): 0.0 for number in range(3)}), *((str(n), float(n)) for n in range(3)))
    for waiter in waiters:
        backlog.add(waiter, 10.0)
    backlog.remove(waiters[0])
    backlog._turns = 19
    assert order(backlog, 10.0, 1) == ["1"]
    backlog.remove(waiters[2])
    backlog._turns = 19
    assert backlog.pop(10.0) is None
    assert backlog.pop(10.0) is None


def test_waiters_that_are_held_up_again_and_again_have_one_entry_and_their_turn() -> None:
    """The one that is always the last by its delay is polled in each twentieth turn only, and then it is the oldest."""
    names = [str(number) for number in range(10)]
    backlog = Backlog()
    waiters = sleeping(Ranking({name: 0.0 if name == "9" else 100.0 for name in names}), *((n, 0.0) for n in names))
    for waiter in waiters:
        backlog.add(waiter, 0.0)
    popped = []
    for turn in range(1, 2001):
        polled = backlog.pop(float(turn))
        assert polled is not None
        popped.append(polled.execution_id)
        backlog.add(polled, float(turn))
    assert len(backlog._stays) == 10
    assert len(backlog._bounds) < 50
    turns = [turn for turn, name in enumerate(popped) if name == "9"]
    assert max(after - before for before, after in pairwise(turns)) <= 20 * 10


def test_a_poll_drops_a_bounded_number_of_waiters_that_have_ended() -> None:
    names = [str(number) for number in range(500)]
    backlog = Backlog()
    delays: Delays = {**dict.fromkeys(names, 9.0), "last": 0.0}
    waiters = sleeping(Ranking(delays), *((name, 0.0) for name in [*names, "last"]))
    for waiter in waiters:
        backlog.add(waiter, 10.0)
    for waiter in waiters[:-1]:
        backlog.remove(waiter)
    assert [backlog.pop(10.0) for _ in range(3)] == [None, None, waiters[-1]]


def test_a_poll_costs_a_bounded_number_of_computations() -> None:
    names = [str(number) for number in range(1000)]
    strategy, backlog = Ranking(dict.fromkeys(names, 0.0)), Backlog()
    for waiter in sleeping(strategy, *((name, 0.0) for name in names)):
        backlog.add(waiter, 0.0)
    strategy.asked = 0
    assert backlog.pop(1000.0) is not None
    assert strategy.asked <= 16


# In the due times


def test_only_what_a_cap_holds_up_is_ranked() -> None:
    due_times = DueTimes()
    for waiter in sleeping(Ranking({"early": 0.0, "late": 9.0}), ("early", 10.0), ("late", 10.01)):
        due_times.add(waiter, waiter.due)
    popped = due_times.pop_due(10.02)
    assert popped is not None
    assert popped.execution_id == "early"


def test_what_a_cap_holds_up_is_ranked() -> None:
    due_times = DueTimes()
    early, late = sleeping(Ranking({"early": 0.0, "late": 9.0}), ("early", 10.0), ("late", 10.01))
    for waiter in (early, late):
        due_times.add(waiter, waiter.due)
    assert due_times.pop_due(20.0) is late
    assert due_times.next_time() == -math.inf
    early.phase = Phase.OVER
    due_times.note_stale(early)
    assert due_times.next_time() == math.inf
    assert due_times.pop_due(30.0) is None


def test_without_a_strategy_that_knows_delays_the_longest_due_goes_first() -> None:
    due_times = DueTimes()
    for waiter in sleeping(lambda _: 1.0, ("b", 2.0), ("a", 1.0), ("c", 3.0)):
        due_times.add(waiter, waiter.due)
    popped = [due_times.pop_due(20.0) for _ in range(3)]
    assert [waiter.execution_id for waiter in popped if waiter is not None] == ["a", "b", "c"]
    assert not due_times._backlog


def test_a_call_ranks_a_bounded_number_of_waiters() -> None:
    names = [str(number) for number in range(100)]
    strategy, due_times = Ranking(dict.fromkeys(names, 0.0)), DueTimes()
    for waiter in sleeping(strategy, *((name, 0.0) for name in names)):
        due_times.add(waiter, waiter.due)
    assert due_times.pop_due(10.0) is not None
    assert len(due_times) == 90
    while due_times.pop_due(10.0) is not None:
        pass
    assert len(due_times) == 0
