"""Any sequence of beginning, leaving, failing, finishing, closing: one end per wait, told once; nothing left behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tenacity import wait_fixed

from tests.fake_dispatcher import RUNNING, SUCCESS, FakeDispatcher
from truebit_async import Dropped, Finished, Left, Outcome, Polled, PollEvent, PollPolicy, Requested, Started, errors
from truebit_async.testing import VirtualTimeLoop

IDS = st.sampled_from(["a", "b", "c", "d"])
RESULTS = st.sampled_from(
    [
        RUNNING,
        SUCCESS,
        errors.ExecutionNotFoundError("x", 404),
        errors.TransportError("x", "reset"),
        errors.TransportError("x", "server disconnected", connection_was_stale=True),
        errors.RateLimitedError("x", 429, None, 3.0),
        ZeroDivisionError("a bug"),
    ]
)
MAX_CONCURRENCY = 2


class SchedulerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.dispatcher = FakeDispatcher(latency=0.5)
        self.story: list[PollEvent] = []
        self.dispatcher.listener = self.story.append
        self.poller = self.dispatcher.poller(MAX_CONCURRENCY)
        self.waits: list[asyncio.Task[Outcome[Any]]] = []
        self.batches: list[tuple[set[str], asyncio.Task[list[Outcome[Any]]]]] = []
        self.is_closed = False

    def numbers(self, *kinds: type[Started | Finished | Left]) -> list[int]:
        return [event.wait_number for event in self.story if isinstance(event, kinds)]

    def count(self, *kinds: type[PollEvent]) -> int:
        return sum(isinstance(event, kinds) for event in self.story)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    @rule(execution_id=IDS, deadline=st.sampled_from([0.2, 1.0, 4.5, None]), pace=st.sampled_from([0.0, 0.3, 2.0]))
    def begin(self, execution_id: str, deadline: float | None, pace: float) -> None:
        policy = PollPolicy(wait=wait_fixed(pace or 0.01), deadline=deadline, max_consecutive_errors=3)

        async def begin() -> None:
            self.waits.append(asyncio.create_task(self.poller.wait(execution_id, policy)))
            await asyncio.sleep(0)

        self.run(begin())

    @rule(ids=st.lists(IDS, max_size=6), max_pending=st.integers(1, 3))
    def begin_batch(self, ids: list[str], max_pending: int) -> None:
        policy = PollPolicy(wait=wait_fixed(0.4), deadline=6.0)

        async def collect() -> list[Outcome[Any]]:
            return [outcome async for outcome in self.poller.wait_for_all(ids, policy, max_pending)]

        async def begin() -> None:
            self.batches.append((set(ids), asyncio.create_task(collect())))
            await asyncio.sleep(0)

        self.run(begin())

    @rule(which=st.integers(0, 20))
    def leave(self, which: int) -> None:
        async def leave() -> None:
            tasks: list[asyncio.Task[Any]] = [*self.waits, *(task for _, task in self.batches)]
            if tasks:
                tasks[which % len(tasks)].cancel()
            await asyncio.sleep(0)

        self.run(leave())

    @rule(execution_id=IDS, result=RESULTS)
    def decide(self, execution_id: str, result: Any) -> None:
        self.dispatcher.script(execution_id, result)

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 1.0, 7.0]))
    def pass_time(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule()
    def close(self) -> None:
        self.is_closed = True
        self.run(self.poller.close())
        self.run(asyncio.sleep(0))
        assert all(task.done() for task in self.waits)

    @invariant()
    def the_cap_holds(self) -> None:
        assert self.dispatcher.most_in_flight <= MAX_CONCURRENCY

    def teardown(self) -> None:
        self.run(self.poller.close())
        self.run(asyncio.sleep(1))
        loop = self.runner.get_loop()
        for task in self.waits:
            assert task.done()
            if not task.cancelled() and task.exception() is None:
                assert isinstance(task.result(), Outcome)
        for ids, batch in self.batches:
            assert batch.done()
            if not batch.cancelled() and batch.exception() is None:
                assert {outcome.execution_id for outcome in batch.result()} == ids
        begun, ended = Counter(self.numbers(Started)), Counter(self.numbers(Finished, Left))
        assert begun == ended
        assert not begun or max(begun.values()) == 1
        # A request that is cancelled before its task runs never reaches the dispatcher.
        assert len(self.dispatcher.log) <= self.count(Requested) == self.count(Polled, Dropped)
        assert self.dispatcher.in_flight == 0
        poller = self.poller.poller
        assert poller._pacer._in_flight == 0
        assert poller._registry.size == 0
        assert not list(poller._registry)
        assert not poller._registry._targets
        assert not poller._requests._in_flight
        assert not poller._requests._on_new_connection
        assert not poller._deliveries
        assert not asyncio.all_tasks(loop)
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]
        self.runner.close()


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
