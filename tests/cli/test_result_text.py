"""Results as lines of text, for people."""

from __future__ import annotations

import io
import json
import sys

import pytest

from tests.cli.command import Run
from truebit_async import Execution, ExecutionStatus, VerificationStatus
from truebit_async.cli.output import has_colours
from truebit_async.cli.result_text import result_line
from truebit_async.models import ApiExecution, ApiSolution, ApiStatus
from truebit_async.testing import Reply, Simulator


class Terminal(io.StringIO):
    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stdout a terminal. A fixture could not: pytest replaces stdout before each test."""
    stdout = Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    return stdout


def add_every_outcome(server: Simulator) -> None:
    server.add("good", output="42 ü\n\x1b[31m")
    server.add("long", output="x" * 200)
    server.add("wide", output="漢" * 100)
    server.add("failed", execution_status="failed")
    server.add("indeterminate", status="Indeterminate")
    server.add("error", status="Error")
    server.add("endless", status="Running")
    server.script("broken", Reply.error(400, "no"))


IDS = ["good", "long", "wide", "failed", "indeterminate", "error", "endless", "missing", "broken"]


def test_a_terminal_gets_one_line_for_each_result(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    add_every_outcome(server)
    ran = run("wait", *IDS, "--deadline", "0.3")
    lines = {line.split()[1]: line for line in terminal.getvalue().splitlines()}
    assert (ran.code, set(lines)) == (3, set(IDS))
    assert lines["good"].startswith("✓ good  42 ü\\n\\x1b[31m  0.")
    assert lines["long"].startswith("✓ long  xxx")
    assert len(lines["long"]) == 60
    assert "x…  0." in lines["long"]
    assert lines["wide"].count("漢") < 25
    assert lines["failed"].startswith("✗ failed  failed  ")
    assert lines["indeterminate"].startswith("? indeterminate  indeterminate  ")
    assert lines["error"].startswith("✗ error  error  ")
    assert lines["endless"].startswith("! endless  VerificationTimeoutError: no final state")
    assert lines["missing"].startswith("! missing  404 ExecutionNotFoundError: execution <ID")
    assert lines["broken"].startswith("! broken  400 BadRequestError: no. Check the")
    assert all(line.endswith(" s") for line in lines.values())


def test_status_shows_the_whole_output(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    add_every_outcome(server)
    for name in ("long", "endless", "failed"):
        run("status", name)
    assert terminal.getvalue().splitlines() == [f"✓ long  {'x' * 200}", "… endless  running", "✗ failed  failed"]


@pytest.mark.parametrize("command", ["wait", "status"])
def test_format_json_on_a_terminal(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    terminal = on_a_terminal(monkeypatch)
    add_every_outcome(server)
    run(command, "long", "--format", "json")
    assert json.loads(terminal.getvalue())["executionId"] == "long"


def test_format_text_in_a_pipe(run: Run, server: Simulator) -> None:
    add_every_outcome(server)
    ran = run("wait", "good", "--format", "text")
    assert ran.out.startswith("✓ good  42 ü\\n\\x1b[31m  0.")


def test_status_in_a_pipe_is_a_line_that_wait_reads(run: Run, server: Simulator) -> None:
    add_every_outcome(server)
    ran = run("status", "failed")
    assert ran.out.count("\n") == 1
    assert run("wait", "--from", "-", stdin=ran.out.encode()).lines.keys() == {"failed"}


def test_everything_is_json_with_json(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    add_every_outcome(server)
    run("wait", "good", "missing", "--json")
    *results, summary = map(json.loads, terminal.getvalue().splitlines())
    assert {result["executionId"] for result in results} == {"good", "missing"}
    assert summary["summary"]["exitCode"] == 3


def test_quiet_prints_results_and_messages_only(run: Run, server: Simulator) -> None:
    add_every_outcome(server)
    ran = run("wait", "good", "--quiet")
    assert (ran.code, set(ran.lines), ran.err) == (0, {"good"}, "")
    ran = run("wait", "-q", "--from", "-", stdin=b"good\n{\n")
    assert (ran.code, ran.err) == (3, "stdin:2: not a JSON object with an executionId\n")
    ran = run("wait", "-q", "missing", "--json")
    assert "summary" in json.loads(ran.out.splitlines()[-1])


def test_an_output_of_an_api_task_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    execution = ApiExecution("id", ApiStatus.SUCCESS, ApiSolution({"a": [1]}, ExecutionStatus.SUCCEED))
    assert result_line("id", execution) == '✓ id  {"a": [1]}'


@pytest.mark.parametrize(("encoding", "line"), [("ascii", "x \\xfc  failed"), ("latin-1", "x ü  failed")])
def test_a_terminal_without_these_marks(monkeypatch: pytest.MonkeyPatch, encoding: str, line: str) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal(encoding))
    monkeypatch.setenv("NO_COLOR", "1")
    execution = Execution("ü", VerificationStatus.ERROR)
    assert result_line("ü", execution).replace("error", "failed") == line


@pytest.mark.parametrize(
    ("environment", "is_coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, False)],
)
def test_colours(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], is_coloured: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    execution = Execution("id", VerificationStatus.ERROR)
    assert ("\x1b[31m" in result_line("id", execution, seconds=1.0)) is is_coloured
    assert has_colours(sys.stdout) is is_coloured
    assert not has_colours(io.StringIO())
