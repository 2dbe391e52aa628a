"""How everything ends: by close, with a task group, by somebody else's timeout, on every kind of event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import uvloop
from tenacity import wait_fixed

from tests.policies import FAST
from tests.simulator_process import simulator_process
from truebit_async import Execution, PollPolicy, TruebitSession, errors, wait_for_verification
from truebit_async.testing import Reply, Simulator


async def a_request_arrives(simulator: Simulator) -> None:
    while not simulator.requests:
        await asyncio.sleep(0.001)


# Close

THOUSAND = [f"id-{number}" for number in range(1000)]


def add_a_thousand_that_never_end(simulator: Simulator) -> None:
    for number, execution_id in enumerate(THOUSAND):
        simulator.script(execution_id, Reply.hang() if number % 20 == 0 else Reply.running())


async def seconds_to_close_a_thousand_waits(url: str) -> float:
    ends: list[tuple[float, BaseException]] = []

    async def wait(execution_id: str) -> None:
        try:
            await session.wait_for_verification(execution_id)
        except Exception as error:  # noqa: BLE001  # the test looks at all of them
            ends.append((time.monotonic(), error))

    session = TruebitSession(url, policy=PollPolicy(wait=wait_fixed(0.05), deadline=None))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for execution_id in THOUSAND:
            group.create_task(wait(execution_id))
        await asyncio.sleep(0.2)  # by then some are in flight, some sleep, some are in the queue
        assert session._poller._requests._in_flight
        assert not ends
        started = time.monotonic()
        await session.close()
    assert [type(error) for _, error in ends] == [errors.SessionClosedError] * len(THOUSAND)
    assert {error.execution_id for _, error in ends if isinstance(error, errors.TruebitError)} == set(THOUSAND)
    return max(when for when, _ in ends) - started


@pytest.mark.full
@pytest.mark.no_cover
def test_closing_ends_a_thousand_waits_within_100_ms() -> None:
    with simulator_process(add_a_thousand_that_never_end) as url:
        gc.collect()
        # The quickest of three is what closing takes; the others are what else the machine had to do.
        assert min(asyncio.run(seconds_to_close_a_thousand_waits(url)) for _ in range(3)) < 0.1


# A client session of somebody else


async def by_success(session: TruebitSession, simulator: Simulator) -> None:
    await session.wait_for_verification("good")


async def by_not_being_found(session: TruebitSession, simulator: Simulator) -> None:
    with pytest.raises(errors.ExecutionNotFoundError):
        await session.get_execution_status("missing")


async def by_an_unusable_answer(session: TruebitSession, simulator: Simulator) -> None:
    simulator.script("id", Reply.redirect("https://elsewhere.example"))
    with pytest.raises(errors.RedirectError):
        await session.wait_for_verification("id")


async def by_a_reset(session: TruebitSession, simulator: Simulator) -> None:
    simulator.script("id", Reply.reset())
    with pytest.raises(errors.TransportError):
        await session.wait_for_verification("id")


async def by_too_large_an_answer(session: TruebitSession, simulator: Simulator) -> None:
    simulator.script("id", Reply.success("x" * 100_000))
    with pytest.raises(errors.ResponseTooLargeError):
        await session.get_execution_status("id")


async def by_a_deadline(session: TruebitSession, simulator: Simulator) -> None:
    simulator.script("id", Reply.hang())
    with pytest.raises(errors.VerificationTimeoutError):
        await session.wait_for_verification("id", deadline=0.05)


async def by_cancellation(session: TruebitSession, simulator: Simulator) -> None:
    simulator.script("id", Reply.hang())
    calls = [
        asyncio.create_task(session.get_execution_status("id")),  # first, so that it is made in its own task
        asyncio.create_task(session.wait_for_verification("id")),
    ]
    await a_request_arrives(simulator)
    for call in calls:
        call.cancel()
    assert {type(end) for end in await asyncio.gather(*calls, return_exceptions=True)} == {asyncio.CancelledError}


async def by_closing(session: TruebitSession, simulator: Simulator) -> None:
    simulator.script("id", Reply.hang())
    calls = [
        asyncio.create_task(session.get_execution_status("id")),  # first, so that it is made in its own task
        asyncio.create_task(session.wait_for_verification("id")),
    ]
    await a_request_arrives(simulator)
    await session.close()
    async with asyncio.timeout(FAST.request_timeout / 2):  # it is the close that ends them, not a limit of theirs
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ends] == [errors.SessionClosedError] * 2


@pytest.mark.parametrize(
    "use",
    [
        by_success,
        by_not_being_found,
        by_an_unusable_answer,
        by_a_reset,
        by_too_large_an_answer,
        by_a_deadline,
        by_cancellation,
        by_closing,
    ],
    ids=lambda use: use.__name__,
)
async def test_a_client_session_of_the_caller_is_not_closed(
    simulator: Simulator, use: Callable[[TruebitSession, Simulator], Awaitable[None]]
) -> None:
    simulator.add("good")
    async with aiohttp.ClientSession() as http:
        async with TruebitSession(simulator.url, http=http, policy=FAST, max_response_bytes=50_000) as session:
            await use(session, simulator)
        await session.close()
        assert not http.closed
        async with http.get(simulator.url) as response:
            assert response.status == 404


async def test_the_function_for_scripts_does_not_close_one_either(simulator: Simulator) -> None:
    simulator.add("good")
    simulator.script("hung", Reply.hang())
    async with aiohttp.ClientSession() as http:
        await wait_for_verification("good", base_url=simulator.url, http=http)
        with pytest.raises(errors.ExecutionNotFoundError):
            policy = PollPolicy(not_found_grace=0)
            await wait_for_verification("missing", base_url=simulator.url, http=http, policy=policy)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await wait_for_verification("hung", base_url=simulator.url, http=http)
        assert not http.closed
        assert (await wait_for_verification("good", base_url=simulator.url, http=http)).output == "42"


# Task groups and timeouts of the caller


async def test_a_failing_wait_cancels_the_others_of_its_task_group(
    simulator: Simulator, session: TruebitSession
) -> None:
    simulator.script("running", Reply.running())
    simulator.script("hung", Reply.hang())
    simulator.script("failing", Reply.running(), Reply.error(403))

    async def batch() -> None:
        async for _ in session.wait_for_verifications(["running", "hung"]):
            pass

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            others = [
                group.create_task(session.wait_for_verification("running")),
                group.create_task(session.wait_for_verification("hung")),
                group.create_task(session.get_execution_status("hung")),
                group.create_task(batch()),
            ]
            group.create_task(session.wait_for_verification("failing"))
    assert [type(error) for error in caught.value.exceptions] == [errors.AuthenticationError]
    assert all(other.cancelled() for other in others)
    assert not list(session._poller._registry)
    assert not session._poller._requests._in_flight


async def one_wait(session: TruebitSession, execution_id: str) -> None:
    await session.wait_for_verification(execution_id)


async def one_request(session: TruebitSession, execution_id: str) -> None:
    await session.get_execution_status(execution_id)


async def batch(session: TruebitSession, execution_id: str) -> None:
    async for _ in session.wait_for_verifications([execution_id]):
        pass


@pytest.mark.parametrize(
    ("call", "reply"),
    [
        (one_wait, Reply.hang()),
        (one_wait, Reply.running()),
        (one_wait, Reply.error(503)),
        (one_request, Reply.hang()),
        (one_request, Reply.error(503)),
        (batch, Reply.hang()),
        (batch, Reply.running()),
    ],
    ids=lambda value: value.name if isinstance(value, Reply) else value.__name__,
)
async def test_a_timeout_of_the_caller_stays_the_callers(
    simulator: Simulator, call: Callable[[TruebitSession, str], Awaitable[None]], reply: Reply
) -> None:
    simulator.script("id", reply)
    policy = PollPolicy(wait=wait_fixed(5))
    async with TruebitSession(simulator.url, policy=policy) as session:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05) as scope:
                await call(session, "id")
        assert scope.expired()
        assert type(caught.value) is TimeoutError
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        simulator.add("good")
        assert (await session.get_execution_status("good")).output == "42"


# Event loops


LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]
if sys.version_info >= (3, 12):

    def eager_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    LOOPS.append(eager_loop)


async def a_whole_wait(simulator: Simulator, session: TruebitSession) -> None:
    simulator.script("id", Reply.running(), Reply.error(503), Reply.running(), Reply.success("7"))
    first, second = await asyncio.gather(session.wait_for_verification("id"), session.wait_for_verification("id"))
    assert first.output == second.output == "7"
    assert len(simulator.requests) == 4


async def a_request_tried_again(simulator: Simulator, session: TruebitSession) -> None:
    simulator.script("id", Reply.error(503), Reply.success("7"))
    assert (await session.get_execution_status("id")).output == "7"


async def a_batch_left_early(simulator: Simulator, session: TruebitSession) -> None:
    simulator.add("quick")
    simulator.script("hung", Reply.hang())
    simulator.script("running", Reply.running())
    async with contextlib.aclosing(session.wait_for_verifications(["hung", "quick", "", "running"])) as outcomes:
        async for outcome in outcomes:
            if outcome.execution_id == "quick":
                break
    assert not list(session._poller._registry)
    assert not session._poller._requests._in_flight


async def a_cancelled_wait(simulator: Simulator, session: TruebitSession) -> None:
    simulator.script("hung", Reply.hang())
    simulator.add("good")
    wait = asyncio.create_task(session.wait_for_verification("hung"))
    await a_request_arrives(simulator)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    assert (await session.wait_for_verification("good")).output == "42"


async def a_close_in_the_middle(simulator: Simulator, session: TruebitSession) -> None:
    simulator.script("hung", Reply.hang())
    simulator.script("running", Reply.running())
    calls: list[asyncio.Task[Execution]] = [
        asyncio.create_task(session.get_execution_status("hung")),
        asyncio.create_task(session.wait_for_verification("hung")),
        asyncio.create_task(session.wait_for_verification("running")),
    ]
    while len(simulator.requests) < 5:
        await asyncio.sleep(0.001)
    await session.close()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ends] == [errors.SessionClosedError] * 3


@pytest.mark.parametrize(
    "scene",
    [a_whole_wait, a_request_tried_again, a_batch_left_early, a_cancelled_wait, a_close_in_the_middle],
    ids=lambda scene: scene.__name__,
)
@pytest.mark.parametrize("new_loop", LOOPS, ids=lambda new_loop: f"{new_loop.__module__}.{new_loop.__name__}")
def test_on_every_event_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop], scene: Callable[[Simulator, TruebitSession], Awaitable[None]]
) -> None:
    reported: list[dict[str, Any]] = []

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        async with Simulator() as simulator:
            async with TruebitSession(simulator.url, policy=FAST) as session:
                await scene(simulator, session)
            assert not session._poller._requests._tasks
        gc.collect()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(play())
    assert reported == []


# Whatever Python can be made to complain of

SCRIPT = """
import asyncio
from contextlib import aclosing

