"""What a listener and the log are told, on virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import attrs
import pytest
from tenacity import wait_fixed

from tests.fake_dispatcher import RUNNING, SUCCESS, FakeDispatcher
from truebit_async import (
    BackedOff,
    Dropped,
    Execution,
    Finished,
    Left,
    Outcome,
    Paused,
    Polled,
    PollEvent,
    PollPolicy,
    Requested,
    Started,
    TruebitSession,
    errors,
)

pytestmark = pytest.mark.virtual_time

EVERY_SECOND = PollPolicy(wait=wait_fixed(1))


def on(dispatcher: FakeDispatcher, **options: Any) -> TruebitSession:
    session = TruebitSession("https://dispatcher.example", policy=EVERY_SECOND, **options)
    dispatcher.serve(session)
    return session


async def test_the_events_of_a_wait() -> None:
    dispatcher = FakeDispatcher(latency=0.25)
    limited = errors.RateLimitedError("id", 429, None, 5.0)
    dispatcher.script("id", RUNNING, limited, SUCCESS)
    story: list[PollEvent] = []
    async with on(dispatcher, listeners=[story.append]) as session:
        final = await session.wait_for_verification("id")
    (number,) = (event.wait_number for event in story if isinstance(event, Started))
    assert story == [
        Started("id", "function", number),
        Requested("id", "function"),
        Polled("id", "function", 0.25, Execution("id", RUNNING), None),
        BackedOff("id", "function", 1.0, 1, number),
        Requested("id", "function"),
        Polled("id", "function", 0.25, None, limited),
        Paused("id", "function", 5.0, limited),
        BackedOff("id", "function", 1.0, 2, number),
        Requested("id", "function"),
        Polled("id", "function", 0.25, Execution("id", SUCCESS), None),
        Finished("id", "function", Outcome("id", final, None, 3, 6.75), number),
    ]


async def test_a_shared_poll_is_told_once_and_each_wait_for_itself() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", RUNNING, SUCCESS)
    story: list[PollEvent] = []
    async with on(dispatcher, listeners=[story.append]) as session:
        await asyncio.gather(*(session.wait_for_verification("id") for _ in range(3)))
    kinds = [type(event) for event in story]
    assert kinds == [*[Started] * 3, Requested, Polled, *[BackedOff] * 3, Requested, Polled, *[Finished] * 3]
    numbers = [event.wait_number for event in story if isinstance(event, Started)]
    assert len(set(numbers)) == 3
    assert [event.wait_number for event in story if isinstance(event, BackedOff)] == numbers
    assert [event.wait_number for event in story if isinstance(event, Finished)] == numbers


async def test_the_events_of_a_wait_whose_caller_leaves() -> None:
    story: list[PollEvent] = []
    async with on(FakeDispatcher(latency=5.0), listeners=[story.append]) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await session.wait_for_verification("id")
        await asyncio.sleep(0)
    (number,) = (event.wait_number for event in story if isinstance(event, Started))
    assert story == [
        Started("id", "function", number),
        Requested("id", "function"),
        Left("id", "function", number),
        Dropped("id", "function", 2.0),
    ]


async def test_the_events_of_a_batch_left_early() -> None:
    dispatcher = FakeDispatcher(latency=0.5)
    dispatcher.script("done", SUCCESS)
    story: list[PollEvent] = []
    async with on(dispatcher, listeners=[story.append]) as session:
        outcomes = session.wait_for_verifications(["done", "running"])
        assert (await anext(outcomes)).execution_id == "done"
        await outcomes.aclose()
    assert [type(event) for event in story if event.execution_id == "running"] == [
        Started,
        Requested,
        Polled,
        BackedOff,
        Left,
    ]


async def test_the_events_of_a_batch_with_an_id_that_cannot_be_one() -> None:
    story: list[PollEvent] = []
    async with on(FakeDispatcher(), listeners=[story.append]) as session:
        (outcome,) = [outcome async for outcome in session.wait_for_verifications([".."])]
    (number,) = (event.wait_number for event in story if isinstance(event, Started))
    assert story == [Started("..", "function", number), Finished("..", "function", outcome, number)]


async def test_the_events_of_a_wait_that_a_strategy_breaks() -> None:
    story: list[PollEvent] = []
    async with on(FakeDispatcher(), listeners=[story.append]) as session:
        with pytest.raises(ZeroDivisionError):
            await session.wait_for_verification("id", policy=PollPolicy(wait=lambda _: 1 / 0))
    assert [type(event) for event in story] == [Started, Requested, Polled, Left]


async def test_the_events_of_a_wait_that_meets_a_bug() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", ZeroDivisionError("a bug"))
    story: list[PollEvent] = []
    async with on(dispatcher, listeners=[story.append]) as session:
        with pytest.raises(ZeroDivisionError):
            await session.wait_for_verification("id")
    assert [type(event) for event in story] == [Started, Requested, Dropped, Left]


async def test_the_events_of_a_single_request_that_is_cancelled() -> None:
    story: list[PollEvent] = []
    async with on(FakeDispatcher(latency=5.0), listeners=[story.append]) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await session.get_execution_status("id")
    assert story == [Requested("id", "function"), Dropped("id", "function", 2.0)]


async def test_the_events_of_a_single_request() -> None:
    dispatcher = FakeDispatcher()
    down = errors.ServerError("id", 503, None, 7.0)
    dispatcher.script("id", down, RUNNING)
    story: list[PollEvent] = []
    async with on(dispatcher, listeners=[story.append]) as session:
        await session.get_execution_status("id")
    assert story == [
        Requested("id", "function"),
        Polled("id", "function", 0.0, None, down),
        Paused("id", "function", 7.0, down),
        BackedOff("id", "function", 1.0, 1, None),
        Requested("id", "function"),
        Polled("id", "function", 0.0, Execution("id", RUNNING), None),
    ]


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
async def test_a_listener_that_raises_harms_nothing_and_is_logged(
    caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    def broken(event: PollEvent) -> None:
        raise error

    dispatcher = FakeDispatcher()
    dispatcher.script("id", RUNNING, SUCCESS)
    async with on(dispatcher, listeners=[broken]) as session:
        assert (await session.wait_for_verification("id")).is_verified
    assert [record.getMessage() for record in caplog.records] == [
        "a listener of a session raised; the session goes on"
    ] * 7
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
        ("DEBUG", "execution 'id': waiting"),
        ("DEBUG", "execution 'id': asking"),
        ("DEBUG", "execution 'id': Running (request took 0.500 s)"),
        ("DEBUG", "execution 'id': next poll in 1.000 s, after 1 so far"),
        ("DEBUG", "execution 'id': asking"),
        ("DEBUG", "execution 'id': the dispatcher answered 429, retry after 2 s"),
        ("INFO", "no requests for 2.000 s: execution 'id': the dispatcher answered 429, retry after 2 s"),
        ("DEBUG", "execution 'id': next poll in 1.000 s, after 2 so far"),
        ("DEBUG", "execution 'id': asking"),
        ("DEBUG", "execution 'id': Success (request took 0.500 s)"),
        ("DEBUG", "execution 'id': Success (finished after 4.500 s, polls: 3)"),
        ("DEBUG", "execution 'bad': waiting"),
        ("DEBUG", "execution 'bad': asking"),
        ("DEBUG", "execution 'bad': the dispatcher answered 404"),
        ("DEBUG", "no final state: execution 'bad': the dispatcher answered 404"),
    ]


async def test_the_log_tells_of_what_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="truebit_async")
    async with on(FakeDispatcher(latency=5.0)) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await session.wait_for_verification("id")
        await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records][2:] == [
        "execution 'id': no longer waited for",
        "execution 'id': request dropped after 2.000 s",
    ]


# Whose context variables are seen where

caller: ContextVar[str] = ContextVar("caller", default="nobody")


class Witness(FakeDispatcher):
    """Notes whose variables it sees; the second poll of an execution ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[str, str]] = []
        self.events: list[tuple[str, str]] = []

    async def fetch(self, execution_id: str, request_timeout: float, *, on_new_connection: bool) -> Execution:
        self.requests.append((execution_id, caller.get()))
        self.scripts.setdefault(execution_id, [RUNNING, SUCCESS])
        return await super().fetch(execution_id, request_timeout, on_new_connection=on_new_connection)

    def listener_of(self, event: PollEvent) -> None:
        self.events.append((type(event).__name__, caller.get()))
        if isinstance(event, Started):
            caller.set(f"{caller.get()}, wait {event.execution_id}")


