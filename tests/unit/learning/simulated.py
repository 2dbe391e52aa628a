"""Waits without a session: the state that a strategy gets, and executions that are polled one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple

from truebit_async._default_wait import ProportionalWait
from truebit_async._learning.group import Dice, Group, Terms
from truebit_async.strategies import PollState


class FakeState(PollState):
    def __init__(
        self,
        age: float = 0.0,
        *,
        execution_id: str = "id",
        kind: str = "function",
        polls: int = 1,
        seen_at: float = 0.0,
        is_pending: bool = True,
        failures: int = 0,
        wait_strategy: object = None,
    ) -> None:
        self.args = (execution_id,)
        self.kind = kind
        self.attempt_number = polls
        self.execution_age = age
        self.seen_at = seen_at
        self.is_pending = is_pending
        self.consecutive_failures = failures
        self.wait_strategy = wait_strategy


class Found(NamedTuple):
    """How an execution was found to have ended: how often it was polled, and how late that was, in seconds."""

    requests: int
    delay: float


def new_group(
    *,
    effort: float = 1.0,
    mean_delay: float | None = None,
    min_interval: float = 0.5,
    max_interval: float = 60.0,
) -> Group:
    return Group(Terms(effort, mean_delay, min_interval, max_interval), ProportionalWait())


def found(group: Group, durations: Iterable[float], rng: Random) -> Iterator[Found]:
    """Poll executions one after the other as a `LearnedWait` does, each from its submission on."""
    terms, default = group._terms, ProportionalWait(jitter=0)
    for duration in durations:
        age, pending_age, polls = 0.0, None, 1
        while age < duration:
            group.learn("pending", pending_age, age, polls)
            pending_age = age
            gap = group.gap(age, Dice(rng.random(), rng.random(), rng.random()))
            if gap is None:
                gap = default.longest(polls, age) * (1 - 0.2 * rng.random())
            age += min(max(gap, terms.min_interval), terms.max_interval)
            polls += 1
        group.learn("finished", pending_age, age, polls)
        yield Found(polls, age - duration)
