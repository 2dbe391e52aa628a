"""The rules of one wait, result by result; no loop."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
import tenacity
from tenacity import RetryCallState, wait_chain, wait_exponential, wait_fixed, wait_incrementing

from truebit_async import Execution, Outcome, PollPolicy, VerificationStatus, errors
from truebit_async._scheduler.source import Source
from truebit_async._scheduler.waiter import Waiter, WaiterGroup
from truebit_async.strategies import PollState

RUNNING = Execution("id", VerificationStatus.RUNNING)


async def never(execution_id: str, request_timeout: float, *, on_new_connection: bool) -> Execution:
    raise NotImplementedError


SOURCE: Source[Execution] = Source("function", never, lambda execution: not execution.is_running)


def begin(**budgets: Any) -> Waiter[Execution]:
    budgets.setdefault("wait", wait_fixed(1))
    return Waiter(WaiterGroup(SOURCE, PollPolicy(**budgets), lambda *_: None), "id", started=100.0)


def take(waiter: Waiter[Execution], result: Execution | errors.TruebitError, now: float) -> Outcome[Execution] | None:
    return waiter.take(result, now, seen_at=now)


@pytest.mark.parametrize("status", [status for status in VerificationStatus if status != VerificationStatus.RUNNING])
def test_every_status_but_running_is_final(status: VerificationStatus) -> None:
    final = Execution("id", status)
    wait = begin()
    assert take(wait, RUNNING, 101.0) is None
    assert take(wait, final, 103.5) == Outcome("id", final, None, 2, 3.5)


FINAL = [
    errors.BadRequestError("id", 400),
    errors.AuthenticationError("id", 401),
    errors.AuthenticationError("id", 403),
    errors.PaymentRequiredError("id", 402),
    errors.ExecutionNotFoundError("id", 404),
    errors.ApiError("id", 418),
    errors.DecodeError("id", 200, "bad", ""),
    errors.UnknownStatusError("id", 200, "bad", "", "Paused"),
    errors.ExecutionIdMismatchError("id", 200, "bad", "", "other"),
    errors.ResponseTooLargeError("id", 200, "bad", "", 1),
    errors.RedirectError("id", 302, "bad", "", None),
]
TRANSIENT = [
    errors.TransportError("id", "reset"),
    errors.RequestTimeoutError("id", "timed out", 30.0),
    errors.RateLimitedError("id", 429),
    *(errors.ServerError("id", status) for status in (500, 502, 503, 504)),
]


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_final_errors_end_it_at_once(error: errors.TruebitError) -> None:
    assert take(begin(), error, 101.0) == Outcome("id", None, error, 1, 1.0)


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_transient_errors_end_it_after_so_many_in_a_row(error: errors.TruebitError) -> None:
    wait = begin(max_consecutive_errors=3)
    assert take(wait, error, 101.0) is None
    assert take(wait, error, 102.0) is None
    assert take(wait, RUNNING, 103.0) is None  # resets the count
    assert take(wait, error, 104.0) is None
    assert take(wait, error, 105.0) is None
    assert take(wait, error, 106.0) == Outcome("id", None, error, 6, 6.0)
    assert "gave up after 3 transient failures in a row" in error.__notes__[0]


def test_a_404_counts_as_not_there_yet_within_its_grace() -> None:
    error = errors.ExecutionNotFoundError("id", 404)
    wait = begin(not_found_grace=5.0, max_consecutive_errors=1)
    assert take(wait, error, 100.0) is None
    assert take(wait, error, 104.9) is None
    assert wait.latest is error
    outcome = take(wait, error, 105.0)
    assert outcome is not None
    assert outcome.error is error


def test_an_unknown_status_may_be_waited_out() -> None:
    wait = begin(unknown_status="keep_waiting", max_consecutive_errors=1)
    for second in range(100):
        assert take(wait, errors.UnknownStatusError("id", 200, "bad", "", "Paused"), 100.0 + second) is None
    final = Execution("id", VerificationStatus.ERROR)
    assert take(wait, final, 201.0) == Outcome("id", final, None, 101, 101.0)


def test_a_wait_without_deadline() -> None:
    assert begin(deadline=None).deadline == math.inf
    assert begin(deadline=7).deadline == 107.0


def test_the_deadline_error_keeps_what_was_seen() -> None:
    error = errors.ServerError("id", 500)
    wait = begin(deadline=10.0)
    take(wait, RUNNING, 101.0)
    take(wait, error, 102.0)
    outcome = wait.time_out(110.25)
    assert isinstance(outcome.error, errors.VerificationTimeoutError)
    assert outcome.error.deadline == 10.0
    assert outcome.error.last_execution is RUNNING
    assert outcome.error.last_error is error
    assert outcome.error.__cause__ is error
    assert (outcome.error.polls, outcome.error.elapsed) == (2, 10.25)
    assert (outcome.polls, outcome.elapsed) == (2, 10.25)


# What tenacity gets to see


def test_the_retry_state_is_true() -> None:
    states: list[PollState] = []

    def strategy(state: RetryCallState) -> float:
        assert isinstance(state, PollState)
        states.append(state)
        return 2.5

    wait, error = begin(wait=strategy), errors.ServerError("id", 500)
    wait.age_at_start = 10.0
    take(wait, RUNNING, 101.0)
    assert wait.sleep_after(RUNNING, 101.0) == 2.5
    take(wait, error, 104.0)
    wait.sleep_after(error, 104.0)
    first, second = states
    assert (first.attempt_number, first.start_time, first.seconds_since_start, first.idle_for) == (1, 100.0, 1.0, 1.0)
    assert (second.attempt_number, second.seconds_since_start, second.idle_for) == (2, 4.0, 4.0)
    assert (first.kind, first.is_pending, first.execution_age, first.seen_at) == ("function", True, 11.0, 101.0)
    assert (second.is_pending, second.consecutive_failures, second.execution_age) == (False, 1, 14.0)
    assert second.wait_strategy is strategy
    assert first.outcome is not None
    assert first.outcome.result() is RUNNING
    assert not first.outcome.failed
    assert second.outcome is not None
    assert second.outcome.exception() is error
    assert second.outcome.attempt_number == 2
    assert isinstance(second.retry_object, tenacity.AsyncRetrying)
    assert second.retry_object.wait is strategy
    assert second.args == ("id",)


@pytest.mark.parametrize(
    ("strategy", "delays"),
    [
        (wait_fixed(2), [2, 2, 2, 2]),
        (wait_exponential(multiplier=1, max=5), [1, 2, 4, 5]),
        (wait_incrementing(start=1, increment=2), [1, 3, 5, 7]),
        (wait_chain(wait_fixed(1), wait_fixed(1), wait_fixed(9)), [1, 1, 9, 9]),
        (wait_fixed(1) + wait_exponential(), [2, 3, 5, 9]),
        (lambda state: 0 if state.attempt_number > 1 else 3, [3, 0, 0, 0]),
    ],
)
def test_tenacity_strategies_work_unchanged(strategy: Any, delays: list[float]) -> None:
    wait, seen = begin(wait=strategy), []
    for _ in delays:
        take(wait, RUNNING, 200.0)
        seen.append(wait.sleep_after(RUNNING, 200.0))
    assert seen == delays


@pytest.mark.parametrize(
    ("delay", "error"),
    [
        (-1, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        ("1", TypeError),
        (None, TypeError),
        (True, TypeError),
    ],
)
def test_a_strategy_that_returns_nonsense(delay: Any, error: type[Exception]) -> None:
    wait = begin(wait=lambda _: delay)
    take(wait, RUNNING, 101.0)
    with pytest.raises(error, match=r"PollPolicy\.wait must return"):
        wait.sleep_after(RUNNING, 101.0)


def test_a_strategy_that_raises_cancelled_error_is_broken() -> None:
    def broken(_: RetryCallState) -> float:
        raise asyncio.CancelledError

    wait = begin(wait=broken)
    with pytest.raises(RuntimeError, match="raised CancelledError"):
        wait.sleep_after(RUNNING, 101.0)


# The last poll before the deadline


@pytest.mark.parametrize(
    ("now", "slowest", "due"),
    [
        pytest.param(101.0, 0.0, 102.0, id="the next poll is before the deadline"),
        pytest.param(105.2, 0.0, 105.95, id="the next poll would be after it"),
        pytest.param(104.9, 0.5, 105.0, id="twice the slowest exchange before it"),
        pytest.param(105.96, 0.0, 106.96, id="the last poll was just now"),
    ],
)
def test_the_last_poll_is_early_enough_to_be_answered(now: float, slowest: float, due: float) -> None:
    wait = begin(deadline=6.0)
    wait.slowest = max(wait.slowest, slowest)
    assert now + wait.sleep_after(RUNNING, now) == pytest.approx(due)
