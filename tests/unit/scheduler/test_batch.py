"""Many waits as one stream, on virtual time."""

from __future__ import annotations

import asyncio
import gc
import itertools
import operator
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tenacity import wait_fixed

from tests.fake_dispatcher import RUNNING, SUCCESS, FakeDispatcher
from truebit_async import Outcome, PollPolicy, VerificationTimeoutError, errors

pytestmark = pytest.mark.virtual_time

EVERY_SECOND = PollPolicy(wait=wait_fixed(1), deadline=60)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture(autouse=True)
async def _nothing_left_behind() -> Any:
    yield
    for _ in range(5):  # a dropped generator is closed by tasks of the loop
        await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]


def finishing_after(*polls: int) -> FakeDispatcher:
    """IDs "0", "1", ... succeed at their n-th poll."""
    dispatcher = FakeDispatcher()
    for number, count in enumerate(polls):
        dispatcher.script(str(number), *[RUNNING] * (count - 1), SUCCESS)
    return dispatcher


async def collect(
    dispatcher: FakeDispatcher, ids: Any, policy: PollPolicy = EVERY_SECOND, size: int = 1000
) -> list[Outcome[Any]]:
    return [outcome async for outcome in dispatcher.poller().wait_for_all(ids, policy, size)]


async def test_outcomes_come_in_order_of_completion() -> None:
    outcomes = await collect(finishing_after(3, 1, 2), ["0", "1", "2"])
    assert [(outcome.execution_id, outcome.polls) for outcome in outcomes] == [("1", 1), ("2", 2), ("0", 3)]


async def test_no_ids_no_outcomes() -> None:
    assert await collect(FakeDispatcher(), []) == []


async def test_whatever_happens_to_an_id_is_its_outcome() -> None:
    dispatcher = finishing_after(1)
    dispatcher.script("missing", errors.ExecutionNotFoundError("missing", 404))
    dispatcher.script("down", errors.TransportError("down", "refused"))
    ids: list[Any] = ["0", "", "missing", 7, "down", "slow"]
    outcomes = {outcome.execution_id: outcome for outcome in await collect(dispatcher, ids)}
    assert {key: type(outcome.error) for key, outcome in outcomes.items()} == {
        "0": type(None),
        "": errors.InvalidExecutionIdError,
        "missing": errors.ExecutionNotFoundError,
        "7": errors.InvalidExecutionIdError,
        "down": errors.TransportError,
        "slow": VerificationTimeoutError,
    }


async def test_an_id_repeated_while_pending_adds_nothing() -> None:
    dispatcher = finishing_after(2)
    outcomes = await collect(dispatcher, ["0", "0", "0"])
    assert len(outcomes) == 1
    assert len(dispatcher.log) == 2


async def test_an_id_repeated_after_its_outcome_is_a_new_wait() -> None:
    async def ids() -> AsyncIterator[str]:
        yield "0"
        await asyncio.sleep(10)
        yield "0"

    assert len(await collect(finishing_after(1), ids())) == 2


async def test_an_endless_source_is_read_as_there_is_room() -> None:
    dispatcher = FakeDispatcher()
    taken = itertools.count()
    pulled: list[int] = []

    def ids() -> Iterator[str]:
        for number in taken:
            pulled.append(number)
            dispatcher.script(str(number), RUNNING, SUCCESS)
            yield str(number)

    seen = 0
    async for _ in dispatcher.poller().wait_for_all(ids(), EVERY_SECOND, 10):
        seen += 1
        assert len(pulled) <= seen + 10
        if seen == 500:
            break
    assert dispatcher.most_in_flight <= 10


async def test_a_slow_consumer_holds_no_more_than_max_pending_while_polling_goes_on() -> None:
    dispatcher = finishing_after(*[1] * 100)
    pulled: list[str] = []

    def ids() -> Iterator[str]:
        for number in range(100):
            pulled.append(str(number))
            yield str(number)

    count = 0
    async for _ in dispatcher.poller().wait_for_all(ids(), EVERY_SECOND, 5):
        count += 1
        await asyncio.sleep(100)
        assert len(pulled) <= count + 5
        assert len(dispatcher.log) == len(pulled)
    assert count == 100


@pytest.mark.no_cover
async def test_a_large_batch_does_not_hold_the_loop() -> None:
    steps = 0

    async def heartbeat() -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0)

    beat = asyncio.create_task(heartbeat())
    dispatcher = FakeDispatcher()
    ids = iter(range(3000))
    batch = dispatcher.poller().wait_for_all(map(str, ids), EVERY_SECOND, 100_000)
    consumer = asyncio.create_task(anext(batch))
    while operator.length_hint(ids):
        await asyncio.sleep(0)
    assert steps > 29
    for task in (beat, consumer):
        task.cancel()
    await asyncio.wait([beat, consumer])
    await batch.aclose()


async def test_a_source_that_raises_reaches_the_consumer_after_what_is_finished() -> None:
    async def ids() -> AsyncIterator[str]:
        yield "0"
        yield "1"
        await asyncio.sleep(5)
        raise LookupError

    dispatcher = finishing_after(1, 1000)
    seen: list[str] = []

    async def consume() -> None:
        async for outcome in dispatcher.poller().wait_for_all(ids(), EVERY_SECOND, 10):
            seen.append(outcome.execution_id)
            await asyncio.sleep(10)

    with pytest.raises(LookupError):
        await consume()
    assert seen == ["0"]
    polls = len(dispatcher.log)
    await asyncio.sleep(100)
    assert len(dispatcher.log) == polls


