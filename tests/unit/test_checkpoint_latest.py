"""One record for each execution, of one or more checkpoints."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from truebit_async import ClearTextSolution, Execution, ExecutionStatus, Outcome, VerificationStatus, errors
from truebit_async.checkpoint import Checkpoint, CheckpointError, Record, latest, outcome_as_json, read_checkpoint

Tag = str | int | None


def final(execution_id: str, polls: int = 1, tag: Tag = None, output: str = "42") -> Outcome[Execution]:
    solution = ClearTextSolution(output, ExecutionStatus.SUCCEED, "0x")
    return Outcome(
        execution_id, Execution(execution_id, VerificationStatus.SUCCESS, solution), None, polls, 1.0, tag=tag
    )


def lost(execution_id: str, polls: int = 1, tag: Tag = None) -> Outcome[Execution]:
    return Outcome(execution_id, None, errors.TransportError(execution_id, "reset"), polls, 1.0, tag=tag)


def write(path: Path, *outcomes: Outcome[Execution]) -> Path:
    with Checkpoint(path, resume=True) as checkpoint:
        for outcome in outcomes:
            checkpoint.write(outcome)
    return path


def found(records: Iterator[Record[Execution]]) -> list[tuple[str, int, bool]]:
    """Return the IDs of records, their polls (which tell a record from another), and whether they are final."""
    return [(record.execution_id, record.polls, record.is_final) for record in records]


def test_the_last_record_of_each_execution_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "one", lost("a", 1), lost("b", 1), final("c", 1), lost("a", 2), lost("b", 2), final("a", 3))
    assert found(latest(path)) == [("c", 1, True), ("b", 2, False), ("a", 3, True)]  # as they were written
    assert found(latest(str(path))) == found(latest(path))
    assert next(latest(path)).output == "42"


def test_a_final_state_counts_rather_than_none_in_one_file_and_in_several(tmp_path: Path) -> None:
    one = write(tmp_path / "one", final("a", 1), lost("a", 2), lost("b", 3), final("c", 4))
    two = write(tmp_path / "two", lost("a", 5), final("b", 6), final("c", 7), lost("d", 8))
    assert found(latest(one)) == [("a", 1, True), ("b", 3, False), ("c", 4, True)]
    assert found(latest(one, two)) == [("a", 1, True), ("b", 6, True), ("c", 7, True), ("d", 8, False)]
    assert found(latest(two, one)) == [("b", 6, True), ("d", 8, False), ("a", 1, True), ("c", 4, True)]


def test_no_file_has_no_record(tmp_path: Path) -> None:
    assert list(latest()) == []
    empty = write(tmp_path / "empty")
    assert list(latest(empty, empty)) == []


def test_a_task_has_one_record_by_its_tag_in_each_file(tmp_path: Path) -> None:
    one = write(tmp_path / "one", lost("", 1, "x"), lost("", 2, 0), final("a", 3, "x"), lost("", 4, 1))
    two = write(tmp_path / "two", final("b", 5, 0))  # a task of another batch, which begins to count at 0 again
    assert [(record.tag, record.polls) for record in latest(one, two)] == [(0, 2), ("x", 3), (1, 4), (0, 5)]


@pytest.mark.parametrize("tag_first", [True, False])
def test_a_record_without_a_tag_is_about_the_task_of_its_execution(tmp_path: Path, *, tag_first: bool) -> None:
    """Somebody has waited for an execution that ``run_many`` submitted."""
    tagged = write(tmp_path / "run", lost("", 1, "x"), lost("a", 2, "x"), lost("b", 3, "y"), lost("c", 4, "z"))
    waited = write(tmp_path / "wait", final("a", 5), lost("b", 6))
    expected = {("a", 5, True), ("b", 6 if tag_first else 3, False), ("c", 4, False)}
    records = latest(tagged, waited) if tag_first else latest(waited, tagged)
    assert set(found(records)) == expected


def test_two_tasks_may_have_the_same_execution(tmp_path: Path) -> None:
    path = write(tmp_path / "run", final("a", 1, "x"), final("a", 2, "y"))
    assert [record.tag for record in latest(path)] == ["x", "y"]


def test_submissions_are_no_records(tmp_path: Path) -> None:
    path = write(tmp_path / "run", final("a"))
    line = '{"executionId": "", "kind": "function", "tag": "x", "digest": "0a", "submission": "sent", "error": null}\n'
    path.write_text(line + path.read_text())
    assert found(latest(path)) == [("a", 1, True)]


def test_a_file_may_grow_while_it_is_read(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", lost("a", 1)), write(tmp_path / "two", lost("b", 2))
    torn = outcome_as_json(final("c")).encode()
    with two.open("ab", buffering=0) as file:
        file.write(torn[:40])  # a line that is being written
        records = latest(one, two)
        first = next(records)
        file.write(torn[40:] + b"\n" + outcome_as_json(final("b", 3)).encode() + b"\n")
        assert found(iter([first, *records])) == [("a", 1, False), ("b", 2, False)]  # what was there at first
    assert found(latest(one, two)) == [("a", 1, False), ("c", 1, True), ("b", 3, True)]


def test_a_file_that_is_none_and_a_kind_that_is_none_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "one", final("a"))
    with pytest.raises(CheckpointError, match="No such file"):
        next(latest(path, tmp_path / "none"))
    with pytest.raises(CheckpointError, match="kind 'function', not 'api'"):
        next(latest(path, kind="api"))
    with pytest.raises(ValueError, match="kind must be one of"):
        latest(path, kind="other")  # type: ignore[call-overload]


OUTCOMES = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(OUTCOMES, max_size=3))
def test_it_chooses_as_a_dict_of_all_records_would(tmp_path: Path, files: list[list[tuple[str, bool]]]) -> None:
    paths = [tmp_path / str(number) for number in range(len(files))]
    expected: dict[str, Record[Execution]] = {}
    for path, outcomes in zip(paths, files, strict=True):
        path.unlink(missing_ok=True)
        write(path, *(final(name, 1) if is_final else lost(name, 1) for name, is_final in outcomes))
        for record in read_checkpoint(path):
            if record.is_final or record.execution_id not in expected or not expected[record.execution_id].is_final:
                expected[record.execution_id] = record
    assert {record.execution_id: record for record in latest(*paths)} == expected
    assert len(list(latest(*paths))) == len(expected)


def test_it_keeps_no_output_in_memory(tmp_path: Path) -> None:
    """What it keeps of each execution is less than what its docstring says, and far less than an output."""
    path, count = tmp_path / "one", 3000
    lines = (outcome_as_json(final(f"00000000-0000-0000-0000-{n:012}", output="x" * 3000)) for n in range(count))
    path.write_text("".join(f"{line}\n" for line in lines))
    next(latest(path))  # what is made once
    tracemalloc.start()
    try:
        assert sum(1 for _ in latest(path)) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / count < 250
