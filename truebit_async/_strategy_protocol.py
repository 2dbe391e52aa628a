"""What sessions and wait strategies tell each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from tenacity import RetryCallState


class PollState(RetryCallState):
    """What a session passes to a wait strategy: a `tenacity.RetryCallState` that says more about a wait.

    ``attempt_number`` is the number of polls so far, ``args`` holds the execution ID, ``outcome`` is the result of the
    last poll, and ``seconds_since_start`` is how long the wait had taken by then.

    Attributes:
        kind: the kind of task, such as ``"function"``.
        wait_strategy: ``PollPolicy.wait`` of this wait.
        is_pending: whether the last poll found the execution running; False if it failed.
        consecutive_failures: how many transient failures there were in a row, the last one included.
        execution_age: seconds since the execution was submitted, or since the wait began if that is not known, when
            the result arrived.
        seen_at: when the result arrived, in seconds of the loop's clock. It is the same for all waits that share it.
    """

    kind: str
    wait_strategy: object
    is_pending: bool
    consecutive_failures: int
    execution_age: float
    seen_at: float


ExpectedDelay = Callable[[str, str, float | None, float], float | None]
"""As `LearnedWait.expected_delay`. A strategy that has it decides which execution is polled first under a cap."""


class Observation(NamedTuple):
    """What a session tells a strategy: how a poll was answered, or how a wait ended.

    A strategy is told if it has a method ``observe`` that takes an observation. The event loop calls it, so it must be
    quick. If several waits with one strategy share the polls of an execution, it is called for one of them. It is not
    called for polls that failed. What ``observe`` raises is logged once for each strategy, and the waits go on.

    If it returns True, the session asks the strategy again how long the waits that are asleep should sleep. It wakes
    those earlier whose next poll is now due earlier; it lets none sleep longer.

    Attributes:
        execution_id: the execution.
        kind: the kind of task, such as ``"function"``.
        age: seconds since the execution was submitted, or since the wait began if that is not known, when the answer
            arrived or the wait ended.
        pending_age: the age in seconds when the last answer before this one arrived that found the execution running;
            None if there was none.
        polls: how many polls of this wait there were so far, failed ones included.
        what: ``"pending"`` if a poll found the execution running, ``"finished"`` if one found a final state,
            ``"left"`` if the wait ended without a final state: by its deadline, an error, or because its caller left.
        age_at_start: the age when the wait began, in seconds; 0 if it is not known that the execution was submitted
            earlier.
    """

    execution_id: str
    kind: str
    age: float
    pending_age: float | None
    polls: int
    what: Literal["pending", "finished", "left"]
    age_at_start: float = 0.0


Observe = Callable[[Observation], object]
"""As `LearnedWait.observe`. Its result counts as true or false."""
