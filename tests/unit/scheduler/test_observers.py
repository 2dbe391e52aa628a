"""What sessions tell wait strategies, and how these decide again; on virtual time, without sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from tenacity import RetryCallState, wait_fixed

from tests.fake_dispatcher import RUNNING, SUCCESS, FakeDispatcher, FakePoller
from truebit_async import Execution, Outcome, PollPolicy, errors
from truebit_async._scheduler.replanning import Replanner
from truebit_async._scheduler.timetable import DueTimes
from truebit_async._scheduler.waiter import Phase, Waiter, WaiterGroup
from truebit_async.strategies import Observation, PollState

pytestmark = pytest.mark.virtual_time


class Learner:
    """Sleeps for some seconds, and writes down what it is told."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.observations: list[Observation] = []
        self.decisions: list[str] = []
        self.wants_change = False

    def __call__(self, state: RetryCallState) -> float:
        assert isinstance(state, PollState)
        self.decisions.append(state.args[0])
        return self.seconds

    def observe(self, observation: Observation) -> bool:
        self.observations.append(observation)
        return self.wants_change

    @property
    def told(self) -> list[tuple[str, float | None, float, int, str]]:
        return [(told.execution_id, told.pending_age, told.age, told.polls, told.what) for told in self.observations]


def wait(
    poller: FakePoller, learner: Any, execution_id: str = "id", **budgets: Any
) -> asyncio.Task[Outcome[Execution]]:
    return asyncio.ensure_future(poller.wait(execution_id, PollPolicy(wait=learner, **budgets)))


# What is told


async def test_each_poll_and_the_end_are_told() -> None:
    dispatcher, learner = FakeDispatcher(latency=0.25), Learner()
    dispatcher.script("id", RUNNING, RUNNING, SUCCESS)
    await wait(dispatcher.poller(), learner)
    assert learner.told == [
        ("id", None, 0.25, 1, "pending"),
        ("id", 0.25, 1.5, 2, "pending"),
        ("id", 1.5, 2.75, 3, "finished"),
    ]
    assert {observation.kind for observation in learner.observations} == {"function"}


async def test_failed_polls_are_not_told() -> None:
    dispatcher, learner = FakeDispatcher(), Learner()
    dispatcher.script("id", RUNNING, errors.ServerError("id", 500), SUCCESS)
    await wait(dispatcher.poller(), learner)
    assert learner.told == [("id", None, 0.0, 1, "pending"), ("id", 0.0, 2.0, 3, "finished")]


async def test_a_deadline_is_told() -> None:
    learner = Learner(2.0)
    await wait(FakeDispatcher().poller(), learner, deadline=3)
    last = learner.observations[-1]
    assert last.pending_age == pytest.approx(2.95)
    assert (last.age, last.polls, last.what) == (3.0, 3, "left")


async def test_an_error_is_told() -> None:
    dispatcher, learner = FakeDispatcher(), Learner()
    dispatcher.script("id", RUNNING, errors.AuthenticationError("id", 401))
    await wait(dispatcher.poller(), learner)
    assert learner.told[-1] == ("id", 0.0, 1.0, 2, "left")


