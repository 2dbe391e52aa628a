"""When the next request of a session may start: a free slot, the rate, and pauses the server asked for.

Pure arithmetic over times that the caller passes in (seconds of one monotonic clock).
"""

from __future__ import annotations

import math

# Requests start one interval apart. A timer that fires late would lower the rate, so turns that were missed within the
# last MAX_CATCH_UP seconds are made up. The interval is therefore that of a lower rate, max_rate * RATE_MARGIN: one
# second holds at most max_rate * 0.98 * (1 + 0.02) < max_rate requests, plus one.
MAX_CATCH_UP = 0.02
RATE_MARGIN = 0.98


class Pacer:
    """The caps of one session.

    Args:
        max_concurrency: requests in flight at once.
        max_rate: requests per second; None sets no cap.

    Attributes:
        max_concurrency: requests in flight at once.
    """

    def __init__(self, max_concurrency: int, max_rate: float | None) -> None:
        self.max_concurrency: int = max_concurrency
        self._interval = 0.0 if max_rate is None else 1 / (max_rate * RATE_MARGIN)
        self._in_flight = 0
        self._next_turn = -math.inf
        self._paused_until = -math.inf

    def next_start(self) -> float:
        """Return the time from which one more request may start; infinity while every slot is taken."""
        if self._in_flight >= self.max_concurrency:
            return math.inf
        return max(self._next_turn, self._paused_until)

    def started(self, now: float) -> None:
        """Take a slot and a turn for a request that starts now."""
        self._in_flight += 1
        if self._interval:
            self._next_turn = max(self._next_turn, now - MAX_CATCH_UP) + self._interval

    def finished(self) -> None:
        """Give the slot of a request back."""
        self._in_flight -= 1

    def pause(self, until: float) -> None:
        """Start no request before the given time; a longer pause that is already set stays."""
        self._paused_until = max(self._paused_until, until)
