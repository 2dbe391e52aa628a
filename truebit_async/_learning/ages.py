"""Ages of executions, in bins that are longer the higher the age is."""

from __future__ import annotations

import math
from array import array
from itertools import pairwise

FIRST = 0.25  # seconds; the end of the first bin
RATIO = 1.06  # each bin ends this many times later than the one before it
LAST = 86_400  # seconds; higher ages are in the last bin

LOG_RATIO: float = math.log(RATIO)
COUNT: int = 2 + int(math.log(LAST / FIRST) / LOG_RATIO)
"""The number of bins."""
EDGES: array[float] = array("d", [0.0, *(FIRST * RATIO**number for number in range(COUNT))])
"""Where each bin begins, in seconds, and where the last one ends."""

_LENGTHS: array[float] = array("d", [end - begin for begin, end in pairwise(EDGES)])


def zeros() -> array[float]:
    """Return a zero for each bin."""
    return array("d", bytes(8 * COUNT))


def place(age: float) -> tuple[int, float]:
    """Return the bin of an age, and which part of that bin lies before the age, from 0 to 1.

    Args:
        age: seconds. What is no age, because a clock went wrong, counts as zero.
    """
    if not age >= FIRST:  # so that NaN is here too
        return 0, max(0.0, age / FIRST)
    if age >= EDGES[COUNT]:
        return COUNT - 1, 1.0
    number = min(COUNT - 1, 1 + int(math.log(age / FIRST) / LOG_RATIO))
    return number, min(1.0, max(0.0, (age - EDGES[number]) / _LENGTHS[number]))


class Intervals:
    """A sum over each bin of the intervals that cover it, whole or in part. Adding an interval takes constant time."""

    def __init__(self) -> None:
        self._changes = array("d", bytes(8 * (COUNT + 2)))  # from each bin to the next

    def add(self, begin: tuple[int, float], end: tuple[int, float], amount: float) -> None:
        """Add an interval.

        Args:
            begin: the place of its first age.
            end: the place of its last age.
            amount: what it counts for in a bin that it covers as a whole; zero or more.
        """
        changes = self._changes
        number, part = begin
        changes[number] += amount * (1 - part)
        changes[number + 1] += amount * part
        number, part = end
        changes[number] -= amount * (1 - part)
        changes[number + 1] -= amount * part

    def sums(self) -> list[float]:
        """Return the sum for each bin."""
        total, sums = 0.0, []
        for change in self._changes[:COUNT]:
            total += change
            sums.append(max(0.0, total))  # rounding may leave a little less than nothing
        return sums
