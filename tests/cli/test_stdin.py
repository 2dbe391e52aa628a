"""`wait --from -` in separate processes, with every kind of stdin, on asyncio and on uvloop."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulator_process import simulator_process
from truebit_async.checkpoint import read_checkpoint
from truebit_async.testing import Simulator

WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; import truebit_async.cli; truebit_async.cli.main()"
pytestmark = pytest.mark.full
COMMANDS = {"uvloop": ["-m", "truebit_async"], "asyncio": ["-c", WITHOUT_UVLOOP]}


def add_a_few(simulator: Simulator) -> None:
    for number in range(10):
        simulator.add(f"id-{number}")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with simulator_process(add_a_few) as url:
        yield url


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest, url: str) -> list[str]:
    return [sys.executable, *COMMANDS[request.param], "wait", "--base-url", url, "--from", "-"]


@contextlib.contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    environment.pop("PYTHONUNBUFFERED", None)  # it would hide a missing flush
    streams = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
    with subprocess.Popen(command, env=environment, **{"text": True, **streams, **options}) as process:
        try:
            yield process
        finally:
            process.kill()


def id_in(line: str) -> str:
    return str(json.loads(line)["executionId"])


def test_results_are_printed_while_the_producer_still_runs(command: list[str]) -> None:
    with started([*command, "--json"]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for number in range(3):
            process.stdin.write(f"id-{number}\nid-{number}\nid-0\n")
            process.stdin.flush()
            assert id_in(process.stdout.readline()) == f"id-{number}"
        os.write(process.stdin.fileno(), b"\xff\xfeid-4\n")
        assert process.stderr.readline() == "stdin:10: not UTF-8: invalid start byte at byte 1\n"
        process.stdin.write('{"executionId": "id-5"}')
        process.stdin.close()
        assert id_in(process.stdout.readline()) == "id-5"
        summary = json.loads(process.stdout.readline())["summary"]
        assert (summary["total"], summary["requests"], summary["malformed"], summary["exitCode"]) == (4, 4, 1, 3)
        assert process.wait(10) == 3
        assert process.stderr.read() == ""


@pytest.mark.parametrize("kind", ["pipe", "file", "terminal", "socket"])
def test_every_kind_of_stdin_is_read_to_its_end(command: list[str], tmp_path: Path, kind: str) -> None:
    (tmp_path / "ids").write_text("id-0\nid-1\n")
    ours: list[int] = []
    if kind == "pipe":
        its, writer = os.pipe()
        ours.append(writer)
    elif kind == "file":
        its = os.open(tmp_path / "ids", os.O_RDONLY)
    elif kind == "terminal":
        terminal, its = pty.openpty()
        ours.append(terminal)
    else:
        here, there = socket.socketpair()
        ours.append(here.detach())
        its = there.detach()
    with started(command, stdin=its) as process:
        assert process.stdout is not None
        is_blocking_before = os.get_blocking(its)
        for descriptor in ours:
            os.write(descriptor, b"id-0\nid-1\n")
        assert {id_in(process.stdout.readline()) for _ in range(2)} == {"id-0", "id-1"}
        assert os.get_blocking(its) is is_blocking_before  # a shell may share this terminal
        if kind == "terminal":
            os.write(ours[0], b"\x04")
        else:
            for descriptor in ours:
                os.close(descriptor)
            ours.clear()
        assert process.wait(10) == 0
    for descriptor in [its, *ours]:
        os.close(descriptor)


def test_dev_null_and_an_unreadable_stdin_are_usage_errors(command: list[str], tmp_path: Path) -> None:
    writable = os.open(tmp_path / "written", os.O_WRONLY | os.O_CREAT)
    for stdin, message in [
        (subprocess.DEVNULL, "truebit-async: stdin contains no execution ID\n"),
        (writable, "cannot read IDs from stdin: Bad file descriptor"),
    ]:
        with started(command, stdin=stdin) as process:
            out, err = process.communicate(timeout=10)
        assert (process.returncode, out) == (2, "")
        assert message in err
        assert "Traceback" not in err
    os.close(writable)


def test_a_closed_stdin_is_a_usage_error(command: list[str]) -> None:
    with started(["sh", "-c", 'exec "$@" <&-', "sh", *command]) as process:
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (2, "")
    assert err == "truebit-async: cannot read IDs from stdin: it is closed\n"


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_ctrl_c_ends_the_command_at_once_while_stdin_is_silent(command: list[str], tmp_path: Path, kind: str) -> None:
    its, ours = os.pipe() if kind == "pipe" else pty.openpty()[::-1]
    out = tmp_path / "out"
    with started([*command, "--out", str(out)], stdin=its) as process:
        os.write(ours, b"id-0\n")
        while not out.exists() or not out.read_bytes().endswith(b"\n"):
            assert process.poll() is None
            time.sleep(0.01)
        interrupted = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        assert time.monotonic() - interrupted < 2
    assert process.returncode == 130
    assert "1 finished of 1 read so far" in err
    assert err.endswith(f"interrupted; to continue {out}, run the same command with --resume\n")
    assert "Traceback" not in err
    assert "Fatal" not in err
    assert [record.execution_id for record in read_checkpoint(out)] == ["id-0"]
    os.close(its)
    os.close(ours)


def test_an_endless_producer_does_not_fill_the_memory(command: list[str]) -> None:
    line = b"#" + b"x" * 50_000 + b"\n"
    with started(command, stdout=subprocess.DEVNULL, text=False) as process:
        assert process.stdin is not None
        for _ in range(3):
            for _ in range(1000):
                process.stdin.write(line)
            process.stdin.write(b"-" * 20_000_000 + b"\nid-0\n")  # longer than a line may be
        process.stdin.flush()
        status = Path(f"/proc/{process.pid}/status").read_text()
        _, err = process.communicate(timeout=10)
    assert process.returncode == 3
    assert err.startswith(b"stdin:1001: the line is longer than 16 MiB\nstdin:2003: the line is longer than 16 MiB\n")
    assert int(status.partition("VmHWM:")[2].split()[0]) < 120_000  # KiB; the command has read 210 MB