async def test_a_caller_who_leaves_is_told() -> None:
    learner = Learner()
    task = wait(FakeDispatcher().poller(), learner)
    await asyncio.sleep(1.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert learner.told[-1] == ("id", 1.0, 1.5, 2, "left")


async def test_a_session_that_closes_is_told() -> None:
    learner, poller = Learner(), FakeDispatcher().poller()
    task = wait(poller, learner)
    await asyncio.sleep(1.5)
    await poller.close()
    await task
    assert learner.told[-1] == ("id", 1.0, 1.5, 2, "left")


async def test_a_status_request_is_not_told() -> None:
    dispatcher, learner = FakeDispatcher(), Learner()
    dispatcher.script("id", errors.ServerError("id", 500), RUNNING)
    await dispatcher.poller().get_state("id", PollPolicy(wait=learner))
    assert (learner.told, learner.decisions) == ([], ["id"])


async def test_ages_count_from_the_submission() -> None:
    dispatcher, learner = FakeDispatcher(), Learner()
    dispatcher.script("id", RUNNING, SUCCESS)
    poller = dispatcher.poller()
    await poller.poller.wait(poller.source, "id", PollPolicy(wait=learner), age=60.0)
    assert learner.told == [("id", None, 60.0, 1, "pending"), ("id", 60.0, 61.0, 2, "finished")]


@pytest.mark.parametrize(("age", "age_at_start"), [(0.0, 0.0), (-0.5, 0.0), (60.0, 60.0)])
async def test_the_age_when_the_wait_began_is_told(age: float, age_at_start: float) -> None:
    dispatcher, learner = FakeDispatcher(), Learner()
    dispatcher.script("id", SUCCESS)
    poller = dispatcher.poller()
    await poller.poller.wait(poller.source, "id", PollPolicy(wait=learner), age=age)
    assert [observation.age_at_start for observation in learner.observations] == [age_at_start]


# Several waits for one execution


async def test_a_shared_result_is_told_once() -> None:
    dispatcher, learner = FakeDispatcher(latency=0.25), Learner()
    dispatcher.script("id", RUNNING, SUCCESS)
    poller = dispatcher.poller()
    await asyncio.gather(*(wait(poller, learner) for _ in range(50)))
    assert learner.told == [("id", None, 0.25, 1, "pending"), ("id", 0.25, 1.5, 2, "finished")]


async def test_the_next_wait_tells_when_the_first_has_left() -> None:
    dispatcher, learner = FakeDispatcher(), Learner()
    dispatcher.script("id", RUNNING, RUNNING, RUNNING, SUCCESS)
    poller = dispatcher.poller()
    first, second = wait(poller, learner), wait(poller, learner)
    await asyncio.sleep(1.5)
    first.cancel()
    await second
    assert learner.told[-3:] == [
        ("id", 1.0, 1.5, 2, "left"),
        ("id", 1.0, 2.0, 3, "pending"),
        ("id", 2.0, 3.0, 4, "finished"),
    ]


async def test_each_strategy_observes_for_itself() -> None:
    dispatcher, first, second = FakeDispatcher(latency=0.25), Learner(), Learner()
    dispatcher.script("id", RUNNING, RUNNING, SUCCESS)
    poller = dispatcher.poller()
    strategies = [wait_fixed(1), first, second, first, second]
    await asyncio.gather(*(wait(poller, strategy) for strategy in strategies))
    assert first.told == second.told
    assert [what for *_, what in first.told] == ["pending", "pending", "finished"]


async def test_a_strategy_that_begins_later_hears_of_the_end_too() -> None:
    dispatcher, first, second = FakeDispatcher(), Learner(), Learner()
    dispatcher.script("id", RUNNING, RUNNING, RUNNING, SUCCESS)
    poller = dispatcher.poller()
    tasks = [wait(poller, first), wait(poller, first)]
    await asyncio.sleep(1.5)
    tasks += [wait(poller, second), wait(poller, second)]
    await asyncio.gather(*tasks)
    assert [what for *_, what in second.told].count("finished") == 1
    assert [what for *_, what in first.told] == ["pending", "pending", "pending", "finished"]


# A strategy that raises


@pytest.mark.parametrize("error", [ValueError("broken"), asyncio.CancelledError()])
async def test_what_observe_raises_is_logged_once_and_the_waits_go_on(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Learner):
        def observe(self, observation: Observation) -> bool:
            super().observe(observation)
            raise error

    dispatcher, learner = FakeDispatcher(), Broken()
    dispatcher.script("a", RUNNING, SUCCESS)
    dispatcher.script("b", RUNNING, SUCCESS)
    poller = dispatcher.poller()
    outcomes = await asyncio.gather(wait(poller, learner, "a"), wait(poller, learner, "b"))
    assert [outcome.succeeded for outcome in outcomes] == [False, False]
    assert [outcome.polls for outcome in outcomes] == [2, 2]
    assert len(learner.observations) == 4
    logged = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert logged == ["the method observe of a wait strategy raised; the waits go on"]


class Unclear:
    def __bool__(self) -> bool:
        raise ValueError


async def test_what_observe_returns_may_be_neither_true_nor_false(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Learner):
        def observe(self, observation: Observation) -> Any:
            super().observe(observation)
            return Unclear()

    dispatcher, learner = FakeDispatcher(), Broken()
    dispatcher.script("a", RUNNING, SUCCESS)
    poller = dispatcher.poller()
    left = wait(poller, learner, "b")
    assert (await wait(poller, learner, "a")).polls == 2
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    await poller.close()
    assert len(learner.observations) == 5
    assert len(caplog.records) == 1


async def test_a_hundred_strategies_that_raise_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Learner):
        def observe(self, _: Observation) -> bool:
            raise ValueError

    dispatcher = FakeDispatcher()
    poller = dispatcher.poller()
    for number in range(120):
        dispatcher.script(str(number), SUCCESS)
        await wait(poller, Broken(), str(number))
    assert len(caplog.records) == 100


