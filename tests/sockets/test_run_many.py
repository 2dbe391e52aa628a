"""Batches of tasks: each is submitted once, has one outcome, and is resumed by what the checkpoint holds."""

from __future__ import annotations

import asyncio
import functools
import json
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from tenacity import wait_fixed

from truebit_async import (
    ApiTask,
    CheckpointError,
    FunctionTask,
    MissingApiKeyError,
    Outcome,
    PollPolicy,
    SubmissionLimitError,
    SubmissionUncertainError,
    Submitted,
    TruebitSession,
    errors,
)
from truebit_async.checkpoint import Checkpoint, Record, SubmissionState, read_checkpoint
from truebit_async.testing import Reply, Simulator

pytestmark = pytest.mark.virtual_time

KEY = "key-5eC4e7"
POLICY = PollPolicy(wait=wait_fixed(1), deadline=60, request_timeout=2, max_consecutive_errors=3)


def square(number: int, tag: str | None = None) -> FunctionTask:
    return FunctionTask("ns", "square", str(number), total_solutions=3, required_solutions=2, tag=tag)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        simulator.deploy_function("ns", "square", lambda text: str(int(text) ** 2), polls=1)
        simulator.deploy_api("ns", "order", lambda call: {"order": call["params"]["id"]})
        yield simulator


@pytest.fixture
async def session(simulator: Simulator) -> AsyncIterator[TruebitSession]:
    async with TruebitSession(simulator.url, api_key=KEY, policy=POLICY) as session:
        yield session


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def submitted_inputs(simulator: Simulator) -> Counter[str]:
    return Counter(json.loads(request.body)["input"] for request in simulator.requests if request.method == "POST")


@asynccontextmanager
async def opened(path: Path, cls: Callable[..., Any] = Checkpoint, **options: Any) -> AsyncIterator[Any]:
    """Open a checkpoint as a service does, without a blocking call in the loop."""
    with await asyncio.to_thread(functools.partial(cls, path, **options)) as checkpoint:
        yield checkpoint


async def collect(outcomes: AsyncIterable[Outcome[Any]], collected: list[Outcome[Any]]) -> None:
    async for outcome in outcomes:
        collected.append(outcome)  # noqa: PERF401  # those before an error too


async def run(session: TruebitSession, tasks: Any, **options: Any) -> dict[str | int | None, Outcome[Any]]:
    outcomes = [outcome async for outcome in session.functions.run_many(tasks, **options)]
    by_tag = {outcome.tag: outcome for outcome in outcomes}
    assert len(by_tag) == len(outcomes)
    return by_tag


async def test_one_outcome_for_each_task(simulator: Simulator, session: TruebitSession) -> None:
    outcomes = await run(session, (square(number) for number in range(100)))
    assert {tag: outcome.output for tag, outcome in outcomes.items()} == {n: str(n * n) for n in range(100)}
    assert submitted_inputs(simulator) == Counter(map(str, range(100)))


async def test_a_tag_takes_the_place_of_the_index(session: TruebitSession) -> None:
    async def tasks() -> AsyncIterator[FunctionTask]:
        yield square(2, "two")
        await asyncio.sleep(5)
        yield square(3)
        yield square(2, "0")

    outcomes = await run(session, tasks())
    assert {tag: outcome.output for tag, outcome in outcomes.items()} == {"two": "4", 1: "9", "0": "4"}


async def test_api_tasks_too(session: TruebitSession, path: Path) -> None:
    def tasks() -> Iterator[ApiTask]:
        for number in range(5):
            yield ApiTask("ns", "order", params={"id": number}, execution_timeout=1)

    async with opened(path, kind="api") as checkpoint:
        outputs = [o.output async for o in session.apis.run_many(tasks(), checkpoint=checkpoint)]
    assert sorted(map(str, outputs)) == [str({"order": number}) for number in range(5)]
    assert sorted(str(record.tag) for record in read_checkpoint(path, "api")) == ["0", "1", "2", "3", "4"]
    async with opened(path, resume=True, kind="api") as checkpoint:
        assert [o async for o in session.apis.run_many(tasks(), checkpoint=checkpoint)] == []


