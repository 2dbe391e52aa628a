"""What executions of every kind have in common."""

from __future__ import annotations

import abc
import enum
from typing import ClassVar, Generic, Self, TypeVar, cast

import attrs

from truebit_async._arguments import check_positive, check_text
from truebit_async.errors import TruebitError, VerificationFailedError

__all__ = ["AnyExecution", "ExecutionStatus", "Outcome", "Signature"]

MAX_UINT32 = 2**32 - 1

OutputT_co = TypeVar("OutputT_co", covariant=True)


def check_task(
    namespace: object,
    task_name: object,
    label: object,
    version: object,
    execution_timeout: float | None,
    tag: object,
) -> None:
    """Check the fields that tasks of all kinds have.

    Raises:
        TypeError: a field has the wrong type; the message names it.
        ValueError: a field has a value that the API does not accept; the message names it.
    """
    check_text("namespace", namespace)
    check_text("task_name", task_name)
    if label is not None:
        check_text("label", label)
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        check_text("version", version)
    if execution_timeout is not None:
        check_positive("execution_timeout", execution_timeout)
    if tag is not None:
        check_text("tag", tag)


def check_one_of(execution: object, error: object, subject: str) -> None:
    """Check that there is an execution or an error: not both, and not neither.

    Args:
        execution: the execution, or None.
        error: the error, or None.
        subject: what is checked, for the message.

    Raises:
        ValueError: there are both, or neither.
    """
    if (execution is None) == (error is None):
        msg = f"{subject} needs either an execution or an error"
        raise ValueError(msg)


class AnyExecution(abc.ABC, Generic[OutputT_co]):
    """The state of one execution, of any kind of task.

    Attributes:
        kind: the kind of task, such as ``"function"``.
        execution_id: the ID that was asked for.
    """

    __slots__ = ()

    kind: ClassVar[str]
    execution_id: str

    @property
    @abc.abstractmethod
    def status(self) -> enum.StrEnum:
        """Whether there is a final state, and which."""

    @property
    @abc.abstractmethod
    def is_running(self) -> bool:
        """Whether there is no final state yet; every other status is final."""

    @property
    def succeeded(self) -> bool:
        """Whether the status is Success **and** the run worked, so that there is an output."""
        return self._successful_output is not None

    @property
    def output(self) -> OutputT_co:
        """The output of a success.

        Raises:
            VerificationFailedError: there is none; the class of the error says why.
        """
        if (output := self._successful_output) is not None:
            return output
        raise self._failure

    def raise_for_verification(self) -> Self:
        """Return this execution if it succeeded, else raise what is wrong.

        Raises:
            VerificationFailedError: as for `output`.
        """
        if self.succeeded:
            return self
        raise self._failure

    @property
    @abc.abstractmethod
    def _successful_output(self) -> OutputT_co | None:
        """The output if the execution succeeded, else None."""

    @property
    @abc.abstractmethod
    def _failure(self) -> VerificationFailedError:
        """The error that says why there is no output."""


ExecutionT_co = TypeVar("ExecutionT_co", bound=AnyExecution[object], covariant=True)


class ExecutionStatus(enum.StrEnum):
    """Whether the run worked (``executionStatus`` of a function task, ``status`` in the solution of an API task)."""

    SUCCEED = "succeed"
    """The run succeeded."""
    FAILED = "failed"
    """The run failed."""


@attrs.frozen
class Signature:
    """An ECDSA signature, as received.

    That of a solution is not verified, because what it covers is not documented: a status reply alone does not prove
    who made the output. `truebit_async.audit` finds the signers of transcripts and invoices.

    Attributes:
        v: recovery ID, 27 or 28 in every published example.
        r: 64 hexadecimal digits without ``0x`` in every published example.
        s: the same.
    """

    v: int
    r: str
    s: str


@attrs.frozen
class Outcome(Generic[ExecutionT_co]):
    """How the wait for one execution ended: with an execution, or with an error; never both, never neither.

    Attributes:
        execution_id: the ID that was waited for. It is empty if a task of ``run_many`` has no execution.
        execution: the final state; it may be any status but Running.
        error: why there is no final state.
        polls: how many polls were answered or failed.
        elapsed: seconds from the start of the wait to its end; those of the submission if that failed.
        kind: the kind of task, such as ``"function"``.
        tag: the ``tag`` of the task, else its index, if ``run_many`` submitted it; otherwise None.

    Raises:
        ValueError: it was given both an execution and an error, or neither.
    """

    execution_id: str
    execution: ExecutionT_co | None
    error: TruebitError | None
    polls: int
    elapsed: float
    kind: str = "function"
    tag: str | int | None = None

    def __attrs_post_init__(self) -> None:
        check_one_of(self.execution, self.error, f"the outcome of execution {self.execution_id!r}")

    @property
    def succeeded(self) -> bool:
        """Whether there is an execution and it succeeded."""
        return self.execution is not None and self.execution.succeeded

    @property
    def output(self: Outcome[AnyExecution[OutputT_co]]) -> OutputT_co:
        """The verified output.

        Raises:
            TruebitError: the error of this outcome; or the error that the execution raises when it has no verified
                output.
        """
        return self.unwrap().output

    def unwrap(self) -> ExecutionT_co:
        """Return the execution.

        Raises:
            TruebitError: the error of this outcome, when there is no execution.
        """
        if self.error is not None:
            raise self.error
        return cast("ExecutionT_co", self.execution)  # __attrs_post_init__ has checked that one of the two is there
