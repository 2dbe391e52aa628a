"""One wait: what a pending execution keeps between polls, and what the result of a poll means for it.

Rules only: no loop and no I/O. The poller says what happened and when; the wait says whether it is over, and if
not, how long to sleep.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable
from contextvars import Context
from typing import ClassVar

import attrs
from tenacity import AsyncRetrying, Future, RetryCallState

from truebit_async.errors import ExecutionNotFoundError, TruebitError, UnknownStatusError, VerificationTimeoutError
from truebit_async.models import Execution, Outcome
from truebit_async.policy import PollPolicy

PollResult = Execution | TruebitError
"""What one poll brought: a state, or the error that came instead."""

OnEnd = Callable[["Wait", Outcome | Exception], None]
"""Told once how a wait ended; an exception in place of an outcome is a bug, in a wait strategy or in here."""


def _nobody(_wait: Wait, _end: Outcome | Exception) -> None:
    """Take the place of ``on_end`` in a wait that is over: a flag of its own would cost 16 bytes."""


@attrs.define(eq=False, weakref_slot=False)
class Wait:
    """The wait of one caller for one execution. Times are in seconds of the loop's clock.

    Attributes:
        execution_id: the execution.
        policy: the budgets.
        started: when the wait began.
        sequence: its number, in order of arrival, which breaks ties between equal times.
        on_end: called once, when the wait ends by itself; let go when it is over.
        context: what its requests are made in.
        due: when its next poll is due.
        polls: results seen so far.
        idle_for: seconds slept so far.
        errors_in_a_row: transient failures since the last good answer.
        last_execution: the last state seen.
        last_error: the last failed poll.
    """

    execution_id: str
    policy: PollPolicy
    started: float
    sequence: int
    on_end: OnEnd
    context: Context
    due: float
    polls: int = 0
    idle_for: float = 0.0
    errors_in_a_row: int = 0
    last_execution: Execution | None = None
    last_error: TruebitError | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended or its caller has left."""
        return self.on_end is _nobody

    is_single_request: ClassVar[bool] = False

    @property
    def key(self) -> Hashable:
        """What waits that share their polls have in common."""
        return self.execution_id

    @property
    def deadline(self) -> float:
        """When the wait must be over."""
        return math.inf if self.policy.deadline is None else self.started + self.policy.deadline

    def leave(self) -> OnEnd:
        """Make this wait one that is over; return whom to tell if it ended by itself."""
        on_end, self.on_end = self.on_end, _nobody
        return on_end

    def observe(self, result: PollResult, now: float) -> Outcome | None:
        """Take in the result of a poll; return the outcome if it ends the wait."""
        self.polls += 1
        if isinstance(result, Execution):
            self.last_execution = result
            self.errors_in_a_row = 0
            is_final = self.is_single_request or not result.is_running
            return Outcome(self.execution_id, result, None, self.polls, now - self.started) if is_final else None
        if self.is_single_request or self._is_final(result, now):
            return self.fail(result, now)
        # A pending wait may keep its last error for minutes; the frames and buffers behind it are let go.
        self.last_error = _without_frames(result)
        return None

    def fail(self, error: TruebitError, now: float) -> Outcome:
        """Return the outcome of a wait that ends with an error."""
        return Outcome(self.execution_id, None, error, self.polls, now - self.started)

    def time_out(self, now: float) -> Outcome:
        """Return the outcome of a wait whose deadline has passed."""
        error = VerificationTimeoutError(
            self.execution_id,
            self.deadline - self.started,
            self.last_execution,
            self.last_error,
            self.polls,
            now - self.started,
        )
        error.__cause__ = self.last_error
        return self.fail(error, now)

    def sleep_after(self, result: PollResult, now: float) -> float:
        """Set when the next poll is due, as the wait strategy of the policy decides, and return the seconds until then.

        Raises:
            TypeError: the strategy returned something that is not a number.
            ValueError: it returned a number that is negative, infinite or NaN.
            Exception: the strategy raised it.
        """
        delay = self.policy.wait(_RetryState(self, result, now))
        if isinstance(delay, bool) or not isinstance(delay, int | float):
            msg = f"PollPolicy.wait must return seconds, not {type(delay).__name__}"
            raise TypeError(msg)
        if not 0 <= delay < math.inf:
            msg = f"PollPolicy.wait must return zero or more finite seconds, not {delay}"
            raise ValueError(msg)
        self.idle_for += delay
        self.due = now + delay
        return delay

    def _is_final(self, error: TruebitError, now: float) -> bool:
        if isinstance(error, ExecutionNotFoundError) and now - self.started < self.policy.not_found_grace:
            self.errors_in_a_row = 0
            return False
        if isinstance(error, UnknownStatusError) and self.policy.unknown_status == "keep_waiting":
            self.errors_in_a_row = 0
            return False
        if not error.is_transient:
            return True
        self.errors_in_a_row += 1
        if self.errors_in_a_row < self.policy.max_consecutive_errors:
            return False
        error.add_note(
            f"The wait gave up after {self.errors_in_a_row} transient failures in a row "
            "(PollPolicy.max_consecutive_errors)."
        )
        return True


@attrs.define(eq=False, weakref_slot=False)
class SingleRequest(Wait):
    """A wait that its first result ends, whatever it is. It shares nothing with others."""

    is_single_request: ClassVar[bool] = True

    @property
    def key(self) -> Hashable:
        """Itself."""
        return self


_NEVER_SEEN = AsyncRetrying()


class _RetryState(RetryCallState):
    """The state that tenacity would have had, had it made these polls. It is made anew for each decision.

    Few strategies look at the outcome or the retry object, and those cost more than all the rest; so they are made
    when they are asked for.
    """

    def __init__(self, wait: Wait, result: PollResult, now: float) -> None:
        super().__init__(_NEVER_SEEN, None, (wait.execution_id,), {})
        del self.retry_object, self.outcome
        self._strategy, self._result = wait.policy.wait, result
        self.start_time = wait.started
        self.attempt_number = max(1, wait.polls)  # a wait that joined others has a result before a poll of its own
        self.idle_for = wait.idle_for
        self.outcome_timestamp = now

    @functools.cached_property
    def retry_object(self) -> AsyncRetrying:  # type: ignore[override]
        return AsyncRetrying(wait=self._strategy)

    @functools.cached_property
    def outcome(self) -> Future:  # type: ignore[override]
        has_exception = isinstance(self._result, TruebitError)
        return Future.construct(self.attempt_number, self._result, has_exception=has_exception)


def _without_frames(error: TruebitError) -> TruebitError:
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
