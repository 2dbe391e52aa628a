"""What goes wrong inside a step of the scheduler concerns one wait at most: the deadlines of all others hold."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from tenacity import RetryCallState, wait_fixed

import truebit_async
from tests.promises import listening
from truebit_async import PollEvent, PollPolicy, TruebitSession, VerificationStatus, errors
from truebit_async.testing import Simulator

pytestmark = pytest.mark.virtual_time

PACKAGE = Path(truebit_async.__file__).parent
POLICY = PollPolicy(wait=wait_fixed(1))
SUCCESS = VerificationStatus.SUCCESS
DEADLINES = [2.5, 3.5, 4.5, 5.5, 6.5]

Work = Coroutine[Any, Any, Any]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        for number in range(len(DEADLINES)):
            simulator.add(f"id-{number}", status="Running")
        simulator.add("good", polls=2)
        yield simulator


def start_waits(session: TruebitSession) -> list[asyncio.Task[truebit_async.Execution]]:
    """Begin waits that will time out, each with a deadline of its own."""
    return [
        asyncio.create_task(session.wait_for_verification(f"id-{number}", deadline=deadline))
        for number, deadline in enumerate(DEADLINES)
    ]


async def check_deadlines(tasks: list[asyncio.Task[truebit_async.Execution]]) -> list[BaseException]:
    """Check that each wait that timed out did so on time, and after polls; return what the others ended with."""
    await asyncio.wait(tasks, timeout=60)
    assert all(task.done() for task in tasks)
    others: list[BaseException] = []
    for task, deadline in zip(tasks, DEADLINES, strict=True):
        assert not task.cancelled()
        error = task.exception()
        if isinstance(error, errors.VerificationTimeoutError):
            assert error.deadline == pytest.approx(deadline)
            assert error.elapsed == pytest.approx(deadline, abs=0.05)
            assert error.polls >= int(deadline)
        else:
            assert error is not None
            others.append(error)
    return others


async def check_works(session: TruebitSession) -> None:
    """Check that the session has its only slot, and that nothing holds up who comes next."""
    async with asyncio.timeout(10):
        assert (await session.get_execution_status("good")).verification_status
        assert (await session.wait_for_verification("good")).verification_status is SUCCESS
        outcomes = [outcome async for outcome in session.wait_for_verifications(["good", "good", "unknown"])]
        assert {outcome.execution_id for outcome in outcomes} == {"good", "unknown"}
    assert not [task for task in asyncio.all_tasks() if is_of_the_package(task.get_coro())]


def is_of_the_package(work: object) -> bool:
    code = getattr(work, "cr_code", None)
    return code is not None and PACKAGE in Path(code.co_filename).parents and "testing" not in code.co_filename


# Making a task


@contextlib.contextmanager
def task_factory(factory: Any) -> Iterator[None]:
    """Make the tasks of the running loop with this; its own are made without it."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        yield
    finally:
        loop.set_task_factory(None)


