"""Which waiter is next: by the time its next poll is due, and by its deadline."""

from __future__ import annotations

import abc
import heapq
import math
from typing import Any, Generic, TypeVar, cast

from truebit_async._scheduler.waiter import State, Waiter, WaiterGroup

ItemT = TypeVar("ItemT", Waiter[Any], WaiterGroup[Any])

_MIN_STALE = 64  # stale entries that are not worth a clean-up
_CLEANED_PER_CALL = 4  # entries


class _Heap(abc.ABC, Generic[ItemT]):
    """Items by time.

    An item that has become stale keeps its entry until the entry comes up. When stale entries are the majority, the
    whole heap is cleaned, a few entries with each call, so that no call takes long.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ItemT]] = []
        self._old: list[tuple[float, int, ItemT]] = []  # also a heap; during a clean-up, entries not yet looked at
        self._stale_count = 0

    @abc.abstractmethod
    def _is_stale(self, item: ItemT) -> bool: ...

    def _forget(self, item: ItemT) -> None:
        """Note that an item has no entry any more."""

    def _push(self, time: float, number: int, item: ItemT) -> None:
        heapq.heappush(self._heap, (time, number, item))
        self._clean()

    def _add_stale(self) -> None:
        self._stale_count += 1
        if not self._old and self._stale_count > len(self._heap) // 2 + _MIN_STALE:
            self._old, self._heap = self._heap, []
        self._clean()

    def _next_heap(self) -> list[tuple[float, int, ItemT]]:
        """Return the heap with the earliest entry, which is not stale; an empty one if there is none."""
        self._pop_stale(self._heap)
        if not self._old:
            return self._heap
        self._pop_stale(self._old)
        return min((heap for heap in (self._heap, self._old) if heap), key=lambda heap: heap[0], default=self._heap)

    def _pop_stale(self, heap: list[tuple[float, int, ItemT]]) -> None:
        while heap and self._is_stale(heap[0][2]):
            self._drop(heapq.heappop(heap)[2])

    def _clean(self) -> None:
        for _ in range(min(_CLEANED_PER_CALL, len(self._old))):
            entry = self._old.pop()  # without its last entry, a heap is still one
            if self._is_stale(entry[2]):
                self._drop(entry[2])
            else:
                heapq.heappush(self._heap, entry)

    def _drop(self, item: ItemT) -> None:
        self._stale_count -= 1
        self._forget(item)


class DueTimes(_Heap[Waiter[Any]]):
    """Sleeping waiters, by the time their next poll is due."""

    def add(self, waiter: Waiter[Any], due: float) -> None:
        """Add a sleeping waiter.

        Args:
            waiter: the waiter; it has no entry here.
            due: when its next poll is due, in seconds of the loop's clock.
        """
        self._push(due, waiter.number, waiter)

    def note_stale(self) -> None:
        """Note that a sleeping waiter is about to end, so that its entry becomes stale."""
        self._add_stale()

    def next_time(self) -> float:
        """Return the earliest time; infinity if there is none."""
        heap = self._next_heap()
        return heap[0][0] if heap else math.inf

    def pop_due(self, now: float) -> Waiter[Any] | None:
        """Take out the waiter that has been due for longest; return None if none is due.

        Args:
            now: the time, in seconds of the loop's clock.
        """
        heap = self._next_heap()
        return heapq.heappop(heap)[2] if heap and heap[0][0] <= now else None

    def _is_stale(self, item: Waiter[Any]) -> bool:
        return item.state is not State.ASLEEP


class Deadlines(_Heap[WaiterGroup[Any]]):
    """Groups of waiters, by the deadline of their first waiter.

    A group has one entry, whatever its size. The time of the entry may be too early, because the first waiter has ended
    since; it is corrected when the entry comes up.
    """

    def add(self, waiter: Waiter[Any]) -> None:
        """Add a waiter to its group, and the group to the deadlines."""
        group = waiter.group
        if group.first is None and group.has_deadline_entry:
            self._stale_count -= 1
        group.append(waiter)
        if not group.has_deadline_entry and waiter.deadline < math.inf:
            group.has_deadline_entry = True
            self._push(waiter.deadline, waiter.number, group)

    def remove(self, waiter: Waiter[Any]) -> None:
        """Remove a waiter that is over from its group."""
        group = waiter.group
        group.remove(waiter)
        if group.first is None and group.has_deadline_entry:
            self._add_stale()

    def next_time(self) -> float:
        """Return the earliest deadline; infinity if there is none."""
        first = self._first()
        return math.inf if first is None else first.deadline

    def next_passed(self, now: float) -> Waiter[Any] | None:
        """Return the waiter whose deadline passed first; None if no deadline has passed.

        Args:
            now: the time, in seconds of the loop's clock.
        """
        first = self._first()
        return first if first is not None and first.deadline <= now else None

    def _first(self) -> Waiter[Any] | None:
        """Return the waiter with the earliest deadline."""
        while heap := self._next_heap():
            time, _, group = heap[0]
            first = cast("Waiter[Any]", group.first)  # the entry is not stale
            if first.deadline <= time:
                return first
            heapq.heapreplace(heap, (first.deadline, first.number, group))
        return None

    def _is_stale(self, item: WaiterGroup[Any]) -> bool:
        return item.first is None

    def _forget(self, item: WaiterGroup[Any]) -> None:
        item.has_deadline_entry = False
