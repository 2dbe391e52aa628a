"""What the polls of a group of executions tell of their durations.

A poll tells only whether an execution has ended by then. So each answer is about an interval of ages, from the last
poll that found the execution running to this one. This module counts, for each bin of ages, how many executions were
seen to pass it (``passes``), and how many of them ended in it (``ends``). An end is shared among the bins of its
interval in proportion to what the present estimate says (Turnbull, 1976: the self-consistent estimate from
interval-censored data). Their ratio is the hazard: the rate at which executions end that have come so far.

Later executions count for more, so that what was true once is forgotten.
"""

from __future__ import annotations

import math
from array import array
from itertools import accumulate
from typing import Self

from truebit_async._learning.ages import COUNT, LOG_RATIO, Intervals, place, zeros
from truebit_async._learning.curve import Curve
from truebit_async._learning.saved import SavedGroup

MEMORY = 500  # executions; when this many more have ended, one counts 1/e of what it did
MEMORY_AFTER_CHANGE = 16.0  # executions

_PRIOR = 0.5  # passes that each bin begins with, at the hazard 1 / age, which knows no scale
_MIN_PASSES = 2.0  # with fewer passes, a bin is unknown
_GUESSED = 18  # unknown bins after the known ones, up to nearly three times the age; their hazard is 1 / age
_SMOOTHING = 2.0  # e-folds of age to either side, divided by the square root of the number of executions

# The difference between the ends that were expected and those that were seen, over the last answers, tells when
# durations have changed. How many answers these are depends on how much each of them can tell: many, where an end is
# improbable between two polls, as with short gaps. Many executions that run at the same time err in the same direction:
# there the difference tells nothing.
_MAX_VARIANCE = 100.0  # of that difference; about four times as many answers, if ends are as probable as not
_FADING = 0.98  # of the number under way, per execution that begins
_SURE = 4.5  # standard deviations
_SLACK = 0.3  # per execution under way
_CROWD = 64  # executions under way
_MIN_EXECUTIONS = 32  # with fewer, the estimate is too rough for a difference to mean anything
_MIN_VARIANCE = 0.01  # per answer: an estimate is never quite certain of one