class FailingOnce:
    """A task factory that fails to make one task of the package, once it is armed."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error
        self.is_armed = False

    def __call__(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Future[Any]:
        if self.is_armed and self.error is not None and is_of_the_package(work):
            work.close()
            error, self.error = self.error, None
            raise error
        return asyncio.Task(work, loop=loop, **options)


@pytest.mark.full
@pytest.mark.parametrize("armed_at", [0.0, 0.5, 2.2])
@pytest.mark.parametrize("error_type", [MemoryError, RuntimeError])
@pytest.mark.parametrize("max_concurrency", [1, 64])
async def test_a_task_that_cannot_be_made_ends_one_wait_and_no_other(
    simulator: Simulator, armed_at: float, error_type: type[Exception], max_concurrency: int
) -> None:
    error = error_type("there is no room for a task")
    factory = FailingOnce(error)
    loop = asyncio.get_running_loop()
    with task_factory(factory):
        session = TruebitSession(simulator.url, policy=POLICY, max_concurrency=max_concurrency)
        tasks = start_waits(session)
        # At zero, it is armed when the waits have begun and before their first requests are made.
        loop.call_later(armed_at, setattr, factory, "is_armed", True)
        assert await check_deadlines(tasks) == [error]
        assert factory.error is None
        await check_works(session)
        await session.close()


async def test_a_task_that_cannot_be_made_is_told_to_all_waits_of_its_execution_or_made_again(
    simulator: Simulator,
) -> None:
    factory = FailingOnce(MemoryError())
    with task_factory(factory):
        session = TruebitSession(simulator.url, policy=POLICY, max_concurrency=1)
        tasks = [asyncio.create_task(session.wait_for_verification("id-0", deadline=3.5)) for _ in range(5)]
        await asyncio.sleep(0.5)
        factory.is_armed = True
        await asyncio.wait(tasks, timeout=60)
        ends = [type(task.exception()) for task in tasks]
        assert MemoryError in ends
        assert set(ends) <= {MemoryError, errors.VerificationTimeoutError}
        await check_works(session)
        await session.close()


async def test_a_task_factory_that_knows_no_context(simulator: Simulator) -> None:
    with task_factory(lambda loop, work: asyncio.Task(work, loop=loop)):
        session = TruebitSession(simulator.url, policy=POLICY, max_concurrency=1)
        assert await check_deadlines(start_waits(session)) == []
        await check_works(session)
        await session.close()


# Logging


class Raising(logging.Filter):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  # as logging calls it
        raise self._error


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("truebit_async")
    level, filters = logger.level, list(logger.filters)
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(level)
    logger.filters[:] = filters


@pytest.mark.parametrize("error", [RuntimeError("bug"), MemoryError(), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("after", [0.0, 0.5])
async def test_a_log_filter_that_raises_concerns_nobody(
    simulator: Simulator, logger: logging.Logger, error: BaseException, after: float
) -> None:
    async with TruebitSession(simulator.url, policy=POLICY, max_concurrency=1) as session:
        if not after:
            logger.addFilter(Raising(error))
        tasks = start_waits(session)
        await asyncio.sleep(after)
        if after:
            logger.addFilter(Raising(error))
        assert await check_deadlines(tasks) == []
        await check_works(session)


# Listeners


@pytest.mark.parametrize("error", [RuntimeError("bug"), MemoryError(), asyncio.CancelledError()], ids=repr)
async def test_a_listener_that_raises_concerns_nobody(simulator: Simulator, error: BaseException) -> None:
    def listener(event: PollEvent) -> None:
        raise error

    async with TruebitSession(simulator.url, policy=POLICY, max_concurrency=1, **listening(listener)) as session:
        assert await check_deadlines(start_waits(session)) == []
        await check_works(session)


async def test_a_listener_that_raises_and_a_log_that_raises_concern_nobody(
    simulator: Simulator, logger: logging.Logger
) -> None:
    def listener(event: PollEvent) -> None:
        raise RuntimeError

    logger.addFilter(Raising(RuntimeError("bug")))
    async with TruebitSession(simulator.url, policy=POLICY, max_concurrency=1, **listening(listener)) as session:
        assert await check_deadlines(start_waits(session)) == []
        await check_works(session)


# Wait strategies


def raising(error: BaseException, on_attempt: int) -> Callable[[RetryCallState], float]:
    def strategy(state: RetryCallState) -> float:
        if state.attempt_number >= on_attempt:
            raise error
        return 1.0

    return strategy


def causes_of(error: BaseException | None) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


@pytest.mark.full
@pytest.mark.parametrize("error", [RuntimeError("bug"), MemoryError(), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("on_attempt", [1, 2])
@pytest.mark.parametrize("execution_id", ["id-0", "alone"])
async def test_a_strategy_that_raises_ends_its_own_wait_at_once(
    simulator: Simulator, error: BaseException, on_attempt: int, execution_id: str
) -> None:
    simulator.add("alone", status="Running")
    broken = PollPolicy(wait=raising(error, on_attempt), deadline=30)
    async with TruebitSession(simulator.url, policy=POLICY, max_concurrency=1) as session:
        tasks = start_waits(session)
        concerned = asyncio.create_task(session.wait_for_verification(execution_id, policy=broken))
        await asyncio.wait([concerned], timeout=on_attempt + 0.2)
        assert concerned.done()
        assert not concerned.cancelled()
        assert error in causes_of(concerned.exception())
        assert await check_deadlines(tasks) == []
        await check_works(session)


@pytest.mark.parametrize("error", [RuntimeError("bug"), asyncio.CancelledError()], ids=repr)
async def test_a_strategy_that_raises_when_its_wait_joins_ends_that_wait(
    simulator: Simulator, error: BaseException
) -> None:
    broken = PollPolicy(wait=raising(error, 1), deadline=30)
    async with TruebitSession(simulator.url, policy=POLICY, max_concurrency=1) as session:
        tasks = start_waits(session)
        await asyncio.sleep(0.5)
        concerned = asyncio.create_task(session.wait_for_verification("id-0", policy=broken))
        await asyncio.wait([concerned], timeout=1)
        assert concerned.done()
        assert not concerned.cancelled()
        assert error in causes_of(concerned.exception())
        assert await check_deadlines(tasks) == []
        await check_works(session)
