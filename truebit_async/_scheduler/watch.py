"""One wait as a stream of its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from truebit_async._scheduler.poller import Poller
from truebit_async._scheduler.source import ResultT, Source
from truebit_async._scheduler.waiter import Waiter, WaiterGroup, next_number
from truebit_async.events import Finished, Left, PollEvent
from truebit_async.models import Outcome
from truebit_async.policy import PollPolicy


async def watch(
    poller: Poller, source: Source[ResultT], execution_id: str, policy: PollPolicy, age: float
) -> AsyncGenerator[PollEvent, None]:
    """Yield the events of one wait, the last one `Finished`.

    Args:
        poller: does the polling.
        source: fetches the results.
        execution_id: a checked execution ID.
        policy: the budgets.
        age: how old the execution is, in seconds, as far as is known.

    Raises:
        Exception: whatever the wait strategy of the policy raised.
    """
    events: asyncio.Queue[PollEvent | BaseException] = asyncio.Queue()

    def on_end(_: Waiter[Any], end: Outcome[Any] | BaseException) -> None:
        if isinstance(end, BaseException):
            events.put_nowait(end)

    number = next_number()
    with poller.emitter.listening_to(source.kind, execution_id, number, events.put_nowait):
        waiter = Waiter(WaiterGroup(source, policy, on_end), execution_id, poller.bind().time(), age, number)
        poller.start(waiter)
        try:
            while True:
                event = await events.get()
                if isinstance(event, BaseException):
                    raise event
                if isinstance(event, Left):
                    continue  # the exception that ended the wait comes next
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            poller.discard(waiter)
