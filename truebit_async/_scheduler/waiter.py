"""One pending wait: what it keeps between polls, and what the result of a poll means for it.

This module has rules only: no loop and no I/O. The poller says what happened and when; the waiter says whether the wait
is over, and if not, how long to sleep.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import math
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Generic

import attrs

from truebit_async._scheduler.retry_state import WaiterRetryState
from truebit_async._scheduler.source import ResultT, Source, Target
from truebit_async._strategy_protocol import ExpectedDelay, Observe
from truebit_async.errors import RequestTimeoutError, TruebitError, VerificationTimeoutError
from truebit_async.models import Outcome
from truebit_async.policy import PollPolicy

# The last poll is due twice the slowest exchange before the deadline. Quicker exchanges than this count as this long.
MIN_SLOWEST = 0.025  # seconds

_UNSET = object()

next_number = itertools.count().__next__
"""Returns the next number of a wait, unique in this process."""


class Phase(enum.Enum):
    """What a waiter is doing."""

    ASLEEP = "asleep"
    """It has an entry in the due times: its next poll is not due, or may not start yet."""
    ASKING = "asking"
    """It is not over and has no such entry: it is new, its request is in flight, or the result is on its way to it."""
    OVER = "over"
    """It has ended, or its caller has left."""


OnEnd = Callable[["Waiter[Any]", Outcome[Any] | BaseException], None]
"""Called once when a wait ends by itself. An exception in place of an outcome is a bug, such as in a wait strategy."""


@attrs.define(eq=False, weakref_slot=False)
class WaiterGroup(Generic[ResultT]):
    """Waiters that began with the same terms: those of one batch, or a single one.

    They form a doubly linked list in order of their start. That is also the order of their deadlines, because they
    have the same policy.

    Attributes:
        source: fetches their results.
        policy: their budgets.
        on_end: called once for each waiter that ends by itself.
        context: the context that their requests are made in.
        is_wait: whether they are waits, with events of their own; False for `get_execution_status`.
        observe: that method of the wait strategy; None if it has none.
        expected_delay: likewise. It decides which waiter polls first under a cap.
        own_contexts: the contexts of those waiters for which a listener has set context variables.
        is_abandoned: whether the caller has left, so that no more requests are made for them.
        has_deadline_entry: whether the deadlines of the poller know of this group.
        first: the waiter that began first, of those that are not over.
        last: the waiter that began last.
    """

    source: Source[ResultT]
    policy: PollPolicy
    on_end: OnEnd
    context: Context = attrs.field(factory=copy_context)
    is_wait: bool = True
    observe: Observe | None = attrs.field(init=False)
    expected_delay: ExpectedDelay | None = attrs.field(init=False)
    own_contexts: dict[Waiter[ResultT], Context] = attrs.field(factory=dict)
    is_abandoned: bool = False
    has_deadline_entry: bool = False
    first: Waiter[ResultT] | None = None
    last: Waiter[ResultT] | None = None

    def __attrs_post_init__(self) -> None:
        strategy = self.policy.wait if self.is_wait else None
        self.observe = getattr(strategy, "observe", None)
        self.expected_delay = getattr(strategy, "expected_delay", None)

    def set_context(self, waiter: Waiter[ResultT], context: Context) -> None:
        """Set the context of a waiter, if it differs from that of the group: one for each would take 80 bytes."""
        # Compared by identity: some values of users raise when they are compared.
        if any(self.context.get(variable, _UNSET) is not value for variable, value in context.items()):
            self.own_contexts[waiter] = context

    def append(self, waiter: Waiter[ResultT]) -> None:
        """Add a waiter that begins now."""
        waiter.previous, self.last = self.last, waiter
        if waiter.previous is None:
            self.first = waiter
        else:
            waiter.previous.next = waiter

    def remove(self, waiter: Waiter[ResultT]) -> None:
        """Remove a waiter that is over."""
        self.own_contexts.pop(waiter, None)
        previous, following = waiter.previous, waiter.next
        if following is None:
            self.last = previous
        else:
            following.previous = previous
        if previous is None:
            self.first = following
        else:
            previous.next = following
        waiter.previous = waiter.next = None


@attrs.define(eq=False, weakref_slot=False)
class Waiter(Generic[ResultT]):
    """The wait of one caller for one execution. Times are in seconds of the loop's clock.

    Attributes:
        group: what it has in common with other waiters.
        execution_id: the execution.
        started: when the wait began.
        age_at_start: how old the execution was then, in seconds, as far as is known.
        number: its number in order of arrival. It breaks ties between equal times.
        phase: what it is doing.
        polls: results seen so far.
        due: when its next poll is due, if it sleeps; `backlog.HELD_UP` if a cap holds that up.
        slowest: seconds that the slowest exchange so far took, or `MIN_SLOWEST`.
        errors_in_a_row: transient failures since the last result that was none.
        seen_at: when its latest result arrived, or when it joined others and had none; it takes no older result.
        pending_at: when the latest result arrived that found the execution running. It is kept for strategies that
            observe, and is the same object as `seen_at`, which takes no memory of its own.
        latest: the latest result, a state or an error; None before the first.
        other: the last error if `latest` is a state, and the last state if it is an error; None if there was none.
        previous: the waiter of its group that began before it.
        next: the waiter of its group that began after it.
    """

    group: WaiterGroup[ResultT]
    execution_id: str
    started: float
    age_at_start: float = 0.0
    number: int = attrs.field(factory=next_number)
    phase: Phase = Phase.ASKING
    polls: int = 0
    due: float = -math.inf
    slowest: float = MIN_SLOWEST
    errors_in_a_row: int = 0
    seen_at: float = -math.inf
    pending_at: float = -math.inf
    latest: Any = None
    other: Any = None
    previous: Waiter[ResultT] | None = None
    next: Waiter[ResultT] | None = None

    @property
    def target(self) -> Target:
        """What it waits for."""
        return self.group.source, self.execution_id

    @property
    def kind(self) -> str:
        """The kind of task."""
        return self.group.source.kind

    @property
    def wait_number(self) -> int | None:
        """The number that events tell; None for `get_execution_status`."""
        return self.number if self.group.is_wait else None

    @property
    def context(self) -> Context:
        """The context that its requests are made in."""
        return self.group.own_contexts.get(self, self.group.context)

    @property
    def request_timeout(self) -> float:
        """The limit of one exchange, in seconds."""
        return self.group.policy.request_timeout

    @property
    def deadline(self) -> float:
        """When the wait must be over."""
        budget = self.group.policy.deadline
        return math.inf if budget is None else self.started + budget

    @property
    def last_poll_due(self) -> float:
        """When a poll must be due at the latest to be answered before the deadline."""
        return self.deadline - 2 * self.slowest

    def age_at(self, time: float) -> float:
        """Return the age of the execution at a time, in seconds, as far as is known."""
        return max(0.0, time - self.started + self.age_at_start)

    @property
    def pending_age(self) -> float | None:
        """The age of the execution when a result last found it running; None if none did."""
        return None if self.pending_at == -math.inf else self.age_at(self.pending_at)

    def is_ended_by(self, result: ResultT | TruebitError, now: float) -> bool:
        """Return whether a result ends the wait by itself: a final state, or an error that another poll cannot mend."""
        if not isinstance(result, TruebitError):
            return self.group.source.is_final(result)
        return not (result.is_transient or self.group.policy.tolerates(result, now - self.started))

    def was_cut_short(self, result: ResultT | TruebitError) -> bool:
        """Return whether a shared request timed out sooner than this waiter's budget allows."""
        return isinstance(result, RequestTimeoutError) and result.request_timeout < self.group.policy.request_timeout

    def can_take(self, latest: ResultT | TruebitError | None, seen_at: float, now: float) -> bool:
        """Return whether the latest result of the waiters for its target takes the place of a poll that is due now."""
        is_too_old = seen_at <= self.seen_at or (now >= self.last_poll_due > seen_at)
        return latest is not None and not is_too_old and not self.was_cut_short(latest)

    def take(self, result: ResultT | TruebitError, now: float, seen_at: float) -> Outcome[Any] | None:
        """Take in the result of a poll; return the outcome if it ends the wait.

        Args:
            result: the result.
            now: the time.
            seen_at: when the result arrived. That was earlier if it is a shared one.
        """
        self.polls += 1
        if self.is_ended_by(result, now):
            return self.end_with(result, now)
        self._note(result, seen_at)
        if not isinstance(result, TruebitError) or not result.is_transient:
            self.errors_in_a_row = 0
            return None
        self.errors_in_a_row += 1
        if self.errors_in_a_row < self.group.policy.max_consecutive_errors:
            return None
        result.add_note(
            f"The wait gave up after {self.errors_in_a_row} transient failures in a row "
            "(PollPolicy.max_consecutive_errors)."
        )
        return self.end_with(result, now)

    def join(self, latest: ResultT | TruebitError, seen_at: float, now: float) -> float:
        """Return how many seconds to sleep before the first poll if others wait for the same target.

        Their latest result takes the place of the first poll if it is younger than the gap that the wait strategy sets
        after the first poll. Otherwise, the first poll is due now.

        Args:
            latest: their latest result.
            seen_at: when it arrived.
            now: the time.

        Raises:
            Exception: as for `sleep_after`.
        """
        if not (self.is_ended_by(latest, now) or self.was_cut_short(latest)):
            sleep = seen_at + self.sleep_after(latest, seen_at) - now
            if sleep > 0:
                self._note(latest, seen_at)
                return sleep
        self.seen_at = now  # what was known before does not count
        return 0.0

    def end_with(self, result: ResultT | TruebitError, now: float) -> Outcome[Any]:
        """Return the outcome of a wait that a result ends."""
        execution, error = (None, result) if isinstance(result, TruebitError) else (result, None)
        # `Outcome[...](...)` would take 5 µs longer.
        return Outcome(self.execution_id, execution, error, self.polls, now - self.started, self.kind)

    def time_out(self, now: float) -> Outcome[Any]:
        """Return the outcome of a wait whose deadline has passed."""
        has_failed = isinstance(self.latest, TruebitError)
        last_state, last_error = (self.other, self.latest) if has_failed else (self.latest, self.other)
        deadline = self.group.policy.deadline or math.inf
        error = VerificationTimeoutError(
            self.execution_id, deadline, last_state, last_error, self.polls, now - self.started, kind=self.kind
        )
        error.__cause__ = last_error
        return self.end_with(error, now)

    def sleep_after(self, result: ResultT | TruebitError, now: float) -> float:
        """Return how many seconds to sleep after a result that arrived now.

        The wait strategy of the policy decides. A sleep that would pass `last_poll_due` ends then, so that one more
        poll can be answered before the deadline. After that time the strategy decides alone.

        Raises:
            RuntimeError: the strategy raised CancelledError.
            TypeError: the strategy returned something that is not a number.
            ValueError: it returned a number that is negative, infinite or NaN.
            Exception: the strategy raised it.
        """
        try:
            delay = self.group.policy.wait(WaiterRetryState(self, result, now))
        except asyncio.CancelledError as error:  # nobody can cancel a function; it is an error like any other
            msg = "PollPolicy.wait raised CancelledError"
            raise RuntimeError(msg) from error
        if isinstance(delay, bool) or not isinstance(delay, int | float):
            msg = f"PollPolicy.wait must return seconds, not {type(delay).__name__}"
            raise TypeError(msg)
        if not 0 <= delay < math.inf:
            msg = f"PollPolicy.wait must return zero or more finite seconds, not {delay}"
            raise ValueError(msg)
        if now < self.last_poll_due < now + delay:
            delay = self.last_poll_due - now
        return delay

    def _note(self, result: ResultT | TruebitError, seen_at: float) -> None:
        self.seen_at = seen_at
        if isinstance(result, TruebitError) != isinstance(self.latest, TruebitError):
            self.other = self.latest
        self.latest = result


def resolving(future: asyncio.Future[Outcome[Any]]) -> OnEnd:
    """Return a callback that hands the end of a wait to whoever awaits a future."""

    def on_end(_: Waiter[Any], end: Outcome[Any] | BaseException) -> None:
        if future.done():  # its caller was cancelled a moment ago
            return
        if isinstance(end, Outcome):
            future.set_result(end)
        else:
            future.set_exception(end)

    return on_end
