"""Which waiter is next: by the time its next poll is due, and by its deadline."""

from __future__ import annotations

import abc
import heapq
import math
from typing import Any, Generic, TypeVar, cast

from truebit_async._scheduler.backlog import HELD_UP, Backlog
from truebit_async._scheduler.waiter import Phase, Waiter, WaiterGroup

ItemT = TypeVar("ItemT", Waiter[Any], WaiterGroup[Any])

_MIN_STALE = 64  # stale entries that are not worth a clean-up
_CLEANED_PER_CALL = 4  # entries
_DROPPED_PER_CALL = 200  # stale entries at the beginning of a heap

_MAX_LATENESS = 0.05  # seconds; a poll that is overdue for longer is held up by a cap
_RANKED_PER_CALL = 10  # waiters that are held up


class _Heap(abc.ABC, Generic[ItemT]):
    """Items by time.

    An item that has become stale keeps its entry until the entry comes first. When stale entries are the majority, the
    whole heap is cleaned, a few entries with each call, so that no call takes long. For the same reason, a call drops a
    limited number of stale entries. If there are more, the first entry is a stale one until the next call.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, ItemT]] = []
        self._old: list[tuple[float, int, ItemT]] = []  # also a heap; during a clean-up, entries not yet looked at
        self._stale_count = 0

    @abc.abstractmethod
    def _is_stale(self, item: ItemT, time: float) -> bool: ...

    def _forget(self, item: ItemT) -> None:
        """Note that an item has no entry any more."""

    def next_time(self) -> float:
        """Return the earliest time of an entry, stale or not; infinity if there is none."""
        heap = self._first_heap()
        return heap[0][0] if heap else math.inf

    def _first_heap(self) -> list[tuple[float, int, ItemT]]:
        """Return the heap with the earliest entry; an empty one if there is none."""
        if not self._old:
            return self._heap
        return min((heap for heap in (self._heap, self._old) if heap), key=lambda heap: heap[0], default=self._heap)

    def _heap_with_due(self, now: float) -> list[tuple[float, int, ItemT]] | None:
        """Return the heap with the earliest entry, if the time of that has come and it is not stale."""
        if self._stale_count:
            self._drop_stale()
        heap = self._first_heap()
        return heap if heap and heap[0][0] <= now and not self._is_stale(heap[0][2], heap[0][0]) else None

    def _push(self, time: float, number: int, item: ItemT) -> None:
        heapq.heappush(self._heap, (time, number, item))
        if self._old:
            self._clean()

    def _add_stale(self) -> None:
        """Note that an item has become stale."""
        self._stale_count += 1
        if not self._old and self._stale_count > len(self._heap) // 2 + _MIN_STALE:
            self._old, self._heap = self._heap, []
        self._clean()
        self._drop_stale()

    def _drop_stale(self) -> None:
        """Drop the first entries that are stale."""
        dropped = 0
        for heap in (self._heap, self._old):
            while heap and self._is_stale(heap[0][2], heap[0][0]) and dropped < _DROPPED_PER_CALL:
                self._drop(heapq.heappop(heap)[2])
                dropped += 1

    def _clean(self) -> None:
        for _ in range(min(_CLEANED_PER_CALL, len(self._old))):
            entry = self._old.pop()  # without its last entry, a heap is still one
            if self._is_stale(entry[2], entry[0]):
                self._drop(entry[2])
            else:
                heapq.heappush(self._heap, entry)

    def _drop(self, item: ItemT) -> None:
        self._stale_count -= 1
        self._forget(item)


class DueTimes(_Heap[Waiter[Any]]):
    """Sleeping waiters, by the time their next poll is due; those that a cap holds up, by their expected delay."""

    def __init__(self) -> None:
        super().__init__()
        self._backlog = Backlog()
        self._has_ranks = False  # whether the strategy of a waiter knows expected delays

    def __len__(self) -> int:
        """Return the number of entries, stale ones included, but not those that are held up."""
        return len(self._heap) + len(self._old)

    def next_time(self) -> float:
        """Return the earliest time of an entry, stale or not; infinity if there is none."""
        return -math.inf if self._backlog else super().next_time()

    def add(self, waiter: Waiter[Any], due: float) -> None:
        """Add a sleeping waiter.

        Args:
            waiter: the waiter; it has no entry here.
            due: when its next poll is due, in seconds of the loop's clock.
        """
        waiter.due = due
        self._push(due, waiter.number, waiter)
        if waiter.group.expected_delay is not None:
            self._has_ranks = True

    def move(self, waiter: Waiter[Any], due: float) -> None:
        """Change when the next poll of a sleeping waiter is due.

        Args:
            waiter: the waiter, as `sleeping_at` returned it.
            due: when its next poll is due, in seconds of the loop's clock.
        """
        self.add(waiter, due)
        self._add_stale()

    def sleeping_at(self, position: int) -> Waiter[Any] | None:
        """Return the waiter of an entry, in no particular order; None if the entry is stale.

        Args:
            position: the number of the entry, from 0 to the number of entries - 1.
        """
        behind = position - len(self._heap)
        time, _, waiter = self._heap[position] if behind < 0 else self._old[behind]
        return None if self._is_stale(waiter, time) else waiter

    def note_stale(self, waiter: Waiter[Any]) -> None:
        """Note that a sleeping waiter has ended, so that its entry is stale."""
        if waiter.due == HELD_UP:
            self._backlog.remove(waiter)
        else:
            self._add_stale()

    def pop_due(self, now: float) -> Waiter[Any] | None:
        """Take out the waiter whose turn it is; return None if none is due.

        That is the one that has been due for longest, unless a cap holds up waiters and a strategy knows their expected
        delays.

        Args:
            now: the time, in seconds of the loop's clock.
        """
        if self._has_ranks:
            self._rank(now)
            if self._backlog:
                return self._backlog.pop(now)
        return self._pop(now)

    def _pop(self, now: float) -> Waiter[Any] | None:
        heap = self._heap_with_due(now)
        if heap is None:
            return None
        waiter = heapq.heappop(heap)[2]
        if self._stale_count:
            self._drop_stale()
        return waiter

    def _rank(self, now: float) -> None:
        """Move waiters that are held up to the backlog."""
        for _ in range(_RANKED_PER_CALL):
            waiter = self._pop(now - _MAX_LATENESS)
            if waiter is None:
                break
            self._backlog.add(waiter, now)

    def _is_stale(self, item: Waiter[Any], time: float) -> bool:
        return item.phase is not Phase.ASLEEP or item.due != time


class Deadlines(_Heap[WaiterGroup[Any]]):
    """Groups of waiters, by the deadline of their first waiter.

    A group has one entry, whatever its size. The time of the entry may be too early, because the first waiter has ended
    since; it is corrected when the entry comes up.
    """

    def add(self, waiter: Waiter[Any]) -> None:
        """Add a waiter to its group, and the group to the deadlines."""
        group = waiter.group
        if group.first is None and group.has_deadline_entry:
            self._stale_count -= 1  # its stale entry counts again
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

    def next_passed(self, now: float) -> Waiter[Any] | None:
        """Return the waiter whose deadline passed first; None if no deadline has passed.

        Args:
            now: the time, in seconds of the loop's clock.
        """
        while (heap := self._heap_with_due(now)) is not None:
            time, _, group = heap[0]
            first = cast("Waiter[Any]", group.first)  # the entry is not stale
            if first.deadline <= time:
                return first
            heapq.heapreplace(heap, (first.deadline, first.number, group))
        return None

    def _is_stale(self, item: WaiterGroup[Any], time: float) -> bool:  # noqa: ARG002  # the time is corrected later
        return item.first is None

    def _forget(self, item: WaiterGroup[Any]) -> None:
        item.has_deadline_entry = False
