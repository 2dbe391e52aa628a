"""Which waiters wait for which target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from truebit_async._scheduler.source import Source, Target
from truebit_async._scheduler.waiter import Waiter


@attrs.define(eq=False)
class SharedTarget:
    """A target that several waiters wait for, or did.

    Attributes:
        waiters: the waiters; a dict is used as an ordered set.
        latest: the latest result, a state or an error; None before the first.
        latest_at: when that arrived, in seconds of the loop's clock.
        observers: for each wait strategy that observes, by its `id`, the waiter that does so for all.
        told_of_end: the waiters among them whose strategy was told of the final state.
    """

    waiters: dict[Waiter[Any], None]
    latest: object = None
    latest_at: float = -math.inf
    observers: dict[int, Waiter[Any]] = attrs.field(factory=dict)
    told_of_end: set[Waiter[Any]] = attrs.field(factory=set)

    def observes(self, waiter: Waiter[Any], *, is_end: bool) -> bool:
        """Return whether a waiter is the one that observes, of those with its strategy.

        Args:
            waiter: the waiter.
            is_end: whether it observes the final state, which is done once for each strategy.
        """
        strategy = waiter.group.policy.wait
        observer = self.observers.get(id(strategy))  # the waiter keeps its strategy, so the `id` stays its own
        if observer is None or (observer not in self.waiters and observer not in self.told_of_end):
            observer = next(other for other in self.waiters if other.group.policy.wait is strategy)
            self.observers[id(strategy)] = observer
        if observer is not waiter or observer in self.told_of_end:
            return False
        if is_end:
            self.told_of_end.add(observer)
        return True

    @property
    def request_timeout(self) -> float:
        """The longest limit that a waiter sets for an exchange, in seconds."""
        return max(waiter.request_timeout for waiter in self.waiters)


class Registry:
    """The waiters of each target.

    Nearly every target has one waiter, which is stored as it is: a `SharedTarget` for each would double the memory
    that a pending wait takes.
    """

    def __init__(self) -> None:
        self._targets: dict[Source[Any], dict[str, Waiter[Any] | SharedTarget]] = {}
        self.size = 0

    def __iter__(self) -> Iterator[Waiter[Any]]:
        for source, targets in self._targets.items():
            for execution_id in targets:
                yield from self.waiters_of((source, execution_id))

    def get(self, target: Target) -> Waiter[Any] | SharedTarget | None:
        """Return what waits for a target: nobody, one waiter, or several."""
        source, execution_id = target
        return self._targets.get(source, {}).get(execution_id)

    def waiters_of(self, target: Target) -> Iterable[Waiter[Any]]:
        """Return the waiters of a target."""
        found = self.get(target)
        if found is None:
            return ()
        return found.waiters if isinstance(found, SharedTarget) else (found,)

    def add(self, waiter: Waiter[Any]) -> None:
        """Add a waiter."""
        self.size += 1
        targets = self._targets.setdefault(waiter.group.source, {})
        found = targets.setdefault(waiter.execution_id, waiter)
        if found is waiter:
            return
        if not isinstance(found, SharedTarget):
            found = SharedTarget({found: None}, found.latest, found.seen_at)
            targets[waiter.execution_id] = found
        found.waiters[waiter] = None

    def remove(self, waiter: Waiter[Any]) -> bool:
        """Remove a waiter; return whether it was the last one of its target."""
        self.size -= 1
        source, execution_id = waiter.group.source, waiter.execution_id
        targets = self._targets[source]
        target = targets[execution_id]
        if isinstance(target, SharedTarget):
            del target.waiters[waiter]
            if target.waiters:
                return False
        del targets[execution_id]
        if not targets:
            del self._targets[source]
        return True
