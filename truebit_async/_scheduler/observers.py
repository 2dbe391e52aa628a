"""Tells wait strategies of polls and ends, and lets them decide again when they know more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Literal

from truebit_async._scheduler.registry import Registry, SharedTarget
from truebit_async._scheduler.replanning import Replanner
from truebit_async._scheduler.timetable import DueTimes
from truebit_async._scheduler.waiter import Waiter
from truebit_async._strategy_protocol import Observation
from truebit_async.models import Outcome

_MAX_LOGGED = 100  # strategies of one session

_logger = logging.getLogger("truebit_async")


class Observers:
    """The wait strategies that want to know what happens. What they raise is logged once for each of them.

    Args:
        registry: which waiters share a target. For each strategy, one of them observes, so that a result counts once.
        due: when the polls of sleeping waiters are due.
        on_error: is called with a waiter, and with what its strategy raised when it decided again.
    """

    def __init__(self, registry: Registry, due: DueTimes, on_error: Callable[[Waiter[Any], Exception], None]) -> None:
        self._registry = registry
        self._replanner = Replanner(due, on_error)
        self._have_raised: list[object] = []  # strategies; they may be unhashable

    @property
    def has_work(self) -> bool:
        """Whether a strategy wants to decide again for sleeping waiters."""
        return self._replanner.has_work

    def work(self, now: float, limit: int) -> int:
        """Let strategies decide again: see `Replanner.work`."""
        return self._replanner.work(now, limit)

    def tell_pending(self, waiter: Waiter[Any]) -> None:
        """Tell that a poll found an execution running.

        Args:
            waiter: a waiter that has taken this result. Its strategy observes.
        """
        self._tell(waiter, waiter.age_at(waiter.seen_at), "pending")
        waiter.pending_at = waiter.seen_at

    def tell_end(self, waiter: Waiter[Any], end: Outcome[Any] | BaseException | None, now: float) -> None:
        """Tell that a wait has ended, before its waiter is removed.

        Args:
            waiter: the waiter. Its strategy observes.
            end: the outcome, or a bug; None if the caller has left.
            now: the time, in seconds of the loop's clock.
        """
        is_final = isinstance(end, Outcome) and end.execution is not None
        self._tell(waiter, waiter.age_at(now), "finished" if is_final else "left")

    def _observes_for_all(self, waiter: Waiter[Any], what: str) -> bool:
        """Return whether a waiter is the one that observes, of those with its strategy that share a target."""
        found = self._registry.get(waiter.target)
        return not isinstance(found, SharedTarget) or found.observes(waiter, is_end=what == "finished")

    def _tell(self, waiter: Waiter[Any], age: float, what: Literal["pending", "finished", "left"]) -> None:
        observe = waiter.group.observe
        if observe is None or not self._observes_for_all(waiter, what):
            return
        strategy = waiter.group.policy.wait
        age_at_start = max(0.0, waiter.age_at_start)
        observation = Observation(
            waiter.execution_id, waiter.kind, age, waiter.pending_age, waiter.polls, what, age_at_start
        )
        try:
            wants_change = bool(observe(observation))
        except (Exception, asyncio.CancelledError):  # CancelledError too: nobody can cancel a function
            is_known = any(strategy is other for other in self._have_raised)
            if not is_known and len(self._have_raised) < _MAX_LOGGED:
                self._have_raised.append(strategy)
                with contextlib.suppress(Exception, asyncio.CancelledError):  # a filter of the log may raise as well
                    _logger.exception("the method observe of a wait strategy raised; the waits go on")
            return
        self._replanner.earn()
        if wants_change:
            self._replanner.add(strategy)
