"""Every entry point, cancelled after every number of loop steps that it takes."""

from __future__ import annotations

import asyncio
import functools
import gc
import selectors
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.policies import FAST
from truebit_async import Execution, TruebitSession, errors, wait_for_verification
from truebit_async._time_limits import TimeLimits
from truebit_async._timer import Timer
from truebit_async.testing import Reply, Simulator

pytestmark = pytest.mark.no_cover  # a sweep over what other tests cover

MAX_STEPS = 1000  # of any one entry point, and of what the server clears up after it
MAX_STEPS_TO_CLEAR_UP = 8  # fewer than a back-off takes, so that no wait can have gone on to its end instead
STEP = 0.001  # seconds on the clock of the loop


class _SteppingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        started = time.monotonic()
        events = super().select(timeout)
        self.now += STEP if timeout == 0 else STEP + time.monotonic() - started
        return events


class SteppingLoop(asyncio.SelectorEventLoop):
    """A loop with real sockets whose clock goes by its steps, so that a back-off takes the same number of them always.

    While it has nothing to do, its clock goes as any other.
    """

    def __init__(self) -> None:
        self._stepping = _SteppingSelector()
        super().__init__(self._stepping)

    def time(self) -> float:
        return self._stepping.now


@attrs.define
class Bench:
    """What one attempt has to work with."""

    simulator: Simulator
    session: TruebitSession
    sessions: list[TruebitSession] = attrs.Factory(list)  # further ones that it opened
    sources_open: int = 0

    def open_session(self) -> TruebitSession:
        session = TruebitSession(self.simulator.url, policy=FAST)
        self.sessions.append(session)
        return session


# What is cancelled. Each returns whether it brought what it should, if it is not cancelled


async def one_request(bench: Bench) -> bool:
    return (await bench.session.get_execution_status("good")).output == "42"


async def a_request_that_is_tried_again(bench: Bench) -> bool:
    bench.simulator.script("failing", Reply.error(503), Reply.success("1"))
    return (await bench.session.get_execution_status("failing")).output == "1"


async def one_wait(bench: Bench) -> bool:
    bench.simulator.add("id", polls=2)
    return (await bench.session.wait_for_verification("id")).output == "42"


def add_several(bench: Bench) -> list[str]:
    for polls in range(3):
        bench.simulator.add(f"id-{polls}", polls=polls)
    return ["id-0", "", "id-1", "missing", "id-2"]


async def plain_batch(bench: Bench) -> bool:
    ids = add_several(bench)
    found = set()
    async for outcome in bench.session.wait_for_verifications(ids, max_pending=2):
        found.add(outcome.execution_id)
        await asyncio.sleep(0)  # so that some cancellations come while the batch is suspended
    return found == set(ids)


async def slow_source(bench: Bench, ids: list[str]) -> AsyncIterator[str]:
    bench.sources_open += 1
    try:
        for execution_id in ids:
            await asyncio.sleep(0)
            yield execution_id
    finally:
        bench.sources_open -= 1
        await asyncio.sleep(0)


async def batch_from_an_async_iterable(bench: Bench) -> bool:
    ids = add_several(bench)
    outcomes = bench.session.wait_for_verifications(slow_source(bench, ids), max_pending=4)
    return {outcome.execution_id async for outcome in outcomes} == set(ids)


async def session_as_a_context(bench: Bench) -> bool:
    """Leave it while a wait and a request of other tasks are under way."""
    bench.simulator.script("hung", Reply.hang())
    others: list[asyncio.Task[Execution]] = []
    try:
        async with bench.open_session() as session:
            others.append(asyncio.create_task(session.get_execution_status("hung")))
            others.append(asyncio.create_task(session.wait_for_verification("hung")))
            await session.get_execution_status("good")
    finally:
        ends = await asyncio.gather(*others, return_exceptions=True)
    return {type(end) for end in ends} == {errors.SessionClosedError}


async def function_for_scripts(bench: Bench) -> bool:
    bench.simulator.add("id", polls=2)
    return (await wait_for_verification("id", base_url=bench.simulator.url, policy=FAST)).output == "42"


# What must be true afterwards


def file_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def is_of_the_server(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)  # the closing of an async generator has none
    return code is not None and "/aiohttp/web" in code.co_filename


def is_kept_until_the_session_closes(callback: Callable[..., object]) -> bool:
    """Return whether a timer is aiohttp's, or the one timer for the time limits of all exchanges."""
    timer = getattr(callback, "__self__", None)
    is_of_time_limits = isinstance(timer, Timer) and isinstance(getattr(timer._on_time, "__self__", None), TimeLimits)
    return is_of_time_limits or callback.__module__.startswith("aiohttp.")


def leftovers(session: TruebitSession) -> dict[str, object]:
    """Whatever should be gone once nobody waits for anything."""
    loop: Any = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    poller, http = session._poller, session._transport._pooled
    found = {
        "tasks": [task for task in tasks if not is_of_the_server(task)],
        "timers": [
            timer
            for timer in loop._scheduled
            if not timer.cancelled() and not is_kept_until_the_session_closes(timer._callback)
        ],
        "waiters": list(poller._registry),
        "requests": poller._requests._in_flight,
        "tasks of the poller": poller._requests._tasks,
        "slots taken": poller._pacer._in_flight,
        "time limits": session._transport._limits._expiries,
        "connections": http is not None and http.connector is not None and http.connector._acquired,
    }
    return {what: there for what, there in found.items() if there}


