"""The scheduler on virtual time, without sockets."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import Any
from unittest import mock

import attrs
import pytest
from tenacity import wait_chain, wait_exponential, wait_fixed

from tests.fake_dispatcher import RUNNING, SUCCESS, FakeDispatcher
from truebit_async import Execution, Outcome, PollPolicy, VerificationStatus, VerificationTimeoutError, errors
from truebit_async._scheduler.requests import MAX_PAUSE
from truebit_async._scheduler.results import without_frames
from truebit_async._scheduler.waiter import WaiterGroup, resolving
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
    assert outcome.polls == 5
    assert dispatcher.times("id") == [0, 1, 2, 3, 3.45]  # the last poll is early enough to be answered


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
    await asyncio.gather(*(poller.get_state("id", EVERY_SECOND) for _ in range(3)))
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


async def test_each_wait_keeps_its_own_pace_and_takes_newer_results_of_the_others() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", *[RUNNING] * 4, SUCCESS)
    poller = dispatcher.poller()
    first = asyncio.create_task(poller.wait("id", policy(wait=wait_fixed(10))))
    await asyncio.sleep(3)
    late = asyncio.create_task(poller.wait("id", policy(wait=wait_chain(wait_fixed(2), wait_fixed(100)))))
    outcomes = await asyncio.gather(first, late)
    # The late one asks at 3 and 5. At 10, the first one takes the result of 5, and asks again at 20 and 30.
    assert dispatcher.times("id") == [0, 3, 5, 20, 30]
    assert [outcome.polls for outcome in outcomes] == [4, 3]


@pytest.mark.parametrize("first_result", [RUNNING, errors.ServerError("id", 500)])
async def test_a_late_wait_begins_with_a_result_that_is_younger_than_its_first_gap(
    first_result: VerificationStatus | Exception,
) -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", first_result, SUCCESS)
    poller = dispatcher.poller()
    first = asyncio.create_task(poller.wait("id", policy(wait=wait_fixed(10))))
    await asyncio.sleep(3)
    late = await poller.wait("id", policy(wait=wait_fixed(4)))
    assert dispatcher.times("id") == [0, 4]
    assert late.polls == 1
    assert late.elapsed == pytest.approx(1)
    await first


async def test_a_late_wait_asks_at_once_if_what_is_known_is_older_than_its_first_gap() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.ExecutionNotFoundError("id", 404), SUCCESS)
    poller = dispatcher.poller()
    first = asyncio.create_task(poller.wait("id", policy(wait=wait_fixed(1000), not_found_grace=5)))
    await asyncio.sleep(100)
    late = await poller.wait("id", policy(wait=wait_fixed(1)))
    assert dispatcher.times("id") == [0, 100]
    assert (await first).elapsed == late.elapsed + 100 == 100


async def test_a_late_wait_is_not_ended_by_an_error_that_it_did_not_see() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", errors.ExecutionNotFoundError("id", 404), SUCCESS)
    poller = dispatcher.poller()
    first = asyncio.create_task(poller.wait("id", policy(not_found_grace=5)))
    await asyncio.sleep(0.5)
    late = await poller.wait("id", policy())
    assert late.execution == Execution("id", SUCCESS)
    await first


async def test_a_late_wait_asks_at_once_if_the_latest_result_is_an_error_that_only_the_first_tolerates() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", RUNNING, errors.UnknownStatusError("id", 200, "is new", "", "New"), SUCCESS)
    poller = dispatcher.poller()
    first = asyncio.create_task(poller.wait("id", policy(wait=wait_fixed(10), unknown_status="keep_waiting")))
    await asyncio.sleep(11)
    late = await poller.wait("id", policy(wait=wait_fixed(5)))
    assert dispatcher.times("id") == [0, 10, 11]
    assert late.execution == Execution("id", SUCCESS)
    await first


async def test_a_waiter_that_leaves_when_another_one_ends_gets_nothing() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", SUCCESS)
    poller = dispatcher.poller()
    ends: list[str] = []
    poller.start("id", EVERY_SECOND, lambda *_: poller.poller.discard(second))
    second = poller.start("id", EVERY_SECOND, lambda *_: ends.append("second"))
    poller.start("id", EVERY_SECOND, lambda *_: ends.append("third"))
    await asyncio.sleep(1)
    assert ends == ["third"]


async def test_failures_at_the_pace_of_another_wait_do_not_count() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", *[errors.ServerError("id", 500)] * 5, SUCCESS)
    poller = dispatcher.poller()
    hasty, patient = await asyncio.gather(
        poller.wait("id", policy(wait=wait_fixed(1), max_consecutive_errors=5)),
        poller.wait("id", policy(wait=wait_fixed(60), max_consecutive_errors=3)),
    )
    assert isinstance(hasty.error, errors.ServerError)
    assert patient.execution == Execution("id", SUCCESS)


async def test_a_shared_request_has_the_largest_request_timeout() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", SUCCESS)
    poller = dispatcher.poller()
    await asyncio.gather(*(poller.wait("id", policy(request_timeout=limit)) for limit in (0.05, 30, 7)))
    assert dispatcher.request_timeouts == [30]


async def test_a_wait_that_joins_a_request_with_a_smaller_limit_asks_again_when_that_times_out() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    dispatcher.script("id", errors.RequestTimeoutError("id", "timed out", 0.05), SUCCESS)
    poller = dispatcher.poller()
    hasty = asyncio.create_task(poller.wait("id", policy(request_timeout=0.05, max_consecutive_errors=1)))
    await asyncio.sleep(0.5)
    patient = await poller.wait("id", policy(request_timeout=30, max_consecutive_errors=1))
    assert patient.execution == Execution("id", SUCCESS)
    assert isinstance((await hasty).error, errors.RequestTimeoutError)
    assert dispatcher.times("id") == [0, 1]


async def test_a_single_request_shares_nothing() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    poller = dispatcher.poller()
    dispatcher.script("id", SUCCESS)
    await asyncio.gather(poller.wait("id", EVERY_SECOND), poller.get_state("id", EVERY_SECOND))
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
    assert first.error is not None
    assert second.error is not None
    assert len({id(first.error), id(second.error), id(error)}) == 3
    for outcome in (first, second):
        assert outcome.error is not None
        assert outcome.error.__cause__ is error.__cause__
        assert len(outcome.error.__notes__) == 1


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
    request = asyncio.create_task(poller.get_state("0", EVERY_SECOND))
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
        await poller.get_state("late", EVERY_SECOND)
    late = await poller.wait("late", EVERY_SECOND)
    assert isinstance(late.error, errors.SessionClosedError)


async def test_a_status_request_makes_who_is_due_go_first_and_waits_for_no_timer() -> None:
    dispatcher = FakeDispatcher(latency=0.001)
    poller = dispatcher.poller(64)
    for number in range(1000):
        poller.start(str(number), policy(wait=wait_fixed(1000), deadline=None), lambda *_: None)
    await asyncio.sleep(1)
    poller.start("first", EVERY_SECOND, lambda *_: None)
    await asyncio.sleep(0.0005)
    poller.start("second", EVERY_SECOND, lambda *_: None)
    await asyncio.sleep(0.0002)
    await poller.get_state("status", EVERY_SECOND)
    assert dispatcher.times("first")[0] == pytest.approx(1.0)
    assert dispatcher.times("second")[0] == dispatcher.times("status")[0] == pytest.approx(1.0007)
    await poller.close()


async def test_who_is_due_gets_the_only_slot_before_a_status_request() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    poller = dispatcher.poller(1)
    waiting = asyncio.create_task(poller.wait("due", policy(wait=wait_fixed(5))))
    await asyncio.sleep(0)
    dispatcher.script("due", SUCCESS)
    await poller.get_state("status", EVERY_SECOND)
    assert [execution_id for _, execution_id in dispatcher.log] == ["due", "status"]
    await waiting


# Stale connections


STALE = errors.TransportError("id", "server disconnected", connection_was_stale=True)


async def test_a_request_that_met_a_stale_connection_is_repeated_at_once_and_counts_for_nothing() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", RUNNING, STALE, RUNNING, STALE, SUCCESS)
    outcome = await dispatcher.poller().wait("id", policy(max_consecutive_errors=1))
    assert attrs.evolve(outcome, elapsed=2.0) == Outcome("id", Execution("id", SUCCESS), None, 3, 2.0)
    assert dispatcher.times("id") == pytest.approx([0, 1, 1, 2, 2], abs=0.001)
    assert dispatcher.on_new_connection == [False, False, True, False, True]


async def test_it_is_repeated_once() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", STALE)
    outcome = await dispatcher.poller().wait("id", policy(max_consecutive_errors=2))
    assert isinstance(outcome.error, errors.TransportError)
    assert outcome.polls == 2
    assert dispatcher.on_new_connection == [False, True, False, True]


async def test_it_is_repeated_within_the_caps() -> None:
    dispatcher = FakeDispatcher(latency=0.1)
    dispatcher.script("id", STALE, SUCCESS)
    await dispatcher.poller(max_rate=0.5).wait("id", EVERY_SECOND)
    first, second = dispatcher.times("id")
    assert second - first > 2


async def test_a_single_request_is_repeated_too() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", STALE, RUNNING)
    assert await dispatcher.poller().get_state("id", policy(max_consecutive_errors=1)) == Execution("id", RUNNING)
    assert dispatcher.on_new_connection == [False, True]


# Bugs, and cancellation from outside


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
    (request,) = poller.poller._requests._tasks
    request.cancel()
    assert (await wait).polls == 2
    assert dispatcher.times("id") == [0, 1.5]


async def test_a_caller_cancelled_in_the_very_step_in_which_its_wait_ends() -> None:
    class Dispatcher(FakeDispatcher):
        async def fetch(self, execution_id: str, request_timeout: float, *, on_new_connection: bool) -> Execution:
            asyncio.get_running_loop().call_soon(wait.cancel)
            return await super().fetch(execution_id, request_timeout, on_new_connection=on_new_connection)

    poller = Dispatcher().poller()
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


async def test_waiters_that_are_over_leave_nothing_in_the_heaps() -> None:
    dispatcher = FakeDispatcher()
    poller = dispatcher.poller()
    hourly = policy(wait=wait_fixed(3600), deadline=86_400)
    front = poller.start("front", policy(wait=wait_fixed(5), deadline=1000), lambda *_: None)
    for _ in range(20):
        waiters = [poller.start(str(number), hourly, lambda *_: None) for number in range(500)]
        await asyncio.sleep(1)
        for waiter in waiters:
            poller.poller.discard(waiter)
            poller.poller.discard(waiter)  # a second time changes nothing
    assert list(poller.poller._registry) == [front]  # it is ahead of all that are over
    due, deadlines = poller.poller._due, poller.poller._deadlines
    assert len(due._heap) + len(due._old) <= 500
    assert len(deadlines._heap) <= 500
    poller.poller.discard(front)


async def test_a_pending_wait_is_not_a_task() -> None:
    dispatcher = FakeDispatcher()
    poller = dispatcher.poller()
    for number in range(1000):
        poller.start(str(number), EVERY_SECOND, lambda *_: None)
    await asyncio.sleep(0.5)
    assert len(asyncio.all_tasks()) == 1
    await poller.close()


# Many at once


async def test_a_batch_of_many_is_left_in_steps() -> None:
    dispatcher = FakeDispatcher()
    poller = dispatcher.poller()
    batch = poller.wait_for_all(map(str, range(1000)), EVERY_SECOND, 10_000)
    reading = asyncio.ensure_future(anext(batch))
    await asyncio.sleep(0.5)
    assert poller.poller._registry.size == 1000
    reading.cancel()
    await asyncio.sleep(0)
    assert 0 < poller.poller._registry.size < 1000
    polls = len(dispatcher.log)
    await asyncio.wait([reading])
    assert poller.poller._registry.size == 0
    assert len(dispatcher.log) == polls


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_many_waits_are_closed_in_steps_or_at_once_if_that_is_cancelled(is_cancelled: bool) -> None:
    dispatcher = FakeDispatcher()
    poller = dispatcher.poller()
    ends: list[object] = []
    for number in range(1000):
        poller.start(str(number), EVERY_SECOND, lambda _, end: ends.append(end))
    await asyncio.sleep(0.5)
    closing = asyncio.create_task(poller.close())
    await asyncio.sleep(0)
    assert 0 < len(ends) < 1000
    if is_cancelled:
        closing.cancel()
    await asyncio.wait([closing])
    assert len(ends) == 1000


async def test_a_result_for_many_reaches_all_in_steps() -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    dispatcher.script("id", SUCCESS)
    poller = dispatcher.poller()
    ends: list[object] = []
    waiters = [poller.start("id", EVERY_SECOND, lambda _, end: ends.append(end)) for _ in range(500)]
    asyncio.get_running_loop().call_later(1.0, poller.poller.discard, waiters[-1])
    await asyncio.sleep(1.5)
    assert len(ends) in (499, 500)
    assert dispatcher.times("id") == [0]


# What an adversary found


async def test_a_last_poll_takes_no_older_result_of_the_others() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", RUNNING, RUNNING, SUCCESS)
    poller = dispatcher.poller()
    other = asyncio.create_task(poller.wait("id", policy(wait=wait_fixed(14))))
    outcome = await poller.wait("id", policy(wait=wait_fixed(30), deadline=20))
    assert outcome.execution == Execution("id", SUCCESS)
    assert dispatcher.times("id") == [0, 14, 19.95]
    await other


async def test_a_strategy_sees_no_time_before_its_wait() -> None:
    dispatcher = FakeDispatcher()
    poller = dispatcher.poller()
    other = asyncio.create_task(poller.wait("id", policy(wait=wait_fixed(100))))
    await asyncio.sleep(0.9)
    dispatcher.script("id", SUCCESS)
    outcome = await poller.wait("id", policy(wait=lambda state: 0.2 + 0.5 * state.seconds_since_start))
    assert outcome.execution is not None
    await other


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
async def test_a_task_that_cannot_be_made_costs_no_slot(error: type[BaseException]) -> None:
    loop = asyncio.get_running_loop()
    dispatcher = FakeDispatcher()
    dispatcher.script("id", SUCCESS)
    poller = dispatcher.poller(max_concurrency=1)
    first = asyncio.create_task(poller.wait("id", EVERY_SECOND))
    await asyncio.sleep(0)

    def broken(*_: object, **__: object) -> Any:
        loop.set_task_factory(None)
        raise error

    loop.set_task_factory(broken)
    results = await asyncio.gather(first, return_exceptions=True)
    assert isinstance(results[0], ZeroDivisionError if error is ZeroDivisionError else RuntimeError)
    assert (await poller.wait("id", EVERY_SECOND)).execution is not None


async def test_without_a_deadline_or_a_tolerance_nothing_is_kept() -> None:
    dispatcher = FakeDispatcher()
    poller = dispatcher.poller()
    for number in range(300):  # more than are not worth a clean-up
        waiter = poller.start(str(number), policy(deadline=100 + number), lambda *_: None)
        poller.poller.discard(waiter)
    assert len(poller.poller._deadlines._heap) + len(poller.poller._deadlines._old) < 200


async def test_leaving_a_batch_of_many_is_done_at_once_if_it_is_cancelled() -> None:
    poller = FakeDispatcher().poller()
    group = WaiterGroup(poller.source, EVERY_SECOND, lambda *_: None)
    for number in range(1000):
        poller.start_in(group, str(number))
    leaving = asyncio.create_task(poller.poller.discard_all(group))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert poller.poller._registry.size == 0


@pytest.mark.parametrize("part", ["_due.note_stale", "_deadlines.remove", "_registry.remove"])
@pytest.mark.parametrize("after", [True, False])
async def test_a_second_ctrl_c_while_a_batch_is_left_does_not_make_it_endless(part: str, after: bool) -> None:
    poller = FakeDispatcher().poller()
    group = WaiterGroup(poller.source, EVERY_SECOND, lambda *_: None)
    for number in range(10):
        poller.start_in(group, str(number))
    owner, name = part.split(".")
    owner = getattr(poller.poller, owner)
    real, calls = getattr(owner, name), 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        assert calls < 100, "it is endless"
        if calls != 3:
            return real(*arguments)
        if after:
            real(*arguments)
        raise KeyboardInterrupt

    with (
        mock.patch.object(type(owner), name, lambda _, *arguments: interrupted(*arguments)),
        pytest.raises(KeyboardInterrupt),
    ):
        await poller.poller.discard_all(group)
    assert group.first is None


async def test_a_wait_that_begins_while_a_result_is_handed_out_holds_nothing_up() -> None:
    dispatcher = FakeDispatcher()
    dispatcher.script("id", SUCCESS)
    poller = dispatcher.poller()
    ends: list[object] = []
    late: list[asyncio.Task[Any]] = []

    def on_end(_: object, end: object) -> None:
        ends.append(end)
        if len(ends) == 50:
            late.append(asyncio.create_task(poller.wait("late", policy(deadline=0.04))))

    for _ in range(250):
        poller.start("id", EVERY_SECOND, on_end)
    await asyncio.sleep(0.1)
    assert len(ends) == 250
    await asyncio.wait(late)


@pytest.mark.parametrize("result", [STALE, ZeroDivisionError("a bug")])
async def test_what_is_no_result_reaches_all_that_share_it(result: Exception) -> None:
    dispatcher = FakeDispatcher(latency=1.0)
    dispatcher.script("id", result, SUCCESS)
    poller = dispatcher.poller()
    ends = await asyncio.gather(*(poller.wait("id", EVERY_SECOND) for _ in range(3)), return_exceptions=True)
    if result is STALE:
        assert [end.polls for end in ends if isinstance(end, Outcome)] == [1] * 3
        assert dispatcher.on_new_connection == [False, True]
    else:
        assert [type(end) for end in ends] == [ZeroDivisionError] * 3


async def test_a_result_that_nobody_waits_for_is_dropped() -> None:
    poller = FakeDispatcher().poller()
    poller.poller._receive((poller.source, "nobody"), Execution("nobody", SUCCESS), 0.0, 1.0)
    assert poller.poller._registry.size == 0


async def test_a_wait_that_is_given_up_while_the_session_closes_has_no_end() -> None:
    poller = FakeDispatcher().poller()
    ends: list[object] = []
    second: list[Any] = []
    poller.start("first", EVERY_SECOND, lambda *_: poller.poller.discard(second[0]))
    second.append(poller.start("second", EVERY_SECOND, lambda _, end: ends.append(end)))
    await poller.close()
    assert ends == []


async def test_a_group_may_be_empty_for_a_while() -> None:
    dispatcher = FakeDispatcher()
    poller = dispatcher.poller()
    ends: list[Any] = []
    group = WaiterGroup(poller.source, policy(deadline=10), lambda _, end: ends.append(end))
    poller.start("ahead of them", policy(deadline=1), lambda *_: None)
    poller.poller.discard(poller.start_in(group, "first"))
    poller.start_in(group, "second")
    await asyncio.sleep(10)
    assert [end.execution_id for end in ends] == ["second"]


async def test_the_end_of_a_wait_whose_caller_was_cancelled_is_nobodys() -> None:
    future: asyncio.Future[Outcome[Any]] = asyncio.get_running_loop().create_future()
    future.cancel()
    waiter: Any = None
    resolving(future)(waiter, Outcome("id", Execution("id", SUCCESS), None, 1, 0.0))
    assert future.cancelled()


def test_the_frames_of_an_exception_group_are_removed_too() -> None:
    def raised(error: Exception) -> Exception:
        try:
            raise error
        except Exception as caught:  # noqa: BLE001
            return caught

    inner = raised(ValueError())
    group = raised(ExceptionGroup("several", [inner]))
    outer = raised(errors.TransportError("id", "reset"))
    outer.__cause__ = group
    assert all(error.__traceback__ for error in (inner, group, outer))
    without_frames(outer)
    assert not any(error.__traceback__ for error in (inner, group, outer))
