"""The scheduler on virtual time, without sockets."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from contextvars import Context
from typing import Any

import pytest
from fake_dispatcher import RUNNING, SUCCESS, FakeDispatcher
from tenacity import wait_chain, wait_exponential, wait_fixed

from truebit_async import Execution, Outcome, PollPolicy, VerificationTimeoutError, errors
from truebit_async._pacing import Pacer
from truebit_async._poller import MAX_PAUSE, Poller
from truebit_async.events import Announcer
from truebit_async.testing.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.virtual_time

EVERY_SECOND = PollPolicy(wait=wait_fixed(1))


def now() -> float:
    return asyncio.get_running_loop().time()


def policy(**budgets: Any) -> PollPolicy:
    budgets.setdefault("wait", wait_fixed(1))
    return PollPolicy(**budgets)


@pytest.fixture(autouse=True)
async def _nothing_left_behind() -> Any:
    """After each test: no task but the test's own, no timer."""
    yield
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]


# One wait


async def test_polls_until_it_is_not_running() -> None:
    dispatcher = FakeDispatcher(latency=0.25)
    dispatcher.script("id", RUNNING, RUNNING, SUCCESS)
    outcome = await dispatcher.poller().wait("id", EVERY_SECOND)
    assert outcome == Outcome("id", Execution("id", SUCCESS), None, 3, 2.75)
    assert dispatcher.times("id") == [0.0, 1.25, 2.5]


async def test_the_strategy_sets_the_pace() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", *[RUNNING] * 5, SUCCESS)
    await dispatcher.poller().wait("id", policy(wait=wait_exponential(multiplier=1, max=6)))
    assert dispatcher.times("id") == [0, 1, 3, 7, 13, 19]


async def test_the_request_timeout_of_the_policy_reaches_the_fetch() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", SUCCESS)
    await dispatcher.poller().wait("id", policy(request_timeout=3.5))
    assert dispatcher.request_timeouts == [3.5]


async def test_transient_errors_are_polled_through() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.TransportError("id", "reset"), errors.ServerError("id", 500), RUNNING, SUCCESS)
    outcome = await dispatcher.poller().wait("id", EVERY_SECOND)
    assert outcome.execution is not None
    assert outcome.polls == 4


async def test_it_gives_up_after_so_many_in_a_row() -> None:
    dispatcher = FakeDispatcher()
    error = errors.ServerError("id", 502)
    dispatcher.script("id", error)
    outcome = await dispatcher.poller().wait("id", policy(max_consecutive_errors=3))
    assert outcome.error is error
    assert dispatcher.times("id") == [0, 1, 2]


# Deadlines


@pytest.mark.parametrize(
    ("latency", "max_concurrency", "busy"),
    [
        pytest.param(0.0, 10, False, id="in a sleep"),
        pytest.param(3600.0, 10, False, id="in a request"),
        pytest.param(3600.0, 1, True, id="in the queue for a slot"),
    ],
)
async def test_the_deadline_cuts(latency: float, max_concurrency: int, busy: bool) -> None:
    dispatcher = FakeDispatcher(latency)
    poller = dispatcher.poller(max_concurrency)
    other = asyncio.create_task(poller.wait("other", policy(deadline=None))) if busy else None
    await asyncio.sleep(0.5)
    started = now()
    outcome = await poller.wait("id", policy(wait=wait_fixed(4), deadline=10))
    assert now() - started == pytest.approx(10)
    assert isinstance(outcome.error, VerificationTimeoutError)
    assert outcome.elapsed == pytest.approx(10)
    if other is not None:
        other.cancel()
        await asyncio.wait([other])
    await poller.close()


async def test_the_deadline_cuts_in_a_pause() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.RateLimitedError("id", 429, None, 60.0))
    outcome = await dispatcher.poller().wait("id", policy(deadline=10))
    assert isinstance(outcome.error, VerificationTimeoutError)
    assert isinstance(outcome.error.last_error, errors.RateLimitedError)
    assert now() == pytest.approx(10)


async def test_the_deadline_keeps_the_last_state() -> None:
    dispatcher = FakeDispatcher()
    outcome = await dispatcher.poller().wait("id", policy(deadline=3.5))
    assert isinstance(outcome.error, VerificationTimeoutError)
    assert outcome.error.last_execution == Execution("id", RUNNING)
    assert outcome.polls == 4