async def test_requests_run_in_the_context_of_their_wait() -> None:
    witness = Witness()

    async def handle(name: str) -> None:
        caller.set(name)
        await session.wait_for_verification(name)
        assert caller.get() == name

    async with on(witness) as session:
        await asyncio.gather(handle("a"), handle("b"))
    assert sorted(witness.requests) == [("a", "a"), ("a", "a"), ("b", "b"), ("b", "b")]


async def test_a_listener_may_change_the_context_of_a_wait() -> None:
    witness = Witness()
    caller.set("batch")
    async with on(witness, listeners=[witness.listener_of]) as session:
        async for _ in session.wait_for_verifications(["x", "y"]):
            assert caller.get() == "batch"
        await session.wait_for_verification("z")
        await session.get_execution_status("s")
    assert sorted(witness.requests) == [
        ("s", "batch"),
        *[("x", "batch, wait x")] * 2,
        *[("y", "batch, wait y")] * 2,
        *[("z", "batch, wait z")] * 2,
    ]


async def test_a_listener_that_changes_no_context_costs_none() -> None:
    async with on(FakeDispatcher(latency=1.0), listeners=[lambda _: None]) as session:
        outcomes = session.wait_for_verifications(str(number) for number in range(10))
        reader = asyncio.ensure_future(anext(outcomes))
        await asyncio.sleep(0.5)
        waiters = list(session._poller._registry)
        assert len(waiters) == 10
        assert len({id(waiter.context) for waiter in waiters}) == 1
        reader.cancel()
        await asyncio.wait([reader])
        await outcomes.aclose()


