"""Submissions: none is sent twice, and every failure says whether the task may run all the same."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import attrs
import pytest
from tenacity import wait_fixed

from tests.sockets.raw_server import RawRequest, raw_server, response
from truebit_async import (
    ApiTask,
    FunctionTask,
    MissingApiKeyError,
    PollEvent,
    PollPolicy,
    SubmissionUncertainError,
    Submitted,
    TruebitSession,
    VerificationTimeoutError,
    _submission,
    errors,
)
from truebit_async._protocol.body import LARGE_BODY
from truebit_async._protocol.submission import read_submission
from truebit_async.testing import Reply, Simulator

pytestmark = pytest.mark.virtual_time

KEY = "key-5eC4e7"
SQUARE = FunctionTask("ns", "square", "7", total_solutions=3, required_solutions=2)
ORDER = ApiTask("ns", "order", path="/order/{id}", method="GET", params={"id": 2}, execution_timeout=10)
POLICY = PollPolicy(wait=wait_fixed(1), deadline=20, request_timeout=2, max_consecutive_errors=3)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        simulator.deploy_function("ns", "square", lambda text: str(int(text) ** 2), polls=1)
        simulator.deploy_api("ns", "order", lambda call: {"order": call["params"]["id"], "path": call["path"]})
        yield simulator


@pytest.fixture
def events() -> list[PollEvent]:
    return []


@pytest.fixture
async def session(simulator: Simulator, events: list[PollEvent]) -> AsyncIterator[TruebitSession]:
    async with TruebitSession(simulator.url, api_key=KEY, policy=POLICY, listeners=[events.append]) as session:
        yield session


def posts(simulator: Simulator) -> int:
    return sum(request.method == "POST" for request in simulator.requests)


async def test_submit_and_wait(simulator: Simulator, session: TruebitSession, events: list[PollEvent]) -> None:
    execution_id = await session.functions.submit(SQUARE)
    assert [type(event) for event in events] == [Submitted]
    assert (events[0].execution_id, events[0].kind) == (execution_id, "function")
    assert str(events[0]).startswith(f"execution '{execution_id}': submitted (function task, took 0.")
    assert (await session.wait_for_verification(execution_id)).output == "49"
    assert await session.apis.run(ORDER) is not None
    assert posts(simulator) == 2


async def test_exactly_the_documented_json_is_sent(simulator: Simulator, session: TruebitSession) -> None:
    await session.functions.submit(SQUARE)
    full = FunctionTask(
        "ns",
        "square",
        "7",
        total_solutions=2**32 - 1,
        required_solutions=1,
        label="latest",
        version=3,
        gas_limit=10**12,
        execution_timeout=1.5,
    )
    await session.functions.submit(full)
    await session.apis.submit(ORDER)
    bodies = [json.loads(request.body) for request in simulator.requests]
    stamps = [body.pop("taskRequesterTimestamp") for body in bodies[:2]]
    assert all(isinstance(stamp, int) and abs(stamp - time.time()) < 60 for stamp in stamps)
    common = {"namespace": "ns", "taskName": "square", "input": "7", "async": True}
    assert bodies[0] == {**common, "totalSolutions": 3, "requiredSolutions": 2}
    assert bodies[1] == {
        **common,
        "totalSolutions": 2**32 - 1,
        "requiredSolutions": 1,
        "label": "latest",
        "version": 3,
        "gasLimit": "1000000000000",
        "executionTimeout": 1500,
    }
    assert bodies[2] == {
        "namespace": "ns",
        "taskName": "order",
        "input": {"path": "/order/{id}", "method": "GET", "params": {"id": 2}},
        "executionTimeout": 10_000,
        "async": True,
    }
    for request in simulator.requests:
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["x-api-key"] == KEY


@pytest.mark.parametrize(
    ("status", "error", "may_have_run"),
    [
        (400, errors.BadRequestError, False),
        (401, errors.AuthenticationError, False),
        (402, errors.PaymentRequiredError, False),
        (403, errors.AuthenticationError, False),
        (404, errors.ExecutionNotFoundError, False),
        (408, errors.ApiError, True),
        (500, errors.ServerError, True),
        (503, errors.ServerError, True),
    ],
)
async def test_a_refusal_and_a_failure_of_the_server_are_not_repeated(
    simulator: Simulator, session: TruebitSession, status: int, error: type[errors.ApiError], may_have_run: bool
) -> None:
    simulator.script_submissions(Reply.error(status))
    with pytest.raises(error) as caught:
        await session.functions.submit(SQUARE)
    assert (caught.value.may_have_run, caught.value.is_transient, caught.value.kind) == (
        may_have_run,
        False,
        "function",
    )
    assert posts(simulator) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply.raw(200, b"{}"),
        Reply.raw(200, b"[]"),
        Reply.raw(200, b"nonsense"),
        Reply.raw(200, b'{"executionId": ""}'),
        Reply.raw(200, b'{"executionId": 7}'),
        Reply.raw(204),
        Reply.redirect("https://elsewhere.example/"),
    ],
)
async def test_a_response_without_an_id_is_unexpected(
    simulator: Simulator, session: TruebitSession, reply: Reply
) -> None:
    simulator.script_submissions(reply)
    with pytest.raises(errors.UnexpectedResponseError) as caught:
        await session.functions.submit(SQUARE)
    assert caught.value.may_have_run
    assert posts(simulator) == 1


@pytest.mark.parametrize("reply", [Reply.reset(), Reply.hang(), Reply.cut_off(), Reply.garbage()])
async def test_without_a_response_nobody_knows(simulator: Simulator, session: TruebitSession, reply: Reply) -> None:
    simulator.script_submissions(reply)
    with pytest.raises(SubmissionUncertainError, match="may run, and be billed") as caught:
        await session.functions.submit(SQUARE)
    assert (caught.value.may_have_run, caught.value.is_transient) == (True, False)
    assert posts(simulator) == 1


async def test_it_waits_as_long_as_a_429_asks_to(simulator: Simulator, session: TruebitSession) -> None:
    simulator.script_submissions(Reply.error(429, retry_after=7), Reply.error(429))
    started = asyncio.get_running_loop().time()
    assert await session.functions.submit(SQUARE)
    assert asyncio.get_running_loop().time() - started == pytest.approx(8, abs=0.2)
    assert posts(simulator) == 3


async def test_what_a_429_refused_is_not_uncertain(simulator: Simulator, session: TruebitSession) -> None:
    simulator.script_submissions(Reply.error(429, retry_after=5))
    with pytest.raises(errors.RateLimitedError) as caught:
        await session.functions.run(SQUARE, deadline=3)
    assert not caught.value.may_have_run
    simulator.script_submissions(Reply.error(429, retry_after=5))
    await asyncio.sleep(5)
    task = asyncio.create_task(session.functions.submit(SQUARE))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task
    assert not hasattr(cancelled.value, "__notes__")
    assert posts(simulator) == 2


async def test_a_refused_connection_is_tried_again(events: list[PollEvent]) -> None:
    async with TruebitSession("http://127.0.0.1:1", api_key=KEY, policy=POLICY, listeners=[events.append]) as session:
        started = asyncio.get_running_loop().time()
        with pytest.raises(errors.TransportError) as caught:
            await session.functions.submit(SQUARE)
        assert asyncio.get_running_loop().time() - started == pytest.approx(2, abs=0.2)
        with pytest.raises(errors.TransportError) as cut_off:
            await session.functions.run(SQUARE, deadline=1.5)
    assert not isinstance(caught.value, SubmissionUncertainError)
    assert not caught.value.may_have_run
    assert "gave up after 3 transient failures" in caught.value.__notes__[0]
    assert not isinstance(cut_off.value, SubmissionUncertainError)
    assert events == []


async def test_a_deadline_that_passes_between_two_tries_ends_with_the_last_failure() -> None:
    patient = PollPolicy(wait=wait_fixed(1), deadline=1.5, request_timeout=1, max_consecutive_errors=10)
    async with TruebitSession("http://127.0.0.1:1", api_key=KEY, policy=patient) as session:
        with pytest.raises(errors.TransportError, match="ClientConnectorError") as caught:
            await session.functions.submit(SQUARE)
    assert not caught.value.may_have_run


async def test_a_deadline_that_passes_before_its_turn_leaves_nothing_uncertain(simulator: Simulator) -> None:
    simulator.script("hangs", Reply.hang())
    async with TruebitSession(simulator.url, api_key=KEY, policy=POLICY, max_concurrency=1) as session:
        hog = asyncio.create_task(session.wait_for_verification("hangs", policy=PollPolicy(request_timeout=30)))
        await asyncio.sleep(0.1)
        with pytest.raises(errors.TransportError, match="deadline of 3 s passed before it was its turn") as caught:
            await session.functions.run(SQUARE, deadline=3)
        hog.cancel()
    assert not isinstance(caught.value, SubmissionUncertainError)
    assert posts(simulator) == 0


@pytest.mark.parametrize("deadline", [1, 20])
async def test_cancelling_at_the_moment_of_the_response_does_not_lose_the_id(
    simulator: Simulator, deadline: float
) -> None:
    ids: list[str] = []

    def cancel(event: PollEvent) -> None:
        if isinstance(event, Submitted):
            ids.append(event.execution_id)
            task.cancel()

    async def submit() -> str:
        execution_id = await session.functions.submit(SQUARE)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            error.add_note(execution_id)
            raise
        return execution_id

    policy = attrs.evolve(POLICY, deadline=deadline)
    async with TruebitSession(simulator.url, api_key=KEY, policy=policy, listeners=[cancel]) as session:
        task = asyncio.create_task(submit())
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert ids[0] in caught.value.__notes__[0]


async def test_with_a_client_session_of_the_user(simulator: Simulator) -> None:
    simulator.script_submissions(Reply.reset())
    async with (
        aiohttp.ClientSession(headers={"X-Api-Key": KEY}) as http,
        TruebitSession(simulator.url, http=http, policy=POLICY) as session,
    ):
        with pytest.raises(SubmissionUncertainError):
            await session.functions.submit(SQUARE)
        assert (await session.functions.run(SQUARE)).output == "49"
    assert posts(simulator) == 2


async def test_a_deadline_that_passes_while_it_is_sent_leaves_it_uncertain(
    simulator: Simulator, session: TruebitSession
) -> None:
    simulator.script_submissions(Reply.hang())
    with pytest.raises(SubmissionUncertainError, match="deadline of 1 s passed"):
        await session.functions.run(SQUARE, deadline=1)
    assert posts(simulator) == 1


async def test_the_deadline_covers_the_submission_and_the_wait(
    simulator: Simulator, session: TruebitSession, events: list[PollEvent]
) -> None:
    simulator.deploy_function("ns", "square", str, running_for=100)
    simulator.script_submissions(Reply.error(429, retry_after=3))
    started = asyncio.get_running_loop().time()
    with pytest.raises(VerificationTimeoutError, match="deadline of 5 s") as caught:
        await session.functions.run(SQUARE, deadline=5)
    assert asyncio.get_running_loop().time() - started == pytest.approx(5, abs=0.1)
    (submitted,) = (event for event in events if isinstance(event, Submitted))
    assert caught.value.execution_id == submitted.execution_id


async def test_without_a_key_nothing_is_sent(simulator: Simulator) -> None:
    async with TruebitSession(simulator.url) as session:
        with pytest.raises(MissingApiKeyError, match="TRUEBIT_API_KEY"):
            await session.functions.submit(SQUARE)
    assert not simulator.requests


@pytest.mark.parametrize("is_async", [True, False])
async def test_the_id_is_handed_out_before_the_first_poll(
    simulator: Simulator, session: TruebitSession, is_async: bool
) -> None:
    handed_out: list[tuple[str, int]] = []

    def note(execution_id: str) -> None:
        handed_out.append((execution_id, len(simulator.requests)))

    async def note_slowly(execution_id: str) -> None:
        await asyncio.sleep(5)
        note(execution_id)

    execution = await session.functions.run(SQUARE, on_submitted=note_slowly if is_async else note)
    assert handed_out == [(execution.execution_id, 1)]


async def test_an_error_in_on_submitted_keeps_the_id(simulator: Simulator, session: TruebitSession) -> None:
    ids: list[str] = []

    def note(execution_id: str) -> None:
        ids.append(execution_id)
        raise LookupError

    with pytest.raises(LookupError) as caught:
        await session.functions.run(SQUARE, on_submitted=note)
    assert repr(ids[0]) in caught.value.__notes__[0]
    assert len(simulator.requests) == 1


async def test_a_404_right_after_the_submission_says_not_yet(simulator: Simulator, session: TruebitSession) -> None:
    def not_yet(execution_id: str) -> None:
        not_found = Reply.error(404)
        simulator.script(execution_id, not_found, not_found, not_found, not_found, Reply.success("49"))

    assert (await session.functions.run(SQUARE, on_submitted=not_yet)).output == "49"

    def never(execution_id: str) -> None:
        simulator.script(execution_id, Reply.error(404))

    started = asyncio.get_running_loop().time()
    with pytest.raises(errors.ExecutionNotFoundError):
        await session.functions.run(SQUARE, on_submitted=never)
    assert 4.9 < asyncio.get_running_loop().time() - started < 6.1


async def test_cancelling_a_run_tells_the_id(
    simulator: Simulator, session: TruebitSession, events: list[PollEvent]
) -> None:
    simulator.deploy_function("ns", "square", str, running_for=100)
    task = asyncio.create_task(session.functions.run(SQUARE))
    await asyncio.sleep(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert repr(events[0].execution_id) in caught.value.__notes__[0]


async def test_cancelling_a_submission_under_way_says_that_it_may_have_arrived(
    simulator: Simulator, session: TruebitSession
) -> None:
    simulator.script_submissions(Reply.hang())
    task = asyncio.create_task(session.functions.submit(SQUARE))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert "may have arrived" in caught.value.__notes__[0]


async def test_closing_the_session_says_so_too(simulator: Simulator) -> None:
    simulator.script_submissions(Reply.hang())
    session = TruebitSession(simulator.url, api_key=KEY, policy=POLICY)
    task = asyncio.create_task(session.functions.submit(SQUARE))
    await asyncio.sleep(1)
    await session.close()
    with pytest.raises(errors.SessionClosedError) as caught:
        await task
    assert caught.value.may_have_run
    with pytest.raises(errors.SessionClosedError) as late:
        await session.functions.submit(SQUARE)
    assert not late.value.may_have_run


@pytest.mark.parametrize("end", ["deadline", "close"])
async def test_a_response_that_comes_with_the_end_of_the_waiting_is_not_lost(simulator: Simulator, end: str) -> None:
    closing: list[asyncio.Task[None]] = []

    def end_now(event: PollEvent) -> None:
        if isinstance(event, Submitted) and end == "close":
            closing.append(asyncio.create_task(owned.close()))
        elif isinstance(event, Submitted):
            loop = asyncio.get_running_loop()
            loop._virtual_selector.now += 10  # type: ignore[attr-defined]
            loop.call_soon(owned._poller._wake)  # the timer fires before the end of the request is told

    policy = attrs.evolve(POLICY, deadline=5, request_timeout=30)  # so that the request has a task of its own
    async with TruebitSession(simulator.url, api_key=KEY, policy=policy, listeners=[end_now]) as owned:
        assert await owned.functions.submit(SQUARE)
        await asyncio.gather(*closing)


async def test_closing_the_session_before_its_turn(simulator: Simulator) -> None:
    simulator.script("hangs", Reply.hang())
    session = TruebitSession(simulator.url, api_key=KEY, policy=POLICY, max_concurrency=1)
    tasks = [
        asyncio.create_task(session.wait_for_verification("hangs")),
        asyncio.create_task(session.functions.submit(SQUARE)),
    ]
    await asyncio.sleep(0.1)
    await session.close()
    _, error = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(error, errors.SessionClosedError)
    assert (error.execution_id, error.may_have_run) == (None, False)
    assert str(error).startswith("submission: the session is closed. Open a new TruebitSession")


@pytest.mark.parametrize(
    "reply", [Reply.error(500), Reply.error(408), Reply.redirect("/"), Reply.raw(200, b"{}"), Reply.reset()]
)
async def test_every_error_of_a_task_that_may_run_says_so(
    simulator: Simulator, session: TruebitSession, reply: Reply
) -> None:
    simulator.script_submissions(reply)
    with pytest.raises(errors.TruebitError) as caught:
        await session.functions.submit(SQUARE)
    said = "The task may run, and be billed; submit it again only if it may run twice."
    assert said in str(caught.value)
    assert not (caught.value.hint and caught.value.hint in str(caught.value))


@pytest.mark.parametrize("status", [200, 204, 302, 400, 500])
async def test_no_error_quotes_what_a_server_repeats(
    simulator: Simulator, session: TruebitSession, status: int
) -> None:
    simulator.script_submissions(Reply.raw(status, json.dumps({"input": "s3cret"}).encode()))
    with pytest.raises(errors.TruebitError) as caught:
        await session.functions.submit(attrs.evolve(SQUARE, input="s3cret"))
    assert "s3cret" not in f"{caught.value} {caught.value!r}"


async def test_tasks_that_share_a_context_are_each_sent_once(simulator: Simulator, session: TruebitSession) -> None:
    simulator.script_submissions(*[Reply.reset()] * 10)
    context = contextvars.copy_context()
    submissions = [asyncio.create_task(session.functions.submit(SQUARE), context=context) for _ in range(3)]
    ends = await asyncio.gather(*submissions, return_exceptions=True)
    assert [type(end) for end in ends] == [SubmissionUncertainError] * 3
    assert posts(simulator) == 3


async def test_a_large_response_is_read_beside_the_loop(
    simulator: Simulator, session: TruebitSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def read(*arguments: Any) -> str:
        threads.append(threading.get_ident())
        return read_submission(*arguments)

    monkeypatch.setattr(_submission, "read_submission", read)
    large = {"executionId": "e", "clearTextSolution": {"output": "x" * LARGE_BODY}}
    simulator.script_submissions(Reply.raw(200, json.dumps(large).encode()))
    simulator.add("e", output="49")
    assert (await session.functions.run(SQUARE)).output == "49"
    await session.functions.submit(SQUARE)
    main = threading.get_ident()
    assert [thread == main for thread in threads] == [False, True]


async def test_the_limit_holds_while_a_thread_for_a_large_response_is_long_in_coming(simulator: Simulator) -> None:
    policy = attrs.evolve(POLICY, request_timeout=0.3)
    release = threading.Event()
    for _ in range(100):  # more than the default executor has threads
        asyncio.get_running_loop().run_in_executor(None, release.wait)
    simulator.script_submissions(Reply.raw(200, b'{"executionId": "e"}' + b" " * LARGE_BODY))
    try:
        async with TruebitSession(simulator.url, api_key=KEY, policy=policy) as session:
            with pytest.raises(SubmissionUncertainError, match=r"was not read within 0\.3 s") as caught:
                await session.functions.submit(SQUARE)
        assert caught.value.may_have_run
    finally:
        release.set()
    assert posts(simulator) == 1


@pytest.mark.parametrize("max_errors", [1, 3])
async def test_a_request_that_is_cancelled_from_outside_is_not_sent_again(
    simulator: Simulator, max_errors: int
) -> None:
    simulator.script_submissions(Reply.hang())
    # With a request_timeout beyond the deadline, the scheduler makes a task for the request.
    policy = attrs.evolve(POLICY, request_timeout=30, max_consecutive_errors=max_errors)
    async with TruebitSession(simulator.url, api_key=KEY, policy=policy) as session:
        submission = asyncio.create_task(session.functions.submit(SQUARE))
        while not posts(simulator):
            await asyncio.sleep(0.01)
        (request,) = (task for task in asyncio.all_tasks() if "Submission._send" in repr(task.get_coro()))
        request.cancel()
        with pytest.raises(SubmissionUncertainError, match="cancelled from outside") as caught:
            await submission
    assert caught.value.may_have_run
    assert posts(simulator) == 1


async def test_submissions_stay_within_the_caps(simulator: Simulator) -> None:
    async with TruebitSession(simulator.url, api_key=KEY, policy=POLICY, max_rate=2) as session:
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(session.functions.submit(SQUARE) for _ in range(10)))
        assert asyncio.get_running_loop().time() - started == pytest.approx(9 / (2 * 0.98), rel=0.05)


async def test_a_kept_alive_connection_is_not_used() -> None:
    connections: list[int] = []

    def answer(request: RawRequest) -> None:
        connections.append(request.connection)
        request.send(response(b'{"executionId": "id", "verificationStatus": "Running"}'))

    async with (
        raw_server(answer) as server,
        TruebitSession(server.url, api_key=KEY, policy=POLICY) as session,
    ):
        await session.get_execution_status("id")
        await session.functions.submit(SQUARE)
        await session.functions.submit(SQUARE)
    assert connections == [1, 2, 3]


async def test_the_wrong_kind_of_task_is_refused(session: TruebitSession) -> None:
    with pytest.raises(TypeError, match="task must be a FunctionTask, not ApiTask"):
        await session.functions.submit(ORDER)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 30))])
async def test_whatever_fails_whenever_it_is_cancelled_no_task_is_sent_twice(seed: int) -> None:
    rng = random.Random(seed)
    faults = [Reply.reset(), Reply.hang(), Reply.cut_off(), Reply.garbage(), Reply.error(500), Reply.error(429)]
    async with Simulator() as simulator:
        simulator.deploy_function("ns", "square", str)
        replies = [rng.choice(faults) for _ in range(20)]
        simulator.script_submissions(*replies)
        async with TruebitSession(simulator.url, api_key=KEY, policy=POLICY, max_concurrency=3) as session:

            async def submit(number: int) -> str | None:
                task = FunctionTask("ns", "square", str(number), total_solutions=1, required_solutions=1)
                try:
                    async with asyncio.timeout(rng.choice([None, 0.001, 0.5, 3])):
                        return await session.functions.submit(task)
                except (TimeoutError, errors.TruebitError):
                    return None

            await asyncio.gather(*(submit(number) for number in range(30)))
    taken = Counter[str]()
    for request, reply in itertools.zip_longest(simulator.requests, replies):
        if request is not None and (reply is None or not reply.name.startswith("429")):
            taken[json.loads(request.body)["input"]] += 1
    assert len(taken) > 5
    assert max(taken.values()) == 1
