"""Function tasks and API tasks in one session."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tenacity import wait_fixed

from truebit_async import (
    ApiExecution,
    CheckpointError,
    Execution,
    Finished,
    Outcome,
    PollPolicy,
    TruebitSession,
    VerificationTimeoutError,
    errors,
)
from truebit_async.checkpoint import Checkpoint, FinalState, NoFinalStateError, read_checkpoint
from truebit_async.testing import Reply, Simulator

pytestmark = pytest.mark.virtual_time

EVERY_SECOND = PollPolicy(wait=wait_fixed(1), deadline=60)


async def test_the_same_id_as_a_function_and_as_an_api_task_are_two_targets(simulator: Simulator) -> None:
    simulator.add("id", polls=1, output="text")
    simulator.add("id", polls=2, output={"a": 1}, kind="api")
    async with TruebitSession(simulator.url, policy=EVERY_SECOND) as session:
        function, api = await asyncio.gather(
            session.wait_for_verification("id"), session.apis.wait_for_verification("id")
        )
    assert (type(function), function.output) == (Execution, "text")
    assert (type(api), api.output) == (ApiExecution, {"a": 1})
    assert sorted(str(request.kind) for request in simulator.requests) == ["api"] * 3 + ["function"] * 2


async def test_both_kinds_share_the_caps(simulator: Simulator) -> None:
    ids = [str(number) for number in range(10)]
    for execution_id in ids:
        simulator.add(execution_id)
        simulator.add(execution_id, kind="api")
    async with TruebitSession(simulator.url, policy=EVERY_SECOND, max_rate=5) as session:

        async def outcomes_of(batch: object) -> int:
            return len([outcome async for outcome in batch])  # type: ignore[attr-defined]

        started = asyncio.get_running_loop().time()
        batches = (session.wait_for_verifications(ids), session.apis.wait_for_verifications(ids))
        assert await asyncio.gather(*map(outcomes_of, batches)) == [10, 10]
        assert asyncio.get_running_loop().time() - started == pytest.approx(20 / 5, rel=0.1)


async def test_every_verb_of_api_tasks(simulator: Simulator) -> None:
    simulator.script("id", Reply.error(503), Reply.running(), Reply.failed({"reason": "no"}), kind="api")
    async with TruebitSession(simulator.url, policy=EVERY_SECOND) as session:
        assert (await session.apis.get_execution_status("id")).is_running
        events = [event async for event in session.apis.watch("id")]
        with pytest.raises(errors.ExecutionFailedError, match="the call failed"):
            (await session.apis.wait_for_verification("id")).raise_for_verification()
        with pytest.raises(errors.ExecutionNotFoundError) as caught:
            await session.apis.get_execution_status("unknown")
    assert caught.value.kind == "api"
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.kind, finished.outcome.kind, finished.outcome.polls) == ("api", "api", 1)
    assert str(finished).startswith("execution 'id': Success")


async def test_a_timeout_tells_the_last_status_of_an_api_task(simulator: Simulator) -> None:
    simulator.add("id", status="Running", kind="api")
    async with TruebitSession(simulator.url, policy=EVERY_SECOND) as session:
        with pytest.raises(VerificationTimeoutError, match="last seen Running") as caught:
            await session.apis.wait_for_verification("id", deadline=3)
    assert isinstance(caught.value.last_execution, ApiExecution)


async def test_a_checkpoint_of_api_tasks(simulator: Simulator, tmp_path: Path) -> None:
    simulator.add("good", output={"a": [1]}, kind="api")
    simulator.add("bad", status="Error", kind="api")
    async with TruebitSession(simulator.url, policy=EVERY_SECOND) as session:
        batch = session.apis.wait_for_verifications(["good", "bad", "unknown"])
        outcomes = [outcome async for outcome in batch]
    await asyncio.to_thread(write_and_read_back, tmp_path / "apis.jsonl", outcomes)


def write_and_read_back(path: Path, outcomes: list[Outcome[ApiExecution]]) -> None:
    with Checkpoint(path, kind="api") as checkpoint:
        for outcome in outcomes:
            checkpoint.write(outcome)
        of_a_function: Outcome[Execution] = Outcome("id", None, errors.TransportError("id", "reset"), 1, 1.0)
        with pytest.raises(CheckpointError, match="executions of kind 'api', not 'function'"):
            checkpoint.write(of_a_function)  # type: ignore[arg-type]
    with Checkpoint(path, resume=True, kind="api") as checkpoint:
        assert checkpoint.final == {
            "good": FinalState("Success", succeeded=True),
            "bad": FinalState("Error", succeeded=False),
        }
    records = {record.execution_id: record for record in read_checkpoint(path, "api")}
    assert records["good"].output == {"a": [1]}
    assert [record.execution for record in records.values()] == [outcome.execution for outcome in outcomes]
    with pytest.raises(NoFinalStateError, match="ExecutionNotFoundError"):
        records["unknown"].output  # noqa: B018
    with pytest.raises(CheckpointError, match="line 1 is about an execution of kind 'api', not 'function'"):
        list(read_checkpoint(path))
    with pytest.raises(ValueError, match="kind must be one of 'function', 'api', not 'other'"):
        read_checkpoint(path, "other")  # type: ignore[call-overload]