async def test_no_tasks_no_outcomes(session: TruebitSession) -> None:
    assert await run(session, []) == {}


async def test_whatever_happens_to_a_task_is_its_outcome(simulator: Simulator) -> None:
    simulator.script_submissions(
        Reply.error(400),
        Reply.raw(200, b'{"executionId": "lost"}'),
        Reply.error(500),
        Reply.error(402),
        Reply.error(401),
        Reply.reset(),
        Reply.raw(200),
        Reply.error(429),
    )
    async with TruebitSession(simulator.url, api_key=KEY, policy=POLICY, max_concurrency=1) as session:
        outcomes = await run(session, map(square, range(8)))
    assert {tag: type(outcome.error) for tag, outcome in outcomes.items()} == {
        0: errors.BadRequestError,
        1: errors.ExecutionNotFoundError,
        2: errors.ServerError,
        3: errors.PaymentRequiredError,
        4: errors.AuthenticationError,
        5: SubmissionUncertainError,
        6: errors.DecodeError,
        7: type(None),
    }
    assert {tag for tag, outcome in outcomes.items() if outcome.error and outcome.error.may_have_run} == {2, 5, 6}
    assert (outcomes[5].execution_id, outcomes[5].kind) == ("", "function")
    assert "tag or index 5" in outcomes[5].error.__notes__[-1]  # type: ignore[union-attr]
    assert submitted_inputs(simulator) == Counter({**dict.fromkeys(map(str, range(7)), 1), "7": 2})  # after the 429


@pytest.mark.parametrize(("polls", "succeeds"), [(3, True), (7, False)])
async def test_a_404_soon_after_the_submission_is_not_there_yet(
    simulator: Simulator, session: TruebitSession, polls: int, succeeds: bool
) -> None:
    simulator.script_submissions(Reply.raw(200, b'{"executionId": "late"}'))
    simulator.script("late", *[Reply.error(404)] * polls, Reply.success("1"))
    assert (await run(session, [square(1)]))[0].succeeded is succeeds


async def test_tasks_are_read_as_there_is_room(simulator: Simulator) -> None:
    read = 0

    def tasks() -> Iterator[FunctionTask]:
        nonlocal read
        for number in range(10_000):
            read = number + 1
            yield square(number)

    taken = 0
    async with (
        TruebitSession(simulator.url, api_key=KEY, policy=POLICY, max_concurrency=3) as session,
        aclosing(session.functions.run_many(tasks(), max_pending=10)) as outcomes,
    ):
        async for _ in outcomes:
            taken += 1
            assert read <= taken + 11
            if taken == 50:
                break
    assert len(simulator.requests) < 200


@pytest.mark.parametrize(("max_pending", "count"), [(1, 9), (2, 9), (7, 20), (64, 65)])
async def test_there_may_be_room_for_fewer_tasks_than_can_be_submitted_at_once(
    simulator: Simulator, session: TruebitSession, max_pending: int, count: int
) -> None:
    assert len(await run(session, map(square, range(count)), max_pending=max_pending)) == count
    assert sum(submitted_inputs(simulator).values()) == count


async def test_the_caps_hold_for_submissions_too(simulator: Simulator) -> None:
    async with TruebitSession(simulator.url, api_key=KEY, policy=POLICY, max_rate=10) as session:
        started = asyncio.get_running_loop().time()
        await run(session, map(square, range(30)))
        assert asyncio.get_running_loop().time() - started > 8
    times = [request.time for request in simulator.requests]
    assert len(times) >= 90
    assert all(later - earlier > 0.99 for earlier, later in zip(times, times[11:], strict=False))


