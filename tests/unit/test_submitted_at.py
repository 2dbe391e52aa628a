"""`submitted_at`: how old an execution is when a wait for it begins."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from tenacity import RetryCallState

from tests.fake_dispatcher import RUNNING, SUCCESS, FakeDispatcher
from truebit_async import ExecutionNotFoundError, PollPolicy, TruebitSession, errors
from truebit_async.strategies import PollState

pytestmark = pytest.mark.virtual_time

HOUR = timedelta(hours=1)


class Ages:
    """A wait strategy that writes ages down."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def __call__(self, state: RetryCallState) -> float:
        assert isinstance(state, PollState)
        self.seen[state.args[0]] = state.execution_age
        return 1.0


@contextlib.asynccontextmanager
async def waiting(*execution_ids: str) -> AsyncIterator[tuple[TruebitSession, dict[str, float]]]:
    dispatcher, ages = FakeDispatcher(), Ages()
    for execution_id in execution_ids:
        dispatcher.script(execution_id, RUNNING, SUCCESS)
    async with TruebitSession("http://127.0.0.1", policy=PollPolicy(wait=ages)) as session:
        dispatcher.serve(session)
        yield session, ages.seen


async def test_of_a_single_wait() -> None:
    async with waiting("a", "b") as (session, seen):
        await session.wait_for_verification("a", submitted_at=datetime.now(UTC) - HOUR)
        await session.wait_for_verification("b")
    assert seen == {"a": pytest.approx(3600, abs=5), "b": pytest.approx(0, abs=0.01)}


async def test_of_a_wait_that_is_watched() -> None:
    async with waiting("a", "b") as (session, seen):
        async for _ in session.watch("a", submitted_at=datetime.now(UTC) - HOUR):
            pass
        async for _ in session.watch("b"):
            pass
    assert seen == {"a": pytest.approx(3600, abs=5), "b": pytest.approx(0, abs=0.01)}


async def test_of_all_executions_of_a_batch() -> None:
    async with waiting("a", "b") as (session, seen):
        async for _ in session.wait_for_verifications(["a", "b"], submitted_at=datetime.now(UTC) - HOUR):
            pass
    assert seen == {"a": pytest.approx(3600, abs=5), "b": pytest.approx(3600, abs=5)}


async def test_of_each_execution_of_a_batch() -> None:
    times = {"a": datetime.now(UTC) - HOUR, "b": None}
    async with waiting("a", "b") as (session, seen):
        async for _ in session.wait_for_verifications(["a", "b"], submitted_at=times.get):
            pass
    assert seen == {"a": pytest.approx(3600, abs=5), "b": pytest.approx(0, abs=0.01)}


async def test_any_time_zone_will_do() -> None:
    async with waiting("a") as (session, seen):
        zone = timezone(timedelta(hours=-9))
        await session.wait_for_verification("a", submitted_at=(datetime.now(UTC) - HOUR).astimezone(zone))
    assert seen == {"a": pytest.approx(3600, abs=5)}


async def test_a_time_that_is_still_to_come_is_now() -> None:
    """The clocks of two machines differ."""
    async with waiting("a") as (session, seen):
        await session.wait_for_verification("a", submitted_at=datetime.now(UTC) + HOUR)
    assert seen == {"a": pytest.approx(0, abs=0.01)}


async def test_budgets_count_from_the_beginning_of_the_wait() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("late", ExecutionNotFoundError("late", 404), SUCCESS)
    policy = PollPolicy(wait=lambda _: 1.0, deadline=5, not_found_grace=3)
    async with TruebitSession("http://127.0.0.1", policy=policy) as session:
        dispatcher.serve(session)
        await session.wait_for_verification("late", submitted_at=datetime.now(UTC) - HOUR)
        with pytest.raises(errors.VerificationTimeoutError, match="5 s"):
            await session.wait_for_verification("running", submitted_at=datetime.now(UTC) - HOUR)


@pytest.mark.parametrize(
    ("submitted_at", "error", "message"),
    [
        (1.7e9, TypeError, "submitted_at must be a datetime, .* not float"),
        ("2026-01-01T00:00:00Z", TypeError, "submitted_at must be a datetime, .* not str"),
        (datetime(2026, 1, 1), ValueError, "submitted_at must have a time zone"),  # noqa: DTZ001
    ],
)
async def test_what_is_no_time(submitted_at: Any, error: type[Exception], message: str) -> None:
    async with waiting("a") as (session, _):
        with pytest.raises(error, match=message):
            await session.wait_for_verification("a", submitted_at=submitted_at)
        with pytest.raises(error, match=message):
            session.watch("a", submitted_at=submitted_at)
        with pytest.raises(error, match=message):
            session.wait_for_verifications(["a"], submitted_at=submitted_at)


async def test_a_function_that_returns_no_time() -> None:
    def broken(_: str) -> Any:
        return 5

    async with waiting("a") as (session, _):
        with pytest.raises(TypeError, match=r"what submitted_at returns must be a datetime, .* not int"):
            async for _ in session.wait_for_verifications(["a"], submitted_at=broken):
                pass
