"""What the types of the public API allow and forbid. mypy reads this file; nothing runs it.

The second half misuses the API on purpose. mypy warns of every ``type: ignore`` that silences nothing, so a misuse that
stops being an error fails the check.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, assert_type

import aiohttp
from tenacity import RetryCallState, wait_chain, wait_exponential, wait_fixed, wait_random

from truebit_async import (
    AnyExecution,
    ApiError,
    ApiExecution,
    BackedOff,
    ClearTextSolution,
    Execution,
    ExecutionFailedError,
    ExecutionStatus,
    Finished,
    FunctionTask,
    Listener,
    Outcome,
    Paused,
    Polled,
    PollEvent,
    PollPolicy,
    RequestTimeoutError,
    Signature,
    Tasks,
    TruebitError,
    TruebitSession,
    VerificationStatus,
    VerificationTimeoutError,
    wait_for_verification,
)
from truebit_async.checkpoint import (
    Checkpoint,
    FinalState,
    Record,
    RecordedError,
    latest,
    outcome_as_json,
    read_checkpoint,
)
from truebit_async.policy import WaitStrategy
from truebit_async.testing import RecordedRequest, Reply, Simulator, VirtualTimeLoop


def slower_and_slower(state: RetryCallState) -> float:
    return float(state.attempt_number)


def listen(event: PollEvent) -> None:
    assert_type(event.execution_id, str)
    assert_type(event.log_level, int)
    if isinstance(event, Polled):
        assert_type(event.execution, AnyExecution[object] | None)
        assert_type(event.error, TruebitError | None)
    elif isinstance(event, BackedOff):
        assert_type((event.seconds, event.polls), tuple[float, int])
    elif isinstance(event, Paused):
        assert_type(event.error, TruebitError)
    elif isinstance(event, Finished):
        assert_type(event.outcome, Outcome[AnyExecution[object]])


async def arriving_ids() -> AsyncIterator[str]:
    yield "id"


# Uses that are right


def policies() -> None:
    PollPolicy()
    PollPolicy(wait=wait_fixed(2), deadline=None, request_timeout=5, max_consecutive_errors=3, not_found_grace=10)
    PollPolicy(wait=wait_fixed(3) + wait_random(0, 2), unknown_status="keep_waiting")
    PollPolicy(wait=wait_chain(wait_fixed(1), wait_exponential()), deadline=0.5, unknown_status="raise")
    PollPolicy(wait=slower_and_slower)
    policy = PollPolicy(wait=lambda state: state.attempt_number / 2)
    assert_type(policy.wait, WaitStrategy)
    assert_type(policy.deadline, float | None)
    assert_type(policy.request_timeout, float)
    assert_type(policy.max_consecutive_errors, int)
    assert_type(policy.not_found_grace, float)
    assert_type(policy.unknown_status, Literal["raise", "keep_waiting"])


async def sessions(http: aiohttp.ClientSession) -> None:
    TruebitSession("https://run.truebit.network", api_key=None, http=None, policy=None, max_rate=None, listeners=())
    TruebitSession(listeners=[lambda event: print(event)])  # noqa: PLW0108, T201  # a lambda has no annotations to help
    listener: Listener = listen
    async with TruebitSession(
        base_url="http://127.0.0.1:1",
        api_key="key",
        http=http,
        policy=PollPolicy(),
        max_concurrency=8,
        max_rate=2.5,
        max_response_bytes=2**20,
        listeners=[listener],
    ) as session:
        assert_type(session, TruebitSession)
        assert_type(await session.get_execution_status("id"), Execution)
        assert_type(await session.wait_for_verification("id"), Execution)
        await session.wait_for_verification("id", policy=PollPolicy(), deadline=1.5)
        await session.wait_for_verification("id", policy=None, deadline=60)
        await session.wait_for_verification("id", deadline=None)
        outcomes = session.wait_for_verifications(["id"], policy=None, deadline=None, max_pending=10)
        assert_type(outcomes, AsyncGenerator[Outcome[Execution], None])
        async for outcome in outcomes:
            assert_type(outcome, Outcome[Execution])
            assert_type((outcome.succeeded, outcome.output), tuple[bool, str])
        session.wait_for_verifications(arriving_ids(), policy=PollPolicy(), deadline=1.5)
        session.wait_for_verifications(name for name in ("a", "b"))
        session.wait_for_verifications({"id": 1})
        async for event in session.watch("id", policy=None, deadline=None):
            assert_type(event, PollEvent)
        assert_type(session.functions, Tasks[FunctionTask, Execution])
        assert_type(await session.functions.get_execution_status("id"), Execution)
        assert_type(await session.functions.wait_for_verification("id"), Execution)
        assert_type(session.functions.wait_for_verifications(["id"]), AsyncGenerator[Outcome[Execution], None])
        assert_type(await session.close(), None)


async def one_call(http: aiohttp.ClientSession) -> None:
    assert_type(await wait_for_verification("id"), Execution)
    await wait_for_verification("id", base_url=None, api_key=None, http=None, policy=None, deadline=None)
    await wait_for_verification(
        "id", base_url="http://[::1]:1", api_key="key", http=http, policy=PollPolicy(), deadline=1
    )


def results(execution: Execution, outcome: Outcome[Execution]) -> None:
    assert_type(execution.verification_status, VerificationStatus)
    assert_type(execution.clear_text_solution, ClearTextSolution | None)
    assert_type((execution.is_running, execution.is_verified, execution.succeeded), tuple[bool, bool, bool])
    assert_type(execution.output, str)
    assert_type(execution.raise_for_verification(), Execution)
    if (solution := execution.clear_text_solution) is not None:
        assert_type(solution.output, str | None)
        assert_type(solution.execution_status, ExecutionStatus | None)
        assert_type(solution.sender_address, str | None)
        assert_type(solution.signature, Signature | None)
    signature = Signature(28, "r", "s")
    assert_type((signature.v, signature.r, signature.s), tuple[int, str, str])
    assert_type(outcome.unwrap(), Execution)
    assert_type(outcome.execution, Execution | None)
    assert_type(outcome.error, TruebitError | None)
    assert_type((outcome.execution_id, outcome.polls, outcome.elapsed), tuple[str, int, float])


def failures() -> None:
    try:
        raise NotImplementedError
    except VerificationTimeoutError as error:
        assert_type((error.deadline, error.polls, error.elapsed), tuple[float, int, float])
        assert_type(error.last_execution, AnyExecution[object] | None)
        assert_type(error.last_error, TruebitError | None)
    except RequestTimeoutError as error:
        assert_type(error.request_timeout, float)
    except ApiError as error:
        assert_type(error.status, int)
        assert_type((error.message, error.request_id), tuple[str | None, str | None])
        assert_type(error.retry_after, float | None)
    except ExecutionFailedError as error:
        assert_type(error.execution, AnyExecution[object])
    except TruebitError as error:
        assert_type(error.execution_id, str | None)
        assert_type(error.is_transient, bool)
        assert_type(error.kind, str | None)


def checkpoints(outcome: Outcome[Execution]) -> None:
    with Checkpoint(Path("results.jsonl"), resume=True) as checkpoint:
        assert_type(checkpoint, Checkpoint[Execution])
        assert_type(checkpoint.final, Mapping[str, FinalState])
        assert_type(checkpoint.mended, str | None)
        checkpoint.write(outcome)
    assert_type(outcome_as_json(outcome), str)
    assert_type(read_checkpoint("results.jsonl"), Iterator[Record[Execution]])
    assert_type(latest("results.jsonl", Path("more.jsonl")), Iterator[Record[Execution]])
    assert_type(latest("results.jsonl", kind="api"), Iterator[Record[ApiExecution]])
    for record in read_checkpoint(Path("results.jsonl")):
        assert_type(record.execution, Execution | None)
        assert_type(record.error, RecordedError | None)
        assert_type((record.is_final, record.succeeded), tuple[bool, bool])
        assert_type((record.output, record.kind), tuple[str, str])


async def simulators() -> None:
    async with Simulator(port=0) as simulator:
        assert_type(simulator.url, str)
        simulator.add("id", polls=2, running_for=0.5, status="Success", output="42", execution_status="succeed")
        simulator.add("id", status="Indeterminate")
        simulator.script("id", Reply.running(), Reply.error(429, retry_after=2), Reply.success("42"))
        simulator.script("id", Reply.execution("Success", "42", "failed", signature="inside", executionId="other"))
        simulator.script("id", Reply.raw(200, b"{}", {"X-Request-Id": "1"}, content_type="text/plain"))
        simulator.script("id", Reply.hang(), Reply.reset(), Reply.garbage(b"?"), Reply.cut_off(), Reply.slow(0.5))
        simulator.script("id", Reply.redirect("/", 307), Reply.wrong_id(), Reply.failed())
        simulator.limit_rate(10)
        for request in simulator.requests:
            assert_type(request, RecordedRequest)
            assert_type(request.headers, Mapping[str, str])
    loop_factory: Callable[[], VirtualTimeLoop] = VirtualTimeLoop
    assert_type(loop_factory().time(), float)


# Uses that are wrong


def wrong_policies() -> None:
    PollPolicy(wait=2.0)  # type: ignore[arg-type]
    PollPolicy(wait=lambda: 2.0)  # type: ignore[arg-type, misc]
    PollPolicy(wait=lambda _: "2")  # type: ignore[arg-type, return-value]
    PollPolicy(deadline="600")  # type: ignore[arg-type]
    PollPolicy(deadline=...)  # type: ignore[arg-type]
    PollPolicy(request_timeout=None)  # type: ignore[arg-type]
    PollPolicy(max_consecutive_errors=2.5)  # type: ignore[arg-type]
    PollPolicy(max_consecutive_errors=None)  # type: ignore[arg-type]
    PollPolicy(not_found_grace=None)  # type: ignore[arg-type]
    PollPolicy(unknown_status="ignore")  # type: ignore[arg-type]
    PollPolicy(timeout=30)  # type: ignore[call-arg]
    PollPolicy().deadline = 30  # type: ignore[misc]


def wrong_sessions() -> None:
    TruebitSession("https://run.truebit.network", "key")  # type: ignore[call-arg]
    TruebitSession(b"https://run.truebit.network")  # type: ignore[arg-type]
    TruebitSession(api_key=b"key")  # type: ignore[arg-type]
    TruebitSession(http=aiohttp.TCPConnector())  # type: ignore[arg-type]
    TruebitSession(policy=PollPolicy)  # type: ignore[arg-type]
    TruebitSession(policy=wait_fixed(2))  # type: ignore[arg-type]
    TruebitSession(max_concurrency=None)  # type: ignore[arg-type]
    TruebitSession(max_concurrency=1.5)  # type: ignore[arg-type]
    TruebitSession(max_rate="10")  # type: ignore[arg-type]
    TruebitSession(max_response_bytes=None)  # type: ignore[arg-type]
    TruebitSession(listeners=[lambda: None])  # type: ignore[list-item, misc]
    TruebitSession(listeners=[slower_and_slower])  # type: ignore[list-item]
    TruebitSession(timeout=30)  # type: ignore[call-arg]
    with TruebitSession():  # type: ignore[attr-defined]
        pass


async def wrong_waits(session: TruebitSession) -> None:
    await session.get_execution_status(1)  # type: ignore[arg-type]
    await session.get_execution_status("id", deadline=1)  # type: ignore[call-arg]
    await session.wait_for_verification(None)  # type: ignore[arg-type]
    await session.wait_for_verification(b"id")  # type: ignore[arg-type]
    await session.wait_for_verification("id", PollPolicy())  # type: ignore[call-arg]
    await session.wait_for_verification("id", policy=60)  # type: ignore[arg-type]
    await session.wait_for_verification("id", deadline="60")  # type: ignore[arg-type]
    session.wait_for_verification("id").output  # type: ignore[attr-defined]  # noqa: B018
    session.wait_for_verifications(1)  # type: ignore[arg-type]
    session.wait_for_verifications([1, 2])  # type: ignore[list-item]
    session.wait_for_verifications(["id"], max_pending=None)  # type: ignore[arg-type]
    session.wait_for_verifications(["id"], deadline="60")  # type: ignore[arg-type]
    await session.wait_for_verifications(["id"])  # type: ignore[misc]
    for _ in session.wait_for_verifications(["id"]):  # type: ignore[attr-defined]
        pass
    await wait_for_verification("id", "https://run.truebit.network")  # type: ignore[call-arg]
    await wait_for_verification("id", deadline="60")  # type: ignore[arg-type]
    await wait_for_verification("id", policy={})  # type: ignore[arg-type]
    await wait_for_verification("id", max_rate=1)  # type: ignore[call-arg]


def wrong_results(execution: Execution, outcome: Outcome[Execution]) -> None:
    execution.output = "42"  # type: ignore[misc]
    execution.execution_id = "other"  # type: ignore[misc]
    execution.clear_text_solution.output  # type: ignore[union-attr]  # noqa: B018
    execution.outptu  # type: ignore[attr-defined]  # noqa: B018
    outcome.execution.output  # type: ignore[union-attr]  # noqa: B018
    outcome.polls = 1  # type: ignore[misc]
    Outcome("id", execution)  # type: ignore[call-arg]
    Outcome("id", None, ValueError(), 1, 1.0)  # type: ignore[arg-type]
    Execution("id", "Success")  # type: ignore[arg-type]
    Signature("28", "r", "s")  # type: ignore[arg-type]


def wrong_checkpoints(checkpoint: Checkpoint[Execution], execution: Execution) -> None:
    Checkpoint(1)  # type: ignore[call-overload]
    Checkpoint("results.jsonl", True)  # type: ignore[call-overload]
    checkpoint.write(execution)  # type: ignore[arg-type]
    outcome_as_json(execution)  # type: ignore[arg-type]
    read_checkpoint(None)  # type: ignore[call-overload]
    latest("results.jsonl", "api", kind=None)  # type: ignore[call-overload]


def wrong_simulators(simulator: Simulator) -> None:
    Simulator(8080)  # type: ignore[call-arg]
    Simulator(port="8080")  # type: ignore[arg-type]
    with simulator:  # type: ignore[attr-defined]
        pass
    simulator.add("id", status="success")  # type: ignore[arg-type]
    simulator.add("id", execution_status="ok")  # type: ignore[arg-type]
    simulator.add("id", 2)  # type: ignore[call-arg]
    simulator.script("id", "42")  # type: ignore[arg-type]
    simulator.url = "http://127.0.0.1:1"  # type: ignore[misc]
    Reply.execution("Done")  # type: ignore[arg-type]
    Reply.error("404")  # type: ignore[arg-type]
    Reply.raw(200, "{}")  # type: ignore[arg-type]
