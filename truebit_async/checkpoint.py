"""Outcomes on disk: one line of JSON each, appended as they come, so that a batch that dies can be resumed.

A line is *final* if it holds the answer of the dispatcher. An outcome without an answer (timed out, unreachable, not
found) is written too, and tried again by whoever resumes. A last line that was torn by a crash or a full disk is mended
when the file is opened again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import cattrs

from truebit_async._wire import make_converter
from truebit_async.errors import CheckpointError
from truebit_async.models import Execution, Outcome

__all__ = ["Checkpoint", "Record", "RecordedError", "outcome_as_json", "read_checkpoint"]

_FIELDS = {"executionId", "verificationStatus", "clearTextSolution", "polls", "elapsed", "error"}


@attrs.frozen
class RecordedError:
    """What a line keeps of an error.

    Attributes:
        type: the name of its class.
        message: its text.
    """

    type: str
    message: str


@attrs.frozen
class Record:
    """An outcome as it is read back from a line.

    Attributes:
        execution_id: the ID that was waited for.
        execution: the final state; None if there was no answer.
        error: why there was none.
        polls: how many polls were answered or failed.
        elapsed: seconds the wait took, to the millisecond.
    """

    execution_id: str
    execution: Execution | None
    error: RecordedError | None
    polls: int
    elapsed: float

    @property
    def is_final(self) -> bool:
        """Whether it holds an answer, so that nobody needs to ask again."""
        return self.execution is not None


def outcome_as_json(outcome: Outcome) -> str:
    """Return the line for an outcome, without its line break. Every field is always there.

    Args:
        outcome: the outcome.
    """
    reply: dict[str, Any] = {} if outcome.execution is None else make_converter().unstructure(outcome.execution)
    error = outcome.error
    line = {
        "executionId": outcome.execution_id,
        "verificationStatus": reply.get("verificationStatus"),
        "clearTextSolution": reply.get("clearTextSolution"),
        "polls": outcome.polls,
        "elapsed": round(outcome.elapsed, 3),
        "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
    }
    return json.dumps(line)


def read_checkpoint(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Read outcomes back, in the order in which they were written. An ID may have several; the last one counts.

    A torn last line is left out; the file is not changed.

    Args:
        path: the file.

    Raises:
        CheckpointError: the file cannot be read, or is no checkpoint.
    """
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                record = _parse(line)
                if record is not None:
                    yield record
                elif line.endswith(b"\n"):
                    detail = f"line {number} is no outcome; does the file belong to something else?"
                    raise CheckpointError(None, os.fspath(path), detail)
    except OSError as error:
        raise _unusable(path, error) from error


class Checkpoint:
    """A file to which the outcomes of a batch are appended.

    Use it as ``with Checkpoint(path) as checkpoint: ...``. What is written survives the death of the process at once.

    Args:
        path: the file; it is made if it does not exist.
        resume: whether the file may hold outcomes already.

    Attributes:
        final: the final records found in the file, by execution ID.
        mended: what was done about a torn last line, for a message; None if nothing was torn.

    Raises:
        CheckpointError: the file cannot be written, is no checkpoint, or holds outcomes that nobody wants to resume.
    """

    def __init__(self, path: str | os.PathLike[str], *, resume: bool = False) -> None:
        self._path = os.fspath(path)
        self.final: dict[str, Record] = {}
        self.mended: str | None = None
        try:
            # Unbuffered, so that a line is either with the operating system or known not to be.
            self._file = open(self._path, "ab+", buffering=0)  # noqa: PTH123, SIM115  # closed by `close`
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            self._take_stock(resume=resume)
        except CheckpointError:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, outcome: Outcome) -> None:
        """Append an outcome.

        Args:
            outcome: the outcome; it may lack an answer.

        Raises:
            CheckpointError: it could not be written, for example because the disk is full.
        """
        self._append(outcome_as_json(outcome).encode() + b"\n")

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        self._file.close()

    def _append(self, line: bytes) -> None:
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise _unusable(self._path, error) from error

    def _take_stock(self, *, resume: bool) -> None:
        if not self._file.seekable():  # a pipe or a terminal
            raise CheckpointError(None, self._path, "it is not a regular file; name another file")
        if self._file.tell() == 0:
            return
        if not resume:
            raise CheckpointError(None, self._path, "it exists and is not empty; resume it, or name another file")
        for record in read_checkpoint(self._path):
            if record.is_final:
                self.final[record.execution_id] = record
        self._mend()

    def _mend(self) -> None:
        content = Path(self._path).read_bytes()
        torn = content.rpartition(b"\n")[2]
        if not torn:
            return
        if _parse(torn) is not None:
            self.mended = "the last line lacked its line break, which was added"
            self._append(b"\n")
        else:
            self.mended = f"the last line was torn, and its {len(torn)} bytes were removed"
            self._file.truncate(len(content) - len(torn))


def _parse(line: bytes) -> Record | None:
    """Return the record of a line, or None if it is none."""
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict) or fields.keys() != _FIELDS:
            return None
        execution = None if fields["verificationStatus"] is None else make_converter().structure(fields, Execution)
        error = None if fields["error"] is None else make_converter().structure(fields["error"], RecordedError)
        return Record(fields["executionId"], execution, error, fields["polls"], fields["elapsed"])
    except (ValueError, TypeError, KeyError, RecursionError, cattrs.BaseValidationError):
        return None


def _unusable(path: str | os.PathLike[str], error: OSError) -> CheckpointError:
    return CheckpointError(None, os.fspath(path), f"{error.strerror or error}; name another file, or fix that")
