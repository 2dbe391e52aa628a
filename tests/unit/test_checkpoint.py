"""Outcomes on disk."""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from truebit_async import (
    CheckpointError,
    ClearTextSolution,
    Execution,
    ExecutionFailedError,
    ExecutionStatus,
    Outcome,
    Signature,
    TruebitError,
    VerificationStatus,
    errors,
)
from truebit_async.checkpoint import (
    Checkpoint,
    FinalState,
    NoFinalStateError,
    Record,
    RecordedError,
    RecordedSubmission,
    SubmissionState,
    outcome_as_json,
    read_checkpoint,
)

SOLUTION = ClearTextSolution("42\n\N{SNOWMAN}", ExecutionStatus.SUCCEED, "0xabc", Signature(28, "aa", "bb"))
GOOD = Outcome("good", Execution("good", VerificationStatus.SUCCESS, SOLUTION), None, 3, 1.23456)
LOST: Outcome[Execution] = Outcome("lost", None, errors.TransportError("lost", "reset"), 5, 2.0)
SENT = '{"executionId": "", "kind": "function", "tag": "one", "digest": "0a", "submission": "sent", "error": null}\n'
SUBMISSIONS = [
    RecordedSubmission("one", "0a", SubmissionState.SENT),
    RecordedSubmission(1, "0b", SubmissionState.ACCEPTED, "x"),
    RecordedSubmission("\N{SNOWMAN}", "0c", SubmissionState.SENT),
    RecordedSubmission("\N{SNOWMAN}", "0c", SubmissionState.REFUSED),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_what_is_written_is_read_back(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.write(GOOD)
        checkpoint.write(LOST)
        assert list(read_checkpoint(path)) == [
            Record("good", GOOD.execution, None, 3, 1.235),
            Record("lost", None, RecordedError("TransportError", str(LOST.error)), 5, 2.0),
        ]
    assert [record.is_final for record in read_checkpoint(path)] == [True, False]


def test_a_line_has_every_field() -> None:
    assert json.loads(outcome_as_json(LOST)) == {
        "executionId": "lost",
        "kind": "function",
        "verificationStatus": None,
        "clearTextSolution": None,
        "polls": 5,
        "elapsed": 2.0,
        "error": {"type": "TransportError", "message": str(LOST.error)},
    }


def test_resuming_knows_what_is_final_and_appends(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.write(GOOD)
        checkpoint.write(LOST)
    with Checkpoint(str(path), resume=True) as checkpoint:
        assert checkpoint.final == {"good": FinalState("Success", succeeded=True)}
        assert checkpoint.mended is None
        checkpoint.write(Outcome("lost", Execution("lost", VerificationStatus.ERROR), None, 1, 1.0))
    with Checkpoint(path, resume=True) as checkpoint:
        assert checkpoint.final == {
            "good": FinalState("Success", succeeded=True),
            "lost": FinalState("Error", succeeded=False),
        }


def test_a_record_has_the_output_or_raises_what_is_wrong(path: Path) -> None:
    failed = Execution("failed", VerificationStatus.SUCCESS, ClearTextSolution("no", ExecutionStatus.FAILED))
    with Checkpoint(path) as checkpoint:
        for outcome in (GOOD, Outcome("failed", failed, None, 1, 1.0), LOST):
            checkpoint.write(outcome)
    good_record, failed_record, lost_record = read_checkpoint(path)
    assert (good_record.kind, good_record.succeeded, good_record.output) == ("function", True, SOLUTION.output)
    assert not failed_record.succeeded
    with pytest.raises(ExecutionFailedError):
        _ = failed_record.output
    assert not lost_record.succeeded
    with pytest.raises(
        NoFinalStateError, match="execution 'lost': the checkpoint holds no final state: Trans"
    ) as caught:
        _ = lost_record.output
    assert isinstance(caught.value, TruebitError)
    assert (caught.value.execution_id, caught.value.kind) == ("lost", "function")
    assert caught.value.error == lost_record.error
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):  # noqa: S301  # ours
        assert repr(again) == repr(caught.value)


def test_a_missing_answer_is_told_on_one_line() -> None:
    with pytest.raises(NoFinalStateError) as caught:
        _ = Record[Execution]("a", None, RecordedError("X", "\x1b[31m\nforged"), 0, 0.0).output
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("execution", [GOOD.execution, None])
def test_a_record_holds_an_execution_or_an_error(execution: Execution | None) -> None:
    error = None if execution is None else RecordedError("X", "x")
    with pytest.raises(ValueError, match="execution 'good' needs either an execution or an error"):
        Record("good", execution, error, 1, 1.0)


def test_a_checkpoint_holds_one_kind_of_task(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        with pytest.raises(CheckpointError, match="kind 'function', not 'other'; name another file") as caught:
            checkpoint.write(Outcome("x", None, errors.TransportError("x", "reset"), 1, 1.0, kind="other"))
        assert (caught.value.execution_id, caught.value.kind) == ("x", "other")
        checkpoint.write(GOOD)
    good = path.read_bytes()
    for other in (b'{"executionId": "x", "kind": "other", "status": "Error", "error": null}', b'{"kind": "other"}\n'):
        for end in (b"\n", b""):
            path.write_bytes(good + other + end)
            with pytest.raises(CheckpointError, match="line 2 is about an execution of kind 'other', not 'function'"):
                Checkpoint(path, resume=True)
            assert path.read_bytes() == good + other + end


def test_submissions_are_kept_beside_outcomes(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.write_submission(SUBMISSIONS[0])
        assert path.read_text() == SENT
        checkpoint.write(GOOD)
        for submission in SUBMISSIONS[1:]:
            checkpoint.write_submission(submission)
        checkpoint.write(attrs.evolve(GOOD, tag=7))
    assert [(record.execution_id, record.tag) for record in read_checkpoint(path)] == [("good", None), ("good", 7)]
    with Checkpoint(path, resume=True) as checkpoint:
        assert checkpoint.submissions == {"one": SUBMISSIONS[0], 1: SUBMISSIONS[1], "\N{SNOWMAN}": SUBMISSIONS[3]}
        assert checkpoint.final.keys() == {"good"}
    path.write_text(SENT.replace("function", "api"))
    with pytest.raises(CheckpointError, match="line 1 is about an execution of kind 'api'"):
        Checkpoint(path, resume=True)


@pytest.mark.parametrize("kept", range(len(SENT)))
def test_a_torn_submission_is_mended(path: Path, kept: int) -> None:
    path.write_text(SENT.replace("one", "zero") + SENT[:kept])
    with Checkpoint(path, resume=True) as checkpoint:
        assert list(checkpoint.submissions) == ["zero", "one"][: 2 if kept == len(SENT) - 1 else 1]
        assert (checkpoint.mended is None) == (kept == 0)


def test_resuming_nothing_is_beginning(path: Path) -> None:
    with Checkpoint(path, resume=True) as checkpoint:
        assert not checkpoint.final
        checkpoint.write(GOOD)
    assert len(list(read_checkpoint(path))) == 1


@pytest.mark.parametrize("torn", [GOOD, LOST])
def test_every_way_to_tear_the_last_line_is_mended(path: Path, torn: Outcome[Execution]) -> None:
    first = outcome_as_json(Outcome("first", None, LOST.error, 1, 1.0)).encode() + b"\n"
    whole = outcome_as_json(torn).encode()
    for kept in range(len(whole) + 1):
        path.write_bytes(first + whole[:kept])
        expected = ["first", torn.execution_id] if kept == len(whole) else ["first"]
        assert [record.execution_id for record in read_checkpoint(path)] == expected
        with Checkpoint(path, resume=True) as checkpoint:
            assert (checkpoint.mended is None) == (kept == 0)
            assert checkpoint.final.keys() == ({"good"} if kept == len(whole) and torn is GOOD else set())
            checkpoint.write(LOST)
        assert [record.execution_id for record in read_checkpoint(path)] == [*expected, "lost"]


def test_a_file_with_outcomes_is_not_overwritten(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.write(GOOD)
    with pytest.raises(CheckpointError, match="exists and is not empty") as caught:
        Checkpoint(path)
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    "content",
    [
        "hello\n",
        "{}\n",
        "[]\n",
        "7\n",
        '{"executionId": "x"}\n',
        outcome_as_json(GOOD) + "\nhello\n",
        outcome_as_json(GOOD).replace('"Success"', '"Paused"') + "\n",
        outcome_as_json(LOST).replace('{"type": "TransportError", ', "{") + "\n",
        outcome_as_json(LOST).replace('"lost"', "[]", 1) + "\n",
        outcome_as_json(LOST).replace('"kind": "function"', '"kind": 7') + "\n",
        outcome_as_json(LOST).replace('"polls": 5', '"polls": "5"') + "\n",
        outcome_as_json(LOST).replace('"elapsed": 2.0', f'"elapsed": 1{"0" * 400}') + "\n",
        outcome_as_json(GOOD).replace('"error": null', '"error": {"type": "X", "message": "x"}') + "\n",
        outcome_as_json(LOST)[: outcome_as_json(LOST).index('"error"')] + '"error": null}\n',
        "[" * 10_000 + "\n",
        "one line without its end",
        outcome_as_json(GOOD) + "\none line without its end",
        '{"executionId": 7, "error": null}',
        '{"executionId": "x", "error": null}',
        SENT.replace('"sent"', '"lost"'),
        SENT.replace('"sent"', '["sent"]'),
        SENT.replace('"sent"', '"accepted"'),
        SENT.replace('""', '"x"'),
        SENT.replace('""', "null"),
        SENT.replace('"0a"', "7"),
        SENT.replace('"one"', "true"),
        SENT.replace('"one"', "1.5"),
        SENT.replace(', "digest": "0a"', ""),
        outcome_as_json(GOOD).replace('"kind"', '"tag": null, "kind"') + "\n",
    ],
)
def test_a_file_that_belongs_to_something_else_is_left_alone(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(CheckpointError, match=r"line \d is neither an outcome"):
        Checkpoint(path, resume=True)
    with pytest.raises(CheckpointError, match=r"line \d is neither an outcome"):
        list(read_checkpoint(path))
    assert path.read_text() == content


def test_zeros_that_a_crash_of_the_machine_left_are_a_torn_line(path: Path) -> None:
    for torn in (b"\0" * 4096, b'{"executionId"' + b"\0" * 512, b'{"executionId": "lost", "ki' + b"\0" * 512):
        path.write_bytes(outcome_as_json(GOOD).encode() + b"\n" + torn)
        with Checkpoint(path, resume=True) as checkpoint:
            assert checkpoint.mended == f"the last line was torn, and its {len(torn)} bytes were removed"
        assert [record.execution_id for record in read_checkpoint(path)] == ["good"]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "such"):
        with pytest.raises(CheckpointError, match="name another file"):
            Checkpoint(path)
        with pytest.raises(CheckpointError, match="name another file"):
            list(read_checkpoint(path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="it is not a regular file; name another file"):
        Checkpoint(tmp_path / "pipe")


@pytest.mark.parametrize("use", [Checkpoint, lambda path: list(read_checkpoint(path))])
def test_a_path_cannot_reach_a_terminal_or_split_a_line(tmp_path: Path, use: Callable[[Path], object]) -> None:
    with pytest.raises(CheckpointError, match="No such file") as caught:
        use(tmp_path / "no\nsuch" / "\x1b[2Jfile\udcff")
    assert str(caught.value).isprintable()
    assert r"no\nsuch/\x1b[2Jfile\udcff" in str(caught.value)


def test_a_device_takes_any_number_of_writers_and_its_errors_are_told() -> None:
    with Checkpoint("/dev/full") as checkpoint, Checkpoint("/dev/full"):
        with pytest.raises(CheckpointError, match="No space left on device; fix that, then go on") as caught:
            checkpoint.write(GOOD)
        assert isinstance(caught.value.__cause__, OSError)


def test_what_is_written_is_with_the_operating_system_at_once(path: Path) -> None:
    checkpoint = Checkpoint(path)
    checkpoint.write(GOOD)
    assert path.stat().st_size == len(outcome_as_json(GOOD)) + 1
    checkpoint.close()
    checkpoint.close()


executions = st.builds(
    Execution,
    st.text(min_size=1),
    st.sampled_from([VerificationStatus.SUCCESS, VerificationStatus.INDETERMINATE, VerificationStatus.ERROR]),
    st.none() | st.builds(ClearTextSolution, st.none() | st.text()),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(executions, max_size=5))
def test_any_outcomes_survive(tmp_path: Path, found: list[Execution]) -> None:
    path = tmp_path / "any.jsonl"
    path.unlink(missing_ok=True)
    with Checkpoint(os.fspath(path)) as checkpoint:
        for execution in found:
            checkpoint.write(Outcome(execution.execution_id, execution, None, 1, 1.0))
    assert [record.execution for record in read_checkpoint(path)] == found


def test_only_outcomes_are_written(tmp_path: Path) -> None:
    path, execution = tmp_path / "results.jsonl", Execution("id", VerificationStatus.SUCCESS)
    with Checkpoint(path) as checkpoint, pytest.raises(TypeError, match="takes an Outcome, not Execution"):
        checkpoint.write(execution)  # type: ignore[arg-type]
