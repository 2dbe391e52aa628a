"""The lines of a checkpoint: outcomes and submissions as JSON."""

from __future__ import annotations

import enum
import functools
import json
from typing import Any, Generic, TypeVar, cast

import attrs
import cattrs

from truebit_async._checkpoint_errors import CheckpointError, NoFinalStateError, RecordedError
from truebit_async._protocol.converter import json_name, make_converter
from truebit_async.models import AnyExecution, ApiExecution, Execution, Outcome
from truebit_async.models.common import ExecutionT_co, OutputT_co, check_one_of
from truebit_async.models.functions import FUNCTION

ExecutionT = TypeVar("ExecutionT", bound=AnyExecution[object])


@attrs.frozen
class Record(Generic[ExecutionT_co]):
    """An outcome as it is read back from a line.

    Attributes:
        execution_id: the ID that was waited for. It is empty if a task of ``run_many`` has no execution.
        execution: the final state; None if there was no final state.
        error: why there was none.
        polls: how many polls were answered or failed.
        elapsed: seconds the wait took, to the millisecond.
        kind: the kind of task, such as ``"function"``.
        tag: the ``tag`` of the task, else its index, if ``run_many`` submitted it; otherwise None.

    Raises:
        ValueError: it was given both an execution and an error, or neither.
    """

    execution_id: str
    execution: ExecutionT_co | None
    error: RecordedError | None
    polls: int
    elapsed: float
    kind: str = FUNCTION
    tag: str | int | None = None

    def __attrs_post_init__(self) -> None:
        check_one_of(self.execution, self.error, f"the record of execution {self.execution_id!r}")

    @property
    def is_final(self) -> bool:
        """Whether it holds a final state, so that nobody needs to ask again."""
        return self.execution is not None

    @property
    def succeeded(self) -> bool:
        """Whether it holds a final state and the execution succeeded."""
        return self.execution is not None and self.execution.succeeded

    @property
    def output(self: Record[AnyExecution[OutputT_co]]) -> OutputT_co:
        """The verified output.

        Raises:
            NoFinalStateError: the record holds no final state.
            TruebitError: the error that the execution raises when it has no verified output.
        """
        if self.execution is not None:
            return self.execution.output
        error = cast("RecordedError", self.error)  # __attrs_post_init__ has checked that one of the two is there
        raise NoFinalStateError(self.execution_id, error, kind=self.kind)


class SubmissionState(enum.StrEnum):
    """What is known of the submission of a task."""

    SENT = "sent"
    """It was about to be sent, and no response is known, so the task may run."""
    ACCEPTED = "accepted"
    """It has an execution."""
    REFUSED = "refused"
    """It was refused, so the task does not run."""


@attrs.frozen
class RecordedSubmission:
    """What a checkpoint keeps of the submission of a task.

    Attributes:
        tag: the ``tag`` of the task, else its index.
        digest: identifies the request.
        state: what is known of it.
        execution_id: its execution; empty if it has none.
    """

    tag: str | int
    digest: str
    state: SubmissionState
    execution_id: str = ""


def submission_as_json(submission: RecordedSubmission, kind: str) -> str:
    """Return the line for a submission, without its line break.

    Args:
        submission: the submission.
        kind: the kind of task.
    """
    line = {
        "executionId": submission.execution_id,
        "kind": kind,
        "tag": submission.tag,
        "digest": submission.digest,
        "submission": submission.state,
        "error": None,  # the last field of every line
    }
    return json.dumps(line)


def outcome_as_json(outcome: Outcome[AnyExecution[object]]) -> str:
    """Return the line for an outcome, without its line break. Every field but ``tag`` is always there.

    Args:
        outcome: the outcome.
    """
    error = outcome.error
    return _as_json(outcome, None if error is None else RecordedError(type(error).__name__, str(error)))


def record_as_json(record: Record[AnyExecution[object]]) -> str:
    """Return the line for a record, without its line break: it says the same as the line that was read.

    Args:
        record: the record.
    """
    return _as_json(record, record.error)


