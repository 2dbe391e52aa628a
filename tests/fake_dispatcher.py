"""What the poller polls in its tests: an async fetch that follows scripts and keeps a log."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncGenerator, Sequence

from truebit_async import Execution, Outcome, PollPolicy, TruebitSession, VerificationStatus
from truebit_async._scheduler.batch import ExecutionIds, wait_for_all
from truebit_async._scheduler.pacer import Pacer
from truebit_async._scheduler.poller import Poller
from truebit_async._scheduler.source import Source
from truebit_async._scheduler.waiter import OnEnd, Waiter, WaiterGroup
from truebit_async.errors import TransportError
from truebit_async.events import Emitter, Listener

RUNNING = VerificationStatus.RUNNING
SUCCESS = VerificationStatus.SUCCESS

Step = VerificationStatus | Exception


class FakeDispatcher:
    """Answers after ``latency`` seconds. Each ID follows its script and repeats the last step. Other IDs run."""

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.scripts: dict[str, list[Step]] = {}
        self.log: list[tuple[float, str]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.cancelled: Counter[str] = Counter()
        self.request_timeouts: list[float] = []
        self.on_new_connection: list[bool] = []
        self.listener: Listener | None = None
        self.source = Source("function", self.fetch, lambda execution: not execution.is_running)

    def script(self, execution_id: str, *steps: Step) -> None:
        self.scripts[execution_id] = list(steps)

    async def fetch(self, execution_id: str, request_timeout: float, *, on_new_connection: bool) -> Execution:
        self.log.append((asyncio.get_running_loop().time(), execution_id))
        self.request_timeouts.append(request_timeout)
        self.on_new_connection.append(on_new_connection)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency)
        except asyncio.CancelledError:
            self.cancelled[execution_id] += 1
            raise
        finally:
            self.in_flight -= 1
        steps = self.scripts.get(execution_id, [RUNNING])
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, TransportError) and step.connection_was_stale:
            raise copy.copy(step)  # the scheduler changes it
        if isinstance(step, Exception):
            raise step
        return Execution(execution_id, step)

    def serve(self, session: TruebitSession) -> None:
        """Answer the requests of a session about function tasks."""
        session.functions._source = self.source

    def times(self, execution_id: str) -> Sequence[float]:
        return [round(time, 6) for time, polled in self.log if polled == execution_id]

    def poller(self, max_concurrency: int = 10**9, max_rate: float | None = None) -> FakePoller:
        listeners = () if self.listener is None else (self.listener,)
        return FakePoller(self.source, Poller(Pacer(max_concurrency, max_rate), Emitter(listeners)))


class FakePoller:
    """A real poller that polls one source."""

    def __init__(self, source: Source[Execution], poller: Poller) -> None:
        self.source = source
        self.poller = poller

    async def wait(self, execution_id: str, policy: PollPolicy) -> Outcome[Execution]:
        return await self.poller.wait(self.source, execution_id, policy)

    async def get_state(self, execution_id: str, policy: PollPolicy) -> Execution:
        return await self.poller.get_state(self.source, execution_id, policy)

    def start(self, execution_id: str, policy: PollPolicy, on_end: OnEnd) -> Waiter[Execution]:
        return self.start_in(WaiterGroup(self.source, policy, on_end), execution_id)

    def start_in(self, group: WaiterGroup[Execution], execution_id: str) -> Waiter[Execution]:
        waiter = Waiter(group, execution_id, self.poller.bind().time())
        self.poller.start(waiter)
        return waiter

    def wait_for_all(
        self, ids: ExecutionIds, policy: PollPolicy, max_pending: int
    ) -> AsyncGenerator[Outcome[Execution], None]:
        return wait_for_all(self.poller, self.source, ids, policy, max_pending)

    async def close(self) -> None:
        await self.poller.close()