async def test_a_filter_of_the_log_that_raises_too(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Learner):
        def observe(self, _: Observation) -> bool:
            raise ValueError

    def filter_that_raises(_: logging.LogRecord) -> bool:
        raise ValueError

    dispatcher = FakeDispatcher()
    dispatcher.script("id", RUNNING, SUCCESS)
    logger = logging.getLogger("truebit_async")
    logger.addFilter(filter_that_raises)
    try:
        outcome = await wait(dispatcher.poller(), Broken())
    finally:
        logger.removeFilter(filter_that_raises)
    assert outcome.polls == 2
    assert not caplog.records


# Deciding again


async def test_sleeping_waits_are_woken_earlier() -> None:
    dispatcher, learner = FakeDispatcher(), Learner(10.0)
    poller = dispatcher.poller()
    tasks = [wait(poller, learner, str(number)) for number in range(300)]
    await asyncio.sleep(2)
    learner.seconds, learner.wants_change = 4.0, True
    dispatcher.script("new", SUCCESS)
    await wait(poller, learner, "new")
    learner.wants_change = False
    await asyncio.sleep(3)
    assert {dispatcher.times(str(number))[1] for number in range(300)} == {4.0}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_wait_that_has_slept_too_long_already_is_polled_now() -> None:
    dispatcher, learner = FakeDispatcher(), Learner(10.0)
    dispatcher.script("id", RUNNING, SUCCESS)
    dispatcher.script("new", SUCCESS)
    poller = dispatcher.poller()
    task = wait(poller, learner)
    await asyncio.sleep(6)
    learner.seconds, learner.wants_change = 4.0, True
    await wait(poller, learner, "new")
    await task
    assert dispatcher.times("id") == [0.0, 6.0]


async def test_no_wait_sleeps_longer_than_it_was_to() -> None:
    dispatcher, learner = FakeDispatcher(), Learner(4.0)
    dispatcher.script("id", RUNNING, SUCCESS)
    dispatcher.script("new", SUCCESS)
    poller = dispatcher.poller()
    task = wait(poller, learner)
    await asyncio.sleep(1)
    learner.seconds, learner.wants_change = 10.0, True
    await wait(poller, learner, "new")
    await task
    assert dispatcher.times("id") == [0.0, 4.0]


async def test_only_waits_of_that_strategy_decide_again() -> None:
    dispatcher, learner, other = FakeDispatcher(), Learner(10.0), Learner(10.0)
    dispatcher.script("new", SUCCESS)
    dispatcher.script("failing", errors.ServerError("failing", 500))
    poller = dispatcher.poller()
    names = {"id": learner, "other": other, "failing": learner}
    tasks = [wait(poller, strategy, name) for name, strategy in names.items()]
    await asyncio.sleep(1)
    learner.wants_change = True
    await wait(poller, learner, "new")
    await asyncio.sleep(1)
    assert (learner.decisions, other.decisions) == (["id", "failing", "id"], ["other"])
    await poller.close()
    await asyncio.gather(*tasks)


