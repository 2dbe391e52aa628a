"""The default wait strategy: gaps in proportion to the age of an execution."""

from __future__ import annotations

import random

from tenacity import RetryCallState
from tenacity.wait import wait_base

from truebit_async._arguments import check_positive

_GROWTH = 1.3  # how many times longer each of the first gaps is than the one before it
_MAX_EXPONENT = 100  # beyond it, a float could overflow; every gap is at its limit long before


class ProportionalWait(wait_base):
    """Sleeps for a share of the age of the execution, within limits, and for longer after failures.

    As long as no poll fails, an end is seen late by at most ``fraction`` of how long the execution ran, or by ``floor``
    seconds if it ran for a short time, and never by more than ``max_interval`` seconds. The time that requests take and
    the caps of the session add to this.

    The gap after the first poll is ``first``. Gaps grow by 30 % from poll to poll up to ``floor``; then they are in
    proportion to the age. Each failure in a row doubles the gap, up to ``max_interval``. Each gap is shorter by a
    random part of up to ``jitter``, so that waits that started together drift apart.

    Args:
        fraction: the gap in proportion to the age, such as 0.2 for a fifth; with 0, gaps grow to ``floor`` only.
        first: the gap after the first poll, in seconds.
        floor: the gap that the first gaps grow to, in seconds.
        max_interval: the longest gap, in seconds.
        jitter: how much of a gap may be left out, from 0 to 1.

    Raises:
        TypeError: an argument is not a number.
        ValueError: an argument is negative, infinite or NaN; ``first``, ``floor`` or ``max_interval`` is zero; or
            ``jitter`` is above 1.
    """

    def __init__(
        self,
        fraction: float = 0.2,
        *,
        first: float = 1.0,
        floor: float = 2.0,
        max_interval: float = 8.0,
        jitter: float = 0.2,
    ) -> None:
        check_positive("fraction", fraction, zero_allowed=True)
        check_positive("first", first)
        check_positive("floor", floor)
        check_positive("max_interval", max_interval)
        check_positive("jitter", jitter, zero_allowed=True)
        if jitter > 1:
            msg = f"jitter must be at most 1, not {jitter}"
            raise ValueError(msg)
        self.fraction: float = fraction
        self.first: float = first
        self.floor: float = floor
        self.max_interval: float = max_interval
        self.jitter: float = jitter

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to sleep after a poll.

        Args:
            retry_state: of a wait, or of any other call that tenacity repeats. There, the age is the time since the
                first call, and failures double nothing.
        """
        age = getattr(retry_state, "execution_age", None)
        if age is None:  # a call that is no wait
            age = retry_state.seconds_since_start or 0.0
        failures = getattr(retry_state, "consecutive_failures", 0)
        longest = self.longest(retry_state.attempt_number, age, failures)
        return longest * (1 - self.jitter * random.random())  # noqa: S311  # this is no secret

    def longest(self, polls: int, age: float, failures: int = 0) -> float:
        """Return the longest gap after a poll, in seconds: the one that jitter takes nothing off.

        Args:
            polls: how many polls there were so far.
            age: seconds since the execution was submitted.
            failures: how many transient failures there were in a row.
        """
        growing = self.first * _GROWTH ** min(polls - 1, _MAX_EXPONENT)
        gap = max(min(self.floor, growing), self.fraction * age)
        return min(self.max_interval, gap * 2.0 ** min(failures, _MAX_EXPONENT))

    def mean_gap(self, polls: int, age: float) -> float:
        """Return the mean gap after a poll that did not fail, in seconds.

        Args:
            polls: how many polls there were so far.
            age: seconds since the execution was submitted.
        """
        return self.longest(polls, age) * (1 - self.jitter / 2)

    def __repr__(self) -> str:
        names = ("fraction", "first", "floor", "max_interval", "jitter")
        return f"ProportionalWait({', '.join(f'{name}={getattr(self, name):g}' for name in names)})"
