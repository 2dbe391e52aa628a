"""Outcomes on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from truebit_async import (
    CheckpointError,
    ClearTextSolution,
    Execution,
    ExecutionStatus,
    Outcome,
    Signature,
    VerificationStatus,
    errors,
)
from truebit_async.checkpoint import Checkpoint, Record, RecordedError, outcome_as_json, read_checkpoint

SOLUTION = ClearTextSolution("42\n\N{SNOWMAN}", ExecutionStatus.SUCCEED, "0xabc", Signature(28, "aa", "bb"))
GOOD = Outcome("good", Execution("good", VerificationStatus.SUCCESS, SOLUTION), None, 3, 1.23456)
LOST = Outcome("lost", None, errors.TransportError("lost", "reset"), 5, 2.0)


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
        assert checkpoint.final.keys() == {"good"}
        assert checkpoint.mended is None
        checkpoint.write(Outcome("lost", Execution("lost", VerificationStatus.ERROR), None, 1, 1.0))
    with Checkpoint(path, resume=True) as checkpoint:
        assert checkpoint.final.keys() == {"good", "lost"}


def test_resuming_nothing_is_beginning(path: Path) -> None:
    with Checkpoint(path, resume=True) as checkpoint:
        assert not checkpoint.final
        checkpoint.write(GOOD)
    assert len(list(read_checkpoint(path))) == 1


def test_every_way_to_tear_the_last_line_is_mended(path: Path) -> None:
    whole = (outcome_as_json(LOST) + "\n").encode()
    for kept in range(len(whole)):
        path.write_bytes(outcome_as_json(GOOD).encode() + b"\n" + whole[:kept])
        assert len(list(read_checkpoint(path))) == (2 if kept == len(whole) - 1 else 1)
        with Checkpoint(path, resume=True) as checkpoint:
            assert (checkpoint.mended is None) == (kept == 0)
            checkpoint.write(LOST)
        ids = [record.execution_id for record in read_checkpoint(path)]
        assert ids == (["good", "lost", "lost"] if kept == len(whole) - 1 else ["good", "lost"])


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
        "[" * 10_000 + "\n",
    ],
)
def test_a_file_that_belongs_to_something_else_is_left_alone(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(CheckpointError, match=r"line \d is no outcome"):
        Checkpoint(path, resume=True)
    assert path.read_text() == content


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "such"):
        with pytest.raises(CheckpointError, match="name another file"):
            Checkpoint(path)
        with pytest.raises(CheckpointError, match="name another file"):
            list(read_checkpoint(path))


def test_a_full_disk_is_told() -> None:
    with Checkpoint("/dev/full") as checkpoint, pytest.raises(CheckpointError, match="No space left") as caught:
        checkpoint.write(GOOD)
    assert isinstance(caught.value.__cause__, OSError)


def test_what_is_written_is_with_the_operating_system_at_once(path: Path) -> None:
    checkpoint = Checkpoint(path)
    checkpoint.write(GOOD)
    assert path.stat().st_size == len(outcome_as_json(GOOD)) + 1
    checkpoint.close()
    checkpoint.close()


def test_a_write_that_takes_only_a_part_is_gone_on_with(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint(path) as checkpoint:
        file = checkpoint._file

        class Sluggish:
            def write(self, data: bytes) -> int:
                return file.write(data[:7])

            def close(self) -> None:
                file.close()

        monkeypatch.setattr(checkpoint, "_file", Sluggish())
        checkpoint.write(GOOD)
    assert [record.execution_id for record in read_checkpoint(path)] == ["good"]


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
