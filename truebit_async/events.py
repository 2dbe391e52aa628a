"""What happens inside a session, told as it happens: what a listener, a log, a progress bar or a span sees.

A listener is any function that takes one event. It is called from the event loop, so it must be quick; what it raises
is logged and does no harm. The logger ``truebit_async`` tells the same story: pauses at INFO, the rest at DEBUG.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ClassVar

import attrs

from truebit_async.errors import TruebitError
from truebit_async.models import Execution, Outcome

__all__ = ["BackedOff", "Finished", "Listener", "Paused", "PollEvent", "Polled"]

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
class BackedOff(PollEvent):
    """A wait sleeps before its next poll.

    Attributes:
        seconds: how many seconds it sleeps, as the policy's wait strategy decided.
        polls: how many polls of this wait were answered or failed so far.
    """

    seconds: float
    polls: int

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
    """

    outcome: Outcome

    def __str__(self) -> str:
        outcome = self.outcome
        if outcome.execution is None:
            what = f"no answer: {outcome.error}"
        else:
            what = f"execution {self.execution_id!r}: {_status(outcome.execution)}"
        return f"{what} (finished after {outcome.elapsed:.3f} s, polls: {outcome.polls})"


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
            except Exception:
                _logger.exception("the listener of a session raised; the session goes on")


def _status(execution: Execution) -> str:
    return execution.verification_status.value
