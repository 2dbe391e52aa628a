"""What a listener and the log are told, on virtual time."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import attrs
import pytest
from fake_dispatcher import RUNNING, SUCCESS, FakeDispatcher
from tenacity import wait_fixed

from truebit_async import (
    BackedOff,
    Execution,
    Finished,
    Outcome,
    Paused,
    Polled,
    PollEvent,
    PollPolicy,
    TruebitSession,
    errors,
)

pytestmark = pytest.mark.virtual_time

EVERY_SECOND = PollPolicy(wait=wait_fixed(1))


def on(dispatcher: FakeDispatcher, **options: Any) -> TruebitSession:
    session = TruebitSession("https://dispatcher.example", policy=EVERY_SECOND, **options)
    session._poller._fetch = dispatcher.fetch
    return session


async def test_the_story_of_a_wait() -> None:
    dispatcher = FakeDispatcher(latency=0.25)
    limited = errors.RateLimitedError("id", 429, None, 5.0)
    dispatcher.script("id", RUNNING, limited, SUCCESS)
    story: list[PollEvent] = []
    async with on(dispatcher, listener=story.append) as session:
        final = await session.wait_for_verification("id")
    assert story == [
        Polled("id", 0.25, Execution("id", RUNNING), None),
        BackedOff("id", 1.0, 1),
        Polled("id", 0.25, None, limited),
        Paused("id", 5.0, limited),
        BackedOff("id", 1.0, 2),
        Polled("id", 0.25, Execution("id", SUCCESS), None),
        Finished("id", Outcome("id", final, None, 3, 6.75)),
    ]


async def test_a_shared_poll_is_told_once_and_each_wait_for_itself() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", RUNNING, SUCCESS)
    story: list[PollEvent] = []
    async with on(dispatcher, listener=story.append) as session:
        await asyncio.gather(*(session.wait_for_verification("id") for _ in range(3)))
    assert [type(event) for event in story] == [Polled, *[BackedOff] * 3, Polled, *[Finished] * 3]


async def test_the_story_of_a_single_request() -> None:
    dispatcher = FakeDispatcher()
    down = errors.ServerError("id", 503, None, 7.0)
    dispatcher.script("id", down, RUNNING)
    story: list[PollEvent] = []
    async with on(dispatcher, listener=story.append) as session:
        await session.get_execution_status("id")
    assert story == [
        Polled("id", 0.0, None, down),
        Paused("id", 7.0, down),
        BackedOff("id", 1.0, 1),
        Polled("id", 0.0, Execution("id", RUNNING), None),
    ]


async def test_a_listener_that_raises_harms_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: PollEvent) -> None:
        raise ZeroDivisionError

    dispatcher = FakeDispatcher()
    dispatcher.script("id", RUNNING, SUCCESS)
    async with on(dispatcher, listener=broken) as session:
        assert (await session.wait_for_verification("id")).is_verified
    assert [record.getMessage() for record in caplog.records] == [
        "the listener of a session raised; the session goes on"
    ] * 4
    assert caplog.records[0].exc_info is not None


async def test_the_log_tells_the_same(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = FakeDispatcher(latency=0.5)
    dispatcher.script("id", RUNNING, errors.RateLimitedError("id", 429, None, 2.0), SUCCESS)
    dispatcher.script("bad", errors.ExecutionNotFoundError("bad", 404))
    caplog.set_level(logging.DEBUG, logger="truebit_async")
    async with on(dispatcher) as session:
        await session.wait_for_verification("id")
        with pytest.raises(errors.ExecutionNotFoundError):
            await session.wait_for_verification("bad")
    assert [(record.levelname, record.getMessage().partition(". ")[0]) for record in caplog.records] == [
        ("DEBUG", "execution 'id': Running (request took 0.500 s)"),
        ("DEBUG", "execution 'id': next poll in 1.000 s, after 1 so far"),
        ("DEBUG", "execution 'id': the dispatcher answered 429, retry after 2 s"),
        ("INFO", "no requests for 2.000 s: execution 'id': the dispatcher answered 429, retry after 2 s"),
        ("DEBUG", "execution 'id': next poll in 1.000 s, after 2 so far"),
        ("DEBUG", "execution 'id': Success (request took 0.500 s)"),
        ("DEBUG", "execution 'id': Success (finished after 4.500 s, polls: 3)"),
        ("DEBUG", "execution 'bad': the dispatcher answered 404"),
        ("DEBUG", "no answer: execution 'bad': the dispatcher answered 404"),
    ]


def test_events_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        BackedOff("id", 1.0, 1).seconds = 2.0  # type: ignore[misc]


def test_a_listener_must_be_a_function() -> None:
    with pytest.raises(TypeError, match="listener must be a function of one event, not str"):
        TruebitSession(listener="x")  # type: ignore[arg-type]
