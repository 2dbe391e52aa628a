"""Categories of outcomes, and the exit codes they lead to."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from truebit_async.cli.exit_codes import ExitCode
from truebit_async.models import AnyExecution, VerificationStatus


class OutcomeCategory(enum.StrEnum):
    """The category of an outcome, in the order in which summaries list them."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INDETERMINATE = "indeterminate"
    ERROR = "error"
    RUNNING = "running"
    NO_FINAL_STATE = "no final state"

    @classmethod
    def of(cls, execution: AnyExecution[object] | None) -> OutcomeCategory:
        """Return the category of an execution; None stands for an outcome without a final state."""
        if execution is None:
            return cls.NO_FINAL_STATE
        return cls.of_status(execution.status, succeeded=execution.succeeded)

    @classmethod
    def of_status(cls, status: str, *, succeeded: bool) -> OutcomeCategory:
        """Return the category of an execution with this verification status.

        Args:
            status: the verificationStatus.
            succeeded: whether the nodes agree that the run succeeded.
        """
        if status == VerificationStatus.SUCCESS:
            return cls.SUCCEEDED if succeeded else cls.FAILED
        return cls[VerificationStatus(status).name]

    @property
    def exit_code(self) -> ExitCode:
        """The exit code if every outcome is in this category."""
        match self:
            case OutcomeCategory.SUCCEEDED:
                return ExitCode.SUCCEEDED
            case OutcomeCategory.NO_FINAL_STATE:
                return ExitCode.NO_FINAL_STATE
        return ExitCode.NOT_SUCCEEDED


def exit_code_for(categories: Iterable[OutcomeCategory]) -> ExitCode:
    """Return the largest exit code of these categories, which is the most severe one."""
    return max((category.exit_code for category in categories), default=ExitCode.SUCCEEDED)