async def test_a_strategy_that_raises_when_it_decides_again_ends_the_wait() -> None:
    dispatcher, learner = FakeDispatcher(), Learner(10.0)
    dispatcher.script("new", SUCCESS)
    poller = dispatcher.poller()
    task = wait(poller, learner)
    await asyncio.sleep(1)
    learner.seconds, learner.wants_change = -1.0, True
    await wait(poller, learner, "new")
    with pytest.raises(ValueError, match="must return zero or more finite seconds"):
        await task


async def test_a_wait_that_decides_again_polls_before_its_deadline() -> None:
    learner = Learner(10.0)
    dispatcher = FakeDispatcher()
    dispatcher.script("new", SUCCESS)
    poller = dispatcher.poller()
    task = wait(poller, learner, deadline=9)
    await asyncio.sleep(1)
    learner.wants_change = True
    await wait(poller, learner, "new")
    assert (await task).polls == 2
    assert dispatcher.times("id") == [0.0, 8.95]


# How much work that is


def replanner(strategy: Callable[..., float], count: int) -> tuple[Replanner, DueTimes]:
    due_times = DueTimes()
    group = WaiterGroup(FakeDispatcher().source, PollPolicy(wait=strategy), lambda *_: None)
    for number in range(count):
        waiter = Waiter(group, str(number), 0.0, phase=Phase.ASLEEP, seen_at=0.0)
        waiter.latest = Execution(waiter.execution_id, RUNNING)
        due_times.add(waiter, 10.0)

    def fail(_: Waiter[Any], error: Exception) -> None:
        raise error

    return Replanner(due_times, fail), due_times


def test_a_pass_is_made_in_steps_and_ends() -> None:
    strategy = Learner(10.0)
    planner, _ = replanner(strategy, 250)
    assert not planner.has_work
    assert planner.work(1.0, 100) == 0
    planner.add(strategy)
    planner.add(strategy)
    assert [planner.work(1.0, 100) for _ in range(4)] == [100, 100, 50, 0]
    assert not planner.has_work
    assert len(strategy.decisions) == 250


def test_a_strategy_that_is_added_during_a_pass_decides_in_the_next_one() -> None:
    strategy = Learner(10.0)
    planner, _ = replanner(strategy, 30)
    planner.add(strategy)
    planner.work(1.0, 20)
    planner.add(strategy)
    assert planner.work(1.0, 100) == 10
    assert planner.work(1.0, 100) == 30
    assert not planner.has_work


def test_the_work_is_limited_by_the_results_that_arrive() -> None:
    strategy = wait_fixed(10)
    planner, _ = replanner(strategy, 30_000)
    planner.add(strategy)
    done = 0
    while planner.has_work:
        done += planner.work(1.0, 100)
    assert done == 10_000
    for _ in range(10):
        planner.earn()
    assert planner.work(1.0, 100) == 20
    for _ in range(10_000):
        planner.earn()
    assert sum(planner.work(1.0, 10_000) for _ in range(3)) == 10_000


def test_to_look_at_waits_of_other_strategies_is_limited_too() -> None:
    planner, _ = replanner(wait_fixed(10), 300_000)
    planner.add(object())
    looked_at = 0
    while planner.has_work:
        looked_at += planner.work(1.0, 10_000)
    assert looked_at == pytest.approx(200_000, abs=10)
    planner.earn()
    assert planner.work(1.0, 1000) == pytest.approx(40, abs=1)


def test_moved_waits_come_up_at_their_new_time_only() -> None:
    strategy = wait_fixed(5)
    planner, due_times = replanner(strategy, 500)
    planner.add(strategy)
    while planner.has_work:
        planner.work(1.0, 100)
    assert due_times.pop_due(4.99) is None
    popped = []
    while (waiter := due_times.pop_due(5.0)) is not None:
        waiter.phase = Phase.ASKING
        popped.append(waiter)
    assert len(set(popped)) == len(popped) == 500
    assert due_times.pop_due(20.0) is None
    assert len(due_times) == 0