# What stops a run


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_account_stops_the_run(simulator: Simulator, status: int) -> None:
    simulator.script_submissions(*[Reply.error(status)] * 1000)
    read = 0

    def tasks() -> Iterator[FunctionTask]:
        nonlocal read
        for number in range(1000):
            read = number + 1
            yield square(number)

    outcomes: list[Outcome[Any]] = []
    async with TruebitSession(simulator.url, api_key=KEY, policy=POLICY, max_concurrency=2) as session:
        with pytest.raises((errors.AuthenticationError, errors.PaymentRequiredError)):
            await collect(session.functions.run_many(tasks()), outcomes)
    assert 1 <= len(outcomes) == sum(submitted_inputs(simulator).values()) <= read <= 5


async def test_a_task_that_waits_for_the_limit_is_not_sent_to_a_refused_account(simulator: Simulator) -> None:
    simulator.script_submissions(*[Reply.error(402)] * 1000)
    outcomes: list[Outcome[Any]] = []
    async with TruebitSession(simulator.url, api_key=KEY, policy=POLICY, max_concurrency=5) as session:
        with pytest.raises(errors.PaymentRequiredError):
            await collect(session.functions.run_many(map(square, range(1000)), max_submissions=1), outcomes)
    assert len(outcomes) == sum(submitted_inputs(simulator).values()) == 1


async def test_what_was_accepted_is_waited_for_before_an_error_is_raised(
    simulator: Simulator, session: TruebitSession
) -> None:
    def tasks() -> Iterator[FunctionTask]:
        yield square(2)
        yield square(3)
        raise LookupError

    outcomes: list[Outcome[Any]] = []
    with pytest.raises(LookupError):
        await collect(session.functions.run_many(tasks()), outcomes)
    assert sorted(outcome.output for outcome in outcomes) == ["4", "9"]


async def test_a_session_that_is_closed_ends_the_run(simulator: Simulator) -> None:
    session = TruebitSession(simulator.url, api_key=KEY, policy=POLICY, max_concurrency=2)
    simulator.deploy_function("ns", "square", str, running_for=30)
    simulator.script_submissions(Reply.raw(200, b'{"executionId": "a"}'), Reply.hang())
    simulator.add("a", running_for=30)
    outcomes: list[Outcome[Any]] = []
    task = asyncio.create_task(collect(session.functions.run_many(map(square, range(100))), outcomes))
    await asyncio.sleep(1)
    await session.close()
    with pytest.raises(errors.SessionClosedError):
        await task
    assert {type(outcome.error) for outcome in outcomes} == {errors.SessionClosedError}
    assert {outcome.execution_id for outcome in outcomes} > {"a", ""}
    assert any(outcome.error and outcome.error.may_have_run for outcome in outcomes)


async def test_a_session_that_is_closed_while_it_waits_ends_the_run(simulator: Simulator) -> None:
    session = TruebitSession(simulator.url, api_key=KEY, policy=POLICY)
    simulator.deploy_function("ns", "square", str, running_for=30)
    outcomes: list[Outcome[Any]] = []
    task = asyncio.create_task(collect(session.functions.run_many([square(1)]), outcomes))
    await asyncio.sleep(1)
    await session.close()
    with pytest.raises(errors.SessionClosedError):
        await task
    assert outcomes[0].execution_id


async def items_of(queue: asyncio.Queue[FunctionTask]) -> AsyncIterator[FunctionTask]:
    """Before Python 3.12, `wait_for` loses a cancellation if its result comes meanwhile."""
    while True:
        yield await asyncio.wait_for(queue.get(), 1000)


async def test_after_leaving_nothing_more_is_submitted(simulator: Simulator, session: TruebitSession) -> None:
    queue: asyncio.Queue[FunctionTask] = asyncio.Queue()
    queue.put_nowait(square(1))
    async with aclosing(session.functions.run_many(items_of(queue))) as outcomes:
        assert (await anext(outcomes)).succeeded
        queue.put_nowait(square(2))
    assert submitted_inputs(simulator) == Counter(["1"])