async def test_without_a_deadline_it_goes_on_for_ever() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", *[RUNNING] * 1000, SUCCESS)
    outcome = await dispatcher.poller().wait("id", policy(wait=wait_fixed(60), deadline=None))
    assert outcome.elapsed == pytest.approx(60_000)


# Retry-After


@pytest.mark.parametrize("error", [errors.RateLimitedError, errors.ServerError])
async def test_retry_after_pauses_the_whole_session(error: type[errors.ApiError]) -> None:
    dispatcher = FakeDispatcher()
    status = 429 if error is errors.RateLimitedError else 503
    dispatcher.script("limited", RUNNING, error("limited", status, None, 20.0), SUCCESS)
    dispatcher.script("other", *[RUNNING] * 3, SUCCESS)
    poller = dispatcher.poller()
    await asyncio.gather(poller.wait("limited", EVERY_SECOND), poller.wait("other", EVERY_SECOND))
    assert dispatcher.times("limited") == [0, 1, 21]
    assert dispatcher.times("other") == [0, 1, 21, 22]


async def test_retry_after_is_read_anew_each_time() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", *(errors.RateLimitedError("id", 429, None, float(wait)) for wait in (5, 50, 2)), SUCCESS)
    await dispatcher.poller().wait("id", EVERY_SECOND)
    assert dispatcher.times("id") == [0, 5, 55, 57]


async def test_retry_after_is_capped() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.RateLimitedError("id", 429, None, 1e12), SUCCESS)
    await dispatcher.poller().wait("id", EVERY_SECOND)
    assert dispatcher.times("id") == [0, MAX_PAUSE]


@pytest.mark.parametrize("error", [errors.ServerError("id", 500, None, 60.0), errors.RateLimitedError("id", 429)])
async def test_other_statuses_pause_nothing(error: errors.ApiError) -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", error, SUCCESS)
    await dispatcher.poller().wait("id", EVERY_SECOND)
    assert dispatcher.times("id") == [0, 1]


# Caps and fairness


async def test_no_more_than_max_concurrency_in_flight() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    poller = dispatcher.poller(max_concurrency=3)
    for number in range(10):
        dispatcher.script(str(number), SUCCESS)
    await asyncio.gather(*(poller.wait(str(number), EVERY_SECOND) for number in range(10)))
    assert dispatcher.most_in_flight == 3
    assert [time for time, _ in dispatcher.log] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


async def test_single_requests_count_as_well() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    poller = dispatcher.poller(max_concurrency=1)
    await asyncio.gather(*(poller.request("id", EVERY_SECOND, poller.now()) for _ in range(3)))
    assert dispatcher.times("id") == [0, 1, 2]


async def test_the_oldest_due_goes_first_and_nobody_starves() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    poller = dispatcher.poller(max_concurrency=1)
    ids = [str(number) for number in range(5)]
    greedy = policy(wait=wait_fixed(0), deadline=50.5)
    await asyncio.gather(*(poller.wait(execution_id, greedy) for execution_id in ids))
    assert [polled for _, polled in dispatcher.log] == ids * 10 + ids[:1]


@pytest.mark.parametrize("max_rate", [0.5, 5, 50])
async def test_max_rate_holds_over_every_second(max_rate: float) -> None:
    dispatcher = FakeDispatcher(latency=0.01)
    poller = dispatcher.poller(max_rate=max_rate)
    saturating = policy(wait=wait_fixed(0), deadline=30)
    await asyncio.gather(*(poller.wait(str(number), saturating) for number in range(20)))
    times = [time for time, _ in dispatcher.log]
    assert len(times) >= 0.97 * 30 * max_rate
    for start in times:
        assert bisect_left(times, start + 1) - bisect_left(times, start) <= max(1, max_rate)


# Single flight


async def test_waits_for_one_execution_share_one_poll_stream() -> None:
    dispatcher = FakeDispatcher(latency=0.25)
    dispatcher.script("id", RUNNING, RUNNING, SUCCESS)
    poller = dispatcher.poller()
    outcomes = await asyncio.gather(*(poller.wait("id", EVERY_SECOND) for _ in range(100)))
    assert {outcome.polls for outcome in outcomes} == {3}
    assert dispatcher.times("id") == [0.0, 1.25, 2.5]


