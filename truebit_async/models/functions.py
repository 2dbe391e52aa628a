"""The state of a function task's execution, as frozen attrs classes.

The fields mirror the reply of ``GET /task/function/execution-status/{executionId}`` (schema
``ExecuteTaskSyncResponse`` of the dispatcher API) in snake_case. The schema marks none of them as required.
"""

from __future__ import annotations

import enum
from typing import Self

import attrs

from truebit_async.errors import (
    ExecutionFailedError,
    IndeterminateError,
    StillRunningError,
    VerificationFailedError,
)
from truebit_async.models.common import Signature

__all__ = ["FUNCTION", "ClearTextSolution", "Execution", "ExecutionStatus", "VerificationStatus"]

FUNCTION = "function"
"""The kind of these executions, in events, errors and checkpoints."""


class VerificationStatus(enum.StrEnum):
    """Whether the nodes agree (``verificationStatus``)."""

    RUNNING = "Running"
    """Still being executed."""
    SUCCESS = "Success"
    """It ended in time and all nodes gave the same response, which may be that the run failed."""
    INDETERMINATE = "Indeterminate"
    """No consensus, because it took too long, the nodes disagreed, or too few of them answered."""
    ERROR = "Error"
    """An error during the execution."""


class ExecutionStatus(enum.StrEnum):
    """Whether the run worked (``clearTextSolution.executionStatus``)."""

    SUCCEED = "succeed"
    """The run succeeded."""
    FAILED = "failed"
    """The run failed."""


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
class Execution:
    """The state of one execution.

    Attributes:
        execution_id: the ID that was asked for.
        verification_status: whether the nodes agree.
        clear_text_solution: their solution, once there is one.
    """

    execution_id: str
    verification_status: VerificationStatus
    clear_text_solution: ClearTextSolution | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is no final state yet; every other status is final."""
        return self.verification_status is VerificationStatus.RUNNING

    @property
    def is_verified(self) -> bool:
        """Whether the nodes agree. They may agree that the run failed, so see `succeeded`."""
        return self.verification_status is VerificationStatus.SUCCESS

    @property
    def succeeded(self) -> bool:
        """Whether the nodes agree **and** the run worked, which takes ``succeed`` and an output."""
        return self._verified_output is not None

    @property
    def output(self) -> str:
        """The verified output.

        Raises:
            StillRunningError: there is no final state yet.
            IndeterminateError: the nodes reached no consensus.
            ExecutionFailedError: the execution ended with an error, or the nodes agree that it failed.
        """
        if (output := self._verified_output) is not None:
            return output
        raise self._failure()

    def raise_for_verification(self) -> Self:
        """Return this execution if it succeeded, else raise what is wrong.

        Raises:
            StillRunningError: there is no final state yet.
            IndeterminateError: the nodes reached no consensus.
            ExecutionFailedError: the execution ended with an error, or the nodes agree that it failed.
        """
        if self.succeeded:
            return self
        raise self._failure()

    @property
    def _verified_output(self) -> str | None:
        solution = self.clear_text_solution
        if self.is_verified and solution is not None and solution.execution_status is ExecutionStatus.SUCCEED:
            return solution.output or None  # by the documentation an empty output marks a failed task
        return None

    def _failure(self) -> VerificationFailedError:
        failures: dict[VerificationStatus, type[VerificationFailedError]] = {
            VerificationStatus.RUNNING: StillRunningError,
            VerificationStatus.INDETERMINATE: IndeterminateError,
        }
        return failures.get(self.verification_status, ExecutionFailedError)(self.execution_id, self, kind=FUNCTION)
