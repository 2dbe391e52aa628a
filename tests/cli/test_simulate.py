"""`simulate`: a dispatcher to rehearse with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.cli.command import Run
from truebit_async.cli import sessions
from truebit_async.cli import simulate as cli_simulate
from truebit_async.cli.scenarios import all_execution_ids
from truebit_async.policy import PollPolicy
from truebit_async.testing import Simulator

COMMAND = [sys.executable, "-m", "truebit_async"]


@attrs.frozen
class Running:
    """A simulation in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    announcement: str


@contextlib.contextmanager
def simulation(*arguments: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [*COMMAND, "simulate", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert process.stderr is not None
    try:
        announcement = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", announcement)
        assert found is not None, announcement
        yield Running(process, found.group(), announcement)
    finally:
        process.kill()
        process.communicate()


class Noting(Simulator):
    """Notes what is added to it: each ID, how long it runs, and whether it succeeds."""

    def __init__(self, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.batch: list[tuple[str, float, bool]] = []

    def add(self, execution_id: str, **options: Any) -> None:
        super().add(execution_id, **options)
        if execution_id.startswith("batch-"):
            self.batch.append((execution_id, options["running_for"], "execution_status" not in options))


@pytest.fixture
def stopped_at_once(monkeypatch: pytest.MonkeyPatch) -> list[Noting]:
    """End simulations in this process as soon as they listen; the list gets their Simulators."""
    simulators: list[Noting] = []

    def note(*, port: int) -> Noting:
        simulators.append(Noting(port=port))
        return simulators[-1]

    async def leave(_: asyncio.Event) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_simulate, "Simulator", note)
    monkeypatch.setattr(asyncio.Event, "wait", leave)
    return simulators


# The IDs


def test_a_batch_has_its_ids_on_stdout(run: Run, stopped_at_once: list[Noting]) -> None:
    ran = run("simulate", "--port", "0", "--count", "11")
    assert (ran.code, ran.out.splitlines()) == (130, [f"batch-{number:02}" for number in range(1, 12)])
    assert "Its 11 IDs are on stdout" in ran.err
    assert re.search(r"Try: truebit-async wait --base-url http://127\.0\.0\.1:\d+ batch-01\n", ran.err)


@pytest.mark.parametrize("count", [None, 1200])
def test_the_ids_go_to_a_file(run: Run, stopped_at_once: list[Noting], tmp_path: Path, count: int | None) -> None:
    file = tmp_path / "my ids.txt"
    ran = run("simulate", "--port", "0", "--ids", str(file), *([] if count is None else [f"--count={count}"]))
    assert (ran.code, ran.out) == (130, "")
    expected = list(all_execution_ids()) if count is None else [f"batch-{number:04}" for number in range(1, 1201)]
    assert file.read_text().splitlines() == expected
    assert f"Its {len(expected):,} IDs are in {file}" in ran.err
    assert f" --from '{file}'\n" in ran.err  # can be pasted into a shell


def test_no_file_is_overwritten(run: Run, stopped_at_once: list[Noting], tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("a-real-batch\n")
    ran = run("simulate", "--port", "0", "--ids", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"truebit-async: cannot write the IDs to {file}: File exists; name a new file\n"
    assert file.read_text() == "a-real-batch\n"
    assert run("simulate", "--port", "0", "--ids", str(tmp_path / "no" / "such")).code == 2
    assert run("simulate", "--port", "0", "--ids", str(tmp_path)).code == 2


def test_a_port_in_use_leaves_no_file(run: Run, server: Simulator, tmp_path: Path) -> None:
    """Or the same command with another port would be refused, since the file exists."""
    port = server.url.rpartition(":")[2]
    ran = run("simulate", "--port", port, "--ids", str(tmp_path / "ids.txt"))
    assert (ran.code, f"cannot listen on port {port}: " in ran.err) == (2, True)
    assert not (tmp_path / "ids.txt").exists()


# Options


@pytest.mark.parametrize("share", ["-1%", "101%", "1.5", "-0.1", "nan", "inf", "%", "", "half", "5 %%"])
def test_what_is_no_share(run: Run, stopped_at_once: list[Noting], share: str) -> None:
    ran = run("simulate", "--port=0", "--count=3", f"--fail={share}")
    assert (ran.code, ran.out) == (2, "")
    assert f"{share!r} is not a share; write it like 5% or 0.05" in ran.err


@pytest.mark.parametrize("duration", ["35..5s", "..5", "5..", "a..b", "5...6", "-1..2", "", "0"])
def test_what_is_no_range(run: Run, stopped_at_once: list[Noting], duration: str) -> None:
    ran = run("simulate", "--port=0", "--count=3", f"--running-for={duration}")
    assert (ran.code, ran.out) == (2, "")
    assert "--running-for" in ran.err


@pytest.mark.parametrize(
    "arguments", [["--fail=5%"], ["--running-for=5s"], ["--count=0"], ["--count=1.5"], ["--port=65536"], ["--port=-1"]]
)
def test_other_wrong_usage(run: Run, stopped_at_once: list[Noting], arguments: list[str]) -> None:
    ran = run("simulate", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert arguments[0].partition("=")[0] in ran.err
    assert stopped_at_once == []


@pytest.mark.parametrize(
    ("share", "failed"), [("0", 0), ("0%", 0), ("5%", 10), ("0.05", 10), ("12.5%", 25), ("1", 200), ("100%", 200)]
)
def test_exactly_the_share_fails(run: Run, stopped_at_once: list[Noting], share: str, failed: int) -> None:
    assert run("simulate", "--port=0", "--count=200", f"--fail={share}").code == 130
    ends = Counter(succeeds for _, _, succeeds in stopped_at_once[0].batch)
    assert (ends[False], ends[True]) == (failed, 200 - failed)


def test_two_rehearsals_are_alike(run: Run, stopped_at_once: list[Noting]) -> None:
    arguments = ["simulate", "--port=0", "--count=500", "--running-for=5..35s", "--fail=5%"]
    for _ in range(2):
        assert run(*arguments).code == 130
    first, second = (simulator.batch for simulator in stopped_at_once)
    assert first == second
    seconds = [running_for for _, running_for, _ in first]
    assert 5 <= min(seconds) < 6
    assert 34 < max(seconds) <= 35
    assert len(set(seconds)) > 490


# Serving


def test_a_rehearsal_is_really_served(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sessions, "PollPolicy", PollPolicy)
    ids, out = str(tmp_path / "ids.txt"), str(tmp_path / "out.jsonl")
    with simulation("--count=40", "--ids", ids, "--running-for=0.2..0.4s", "--fail=15%") as running:
        started = time.monotonic()
        ran = run("wait", "--base-url", running.url, "--from", ids, "--out", out, "--interval=0.05", "-q")
        assert ran.code == 1
        assert time.monotonic() - started >= 0.2
        ran = run("results", out, "--failed")
        assert len(ran.lines) == 6
        assert {line["clearTextSolution"]["executionStatus"] for line in ran.lines.values()} == {"failed"}
        found = run("results", out, "--format", "json").lines
        # Each output is another one, so that a mixed-up result shows.
        succeeded = {key: line for key, line in found.items() if key not in ran.lines}
        assert {key: line["clearTextSolution"]["output"] for key, line in succeeded.items()} == {
            key: str(int(key.removeprefix("batch-")) - 1) for key in succeeded
        }
        assert len(found) == 40


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_it_ends_when_it_is_stopped(tmp_path: Path, number: signal.Signals, code: int, word: str) -> None:
    with simulation("--ids", str(tmp_path / "ids.txt")) as running:
        running.process.send_signal(number)
        out, err = running.process.communicate(timeout=10)
        assert running.process.returncode == code
        assert out == ""
        assert err.endswith(f"truebit-async: {word}\n")
        assert "Traceback" not in err
