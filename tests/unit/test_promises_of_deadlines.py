"""A wait looks once more before its deadline, ends at its deadline, and says which one it was."""

from __future__ import annotations

import asyncio

import pytest
from tenacity import wait_fixed

from tests.sockets.raw_server import RawRequest, body_of, raw_server, response
from truebit_async import PollPolicy, TruebitSession, VerificationStatus, errors
from truebit_async.testing import Reply, Simulator

pytestmark = pytest.mark.virtual_time

RUNNING = VerificationStatus.RUNNING
POLICY = PollPolicy(wait=wait_fixed(1), deadline=1.5)


def times(simulator: Simulator, execution_id: str, since: float = 0.0) -> list[float]:
    found = [request.time - since for request in simulator.requests if request.execution_id == execution_id]
    return [round(time, 2) for time in found]


@pytest.mark.parametrize("started", [0.0, 0.7, 1000.1, 123456.789])
@pytest.mark.parametrize("deadline", [0.6, 0.1, 1.1, 7])
async def test_the_error_has_the_deadline_of_the_policy(started: float, deadline: float) -> None:
    async with Simulator() as simulator, TruebitSession(simulator.url, policy=POLICY) as session:
        simulator.add("id", status="Running")
        await asyncio.sleep(started)
        with pytest.raises(errors.VerificationTimeoutError) as caught:
            await session.wait_for_verification("id", deadline=deadline)
        [outcome] = [outcome async for outcome in session.wait_for_verifications(["id"], deadline=deadline)]
    assert caught.value.deadline == deadline
    assert isinstance(outcome.error, errors.VerificationTimeoutError)
    assert outcome.error.deadline == deadline


async def test_a_final_state_between_the_last_poll_and_the_deadline_is_found() -> None:
    async with Simulator() as simulator, TruebitSession(simulator.url, policy=POLICY) as session:
        simulator.add("id", running_for=1.2)
        started = asyncio.get_running_loop().time()
        assert (await session.wait_for_verification("id")).output == "42"
        assert asyncio.get_running_loop().time() - started < 1.5
        assert times(simulator, "id") == [0, 1, 1.45]


async def test_a_batch_looks_once_more_for_each() -> None:
    ids = [f"id-{number}" for number in range(20)]
    async with Simulator() as simulator, TruebitSession(simulator.url, policy=POLICY) as session:
        for execution_id in ids:
            simulator.add(execution_id, running_for=1.2)
        outcomes = [outcome async for outcome in session.wait_for_verifications(ids)]
    assert all(outcome.execution for outcome in outcomes)


async def test_the_last_poll_leaves_time_for_twice_the_slowest_exchange() -> None:
    def answer(request: RawRequest) -> None:
        is_done = request.time - server.requests[0].time >= 1.5
        request.send(response(body_of("Success" if is_done else "Running", "id")), after=0.2)

    async with raw_server(answer) as server, TruebitSession(server.url, policy=POLICY) as session:
        assert (await session.wait_for_verification("id", deadline=2)).output == "42"
        assert [round(time - server.requests[0].time, 1) for time in server.times("id")] == [0, 1.2, 1.6]


async def test_no_strategy_is_asked_to_look_again_after_the_last_poll() -> None:
    async with Simulator() as simulator, TruebitSession(simulator.url, policy=POLICY) as session:
        simulator.add("id", status="Running")
        with pytest.raises(errors.VerificationTimeoutError) as caught:
            await session.wait_for_verification("id")
        assert times(simulator, "id") == [0, 1, 1.45]
        assert caught.value.polls == 3
        assert caught.value.elapsed == pytest.approx(1.5, abs=0.05)


async def test_the_last_poll_is_left_out_if_no_slot_comes_in_time() -> None:
    async with (
        Simulator() as simulator,
        TruebitSession(simulator.url, policy=POLICY, max_concurrency=1) as session,
    ):
        simulator.add("id", status="Running")
        simulator.script("other", Reply.hang())
        wait = asyncio.create_task(session.wait_for_verification("id"))
        await asyncio.sleep(1.3)
        other = asyncio.create_task(session.wait_for_verification("other", deadline=20))
        with pytest.raises(errors.VerificationTimeoutError) as caught:
            await wait
        assert caught.value.elapsed == pytest.approx(1.5, abs=0.05)
        assert caught.value.last_execution is not None
        await asyncio.wait([other])
        assert times(simulator, "id") == [0, 1]


async def test_the_last_poll_is_left_out_if_the_rate_has_no_room_for_it() -> None:
    async with (
        Simulator() as simulator,
        TruebitSession(simulator.url, policy=POLICY, max_rate=1) as session,
    ):
        simulator.add("id", status="Running")
        with pytest.raises(errors.VerificationTimeoutError) as caught:
            await session.wait_for_verification("id")
        assert caught.value.elapsed == pytest.approx(1.5, abs=0.05)
        await asyncio.sleep(5)
        assert len(simulator.requests) == 2


async def test_a_last_poll_that_hangs_is_cut_at_the_deadline() -> None:
    async with Simulator() as simulator, TruebitSession(simulator.url, policy=POLICY) as session:
        simulator.script("id", Reply.running(), Reply.running(), Reply.hang())
        with pytest.raises(errors.VerificationTimeoutError) as caught:
            await session.wait_for_verification("id")
        assert times(simulator, "id") == [0, 1, 1.45]
        assert caught.value.elapsed == pytest.approx(1.5, abs=0.05)
        assert caught.value.polls == 2
        assert caught.value.last_execution is not None
        assert caught.value.last_execution.status is RUNNING


async def test_a_last_poll_that_fails_is_told_by_the_error() -> None:
    async with Simulator() as simulator, TruebitSession(simulator.url, policy=POLICY) as session:
        simulator.script("id", Reply.running(), Reply.running(), Reply.error(500))
        with pytest.raises(errors.VerificationTimeoutError) as caught:
            await session.wait_for_verification("id")
        assert caught.value.elapsed == pytest.approx(1.5, abs=0.05)
        assert isinstance(caught.value.last_error, errors.ServerError)