from tenacity import wait_fixed

from truebit_async import PollPolicy, TruebitSession, errors
from truebit_async.testing import Reply, Simulator


async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is nothing to complain of
    async with Simulator() as simulator:
        simulator.add("id", polls=2)
        simulator.add("quick")
        simulator.script("hung", Reply.hang())
        simulator.script("running", Reply.running())
        session = TruebitSession(simulator.url, policy=PollPolicy(wait=wait_fixed(0.01)))
        print((await session.wait_for_verification("id")).output)
        async with aclosing(session.wait_for_verifications(["hung", "running", "quick"])) as outcomes:
            async for outcome in outcomes:
                print(outcome.execution_id)
                break
        wait = asyncio.create_task(session.wait_for_verification("hung"))
        await asyncio.sleep(0.05)
        wait.cancel()
        (end,) = await asyncio.gather(wait, return_exceptions=True)
        print(type(end).__name__)
        calls = [asyncio.create_task(session.wait_for_verification(each)) for each in ("hung", "running")]
        calls.append(asyncio.create_task(session.get_execution_status("hung")))
        await asyncio.sleep(0.05)
        await session.close()
        print({type(end).__name__ for end in await asyncio.gather(*calls, return_exceptions=True)})


asyncio.run(main())
"""


@pytest.mark.full
def test_in_development_mode_nothing_is_said() -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONASYNCIODEBUG": "1"},
        check=False,
        timeout=25,
    )
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == ["42", "quick", "CancelledError", "{'SessionClosedError'}"]
    assert ran.returncode == 0
