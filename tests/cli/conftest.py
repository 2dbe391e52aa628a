"""Fixtures that run the command in this process, and a Simulator in another thread."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import truebit_async.cli
from tests.cli.command import Ran, Run
from tests.policies import FAST
from tests.simulator_thread import simulator_thread
from truebit_async.cli import sessions
from truebit_async.testing import Simulator


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    def run(*arguments: str, stdin: bytes | None = b"") -> Ran:
        monkeypatch.setattr(sys, "argv", ["truebit-async", *arguments])
        (tmp_path / "stdin").write_bytes(stdin or b"")
        with (tmp_path / "stdin").open() as file:
            monkeypatch.setattr(sys, "stdin", None if stdin is None else file)
            with pytest.raises(SystemExit) as caught:
                truebit_async.cli.main()
        captured = capsys.readouterr()
        code = caught.value.code
        return Ran(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A Simulator at TRUEBIT_BASE_URL, and a policy with short waits."""
    with simulator_thread() as simulator:
        monkeypatch.setenv("TRUEBIT_BASE_URL", simulator.url)
        monkeypatch.setattr(sessions, "PollPolicy", lambda: FAST)
        yield simulator