class Durations:
    """What is known of the durations of a group.

    Attributes:
        curve: the present estimate.
        completed: how many executions were seen to end.
        completed_since: how many of them since the present estimate was made.
        answers_since: how many answers since then.
        weight: what the next execution counts for. It grows, so that others count for less.
        total: the sum of the weights of executions that have ended.
    """

    def __init__(self) -> None:
        self.curve: Curve = Curve()
        self.completed: int = 0
        self.completed_since: int = 0
        self.answers_since: int = 0
        self.weight: float = 1.0
        self.total: float = 0.0
        self._passes: array[float] = zeros()
        self._ends: array[float] = zeros()
        self._begin_counting()
        self._under_way = 0
        self._crowd = 0.0  # the most that were under way, falling slowly
        self._forget_errors()

    @classmethod
    def from_saved(cls, saved: SavedGroup) -> Self:
        """Return what was known when it was saved."""
        durations = cls()
        durations.completed, durations.total = saved.completed, saved.total
        durations._passes[: len(saved.passes)] = array("d", saved.passes)
        durations._ends[: len(saved.ends)] = array("d", saved.ends)
        durations.curve = durations._curve()
        return durations

    def counts(self) -> tuple[list[float], list[float]]:
        """Return the passes and the ends of each bin, as of the last `update`."""
        return list(self._passes), list(self._ends)

    def begin(self) -> None:
        """Note that an execution is under way."""
        self._under_way += 1
        self._crowd = max(self._under_way, self._crowd * _FADING)

    def leave(self) -> None:
        """Note that an execution is not under way any more."""
        self._under_way = max(0, self._under_way - 1)

    def add_pending(self, before: float, age: float) -> None:
        """Note that an execution that ran at an age was still running at a higher one.

        Args:
            before: the lower age, in seconds.
            age: the higher age.
        """
        begin, end = place(before), place(age)
        self._compare(self.curve.share_at(*begin), self.curve.share_at(*end), ended=0)
        self._new_passes.add(begin, end, self.weight)

    def add_end(self, before: float, age: float) -> None:
        """Note that an execution that ran at an age had ended at a higher one.

        Args:
            before: the lower age, in seconds.
            age: the higher age.
        """
        begin, end = place(before), place(age)
        share_before, share = self.curve.share_at(*begin), self.curve.share_at(*end)
        self._compare(share_before, share, ended=1)
        part = min(1.0, max(1e-9, 1 - share / share_before)) * share_before
        self._new_ends.add(begin, end, self.weight / part)
        self._new_ends_outside.add(begin, end, self.weight / part * share)
        self.completed += 1
        self.completed_since += 1
        self.total += self.weight
        self.weight /= 1 - 1 / MEMORY

    def have_changed(self) -> bool:
        """Return whether the durations differ from what was learned, so that this is better forgotten."""
        if self.total <= _MIN_EXECUTIONS * self.weight:
            return False
        surplus = abs(self._error) - _SLACK * self._crowd
        return surplus > 0 and surplus > _SURE * math.sqrt(self._variance)

    def update(self, *, forget: bool = False) -> float:
        """Estimate the curve anew.

        Args:
            forget: whether to keep the weight of a few executions only, because durations have changed.

        Returns:
            By which factor all weights were multiplied.
        """
        fading = 1 / self.weight
        if forget and self.total > MEMORY_AFTER_CHANGE * self.weight:
            fading *= MEMORY_AFTER_CHANGE * self.weight / self.total
        if forget:
            self._forget_errors()
        self._take_in(fading)
        self.weight = 1.0
        self.total *= fading
        self.completed_since = self.answers_since = 0
        self.curve = self._curve()
        return fading

    def _begin_counting(self) -> None:
        """Begin to count the answers until the next estimate."""
        self._new_passes = Intervals()
        self._new_ends = Intervals()  # for each end, its weight / how likely its interval was
        self._new_ends_outside = Intervals()  # the same, times the share that outlives the interval

    def _take_in(self, fading: float) -> None:
        passes, ends, outside = self._new_passes.sums(), self._new_ends.sums(), self._new_ends_outside.sums()
        share_at = self.curve.share_at
        before = 1.0
        for number in range(COUNT):
            after = share_at(number, 1.0)
            self._ends[number] = fading * (self._ends[number] + ends[number] * (before - after))
            passed = max(0.0, ends[number] * (before + after) / 2 - outside[number])  # before they ended
            self._passes[number] = fading * (self._passes[number] + passes[number] + passed)
            before = after
        self._begin_counting()

    def _curve(self) -> Curve:
        seen = 1 + max((number for number in range(COUNT) if self._passes[number] > _MIN_PASSES), default=1)
        reach = int(_SMOOTHING / LOG_RATIO / math.sqrt(self.total + 1))
        end = min(seen + _GUESSED, COUNT - 1)
        ends = [0.0, *accumulate(self._ends[: end + reach])]
        passes = [0.0, *accumulate(self._passes[: end + reach])]
        # Below the ages that polls tell of, nothing ends: executions that were submitted earlier ran until then.
        first = next((number for number in range(end) if self._passes[number] > _MIN_PASSES), 0)
        rates = [0.0] * first
        for number in range(first, end):
            low, high = max(0, number - reach), min(len(passes) - 1, number + reach + 1)
            prior = _PRIOR * (high - low)
            rates.append((ends[high] - ends[low] + prior * LOG_RATIO) / (passes[high] - passes[low] + prior))
        return Curve(rates, min(seen + reach, end))

    # Whether the durations have changed

    def _forget_errors(self) -> None:
        self._error = 0.0
        self._variance = 0.0

    def _compare(self, share_before: float, share: float, *, ended: int) -> None:
        """Compare an answer with what the estimate says, as far as it is known."""
        self.answers_since += 1
        expected = 1 - max(share, self.curve.share_beyond) / share_before
        if expected <= 0:
            return
        variance = expected * (1 - expected) + _MIN_VARIANCE
        fading = 1 - variance / _MAX_VARIANCE if self._crowd <= _CROWD else 0.0
        self._error = self._error * fading + ended - expected
        self._variance = self._variance * fading + variance
