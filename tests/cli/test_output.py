"""Standard streams that whoever starts the command has closed."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from truebit_async.cli.output import open_what_is_closed, say
from truebit_async.testing import Simulator


def test_python_gets_streams_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def fail(descriptor: int) -> None:
        if descriptor == 2:
            raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", fail)
        patched.setattr(os, "open", lambda *arguments: opened.append(arguments))
        patched.setattr(sys, "stderr", None)
        stdout = sys.stdout
        with patched.context() as closed:  # `open` asks for the size of what it opens
            closed.setattr("builtins.open", lambda *_, **__: io.StringIO())
            open_what_is_closed()
        assert opened == [(os.devnull, os.O_RDWR)]
        assert sys.stdout is stdout
        say("to nobody")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_the_command_runs_without_them(server: Simulator, closed: str) -> None:
    """Libuv ends a process whose sockets have the numbers of standard streams."""
    server.add("id")
    command = ["bash", "-c", f"'{sys.executable}' -m truebit_async status id {closed}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    assert ("Success" in ran.stdout) is (">&-" not in closed.replace("2>&-", ""))
    assert ran.stderr == ""


def test_stdout_is_no_file_for_results_if_it_is_a_pipe(server: Simulator) -> None:
    command = [sys.executable, "-m", "truebit_async", "wait", "--base-url", server.url, "id", "--out", "/dev/stdout"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "/dev/stdout: it is not a regular file; name another file" in ran.stderr
    assert not server.requests
