"""How many executions still run at each age: the survival function of their durations."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

from truebit_async._learning.ages import EDGES, FIRST, place

_END = 1e-9  # a share below this counts as nobody
_LEAST = 1e-12  # no share is lower, so that one can divide by it


class Curve:
    """The share S of executions that still run at an age; F = 1 - S have ended.

    Within a bin, S falls in a straight line. Above the last of the bins, S falls as 1 / age.

    Args:
        rates: for each bin, from the first one on, the exponent by which S falls in it.
        known: how many of these bins are known; the rates of the others are guesses.

    Attributes:
        survival: S at the beginning of each bin, and at the end of the last one.
        running: the integral of S from 0 to the same ages, in seconds.
        end: the age at the end of the last bin, in seconds.
        known: the age up to which S is known, in seconds.
        share_beyond: S at the age `known`.
    """

    def __init__(self, rates: Sequence[float] = (), known: int = 0) -> None:
        self.survival: array[float] = array("d", [1.0])
        self.running: array[float] = array("d", [0.0])
        for number, rate in enumerate(rates):
            before = self.survival[-1]
            share = max(_LEAST, before * math.exp(-rate))
            self.survival.append(share)
            self.running.append(self.running[-1] + (EDGES[number + 1] - EDGES[number]) * (before + share) / 2)
            if share < _END:
                break
        top = len(self.survival) - 1
        self._known_bins = min(known, top)
        self.end: float = EDGES[top]
        self.known: float = EDGES[self._known_bins]
        self.share_beyond: float = self.survival[self._known_bins]

    def share_at(self, number: int, part: float) -> float:
        """Return S at a place, as `ages.place` returns it; it is above zero."""
        survival = self.survival
        if number < len(survival) - 1:
            before = survival[number]
            return before + part * (survival[number + 1] - before)
        age = EDGES[number] + part * (EDGES[number + 1] - EDGES[number])
        return survival[-1] * (FIRST + self.end) / (FIRST + age)

    def share(self, age: float) -> float:
        """Return S at an age in seconds; it is above zero."""
        return self.share_at(*place(age))

    def running_time(self, age: float) -> float:
        """Return for how many seconds of the time up to an age an execution runs on average: the integral of S."""
        survival = self.survival
        number, part = place(age)
        if number < len(survival) - 1:
            before = survival[number]
            after = before + part * (survival[number + 1] - before)
            return self.running[number] + part * (EDGES[number + 1] - EDGES[number]) * (before + after) / 2
        scale = FIRST + self.end
        return self.running[-1] + survival[-1] * scale * math.log((FIRST + max(age, self.end)) / scale)

    def expected_delay(self, pending_age: float, age: float) -> float:
        """Return how many seconds ago an execution ended on average, counting 0 if it still runs.

        Args:
            pending_age: an age at which it was running, in seconds.
            age: its age now.
        """
        if age <= pending_age:
            return 0.0
        ran = (self.running_time(age) - self.running_time(pending_age)) / self.share(pending_age)
        return max(0.0, age - pending_age - ran)

    def quantile(self, share: float) -> float | None:
        """Return the age by which a share of the executions has ended; None if that is above all known ages."""
        remaining = 1 - share
        for number, after in enumerate(self.survival[1 : self._known_bins + 1]):
            if after <= remaining:
                before = self.survival[number]
                part = (before - remaining) / (before - after)
                return EDGES[number] + part * (EDGES[number + 1] - EDGES[number])
        return None
