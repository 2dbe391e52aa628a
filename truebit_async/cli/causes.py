"""Why executions have no final state: errors in groups."""

from __future__ import annotations

import re
from collections import Counter

import attrs

from truebit_async._text import bounded_line
from truebit_async.cli.hints import hint_for
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
        hint: what to do.
    """

    type: str
    status: int | None
    message: str
    hint: str = attrs.field(eq=False)

    @property
    def description(self) -> str:
        """What happened, without what to do."""
        status = "" if self.status is None else f"{self.status} "
        return f"{status}{self.type}: {self.message}".removesuffix(": ")

    def __str__(self) -> str:
        return f"{self.description}. {self.hint}".rstrip()


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
                message += f"; last failure: {cause_of(error.last_error).description}"
        case _:
            message = ""
    if error.execution_id:
        message = re.sub(rf"(?<![\w-]){re.escape(error.execution_id)}(?![\w-])", "<ID>", message)
    return Cause(type(error).__name__, status, bounded_line(message, _MAX_MESSAGE), hint_for(type(error)))


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
