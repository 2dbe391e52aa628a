"""The results of polls, each a state or the error that came instead, and their way to the waiters."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Iterable
from typing import Any, TypeGuard, TypeVar

import attrs

from truebit_async._causes import with_causes
from truebit_async._scheduler.source import Target
from truebit_async._scheduler.waiter import Waiter
from truebit_async.errors import TransportError, TruebitError

ErrorT = TypeVar("ErrorT", bound=BaseException)


@attrs.define(eq=False)
class Delivery:
    """A result on its way to the waiters of a target.

    Attributes:
        waiters: those that have yet to get it. A deque lets go of each; to free thousands at once would take long.
        result: a state or an error.
        started: when its exchange started, in seconds of the loop's clock.
        arrived: when it arrived.
    """

    waiters: deque[Waiter[Any]]
    result: object
    started: float
    arrived: float


class Deliveries:
    """Results on their way to the waiters of their targets, in order of arrival."""

    def __init__(self) -> None:
        self._deliveries: deque[Delivery] = deque()

    def __bool__(self) -> bool:
        return bool(self._deliveries)

    def add(self, waiters: Iterable[Waiter[Any]], result: object, started: float, arrived: float) -> None:
        """Add a result: see `Delivery`."""
        self._deliveries.append(Delivery(deque(waiters), result, started, arrived))

    def pop(self) -> tuple[Waiter[Any], Delivery]:
        """Take out the next waiter; return it and what is delivered to it."""
        delivery = self._deliveries[0]
        waiter = delivery.waiters.popleft()
        if not delivery.waiters:
            self._deliveries.popleft()
        return waiter, delivery


def result_of_task(task: asyncio.Task[Any], target: Target) -> Any:
    """Return the result of a request: a state, a `TruebitError`, or another exception if there is a bug.

    Args:
        task: the task of the request, which is done.
        target: what it asked for.
    """
    if task.cancelled():  # not by the scheduler: it cancels only requests that nobody waits for
        source, execution_id = target
        return TransportError(execution_id, "the request was cancelled from outside", kind=source.kind)
    error = task.exception()
    return task.result() if error is None else without_frames(error)


def without_frames(error: ErrorT) -> ErrorT:
    """Remove the frames from an error and its causes: they hold bodies and buffers, and errors are kept for long.

    Args:
        error: the error, which is changed.
    """
    for link in with_causes(error):
        link.__traceback__ = None
    return error


def own_copy(result: Any) -> Any:
    """Return a result for one more waiter. No two callers may raise and annotate the same error.

    Args:
        result: a state or an error.
    """
    if not isinstance(result, TruebitError):
        return result
    duplicate = copy.copy(result)
    duplicate.__cause__ = result.__cause__
    return duplicate


def is_bug(result: object) -> TypeGuard[BaseException]:
    """Return whether a fetch raised something other than a `TruebitError`."""
    return isinstance(result, BaseException) and not isinstance(result, TruebitError)


def met_stale_connection(result: object) -> bool:
    """Return whether a result says only that a request met a connection that the server had closed."""
    return isinstance(result, TransportError) and result.connection_was_stale
