"""What executions of every kind have in common."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar, cast

import attrs

from truebit_async.errors import TruebitError

__all__ = ["Outcome", "Signature"]

OutputT_co = TypeVar("OutputT_co", covariant=True)


class AnyExecution(Protocol[OutputT_co]):
    """The state of one execution, of any kind of task."""

    @property
    def succeeded(self) -> bool:
        """Whether there is a verified output."""

    @property
    def output(self) -> OutputT_co:
        """The verified output, or an exception that says why there is none."""


ExecutionT_co = TypeVar("ExecutionT_co", bound=AnyExecution[object], covariant=True)


@attrs.frozen
class Signature:
    """The ECDSA signature that comes with a solution.

    What it covers is not documented, so this package decodes it and does not verify it: a status reply alone
    does not prove who made the output.

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
        execution_id: the ID that was waited for.
        execution: the final state; it may be any status but Running.
        error: why there is no final state.
        polls: how many polls were answered or failed.
        elapsed: seconds from the start of the wait to its end.
        kind: the kind of task, such as ``"function"``.

    Raises:
        ValueError: it was given both an execution and an error, or neither.
    """

    execution_id: str
    execution: ExecutionT_co | None
    error: TruebitError | None
    polls: int
    elapsed: float
    kind: str = "function"

    def __attrs_post_init__(self) -> None:
        if (self.execution is None) == (self.error is None):
            msg = f"the outcome of execution {self.execution_id!r} needs either an execution or an error"
            raise ValueError(msg)

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
