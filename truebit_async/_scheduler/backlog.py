"""Which waiter polls first when a cap lets fewer polls through than are due.

The waiter with the longest expected delay goes first. That is how long ago its execution ended, on average, as far as
its wait strategy knows. Where a strategy does not know, the time since the poll was due takes its place.

An expected delay grows by at most one second per second. So one that was computed a while ago, plus the time since, is
an upper bound of what it is now. The waiters are in a heap by these bounds. To find the longest delay, it is enough to
compute that of the first waiter anew until it stays the first. The delay of each waiter is computed anew about once in
the time that passes between two polls of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import math
from typing import Any

from truebit_async._scheduler.waiter import Waiter

_logger = logging.getLogger("truebit_async")

HELD_UP = -math.inf
"""What `Waiter.due` is for a waiter in the backlog. It is a mark and not a time."""

_TURN_OF_THE_OLDEST = 20  # each 20th poll is for the waiter that has been due for longest, so that none starves
_MAX_COMPUTED = 16  # delays per poll; after so many, the longest of them is good enough
_MAX_DROPPED = 200  # bounds per poll, of waiters that have left; more of them are dropped with the next poll


class Backlog:
    """Waiters whose poll is due and held up by a cap. They are marked as `HELD_UP`.

    The bound of a waiter that has left stays in the heap until it comes first. Each stay has a number of its own.
    """

    def __init__(self) -> None:
        self._bounds: list[tuple[float, int, Waiter[Any]]] = []  # minus the bound of the expected delay at time 0
        self._stays: dict[Waiter[Any], int] = {}  # the one that has been due for longest comes first
        self._last_stay = 0
        self._turns = 0
        self._has_logged = False  # what a strategy raised

    def __bool__(self) -> bool:
        return bool(self._stays)

    def add(self, waiter: Waiter[Any], now: float) -> None:
        """Add a sleeping waiter.

        Args:
            waiter: the waiter.
            now: the time, in seconds of the loop's clock.
        """
        delay = self._expected_delay(waiter, now)
        bound = waiter.due if delay is None else now - delay
        waiter.due = HELD_UP
        self._last_stay += 1
        self._stays[waiter] = self._last_stay
        heapq.heappush(self._bounds, (bound, self._last_stay, waiter))

    def remove(self, waiter: Waiter[Any]) -> None:
        """Remove a waiter."""
        del self._stays[waiter]
        if not self._stays:
            self._stays, self._bounds = {}, []  # new ones: they may have been large

    def pop(self, now: float) -> Waiter[Any] | None:
        """Take out the waiter whose turn it is; return None if there is none.

        Args:
            now: the time, in seconds of the loop's clock.
        """
        self._turns += 1
        is_turn_of_oldest = self._turns % _TURN_OF_THE_OLDEST == 0
        waiter = next(iter(self._stays), None) if is_turn_of_oldest else self._most_delayed(now)
        if waiter is not None:
            waiter.due = now
            self.remove(waiter)
        return waiter

    def _most_delayed(self, now: float) -> Waiter[Any] | None:
        best, best_bound = None, math.inf
        computed = 0
        bounds = self._bounds
        dropped = 0
        while bounds and computed < _MAX_COMPUTED and dropped < _MAX_DROPPED:
            bound, stay, waiter = bounds[0]
            if self._stays.get(waiter) != stay:
                heapq.heappop(bounds)
                dropped += 1
                continue
            if best_bound <= bound:
                break
            delay = self._expected_delay(waiter, now)
            if delay is not None:
                bound = now - delay
            computed += 1
            heapq.heapreplace(bounds, (bound, stay, waiter))
            if bound < best_bound:
                best, best_bound = waiter, bound
        return best

    def _expected_delay(self, waiter: Waiter[Any], now: float) -> float | None:
        """Return the expected delay of a waiter; None if its strategy does not know it."""
        ask = waiter.group.expected_delay
        if ask is None:
            return None
        try:
            delay = ask(waiter.execution_id, waiter.kind, waiter.pending_age, waiter.age_at(now))
            seconds = math.nan if delay is None else float(delay)
        except (Exception, asyncio.CancelledError):  # nobody can cancel a function; the order is all that it can spoil
            if not self._has_logged:
                self._has_logged = True
                with contextlib.suppress(Exception):  # a filter of the log may raise as well
                    _logger.exception("the method expected_delay of a wait strategy failed; this is logged once")
            return None
        return seconds if 0 <= seconds < math.inf else None
