"""Many waits as one stream of outcomes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from contextvars import copy_context
from typing import Any, Generic

from truebit_async._protocol.ids import check_execution_id
from truebit_async._scheduler.poller import Poller
from truebit_async._scheduler.source import ResultT, Source
from truebit_async._scheduler.waiter import Waiter, WaiterGroup, next_number
from truebit_async.errors import InvalidExecutionIdError
from truebit_async.events import Finished, Started
from truebit_async.models import Outcome
from truebit_async.policy import PollPolicy

ExecutionIds = Iterable[str] | AsyncIterable[str]

_IDS_PER_STEP = 100  # an iterable that never waits is read in steps, so that a million IDs do not hold up the loop


async def wait_for_all(
    poller: Poller, source: Source[ResultT], execution_ids: ExecutionIds, policy: PollPolicy, max_pending: int
) -> AsyncGenerator[Outcome[Any], None]:
    """Yield one outcome per execution ID, in order of completion.

    Args:
        poller: does the polling.
        source: fetches the results.
        execution_ids: the IDs, read as there is room for them.
        policy: the budgets of each wait.
        max_pending: how many IDs are held at once, pending or with an outcome that was not taken yet.

    Raises:
        Exception: whatever reading ``execution_ids`` or the wait strategy raised, after the outcomes that were already
            there.
    """
    batch = _Batch(poller, source, policy, max_pending)
    reader = asyncio.create_task(batch.read(execution_ids))
    reader.add_done_callback(lambda _: batch.changed.set())
    try:
        while (outcome := await batch.next_outcome(reader)) is not None:
            yield outcome
    finally:
        reader.cancel()
        try:
            await batch.discard_all()
        finally:
            await asyncio.wait([reader])
            if not reader.cancelled():
                reader.exception()  # retrieve it, because nobody else will


class _Batch(Generic[ResultT]):
    def __init__(self, poller: Poller, source: Source[ResultT], policy: PollPolicy, max_pending: int) -> None:
        self._poller = poller
        self._group = WaiterGroup(source, policy, self._take_end)
        self._max_pending = max_pending
        self._pending = 0
        self._finished: deque[Outcome[Any]] = deque()  # not taken yet
        self._finished_ids: set[str] = set()  # IDs of outcomes that were not taken yet, of those that were polled
        self._refused_ids: set[str] = set()  # likewise, of those that were refused
        self._bug: BaseException | None = None
        self._has_room = asyncio.Event()
        self.changed = asyncio.Event()

    async def read(self, execution_ids: ExecutionIds) -> None:
        added = 0
        async with aclosing(_as_async(execution_ids)) as ids:
            async for execution_id in ids:
                self._add(execution_id)
                added += 1
                if added % _IDS_PER_STEP == 0:
                    await asyncio.sleep(0)
                while self._pending + len(self._finished) >= self._max_pending:
                    self._has_room.clear()
                    await self._has_room.wait()

    async def next_outcome(self, reader: asyncio.Task[None]) -> Outcome[Any] | None:
        while not self._finished:
            if self._bug is not None:
                raise self._bug
            if reader.done():
                reader.result()
                if not self._pending:
                    return None
            self.changed.clear()
            await self.changed.wait()
        outcome = self._finished.popleft()
        ids = self._refused_ids if isinstance(outcome.error, InvalidExecutionIdError) else self._finished_ids
        ids.remove(outcome.execution_id)
        self._has_room.set()
        return outcome

    async def discard_all(self) -> None:
        await self._poller.discard_all(self._group)

    def _add(self, execution_id: str) -> None:
        try:
            check_execution_id(execution_id, self._group.source.kind)
        except InvalidExecutionIdError as error:
            if error.execution_id not in self._refused_ids:
                self._finish(self._refuse(error), self._refused_ids)
            return
        if execution_id not in self._finished_ids and not self._poller.has_waiter(self._group, execution_id):
            self._pending += 1
            self._poller.start(Waiter(self._group, execution_id, self._poller.bind().time()))

    def _refuse(self, error: InvalidExecutionIdError) -> Outcome[Any]:
        kind, emit, number = self._group.source.kind, self._poller.emitter.emit, next_number()
        outcome = Outcome[Any](error.execution_id or "", None, error, 0, 0.0, kind)
        copy_context().run(emit, Started, outcome.execution_id, kind, number)
        emit(Finished, outcome.execution_id, kind, outcome, number)
        return outcome

    def _take_end(self, _: Waiter[Any], end: Outcome[Any] | BaseException) -> None:
        self._pending -= 1
        if isinstance(end, Outcome):
            self._finish(end, self._finished_ids)
        else:
            self._bug = end
            self.changed.set()

    def _finish(self, outcome: Outcome[Any], ids: set[str]) -> None:
        self._finished.append(outcome)
        ids.add(outcome.execution_id)
        self.changed.set()


async def _as_async(execution_ids: ExecutionIds) -> AsyncGenerator[str, None]:
    if isinstance(execution_ids, AsyncIterable):
        async for execution_id in execution_ids:
            yield execution_id
        return
    for execution_id in execution_ids:
        yield execution_id
