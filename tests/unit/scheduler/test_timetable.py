"""The due times and the deadlines, beside a plain list."""

from __future__ import annotations

import math
import random
from typing import Any
from unittest.mock import Mock

import pytest

from truebit_async import PollPolicy
from truebit_async._scheduler.source import Source
from truebit_async._scheduler.timetable import Deadlines, DueTimes
from truebit_async._scheduler.waiter import Phase, Waiter, WaiterGroup

SOURCE: Source[object] = Source("function", Mock(), lambda _: True)


def new_group(deadline: float | None = None) -> WaiterGroup[object]:
    return WaiterGroup(SOURCE, PollPolicy(deadline=deadline, request_timeout=1), lambda *_: None)


def sleep(due_times: DueTimes, waiter: Waiter[Any], due: float) -> None:
    waiter.phase = Phase.ASLEEP
    due_times.add(waiter, due)


def leave(due_times: DueTimes, waiter: Waiter[Any]) -> None:
    waiter.phase = Phase.OVER
    due_times.note_stale(waiter)


@pytest.mark.parametrize("seed", range(5))
def test_due_times_come_up_in_order_whoever_leaves(seed: int) -> None:
    rng = random.Random(seed)
    due_times, group = DueTimes(), new_group()
    asleep: dict[Waiter[Any], float] = {}
    now = 0.0
    for _ in range(3000):
        match rng.choices(["sleep", "leave", "pop"], [4, 3 if rng.random() < 0.9 else 30, 1])[0]:
            case "sleep":
                waiter = Waiter(group, "id", 0.0)
                asleep[waiter] = now + rng.randrange(100)
                sleep(due_times, waiter, asleep[waiter])
            case "leave" if asleep:
                waiter = rng.choice(list(asleep))
                del asleep[waiter]
                leave(due_times, waiter)
            case "pop":
                now += rng.randrange(3)
                expected = min(asleep, key=lambda waiter: (asleep[waiter], waiter.number), default=None)
                if expected is not None and asleep[expected] > now:
                    expected = None
                assert due_times.pop_due(now) is expected
                if expected is not None:
                    expected.phase = Phase.ASKING
                    del asleep[expected]
        assert due_times.next_time() == min(asleep.values(), default=math.inf)


@pytest.mark.parametrize("seed", range(5))
def test_deadlines_pass_in_order_whoever_leaves(seed: int) -> None:
    rng = random.Random(seed)
    deadlines = Deadlines()
    groups = [new_group(rng.choice([5, 50, 500, None])) for _ in range(40)]
    pending: list[Waiter[Any]] = []
    now = 0.0
    for _ in range(3000):
        now += rng.random()
        match rng.choices(["begin", "leave", "pass"], [4, 3, 1])[0]:
            case "begin":
                pending.append(Waiter(rng.choice(groups), "id", now))
                deadlines.add(pending[-1])
            case "leave" if pending:
                deadlines.remove(pending.pop(rng.randrange(len(pending))))
            case "pass":
                passed = [waiter for waiter in pending if waiter.deadline <= now]
                expected = min(passed, key=lambda waiter: (waiter.deadline, waiter.number), default=None)
                assert deadlines.next_passed(now) is expected
                if expected is not None:
                    pending.remove(expected)
                    deadlines.remove(expected)
        assert deadlines.next_time() <= min((waiter.deadline for waiter in pending), default=math.inf)


def test_no_call_drops_thousands_of_entries() -> None:
    due_times, group = DueTimes(), new_group()
    waiters = [Waiter(group, "id", 0.0) for _ in range(10_000)]
    for due, waiter in enumerate(waiters):
        sleep(due_times, waiter, due)
    for waiter in waiters[1:4500]:
        leave(due_times, waiter)
    assert len(due_times._heap) == 10_000
    leave(due_times, waiters[0])
    assert len(due_times._heap) > 9_500
    calls = 0
    while due_times.pop_due(4500) is None:
        calls += 1
    assert 4 < calls < 30
    assert due_times.next_time() == 4501


def test_no_call_drops_thousands_of_groups() -> None:
    deadlines = Deadlines()
    waiters = [Waiter(new_group(10.0), "id", float(number)) for number in range(10_000)]
    for waiter in waiters:
        deadlines.add(waiter)
    for waiter in waiters[1:4500]:
        deadlines.remove(waiter)
    deadlines.remove(waiters[0])
    assert len(deadlines._heap) > 9_500
    calls = 0
    while deadlines.next_passed(4510) is None:
        calls += 1
    assert 4 < calls < 30
    assert deadlines.next_passed(4510) is waiters[4500]
