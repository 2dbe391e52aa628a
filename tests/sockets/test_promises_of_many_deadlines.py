"""However many waits end at one instant, each ends on time, and the loop is held by none of it."""

from __future__ import annotations

import asyncio

import attrs
import pytest
from tenacity import wait_fixed

from tests.promises import stopwatch
from tests.sockets.raw_server import RawRequest, body_of, raw_server, response
from truebit_async import Execution, PollPolicy, TruebitSession, errors

pytestmark = [
    pytest.mark.full,
    pytest.mark.virtual_time,
    pytest.mark.no_cover,
]  # covering more than halves the speed that is measured

MANY = 20_000
POLICY = PollPolicy(wait=wait_fixed(1000), deadline=5, request_timeout=30)
MAX_LATENESS = 3.5  # times that of as many bare timeouts, on whatever machine this is
MAX_STEP = 0.02  # seconds


def never(request: RawRequest) -> None:
    """Leave a request without an answer."""


@attrs.define
class Waits:
    """Many waits, each a task of its own.

    Attributes:
        ends: what those that are over ended with.
        are_over: is set when all of them are. Many callbacks of one future would be a long step of the test's own.
        tasks: the tasks.
    """

    ends: list[Execution | type[Exception]] = attrs.Factory(list)
    are_over: asyncio.Event = attrs.Factory(asyncio.Event)
    tasks: list[asyncio.Task[None]] = attrs.Factory(list)

    async def start(self, session: TruebitSession, execution_ids: list[str]) -> None:
        self.tasks = [asyncio.create_task(self._wait(session, execution_id)) for execution_id in execution_ids]
        await asyncio.sleep(1)

    async def _wait(self, session: TruebitSession, execution_id: str) -> None:
        try:
            self.ends.append(await session.wait_for_verification(execution_id))
        except errors.TruebitError as error:
            self.ends.append(type(error))
        if len(self.ends) == len(self.tasks):
            self.are_over.set()


async def lateness(monkeypatch: pytest.MonkeyPatch) -> float:
    """Return how late the last of many waits ends that have one deadline, in seconds.

    On virtual time they have the same deadline indeed. To what passes on its clock, the CPU time is added.
    """
    loop = asyncio.get_running_loop()
    async with raw_server(never) as server, TruebitSession(server.url, policy=POLICY) as session:
        deadline = loop.time() + 5
        waits = Waits()
        await waits.start(session, [f"id-{number}" for number in range(MANY)])
        await asyncio.sleep(deadline - 0.001 - loop.time())
        with stopwatch(monkeypatch) as watch:
            await waits.are_over.wait()
    assert waits.ends == [errors.VerificationTimeoutError] * MANY
    assert watch.longest_step <= MAX_STEP
    return loop.time() - deadline + watch.seconds


async def lateness_of_bare_timeouts(monkeypatch: pytest.MonkeyPatch) -> float:
    """Return the same for as many `asyncio.timeout_at`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 5
    ended = 0
    are_over = asyncio.Event()

    async def wait() -> None:
        nonlocal ended
        try:
            async with asyncio.timeout_at(deadline):
                await loop.create_future()
        except TimeoutError:
            ended += 1
        if ended == MANY:
            are_over.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(MANY):
            group.create_task(wait())
        await asyncio.sleep(deadline - 0.001 - loop.time())
        with stopwatch(monkeypatch) as watch:
            await are_over.wait()
        return loop.time() - deadline + watch.seconds


async def test_20_000_deadlines_at_one_instant_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):  # where caches are shared with others, CPU time varies as well
        bare, late = await lateness_of_bare_timeouts(monkeypatch), await lateness(monkeypatch)
        if late <= MAX_LATENESS * bare:
            return
    pytest.fail(f"the last one ended {late:.3f} s late, the last of the bare timeouts {bare:.3f} s")


async def test_a_batch_of_20_000_deadlines_holds_the_loop_for_no_long_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(never) as server, TruebitSession(server.url, policy=POLICY) as session:
        with stopwatch(monkeypatch) as watch:
            ends = [type(outcome.error) async for outcome in session.wait_for_verifications(map(str, range(MANY)))]
    assert ends == [errors.VerificationTimeoutError] * MANY
    assert watch.longest_step <= MAX_STEP


async def test_closing_a_session_of_20_000_waits_holds_the_loop_for_no_long_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with raw_server(never) as server:
        session = TruebitSession(server.url, policy=POLICY)
        waits = Waits()
        await waits.start(session, [f"id-{number}" for number in range(MANY)])
        with stopwatch(monkeypatch) as watch:
            await session.close()
            await waits.are_over.wait()
    assert waits.ends == [errors.SessionClosedError] * MANY
    assert watch.longest_step <= MAX_STEP


async def test_leaving_a_batch_of_20_000_holds_the_loop_for_no_long_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(never) as server, TruebitSession(server.url, policy=POLICY) as session:
        batch = session.wait_for_verifications(map(str, range(MANY)), deadline=None)
        reading = asyncio.create_task(anext(batch))
        await asyncio.sleep(1)
        with stopwatch(monkeypatch) as watch:
            reading.cancel()
            await asyncio.wait([reading])
            await batch.aclose()
        assert watch.longest_step <= MAX_STEP


@pytest.mark.full
@pytest.mark.parametrize("status", ["Running", "Success"])
async def test_a_result_for_40_000_waiters_holds_the_loop_for_no_long_time(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    async with (
        raw_server(lambda request: request.send(response(body_of(status, "id")), after=2)) as server,
        TruebitSession(server.url, policy=POLICY) as session,
    ):
        waits = Waits()
        await waits.start(session, ["id"] * (2 * MANY))
        with stopwatch(monkeypatch) as watch:
            await asyncio.sleep(2)
        assert len(server.requests) == 1
        assert len(waits.ends) == (2 * MANY if status == "Success" else 0)
        await waits.are_over.wait()
    assert watch.longest_step <= MAX_STEP
