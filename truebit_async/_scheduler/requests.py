"""The requests in flight: made within the caps of the session, and told to its listeners."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from typing import Any

from truebit_async._scheduler.pacer import Pacer
from truebit_async._scheduler.results import met_stale_connection, result_of_task
from truebit_async._scheduler.source import ResultT, Source, Target
from truebit_async.errors import ApiError, TransportError, TruebitError
from truebit_async.events import Dropped, Emitter, Paused, Polled, Requested

MAX_PAUSE = 300.0  # seconds; the longest Retry-After that is honoured


class Requests:
    """Makes requests.

    Args:
        pacer: holds the caps.
        emitter: is told what happens.
        on_result: is called with the target, the result, the start and the end of each request that somebody waits for.
        on_done: is called after the end of each request.
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
            self._begin(target, now)
            # Not `create_task(context=...)`: the user's task factory may not take that argument.
            task = context.run(asyncio.get_running_loop().create_task, fetch)
        except BaseException:
            fetch.close()
            self._pacer.finished()
            self._tell_dropped(target, now)
            raise
        self._tasks.add(task)
        self._in_flight[target] = task
        on_done = functools.partial(self._end, target, now, is_repetition=is_repetition)
        task.add_done_callback(on_done, context=contextvars.Context())

    def cancel(self, target: Target) -> None:
        """Cancel the request for a target, if there is one, because nobody waits for the target any more."""
        self._on_new_connection.discard(target)
        if (task := self._in_flight.pop(target, None)) is not None:
            task.cancel()

    async def ask_inline(
        self, source: Source[ResultT], execution_id: str, request_timeout: float, now: float
    ) -> ResultT:
        """Make a request in the task of the caller, which is much cheaper than a task of its own.

        Args:
            source: fetches the result.
            execution_id: a checked execution ID.
            request_timeout: limit of the exchange, in seconds.
            now: the time of the loop, in seconds.

        Raises:
            TruebitError: the exchange failed.
        """
        target = source, execution_id
        try:
            self._begin(target, now)
            result = await source.fetch(execution_id, request_timeout, on_new_connection=False)
        except TruebitError as error:
            self._tell(target, error, now, asyncio.get_running_loop().time())
            raise
        except BaseException:
            self._tell_dropped(target, now)
            raise
        else:
            self._tell(target, result, now, asyncio.get_running_loop().time())
            return result
        finally:
            self._pacer.finished()

    def use_new_connection_next(self, target: Target) -> None:
        """Note that the next request for a target is made on a new connection."""
        self._on_new_connection.add(target)

    async def wait_closed(self) -> None:
        """Wait until the tasks of cancelled requests have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, target: Target, now: float) -> None:
        self._pacer.started(now)
        source, execution_id = target
        self._emit(Requested, execution_id, source.kind)

    def _end(self, target: Target, started: float, task: asyncio.Task[Any], *, is_repetition: bool) -> None:
        self._tasks.discard(task)
        self._pacer.finished()
        try:
            result = result_of_task(task, target)
            if self._in_flight.get(target) is not task:
                self._tell_dropped(target, started)
                return
            del self._in_flight[target]
            if is_repetition and isinstance(result, TransportError):
                result.connection_was_stale = False  # it is repeated once; from now on it is a failure like any other
            now = asyncio.get_running_loop().time()
            self._tell(target, result, started, now)
            self._on_result(target, result, started, now)
        finally:
            self._on_done()

    def _tell(self, target: Target, result: Any, started: float, now: float) -> None:
        """Tell listeners the result of a request, and begin the pause that it may ask for."""
        source, execution_id = target
        if not isinstance(result, BaseException):
            self._emit(Polled, execution_id, source.kind, now - started, result, None)
        elif not isinstance(result, TruebitError) or met_stale_connection(result):
            self._tell_dropped(target, started)
        else:
            self._emit(Polled, execution_id, source.kind, now - started, None, result)
            if isinstance(result, ApiError) and result.requested_pause:
                pause = min(result.requested_pause, MAX_PAUSE)
                self._pacer.pause(now + pause)
                self._emit(Paused, execution_id, source.kind, pause, result)

    def _tell_dropped(self, target: Target, started: float) -> None:
        source, execution_id = target
        self._emit(Dropped, execution_id, source.kind, asyncio.get_running_loop().time() - started)
