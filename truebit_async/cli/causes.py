"""Why executions have no final state: errors in groups."""

from __future__ import annotations

from collections import Counter

import attrs

from truebit_async._text import bounded_line
from truebit_async.cli.hints import way_out_of
from truebit_async.errors import (
    ApiError,
    InvalidExecutionIdError,
    TransportError,
    TruebitError,
    UnexpectedResponseError,
    VerificationTimeoutError,
)

_MAX_CAUSES = 50  # servers may put anything into a message
_MAX_MESSAGE = 200  # characters


@attrs.frozen
class Cause:
    """What errors about different executions have in common.

    Attributes:
        type: the class of the errors.
        status: the HTTP status code; None without a response.
        message: what happened, without the execution ID.
        way_out: what to do.
    """

    type: str
    status: int | None
    message: str
    way_out: str = attrs.field(eq=False)

    def __str__(self) -> str:
        status = "" if self.status is None else f"{self.status} "
        message = f": {self.message}" if self.message else ""
        return f"{status}{self.type}{message}. {self.way_out}".strip()


def cause_of(error: TruebitError) -> Cause:
    """Return the cause of an error."""
    status = error.status if isinstance(error, ApiError | UnexpectedResponseError) else None
    match error:
        case ApiError():
            message = error.message or ""
        case TransportError() | UnexpectedResponseError():
            message = error.detail
        case InvalidExecutionIdError():
            message = error.reason
        case VerificationTimeoutError():
            message = f"no final state within {error.deadline:g} s"
            if error.last_error is not None:
                last = cause_of(error.last_error)
                message += f"; last failure: {attrs.evolve(last, way_out='')}".rstrip(". ")
        case _:
            message = type(error).__doc__ or ""
            message = message.partition(".")[0]
    if error.execution_id:
        message = message.replace(error.execution_id, "<ID>")
    return Cause(type(error).__name__, status, bounded_line(message, _MAX_MESSAGE), way_out_of(type(error)))


class Causes:
    """Counts causes. Its memory does not grow with the number of errors."""

    def __init__(self) -> None:
        self._counts: Counter[Cause] = Counter()

    def add(self, error: TruebitError) -> None:
        """Count the cause of an error."""
        cause = cause_of(error)
        if cause not in self._counts and len(self._counts) >= _MAX_CAUSES:
            cause = attrs.evolve(cause, message="(other messages)")
        self._counts[cause] += 1

    def most_common(self) -> list[tuple[Cause, int]]:
        """Return the causes with their numbers of errors, the most frequent one first."""
        return self._counts.most_common()
