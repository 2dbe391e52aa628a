"""The requests in flight: made within the caps of the session, and told to its listeners."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from typing import Any

from truebit_async._scheduler.pacer import Pacer
from truebit_async._scheduler.results import met_stale_connection, result_of_task
from truebit_async._scheduler.source import Source, Target
from truebit_async.errors import ApiError, TransportError, TruebitError
from truebit_async.events import Dropped, Emitter, Paused, Polled, Requested

MAX_PAUSE = 300.0  # seconds; a longer Retry-After is cut to this


class Requests:
    """Makes requests.

    Args:
        pacer: holds the caps.
        emitter: is told what happens.
        on_result: is called with the target, the result, the start and the end of each request that `start` made and
            somebody waits for.
        on_done: is called after the end of each request that `start` made.
    """

    def __init__(
        self,
        pacer: Pacer,
        emitter: Emitter,
        on_result: Callable[[Target, object, float, float], None],
        on_done: Callable[[], None],
    ) -> None:
        self._pacer = pacer
        self._emit = emitter.emit
        self._on_result = on_result
        self._on_done = on_done
        self._in_flight: dict[Target, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()  # also those of cancelled requests, until they have ended
        self._on_new_connection: set[Target] = set()

    def __contains__(self, target: Target) -> bool:
        return target in self._in_flight

    def start(self, target: Target, request_timeout: float, context: contextvars.Context, now: float) -> None:
        """Make a request in a task of its own.

        Args:
            target: what to ask for.
            request_timeout: limit of the exchange, in seconds.
            context: the context in a copy of which the request is made.
            now: the time of the loop, in seconds.

        Raises:
            Exception: the task could not be made.
        """
        source, execution_id = target
        is_repetition = target in self._on_new_connection
        self._on_new_connection.discard(target)
        fetch = source.fetch(execution_id, request_timeout, on_new_connection=is_repetition)
        try:
            self.begin(source, execution_id, now)
            # Not `create_task(context=...)`: the user's task factory may not take that argument.
            task = context.run(asyncio.get_running_loop().create_task, fetch)
        except BaseException as error:
            fetch.close()
            self._pacer.finished()
            self.tell(source, execution_id, now, now, error)
            raise
        self._tasks.add(task)
        self._in_flight[target] = task
        finish = functools.partial(self._finish, target, now, is_repetition=is_repetition)
        task.add_done_callback(finish, context=contextvars.Context())

    def cancel(self, target: Target) -> None:
        """Cancel the request for a target, if there is one, because nobody waits for the target any more."""
        self._on_new_connection.discard(target)
        if (task := self._in_flight.pop(target, None)) is not None:
            task.cancel()

    def begin(self, source: Source[Any], execution_id: str, now: float) -> None:
        """Take a slot for a request that starts now, and tell listeners. The caller gives the slot back."""
        self._pacer.started(now)
        if source.has_events:
            self._emit(Requested, execution_id, source.kind)

    def tell(self, source: Source[Any], execution_id: str, started: float, now: float, result: Any) -> None:
        """Tell listeners how a request ended, and begin the pause that the server may have asked for.

        Args:
            source: what was asked.
            execution_id: for which execution.
            started: when, in seconds of the loop's clock.
            now: the time.
            result: a state, or the exception that came instead.
        """
        if source.has_events:
            if not isinstance(result, BaseException):
                self._emit(Polled, execution_id, source.kind, now - started, result, None)
            elif not isinstance(result, TruebitError) or met_stale_connection(result):
                self._emit(Dropped, execution_id, source.kind, now - started)
            else:
                self._emit(Polled, execution_id, source.kind, now - started, None, result)
        if isinstance(result, ApiError) and result.requested_pause:
            pause = min(result.requested_pause, MAX_PAUSE)
            self._pacer.pause(now + pause)
            self._emit(Paused, execution_id, source.kind, pause, result)

    def use_new_connection_next(self, target: Target) -> None:
        """Note that the next request for a target is made on a new connection."""
        self._on_new_connection.add(target)

    async def wait_closed(self) -> None:
        """Wait until the tasks of cancelled requests have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _finish(self, target: Target, started: float, task: asyncio.Task[Any], *, is_repetition: bool) -> None:
        self._tasks.discard(task)
        self._pacer.finished()
        now = asyncio.get_running_loop().time()
        try:
            result = result_of_task(task, target)
            if self._in_flight.get(target) is not task:  # nobody waits for it any more
                self.tell(*target, started, now, asyncio.CancelledError())
                return
            del self._in_flight[target]
            if is_repetition and isinstance(result, TransportError):
                result.connection_was_stale = False  # it is repeated once; from now on it is a failure like any other
            self.tell(*target, started, now, result)
            self._on_result(target, result, started, now)
        finally:
            self._on_done()
