"""`results`: what checkpoints hold."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest

from tests.cli.command import Ran, Run
from tests.cli.test_result_text import on_a_terminal
from truebit_async import (
    ApiExecution,
    ApiSolution,
    ApiStatus,
    ClearTextSolution,
    Execution,
    ExecutionStatus,
    Outcome,
    VerificationStatus,
    errors,
)
from truebit_async.checkpoint import Checkpoint, RecordedSubmission, SubmissionState
from truebit_async.testing import Simulator

NOT_FOUND = errors.ExecutionNotFoundError("missing", 404, "no such execution")


def final(
    execution_id: str, output: str = "42", tag: str | int | None = None, *, succeeded: bool = True
) -> Outcome[Execution]:
    status = ExecutionStatus.SUCCEED if succeeded else ExecutionStatus.FAILED
    execution = Execution(execution_id, VerificationStatus.SUCCESS, ClearTextSolution(output, status))
    return Outcome(execution_id, execution, None, 2, 1.25, tag=tag)


def unsolved(execution_id: str, status: VerificationStatus) -> Outcome[Execution]:
    return Outcome(execution_id, Execution(execution_id, status), None, 1, 0.5)


def lost(error: errors.TruebitError, tag: str | int | None = None) -> Outcome[Execution]:
    return Outcome(error.execution_id or "", None, error, 3, 0.75, tag=tag)


EVERY_OUTCOME = [
    final("good", "42"),
    final("bad", "", succeeded=False),
    unsolved("unsure", VerificationStatus.INDETERMINATE),
    unsolved("broken", VerificationStatus.ERROR),
    lost(NOT_FOUND),
]


def write(path: Path, *outcomes: Outcome[Execution]) -> str:
    with Checkpoint(path, resume=True) as checkpoint:
        for outcome in outcomes:
            checkpoint.write(outcome)
    return str(path)


def rows(ran: Ran) -> list[dict[str, str]]:
    """Read CSV back as a program does that gets it through a file: universal newlines are off."""
    return list(csv.DictReader(io.StringIO(ran.out, newline=""), strict=True))


# Formats


def test_lines_of_json_are_those_of_the_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    file = write(path, *EVERY_OUTCOME)
    ran = run("results", file)
    assert ran.code == 3
    assert ran.out == path.read_text()
    assert run("results", file, "--format", "json").out == ran.out


def test_what_wait_has_written_is_what_wait_would_print(run: Run, server: Simulator, tmp_path: Path) -> None:
    for execution_id in ("a", "b"):
        server.add(execution_id, output='[1, "ü"]\n')
    out = str(tmp_path / "out.jsonl")
    assert run("wait", "a", "b", "--out", out).code == 0
    printed = run("wait", "a", "b").lines
    found = run("results", out).lines
    times = {"elapsed": 0}
    assert {key: {**line, **times} for key, line in found.items()} == {
        key: {**line, **times} for key, line in printed.items()
    }


def test_lines_of_text(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    file = write(tmp_path / "results.jsonl", *EVERY_OUTCOME)
    assert run("results", file, "--format", "text").out.splitlines() == [
        "✓ good  42  1.2 s",
        "✗ bad  failed  1.2 s",
        "? unsure  indeterminate  0.5 s",
        "✗ broken  error  0.5 s",
        # without the ID, and without a hint that is about Python
        "! missing  ExecutionNotFoundError: the dispatcher answered 404 ('no such execution').  0.8 s",
    ]


def test_a_terminal_gets_text_without_control_characters(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "results.jsonl", final("a", "\x1b[31mred\nline"), lost(errors.TransportError("b\x9b", "x")))
    terminal = on_a_terminal(monkeypatch)
    run("results", file)
    assert terminal.getvalue().startswith("✓ a  \\x1b[31mred\\nline  1.2 s\n! b\\x9b  TransportError: ")
    assert terminal.getvalue().count("\n") == 2


@pytest.mark.parametrize(
    "output", ["", "a,b", 'say "hi"', "two\nlines", "two\r\nlines", "a\rb", "\n", "\x1b[31m", "ü漢", " ", "-1,5;x\t"]
)
def test_csv_is_read_back_as_it_was(run: Run, tmp_path: Path, output: str) -> None:
    file = write(tmp_path / "results.jsonl", final("a", output, tag=output), final("b"))
    ran = run("results", file, "--format", "csv")
    assert [row["output"] for row in rows(ran)] == [output, "42"]
    assert [row["tag"] for row in rows(ran)] == [output, ""]


def test_columns_of_csv(run: Run, tmp_path: Path) -> None:
    ran = run("results", write(tmp_path / "results.jsonl", *EVERY_OUTCOME), "--format", "csv")
    assert ran.out.splitlines()[0] == "execution_id,tag,outcome,output,error,polls,elapsed"
    by_id = {row["execution_id"]: row for row in rows(ran)}
    assert by_id["good"] == {
        "execution_id": "good",
        "tag": "",
        "outcome": "succeeded",
        "output": "42",
        "error": "",
        "polls": "2",
        "elapsed": "1.25",
    }
    assert {key: row["outcome"] for key, row in by_id.items()} == {
        "good": "succeeded",
        "bad": "failed",
        "unsure": "indeterminate",
        "broken": "error",
        "missing": "no final state",
    }
    assert by_id["missing"]["error"] == str(NOT_FOUND)
    assert by_id["bad"]["error"].startswith("execution 'bad' was verified, and the nodes agree that it failed")
    assert all(row["output"] == "" for key, row in by_id.items() if key != "good")


def test_csv_on_a_terminal_has_no_control_characters(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "results.jsonl", final("a", "\x1b[31m\n"))
    terminal = on_a_terminal(monkeypatch)
    run("results", file, "--format", "csv")
    assert terminal.getvalue().splitlines()[1:] == [r"a,,succeeded,\x1b[31m\n,,2,1.25"]


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", r"\xfc\ud800"), ("latin-1", r"ü\ud800")])
def test_csv_where_stdout_cannot_show_everything(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    file = write(tmp_path / "results.jsonl", final("a", "ü\ud800"))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    ran = run("results", file, "--format", "csv", "-q")
    assert (ran.code, ran.err) == (0, "")
    assert written.getvalue().decode(encoding).splitlines()[1] == f"a,,succeeded,{shown},,2,1.25"


def test_api_tasks(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    solution = ApiSolution({"order": {"id": 2}, "state": "shipped"}, ExecutionStatus.SUCCEED)
    execution = ApiExecution("a", ApiStatus.SUCCESS, solution)
    with Checkpoint(path, kind="api") as checkpoint:
        checkpoint.write(Outcome("a", execution, None, 1, 1.0, kind="api"))
    ran = run("results", "--kind", "api", str(path))
    assert (ran.code, ran.out) == (0, path.read_text())
    ran = run("results", "--kind", "api", str(path), "--format", "csv")
    assert json.loads(rows(ran)[0]["output"]) == {"order": {"id": 2}, "state": "shipped"}
    ran = run("results", str(path))
    assert (ran.code, ran.out) == (2, "")
    assert "of kind 'api', not 'function'; give --kind, or name another file" in ran.err
    ran = run("results", "--kind", "api", write(tmp_path / "function.jsonl", final("a")))
    assert "of kind 'function', not 'api'; give --kind, or name another file" in ran.err


# Which results


def test_only_what_did_not_succeed(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "results.jsonl", *EVERY_OUTCOME)
    ran = run("results", "--failed", file)
    assert list(ran.lines) == ["bad", "unsure", "broken", "missing"]
    assert (ran.code, "succeeded" in ran.err) == (3, True)  # the summary and the exit code are about all
    assert [row["execution_id"] for row in rows(run("results", "--failed", file, "--format", "csv"))] == list(ran.lines)


def test_if_all_succeeded_csv_still_has_its_header(run: Run, tmp_path: Path) -> None:
    ran = run("results", "--failed", write(tmp_path / "results.jsonl", final("a")), "--format", "csv")
    assert (ran.code, ran.out) == (0, "execution_id,tag,outcome,output,error,polls,elapsed\n")


def test_several_files_are_read_as_one(run: Run, tmp_path: Path) -> None:
    first = write(tmp_path / "first.jsonl", lost(errors.TransportError("a", "reset")), final("b", "1"), final("c"))
    second = write(tmp_path / "second.jsonl", final("a", "2"), lost(errors.TransportError("b", "reset")))
    ran = run("results", first, second)
    assert ran.code == 0
    assert {key: line["clearTextSolution"]["output"] for key, line in ran.lines.items()} == {
        "a": "2",
        "b": "1",
        "c": "42",
    }
    assert run("results", first).code == 3


def test_tasks_of_run_many_have_tags(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    with Checkpoint(path) as checkpoint:
        checkpoint.write_submission(RecordedSubmission("first", "digest", SubmissionState.SENT))
        checkpoint.write(final("a", tag="first"))
        checkpoint.write(final("b", tag=7))
        checkpoint.write(lost(errors.PaymentRequiredError(None, 402, "no funds", kind="function"), tag="third\x1b"))
    ran = run("results", str(path))
    assert [json.loads(line)["tag"] for line in ran.out.splitlines()] == ["first", 7, "third\x1b"]
    found = rows(run("results", str(path), "--format", "csv"))
    assert [(row["execution_id"], row["tag"]) for row in found] == [("a", "first"), ("b", "7"), ("", "third\x1b")]
    text = run("results", str(path), "--format", "text").out.splitlines()[-1]
    assert text.startswith(r"! task third\x1b  PaymentRequiredError: ")


# Exit codes and summary


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (EVERY_OUTCOME[:1], 0),
        (EVERY_OUTCOME[:2], 1),
        (EVERY_OUTCOME[2:3], 1),
        (EVERY_OUTCOME[3:4], 1),
        (EVERY_OUTCOME[:1] + EVERY_OUTCOME[4:], 3),
    ],
)
def test_exit_codes_are_those_of_wait(run: Run, tmp_path: Path, outcomes: list[Outcome[Execution]], code: int) -> None:
    assert run("results", write(tmp_path / "results.jsonl", *outcomes)).code == code


def test_the_summary_counts_each_execution_once(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "results.jsonl", *EVERY_OUTCOME, *(final(f"id-{number}") for number in range(1200)))
    ran = run("results", file, file)
    shown = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in ran.err.splitlines() if "│" in line}
    assert shown == {"succeeded": "1,201", "failed": "1", "indeterminate": "1", "error": "1", "no final state": "1"}
    assert run("results", file, "--quiet").err == ""


def test_a_file_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", final("a"))
    foreign = tmp_path / "notes\x1b.txt"
    foreign.write_text("dear diary\n")
    torn = tmp_path / "torn.jsonl"
    torn.write_text('{"executionId": "a"}\n{"exec')
    for file, message in [
        (tmp_path / "missing", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (foreign, r"notes\x1b.txt: line 1 is neither an outcome nor a submission"),
        (torn, "line 1 is neither an outcome nor a submission"),
    ]:
        for arguments in [[], ["--format", "csv"]]:
            ran = run("results", good, str(file), *arguments)
            assert (ran.code, ran.out) == (2, "")  # nothing that looks like a whole result
            assert ran.err.startswith("truebit-async: checkpoint ")
            assert message in ran.err
            assert ran.err.count("\n") == 1


def test_a_file_that_nobody_may_read(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "secret.jsonl", final("a"))
    real_open = Path.open

    def refuse(path: Path, *args: object, **kwargs: object) -> object:
        if path == Path(file):
            raise PermissionError(13, os.strerror(13))
        return real_open(path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    ran = run("results", file)
    assert (ran.code, ran.out, "Permission denied" in ran.err) == (2, "", True)


@pytest.mark.parametrize("result_format", ["json", "csv", "text"])
def test_a_file_without_a_result_is_no_success(run: Run, tmp_path: Path, result_format: str) -> None:
    """As `wait` with an input without an ID: a job whose list was lost must not look like one that is done."""
    empty = write(tmp_path / "empty.jsonl")
    ran = run("results", empty, "--format", result_format)
    assert (ran.code, ran.out, ran.err) == (2, "", f"truebit-async: no result is in {empty}\n")


def test_it_needs_a_file(run: Run) -> None:
    assert run("results").code == 2


# Shards


def test_what_is_missing_of_shards(
    run: Run, server: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ids = [f"id-{number}" for number in range(40)]
    for execution_id in ids:
        server.add(execution_id)
    for index in range(3):
        assert run("wait", *ids, "--shard", f"{index}/3").code == 0
    files = [f"results-{index:02}-of-03.jsonl" for index in range(3)]
    ran = run("results", *files, "-q")
    assert (ran.code, ran.err, set(ran.lines)) == (0, "", set(ids))

    ran = run("results", files[1], "-q")
    assert (ran.code, ran.err) == (3, "truebit-async: there is no file of these shards: 0/3, 2/3\n")

    Path("results-02-of-03.summary.json").unlink()
    ran = run("results", *files, "-q")
    unfinished = (
        "truebit-async: shard 2/3 is unfinished: its wait still runs, or was stopped; run it again with --resume\n"
    )
    assert (ran.code, ran.err, set(ran.lines)) == (3, unfinished, set(ids))

    assert run("wait", *ids, "--shard", "2/3", "--resume").code == 0
    assert run("results", *files).code == 0


def test_a_shard_that_was_stopped_is_unfinished(
    run: Run, server: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server.add("a")
    summary = Path("results-00-of-01.summary.json")
    assert run("wait", "a", "--shard", "0/1").code == 0
    assert json.loads(summary.read_text())["summary"]["outcomes"]["succeeded"] == 1
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        server.add("b")
        assert run("wait", "a", "b", "--shard", "0/1", "--resume").code == 130
    assert not summary.exists()
    assert run("results", "results-00-of-01.jsonl").code == 3


def test_few_of_many_missing_shards_are_named(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "results-000003-of-123456.jsonl", final("a"))
    (tmp_path / "results-000003-of-123456.summary.json").touch()
    ran = run("results", file, "-q")
    assert ran.err.endswith("14/123456, 15/123456, 16/123456 and 123,439 more\n")
    assert "3/123456, 4/123456" not in ran.err.replace("13/123456", "")


def test_files_with_other_names_belong_to_no_shard(run: Run, tmp_path: Path) -> None:
    for name in ("results.jsonl", "results-3-of-2.jsonl", "old-results-00-of-02.jsonl"):
        assert run("results", write(tmp_path / name, final("a"))).code == 0


def test_an_empty_shard_among_others_is_fine(run: Run, tmp_path: Path) -> None:
    files = [
        write(tmp_path / "results-00-of-02.jsonl", final("a")),
        write(tmp_path / "results-01-of-02.jsonl"),
    ]
    for index in range(2):
        (tmp_path / f"results-0{index}-of-02.summary.json").touch()
    assert run("results", *files).code == 0
    ran = run("results", files[1])
    assert ran.code == 3
    assert ran.err == "truebit-async: there is no file of these shards: 0/2\n"


def test_a_finished_batch_without_ids_has_no_result_and_no_problem(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "results-00-of-01.jsonl")
    ran = run("results", file)
    assert (ran.code, "no result is in" in ran.err) == (3, True)
    (tmp_path / "results-00-of-01.summary.json").touch()
    ran = run("results", file)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
