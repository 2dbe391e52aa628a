"""The numbers a progress display shows, in constant memory however large the batch."""

from __future__ import annotations

import math
from collections import Counter, deque

_STEP = math.log(1.02)  # buckets 2 % wide, so that a quantile is off by 1 % at most
_SHORTEST = 1e-3  # seconds


class Durations:
    """Quantiles of durations, within 1 %, from a histogram whose buckets grow geometrically."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one more duration."""
        self._longest = max(self._longest, seconds)
        self._buckets[round(math.log(max(seconds, _SHORTEST)) / _STEP)] += 1

    def quantile(self, fraction: float) -> float | None:
        """Return the duration that this fraction of all does not exceed, in seconds; None if there is none yet."""
        left = fraction * self._buckets.total()
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return min(math.exp(bucket * _STEP), self._longest)
        return None


class Rate:
    """How fast a counter grows, over a window of the last seconds.

    Args:
        window: length of the window, in seconds.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now: float, count: int) -> float:
        """Note the counter and return its growth per second."""
        self._samples.append((now, count))
        while self._samples[0][0] < now - self._window and len(self._samples) > 2:  # noqa: PLR2004  # a line has two ends
            self._samples.popleft()
        then, count_then = self._samples[0]
        return (count - count_then) / (now - then) if now > then else 0.0
