"""The last record of each execution in one or more checkpoints."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from truebit_async import (
    ApiExecution,
    ApiSolution,
    ApiStatus,
    CheckpointError,
    ClearTextSolution,
    Execution,
    ExecutionStatus,
    Outcome,
    VerificationStatus,
    errors,
)
from truebit_async.checkpoint import (
    Checkpoint,
    Record,
    RecordedSubmission,
    SubmissionState,
    latest,
    outcome_as_json,
    read_checkpoint,
    record_as_json,
)


def final(execution_id: str, output: str = "42", tag: str | int | None = None) -> Outcome[Execution]:
    solution = ClearTextSolution(output, ExecutionStatus.SUCCEED)
    return Outcome(execution_id, Execution(execution_id, VerificationStatus.SUCCESS, solution), None, 1, 1.0, tag=tag)


def lost(execution_id: str, reason: str = "reset", tag: str | int | None = None) -> Outcome[Execution]:
    return Outcome(execution_id, None, errors.TransportError(execution_id, reason), 1, 1.0, tag=tag)


def write(path: Path, *outcomes: Outcome[Execution]) -> Path:
    with Checkpoint(path, resume=True) as checkpoint:
        for outcome in outcomes:
            checkpoint.write(outcome)
    return path


def lines(outcomes: Sequence[Outcome[Execution]]) -> list[str]:
    return [outcome_as_json(outcome) for outcome in outcomes]


def latest_lines(*paths: Path) -> list[str]:
    return [record_as_json(record) for record in latest(*paths)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return tmp_path / "other.jsonl"


# Which record counts


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([lost("a", "first"), lost("a", "last")], [1]),
        ([final("a", "first"), final("a", "last")], [1]),
        ([lost("a"), final("a")], [1]),
        ([final("a"), lost("a")], [0]),
        ([lost("a"), final("a", "first"), lost("a"), final("a", "last"), lost("a")], [3]),
        ([lost("a"), lost("b"), final("c"), final("a")], [1, 2, 3]),  # in the order in which they were written
        ([lost(""), lost("", "last")], [1]),  # what was waited for had no ID
        ([], []),
    ],
)
def test_the_last_final_record_counts_or_else_the_last(
    path: Path, other: Path, written: list[Outcome[Execution]], expected: list[int]
) -> None:
    wanted = lines([written[index] for index in expected])
    assert latest_lines(write(path, *written)) == wanted
    for cut in range(len(written) + 1):  # and so it is if the records are in two files
        path.unlink()
        other.unlink(missing_ok=True)
        assert latest_lines(write(path, *written[:cut]), write(other, *written[cut:])) == wanted


outcomes = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(["a", "b", "\N{SNOWMAN}"]),
        st.sampled_from([None, "a", 0]),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(outcomes, outcomes)
def test_each_execution_has_one_record(
    path: Path,
    other: Path,
    first: list[tuple[bool, str, str | int | None]],
    second: list[tuple[bool, str, str | int | None]],
) -> None:
    path.unlink(missing_ok=True)
    other.unlink(missing_ok=True)
    written = [
        final(execution_id, str(number), tag) if is_final else lost(execution_id, str(number), tag)
        for number, (is_final, execution_id, tag) in enumerate([*first, *second])
    ]
    write(path, *written[: len(first)])
    write(other, *written[len(first) :])
    found = list(latest(path, other))
    assert len({record.execution_id for record in found}) == len(found)
    assert {record.execution_id for record in found} == {outcome.execution_id for outcome in written}
    for record in found:
        of_it = [outcome for outcome in written if outcome.execution_id == record.execution_id]
        candidates = [outcome for outcome in of_it if outcome.execution is not None] or of_it
        assert record_as_json(record) == outcome_as_json(candidates[-1])


# Tasks of run_many


def test_a_task_without_an_execution_has_its_last_record(path: Path) -> None:
    write(path, lost("", "first", "one"), lost("", "other", 1), lost("", "index", "1"), lost("", "last", "one"))
    assert [record.tag for record in latest(path)] == [1, "1", "one"]
    assert latest_lines(path)[-1] == outcome_as_json(lost("", "last", "one"))


def test_a_task_that_was_refused_at_first_has_the_record_of_its_execution(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        for state, execution_id, outcome in [
            (SubmissionState.REFUSED, "", lost("", "refused", "one")),
            (SubmissionState.ACCEPTED, "a", lost("a", "timed out", "one")),
        ]:
            checkpoint.write_submission(RecordedSubmission("one", "0a", SubmissionState.SENT))
            checkpoint.write_submission(RecordedSubmission("one", "0a", state, execution_id))
            checkpoint.write(outcome)
    assert latest_lines(path) == lines([lost("a", "timed out", "one")])
    write(path, final("a", tag="one"), lost("", tag="two"))
    assert latest_lines(path) == lines([final("a", tag="one"), lost("", tag="two")])


def test_tags_are_those_of_one_file(path: Path, other: Path) -> None:
    first, second = lost("", "first", 0), lost("", "second", 0)
    assert latest_lines(write(path, first), write(other, second)) == lines([first, second])
    write(other, final("a", tag=0))
    assert latest_lines(path, other) == lines([first, final("a", tag=0)])


def test_an_execution_is_the_same_with_another_tag_or_without_one(path: Path, other: Path) -> None:
    with_tag, without = final("a", "from run_many", "one"), final("a", "from a wait")
    assert latest_lines(write(path, with_tag), write(other, lost("a"))) == lines([with_tag])
    path.unlink()
    assert latest_lines(write(path, without), write(other, lost("a", tag="one"))) == lines([without])
    write(other, final("a", tag="two"))
    assert latest_lines(path, other) == lines([final("a", tag="two")])
    assert latest_lines(other, other) == lines([final("a", tag="two")])


# Files


def test_lines_that_are_written_meanwhile_are_left_out(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("first", "second", "third")]
    for path, execution_id in zip(paths, "abc", strict=True):
        write(path, lost(execution_id), final(f"{execution_id}2"))
    records = latest(*paths)
    assert next(records).execution_id == "a"
    for path in paths:  # the first one is read already, and the others are read once more
        write(path, final("a"), final("late"), final("c"))
    rest = [(record.execution_id, record.is_final) for record in records]
    assert rest == [("a2", True), ("b", False), ("b2", True), ("c", False), ("c2", True)]
    again = [record.execution_id for record in latest(*paths)]
    assert again == ["a2", "b", "b2", "c2", "a", "late", "c"]


def test_a_file_that_is_replaced_meanwhile_gives_no_other_records(path: Path, other: Path) -> None:
    write(path, lost("a"))
    write(other, lost("b"))
    records = latest(path, other)
    assert next(records).execution_id == "a"
    other.unlink()
    write(other, lost("c"))
    assert list(records) == []


def test_a_torn_last_line_is_left_out(path: Path) -> None:
    write(path, final("a"))
    with path.open("a") as file:
        file.write(outcome_as_json(final("b"))[:-1])
    assert [record.execution_id for record in latest(path)] == ["a"]


def test_executions_of_an_api(path: Path) -> None:
    output: dict[str, object] = {"a": 1.5, "\N{SNOWMAN}": [None, True, {}]}
    solution = ApiSolution(output, ExecutionStatus.SUCCEED)
    with Checkpoint(path, kind="api") as checkpoint:
        checkpoint.write(Outcome("a", None, errors.TransportError("a", "reset", kind="api"), 1, 1.0, "api"))
        checkpoint.write(Outcome("a", ApiExecution("a", ApiStatus.SUCCESS, solution), None, 1, 1.0, "api"))
    (record,) = latest(path, kind="api")
    assert record.output == output
    assert record_as_json(record) == path.read_text().splitlines()[-1]
    with pytest.raises(CheckpointError, match="line 1 is about an execution of kind 'api', not 'function'"):
        list(latest(path))


def test_what_cannot_be_read(path: Path, other: Path) -> None:
    with pytest.raises(ValueError, match="kind must be one of 'function', 'api', not 'other'"):
        latest(path, kind="other")  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        latest(None)  # type: ignore[call-overload]
    write(path, final("a"))
    with pytest.raises(CheckpointError, match=r"other\.jsonl: No such file") as caught:
        next(latest(path, other))  # before any record
    assert caught.value.path == str(other)
    other.write_text("something else\n")
    with pytest.raises(CheckpointError, match=r"other\.jsonl: line 1 is neither"):
        next(latest(path, other))
    assert list(latest()) == []


# Lines


def test_a_record_gives_back_its_line(path: Path) -> None:
    write(
        path,
        final("a", "\x00\ud800\N{SNOWMAN}\n" + "9" * 5000),
        final("b", tag=7),
        lost("c", tag="\N{SNOWMAN}"),
        lost("", tag=""),
        Outcome("d", Execution("d", VerificationStatus.INDETERMINATE), None, 2**40, 1234567.8949),
    )
    with Checkpoint(path, resume=True) as checkpoint:
        checkpoint.write_submission(RecordedSubmission(0, "0a", SubmissionState.SENT))
    assert [record_as_json(record) for record in read_checkpoint(path)] == path.read_text().splitlines()[:-1]


# Memory


def peak_while_reading(path: Path) -> tuple[list[Record[Execution]], int]:
    tracemalloc.start()
    try:
        found = [record for record in latest(path) if not record.is_final]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return found, peak


def test_it_keeps_some_150_bytes_for_each_execution(path: Path) -> None:
    count = 8000
    with path.open("w") as file:
        for number in range(count):
            file.write(outcome_as_json(final(f"{number:08d}-f72d-4324-a046-bc6e9f27b303", "x" * 500)) + "\n")
    found, peak = peak_while_reading(path)
    assert found == []
    assert 100 * count < peak < 200 * count


def test_outputs_are_not_kept(path: Path) -> None:
    write(path, *(final(f"id-{number}", "x" * 2**20) for number in range(20)))
    found, peak = peak_while_reading(path)
    assert found == []
    assert peak < 6 * 2**20  # a line, decoded, and its output
