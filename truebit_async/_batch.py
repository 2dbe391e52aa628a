"""Many waits as one stream of outcomes."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing

from truebit_async._poller import Poller
from truebit_async._wait import Wait
from truebit_async._wire import check_execution_id
from truebit_async.errors import InvalidExecutionIdError
from truebit_async.models import Outcome
from truebit_async.policy import PollPolicy

ExecutionIds = Iterable[str] | AsyncIterable[str]

_IDS_PER_STEP = 100  # a source that never waits is read in steps, so that a million IDs do not hold the loop


async def wait_for_all(
    poller: Poller, execution_ids: ExecutionIds, policy: PollPolicy, max_pending: int
) -> AsyncGenerator[Outcome, None]:
    """Yield one outcome per execution ID, in order of completion.

    Args:
        poller: does the polling.
        execution_ids: the IDs, read as there is room for them.
        policy: the budgets of each wait.
        max_pending: how many IDs are held at once, waiting or with an outcome that was not taken yet.

    Raises:
        Exception: whatever reading ``execution_ids`` raised, after the outcomes that were already there.
    """
    batch = _Batch(poller, policy, max_pending)
    reader = asyncio.create_task(batch.read(execution_ids))
    reader.add_done_callback(lambda _: batch.changed.set())
    try:
        while (outcome := await batch.next_outcome(reader)) is not None:
            yield outcome
    finally:
        batch.discard_all()
        reader.cancel()
        await asyncio.wait([reader])
        if not reader.cancelled():
            reader.exception()  # seen, also when nobody stayed to hear of it


class _Batch:
    def __init__(self, poller: Poller, policy: PollPolicy, max_pending: int) -> None:
        self._poller = poller
        self._policy = policy
        self._max_pending = max_pending
        self._context = contextvars.copy_context()  # of the consumer; one for all waits
        self._held: dict[str, Wait] = {}  # from being read until the outcome is taken
        self._refused: set[str] = set()  # what cannot be an ID, until its outcome is taken
        self._finished: deque[Outcome] = deque()
        self._broken: Exception | None = None
        self._has_room = asyncio.Event()
        self._on_end = self._take_end  # one bound method for all waits
        self.changed = asyncio.Event()

    async def read(self, execution_ids: ExecutionIds) -> None:
        added = 0
        async with aclosing(_as_async(execution_ids)) as source:
            async for execution_id in source:
                self._add(execution_id)
                added += 1
                if added % _IDS_PER_STEP == 0:
                    await asyncio.sleep(0)
                while len(self._held) + len(self._refused) >= self._max_pending:
                    self._has_room.clear()
                    await self._has_room.wait()

    async def next_outcome(self, reader: asyncio.Task[None]) -> Outcome | None:
        while not self._finished:
            if self._broken is not None:
                raise self._broken
            if reader.done():
                reader.result()
                if not self._held:
                    return None
            self.changed.clear()
            await self.changed.wait()
        outcome = self._finished.popleft()
        if isinstance(outcome.error, InvalidExecutionIdError):
            self._refused.remove(outcome.execution_id)
        else:
            del self._held[outcome.execution_id]
        self._has_room.set()
        return outcome

    def discard_all(self) -> None:
        for wait in self._held.values():
            self._poller.discard(wait)

    def _add(self, execution_id: str) -> None:
        try:
            check_execution_id(execution_id)
        except InvalidExecutionIdError as error:
            if (text := error.execution_id or "") not in self._refused:
                self._refused.add(text)
                self._finish(self._poller.refuse(error))
            return
        if execution_id not in self._held:
            self._held[execution_id] = self._poller.start(execution_id, self._policy, self._on_end, self._context)

    def _take_end(self, _: Wait, end: Outcome | Exception) -> None:
        if isinstance(end, Outcome):
            self._finish(end)
        else:
            self._broken = end
            self.changed.set()

    def _finish(self, outcome: Outcome) -> None:
        self._finished.append(outcome)
        self.changed.set()


async def _as_async(execution_ids: ExecutionIds) -> AsyncGenerator[str, None]:
    if isinstance(execution_ids, AsyncIterable):
        async for execution_id in execution_ids:
            yield execution_id
        return
    for execution_id in execution_ids:
        yield execution_id
