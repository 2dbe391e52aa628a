"""The installed command in separate processes: a Simulator in one, `wait` in another."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from truebit_async.checkpoint import read_checkpoint
from truebit_async.testing import Simulator

COMMAND = [sys.executable, "-m", "truebit_async"]
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "error"}


@pytest.fixture(scope="module")
def simulate() -> Iterator[tuple[str, list[str]]]:
    """A running `truebit-async simulate`: its URL and its execution IDs."""
    process = subprocess.Popen(
        [*COMMAND, "simulate", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    announced = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
    assert announced is not None
    ids = [process.stdout.readline().strip() for _ in range(38)]
    yield announced.group(), ids
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest


def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=25
    )


SCENARIOS = {
    "success-01": (0, "Success", None),
    "failed-01": (1, "Success", None),
    "indeterminate-01": (1, "Indeterminate", None),
    "error-01": (1, "Error", None),
    "missing-01": (3, None, "ExecutionNotFoundError"),
}


@pytest.mark.full
def test_wait_for_an_execution_of_each_scenario(simulate: tuple[str, list[str]]) -> None:
    url, ids = simulate
    assert SCENARIOS.keys() < set(ids)
    with ThreadPoolExecutor() as pool:
        runs = pool.map(lambda execution_id: run("wait", "--base-url", url, execution_id), SCENARIOS)
    for (execution_id, (code, status, error)), ran in zip(SCENARIOS.items(), runs, strict=True):
        assert ran.returncode == code, ran.stderr
        line = json.loads(ran.stdout)
        assert line["executionId"] == execution_id
        assert line["verificationStatus"] == status
        assert (line["error"] and line["error"]["type"]) == error
        assert ran.stderr.startswith("1 of 1 finished")
        assert "Traceback" not in ran.stderr


@pytest.mark.full
def test_wait_reads_a_pipe(simulate: tuple[str, list[str]]) -> None:
    url, _ = simulate
    ran = run("wait", "--base-url", url, "--from", "-", stdin="success-01\n# not this one\nerror-01\n")
    assert ran.returncode == 1
    assert {json.loads(line)["executionId"] for line in ran.stdout.splitlines()} == {"success-01", "error-01"}


def test_ctrl_c_keeps_finished_results_and_exits_130(simulate: tuple[str, list[str]]) -> None:
    url, _ = simulate
    process = subprocess.Popen(
        [*COMMAND, "wait", "--base-url", url, "missing-01", "success-18", "success-12"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["executionId"] == "missing-01"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out == ""
    assert "1 of 3 finished" in err
    assert "Traceback" not in err


@pytest.mark.full
def test_a_killed_run_is_resumed_without_losing_or_repeating_results(tmp_path: Path) -> None:
    ids = [f"id-{number}" for number in range(400)]
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    out = tmp_path / "results.jsonl"

    async def kill_and_resume() -> tuple[set[str], Counter[str | None]]:
        async with Simulator() as simulator:
            for number, execution_id in enumerate(ids):
                simulator.add(execution_id, polls=number % 2)
            arguments = ["wait", "--base-url", simulator.url, "--from", str(tmp_path / "ids.txt"), "--out", str(out)]
            first = await asyncio.create_subprocess_exec(*COMMAND, *arguments, stderr=asyncio.subprocess.DEVNULL)
            while not out.exists() or out.read_bytes().count(b"\n") < 120:
                await asyncio.sleep(0.005)
            first.kill()
            await first.wait()
            with out.open("ab") as file:
                file.write(b'{"executionId": "id-3')  # a line that was torn by the kill
            records = await asyncio.to_thread(lambda: list(read_checkpoint(out)))
            final = {record.execution_id for record in records if record.is_final}
            simulator.requests.clear()
            second = await asyncio.create_subprocess_exec(
                *COMMAND, *arguments, "--resume", stderr=asyncio.subprocess.PIPE
            )
            _, messages = await second.communicate()
            assert second.returncode == 0
            assert b"the last line was torn" in messages
            return final, Counter(request.execution_id for request in simulator.requests)

    final, asked = asyncio.run(kill_and_resume())
    assert 120 <= len(final) < 400
    assert not final & asked.keys()
    assert Counter(record.execution_id for record in read_checkpoint(out)) == Counter(ids)
