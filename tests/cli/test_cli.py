"""The command, run in this process against a Simulator in another thread."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import errno
import io
import json
import os
import re
import runpy
import stat
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest
from rich.console import Console

import truebit_async.cli
from tests.cli.command import Run
from tests.policies import FAST
from truebit_async.checkpoint import read_checkpoint
from truebit_async.cli import demo as cli_demo
from truebit_async.cli import output
from truebit_async.cli import runner as cli_run
from truebit_async.cli.options import Budgets, Connection, TaskKind
from truebit_async.cli.scenarios import SCENARIOS
from truebit_async.cli.wait import Wait
from truebit_async.testing import Reply, Simulator


def add_every_outcome(simulator: Simulator) -> None:
    simulator.add("good", polls=2, output="42 ü")
    simulator.add("failed", execution_status="failed")
    simulator.add("indeterminate", status="Indeterminate")
    simulator.add("error", status="Error")
    simulator.add("endless", status="Running")
    simulator.script("forbidden", Reply.error(403, "no \x1b[31mentry"))


# wait


def test_wait_prints_a_line_for_each(run: Run, server: Simulator) -> None:
    add_every_outcome(server)
    ran = run("wait", "good", "failed", "indeterminate", "error")
    assert ran.code == 1
    assert ran.lines.keys() == {"good", "failed", "indeterminate", "error"}
    good = ran.lines["good"]
    assert list(good) == ["executionId", "kind", "verificationStatus", "clearTextSolution", "polls", "elapsed", "error"]
    assert good["verificationStatus"] == "Success"
    assert good["clearTextSolution"]["output"] == "42 ü"
    assert good["clearTextSolution"]["signature"]["v"] == 28
    assert good["polls"] == 3
    assert 0 < good["elapsed"] < 5
    assert good["error"] is None
    assert ran.lines["failed"]["clearTextSolution"]["executionStatus"] == "failed"
    assert ran.lines["indeterminate"]["verificationStatus"] == "Indeterminate"
    assert ran.lines["error"] | {"elapsed": 0} == {
        "executionId": "error",
        "kind": "function",
        "verificationStatus": "Error",
        "clearTextSolution": None,
        "polls": 1,
        "elapsed": 0,
        "error": None,
    }
    assert "4 of 4 finished" in ran.err
    for category in ("succeeded", "failed", "indeterminate", "error"):
        assert re.search(rf"{category} +│ +1 ", ran.err)
    assert "6 requests in" in ran.err


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        (["good"], 0),
        (["good", "failed"], 1),
        (["indeterminate"], 1),
        (["error"], 1),
        (["missing"], 3),
        (["forbidden"], 2),
        (["good", "failed", "missing"], 3),
        (["bad\tid"], 3),
        (["endless"], 3),
    ],
)
def test_exit_codes_of_wait(run: Run, server: Simulator, ids: list[str], code: int) -> None:
    add_every_outcome(server)
    ran = run("wait", "--deadline", "0.5", *ids)
    assert ran.code == code
    assert ran.lines.keys() == set(ids)


def test_errors_are_in_the_line(run: Run, server: Simulator) -> None:
    add_every_outcome(server)
    server.script("forbidden", Reply.running(), Reply.error(403, "no \x1b[31mentry"))
    lines = run("wait", "--deadline", "0.3", "missing", "endless", "forbidden", "bad\tid").lines
    assert {execution_id: line["error"]["type"] for execution_id, line in lines.items()} == {
        "missing": "ExecutionNotFoundError",
        "endless": "VerificationTimeoutError",
        "forbidden": "AuthenticationError",
        "bad\tid": "InvalidExecutionIdError",
    }
    assert "last seen Running" in lines["endless"]["error"]["message"]
    assert lines["endless"]["polls"] > 5
    assert 0.3 <= lines["endless"]["elapsed"] < 1
    assert "\x1b" not in lines["forbidden"]["error"]["message"]
    assert all(line["verificationStatus"] is None for line in lines.values())


def test_an_unreachable_dispatcher(run: Run, server: Simulator) -> None:
    ran = run("wait", "--base-url", "http://127.0.0.1:1", "id")
    assert ran.code == 3
    assert ran.lines["id"]["error"]["type"] == "TransportError"


@pytest.mark.parametrize("source", ["file", "-"])
def test_ids_from_a_file_or_a_pipe(run: Run, server: Simulator, tmp_path: Path, source: str) -> None:
    for execution_id in ("a", "b", "ü", "d"):
        server.add(execution_id)
    text = "\N{BYTE ORDER MARK}a\r\n\n  # comment\n  b  \nü\na\n"
    (tmp_path / "ids.txt").write_text(text, encoding="utf-8")
    where = "-" if source == "-" else str(tmp_path / "ids.txt")
    ran = run("wait", "d", "--from", where, stdin=text.encode())
    assert ran.code == 0
    assert ran.lines.keys() == {"a", "b", "ü", "d"}
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wait"], "give at least one execution ID"),
        (["wait", "--from", "/no/such/file"], "cannot read IDs from /no/such/file"),
        (["wait", "--from", "/no/such/file", "--from", "-"], "cannot read IDs from /no/such/file"),
        (["wait", "--deadline", "0", "id"], "'--deadline'"),
        (["wait", "--deadline", "-5", "id"], "'--deadline'"),
        (["wait", "--deadline", "soon", "id"], "1h30m"),
        (["wait", "--not-found-grace", "soon", "id"], "'--not-found-grace'"),
        (["wait", "--base-url", "ftp://x", "id"], "'--base-url' (env var: 'TRUEBIT_BASE_URL'): must be"),
        (["status", "--base-url", "https://user:pw@x", "id"], "credentials"),
        (["status", ".."], "is not an execution ID"),
        (["status"], "ID"),
        (["simulate", "--port", "70000"], "'--port'"),
        (["unknown"], "unknown"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], message: str) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert message in ran.prose
    assert ran.out == ""
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("command", ["status", "wait"])
def test_an_invalid_base_url_in_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("TRUEBIT_BASE_URL", "ftp://x")
    ran = run(command, "id")
    assert ran.code == 2
    assert "must be an http://" in ran.prose
    assert "TRUEBIT_BASE_URL" in ran.prose


@pytest.mark.parametrize("command", ["status", "wait"])
def test_an_unencrypted_key_is_a_warning_on_one_line(
    run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    server.add("id")
    monkeypatch.setenv("TRUEBIT_API_KEY", "hunter2")
    not_loopback = server.url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104  # this address leads to the same server
    ran = run(command, "--base-url", not_loopback, "id")
    assert ran.code == 0
    first, *rest = ran.err.splitlines()
    assert first == (
        "truebit-async: warning: the API key travels unencrypted to 0.0.0.0; use a --base-url with https://"
    )
    assert "arning" not in "".join(rest)


def test_not_found_grace(run: Run, server: Simulator) -> None:
    server.script("late", Reply.error(404, "unknown"), Reply.success("there"))
    assert run("wait", "late").code == 3
    server.script("later", Reply.error(404, "unknown"), Reply.success("there"))
    ran = run("wait", "--not-found-grace", "1m", "later")
    assert ran.code == 0
    assert ran.lines["later"]["polls"] == 2


def test_an_invalid_key_in_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEBIT_API_KEY", "hunter2\n")
    ran = run("status", "id")
    assert ran.code == 2
    assert ran.err.startswith(
        "truebit-async status: wrong value in the environment: TRUEBIT_API_KEY must be printable ASCII"
    )
    assert "hunter2" not in ran.err


def test_ctrl_c_exits_130_and_says_how_to_continue(
    run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(_: asyncio.Runner, command: Any) -> None:
        command.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio.Runner, "run", interrupted)
    ran = run("wait", "id")
    assert ran.code == 130
    assert ran.err.endswith("truebit-async: interrupted\n")
    ran = run("wait", "id", "--out", str(tmp_path / "out"))
    assert ran.code == 130
    assert ran.err.endswith(f"interrupted; to continue {tmp_path / 'out'}, run the same command with --resume\n")


def test_uvloop_is_used_if_it_is_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", types.SimpleNamespace(new_event_loop="fast"))
    assert cli_run._loop_factory() == "fast"  # type: ignore[comparison-overlap]
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert cli_run._loop_factory() is None


# wait --from and --out


def test_ids_may_be_json_and_malformed_lines_stop_nothing(run: Run, server: Simulator, tmp_path: Path) -> None:
    for execution_id in ("a", "b", "c"):
        server.add(execution_id)
    lines = [
        '{"executionId": "a", "more": 1}',
        "b",
        "{",
        '{"id": "x"}',
        '{"executionId": 7}',
        "two\ttabs",
        "c",
        "{}",
        '{"executionId": "", "tag": 0}',  # in a checkpoint, a task without an execution
    ]
    (tmp_path / "ids").write_text("\n".join(lines))
    ran = run("wait", "--from", str(tmp_path / "ids"))
    assert ran.code == 3
    assert ran.lines.keys() == {"a", "b", "c"}
    assert "ids:9" not in ran.err
    for number, reason in [
        (3, "not a JSON"),
        (4, "not a JSON"),
        (5, "not a str"),
        (6, "control char"),
        (8, "not a JSON"),
    ]:
        assert re.search(rf"ids:{number}: .*{reason}", ran.err)


@pytest.mark.parametrize("source", ["file", "-"])
def test_an_input_with_only_malformed_lines(run: Run, server: Simulator, tmp_path: Path, source: str) -> None:
    (tmp_path / "ids").write_bytes(b"{\n\xff\xfe")
    path = str(tmp_path / "ids")
    where = "stdin" if source == "-" else path
    ran = run("wait", "--from", "-" if source == "-" else path, stdin=(tmp_path / "ids").read_bytes())
    assert ran.code == 3
    assert f"{where}:1: not a JSON object" in ran.err
    assert re.search(r"malformed lines +│ +2 ", ran.err)
    assert f"{where}:2: not UTF-8: invalid start byte at byte 1" in ran.err


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["empty.txt"], "empty.txt contains no execution ID"),
        (["-"], "stdin contains no execution ID"),
        (["-", "empty.txt"], "stdin contains no execution ID; empty.txt contains no execution ID"),
    ],
)
def test_an_input_without_any_id(
    run: Run, server: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    arguments = ["wait", *(argument for source in sources for argument in ("--from", source))]
    ran = run(*arguments)
    assert (ran.code, ran.out, ran.err) == (2, "", f"truebit-async: {message}\n")
    ran = run(*arguments, "--json")
    assert (ran.code, ran.err) == (2, f"truebit-async: {message}\n")
    summary = json.loads(ran.out)["summary"]
    assert (summary["total"], summary["exitCode"]) == (0, 2)


def test_ids_from_several_sources(run: Run, server: Simulator, tmp_path: Path) -> None:
    for execution_id in ("a", "b", "c", "d"):
        server.add(execution_id)
    (tmp_path / "one").write_text("a\nb\n{")
    (tmp_path / "two").write_text("b\n{")
    sources = ["--from", str(tmp_path / "one"), "--from", "-", "--from", str(tmp_path / "two")]
    ran = run("wait", "d", *sources, stdin=b"c\na\n{")
    assert ran.code == 3
    assert ran.lines.keys() == {"a", "b", "c", "d"}
    assert len(server.requests) == 4
    for where in (f"{tmp_path / 'one'}:3: ", f"{tmp_path / 'two'}:2: ", "stdin:3: "):
        assert where in ran.err


def test_a_stdin_that_cannot_be_read(run: Run, server: Simulator) -> None:
    ran = run("wait", "--from", "-", stdin=None)
    assert (ran.code, ran.err) == (2, "truebit-async: cannot read IDs from stdin: it is closed\n")


def test_stdin_goes_with_out_and_resume_and_arguments(run: Run, server: Simulator, tmp_path: Path) -> None:
    for execution_id in ("a", "b", "c"):
        server.add(execution_id)
    out = str(tmp_path / "out")
    assert run("wait", "--from", "-", "--out", out, stdin=b"a\nmissing\n").code == 3
    server.add("missing", execution_status="failed")
    server.requests.clear()
    ran = run("wait", "c", "--from", "-", "--out", out, "--resume", "--json", stdin=b"a\nb\nmissing\nb\nc\na")
    assert ran.code == 1
    assert Counter(request.execution_id for request in server.requests) == {"b": 1, "c": 1, "missing": 1}
    summary = json.loads(ran.out)["summary"]
    assert (summary["total"], summary["skipped"], summary["malformed"]) == (3, 1, 0)


def test_the_json_summary_is_the_last_line_and_the_only_summary(run: Run, server: Simulator) -> None:
    add_every_outcome(server)
    ran = run("wait", "good", "failed", "indeterminate", "error", "missing", "--json")
    assert ran.code == 3
    *results, last = ran.out.splitlines()
    assert len(results) == 5
    summary = json.loads(last)["summary"]
    assert summary["outcomes"] == {"succeeded": 1, "failed": 1, "indeterminate": 1, "error": 1, "noFinalState": 1}
    assert (summary["total"], summary["requests"], summary["exitCode"]) == (5, 7, 3)
    assert 0 < summary["medianSeconds"] <= summary["p95Seconds"] <= summary["seconds"] < 5
    assert ran.err == ""


def test_the_json_summary_counts_malformed_lines_and_follows_an_interruption(
    run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("a")
    ran = run("wait", "--from", "-", "--json", stdin=b"a\n{\n}\n{}\n")
    summary = json.loads(ran.out.splitlines()[-1])["summary"]
    assert (ran.code, summary["exitCode"], summary["malformed"], summary["total"]) == (3, 3, 3, 1)

    def interrupted(_: asyncio.Runner, command: Any) -> None:
        command.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio.Runner, "run", interrupted)
    ran = run("wait", "a", "--json")
    assert (ran.code, json.loads(ran.out)["summary"]["exitCode"]) == (130, 130)


class BrokenFile(io.StringIO):
    def __init__(self, code: int) -> None:
        super().__init__()
        self._code = code

    def write(self, _: str) -> int:
        raise OSError(self._code, os.strerror(self._code))


@pytest.mark.parametrize(
    "arguments",
    [["wait", "a"], ["wait", "--json", "a", "--out", "a.jsonl"], ["status", "a"], ["demo"], ["simulate", "--port=0"],
     ["--version"], ["--help"]],
    ids=" ".join,
)  # fmt: skip
def test_a_full_disk_under_stdout_is_not_reported_as_a_bug(
    run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("truebit_async.cli.demo._POLICY", FAST)
    server.add("a")
    monkeypatch.setattr(sys, "stdout", BrokenFile(errno.ENOSPC))
    ran = run(*arguments)
    assert ran.code == 3
    assert ran.err.endswith("No space left on device\n")
    assert "Traceback" not in ran.err


def test_a_closed_pipe_ends_the_command_quietly(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add("a")
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setattr(sys, "stdout", BrokenFile(errno.EPIPE))
    ran = run("wait", "a")
    assert (ran.code, ran.err) == (1, "")


def test_stdin_is_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True, fileno=lambda: 0))
    with contextlib.ExitStack() as stack:
        make_wait(sources=("-",))._open_sources(stack, print)
    assert capsys.readouterr().err == "reading IDs from stdin, one per line; Ctrl-D ends the input\n"


def test_a_reader_that_pauses(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add("a")
    looks = iter([False, False, True])
    real = os.fstat

    def fifo(number: int) -> os.stat_result:
        return os.stat_result((stat.S_IFIFO, *real(number)[1:]))

    monkeypatch.setattr("truebit_async.cli.wait.os.fstat", fifo)
    monkeypatch.setattr("truebit_async.cli.wait.select.select", lambda *_: ([], [1] if next(looks) else [], []))
    ran = run("wait", "a")
    assert (ran.code, set(ran.lines), list(looks)) == (0, {"a"}, [])


def test_a_closed_stdout_is_found_before_anything_is_asked(
    run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fstat

    def one_is_closed(number: int) -> os.stat_result:
        if number == 1:
            raise OSError(errno.EBADF, "closed")
        return real(number)

    monkeypatch.setattr("truebit_async.cli.output.os.fstat", one_is_closed)
    monkeypatch.setattr("truebit_async.cli.output.os.open", lambda *_: 1)
    for arguments in (["wait", "a"], ["status", "a"], ["run", "api", "ns/t"], ["audit", "a"], ["transcript", "a"]):
        ran = run(*arguments)
        assert (ran.code, "cannot print results: stdout is closed" in ran.err) == (2, True)
    assert not server.requests


def test_api_tasks(run: Run, server: Simulator, tmp_path: Path) -> None:
    server.add("good", output={"a": 1}, kind="api")
    server.add("failed", execution_status="failed", kind="api")
    ran = run("status", "--kind", "api", "good")
    assert (ran.code, json.loads(ran.out)["clearTextSolution"]["output"]) == (0, {"a": 1})
    ran = run("wait", "--kind", "api", "good", "failed")
    lines = {line["executionId"]: line for line in map(json.loads, ran.out.splitlines())}
    assert (ran.code, lines["good"]["kind"], lines["failed"]["status"]) == (1, "api", "Success")
    out = str(tmp_path / "results.jsonl")
    assert run("wait", "--kind", "api", "good", "--out", out).code == 0
    assert [record.output for record in read_checkpoint(out, "api")] == [{"a": 1}]
    ran = run("wait", "good", "--out", out, "--resume")
    assert (ran.code, "kind 'api', not 'function'" in ran.err) == (2, True)
    assert run("status", "--kind", "other", "good").code == 2


def test_results_go_to_a_file_and_a_second_run_continues_it(run: Run, server: Simulator, tmp_path: Path) -> None:
    add_every_outcome(server)
    out = tmp_path / "results.jsonl"
    arguments = ["wait", "good", "failed", "missing", "endless", "--deadline", "0.3", "--out", str(out)]
    ran = run(*arguments)
    assert (ran.code, ran.out) == (3, "")
    assert {record.execution_id for record in read_checkpoint(out)} == {"good", "failed", "missing", "endless"}

    server.requests.clear()
    server.add("missing", output="found")
    server.add("endless", output="ended")
    ran = run(*arguments, "--resume")
    assert (ran.code, ran.out) == (1, "")  # the failed one counts although it was skipped
    assert {request.execution_id for request in server.requests} == {"missing", "endless"}
    assert all(record.is_final for record in {r.execution_id: r for r in read_checkpoint(out)}.values())
    assert "2 of 2 finished" in ran.err
    assert re.search(r"outcome +┃ executions ┃ on file before ", ran.err)
    assert re.search(r"succeeded +│ +2 │ +1 ", ran.err)
    assert re.search(r"failed +│ +0 │ +1 ", ran.err)

    server.requests.clear()
    assert run(*arguments, "--resume").code == 1
    assert not server.requests


def test_a_torn_line_is_reported_and_removed(run: Run, server: Simulator, tmp_path: Path) -> None:
    server.add("a")
    server.add("b")
    out = tmp_path / "results.jsonl"
    assert run("wait", "a", "--out", str(out)).code == 0
    with out.open("ab") as file:
        file.write(b'{"executionId": "b", "verif')
    ran = run("wait", "a", "b", "--out", str(out), "--resume")
    assert ran.code == 0
    assert "the last line was torn, and its 27 bytes were removed" in ran.err
    assert [record.execution_id for record in read_checkpoint(out)] == ["a", "b"]


def test_unusable_out_files(run: Run, server: Simulator, tmp_path: Path) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("dear diary\n")
    os.mkfifo(tmp_path / "fifo")
    full = tmp_path / "full.jsonl"
    assert run("wait", "missing", "--out", str(full)).code == 3
    server.requests.clear()
    for arguments, message in [
        (["--out", str(foreign)], "it exists and is not empty; give --resume, or name another file"),
        (["--out", str(foreign), "--resume"], "line 1 is neither an outcome"),
        (["--out", str(full)], "it exists and is not empty"),
        (["--out", str(tmp_path)], "Is a directory"),
        (["--out", str(tmp_path / "no" / "such")], "No such file or directory; name another file, or fix that"),
        (["--out", str(tmp_path / "fifo")], "fifo: it is not a regular file; name another file"),
        (["--out", str(tmp_path / "fifo"), "--resume"], "it is not a regular file"),
        (["--resume"], "--resume needs --out"),
    ]:
        ran = run("wait", "id", *arguments)
        assert ran.code == 2
        assert message in ran.err
    assert not server.requests
    assert foreign.read_text() == "dear diary\n"


def test_wrong_configuration_creates_no_file(run: Run, tmp_path: Path) -> None:
    assert run("wait", "id", "--base-url", "ftp://x", "--out", str(tmp_path / "out")).code == 2
    assert not (tmp_path / "out").exists()


def test_a_full_disk_under_the_out_file_is_an_error(run: Run, server: Simulator, tmp_path: Path) -> None:
    server.add("a")
    ran = run("wait", "a", "--out", "/dev/full")
    assert ran.code == 3
    assert "No space left on device" in ran.err
    assert "Traceback" not in ran.err


# status


@pytest.mark.parametrize(
    ("execution_id", "code"), [("good", 1), ("failed", 1), ("indeterminate", 1), ("error", 1), ("done", 0)]
)
def test_status_prints_the_state(run: Run, server: Simulator, execution_id: str, code: int) -> None:
    add_every_outcome(server)
    server.add("done", output="7")
    ran = run("status", execution_id)
    assert ran.code == code
    assert json.loads(ran.out)["executionId"] == execution_id
    assert (f"execution {execution_id!r}" in ran.err) == (execution_id in {"failed", "indeterminate", "error"})


def test_status_of_an_unknown_execution(run: Run, server: Simulator) -> None:
    ran = run("status", "missing")
    assert ran.code == 3
    assert ran.out == ""
    assert ran.err.startswith("truebit-async: execution 'missing': the dispatcher answered 404")


# demo and simulate


def test_the_demo_ends_as_expected(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_demo, "_POLICY", FAST)
    ran = run("demo")
    assert ran.code == 0
    assert "Every execution ended as expected" in ran.out
    for scenario in SCENARIOS:
        assert re.search(rf"│ {scenario.count} {scenario.name} +│ {re.escape(scenario.description)} +│", ran.out)
    assert "The result of success-08 is 49." in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80
    chain = ran.out.splitlines()[-5:]
    assert chain == [
        "A chain of two tasks, each of them submitted once:",
        '1. API task demo/order        {"id": 2, "state": "shipped"}',
        "2. function task demo/shipped true",
        "3. audit of its transcript    12 signatures as expected",
        "                              2 of 3 nodes had to agree",
    ]


def test_a_demo_without_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_demo, "_POLICY", FAST)
    monkeypatch.setattr(Simulator, "signer", None)
    ran = run("demo")
    assert ran.code == 0
    assert ran.out.endswith("install the extra `audit`\n")


def test_a_demo_with_an_unexpected_outcome_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_demo, "_POLICY", attrs.evolve(FAST, max_consecutive_errors=1))
    ran = run("demo")
    assert ran.code == 1
    assert "NOT every execution ended as expected" in ran.out


def test_a_port_that_is_in_use(run: Run, server: Simulator) -> None:
    ran = run("simulate", "--port", server.url.rpartition(":")[2])
    assert ran.code == 2
    assert "in use" in ran.err


def test_simulate_prints_its_ids(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave(_: asyncio.Event) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio.Event, "wait", leave)
    ran = run("simulate", "--port", "0")
    assert ran.code == 130
    assert ran.out.splitlines() == [execution_id for scenario in SCENARIOS for execution_id in scenario.execution_ids]
    assert "listens at http://127.0.0.1:" in ran.err


# The rest


def test_version(run: Run) -> None:
    assert run("--version").out == f"truebit-async {truebit_async.__version__}\n"


def test_python_dash_m(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["truebit_async", "--version"])
    with pytest.raises(SystemExit) as caught:
        # Not run_module: pytest loads the package with its own loader, which has no `get_code`.
        runpy.run_path(str(Path(truebit_async.__file__).with_name("__main__.py")), run_name="__main__")
    assert caught.value.code == 0
    assert "truebit-async" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_the_command_names_it(run: Run, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    hide(monkeypatch, missing)
    ran = run("demo")
    assert ran.code == 2
    assert ran.err == "truebit-async needs its extra `cli`: pip install -e '.[cli]' in a checkout installs it\n"


def test_other_missing_modules_are_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "tenacity")
    ran = run("demo")
    assert ran.code == 70
    assert "ModuleNotFoundError" in ran.err


def test_modules_that_are_missing_at_the_start_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "math")
    with pytest.raises(ModuleNotFoundError):
        truebit_async.cli.main()


def hide(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    real_import = builtins.__import__

    def import_without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == hidden:
            raise ModuleNotFoundError(name=hidden)
        return real_import(name, *args, **kwargs)

    for module in [name for name in sys.modules if name.startswith("truebit_async.cli.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", import_without)


def make_wait(**options: Any) -> Wait:
    defaults: dict[str, Any] = {
        **dict.fromkeys(["column", "out", "shard", "result_format"]),
        **dict.fromkeys(["resume", "has_json_summary", "is_quiet"], False),
        "execution_ids": (),
        "sources": (),
        "kind": TaskKind.FUNCTION,
        "budgets": Budgets(),
        "connection": Connection(None, None, verbose=False),
    }
    return Wait(**{**defaults, **options})


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_display_leaves_a_terminal_to_whoever_types_on_it(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: is_terminal))
    monkeypatch.setattr("truebit_async.cli.wait.stdout_is_a_pipe", lambda: False)
    console = Console(file=io.StringIO(), force_terminal=True)
    assert make_wait(sources=("-",))._has_live_display(console) is not is_terminal
    assert not make_wait(sources=("-",), is_quiet=True)._has_live_display(console)


@pytest.mark.parametrize(("mode", "is_pipe"), [(stat.S_IFIFO, True), (stat.S_IFSOCK, True), (stat.S_IFREG, False)])
def test_what_is_a_pipe(monkeypatch: pytest.MonkeyPatch, mode: int, is_pipe: bool) -> None:
    fstat = os.fstat
    with monkeypatch.context() as patch:
        patch.setattr("truebit_async.cli.output.os.fstat", lambda number: os.stat_result((mode, *fstat(number)[1:])))
        found = output.stdout_is_a_pipe()
    assert found is is_pipe
