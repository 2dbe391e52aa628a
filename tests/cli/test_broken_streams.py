"""Streams that cannot be written, or that nobody reads: exit codes stay right, and the command can be stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulator_process import simulator_process
from truebit_async.checkpoint import read_checkpoint
from truebit_async.testing import Reply, Simulator

FUNCTION = ["--input", "7", "--total-solutions", "3", "--required-solutions", "2"]
CASES = [
    (["wait", "good"], 0),
    (["wait", "failed"], 1),
    (["wait", "refused"], 2),
    (["wait", "good", "missing"], 3),
    (["wait", "--from", "/no/such/file"], 2),
    (["wait", "--deadline", "x", "good"], 2),
    (["run", "function", "ns/unknown", *FUNCTION], 5),
    (["run", "function", "ns/square", *FUNCTION], 0),
]


def add_a_few(simulator: Simulator) -> None:
    simulator.add("good")
    simulator.add("failed", execution_status="failed")
    simulator.script("refused", Reply.error(401, "no"))
    for number in range(2000):
        simulator.add(f"id-{number}", output="x" * 100)
    simulator.deploy_function("ns", "square", str)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with simulator_process(add_a_few) as url:
        yield url


def command(url: str, *arguments: str) -> list[str]:
    return ["env", f"TRUEBIT_BASE_URL={url}", "TRUEBIT_API_KEY=key", sys.executable, "-m", "truebit_async", *arguments]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [pytest.param(*case, marks=() if number in {3, 6} else pytest.mark.full) for number, case in enumerate(CASES)],
)
@pytest.mark.parametrize("closed", [False, pytest.param(True, marks=pytest.mark.full)])
def test_the_exit_code_is_right_although_stderr_is_full(
    url: str, arguments: list[str], code: int, closed: bool
) -> None:
    if closed:
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open("/dev/full", os.O_WRONLY)
    ran = subprocess.run(command(url, *arguments), stdout=subprocess.PIPE, stderr=writer, check=False, timeout=20)
    os.close(writer)
    assert ran.returncode == code


@pytest.mark.full
def test_a_batch_goes_on_although_nobody_reads_its_messages(url: str, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("".join(f"id-{number}\n" for number in range(700)))
    arguments = ["--from", str(tmp_path / "ids"), "--out", str(tmp_path / "out"), "--max-rate", "100"]
    reader, writer = os.pipe()
    process = subprocess.Popen(command(url, "wait", *arguments), stderr=writer)
    os.close(writer)
    os.close(reader)  # before the first progress line
    assert process.wait(25) == 0
    assert len(list(read_checkpoint(tmp_path / "out"))) == 700


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
def test_a_reader_that_does_not_read_is_no_reason_to_hang(url: str, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "ids").write_text("".join(f"id-{number}\n" for number in range(2000)))
    reader, writer = os.pipe()
    process = subprocess.Popen(
        command(url, "wait", "--quiet", "--from", str(tmp_path / "ids")), stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    received = os.read(reader, 1)
    time.sleep(1)  # the pipe is full now
    process.send_signal(number)
    _, messages = process.communicate(timeout=5)
    assert process.returncode == (130 if number is signal.SIGINT else 143)
    assert b"Traceback" not in messages
    while chunk := os.read(reader, 65536):
        received += chunk
    os.close(reader)
    assert [json.loads(line)["verificationStatus"] for line in received.splitlines()].count("Success") > 100


def test_a_submission_whose_id_nobody_reads(url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        command(url, "run", "function", "ns/square", *FUNCTION, "--no-wait"),
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        text=True,
    )
    os.close(writer)
    assert ran.returncode == 3  # and not 1: it has no final state
    assert "submitted; the execution ID is " in ran.stderr
    assert ran.stderr.endswith("truebit-async: nobody reads stdout\n")
