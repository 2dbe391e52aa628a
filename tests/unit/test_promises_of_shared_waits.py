"""Any number of waits for one execution share its polls, at a cost linear in their number, and suffer from no other."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tenacity import wait_fixed

from tests.promises import stopwatch
from tests.sockets.raw_server import RawRequest, body_of, raw_server, response
from truebit_async import Execution, PollPolicy, TruebitSession, VerificationStatus, errors
from truebit_async.testing import Reply, Simulator

pytestmark = pytest.mark.virtual_time

SUCCESS = VerificationStatus.SUCCESS


# What n waits for one ID cost


async def a_final_state(session: TruebitSession, tasks: list[asyncio.Task[Execution]]) -> None:
    await asyncio.sleep(2)


async def cancelling(session: TruebitSession, tasks: list[asyncio.Task[Execution]]) -> None:
    for task in tasks:
        task.cancel()


async def closing(session: TruebitSession, tasks: list[asyncio.Task[Execution]]) -> None:
    await session.close()


async def a_deadline(session: TruebitSession, tasks: list[asyncio.Task[Execution]]) -> None:
    await asyncio.sleep(4)


END: dict[str, tuple[Callable[[TruebitSession, list[asyncio.Task[Execution]]], Awaitable[None]], float, type[Any]]] = {
    "final state": (a_final_state, 2, Execution),
    "cancel": (cancelling, 1000, asyncio.CancelledError),
    "close": (closing, 1000, errors.SessionClosedError),
    "deadline": (a_deadline, 1000, errors.VerificationTimeoutError),
}
"""How they end, after how many seconds the reply comes, and what is to come of them."""


async def cost(count: int, how: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return the CPU seconds in which so many waits for one ID end."""
    end, seconds_to_reply, expected = END[how]
    policy = PollPolicy(wait=wait_fixed(100), deadline=4, request_timeout=1000)

    def answer(request: RawRequest) -> None:
        request.send(response(body_of("Success", "id")), after=seconds_to_reply)

    async with raw_server(answer) as server, TruebitSession(server.url, policy=policy) as session:
        tasks = [asyncio.create_task(session.wait_for_verification("id")) for _ in range(count)]
        await asyncio.sleep(1)
        with stopwatch(monkeypatch) as watch:
            await end(session, tasks)
            await asyncio.wait(tasks)
        assert len(server.requests) == 1
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {expected}
    return watch.seconds


