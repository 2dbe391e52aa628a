"""Why results are missing: causes in summaries, refusals that stop a batch, and lost connections."""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs
import pytest

from tests.cli.command import Run
from tests.policies import FAST
from truebit_async import errors
from truebit_async.checkpoint import read_checkpoint
from truebit_async.cli import sessions
from truebit_async.cli.causes import Causes, cause_of
from truebit_async.cli.connection_state import ConnectionState
from truebit_async.errors import TruebitError
from truebit_async.testing import Reply, Simulator

TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.ServerError("a-1", 503, "deploying"), "503 ServerError: deploying. Try later, since"),
        (errors.ServerError("a-1", 500), "500 ServerError. Try later, since"),
        (errors.ExecutionNotFoundError("a-1", 404, "no a-1"), "404 ExecutionNotFoundError: no <ID>."),
        (errors.TransportError("a-1", "refused"), "TransportError: refused."),
        (errors.UnexpectedResponseError("a-1", 200, "no JSON", ""), "200 UnexpectedResponseError: no JSON."),
        (errors.InvalidExecutionIdError("a\tb", "control characters"), "InvalidExecutionIdError: control"),
        (errors.SessionClosedError("a-1"), "SessionClosedError. Open a new"),
        (
            errors.VerificationTimeoutError("a-1", 60.0, None, None, 3, 60.0),
            "VerificationTimeoutError: no final state within 60 s. Wait again",
        ),
        (
            errors.VerificationTimeoutError("a-1", 60.0, None, errors.ServerError("a-1", 500, "a-1 is lost"), 3, 60.0),
            "VerificationTimeoutError: no final state within 60 s; last failure: 500 ServerError: <ID> is lost. Wait",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_a_cause_has_no_id_and_says_what_to_do(error: TruebitError, text: str) -> None:
    assert str(cause_of(error)).startswith(text)


def test_an_error_without_an_id_has_a_cause() -> None:
    assert cause_of(errors.ServerError(None, 500, "down")).message == "down"


def test_an_id_within_a_word_is_no_id() -> None:
    error = errors.ServerError("a", 500, "a: invalid data, a-b and (a)")
    assert cause_of(error).message == "<ID>: invalid data, a-b and (<ID>)"


def test_errors_of_different_executions_have_the_same_cause() -> None:
    causes = Causes()
    for number in range(2000):
        causes.add(errors.ServerError(f"id-{number}", 503, f"id-{number}: deploying"))
    causes.add(errors.TransportError("id", "reset"))
    assert [(cause.status, cause.message, count) for cause, count in causes.most_common()] == [
        (503, "<ID>: deploying", 2000),
        (None, "reset", 1),
    ]


def test_a_server_with_a_message_for_each_request_does_not_fill_the_memory() -> None:
    causes = Causes()
    for number in range(1000):
        causes.add(errors.ServerError("id", 503, f"request {number}" + "x" * 1000))
    (most_common, count), *others = causes.most_common()
    assert (most_common.message, count, len(others)) == ("(other messages)", 950, 50)
    assert max(len(cause.message) for cause, _ in others) == 200


def test_the_summaries_name_the_causes(run: Run, server: Simulator) -> None:
    for number in range(12):
        server.script(f"id-{number}", Reply.error(400, f"reason {number // 2}"))
    server.add("good")
    ids = ["good", *(f"id-{number}" for number in range(12))]
    ran = run("wait", *ids, "missing")
    assert ran.code == 3
    cause = "400 BadRequestError: reason 3. Check the ID, or the name"
    assert f"2 {TIMES} {cause}" in ran.prose
    assert f"1 {TIMES} 404 ExecutionNotFoundError: execution <ID> was not found. Check the ID, or" in ran.prose
    summary = json.loads(run("wait", *ids, "--json").out.splitlines()[-1])["summary"]
    assert len(summary["causes"]) == 6
    assert {"count": 2, "type": "BadRequestError", "status": 400, "message": "reason 3"} in summary["causes"]


def test_only_the_most_frequent_causes_are_shown(run: Run, server: Simulator) -> None:
    for number in range(12):
        server.script(f"id-{number}", Reply.error(400, f"reason {number}"))
    ran = run("wait", *(f"id-{number}" for number in range(12)))
    assert ran.err.count("BadRequestError") == 10
    assert f"2 {TIMES} other causes" in ran.err


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_account_stops_the_batch_at_once(
    run: Run, server: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2000):
        server.script(f"id-{number}", Reply.error(status, "invalid api key"))
    (tmp_path / "ids.txt").write_text("".join(f"id-{number}\n" for number in range(2000)))
    ran = run("wait", "--from", "ids.txt", "--out", "out.jsonl")
    assert ran.code == 2
    assert len(server.requests) < 200  # those that were under way
    assert "stopped, since no other request can succeed" in ran.err
    assert "run the same command with --resume" in ran.err
    assert ("give --api-key-file" in ran.err) is (status != 402)
    for number in range(2000):
        server.add(f"id-{number}")
    assert run("wait", "--from", "ids.txt", "--out", "out.jsonl", "--resume").code == 0
    final = [record.execution_id for record in read_checkpoint("out.jsonl") if record.is_final]
    assert len(final) == len(set(final)) == 2000


def test_a_refusal_after_a_success_is_that_of_one_execution(run: Run, server: Simulator) -> None:
    server.add("good")
    server.script("forbidden", Reply.running(), Reply.error(403, "not yours"))
    server.script("slow", *[Reply.running()] * 10, Reply.success("there"))
    ran = run("wait", "good", "slow", "forbidden")
    assert ran.code == 3
    assert ran.lines.keys() == {"good", "slow", "forbidden"}


@pytest.mark.parametrize("command", ["status", "transcript", "invoice", "audit"])
def test_every_command_has_the_same_code_for_a_refused_key(run: Run, server: Simulator, command: str) -> None:
    server.script("id", Reply.error(401, "who are you?"))
    server.script_evidence("id", Reply.error(401, "who are you?"), document="transcript")
    server.script_evidence("id", Reply.error(401, "who are you?"), document="invoice")
    ran = run(command, "id")
    assert (ran.code, ran.out) == (2, "")
    assert "Check the API key: set TRUEBIT_API_KEY, or give --api-key-file." in ran.err


def test_a_server_that_cannot_be_reached_is_said_while_it_lasts(
    run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PollPolicy", lambda: attrs.evolve(FAST, max_consecutive_errors=20))
    monkeypatch.setattr("truebit_async.cli.progress.SECONDS_BETWEEN_LINES", 0.0)
    server.script("id", *[Reply.reset()] * 5, Reply.success("there"))
    ran = run("wait", "id")
    assert ran.code == 0
    lines = ran.err.splitlines()
    (lost,) = [number for number, line in enumerate(lines) if line.startswith("no response from the dispatcher: ")]
    (found,) = [number for number, line in enumerate(lines) if line.startswith("the dispatcher answers again")]
    assert lost < found
    assert all("NO CONNECTION for 0:00:00" in line for line in lines[lost + 1 : found])
    assert not re.search("NO CONNECTION", "".join(lines[found:]))
    assert found > lost + 1


def test_a_single_failure_is_no_lost_connection() -> None:
    state = ConnectionState()
    failure, answer = errors.TransportError("id", "reset"), errors.ServerError("id", 500)
    assert [state.take(failure, 1.0), state.take(failure, 2.0), state.take(answer, 3.0)] == [None] * 3
    assert [state.take(failure, 4.0), state.take(failure, 5.0)] == [None] * 2
    message = state.take(errors.RequestTimeoutError("id", "slow", 30.0), 6.0)
    assert message == "no response from the dispatcher: requests take too long; the command keeps trying"
    assert state.lost_at == 4.0
    assert state.take(failure, 7.0) is None
    assert state.take(None, 9.0) == "the dispatcher answers again, after 5 s"
    assert state.take(None, 10.0) is None
