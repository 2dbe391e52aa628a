"""Statistics for the progress display. Their memory does not grow with the size of the batch."""

from __future__ import annotations

import math
from collections import Counter, deque

_LOG_WIDTH = math.log(1.02)  # each bucket is 2 % wide, so that a quantile is off by 1 % at most
_SHORTEST = 1e-3  # seconds


class Durations:
    """Quantiles of durations, within 1 %, from a histogram whose buckets grow geometrically."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Add a duration."""
        self._longest = max(self._longest, seconds)
        self._buckets[round(math.log(max(seconds, _SHORTEST)) / _LOG_WIDTH)] += 1

    def quantile(self, fraction: float) -> float | None:
        """Return a quantile in seconds, or None if there are no durations yet.

        Args:
            fraction: the fraction of the durations that are at most as long as the quantile, from 0 to 1.
        """
        remaining = fraction * self._buckets.total()
        for bucket in sorted(self._buckets):
            remaining -= self._buckets[bucket]
            if remaining <= 0:
                return min(math.exp(bucket * _LOG_WIDTH), self._longest)
        return None


class Rate:
    """How fast a counter grows, measured over the last seconds.

    Args:
        window: length of the measurement, in seconds.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._samples: deque[tuple[float, int]] = deque()  # times and counts

    def sample(self, now: float, count: int) -> float:
        """Record the current count and return its growth per second."""
        self._samples.append((now, count))
        while self._samples[0][0] < now - self._window and len(self._samples) > 2:  # noqa: PLR2004  # a rate needs two
            self._samples.popleft()
        then, count_then = self._samples[0]
        return (count - count_then) / (now - then) if now > then else 0.0
