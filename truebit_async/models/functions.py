"""A function task, and the state of its execution, as frozen attrs classes.

The fields of the state mirror the reply of ``GET /task/function/execution-status/{executionId}`` (schema
``ExecuteTaskSyncResponse`` of the dispatcher API) in snake_case. The schema marks none of them as required.
"""

from __future__ import annotations

import enum
from typing import ClassVar

import attrs

from truebit_async._arguments import check_count, check_text
from truebit_async._text import shortened
from truebit_async.errors import (
    ExecutionFailedError,
    IndeterminateError,
    StillRunningError,
    VerificationFailedError,
)
from truebit_async.models.common import MAX_UINT32, AnyExecution, ExecutionStatus, Signature, check_task

__all__ = ["FUNCTION", "ClearTextSolution", "Execution", "FunctionTask", "VerificationStatus"]

FUNCTION = "function"
"""The kind of these executions, in events, errors and checkpoints."""


@attrs.frozen
class FunctionTask:
    """A function task to submit: see ``Tasks.submit``. Its repr does not show the input.

    The fields mirror the body of ``POST /task/function/execute-by-name`` (operation ``executeTaskByName`` of the
    dispatcher API) in snake_case.

    Args:
        namespace: the namespace of the deployed task.
        task_name: its name.
        input: what the task gets.
        total_solutions: how many nodes run the task.
        required_solutions: how many nodes must agree. One that agrees with itself proves little.
        label: which deployment of the task to run; None leaves that to the dispatcher.
        version: likewise.
        gas_limit: how many steps the task may take; None leaves that to the dispatcher.
        execution_timeout: how long it may run, in seconds; None leaves that to the dispatcher. Older documents of the
            API require it, newer ones do not mention it.
        tag: your own name for the task in a batch: see ``Tasks.run_many``. It is not sent.

    Raises:
        TypeError: a field has the wrong type; the message names it.
        ValueError: a field has a value that the API does not accept; the message names it.
    """

    namespace: str
    task_name: str
    input: str = attrs.field(repr=False)
    total_solutions: int = attrs.field(kw_only=True)
    required_solutions: int = attrs.field(kw_only=True)
    label: str | None = attrs.field(default=None, kw_only=True)
    version: str | int | None = attrs.field(default=None, kw_only=True)
    gas_limit: int | None = attrs.field(default=None, kw_only=True)
    execution_timeout: float | None = attrs.field(default=None, kw_only=True)
    tag: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_task(self.namespace, self.task_name, self.label, self.version, self.execution_timeout, self.tag)
        check_text("input", self.input, empty_allowed=True)
        check_count("total_solutions", self.total_solutions, maximum=MAX_UINT32)
        check_count("required_solutions", self.required_solutions, maximum=MAX_UINT32)
        if self.required_solutions > self.total_solutions:
            msg = "required_solutions must be at most total_solutions"
            raise ValueError(msg)
        if self.gas_limit is not None:
            check_count("gas_limit", self.gas_limit)


class VerificationStatus(enum.StrEnum):
    """Whether the nodes agree (``verificationStatus``)."""

    RUNNING = "Running"
    """Still being executed."""
    SUCCESS = "Success"
    """It ended in time, and the nodes agree on one response, which may be that the run failed."""
    INDETERMINATE = "Indeterminate"
    """No consensus, because it took too long, the nodes disagreed, or too few of them answered."""
    ERROR = "Error"
    """An error during the execution."""


@attrs.frozen
class ClearTextSolution:
    """The solution the nodes gave (``clearTextSolution``). Absent while an execution is running.

    Attributes:
        output: what the task returned; an empty one marks the task as failed.
        execution_status: whether the run worked.
        sender_address: address of the node that sent it.
        signature: found inside ``clearTextSolution`` (the schema) or beside it (a published example).
    """

    output: str | None = None
    execution_status: ExecutionStatus | None = None
    sender_address: str | None = None
    signature: Signature | None = None


@attrs.frozen
class Execution(AnyExecution[str]):
    """The state of one execution of a function task.

    Attributes:
        kind: ``"function"``.
        execution_id: the ID that was asked for.
        verification_status: whether the nodes agree.
        clear_text_solution: their solution, once there is one.
    """

    kind: ClassVar[str] = FUNCTION

    execution_id: str
    verification_status: VerificationStatus
    clear_text_solution: ClearTextSolution | None = None

    @property
    def status(self) -> VerificationStatus:
        """The ``verification_status``, by the name that executions of all kinds have for it."""
        return self.verification_status

    @property
    def is_running(self) -> bool:
        """Whether there is no final state yet; every other status is final."""
        return self.verification_status is VerificationStatus.RUNNING

    @property
    def is_verified(self) -> bool:
        """Whether the nodes agree. They may agree that the run failed, so see `succeeded`."""
        return self.verification_status is VerificationStatus.SUCCESS

    @property
    def _successful_output(self) -> str | None:
        solution = self.clear_text_solution
        if self.is_verified and solution is not None and solution.execution_status is ExecutionStatus.SUCCEED:
            return solution.output or None  # by the documentation an empty output marks a failed task
        return None

    @property
    def _failure(self) -> VerificationFailedError:
        if self.is_running:
            return StillRunningError(self.execution_id, self, "is still running", kind=FUNCTION)
        if self.verification_status is VerificationStatus.INDETERMINATE:
            return IndeterminateError(
                self.execution_id,
                self,
                "is indeterminate: it took too long, the nodes disagreed, or too few answered",
                kind=FUNCTION,
            )
        solution = self.clear_text_solution
        if not self.is_verified:
            detail = "ended with an error"
        elif solution is None:
            detail = "was verified, but the reply holds no solution"
        else:
            detail = f"was verified, and the nodes agree that it failed (output {shortened(solution.output)})"
        return ExecutionFailedError(self.execution_id, self, detail, kind=FUNCTION)
