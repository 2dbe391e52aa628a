"""Adapts a waiter to the `RetryCallState` that tenacity's wait strategies take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenacity import AsyncRetrying, Future

from truebit_async._strategy_protocol import PollState
from truebit_async.errors import TruebitError

if TYPE_CHECKING:
    from truebit_async._scheduler.waiter import Waiter


class WaiterRetryState(PollState):
    """The state that a wait strategy decides by.

    Few strategies read all of it. Making `outcome` and `retry_object` for each poll would take 3 % of its CPU, so they
    are made when they are read.

    Args:
        waiter: the waiter.
        result: the result of its last poll, a state or an error.
        now: when that arrived, in seconds of the loop's clock.
    """

    def __init__(self, waiter: Waiter[Any], result: object, now: float) -> None:  # replaces that of the base class
        self._waiter = waiter
        self._result = result
        self._now = now
        self.fn = None
        self.args = (waiter.execution_id,)
        self.kwargs = {}
        self.start_time = min(waiter.started, now)  # a result of other waiters may have arrived before this wait began
        self.attempt_number = max(1, waiter.polls)  # a waiter that joined others has a result before a poll of its own
        self.outcome_timestamp = now
        self.seen_at = now if waiter.seen_at == -math.inf else waiter.seen_at
        self.next_action = None
        self.upcoming_sleep = 0.0

    @property
    def idle_for(self) -> float:  # type: ignore[override]
        """Seconds since the wait began. They are not counted apart from the time that requests take."""
        return self._now - self.start_time

    @property
    def retry_object(self) -> AsyncRetrying:  # type: ignore[override]
        """A retrying object with the strategy."""
        return AsyncRetrying(wait=self._waiter.group.policy.wait)

    @property
    def outcome(self) -> Future:  # type: ignore[override]
        """The result of the last poll."""
        return Future.construct(self.attempt_number, self._result, has_exception=not self.is_pending)

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The kind of task."""
        return self._waiter.kind

    @property
    def wait_strategy(self) -> object:  # type: ignore[override]
        """The strategy of the policy."""
        return self._waiter.group.policy.wait

    @property
    def is_pending(self) -> bool:  # type: ignore[override]
        """Whether the last poll found the execution running."""
        return not isinstance(self._result, TruebitError)

    @property
    def consecutive_failures(self) -> int:  # type: ignore[override]
        """Transient failures in a row."""
        return self._waiter.errors_in_a_row

    @property
    def execution_age(self) -> float:  # type: ignore[override]
        """The age of the execution, in seconds, as far as is known."""
        return self._waiter.age_at(self._now)
