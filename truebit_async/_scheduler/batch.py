"""Many waits as one stream of outcomes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing, asynccontextmanager
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from truebit_async._protocol.ids import check_execution_id
from truebit_async._scheduler.poller import Poller
from truebit_async._scheduler.source import ResultT, Source
from truebit_async._scheduler.waiter import Waiter, WaiterGroup, next_number
from truebit_async.errors import InvalidExecutionIdError
from truebit_async.events import Finished, Started
from truebit_async.models import Outcome
from truebit_async.policy import PollPolicy

ItemT = TypeVar("ItemT")

ExecutionIds = Iterable[str] | AsyncIterable[str]

_ITEMS_PER_STEP = 100  # an iterable that never waits is read in steps, so that a million IDs do not hold up the loop


class Batch(ABC, Generic[ResultT]):
    """Waits with the same terms, and their outcomes in order of completion.

    Args:
        poller: does the polling.
        source: fetches the results.
        policy: the budgets of each wait.
        max_pending: how many waits are held at once, pending or with an outcome that was not taken yet.
    """

    def __init__(self, poller: Poller, source: Source[ResultT], policy: PollPolicy, max_pending: int) -> None:
        self._poller = poller
        self._group = WaiterGroup(source, policy, self._take_end)
        self._max_pending = max_pending
        self._pending = 0  # waits, and what comes before them
        self._finished: deque[Outcome[Any]] = deque()  # not taken yet
        self._bug: BaseException | None = None
        self._is_left = False
        self._was_taken = asyncio.Event()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def fed_by(
        self, producer: Coroutine[object, object, None]
    ) -> AsyncIterator[Callable[[], Awaitable[Outcome[Any] | None]]]:
        """Run a producer of waits. Inside, a function returns one outcome after the other, and None after the last.

        Args:
            producer: begins the waits. What it raises is raised after the outcomes that were already there.
        """
        task = asyncio.create_task(producer)
        task.add_done_callback(lambda _: self._changed.set())
        try:
            yield lambda: self._next_outcome(task)
        finally:
            self._is_left = True
            task.cancel()
            try:
                await self._poller.discard_all(self._group)
            finally:
                await _wait_until_over(task)
                if not task.cancelled():
                    task.exception()  # retrieve it, because nobody else will

    async def _next_outcome(self, producer: asyncio.Task[None]) -> Outcome[Any] | None:
        while not self._finished:
            if self._bug is not None:
                raise self._bug
            if producer.done():
                producer.result()
                if not self._pending:
                    return None
            self._changed.clear()
            await self._changed.wait()
        outcome = self._finished.popleft()
        self._forget(outcome)
        self._was_taken.set()
        return outcome

    def _check_whether_left(self) -> None:
        """Cancel the reading once more if the outcomes are not wanted any more.

        An iterable can lose a cancellation: before Python 3.12, `asyncio.wait_for` does, if its result comes meanwhile.

        Raises:
            asyncio.CancelledError: the outcomes are not wanted any more.
        """
        if self._is_left:
            raise asyncio.CancelledError

    def _make_waiter(self, execution_id: str, age: float = 0.0) -> Waiter[ResultT]:
        return Waiter(self._group, execution_id, self._poller.bind().time(), age)

    def _start(self, waiter: Waiter[ResultT]) -> None:
        """Begin a wait."""
        self._pending += 1
        self._poller.start(waiter)

    def _finish(self, outcome: Outcome[Any]) -> None:
        """Add an outcome."""
        self._finished.append(outcome)
        self._changed.set()

    def _forget(self, outcome: Outcome[Any]) -> None:
        """Forget an outcome that is being taken."""

    @abstractmethod
    def _end(self, waiter: Waiter[Any], outcome: Outcome[Any]) -> None:
        """Add the outcome of a wait that has ended."""

    def _take_end(self, waiter: Waiter[Any], end: Outcome[Any] | BaseException) -> None:
        self._pending -= 1
        if isinstance(end, Outcome):
            self._end(waiter, end)
        else:
            self._bug = end
            self._changed.set()

    async def _wait_for_room(self) -> None:
        """Wait until there is room for one more."""
        while self._pending + len(self._finished) >= self._max_pending:
            await self._wait_until_taken()

    async def _wait_until_taken(self) -> None:
        """Wait until an outcome is taken."""
        self._was_taken.clear()
        await self._was_taken.wait()


async def _wait_until_over(task: asyncio.Task[None]) -> None:
    """Wait until a cancelled task is over, also if the caller is cancelled meanwhile: it may write to a file.

    Its clean-up is not interrupted, as `asyncio.TaskGroup` does not interrupt that of its tasks.
    """
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await _wait_until_over(task)
        raise


async def wait_for_all(
    poller: Poller,
    source: Source[ResultT],
    execution_ids: ExecutionIds,
    policy: PollPolicy,
    max_pending: int,
    age_of: Callable[[str], float] | None = None,
) -> AsyncGenerator[Outcome[Any], None]:
    """Yield one outcome per execution ID, in order of completion.

    Args:
        poller: does the polling.
        source: fetches the results.
        execution_ids: the IDs, read as there is room for them.
        policy: the budgets of each wait.
        max_pending: how many IDs are held at once, pending or with an outcome that was not taken yet.
        age_of: returns how old an execution is, in seconds; None if nothing is known of ages.

    Raises:
        Exception: whatever reading ``execution_ids``, ``age_of`` or the wait strategy raised, after the outcomes that
            were already there.
    """
    batch = _IdBatch(poller, source, policy, max_pending, age_of)
    async with batch.fed_by(batch.read(execution_ids)) as next_outcome:
        while (outcome := await next_outcome()) is not None:
            yield outcome


class _IdBatch(Batch[ResultT]):
    """Waits for IDs, each of which is held once."""

    def __init__(
        self,
        poller: Poller,
        source: Source[ResultT],
        policy: PollPolicy,
        max_pending: int,
        age_of: Callable[[str], float] | None,
    ) -> None:
        super().__init__(poller, source, policy, max_pending)
        self._age_of = age_of
        self._finished_ids: set[str] = set()  # IDs of outcomes that were not taken yet, of those that were polled
        self._refused_ids: set[str] = set()  # likewise, of those that were refused

    async def read(self, execution_ids: ExecutionIds) -> None:
        """Wait for each of these IDs."""
        async with aclosing(read_in_steps(execution_ids)) as ids:
            async for execution_id in ids:
                self._check_whether_left()
                self._add(execution_id)
                await self._wait_for_room()

    def _add(self, execution_id: str) -> None:
        try:
            check_execution_id(execution_id, self._group.source.kind)
        except InvalidExecutionIdError as error:
            if error.execution_id not in self._refused_ids:
                self._refuse(error)
            return
        if execution_id not in self._finished_ids and not self._poller.has_waiter(self._group, execution_id):
            age = 0.0 if self._age_of is None else self._age_of(execution_id)
            self._start(self._make_waiter(execution_id, age))

    def _refuse(self, error: InvalidExecutionIdError) -> None:
        kind, emit, number = self._group.source.kind, self._poller.emitter.emit, next_number()
        outcome = Outcome[Any](error.execution_id or "", None, error, 0, 0.0, kind)
        copy_context().run(emit, Started, outcome.execution_id, kind, number)
        emit(Finished, outcome.execution_id, kind, outcome, number)
        self._refused_ids.add(outcome.execution_id)
        self._finish(outcome)

    def _end(self, _: Waiter[Any], outcome: Outcome[Any]) -> None:
        self._finished_ids.add(outcome.execution_id)
        self._finish(outcome)

    def _forget(self, outcome: Outcome[Any]) -> None:
        ids = self._refused_ids if isinstance(outcome.error, InvalidExecutionIdError) else self._finished_ids
        ids.remove(outcome.execution_id)


async def read_in_steps(items: Iterable[ItemT] | AsyncIterable[ItemT]) -> AsyncGenerator[ItemT, None]:
    """Yield the items of an iterable or async iterable, with a turn for the rest of the loop now and then."""
    number = 0
    async with aclosing(_as_async(items)) as async_items:
        async for item in async_items:
            yield item
            number += 1
            if number % _ITEMS_PER_STEP == 0:
                await asyncio.sleep(0)


async def _as_async(items: Iterable[ItemT] | AsyncIterable[ItemT]) -> AsyncGenerator[ItemT, None]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    for item in items:
        yield item
