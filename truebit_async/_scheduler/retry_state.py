"""Adapts a waiter to the `RetryCallState` that tenacity's wait strategies take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenacity import AsyncRetrying, Future, RetryCallState

from truebit_async.errors import TruebitError

if TYPE_CHECKING:
    from truebit_async._scheduler.waiter import Waiter


class WaiterRetryState(RetryCallState):
    """The state that a wait strategy decides by: attempts, idle time and the result of the last poll.

    Few strategies read `outcome` or `retry_object`. Making them for each poll would take 3 % of its CPU, so they are
    made when they are read.

    Args:
        waiter: the waiter.
        result: the result of its last poll, a state or an error.
        now: when that arrived, in seconds of the loop's clock.
    """

    def __init__(self, waiter: Waiter[Any], result: object, now: float) -> None:  # replaces that of the base class
        self._strategy = waiter.group.policy.wait
        self._result = result
        self.fn = None
        self.args = (waiter.execution_id,)
        self.kwargs = {}
        self.start_time = min(waiter.started, now)  # a result of other waiters may have arrived before this wait began
        self.attempt_number = max(1, waiter.polls)  # a waiter that joined others has a result before a poll of its own
        self.idle_for = waiter.idle_for
        self.outcome_timestamp = now
        self.next_action = None
        self.upcoming_sleep = 0.0

    @property
    def retry_object(self) -> AsyncRetrying:  # type: ignore[override]
        """A retrying object with the strategy."""
        return AsyncRetrying(wait=self._strategy)

    @property
    def outcome(self) -> Future:  # type: ignore[override]
        """The result of the last poll."""
        has_exception = isinstance(self._result, TruebitError)
        return Future.construct(self.attempt_number, self._result, has_exception=has_exception)