async def test_a_late_wait_joins_the_stream_with_what_is_known() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", *[RUNNING] * 4, SUCCESS)
    poller = dispatcher.poller()
    first = asyncio.create_task(poller.wait("id", policy(wait=wait_fixed(10))))
    await asyncio.sleep(3)
    late = asyncio.create_task(poller.wait("id", policy(wait=wait_chain(wait_fixed(2), wait_fixed(100)))))
    await asyncio.gather(first, late)
    assert dispatcher.times("id") == [0, 5, 7, 17, 27]  # both see every poll, and each keeps its own pace


async def test_a_late_wait_joins_after_an_error_too() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.ServerError("id", 500), SUCCESS)
    poller = dispatcher.poller()
    first = asyncio.create_task(poller.wait("id", policy(wait=wait_fixed(10))))
    await asyncio.sleep(3)
    late = await poller.wait("id", policy(wait=wait_fixed(2)))
    assert dispatcher.times("id") == [0, 5]
    assert late.polls == 1
    assert late.elapsed == pytest.approx(2)
    await first


async def test_a_single_request_shares_nothing() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    poller = dispatcher.poller()
    dispatcher.script("id", SUCCESS)
    await asyncio.gather(poller.wait("id", EVERY_SECOND), poller.request("id", EVERY_SECOND, poller.now()))
    assert dispatcher.times("id") == [0, 0]


async def test_waits_of_one_stream_have_deadlines_of_their_own() -> None:
    dispatcher = FakeDispatcher(latency=3.0)
    dispatcher.script("id", SUCCESS)
    poller = dispatcher.poller()
    short, long = await asyncio.gather(
        poller.wait("id", policy(deadline=1)), poller.wait("id", policy(deadline=10)), return_exceptions=False
    )
    assert isinstance(short.error, VerificationTimeoutError)
    assert long.execution is not None
    assert dispatcher.times("id") == [0]
    assert not dispatcher.cancelled


async def test_waits_of_one_stream_raise_errors_of_their_own() -> None:
    dispatcher = FakeDispatcher()
    error = errors.TransportError("id", "reset")
    error.__cause__ = ConnectionResetError("gone")
    dispatcher.script("id", error)
    poller = dispatcher.poller()
    first, second = await asyncio.gather(*(poller.wait("id", policy(max_consecutive_errors=1)) for _ in range(2)))
    assert first.error is error
    assert second.error is not error
    assert second.error is not None
    assert second.error.__cause__ is error.__cause__
    assert len(second.error.__notes__) == 1


async def test_cancelling_one_wait_leaves_the_others() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    dispatcher.script("id", RUNNING, SUCCESS)
    poller = dispatcher.poller()
    waits = [asyncio.create_task(poller.wait("id", EVERY_SECOND)) for _ in range(3)]
    await asyncio.sleep(0.5)
    waits[0].cancel()
    await asyncio.sleep(1)
    waits[1].cancel()
    assert (await waits[2]).execution == Execution("id", SUCCESS)
    assert dispatcher.times("id") == [0, 2]
    assert not dispatcher.cancelled
    assert waits[0].cancelled()
    assert waits[1].cancelled()


@pytest.mark.parametrize("when", [0.0, 0.5, 1.5], ids=["before the request", "in the request", "in the sleep"])
async def test_when_the_last_wait_goes_the_polling_ends(when: float) -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    poller = dispatcher.poller()
    waits = [asyncio.create_task(poller.wait("id", EVERY_SECOND)) for _ in range(2)]
    await asyncio.sleep(when)
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)
    polls = len(dispatcher.log)
    await asyncio.sleep(100)
    assert len(dispatcher.log) == polls
    assert dispatcher.in_flight == 0
    assert dispatcher.cancelled["id"] == (when == 0.5)


async def test_an_execution_can_be_waited_for_again_while_its_cancelled_request_unwinds() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    dispatcher.script("id", SUCCESS)
    poller = dispatcher.poller()
    wait = asyncio.create_task(poller.wait("id", EVERY_SECOND))
    await asyncio.sleep(0.5)
    wait.cancel()
    await asyncio.sleep(0)
    again = await poller.wait("id", EVERY_SECOND)
    assert again.execution is not None
    assert dispatcher.times("id") == [0, 0.5]


# Closing


