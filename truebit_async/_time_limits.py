"""Time limits that are cheap to set."""

from __future__ import annotations

import asyncio
import contextvars
import math


class TimeLimits:
    """The time limits of all exchanges under way, on one timer of the loop.

    Nearly every exchange ends long before its limit, and a timer of its own would be set and cancelled for nothing.
    That takes 7 µs, so the one timer is not cancelled either when the last exchange ends: the next one will need it.
    """

    def __init__(self) -> None:
        self._expiries: dict[asyncio.Timeout, float] = {}
        self._timer: asyncio.Handle | None = None
        self._fires_at = math.inf

    def begin(self, seconds: float) -> asyncio.Timeout:
        """Return a context manager that times out unless it is given to `end` before.

        Args:
            seconds: the limit.
        """
        loop = asyncio.get_running_loop()
        limit, expiry = asyncio.Timeout(None), loop.time() + seconds
        self._expiries[limit] = expiry
        if expiry < self._fires_at:
            self._set_timer(loop, expiry)
        return limit

    def end(self, limit: asyncio.Timeout) -> None:
        """Forget a limit.

        Args:
            limit: what `begin` returned.
        """
        del self._expiries[limit]

    def close(self) -> None:
        """Let all exchanges time out at once."""
        self._cancel_timer()
        for limit in self._expiries:
            _expire(limit)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, time: float) -> None:
        self._cancel_timer()
        self._timer, self._fires_at = loop.call_at(time, self._fire, loop, context=contextvars.Context()), time

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._fires_at = None, math.inf

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._fires_at = None, math.inf
        now = loop.time()
        for limit, expiry in self._expiries.items():
            if expiry <= now:
                _expire(limit)
        if later := [expiry for expiry in self._expiries.values() if expiry > now]:
            self._set_timer(loop, min(later))


def _expire(limit: asyncio.Timeout) -> None:
    if not limit.expired():  # else its exchange is on the way out already
        limit.reschedule(-math.inf)
