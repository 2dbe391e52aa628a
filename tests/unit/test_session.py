"""What the session adds to its parts: configuration, life cycle, one-shot retries on virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aioresponses import aioresponses
from tenacity import wait_exponential, wait_fixed

from tests.fake_dispatcher import RUNNING, SUCCESS, FakeDispatcher
from truebit_async import (
    BackedOff,
    Execution,
    Finished,
    Polled,
    PollPolicy,
    Requested,
    Started,
    TruebitSession,
    errors,
    wait_for_verification,
)

STATUS_URL = "https://dispatcher.example/task/function/execution-status/id"
VERIFIED = {"executionId": "id", "verificationStatus": "Success"}


def on(dispatcher: FakeDispatcher, **options: Any) -> TruebitSession:
    """A session whose exchanges are made by a fake dispatcher."""
    session = TruebitSession("https://dispatcher.example", **options)
    dispatcher.serve(session)
    return session


# Configuration


def test_the_default_is_the_public_beta() -> None:
    assert repr(TruebitSession()) == "<TruebitSession 'https://run.truebit.network' open>"


def test_the_environment_configures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEBIT_BASE_URL", "https://from.environment")
    monkeypatch.setenv("TRUEBIT_API_KEY", "key-from-environment")
    session = TruebitSession()
    assert "from.environment" in repr(session)
    assert session._transport._headers["x-api-key"] == "key-from-environment"


def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEBIT_BASE_URL", "https://from.environment")
    monkeypatch.setenv("TRUEBIT_API_KEY", "key-from-environment")
    session = TruebitSession("https://from.argument", api_key="key-from-argument")
    assert "from.argument" in repr(session)
    assert session._transport._headers["x-api-key"] == "key-from-argument"


def test_empty_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEBIT_BASE_URL", "")
    monkeypatch.setenv("TRUEBIT_API_KEY", "")
    session = TruebitSession()
    assert "run.truebit.network" in repr(session)
    assert "x-api-key" not in session._transport._headers


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"base_url": "ftp://dispatcher.example"}, ValueError, "base_url"),
        ({"base_url": ""}, ValueError, "base_url"),
        ({"base_url": 1}, TypeError, "base_url"),
        ({"api_key": ""}, ValueError, "api_key"),
        ({"api_key": 1}, TypeError, "api_key"),
        ({"http": "x"}, TypeError, "http must be an aiohttp.ClientSession, not str"),
        ({"policy": 5}, TypeError, "policy must be a PollPolicy, not int"),
        ({"max_concurrency": 0}, ValueError, "max_concurrency must be at least 1"),
        ({"max_concurrency": 2.5}, TypeError, "max_concurrency"),
        ({"max_concurrency": True}, TypeError, "max_concurrency"),
        ({"max_rate": 0}, ValueError, "max_rate must be above zero"),
        ({"max_rate": -1.0}, ValueError, "max_rate"),
        ({"max_rate": math.nan}, ValueError, "max_rate"),
        ({"max_rate": math.inf}, ValueError, "max_rate"),
        ({"max_rate": "5"}, TypeError, "max_rate"),
        ({"max_response_bytes": 0}, ValueError, "max_response_bytes"),
        ({"max_response_bytes": 1.5}, TypeError, "max_response_bytes"),
    ],
)
def test_arguments_that_cannot_work(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TruebitSession(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"deadline": 0}, ValueError, "deadline"),
        ({"deadline": math.nan}, ValueError, "deadline"),
        ({"deadline": "5"}, TypeError, "deadline"),
        ({"policy": 5}, TypeError, "policy must be a PollPolicy, not int"),
    ],
)
async def test_budgets_of_a_call_that_cannot_work(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with TruebitSession() as session:
        with pytest.raises(error, match=message):
            await session.wait_for_verification("id", **arguments)
        with pytest.raises(error, match=message):
            session.wait_for_verifications(["id"], **arguments)


@pytest.mark.parametrize(
    ("ids", "max_pending", "error", "message"),
    [
        ("id", 1, TypeError, "execution_ids must be an iterable of IDs, not str"),
        (7, 1, TypeError, "execution_ids must be an iterable of IDs, not int"),
        ([], 0, ValueError, "max_pending must be at least 1"),
        ([], 1.5, TypeError, "max_pending"),
    ],
)
async def test_batches_that_cannot_work(ids: Any, max_pending: Any, error: type[Exception], message: str) -> None:
    async with TruebitSession() as session:
        with pytest.raises(error, match=message):
            session.wait_for_verifications(ids, max_pending=max_pending)


# Life cycle


async def test_it_works_without_async_with(mocked_http: aioresponses) -> None:
    mocked_http.get(STATUS_URL, payload=VERIFIED)
    session = TruebitSession("https://dispatcher.example")
    assert (await session.get_execution_status("id")).is_verified
    await session.close()


async def test_a_closed_session_refuses_work() -> None:
    session = TruebitSession()
    await session.close()
    await session.close()
    assert repr(session).endswith("closed>")
    with pytest.raises(errors.SessionClosedError, match="'id'"):
        await session.get_execution_status("id")
    with pytest.raises(errors.SessionClosedError, match="'id'"):
        await session.wait_for_verification("id")
    with pytest.raises(errors.SessionClosedError):
        session.wait_for_verifications(["id"])
    with pytest.raises(errors.SessionClosedError):
        async with session:
            pass


async def test_an_injected_client_session_is_used_and_stays_open(mocked_http: aioresponses) -> None:
    mocked_http.get(STATUS_URL, payload=VERIFIED)
    async with aiohttp.ClientSession() as http:
        async with TruebitSession("https://dispatcher.example", http=http) as session:
            await session.get_execution_status("id")
        assert session._transport._pooled is None
        assert not http.closed


async def test_the_function_for_scripts(mocked_http: aioresponses) -> None:
    mocked_http.get(STATUS_URL, payload=VERIFIED)
    execution = await wait_for_verification("id", base_url="https://dispatcher.example", api_key="key", deadline=5)
    assert execution.is_verified


# One-shot requests


@pytest.mark.virtual_time
async def test_a_status_is_asked_for_once_if_all_is_well() -> None:
    dispatcher = FakeDispatcher()
    async with on(dispatcher) as session:
        assert await session.get_execution_status("id") == Execution("id", RUNNING)
    assert dispatcher.times("id") == [0]


@pytest.mark.virtual_time
async def test_transient_failures_are_tried_again_as_the_policy_says() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.TransportError("id", "reset"), errors.ServerError("id", 500), SUCCESS)
    policy = PollPolicy(wait=wait_exponential(multiplier=2))
    async with on(dispatcher, policy=policy) as session:
        assert (await session.get_execution_status("id")).is_verified
    assert dispatcher.times("id") == [0, 2, 6]


@pytest.mark.virtual_time
async def test_the_last_failure_is_raised_in_the_end() -> None:
    dispatcher = FakeDispatcher()
    last = errors.ServerError("id", 503)
    dispatcher.script("id", errors.ServerError("id", 500), errors.RequestTimeoutError("id", "slow", 1.0), last)
    policy = PollPolicy(wait=wait_fixed(1), max_consecutive_errors=3)
    async with on(dispatcher, policy=policy) as session:
        with pytest.raises(errors.ServerError) as caught:
            await session.get_execution_status("id")
    assert caught.value is last
    assert dispatcher.times("id") == [0, 1, 2]


@pytest.mark.virtual_time
@pytest.mark.parametrize("error", [errors.ExecutionNotFoundError("id", 404), ZeroDivisionError()])
async def test_other_failures_are_raised_at_once(error: Exception) -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", error)
    async with on(dispatcher) as session:
        with pytest.raises(type(error)):
            await session.get_execution_status("id")
    assert dispatcher.times("id") == [0]


@pytest.mark.virtual_time
async def test_retry_after_is_heeded_by_one_shots_too() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.RateLimitedError("id", 429, None, 30.0), SUCCESS)
    async with on(dispatcher, policy=PollPolicy(wait=wait_fixed(1))) as session:
        await session.get_execution_status("id")
    assert dispatcher.times("id") == [0, 30]


@pytest.mark.virtual_time
@pytest.mark.parametrize("has_failed", [True, False])
async def test_the_deadline_holds_for_one_shots_too(has_failed: bool) -> None:
    dispatcher = FakeDispatcher(latency=4.0 if has_failed else 3600.0)
    error = errors.RequestTimeoutError("id", "slow", 4.0)
    dispatcher.script("id", error)
    async with on(dispatcher, policy=PollPolicy(wait=wait_fixed(2), deadline=5)) as session:
        with pytest.raises(errors.VerificationTimeoutError) as caught:
            await session.get_execution_status("id")
    assert asyncio.get_running_loop().time() == pytest.approx(5)
    assert caught.value.last_error is (error if has_failed else None)
    assert caught.value.polls == has_failed
    assert dispatcher.in_flight == 0


@pytest.mark.virtual_time
async def test_a_request_timeout_is_not_reported_as_the_deadline() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.RequestTimeoutError("id", "slow", 4.0))
    async with on(dispatcher, policy=PollPolicy(wait=wait_fixed(1), max_consecutive_errors=2)) as session:
        with pytest.raises(errors.RequestTimeoutError):
            await session.get_execution_status("id")
        with pytest.raises(errors.RequestTimeoutError):
            await session.wait_for_verification("id")


# Waits


@pytest.mark.virtual_time
async def test_the_policy_of_a_call_goes_before_the_one_of_the_session() -> None:
    dispatcher = FakeDispatcher()
    async with on(dispatcher, policy=PollPolicy(wait=wait_fixed(1), deadline=100)) as session:
        with pytest.raises(errors.VerificationTimeoutError):
            await session.wait_for_verification("a", deadline=2.5)
        with pytest.raises(errors.VerificationTimeoutError):
            await session.wait_for_verification("b", policy=PollPolicy(wait=wait_fixed(2), deadline=7))
        with pytest.raises(errors.VerificationTimeoutError):
            await session.wait_for_verification("c", policy=PollPolicy(wait=wait_fixed(2), deadline=7), deadline=3)
        outcomes = [outcome async for outcome in session.wait_for_verifications(["d"], deadline=4.5)]
    assert [len(dispatcher.times(execution_id)) for execution_id in "abcd"] == [
        4,
        5,
        3,
        6,
    ]  # the last poll of each is at its deadline less 50 ms
    assert isinstance(outcomes[0].error, errors.VerificationTimeoutError)


@pytest.mark.virtual_time
async def test_leaving_the_session_ends_its_waits() -> None:
    dispatcher = FakeDispatcher()
    async with on(dispatcher) as session:
        wait = asyncio.create_task(session.wait_for_verification("id"))
        await asyncio.sleep(1)
    with pytest.raises(errors.SessionClosedError, match="'id'"):
        await wait


@pytest.mark.virtual_time
@pytest.mark.parametrize("when", [0.5, 1.5], ids=["in the second request", "in the sleep before it"])
async def test_closing_ends_one_shots_as_well(when: float) -> None:
    dispatcher = FakeDispatcher(latency=0.2)
    dispatcher.script("id", errors.ServerError("id", 500))
    policy = PollPolicy(wait=wait_fixed(2.0 if when == 1.5 else 0.25), deadline=None)
    session = on(dispatcher, policy=policy)
    request = asyncio.create_task(session.get_execution_status("id"))
    await asyncio.sleep(when)
    await session.close()
    with pytest.raises(errors.SessionClosedError, match="'id'"):
        await request
    assert asyncio.get_running_loop().time() == when


@pytest.mark.virtual_time
async def test_closing_again_while_a_one_shot_is_on_its_way_out_is_fine() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.ServerError("id", 500))
    session = on(dispatcher, policy=PollPolicy(wait=wait_fixed(60)))
    request = asyncio.create_task(session.get_execution_status("id"))
    await asyncio.sleep(1)
    first = asyncio.create_task(session.close())
    await asyncio.sleep(0)
    await asyncio.gather(first, session.close())
    with pytest.raises(errors.SessionClosedError):
        await request


@pytest.mark.virtual_time
async def test_a_timeout_that_is_nobodys_is_left_alone() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.ServerError("id", 500), TimeoutError("a bug"))
    async with on(dispatcher, policy=PollPolicy(wait=wait_fixed(1))) as session:
        with pytest.raises(TimeoutError, match="a bug"):
            await session.get_execution_status("id")


# Watching one wait


@pytest.mark.virtual_time
async def test_watch_yields_the_events_of_one_wait_and_ends_with_finished() -> None:
    dispatcher = FakeDispatcher(latency=0.25)
    dispatcher.script("id", RUNNING, SUCCESS)
    async with on(dispatcher, policy=PollPolicy(wait=wait_fixed(1))) as session:
        other = asyncio.create_task(session.wait_for_verification("id"))
        events = [event async for event in session.watch("id")]
        await other
    assert [type(event) for event in events] == [Started, Requested, Polled, BackedOff, Requested, Polled, Finished]
    assert {event.kind for event in events} == {"function"}
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.outcome.execution == Execution("id", SUCCESS)


@pytest.mark.virtual_time
async def test_watch_tells_a_failure_in_its_last_event() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.ExecutionNotFoundError("id", 404))
    async with on(dispatcher) as session:
        *_, last = [event async for event in session.watch("id")]
    assert isinstance(last, Finished)
    assert isinstance(last.outcome.error, errors.ExecutionNotFoundError)


@pytest.mark.virtual_time
async def test_leaving_watch_leaves_the_wait() -> None:
    dispatcher = FakeDispatcher(latency=5.0)
    async with on(dispatcher) as session:
        async with contextlib.aclosing(session.watch("id")) as events:
            async for event in events:
                if isinstance(event, Requested):
                    await asyncio.sleep(1)
                    break
        await asyncio.sleep(0)
        assert dispatcher.cancelled["id"] == 1
        assert session._poller._registry.size == 0
        assert not session._poller.emitter._target_listeners
    assert asyncio.get_running_loop().time() == 1


@pytest.mark.virtual_time
async def test_watch_ends_when_the_session_closes() -> None:
    async with on(FakeDispatcher(latency=5.0)) as session:
        events = session.watch("id")
        assert isinstance(await anext(events), Started)
        await session.close()
        *_, last = [event async for event in events]
    assert isinstance(last, Finished)
    assert isinstance(last.outcome.error, errors.SessionClosedError)


@pytest.mark.virtual_time
async def test_watch_raises_what_a_broken_strategy_raises() -> None:
    async with on(FakeDispatcher()) as session:
        with pytest.raises(ZeroDivisionError):
            async for _ in session.watch("id", policy=PollPolicy(wait=lambda _: 1 / 0)):
                pass


async def test_watch_refuses_at_once_what_cannot_work() -> None:
    session = TruebitSession()
    with pytest.raises(errors.InvalidExecutionIdError):
        session.watch("..")
    await session.close()
    with pytest.raises(errors.SessionClosedError, match="'id'"):
        session.watch("id")


async def test_common_mistakes_are_told() -> None:
    async def listen(_: object) -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match="a plain function, not an async one"):
        TruebitSession(listeners=[listen])  # type: ignore[list-item]
    async with TruebitSession() as session:
        for ids in ("success-01", b"success-01"):
            with pytest.raises(TypeError, match="for one ID use wait_for_verification"):
                session.wait_for_verifications(ids)  # type: ignore[arg-type]


# Function tasks by their own name


@pytest.mark.virtual_time
async def test_the_methods_of_the_session_are_those_of_its_functions() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", SUCCESS)
    async with on(dispatcher) as session:
        assert repr(session.functions) == "<Tasks of kind 'function'>"
        assert await session.functions.get_execution_status("id") == await session.get_execution_status("id")
        assert await session.functions.wait_for_verification("id") == await session.wait_for_verification("id")
        (outcome,) = [outcome async for outcome in session.functions.wait_for_verifications(["id"])]
        assert outcome.kind == "function"
        assert [type(event) async for event in session.functions.watch("id")][-1] is Finished


# What a session refuses


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_session_cannot_be_pickled_or_copied(duplicate: Callable[[object], object]) -> None:
    session = TruebitSession(api_key="planted-key")
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        duplicate(session)


def test_a_session_whose_making_failed_has_a_repr() -> None:
    session = TruebitSession.__new__(TruebitSession)
    with pytest.raises(ValueError, match="base_url"):
        session.__init__("ftp://dispatcher.example")  # type: ignore[misc]
    assert repr(session) == "<TruebitSession, not initialized>"


def test_closing_in_another_loop_is_refused_and_closes_nothing() -> None:
    async def close_from_another_loop(session: TruebitSession) -> None:
        with pytest.raises(RuntimeError, match="belongs to the event loop"):
            await session.close()

    async def run() -> None:
        dispatcher = FakeDispatcher()
        dispatcher.script("id", SUCCESS)
        async with on(dispatcher) as session:
            await session.get_execution_status("id")
            await asyncio.to_thread(asyncio.run, close_from_another_loop(session))
            assert "open" in repr(session)
            assert (await session.wait_for_verification("id")).is_verified

    asyncio.run(run())
