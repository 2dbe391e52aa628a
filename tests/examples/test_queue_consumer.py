from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from truebit_async.testing import Reply, Simulator


@asynccontextmanager
async def running(example: Path, environment: dict[str, str]) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, example, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
    )
    try:
        async with asyncio.timeout(20):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def deliver(process: Process, *execution_ids: str) -> None:
    assert process.stdin is not None
    process.stdin.write("".join(f"{execution_id}\n" for execution_id in execution_ids).encode())


async def outcome(process: Process) -> dict[str, object]:
    assert process.stdout is not None
    line: dict[str, object] = json.loads(await process.stdout.readline())
    return line


async def settled(process: Process) -> str:
    assert process.stderr is not None
    return (await process.stderr.readline()).decode().strip()


async def asked_for(simulator: Simulator, execution_id: str) -> None:
    while execution_id not in {request.execution_id for request in simulator.requests}:
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full)])
async def test_a_signal_hands_back_what_is_pending(
    example: Path, simulator: Simulator, environment: dict[str, str], signal_number: signal.Signals
) -> None:
    simulator.add("one")
    simulator.add("never", status="Running")
    async with running(example, environment) as process:
        deliver(process, "one", "never", "never", "two")
        assert (await outcome(process))["executionId"] == "one"
        assert await settled(process) == "acknowledged Message(number=1, execution_id='one')"
        assert (await outcome(process))["error"] is not None  # nobody knows "two", nor ever will
        assert await settled(process) == "acknowledged Message(number=4, execution_id='two')"
        await asked_for(simulator, "never")
        process.send_signal(signal_number)
        out, err = await process.communicate()
    assert process.returncode == 0
    assert out == b""
    assert err.decode().splitlines() == [
        "handed back Message(number=2, execution_id='never')",
        "handed back Message(number=3, execution_id='never')",
    ]


@pytest.mark.full
async def test_it_goes_on_for_ever(example: Path, simulator: Simulator, environment: dict[str, str]) -> None:
    async with running(example, environment) as process:
        assert process.stdin is not None
        for number in range(1, 4):
            simulator.add(f"id-{number}")
            deliver(process, f"id-{number}")
            assert (await outcome(process))["verificationStatus"] == "Success"
            assert await settled(process) == f"acknowledged Message(number={number}, execution_id='id-{number}')"
        process.stdin.close()  # the broker has nothing more, for now
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.wait(), 0.2)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


@pytest.mark.full
async def test_each_message_about_an_execution_is_acknowledged(
    example: Path, simulator: Simulator, environment: dict[str, str]
) -> None:
    simulator.script("same", Reply.running())
    async with running(example, environment) as process:
        deliver(process, "same", "same", "same", "other")
        assert (await outcome(process))["executionId"] == "other"
        assert "number=4" in await settled(process)
        simulator.add("same")
        assert (await outcome(process))["executionId"] == "same"
        numbers = {(await settled(process)).removeprefix("acknowledged Message(number=")[0] for _ in range(3)}
        assert numbers == {"1", "2", "3"}
        process.send_signal(signal.SIGTERM)
        out, err = await process.communicate()
        assert (out, err) == (b"", b"")  # one outcome, and nothing is left


@pytest.mark.full
async def test_without_an_answer_a_message_is_handed_back(
    example: Path, simulator: Simulator, environment: dict[str, str]
) -> None:
    simulator.script("secret", Reply.error(401))
    async with running(example, environment) as process:
        deliver(process, "secret")
        assert (await outcome(process))["verificationStatus"] is None
        assert await settled(process) == "handed back Message(number=1, execution_id='secret')"
        process.send_signal(signal.SIGTERM)
        out, err = await process.communicate()
        assert (out, err) == (b"", b"")


@pytest.mark.full
async def test_however_much_is_delivered_nothing_is_lost(
    example: Path, simulator: Simulator, environment: dict[str, str]
) -> None:
    execution_ids = [f"id-{number}" for number in range(1500)]  # more than it takes at once
    for execution_id in execution_ids:
        simulator.add(execution_id, status="Success" if execution_id.endswith("7") else "Running")
    async with running(example, environment) as process:
        deliver(process, *execution_ids)
        for _ in range(100):
            await outcome(process)
        process.send_signal(signal.SIGTERM)
        _, err = await process.communicate()
    assert process.returncode == 0
    messages = [line.partition("Message")[2] for line in err.decode().splitlines()]
    assert max(Counter(messages).values()) == 1
    assert messages
    delivered = {f"(number={number + 1}, execution_id='id-{number}')" for number in range(len(messages))}
    assert set(messages) == delivered  # of what was delivered, each was settled; the rest is with the broker still