async def test_close_ends_every_wait() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    poller = dispatcher.poller(max_concurrency=2)
    waits = [asyncio.create_task(poller.wait(str(number % 5), EVERY_SECOND)) for number in range(10)]
    request = asyncio.create_task(poller.request("0", EVERY_SECOND, poller.now()))
    await asyncio.sleep(2.5)
    await poller.close()
    for outcome in await asyncio.gather(*waits):
        assert isinstance(outcome.error, errors.SessionClosedError)
        assert outcome.error.execution_id == outcome.execution_id
    with pytest.raises(errors.SessionClosedError):
        await request
    assert dispatcher.in_flight == 0
    assert now() == 2.5
    await poller.close()
    with pytest.raises(errors.SessionClosedError):
        await poller.request("late", EVERY_SECOND, poller.now())
    late = await poller.wait("late", EVERY_SECOND)
    assert isinstance(late.error, errors.SessionClosedError)


# Bugs and outside forces


async def test_a_strategy_that_raises_ends_only_its_own_wait() -> None:
    def broken(_: object) -> float:
        raise ZeroDivisionError

    dispatcher = FakeDispatcher()
    dispatcher.script("id", RUNNING, SUCCESS)
    poller = dispatcher.poller()
    results = await asyncio.gather(
        poller.wait("id", policy(wait=broken)), poller.wait("id", EVERY_SECOND), return_exceptions=True
    )
    assert isinstance(results[0], ZeroDivisionError)
    assert isinstance(results[1], Outcome)
    assert results[1].execution is not None


async def test_a_bug_in_a_fetch_reaches_who_waits_for_it_and_nobody_else() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("bad", RuntimeError("bug"))
    dispatcher.script("good", SUCCESS)
    poller = dispatcher.poller()
    results = await asyncio.gather(
        poller.wait("bad", EVERY_SECOND), poller.wait("good", EVERY_SECOND), return_exceptions=True
    )
    assert [type(result) for result in results] == [RuntimeError, Outcome]


async def test_a_request_that_somebody_else_cancels_is_a_failed_poll() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    dispatcher.script("id", SUCCESS)
    poller = dispatcher.poller()
    wait = asyncio.create_task(poller.wait("id", EVERY_SECOND))
    await asyncio.sleep(0.5)
    (request,) = poller._tasks
    request.cancel()
    assert (await wait).polls == 2
    assert dispatcher.times("id") == [0, 1.5]


async def test_a_caller_cancelled_in_the_very_step_in_which_its_wait_ends() -> None:
    async def fetch(execution_id: str, request_timeout: float) -> Execution:
        asyncio.get_running_loop().call_soon(wait.cancel)
        return Execution(execution_id, SUCCESS)

    poller = Poller(fetch, Pacer(1, None), Announcer(None))
    wait = asyncio.create_task(poller.wait("id", EVERY_SECOND))
    await asyncio.wait([wait])
    assert wait.cancelled()


def test_a_poller_belongs_to_one_loop() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", SUCCESS)
    poller = dispatcher.poller()

    def run() -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(poller.wait("id", EVERY_SECOND))

    run()
    with pytest.raises(RuntimeError, match="one session per loop"):
        run()


# Cost


async def test_waits_that_are_gone_leave_nothing_in_the_heaps() -> None:
    dispatcher = FakeDispatcher()
    poller = dispatcher.poller()
    hourly = policy(wait=wait_fixed(3600), deadline=86_400)
    front = poller.start("front", policy(wait=wait_fixed(5), deadline=1000), lambda *_: None, Context())
    for _ in range(20):
        waits = [poller.start(str(number), hourly, lambda *_: None, Context()) for number in range(100)]
        await asyncio.sleep(1)
        for wait in waits:
            poller.discard(wait)
            poller.discard(wait)  # a second time changes nothing
    assert set(poller._waits) == {"front"}  # ahead of all that is gone
    for timetable in (poller._turns, poller._deadlines):
        assert len(timetable._heap) <= 2 * 128 + 100
    poller.discard(front)


async def test_a_pending_wait_is_no_task() -> None:
    dispatcher = FakeDispatcher()
    poller = dispatcher.poller()
    for number in range(1000):
        poller.start(str(number), EVERY_SECOND, lambda *_: None, Context())
    await asyncio.sleep(0.5)
    assert len(asyncio.all_tasks()) == 1
    await poller.close()
