"""The standard streams, some of which may be closed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from truebit_async.checkpoint import read_checkpoint
from truebit_async.cli.output import print_to_stderr, reopen_standard_streams
from truebit_async.testing import Simulator


def test_closed_streams_are_reopened_on_dev_null(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def fail(descriptor: int) -> None:
        if descriptor == 2:
            raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", fail)
        patched.setattr(os, "open", lambda *arguments: opened.append(arguments))
        patched.setattr(sys, "stderr", None)
        stdout = sys.stdout
        with patched.context() as closed:  # the real `open` would call the patched fstat
            closed.setattr("builtins.open", lambda *_, **__: io.StringIO())
            reopen_standard_streams()
        assert opened == [(os.devnull, os.O_RDWR)]
        assert sys.stdout is stdout
        print_to_stderr("discarded")


@pytest.mark.parametrize(
    "closed", [*(pytest.param(each, marks=pytest.mark.full) for each in ("<&-", ">&-", "2>&-")), "<&- >&- 2>&-"]
)
def test_the_command_runs_with_closed_streams(server: Simulator, closed: str) -> None:
    """Libuv aborts a process in which a socket has the number of a standard stream."""
    server.add("id")
    command = ["bash", "-c", f"'{sys.executable}' -m truebit_async status id {closed}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ">&-" in closed.replace("2>&-", ""):
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ("cannot print results: stdout is closed" in ran.stderr) is ("2>&-" not in closed)
        assert not server.requests
    else:
        assert ran.returncode == 0
        assert "Success" in ran.stdout
        assert ran.stderr == ""


@pytest.mark.full
def test_results_go_to_a_file_although_all_streams_are_closed(server: Simulator, tmp_path: Path) -> None:
    server.add("id")
    out = tmp_path / "results.jsonl"
    command = ["bash", "-c", f"'{sys.executable}' -m truebit_async wait id --out {out} <&- >&- 2>&-"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert [record.execution_id for record in read_checkpoint(out)] == ["id"]


@pytest.mark.full
def test_a_pipe_is_refused_as_the_out_file(server: Simulator) -> None:
    command = [sys.executable, "-m", "truebit_async", "wait", "--base-url", server.url, "id", "--out", "/dev/stdout"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "/dev/stdout: it is not a regular file; name another file" in ran.stderr
    assert not server.requests