async def test_after_leaving_nothing_more_is_waited_for(simulator: Simulator, session: TruebitSession) -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def ids() -> AsyncIterator[str]:
        while True:
            yield await asyncio.wait_for(queue.get(), 1000)

    simulator.add("a")
    queue.put_nowait("a")
    async with aclosing(session.wait_for_verifications(ids())) as outcomes:
        assert (await anext(outcomes)).succeeded
        queue.put_nowait("b")
    assert [request.execution_id for request in simulator.requests] == ["a"]


async def test_after_an_error_that_ends_the_run_nothing_more_is_submitted(
    simulator: Simulator, session: TruebitSession, path: Path
) -> None:
    queue: asyncio.Queue[FunctionTask] = asyncio.Queue()
    queue.put_nowait(square(1))

    class Queueing(FullDisk):
        def _append(self, line: bytes) -> None:
            if self.left == 0:
                queue.put_nowait(square(2))
            super()._append(line)

    async with opened(path, Queueing) as checkpoint:
        checkpoint.left = 2
        with pytest.raises(CheckpointError, match="No space left"):
            await run(session, items_of(queue), checkpoint=checkpoint)
    assert submitted_inputs(simulator) == Counter(["1"])


async def test_leaving_twice_waits_for_the_reading_to_end(simulator: Simulator, session: TruebitSession) -> None:
    ended = False

    async def tasks() -> AsyncIterator[FunctionTask]:
        nonlocal ended
        try:
            yield square(1)
            await asyncio.sleep(1000)
        finally:
            while not ended:
                try:
                    await asyncio.sleep(10)
                    ended = True
                except asyncio.CancelledError:  # such as a clean-up that must not be interrupted
                    pass

    task = asyncio.create_task(collect(session.functions.run_many(tasks()), []))
    await asyncio.sleep(5)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(1)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


@pytest.mark.parametrize(
    ("moment", "error"), [("sent", SubmissionUncertainError), ("not sent", errors.TransportError), ("accepted", None)]
)
async def test_a_submission_that_is_cancelled_from_outside_has_an_outcome(
    simulator: Simulator, moment: str, error: type[Exception] | None
) -> None:
    def cancel(event: object = None) -> None:
        if event is None or isinstance(event, Submitted):
            for task in asyncio.all_tasks():
                if getattr(task.get_coro(), "__qualname__", "") == "TaskBatch._submit":
                    task.cancel()

    if moment == "sent":
        simulator.script_submissions(Reply.hang())
    elif moment == "not sent":
        simulator.script_submissions(Reply.error(429, retry_after=5))
    listeners = [cancel] if moment == "accepted" else []
    # With a request_timeout beyond the deadline, the scheduler makes a task for the request.
    policy = attrs.evolve(POLICY, request_timeout=100)
    async with TruebitSession(simulator.url, api_key=KEY, policy=policy, listeners=listeners) as session:
        running = asyncio.create_task(run(session, [square(3)]))
        if moment != "accepted":
            await asyncio.sleep(1)
            cancel()
        outcomes = await running
    assert (type(outcomes[0].error) if error else outcomes[0].output) == (error or "9")
    assert submitted_inputs(simulator) == Counter(["3"])


async def test_without_a_key_nothing_is_sent(simulator: Simulator) -> None:
    async with TruebitSession(simulator.url, policy=POLICY) as session:
        with pytest.raises(MissingApiKeyError):
            await run(session, [square(1)])
    assert not simulator.requests


async def test_a_strategy_that_raises_ends_the_run(simulator: Simulator, session: TruebitSession) -> None:
    def broken(_: object) -> float:
        raise LookupError

    with pytest.raises(LookupError):
        await run(session, [square(1)], policy=PollPolicy(wait=broken))
    simulator.script_submissions(Reply.error(429))
    with pytest.raises(LookupError):
        await run(session, [square(1)], policy=PollPolicy(wait=broken))