def _as_json(entry: Outcome[AnyExecution[object]] | Record[AnyExecution[object]], error: RecordedError | None) -> str:
    line: dict[str, object] = {"executionId": entry.execution_id, "kind": entry.kind}
    if entry.tag is not None:
        line["tag"] = entry.tag
    line |= dict.fromkeys(_state_names(_EXECUTION_CLASSES[entry.kind]))
    if entry.execution is not None:
        line |= make_converter().unstructure(entry.execution)
    line |= {
        "polls": entry.polls,
        "elapsed": round(entry.elapsed, 3),
        "error": None if error is None else {"type": error.type, "message": error.message},
    }
    return json.dumps(line)


@attrs.frozen
class _Line:
    """The fields of every line, beside those of the execution."""

    execution_id: str
    kind: str
    polls: int
    elapsed: float
    error: RecordedError | None


_COMMON_NAMES = [json_name(field.name) for field in attrs.fields(_Line)]
_SUBMISSION_NAMES = {"executionId", "kind", "tag", "digest", "submission", "error"}
_EXECUTION_CLASSES: dict[str, type[AnyExecution[object]]] = {cls.kind: cls for cls in (Execution, ApiExecution)}


def execution_class_of(kind: str) -> type[AnyExecution[object]]:
    """Return the class of the executions of a kind of task.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in _EXECUTION_CLASSES:
        msg = f"kind must be one of {', '.join(map(repr, _EXECUTION_CLASSES))}, not {kind!r}"
        raise ValueError(msg)
    return _EXECUTION_CLASSES[kind]


@functools.cache
def _state_names(execution_class: type[AnyExecution[object]]) -> list[str]:
    """Return the names of the fields of a line that hold the state of an execution."""
    _, *fields = attrs.fields(cast("Any", execution_class))  # the first one is the ID
    return [json_name(field.name) for field in fields]


def read_line(
    line: bytes, number: int, path: str, execution_class: type[ExecutionT]
) -> Record[ExecutionT] | RecordedSubmission:
    """Return what a line holds: an outcome or a submission.

    Args:
        line: the line.
        number: its number in the file, for errors.
        path: the file, for errors.
        execution_class: the class of executions of the kind that the file holds.

    Raises:
        CheckpointError: it is neither, or about another kind of task.
    """
    try:
        fields = json.loads(line)
        kind = fields["kind"]
        if kind == execution_class.kind and fields.keys() == _SUBMISSION_NAMES:
            return _read_submission(fields)
        state_names = _state_names(execution_class)
        tag = _read_tag(fields.pop("tag")) if "tag" in fields else None
        if kind == execution_class.kind and fields.keys() == {*_COMMON_NAMES, *state_names}:
            parsed = make_converter().structure(fields, _Line)
            execution = None
            if parsed.error is None:
                execution = make_converter().structure(fields, execution_class)
            elif any(fields[name] is not None for name in state_names):
                raise malformed_line(number, path)
            return Record(parsed.execution_id, execution, parsed.error, parsed.polls, parsed.elapsed, kind, tag)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, cattrs.BaseValidationError):
        kind = None
    if isinstance(kind, str) and kind != execution_class.kind:
        detail = (
            f"line {number} is about an execution of kind {kind!r}, not {execution_class.kind!r}; name another file"
        )
        raise CheckpointError(None, path, detail)
    raise malformed_line(number, path)


def _read_submission(fields: dict[str, Any]) -> RecordedSubmission:
    state = SubmissionState(fields["submission"])
    execution_id, digest = fields["executionId"], fields["digest"]
    if not (isinstance(execution_id, str) and isinstance(digest, str)):
        msg = "executionId and digest are texts"
        raise TypeError(msg)
    if (state is SubmissionState.ACCEPTED) != bool(execution_id):
        msg = "a submission has an execution if it was accepted"
        raise ValueError(msg)
    return RecordedSubmission(_read_tag(fields["tag"]), digest, state, execution_id)


def _read_tag(tag: object) -> str | int:
    if isinstance(tag, bool) or not isinstance(tag, str | int):
        msg = "a tag is a text or an index"
        raise TypeError(msg)
    return tag


def malformed_line(number: int, path: str) -> CheckpointError:
    """Return the error for a line that a checkpoint does not have."""
    detail = f"line {number} is neither an outcome nor a submission; does the file belong to something else?"
    return CheckpointError(None, path, detail)