@pytest.mark.full
@pytest.mark.no_cover  # covering more than halves the speed that is measured
@pytest.mark.parametrize("how", END)
async def test_many_waits_for_one_execution_end_at_a_cost_linear_in_their_number(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = min([await cost(2_000, how, monkeypatch) for _ in range(3)])
    many = min([await cost(10_000, how, monkeypatch) for _ in range(2)])
    assert many < 10 * few  # five times as many: 5 if it is linear, 25 if it is quadratic
    assert many < 0.3


# What a wait that joins others believes


@pytest.mark.parametrize("old", [Reply.running(), Reply.error(500)], ids=lambda reply: reply.name)
@pytest.mark.parametrize(("gap", "deadline"), [(10, 5), (10, 30), (1, 10), (99, 50)])
async def test_a_wait_that_joins_does_not_trust_a_result_older_than_its_own_first_gap(
    old: Reply, gap: float, deadline: float
) -> None:
    loop = asyncio.get_running_loop()
    async with Simulator() as simulator, TruebitSession(simulator.url) as session:
        simulator.script("id", old, Reply.success("42"))
        patient = PollPolicy(wait=wait_fixed(1000), deadline=None)
        first = asyncio.create_task(session.wait_for_verification("id", policy=patient))
        await asyncio.sleep(100)
        assert len(simulator.requests) == 1
        joined = loop.time()
        eager = PollPolicy(wait=wait_fixed(gap), deadline=deadline, max_consecutive_errors=1)
        assert (await session.wait_for_verification("id", policy=eager)).output == "42"
        assert loop.time() - joined < 0.1
        assert (await first).output == "42"  # by the same request
        assert len(simulator.requests) == 2


@pytest.mark.parametrize("age", [0.1, 0.5, 0.9])
async def test_a_wait_that_joins_does_not_ask_again_what_has_just_been_answered(age: float) -> None:
    loop = asyncio.get_running_loop()
    async with Simulator() as simulator, TruebitSession(simulator.url) as session:
        simulator.add("id", running_for=0.05)
        patient = PollPolicy(wait=wait_fixed(1000), deadline=None)
        first = asyncio.create_task(session.wait_for_verification("id", policy=patient))
        await asyncio.sleep(age)
        assert len(simulator.requests) == 1
        joined = loop.time()
        eager = PollPolicy(wait=wait_fixed(1), deadline=10)
        assert (await session.wait_for_verification("id", policy=eager)).verification_status is SUCCESS
        await first
        asked, asked_again = (request.time for request in simulator.requests)
    assert asked_again >= asked + 0.99
    assert asked_again <= joined + 1.01


async def test_the_first_gap_is_the_one_that_the_strategy_gives_after_the_first_poll() -> None:
    attempts: list[int] = []

    def growing(state: Any) -> float:
        attempts.append(state.attempt_number)
        return float(10**state.attempt_number)

    async with Simulator() as simulator, TruebitSession(simulator.url) as session:
        simulator.add("id", running_for=15)
        patient = PollPolicy(wait=wait_fixed(1000), deadline=None)
        first = asyncio.create_task(session.wait_for_verification("id", policy=patient))
        await asyncio.sleep(5)
        await session.wait_for_verification("id", policy=PollPolicy(wait=growing, deadline=1000))
        await first
        polls = [request.time for request in simulator.requests]
    assert attempts[0] == 1
    assert polls[1] - polls[0] <= 5 + 10.01


# Whose time limit holds


async def test_a_shared_request_has_the_largest_limit_of_its_waits() -> None:
    hasty = PollPolicy(wait=wait_fixed(1), deadline=10, request_timeout=0.05, max_consecutive_errors=1)
    patient = PollPolicy(wait=wait_fixed(1), deadline=10, request_timeout=30, max_consecutive_errors=1)
    for policies in itertools.permutations([hasty, patient, hasty]):
        async with (
            raw_server(lambda request: request.send(response(body_of("Success", "id")), after=0.3)) as server,
            TruebitSession(server.url) as session,
        ):
            waits = (session.wait_for_verification("id", policy=policy) for policy in policies)
            executions = await asyncio.gather(*waits)
            assert [execution.verification_status for execution in executions] == [SUCCESS] * 3
            assert len(server.requests) == 1


@pytest.mark.parametrize("joins_after", [0.01, 0.04, 0.06, 0.3])
async def test_a_wait_that_joins_a_request_does_not_fail_by_the_limit_of_another(joins_after: float) -> None:
    hasty = PollPolicy(wait=wait_fixed(1), deadline=10, request_timeout=0.05, max_consecutive_errors=1000)
    patient = PollPolicy(wait=wait_fixed(1), deadline=10, request_timeout=30, max_consecutive_errors=1)
    async with (
        raw_server(lambda request: request.send(response(body_of("Success", "id")), after=0.3)) as server,
        TruebitSession(server.url) as session,
    ):
        first = asyncio.create_task(session.wait_for_verification("id", policy=hasty))
        await asyncio.sleep(joins_after)
        execution = await session.wait_for_verification("id", policy=patient)
        assert execution.verification_status is SUCCESS
        await first  # by the request of the other


async def test_a_wait_on_its_own_has_its_own_limit() -> None:
    hasty = PollPolicy(wait=wait_fixed(1), deadline=10, request_timeout=0.05, max_consecutive_errors=1)
    patient = PollPolicy(wait=wait_fixed(1), deadline=10, request_timeout=30, max_consecutive_errors=1)
    async with (
        raw_server(
            lambda request: request.send(response(body_of("Success", request.execution_id)), after=0.3)
        ) as server,
        TruebitSession(server.url) as session,
    ):
        other = asyncio.create_task(session.wait_for_verification("other", policy=patient))
        with pytest.raises(errors.RequestTimeoutError) as caught:
            await session.wait_for_verification("id", policy=hasty)
        assert caught.value.request_timeout == 0.05
        assert (await other).verification_status is SUCCESS