@pytest.mark.parametrize(
    ("tasks", "error", "text"),
    [
        (["a", "b"], TypeError, "must be of class FunctionTask; the one at index 0 is a str"),
        ([square(1, "a"), square(2, "a")], ValueError, "two tasks have the tag 'a'; the second is at index 1"),
    ],
)
async def test_wrong_tasks(session: TruebitSession, tasks: list[Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        await run(session, tasks)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tasks": "abc"}, TypeError),
        ({"tasks": 5}, TypeError),
        ({"max_submissions": 0}, ValueError),
        ({"max_pending": 0}, ValueError),
        ({"deadline": 0}, ValueError),
        ({"policy": 5}, TypeError),
        ({"checkpoint": "results.jsonl"}, TypeError),
    ],
)
async def test_wrong_arguments(session: TruebitSession, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        session.functions.run_many(**{"tasks": [], **options})


async def test_a_checkpoint_of_another_kind(session: TruebitSession, path: Path) -> None:
    async with opened(path, kind="api") as checkpoint:
        with pytest.raises(CheckpointError, match="of kind 'api'"):
            session.functions.run_many([], checkpoint=checkpoint)


async def test_it_stops_while_the_next_task_is_long_in_coming(simulator: Simulator, session: TruebitSession) -> None:
    simulator.script_submissions(Reply.error(401))
    closed = False

    async def tasks() -> AsyncIterator[FunctionTask]:
        nonlocal closed
        try:
            yield square(1)
            await asyncio.sleep(1000)
        finally:
            closed = True

    started = asyncio.get_running_loop().time()
    with pytest.raises(errors.AuthenticationError):
        await run(session, tasks())
    assert asyncio.get_running_loop().time() - started < 5
    assert closed


async def test_leaving_while_the_next_task_is_long_in_coming(session: TruebitSession) -> None:
    async def tasks() -> AsyncIterator[FunctionTask]:
        yield square(1)
        await asyncio.sleep(1000)

    async with aclosing(session.functions.run_many(tasks())) as outcomes:
        assert (await anext(outcomes)).succeeded
    assert asyncio.get_running_loop().time() < 10


# max_submissions


async def test_no_more_is_submitted_than_may_be_spent(simulator: Simulator, session: TruebitSession) -> None:
    outcomes = await run(session, map(square, range(10)), max_submissions=3)
    assert sum(outcome.succeeded for outcome in outcomes.values()) == 3
    limited = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    assert [type(error) for error in limited] == [SubmissionLimitError] * 7
    assert limited[0].kind == "function"
    assert len(submitted_inputs(simulator)) == 3


async def test_what_was_refused_is_not_spent_and_what_is_uncertain_is(
    simulator: Simulator, session: TruebitSession
) -> None:
    simulator.script_submissions(Reply.error(400), Reply.reset(), Reply.error(400))
    outcomes = await run(session, map(square, range(10)), max_submissions=2)
    assert sum(outcome.succeeded for outcome in outcomes.values()) == 1
    assert len(submitted_inputs(simulator)) == 4


# Resuming


async def test_a_finished_run_has_nothing_to_do(simulator: Simulator, session: TruebitSession, path: Path) -> None:
    for expected in (5, 0):
        async with opened(path, resume=True) as checkpoint:
            outcomes = await run(session, map(square, range(5)), checkpoint=checkpoint)
        assert len(outcomes) == expected
    assert submitted_inputs(simulator) == Counter(map(str, range(5)))
    records: list[Record[Any]] = list(read_checkpoint(path))
    assert {record.tag: record.output for record in records} == {n: str(n * n) for n in range(5)}


async def test_a_run_that_was_left_goes_on(simulator: Simulator, session: TruebitSession, path: Path) -> None:
    done: Counter[str | int | None] = Counter()
    uncertain: set[str | int | None] = set()
    rounds = 0
    while len(done) + len(uncertain) < 40 and rounds < 40:
        rounds += 1
        uncertain, before = set(), done.total()
        async with opened(path, resume=True) as checkpoint:
            stream = session.functions.run_many(map(square, range(40)), checkpoint=checkpoint, max_pending=30)
            async with aclosing(stream) as outcomes:
                async for outcome in outcomes:
                    (done.update if outcome.succeeded else uncertain.update)([outcome.tag])
                    if done.total() == before + 4:
                        break
    assert rounds > 3
    assert set(done) | uncertain == set(range(40))
    assert set(done.values()) == {1}
    assert set(submitted_inputs(simulator).values()) == {1}


async def test_what_was_accepted_is_waited_for_and_not_submitted_again(
    simulator: Simulator, session: TruebitSession, path: Path
) -> None:
    simulator.deploy_function("ns", "square", lambda text: text * 2, running_for=100)
    async with opened(path) as checkpoint:
        outcomes = await run(session, [square(7, "seven")], checkpoint=checkpoint, deadline=5)
    assert isinstance(outcomes["seven"].error, errors.VerificationTimeoutError)
    async with opened(path, resume=True) as checkpoint:
        assert checkpoint.submissions["seven"].state is SubmissionState.ACCEPTED
        assert checkpoint.submissions["seven"].execution_id == outcomes["seven"].execution_id
        outcomes = await run(session, [square(7, "seven")], checkpoint=checkpoint, deadline=200)
    assert outcomes["seven"].output == "77"
    assert submitted_inputs(simulator) == Counter(["7"])


@pytest.mark.parametrize("reply", [Reply.reset(), Reply.hang(), Reply.error(500), Reply.raw(200, b"{}")])
async def test_what_is_uncertain_stays_uncertain(
    simulator: Simulator, session: TruebitSession, path: Path, reply: Reply
) -> None:
    simulator.script_submissions(reply)
    for _ in range(3):
        async with opened(path, resume=True) as checkpoint:
            outcomes = await run(session, [square(1)], checkpoint=checkpoint)
        assert outcomes[0].error is not None
        assert outcomes[0].error.may_have_run
        assert outcomes[0].execution_id == ""
    assert isinstance(outcomes[0].error, SubmissionUncertainError)
    assert "submit it again only if it may run twice" in str(outcomes[0].error)
    assert submitted_inputs(simulator) == Counter(["1"])
    async with opened(path, resume=True) as checkpoint:
        assert checkpoint.submissions[0].state is SubmissionState.SENT
        assert checkpoint.final == {}


@pytest.mark.parametrize("status", [400, 401, 402, 429])
async def test_what_was_refused_is_submitted_again(
    simulator: Simulator, session: TruebitSession, path: Path, status: int
) -> None:
    simulator.script_submissions(*[Reply.error(status)] * (3 if status == 429 else 1))
    async with opened(path, resume=True) as checkpoint:
        stream = session.functions.run_many([square(1)], checkpoint=checkpoint)
        outcome = await anext(stream)
        assert isinstance(outcome.error, errors.ApiError)
        await stream.aclose()
    async with opened(path, resume=True) as checkpoint:
        assert checkpoint.submissions[0].state is SubmissionState.REFUSED
        assert (await run(session, [square(1)], checkpoint=checkpoint))[0].output == "1"


async def test_what_was_never_sent_is_not_uncertain(path: Path) -> None:
    async with (
        TruebitSession("http://127.0.0.1:1", api_key=KEY, policy=POLICY) as session,
        opened(path) as checkpoint,
    ):
        outcomes = await run(session, [square(1)], checkpoint=checkpoint)
    assert isinstance(outcomes[0].error, errors.TransportError)
    async with opened(path, resume=True) as checkpoint:
        assert checkpoint.submissions == {}


@pytest.mark.parametrize(
    "tasks",
    [
        [square(2), square(1)],
        [attrs.evolve(square(1), required_solutions=3)],
        [attrs.evolve(square(1), namespace="other")],
    ],
)
async def test_other_tasks_than_before_are_an_error(
    simulator: Simulator, session: TruebitSession, path: Path, tasks: list[FunctionTask]
) -> None:
    async with opened(path) as checkpoint:
        await run(session, [square(1), square(2)], checkpoint=checkpoint)
    async with opened(path, resume=True) as checkpoint:
        with pytest.raises(CheckpointError, match="submission of another task with the tag 0; resume with the same"):
            await run(session, tasks, checkpoint=checkpoint)
    assert len(submitted_inputs(simulator)) == 2


async def test_tags_pair_tasks_that_come_in_another_order(
    simulator: Simulator, session: TruebitSession, path: Path
) -> None:
    tasks = [square(number, f"task-{number}") for number in range(6)]
    async with opened(path) as checkpoint:
        await run(session, tasks[:4], checkpoint=checkpoint)
    async with opened(path, resume=True) as checkpoint:
        outcomes = await run(session, reversed(tasks), checkpoint=checkpoint)
    assert sorted(map(str, outcomes)) == ["task-4", "task-5"]


async def test_the_digest_of_a_request_stays_what_it_is(session: TruebitSession, path: Path) -> None:
    """Another one would refuse the checkpoints of earlier versions."""
    async with opened(path) as checkpoint:
        await run(session, [square(1)], checkpoint=checkpoint)
    async with opened(path, resume=True) as checkpoint:
        assert checkpoint.submissions[0].digest == "5713efcd266cafea2eca3b8efd875815"


class FullDisk(Checkpoint[Any]):
    """A checkpoint that can be written a number of times."""

    left = 0

    def _append(self, line: bytes) -> None:
        if self.left == 0:
            raise CheckpointError(None, self.path, "a line could not be written: No space left on device")
        self.left -= 1
        super()._append(line)


async def test_a_second_run_with_the_same_open_file_submits_nothing_again(
    simulator: Simulator, session: TruebitSession, path: Path
) -> None:
    simulator.script_submissions(Reply.reset())
    async with opened(path) as checkpoint:
        first = await run(session, map(square, range(3)), checkpoint=checkpoint)
        second = await run(session, map(square, range(3)), checkpoint=checkpoint)
    assert sorted(outcome.succeeded for outcome in first.values()) == [False, True, True]
    assert [type(outcome.error) for outcome in second.values()] == [SubmissionUncertainError]
    assert set(submitted_inputs(simulator).values()) == {1}


async def test_two_runs_at_once_do_not_use_one_file(simulator: Simulator, session: TruebitSession, path: Path) -> None:
    async with opened(path) as checkpoint:
        async with aclosing(session.functions.run_many(map(square, range(3)), checkpoint=checkpoint)) as outcomes:
            await anext(outcomes)
            with pytest.raises(CheckpointError, match="another run_many"):
                await run(session, map(square, range(3)), checkpoint=checkpoint)
        rest = await run(session, map(square, range(3)), checkpoint=checkpoint)
    assert len(rest) == 2
    assert set(submitted_inputs(simulator).values()) == {1}


async def test_a_full_disk_ends_a_run_that_waits_for_room(session: TruebitSession, path: Path) -> None:
    async with opened(path, FullDisk) as checkpoint:
        with pytest.raises(CheckpointError, match="No space left"):
            await run(session, map(square, range(5)), checkpoint=checkpoint, max_pending=1)


@pytest.mark.parametrize("writes", [0, 1, 2])
async def test_a_full_disk_ends_the_run_and_submits_nothing_unrecorded(
    simulator: Simulator, session: TruebitSession, path: Path, writes: int
) -> None:
    async with opened(path, FullDisk) as checkpoint:
        checkpoint.left = writes
        outcomes: list[Outcome[Any]] = []
        with pytest.raises(CheckpointError, match="No space left"):
            await collect(session.functions.run_many([square(1)], checkpoint=checkpoint), outcomes)
    assert [outcome.output for outcome in outcomes] == ["1"] * min(writes, 1)
    assert sum(submitted_inputs(simulator).values()) == min(writes, 1)
    async with opened(path, resume=True) as resumed:
        states = [submission.state for submission in resumed.submissions.values()]
    assert states == [[], [SubmissionState.SENT], [SubmissionState.ACCEPTED]][writes]


async def test_a_full_disk_loses_no_execution(simulator: Simulator, session: TruebitSession, path: Path) -> None:
    async with opened(path, FullDisk) as checkpoint:
        checkpoint.left = 23
        outcomes: list[Outcome[Any]] = []
        with pytest.raises(CheckpointError, match="No space left"):
            await collect(session.functions.run_many(map(square, range(100)), checkpoint=checkpoint), outcomes)
    assert {outcome.execution_id for outcome in outcomes} == set(ids_of(simulator.requests))
    assert len(outcomes) == sum(submitted_inputs(simulator).values()) > 5


async def test_a_disk_that_was_full_for_a_while(simulator: Simulator, session: TruebitSession, path: Path) -> None:
    async with opened(path, FullDisk) as checkpoint:
        checkpoint.left = 1
        outcomes: list[Outcome[Any]] = []
        with pytest.raises(CheckpointError, match="No space left"):
            async for outcome in session.functions.run_many([square(1)], checkpoint=checkpoint):
                outcomes.append(outcome)
                checkpoint.left = 1
                checkpoint.write(outcome)
        assert checkpoint.submissions[0].state is SubmissionState.ACCEPTED
    async with opened(path, resume=True) as resumed:
        assert resumed.submissions[0].execution_id == outcomes[0].execution_id
        assert await run(session, [square(1)], checkpoint=resumed) == {}
    assert sum(submitted_inputs(simulator).values()) == 1


async def test_a_refusal_that_cannot_be_written_has_an_outcome(
    simulator: Simulator, session: TruebitSession, path: Path
) -> None:
    simulator.script_submissions(Reply.error(400))
    async with opened(path, FullDisk) as checkpoint:
        checkpoint.left = 1
        outcomes: list[Outcome[Any]] = []
        with pytest.raises(CheckpointError, match="No space left"):
            await collect(session.functions.run_many([square(1)], checkpoint=checkpoint), outcomes)
    assert [type(outcome.error) for outcome in outcomes] == [errors.BadRequestError]


async def test_a_tag_is_in_the_file_and_an_input_is_not(session: TruebitSession, path: Path) -> None:
    task = FunctionTask("ns", "square", "12345678", total_solutions=1, required_solutions=1, tag='"}} \n\x00ü')
    async with opened(path) as checkpoint:
        await run(session, [task], checkpoint=checkpoint)
    content = await asyncio.to_thread(path.read_bytes)
    assert b"12345678" not in content
    assert content.count(b"\n") == 3
    (record,) = read_checkpoint(path)
    assert record.tag == task.tag


def ids_of(requests: Iterable[Any]) -> list[str]:
    return [request.execution_id for request in requests if request.method == "GET"]


async def test_the_id_is_in_the_file_before_the_first_poll(
    simulator: Simulator, session: TruebitSession, path: Path
) -> None:
    seen: list[bool] = []

    class Watching(Checkpoint[Any]):
        def _append(self, line: bytes) -> None:
            seen.append(not ids_of(simulator.requests))
            super()._append(line)

    async with opened(path, Watching) as checkpoint:
        await run(session, [square(1)], checkpoint=checkpoint)
    assert seen == [True, True, False]
