"""Outcomes and submissions on disk: a line of JSON each, appended as they come, so that a batch can be resumed.

A line is *final* if it holds a final state. An outcome without a final state (timed out, unreachable, not
found) is written too, and whoever resumes asks for it again. A last line that a crash has torn is mended when the file
is opened again. A file has one writer at a time; see `Checkpoint`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, overload

import attrs

from truebit_async._checkpoint_errors import CheckpointError, NoFinalStateError, RecordedError
from truebit_async._checkpoint_latest import latest_records
from truebit_async._checkpoint_lines import (
    Record,
    RecordedSubmission,
    SubmissionState,
    execution_class_of,
    malformed_line,
    outcome_as_json,
    read_line,
    record_as_json,
    submission_as_json,
)
from truebit_async._locked_file import open_locked
from truebit_async._torn_line import end_of_last_line, may_be_torn, unterminated_line
from truebit_async.models import AnyExecution, ApiExecution, Execution, Outcome

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "FinalState",
    "NoFinalStateError",
    "Record",
    "RecordedError",
    "RecordedSubmission",
    "SubmissionState",
    "latest",
    "outcome_as_json",
    "read_checkpoint",
    "record_as_json",
]


ExecutionT = TypeVar("ExecutionT", bound=AnyExecution[object])


@attrs.frozen
class FinalState:
    """What `Checkpoint.final` keeps of an execution that has a final state. It is small, whatever the output.

    Attributes:
        status: the final status, such as ``"Success"``.
        succeeded: whether there is a verified output.
    """

    status: str
    succeeded: bool


_final_state = functools.cache(FinalState)  # there are few, and a file may have millions of lines


@overload
def read_checkpoint(
    path: str | os.PathLike[str], kind: Literal["function"] = "function"
) -> Iterator[Record[Execution]]: ...
@overload
def read_checkpoint(path: str | os.PathLike[str], kind: Literal["api"]) -> Iterator[Record[ApiExecution]]: ...
def read_checkpoint(path: str | os.PathLike[str], kind: str = "function") -> Iterator[Record[Any]]:
    """Read outcomes back, in the order in which they were written.

    An execution, or a task with a tag, may have several; see `latest`.

    A torn last line is left out; the file is not changed. It may be read while it is being written: what is there when
    reading starts is read. One record is in memory at a time.

    Args:
        path: the file.
        kind: the kind of task that it holds, ``"function"`` or ``"api"``.

    Raises:
        CheckpointError: the file cannot be read, is not a checkpoint, or holds another kind of task.
        ValueError: there is no such kind of task.
    """
    execution_class = execution_class_of(kind)
    return _read(os.fspath(path), execution_class)


@overload
def latest(*paths: str | os.PathLike[str], kind: Literal["function"] = "function") -> Iterator[Record[Execution]]: ...
@overload
def latest(*paths: str | os.PathLike[str], kind: Literal["api"]) -> Iterator[Record[ApiExecution]]: ...
def latest(*paths: str | os.PathLike[str], kind: str = "function") -> Iterator[Record[Any]]:
    """Read one record for each execution, or for each task with a tag: the last one.

    Of an execution that has records in several files, or several in one, a record with a final state counts rather
    than one without. The files are read twice, and less than 250 bytes are kept for each execution.

    Args:
        paths: the files. They are read in this order, and records come in the order in which they were written.
        kind: the kind of task that they hold, ``"function"`` or ``"api"``.

    Raises:
        CheckpointError: as for `read_checkpoint`.
        ValueError: there is no such kind of task.
    """
    execution_class = execution_class_of(kind)
    return latest_records([os.fspath(path) for path in paths], lambda path: _read(path, execution_class))


def _read(path: str, execution_class: type[ExecutionT]) -> Iterator[Record[ExecutionT]]:
    with _os_errors_explained(path), Path(path).open("rb", buffering=0) as file:
        for entry in _entries(file, path, execution_class):
            if isinstance(entry, Record):
                yield entry


class Checkpoint(Generic[ExecutionT]):
    """A file to which the outcomes of a batch are appended. It holds one kind of task.

    Use it as ``with Checkpoint(path) as checkpoint: ...``. What is written survives the death of the process at once.
    A new file can be read and written by its owner only (mode 0600).

    The file is locked from the opening to the closing, so that it has one writer. The operating system releases the
    lock of a process that dies. Reading is always possible. A process that was forked meanwhile holds the lock as well,
    until it ends.

    - On POSIX systems the lock is ``flock``. Over NFS it holds between machines if the mount and the server support
      locks; with the mount options ``nolock`` or ``local_lock=flock`` it holds within one machine only. Where a file
      system supports no locks, the file is refused.
    - On Windows it is ``msvcrt.locking`` on one byte far beyond the end of the file.

    Args:
        path: the file; it is made if it does not exist.
        resume: whether the file may hold outcomes already.
        kind: the kind of task, ``"function"`` or ``"api"``.

    Attributes:
        final: the executions for which the file held a final state when it was opened, by ID; with those of tasks that
            ``Tasks.run_many`` has written since.
        submissions: the tasks that ``Tasks.run_many`` submitted, by ``tag`` or index, those written since included.
        mended: what was done about a torn last line, for a message; None if nothing was torn.

    Raises:
        CheckpointError: the file cannot be written, has another writer, is not a checkpoint, or holds outcomes although
            ``resume`` is False.
        ValueError: there is no such kind of task.
    """

    @overload
    def __init__(
        self: Checkpoint[Execution],
        path: str | os.PathLike[str],
        *,
        resume: bool = False,
        kind: Literal["function"] = "function",
    ) -> None: ...
    @overload
    def __init__(
        self: Checkpoint[ApiExecution], path: str | os.PathLike[str], *, resume: bool = False, kind: Literal["api"]
    ) -> None: ...
    def __init__(self, path: str | os.PathLike[str], *, resume: bool = False, kind: str = "function") -> None:
        self._path = os.fspath(path)
        self._execution_class: type[AnyExecution[object]] = execution_class_of(kind)
        self._torn_at: int | None = None  # where a line begins that may not be whole
        self._final: dict[str, FinalState] = {}
        self.final: Mapping[str, FinalState] = self._final
        self.submissions: dict[str | int, RecordedSubmission] = {}
        self.mended: str | None = None
        self._is_reserved = False
        with contextlib.ExitStack() as stack, _os_errors_explained(self._path):
            self._file = stack.enter_context(open_locked(self._path))
            self._take_stock(resume=resume)
            stack.pop_all()

    @property
    def kind(self) -> str:
        """The kind of task that it holds."""
        return self._execution_class.kind

    @property
    def path(self) -> str:
        """The file."""
        return self._path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, outcome: Outcome[ExecutionT]) -> None:
        """Append an outcome as a whole. If that fails, the file stays as it was, and writing may be tried again.

        Args:
            outcome: the outcome; it may lack a final state.

        Raises:
            CheckpointError: it could not be written, for example because the disk is full; or it is about another kind
                of task.
            TypeError: it is not an outcome.
            ValueError: the file is closed.
        """
        if not isinstance(outcome, Outcome):
            msg = f"write() takes an Outcome, not {type(outcome).__name__}; pass what wait_for_verifications() yields"
            raise TypeError(msg)
        if outcome.kind != self.kind:
            detail = f"it holds executions of kind {self.kind!r}, not {outcome.kind!r}; name another file for those"
            raise CheckpointError(outcome.execution_id, self._path, detail, kind=outcome.kind)
        self._append(outcome_as_json(outcome).encode() + b"\n")
        if outcome.tag is not None:
            self._note(outcome)

    def write_submission(self, submission: RecordedSubmission) -> None:
        """Append what is known of the submission of a task. ``Tasks.run_many`` does so.

        Args:
            submission: what is known.

        Raises:
            CheckpointError: as for `write`.
            ValueError: the file is closed.
        """
        self._append(submission_as_json(submission, self.kind).encode() + b"\n")
        self.submissions[submission.tag] = submission

    @contextlib.contextmanager
    def reserved(self) -> Iterator[None]:
        """Let one batch of tasks use the file. ``Tasks.run_many`` does so.

        Raises:
            CheckpointError: another batch uses it: both could submit the same task.
        """
        if self._is_reserved:
            detail = "another run_many() uses it, which may submit the same tasks; leave that one with aclosing() first"
            raise CheckpointError(None, self._path, detail)
        self._is_reserved = True
        try:
            yield
        finally:
            self._is_reserved = False

    def close(self) -> None:
        """Close the file, which releases its lock. Closing twice is fine.

        Raises:
            CheckpointError: the operating system reports only now that it could not keep what was written. Some network
                file systems do so.
        """
        try:
            self._file.close()
        except OSError as error:
            detail = f"the last lines may be missing: {_reason(error)}; resume it once that is fixed"
            raise CheckpointError(None, self._path, detail) from error

    def _append(self, line: bytes) -> None:
        """Write a line, in one call unless the operating system takes only a part of it."""
        if self._torn_at is not None:
            detail = "an earlier write may have left a torn last line; close the file and resume it, which mends that"
            raise CheckpointError(None, self._path, detail)
        try:
            self._torn_at = self._file.seek(0, os.SEEK_END)
            rest = line
            while rest:
                rest = rest[self._file.write(rest) :]
            self._torn_at = None
        except OSError as error:
            detail = f"a line could not be written: {_reason(error)}; {self._cut_back()}"
            raise CheckpointError(None, self._path, detail) from error

    def _cut_back(self) -> str:
        """Remove what a failed write has left of its line, and return what to do now."""
        try:
            if self._torn_at is not None and self._file.seek(0, os.SEEK_END) > self._torn_at:
                self._file.truncate(self._torn_at)
        except OSError as error:
            return f"what it has left could not be removed either: {_reason(error)}; fix both, then resume the file"
        self._torn_at = None
        return "fix that, then go on with the same file"

    def _note(self, entry: Outcome[Any] | Record[Any]) -> None:
        """Keep what an outcome tells of its execution and of its submission."""
        if entry.execution is not None:
            self._final[entry.execution_id] = _final_state(entry.execution.status.value, entry.succeeded)
        submission = None if entry.tag is None else self.submissions.get(entry.tag)
        if submission is not None and entry.execution_id and submission.state is SubmissionState.SENT:
            # The response to the submission could not be written, for example because the disk was full for a while.
            accepted = attrs.evolve(submission, state=SubmissionState.ACCEPTED, execution_id=entry.execution_id)
            self.submissions[accepted.tag] = accepted

    def _take_stock(self, *, resume: bool) -> None:
        size = self._file.seek(0, os.SEEK_END)
        if size and not resume:
            raise CheckpointError(None, self._path, "it exists and is not empty; resume it, or name another file")
        for entry in _entries(self._file, self._path, self._execution_class):
            if isinstance(entry, RecordedSubmission):
                self.submissions[entry.tag] = entry
            else:
                self._note(entry)
        end = end_of_last_line(self._file)
        if end == size:
            return
        if unterminated_line(self._file, end) is not None:
            self._append(b"\n")
            self.mended = "the last line lacked its line break, which was added"
            return
        try:
            self._file.truncate(end)
        except OSError as error:
            detail = (
                f"its last line is torn and could not be removed: {_reason(error)}; "
                "remove that line (an append-only file has to be made writable first), or name another file"
            )
            raise CheckpointError(None, self._path, detail) from error
        self.mended = f"the last line was torn, and its {size - end} bytes were removed"


def _entries(
    file: io.FileIO, path: str, execution_class: type[ExecutionT]
) -> Iterator[Record[ExecutionT] | RecordedSubmission]:
    """Yield what every line holds that is whole."""
    end = unread = end_of_last_line(file)
    file.seek(0)
    number = 1
    with open(file.fileno(), "rb", closefd=False) as lines:
        while unread > 0 and (line := lines.readline()):
            yield read_line(line, number, path, execution_class)
            unread -= len(line)
            number += 1
    file.seek(end)
    if not may_be_torn(file, end):
        raise malformed_line(number, path)
    last_line = unterminated_line(file, end)
    if last_line is not None:
        yield read_line(last_line, number, path, execution_class)


@contextlib.contextmanager
def _os_errors_explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(None, path, f"{_reason(error)}; name another file, or fix that") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
