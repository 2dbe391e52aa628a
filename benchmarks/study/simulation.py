"""The event simulation: executions run, and a strategy decides when each of them is polled.

An execution is polled when its wait begins, and then whenever the gap has passed that the strategy set. The simulation
takes events in the order of their times: the start of a poll, the arrival of its result, and the deadline. It has no
caps; `benchmarks.study.saturation` has one.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from benchmarks.study.laws import Floats
from truebit_async.strategies import Observation, PollState

DEADLINE = 600.0  # seconds from the beginning of a wait
INTERVAL = 0.5  # seconds between the beginnings of two waits, unless all begin at once
MIN_GAIN = 0.02  # seconds; a session lets a wait sleep on if it gains less

Strategy = Callable[[Any], float]


class State(PollState):
    """One wait, as strategies see it.

    It keeps what was known at the last poll, so that a strategy can be asked again.

    Args:
        number: the execution ID. To strategies, it need not be a text.
        kind: the kind of task.
        begins: when the wait begins, in seconds of the simulated clock.
        submitted: how many seconds earlier the execution was submitted, as far as the strategy is told.
        ends: when the execution ends, in seconds of the simulated clock.
        strategy: decides when to poll.
    """

    def __init__(self, number: int, kind: str, begins: float, submitted: float, ends: float, strategy: object) -> None:
        self.fn = None  # replaces what the base class would do
        self.args = (number,)
        self.kwargs = {}
        self.kind = kind
        self.wait_strategy = strategy
        self.attempt_number = 0
        self.start_time = begins
        self.is_pending = True
        self.consecutive_failures = 0
        self.begins = begins
        self.submitted = submitted
        self.ends = ends
        self.pending_age: float | None = None  # when a result last found the execution running
        self.asked_at: float | None = None  # when the request in flight began; None if there is none
        self.is_leaving = False  # whether the deadline comes before the next poll
        self.see(begins)

    def age(self, now: float) -> float:
        """Return the age of the execution, as far as the strategy knows it."""
        return now - self.begins + self.submitted

    def see(self, now: float) -> None:
        """Note that a result arrives."""
        self.seen_at = self.outcome_timestamp = now
        self.execution_age = self.age(now)

    def observation(self, now: float, what: Literal["pending", "finished", "left"]) -> Observation:
        """Return what a strategy is told of a poll or of an end."""
        execution_id: Any = self.args[0]
        return Observation(execution_id, self.kind, self.age(now), self.pending_age, self.attempt_number, what)


@attrs.frozen
class Result:
    """What a simulation counted, by execution.

    Attributes:
        requests: the polls of each execution.
        delays: seconds from the end of each execution to the arrival of the result that said so; NaN if the deadline
            passed before.
    """

    requests: NDArray[np.int64]
    delays: Floats

    def summary(self, first: int = 0, last: int | None = None) -> dict[str, float]:
        """Return mean requests, mean delay and the 95th percentile of the delay of some executions."""
        delays = np.sort(self.delays[first:last])
        delays = delays[~np.isnan(delays)]
        return {
            "requests": float(self.requests[first:last].mean()),
            "delay": float(delays.mean()),
            "p95": float(delays[int(0.95 * len(delays))]),
        }

    def mean_delay(self, first: int = 0, last: int | None = None) -> float:
        """Return the mean delay of some executions."""
        return self.summary(first, last)["delay"]

    @classmethod
    def joined(cls, results: Sequence[Result]) -> Result:
        """Return several results as one."""
        return cls(np.concatenate([r.requests for r in results]), np.concatenate([r.delays for r in results]))


def simulate(
    durations: Sequence[float],
    strategy: Strategy,
    *,
    interval: float = INTERVAL,
    latency: Callable[[], float] | None = None,
    submitted: Sequence[float] | None = None,
    kind: str = "function",
    first_number: int = 0,
    starts: float = 0.0,
) -> Result:
    """Simulate waits for executions.

    Args:
        durations: how long each execution runs, from the beginning of its wait.
        strategy: decides when to poll; if it has a method ``observe``, it hears how each poll ended.
        interval: seconds between the beginnings of two waits; 0 begins all at once.
        latency: draws how many seconds a request takes. The server looks half-way. None is no time at all.
        submitted: how many seconds before its wait each execution was submitted; None says that nobody knows.
        kind: the kind of task.
        first_number: the first execution ID; the others follow.
        starts: when the first wait begins.
    """
    random.seed(first_number)  # the strategies of the package may draw from this generator
    states = [
        State(first_number + i, kind, begins, 0.0 if submitted is None else submitted[i], begins + duration, strategy)
        for i, duration in enumerate(durations)
        for begins in [starts + i * interval]
    ]
    return _Simulation(states, strategy, latency).run()


class _Simulation:
    def __init__(self, states: list[State], strategy: Strategy, latency: Callable[[], float] | None) -> None:
        self._states = states
        self._strategy = strategy
        self._observe: Callable[[Observation], bool | None] = getattr(strategy, "observe", lambda _: None)
        self._latency = latency
        self._events = [(state.begins, index) for index, state in enumerate(states)]
        heapq.heapify(self._events)
        self._requests = np.zeros(len(states), np.int64)
        self._delays = np.full(len(states), math.nan)

    def run(self) -> Result:
        events, states, latency = self._events, self._states, self._latency
        while events:
            now, index = heapq.heappop(events)
            state = states[index]
            if state.is_leaving:
                self._tell(state, now, "left")
            elif latency is None:
                self._poll(state, index, now, now)
            elif state.asked_at is None:
                state.asked_at = now
                heapq.heappush(events, (now + latency(), index))
            else:
                asked_at, state.asked_at = state.asked_at, None
                self._poll(state, index, (asked_at + now) / 2, now)
        return Result(self._requests, self._delays)

    def _poll(self, state: State, index: int, looked_at: float, now: float) -> None:
        """Take in the result of a poll."""
        self._requests[index] += 1
        state.attempt_number += 1
        if looked_at >= state.ends:
            self._delays[index] = now - state.ends
            self._tell(state, now, "finished")
            return
        state.see(now)
        self._tell(state, now, "pending")
        state.pending_age = state.execution_age
        heapq.heappush(self._events, (self._next_event(state, now), index))

    def _tell(self, state: State, now: float, what: Literal["pending", "finished", "left"]) -> None:
        if self._observe(state.observation(now, what)):
            self._decide_again(now)

    def _next_event(self, state: State, now: float) -> float:
        """Return when an execution is polled next, or left, as the strategy decides."""
        due = max(now, state.seen_at + self._strategy(state))
        deadline = state.begins + DEADLINE
        state.is_leaving = due > deadline
        return min(due, deadline)

    def _decide_again(self, now: float) -> None:
        """Ask the strategy again about each execution that sleeps. As in a session, none sleeps longer than before."""
        events = self._events
        for position, (event, index) in enumerate(events):
            state = self._states[index]
            if state.attempt_number and state.asked_at is None:
                due = max(now, state.seen_at + self._strategy(state))
                if due < event - MIN_GAIN:
                    state.is_leaving = False
                    events[position] = (due, index)
        heapq.heapify(events)
