"""Lets wait strategies decide again how long sleeping waiters sleep.

A strategy that learns may know more now than when a waiter fell asleep. This matters most when many waits begin at the
same time: otherwise, none of them would profit from what the others have seen.

One pass goes over all entries of the due times, in steps. A pass that is interrupted by changes of the heap may miss
some waiters, and see others twice; the next pass sees them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from truebit_async._scheduler.timetable import DueTimes
from truebit_async._scheduler.waiter import Waiter
from truebit_async.errors import TruebitError

# Deciding again costs about as much as a twentieth of a poll. It is limited to a few decisions for each result, and to
# a number of them for a strategy that has just begun to learn.
_COST_OF_LOOK = 0.05  # decisions; to look at an entry takes time too, whatever its strategy is
_CREDIT_PER_RESULT = 2.0  # decisions
_MAX_CREDIT = 10_000.0  # decisions
_MIN_GAIN = 0.02  # seconds; a smaller one is not worth a change of the heap


class Replanner:
    """Wakes sleeping waiters earlier, if their strategy says so now. It never lets them sleep longer.

    Args:
        due: when the polls of sleeping waiters are due.
        on_error: is called with a waiter, and with what its strategy raised.
    """

    def __init__(self, due: DueTimes, on_error: Callable[[Waiter[Any], Exception], None]) -> None:
        self._due = due
        self._on_error = on_error
        self._credit = _MAX_CREDIT
        self._strategies: list[object] = []  # those of this pass
        self._next_strategies: list[object] = []
        self._position = 0  # of the next entry that this pass looks at

    @property
    def has_work(self) -> bool:
        """Whether there is something to do now."""
        return self._credit > 0 and bool(self._strategies or self._next_strategies)

    def earn(self) -> None:
        """Note that a result has arrived, which allows more decisions."""
        self._credit = min(_MAX_CREDIT, self._credit + _CREDIT_PER_RESULT)

    def add(self, strategy: object) -> None:
        """Let a strategy decide again, in the next pass."""
        if not _contains(self._next_strategies, strategy):
            self._next_strategies.append(strategy)

    def work(self, now: float, limit: int) -> int:
        """Go on with a pass; return how many entries were looked at.

        Args:
            now: the time, in seconds of the loop's clock.
            limit: how many entries to look at, at most.
        """
        if not self.has_work:
            return 0
        if not self._strategies:
            self._strategies, self._next_strategies, self._position = self._next_strategies, [], 0
        looked_at = 0
        while looked_at < limit and self._credit > 0:
            if self._position >= len(self._due):
                self._strategies = []
                break
            waiter = self._due.sleeping_at(self._position)
            self._position += 1
            looked_at += 1
            self._credit -= _COST_OF_LOOK
            if waiter is not None and _contains(self._strategies, waiter.group.policy.wait):
                self._credit -= 1 - _COST_OF_LOOK
                self._decide_again(waiter, now)
        return looked_at

    def _decide_again(self, waiter: Waiter[Any], now: float) -> None:
        if waiter.latest is None or isinstance(waiter.latest, TruebitError):
            return
        try:
            due = waiter.seen_at + waiter.sleep_after(waiter.latest, waiter.seen_at)
        except Exception as error:  # noqa: BLE001  # the user's wait strategy is broken: tell its caller
            self._on_error(waiter, error)
            return
        due = max(due, now)
        if due < waiter.due - _MIN_GAIN:
            self._due.move(waiter, due)


def _contains(strategies: list[object], strategy: object) -> bool:
    return any(strategy is other for other in strategies)  # a user's strategy may compare in a way of its own