async def test_a_variable_that_cannot_be_compared_harms_nothing() -> None:
    class Incomparable(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

    def listener(event: PollEvent) -> None:
        if isinstance(event, Started):
            caller.set(Incomparable("the listener"))

    witness = Witness()
    caller.set(Incomparable("batch"))
    async with on(witness, listeners=[listener]) as session:
        await session.wait_for_verification("id")
    assert [str.__str__(who) for _, who in witness.requests] == ["the listener"] * 2


async def test_what_a_request_sets_is_not_for_the_next() -> None:
    class Setter(Witness):
        async def fetch(self, execution_id: str, request_timeout: float, *, on_new_connection: bool) -> Execution:
            execution = await super().fetch(execution_id, request_timeout, on_new_connection=on_new_connection)
            caller.set(f"request about {execution_id}")
            return execution

    witness = Setter()
    caller.set("batch")
    async with on(witness) as session:
        async for _ in session.wait_for_verifications(["x", "y"]):
            pass
        await session.wait_for_verification("z")
    assert len(witness.requests) == 6
    assert {who for _, who in witness.requests} == {"batch"}


async def test_a_listener_changes_no_context_by_what_it_hears_of_an_id_that_cannot_be_one() -> None:
    witness = Witness()
    read_by = []

    async def ids() -> AsyncIterator[str]:
        for execution_id in ("..", ".", "x"):
            read_by.append(caller.get())
            yield execution_id

    caller.set("batch")
    async with on(witness, listeners=[witness.listener_of]) as session:
        async for _ in session.wait_for_verifications(ids()):
            pass
    assert read_by == ["batch"] * 3
    assert [who for kind, who in witness.events if kind == "Started"] == ["batch"] * 3


async def test_a_listener_that_sets_a_variable_sets_it_for_nobody() -> None:
    witness = Witness()

    def listener(event: PollEvent) -> None:
        witness.events.append((type(event).__name__, caller.get()))
        if not isinstance(event, Started):
            caller.set("the listener")

    async with on(witness, listeners=[listener]) as session:
        async for _ in session.wait_for_verifications(["x", "y"]):
            pass
    polled_by_timers = [who for kind, who in witness.events if kind == "Requested"]
    assert polled_by_timers[::2] == ["nobody"] * 2  # the others are sent by the same timer, right after
    assert "the listener" not in {who for _, who in witness.requests}


async def test_the_scheduler_runs_in_nobodys_context() -> None:
    witness = Witness()
    caller.set("somebody")
    async with on(witness, listeners=[witness.listener_of]) as session:
        await session.wait_for_verification("id")
        with pytest.raises(errors.VerificationTimeoutError):
            await session.wait_for_verification("late", deadline=0.04)
    assert {who for kind, who in witness.events if kind == "Started"} == {"somebody"}
    others = [event for event in witness.events if event[0] != "Started"]
    assert {who for _, who in others} == {"nobody"}
    assert {kind for kind, _ in others} == {"Requested", "Polled", "BackedOff", "Finished"}


def test_events_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        BackedOff("id", "function", 1.0, 1, 1).seconds = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(("listeners", "what"), [(["x"], "each listener must be a function"), (print, "an iterable")])
def test_listeners_must_be_functions(listeners: Any, what: str) -> None:
    with pytest.raises(TypeError, match=what):
        TruebitSession(listeners=listeners)
