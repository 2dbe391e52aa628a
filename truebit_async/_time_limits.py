"""Time limits that are cheap to set."""

from __future__ import annotations

import asyncio
import math

from truebit_async._timer import Timer


class TimeLimits:
    """The time limits of all exchanges under way, on one timer of the loop.

    Nearly every exchange ends long before its limit, and a timer of its own would be set and cancelled for nothing.
    That takes 7 µs, so the one timer is not cancelled either when the last exchange ends: the next one will need it.
    """

    def __init__(self) -> None:
        self._expiries: dict[asyncio.Timeout, float] = {}
        self._timer = Timer(self._expire_passed)

    def begin(self, seconds: float) -> asyncio.Timeout:
        """Return a context manager that times out unless it is given to `end` before.

        Args:
            seconds: the limit.
        """
        limit, expiry = asyncio.Timeout(None), asyncio.get_running_loop().time() + seconds
        self._expiries[limit] = expiry
        if expiry < self._timer.time:
            self._timer.set(expiry)
        return limit

    def end(self, limit: asyncio.Timeout) -> None:
        """Forget a limit.

        Args:
            limit: what `begin` returned.
        """
        del self._expiries[limit]

    def close(self) -> None:
        """Let all exchanges time out at once."""
        self._timer.set(math.inf)
        for limit in self._expiries:
            _expire(limit)

    def _expire_passed(self) -> None:
        now = asyncio.get_running_loop().time()
        for limit, expiry in self._expiries.items():
            if expiry <= now:
                _expire(limit)
        self._timer.set(min((expiry for expiry in self._expiries.values() if expiry > now), default=math.inf))


def _expire(limit: asyncio.Timeout) -> None:
    if not limit.expired():  # else its exchange is on the way out already
        limit.reschedule(-math.inf)