async def settles(condition: Callable[[], bool], max_steps: int = MAX_STEPS) -> bool:
    for _ in range(max_steps):
        if condition():
            return True
        await asyncio.sleep(0)
    return False


async def cancelled_after(steps: int, task: asyncio.Task[bool], *, again_after: int | None = None) -> bool:
    """Return whether the task was still running after so many steps, and was cancelled."""
    for _ in range(steps):
        await asyncio.sleep(0)
    if task.done():
        assert await task
        return False
    task.cancel()
    if again_after is not None:
        for _ in range(again_after):
            await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    return True


Attempt = Callable[[Bench, int], Awaitable[bool]]


async def sweep(attempt: Attempt) -> int:
    """Repeat an attempt with more steps each time until it is not cancelled any more; return how many that were."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with Simulator() as simulator:
        simulator.add("good")
        await settles(lambda: False)  # whatever the server starts with
        descriptors, tasks = file_descriptors(), asyncio.all_tasks()
        for steps in range(MAX_STEPS):
            bench = Bench(simulator, TruebitSession(simulator.url, policy=FAST))
            was_cancelled = await attempt(bench, steps)
            for _, execution_id in simulator._executions.keys() - {("function", "good")}:
                simulator.script(execution_id, Reply.running())  # what still polls shall not come to an end
            gc.collect()
            for session in [bench.session, *bench.sessions]:
                has_cleared_up = functools.partial(lambda session: not leftovers(session), session)
                assert await settles(has_cleared_up, MAX_STEPS_TO_CLEAR_UP), (steps, leftovers(session))
            sources_are_closed = functools.partial(lambda bench: bench.sources_open == 0, bench)
            assert await settles(sources_are_closed, MAX_STEPS_TO_CLEAR_UP), steps
            assert all(session._poller.is_closed for session in bench.sessions) or was_cancelled
            if not bench.session._poller.is_closed:
                assert (await bench.session.get_execution_status("good")).output == "42"
            await bench.session.close()
            del bench, sources_are_closed
            gc.collect()
            assert await settles(lambda: asyncio.all_tasks() == tasks), (steps, asyncio.all_tasks() - tasks)
            assert await settles(lambda: file_descriptors() == descriptors), steps
            assert reported == [], steps
            if not was_cancelled:
                return steps
    pytest.fail(f"still running after {MAX_STEPS} steps")


def swept(attempt: Attempt) -> int:
    with asyncio.Runner(loop_factory=SteppingLoop) as runner:
        return runner.run(sweep(attempt))


@pytest.mark.parametrize(
    "call",
    [
        one_wait,
        plain_batch,
        pytest.param(one_request, marks=pytest.mark.full),
        pytest.param(a_request_that_is_tried_again, marks=pytest.mark.full),
        pytest.param(batch_from_an_async_iterable, marks=pytest.mark.full),
        pytest.param(session_as_a_context, marks=pytest.mark.full),
        pytest.param(function_for_scripts, marks=pytest.mark.full),
    ],
    ids=lambda call: call.__name__,
)
def test_cancelled_at_any_step_it_leaves_nothing_behind(call: Callable[[Bench], Any]) -> None:
    async def attempt(bench: Bench, steps: int) -> bool:
        return await cancelled_after(steps, asyncio.create_task(call(bench)))

    assert swept(attempt) > 5


@pytest.mark.full
@pytest.mark.parametrize("again_after", [1, 2, 3])
@pytest.mark.parametrize(
    "call",
    [plain_batch, batch_from_an_async_iterable, session_as_a_context, function_for_scripts],
    ids=lambda call: call.__name__,
)
def test_cancelled_once_more_while_it_clears_up_it_leaves_nothing_behind(
    call: Callable[[Bench], Any], again_after: int
) -> None:
    async def attempt(bench: Bench, steps: int) -> bool:
        return await cancelled_after(steps, asyncio.create_task(call(bench)), again_after=again_after)

    assert swept(attempt) > 5


@pytest.mark.full
def test_a_wait_cancelled_at_any_step_does_not_harm_the_other_on_its_id() -> None:
    async def attempt(bench: Bench, steps: int) -> bool:
        bench.simulator.add("id", polls=2)
        first, second = (asyncio.create_task(one_wait_of_two(bench)) for _ in range(2))
        was_cancelled = await cancelled_after(steps, first)
        assert await second
        return was_cancelled

    async def one_wait_of_two(bench: Bench) -> bool:
        return (await bench.session.wait_for_verification("id")).output == "42"

    assert swept(attempt) > 5


def test_a_close_cancelled_at_any_step_can_be_repeated() -> None:
    async def attempt(bench: Bench, steps: int) -> bool:
        bench.simulator.script("hung", Reply.hang())
        calls = [
            asyncio.create_task(bench.session.get_execution_status("hung")),
            asyncio.create_task(bench.session.wait_for_verification("hung")),
        ]
        assert await settles(lambda: len(bench.simulator.requests) >= 2)
        bench.simulator.requests.clear()
        was_cancelled = await cancelled_after(steps, asyncio.create_task(close(bench)))
        await bench.session.close()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} == {errors.SessionClosedError}
        return was_cancelled

    async def close(bench: Bench) -> bool:
        await bench.session.close()
        return True

    assert swept(attempt) > 1
