"""A checkpoint whose writers are killed, over and over, wherever they are."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from truebit_async.checkpoint import read_checkpoint

pytestmark = pytest.mark.full

COMMON = """
import sys
from truebit_async import CheckpointError, ClearTextSolution, Execution, ExecutionStatus, Outcome, VerificationStatus
from truebit_async.checkpoint import Checkpoint

def outcome(execution_id, size):
    solution = ClearTextSolution("x" * size, ExecutionStatus.SUCCEED)
    return Outcome(execution_id, Execution(execution_id, VerificationStatus.SUCCESS, solution), None, 1, 1.0)
"""

SIZE = 8 * 2**20  # of an output, in bytes: a write takes milliseconds, so that a kill can come in the middle

WRITER = (
    COMMON
    + """
with Checkpoint(sys.argv[1], resume=True) as checkpoint:
    print(len(checkpoint.final), checkpoint.mended is not None, flush=True)
    for number in range(int(sys.argv[2])):
        if f"id-{number}" not in checkpoint.final:
            checkpoint.write(outcome(f"id-{number}", int(sys.argv[3])))
            print(f"id-{number}", flush=True)
"""
)


@pytest.mark.timeout(120)
def test_writers_that_are_killed_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    command = [sys.executable, "-c", WRITER, str(path)]
    written: set[str] = set()
    torn = runs = 0

    def resume(count: int, *, killed: bool) -> None:
        nonlocal torn
        with subprocess.Popen([*command, str(count), str(SIZE)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            final, mended = process.stdout.readline().split()
            assert int(final) >= len(written)  # a line may be whole although the writer could not say so
            torn += mended == "True"
            middle = path.stat().st_size + SIZE * 3 // 2
            while killed and path.stat().st_size < middle:
                pass
            if killed:
                process.kill()
            written.update(process.stdout.read().split())
        ids = Counter(record.execution_id for record in read_checkpoint(path))
        assert written <= ids.keys()
        assert set(ids.values()) == {1}

    while torn < 2 and runs < 20:
        runs += 1
        resume(1000, killed=True)
    assert torn, "no kill came in the middle of a write"
    count = len(written) + 2
    resume(count, killed=False)
    assert {f"id-{number}" for number in range(count)} <= {record.execution_id for record in read_checkpoint(path)}


RESUMER = (
    COMMON
    + """
print("ready", flush=True)
sys.stdin.readline()
try:
    with Checkpoint(sys.argv[1], resume=True) as checkpoint:
        for number in range(200):
            checkpoint.write(outcome(f"{sys.argv[2]}-{number}", 3000))
    print("wrote")
except CheckpointError as error:
    print(error)
"""
)


@pytest.mark.timeout(120)
def test_of_many_that_resume_a_torn_file_at_once_none_harms_another(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"executionId": "torn')
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RESUMER, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(len(processes)) as pool:
        said = list(pool.map(lambda process: process.communicate("\n")[0], processes))
    writers = [number for number, text in enumerate(said) if text == "wrote\n"]
    assert writers
    for number, text in enumerate(said):
        assert number in writers or "it is being written by another process" in text
    ids = Counter(record.execution_id for record in read_checkpoint(path))
    assert ids == Counter(f"{writer}-{number}" for writer in writers for number in range(200))
