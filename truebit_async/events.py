"""What happens inside a session, told as it happens: what a listener, a log, a progress bar or a span sees.

A wait has one `Started`, and then one `Finished` or one `Left`. An exchange has one `Requested`, and then one `Polled`
or one `Dropped`.

A listener is any function that takes one event. It is called from the event loop, so it must be quick; what it raises
is logged and does no harm. The logger ``truebit_async`` tells the same story: pauses at INFO, the rest at DEBUG.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import ClassVar

import attrs

from truebit_async.errors import TruebitError
from truebit_async.models import Execution, Outcome

__all__ = [
    "BackedOff",
    "Dropped",
    "Finished",
    "Left",
    "Listener",
    "Paused",
    "PollEvent",
    "Polled",
    "Requested",
    "Started",
]

_logger = logging.getLogger("truebit_async")


@attrs.frozen
class PollEvent:
    """Base of all events.

    Attributes:
        execution_id: the execution it is about.
        log_level: the level of the `logging` module at which the log tells of it.
    """

    execution_id: str

    log_level: ClassVar[int] = logging.DEBUG


@attrs.frozen
class Started(PollEvent):
    """A wait begins. This is told in a copy of its caller's `contextvars` context, and its requests are made in it.

    So a listener may set a context variable here, such as the current span, for the requests to find.

    Attributes:
        wait_number: the number of the wait, unique in this process; an execution may have several waits.
    """

    wait_number: int

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: waiting"


@attrs.frozen
class Requested(PollEvent):
    """An exchange begins."""

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: asking"


@attrs.frozen
class Polled(PollEvent):
    """One exchange has ended. Waits that share it are told of it once.

    Attributes:
        seconds: how many seconds it took.
        execution: the state it brought; None if it failed.
        error: why it failed; None if it did not.
    """

    seconds: float
    execution: Execution | None
    error: TruebitError | None

    def __str__(self) -> str:
        what = self.error if self.execution is None else f"execution {self.execution_id!r}: {_status(self.execution)}"
        return f"{what} (request took {self.seconds:.3f} s)"


@attrs.frozen
class Dropped(PollEvent):
    """An exchange has ended without a result: nobody waits for it any more, or a bug ended it.

    Attributes:
        seconds: how many seconds it had taken by then.
    """

    seconds: float

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: request dropped after {self.seconds:.3f} s"


@attrs.frozen
class BackedOff(PollEvent):
    """A wait sleeps before its next poll.

    Attributes:
        seconds: how many seconds it sleeps, as the policy's wait strategy decided.
        polls: how many polls of this wait were answered or failed so far.
        wait_number: the number of the wait; None for ``get_execution_status``, which tries again without being one.
    """

    seconds: float
    polls: int
    wait_number: int | None

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: next poll in {self.seconds:.3f} s, after {self.polls} so far"


@attrs.frozen
class Paused(PollEvent):
    """The server asked for a pause, and the whole session keeps it.

    Attributes:
        seconds: how many seconds it lasts, counted from now.
        error: the answer that asked for it.
    """

    seconds: float
    error: TruebitError

    log_level = logging.INFO

    def __str__(self) -> str:
        return f"no requests for {self.seconds:.3f} s: {self.error}"


@attrs.frozen
class Finished(PollEvent):
    """A wait has ended by itself.

    Attributes:
        outcome: how.
        wait_number: the number of the wait.
    """

    outcome: Outcome
    wait_number: int

    def __str__(self) -> str:
        outcome = self.outcome
        if outcome.execution is None:
            what = f"no answer: {outcome.error}"
        else:
            what = f"execution {self.execution_id!r}: {_status(outcome.execution)}"
        return f"{what} (finished after {outcome.elapsed:.3f} s, polls: {outcome.polls})"


@attrs.frozen
class Left(PollEvent):
    """A wait was given up: its caller was cancelled, or left the loop over a batch; or a wait strategy raised.

    Attributes:
        wait_number: the number of the wait.
    """

    wait_number: int

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: no longer waited for"


Listener = Callable[[PollEvent], None]
"""Is told of every event of a session, in the order in which they happen."""


class Announcer:
    """Tells the log and the listener of a session.

    Args:
        listener: the user's function; None if there is none.
    """

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener

    @property
    def has_audience(self) -> bool:
        """Whether anybody would hear of a poll; if not, its events need not be made."""
        return self._listener is not None or _logger.isEnabledFor(logging.DEBUG)

    def tell(self, event: PollEvent) -> None:
        """Tell of an event. Never raises what the listener raises."""
        _logger.log(event.log_level, "%s", event)
        if self._listener is not None:
            try:
                self._listener(event)
            except (Exception, asyncio.CancelledError):  # from a future of its own: nobody can cancel a function
                _logger.exception("the listener of a session raised; the session goes on")


def _status(execution: Execution) -> str:
    return execution.verification_status.value
