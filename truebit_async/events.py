"""What happens inside a session, as it happens: for listeners, logs, progress displays and traces.

A wait has one `Started`, and then one `Finished` or one `Left`. A status request has one `Requested`, and then one
`Polled` or one `Dropped`. A submission has one `Submitted`, if it succeeds.

A listener is any function that takes one event. It is called from the event loop, so it must be quick. What it raises
is logged, and the session goes on. The logger ``truebit_async`` gets the same events: pauses and submissions at INFO,
the rest at DEBUG.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, ParamSpec

import attrs

from truebit_async._text import one_line
from truebit_async.errors import TruebitError
from truebit_async.models import AnyExecution, Outcome

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
    "Submitted",
]

_logger = logging.getLogger("truebit_async")


@attrs.frozen
class PollEvent:
    """Base of all events.

    Attributes:
        execution_id: the execution it is about.
        kind: the kind of task of that execution, such as ``"function"``.
        log_level: the level of the `logging` module at which it is logged.
    """

    execution_id: str
    kind: str

    log_level: ClassVar[int] = logging.DEBUG


@attrs.frozen
class Started(PollEvent):
    """A wait begins.

    Listeners hear it in a copy of the caller's `contextvars` context, and the requests of the wait are made in that
    copy. So a listener may set a context variable, such as the current span, for these requests.

    Attributes:
        wait_number: the number of the wait, unique in this process; an execution may have several waits.
    """

    wait_number: int

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: waiting"


@attrs.frozen
class Requested(PollEvent):
    """A request begins."""

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: asking"


@attrs.frozen
class Submitted(PollEvent):
    """A task was submitted, and has an execution ID. Its request has no other event.

    Attributes:
        seconds: how many seconds that took.
    """

    seconds: float

    log_level = logging.INFO

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: submitted ({self.kind} task, took {self.seconds:.3f} s)"


@attrs.frozen
class Polled(PollEvent):
    """A request has ended with a result. A request that several waits share has one such event.

    Attributes:
        seconds: how many seconds it took.
        execution: the state it brought; None if it failed.
        error: why it failed; None if it did not.
    """

    seconds: float
    execution: AnyExecution[object] | None
    error: TruebitError | None

    def __str__(self) -> str:
        what = (
            self.error if self.execution is None else f"execution {self.execution_id!r}: {self.execution.status.value}"
        )
        return f"{what} (request took {self.seconds:.3f} s)"


@attrs.frozen
class Dropped(PollEvent):
    """A request has ended without a result that counts.

    Nobody waits for it any more, or a bug ended it, or it met a connection that the server had closed and is repeated.

    Attributes:
        seconds: how many seconds it took until then.
    """

    seconds: float

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: request dropped after {self.seconds:.3f} s"


@attrs.frozen
class BackedOff(PollEvent):
    """A wait sleeps before its next poll.

    Attributes:
        seconds: how many seconds it sleeps, as the policy's wait strategy or the deadline decided.
        polls: how many polls of this wait were answered or failed so far.
        wait_number: the number of the wait; None for ``get_execution_status``, which is not a wait.
    """

    seconds: float
    polls: int
    wait_number: int | None

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: next poll in {self.seconds:.3f} s, after {self.polls} so far"


@attrs.frozen
class Paused(PollEvent):
    """The server asked for a pause. The whole session makes no requests for that long.

    Its ``execution_id`` is empty if a submission met it, and its ``kind`` if a request for evidence did.

    Attributes:
        seconds: how many seconds it lasts, counted from now.
        error: the response that asked for it.
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
        outcome: how it ended.
        wait_number: the number of the wait.
    """

    outcome: Outcome[AnyExecution[object]]
    wait_number: int

    def __str__(self) -> str:
        outcome = self.outcome
        if outcome.execution is None:
            what = f"no final state: {outcome.error}"
        else:
            what = f"execution {self.execution_id!r}: {outcome.execution.status.value}"
        return f"{what} (finished after {outcome.elapsed:.3f} s, polls: {outcome.polls})"


@attrs.frozen
class Left(PollEvent):
    """A wait has ended without an outcome: its caller was cancelled or left its loop, or a bug ended it.

    Attributes:
        wait_number: the number of the wait.
    """

    wait_number: int

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: no longer waited for"


Listener = Callable[[PollEvent], None]
"""A function that is called with every event of a session, in the order in which they happen."""

P = ParamSpec("P")


class Emitter:
    """Sends events to the log and to listeners.

    Args:
        listeners: functions that hear every event.
    """

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._listeners = tuple(listeners)
        self._target_listeners: dict[tuple[str, str], dict[int, Listener]] = {}  # by wait number

    def emit(self, event_type: Callable[P, PollEvent], *args: P.args, **kwargs: P.kwargs) -> None:
        """Make an event and send it, if anybody listens. Nothing that a listener or the log raises gets out.

        Args:
            event_type: the class of the event.
            args: its fields.
            kwargs: more of its fields.
        """
        if not (self._listeners or self._target_listeners or _logger.isEnabledFor(logging.INFO)):
            return
        event = event_type(*args, **kwargs)
        _call(_log, event)
        for listener in self._listeners:
            _call(listener, event)
        if listeners := self._target_listeners.get((event.kind, event.execution_id)):
            if isinstance(event, Started | BackedOff | Finished | Left):  # of one wait, which may have a listener
                chosen = [listeners[event.wait_number]] if event.wait_number in listeners else []
            else:
                chosen = list(listeners.values())
            for listener in chosen:
                _call(listener, event)

    @contextlib.contextmanager
    def listening_to(self, kind: str, execution_id: str, wait_number: int, listener: Listener) -> Iterator[None]:
        """Send the events of one wait to one more listener, those of its requests included.

        Args:
            kind: the kind of task.
            execution_id: the execution.
            wait_number: the number of the wait.
            listener: hears its events.
        """
        listeners = self._target_listeners.setdefault((kind, execution_id), {})
        listeners[wait_number] = listener
        try:
            yield
        finally:
            del listeners[wait_number]
            if not listeners:
                del self._target_listeners[kind, execution_id]


def _log(event: PollEvent) -> None:
    if _logger.isEnabledFor(event.log_level):
        _logger.log(event.log_level, "%s", one_line(str(event)))


def _call(listener: Listener, event: PollEvent) -> None:
    try:
        listener(event)
    except (Exception, asyncio.CancelledError):  # CancelledError too: nobody can cancel a function
        with contextlib.suppress(Exception, asyncio.CancelledError):  # a filter of the log may be what raised
            _logger.exception("a listener of a session raised; the session goes on")
