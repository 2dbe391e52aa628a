"""Which wait is next."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from truebit_async._wait import Wait


class Timetable:
    """A heap of waits by a time of theirs. An entry is stale once that time has changed or the wait is over.

    Stale entries are dropped when they come up, and all at once when the heap has doubled since the last time, so
    they never outnumber the others for long and cost no more than a constant per entry.

    Args:
        time_of: the time of a wait, in seconds of the loop's clock; infinity keeps it out.
    """

    def __init__(self, time_of: Callable[[Wait], float]) -> None:
        self._time_of = time_of
        self._heap: list[tuple[float, int, Wait]] = []
        self._crowded = 128

    def add(self, wait: Wait) -> None:
        """Note the time of a wait; an entry of another time that it has becomes stale."""
        if len(self._heap) >= self._crowded:
            self._heap = [entry for entry in self._heap if not self._is_stale(entry)]
            heapq.heapify(self._heap)
            self._crowded = 2 * len(self._heap) + 128
        if (time := self._time_of(wait)) < math.inf:
            heapq.heappush(self._heap, (time, wait.sequence, wait))

    def next_time(self) -> float:
        """Return the earliest time; infinity if there is none."""
        heap = self._heap
        while heap:
            if not self._is_stale(heap[0]):
                return heap[0][0]
            heapq.heappop(heap)
        return math.inf

    def pop(self) -> Wait:
        """Take out the wait of the earliest time, which `next_time` has just returned."""
        return heapq.heappop(self._heap)[2]

    def _is_stale(self, entry: tuple[float, int, Wait]) -> bool:
        time, _, wait = entry
        return wait.is_over or self._time_of(wait) != time