async def test_ids_that_are_none_count_as_held_too() -> None:
    pulled: list[str] = []

    def ids() -> Iterator[str]:
        while True:
            pulled.append("")
            yield "\n" * len(pulled)

    seen = 0
    async for outcome in FakeDispatcher().poller().wait_for_all(ids(), EVERY_SECOND, 10):
        assert isinstance(outcome.error, errors.InvalidExecutionIdError)
        await asyncio.sleep(1)
        seen += 1
        assert len(pulled) <= seen + 10
        if seen == 30:
            break


async def test_what_is_no_id_and_repeated_before_its_outcome_was_taken_adds_nothing() -> None:
    ids: list[Any] = ["", "", 1, 1, "1", ""]
    dispatcher = FakeDispatcher()
    dispatcher.script("1", SUCCESS)
    outcomes = [outcome async for outcome in dispatcher.poller().wait_for_all(ids, EVERY_SECOND, 10)]
    assert sorted((outcome.execution_id, outcome.error is None) for outcome in outcomes) == [
        ("", False), ("1", False), ("1", True),
    ]  # fmt: skip


@pytest.mark.parametrize("repeated", ["", "known"])
async def test_a_source_that_repeats_itself_for_ever_does_not_hold_the_loop(repeated: str) -> None:
    async def ids() -> AsyncIterator[str]:
        yield "known"
        while True:
            yield repeated

    outcomes = FakeDispatcher().poller().wait_for_all(ids(), PollPolicy(deadline=5), 10)
    task = asyncio.ensure_future(anext(outcomes))
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await outcomes.aclose()


async def test_an_id_repeated_before_its_outcome_was_taken_adds_nothing() -> None:
    async def ids() -> AsyncIterator[str]:
        yield "first"
        yield "0"
        await asyncio.sleep(5)
        yield "0"

    dispatcher = finishing_after(1)
    dispatcher.script("first", SUCCESS)
    seen = []
    async for outcome in dispatcher.poller().wait_for_all(ids(), EVERY_SECOND, 10):
        seen.append(outcome.execution_id)
        await asyncio.sleep(10)
    assert seen == ["first", "0"]


async def test_a_broken_strategy_reaches_the_consumer() -> None:
    def broken(_: object) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await collect(FakeDispatcher(), ["0"], PollPolicy(wait=broken))


async def leave_by_break(batch: Any) -> None:
    async for _ in batch:
        break


async def leave_by_exception(batch: Any) -> None:
    with pytest.raises(KeyError):
        async for _ in batch:
            raise KeyError


async def leave_by_aclose(batch: Any) -> None:
    await anext(batch)
    await batch.aclose()


async def leave_by_cancellation(batch: Any) -> None:
    async def consume() -> None:
        async for _ in batch:
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(1.5)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_exception, leave_by_aclose, leave_by_cancellation])
async def test_leaving_stops_the_polling_of_the_rest(leave: Any) -> None:
    async def endless() -> AsyncIterator[str]:
        for number in itertools.count():
            yield str(number)
            await asyncio.sleep(0.1)

    dispatcher = finishing_after(1)
    await leave(dispatcher.poller().wait_for_all(endless(), EVERY_SECOND, 10_000))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    polls, left = len(dispatcher.log), now()
    await asyncio.sleep(100)
    assert len(dispatcher.log) == polls
    assert dispatcher.in_flight == 0
    assert left < 2


async def test_leaving_after_the_source_has_failed_unheard() -> None:
    async def ids() -> AsyncIterator[str]:
        yield "0"
        await asyncio.sleep(5)
        raise LookupError

    unheard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    async for _ in finishing_after(1).poller().wait_for_all(ids(), EVERY_SECOND, 10):
        await asyncio.sleep(10)
        break
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()
    assert not unheard


async def test_two_batches_and_a_wait_share_the_polls_of_an_id() -> None:
    dispatcher = finishing_after(3)
    poller = dispatcher.poller()

    async def batch() -> list[Outcome[Any]]:
        return [outcome async for outcome in poller.wait_for_all(["0"], EVERY_SECOND, 10)]

    first, second, single = await asyncio.gather(batch(), batch(), poller.wait("0", EVERY_SECOND))
    assert Counter(outcome.polls for outcome in (*first, *second, single)) == {3: 3}
    assert len(dispatcher.log) == 3


async def test_closing_ends_the_batch_with_an_outcome_each() -> None:
    dispatcher = FakeDispatcher()
    poller = dispatcher.poller()
    asyncio.get_running_loop().call_later(5, lambda: tasks.append(asyncio.ensure_future(poller.close())))
    tasks: list[asyncio.Future[None]] = []

    async def ids() -> AsyncIterator[str]:
        yield "0"
        yield "1"
        await asyncio.sleep(10)
        yield "2"

    outcomes = [outcome async for outcome in poller.wait_for_all(ids(), EVERY_SECOND, 10)]
    assert [(outcome.execution_id, type(outcome.error)) for outcome in outcomes] == [
        (str(number), errors.SessionClosedError) for number in range(3)
    ]
    await asyncio.gather(*tasks)
