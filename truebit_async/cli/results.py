"""How the end of a wait is told on the command line: the verdict in a word, the exit code."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from truebit_async.models import Execution


class ExitCode(enum.IntEnum):
    """What the command exits with; documented in the reference."""

    SUCCEEDED = 0
    NOT_SUCCEEDED = 1
    USAGE = 2
    NO_ANSWER = 3
    BUG = 70  # EX_SOFTWARE of sysexits.h
    INTERRUPTED = 130


class Verdict(enum.StrEnum):
    """What became of an execution, in the order in which summaries list it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INDETERMINATE = "indeterminate"
    ERROR = "error"
    RUNNING = "running"
    NO_ANSWER = "no answer"

    @classmethod
    def of(cls, execution: Execution | None) -> Verdict:
        """Return the verdict on an execution; None stands for one without an answer."""
        if execution is None:
            return cls.NO_ANSWER
        if execution.is_verified:
            return cls.SUCCEEDED if execution.succeeded else cls.FAILED
        return cls[execution.verification_status.name]

    @property
    def exit_code(self) -> ExitCode:
        """What a command exits with if every execution has this verdict."""
        match self:
            case Verdict.SUCCEEDED:
                return ExitCode.SUCCEEDED
            case Verdict.NO_ANSWER:
                return ExitCode.NO_ANSWER
        return ExitCode.NOT_SUCCEEDED


def exit_code(verdicts: Iterable[Verdict]) -> ExitCode:
    """Return the exit code for all of them: the gravest, which is the largest."""
    return max((verdict.exit_code for verdict in verdicts), default=ExitCode.SUCCEEDED)
