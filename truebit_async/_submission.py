"""One submission of a task: it is repeated only if it cannot have arrived, or if a 429 refused it."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Any, Protocol

from truebit_async._exchange import failure_at_deadline, read_in_thread
from truebit_async._protocol.body import LARGE_BODY
from truebit_async._protocol.messages import Response, TaskRules
from truebit_async._protocol.submission import read_submission
from truebit_async._scheduler.poller import Poller
from truebit_async._scheduler.source import Source
from truebit_async._transport import Transport
from truebit_async.errors import (
    MissingApiKeyError,
    RequestTimeoutError,
    SessionClosedError,
    SubmissionUncertainError,
    TransportError,
    TruebitError,
    VerificationTimeoutError,
)
from truebit_async.events import Submitted
from truebit_async.policy import PollPolicy

_CANCELLED = "the request was cancelled from outside"
MIN_NOT_FOUND_GRACE = 5.0  # seconds after a submission in which a 404 says "not there yet"


class Journal(Protocol):
    """Records the steps of a submission. An exception that it raises ends the submission."""

    def sent(self) -> None:
        """Note that it is about to be sent."""

    def accepted(self, execution_id: str) -> None:
        """Note that it has an execution."""

    def refused(self) -> None:
        """Note that it was refused: the task does not run."""


class Submission:
    """The submission of one task.

    Args:
        rules: the rules of its kind of task.
        task: the task.
        transport: sends the request.
        poller: schedules it.
        journal: is told about it; None tells nobody.

    Attributes:
        may_have_arrived: whether the server may have got the task.
        execution_id: its execution; None if there is none, or none that is known.
    """

    def __init__(
        self,
        rules: TaskRules[Any, Any],
        task: object,
        transport: Transport,
        poller: Poller,
        journal: Journal | None = None,
    ) -> None:
        self._kind = rules.name
        self._request = rules.submit_request(task, time.time())
        self._transport = transport
        self._poller = poller
        self._journal = journal
        self._started = 0.0
        self.may_have_arrived = False
        self.execution_id: str | None = None

    async def run(self, policy: PollPolicy) -> str:
        """Submit the task; return its execution ID.

        Args:
            policy: the budgets.

        Raises:
            TruebitError: see `Tasks.submit`.
        """
        self._poller.check_open(kind=self._kind)
        if not self._transport.has_api_key:
            raise MissingApiKeyError(None, kind=self._kind)
        self._started = self._poller.bind().time()
        source: Source[str] = Source(self._kind, self._send, lambda _: True, has_events=False)
        try:
            return await self._poller.get_state(source, "", policy)
        except asyncio.CancelledError as error:
            if self.execution_id is not None:
                note_execution(error, self.execution_id, self._kind)
            elif self.may_have_arrived:
                error.add_note("A submission was sent, and may have arrived: the task may run, and be billed.")
            raise
        except TruebitError as error:
            if self.execution_id is not None and isinstance(error, VerificationTimeoutError | SessionClosedError):
                return self.execution_id  # the response came in the step of the loop in which the waiting ended
            failure = self._failure(error)
        raise failure

    def cancelled(self) -> TruebitError:
        """Return the error of a submission that was cancelled, and by nobody who waits for it."""
        if self.may_have_arrived:
            return SubmissionUncertainError(None, _CANCELLED, kind=self._kind, may_have_run=True)
        return TransportError(None, _CANCELLED, kind=self._kind)

    async def _send(self, execution_id: str, request_timeout: float, *, on_new_connection: bool) -> str:  # noqa: ARG002
        ends = asyncio.get_running_loop().time() + request_timeout
        if self.may_have_arrived:  # somebody has cancelled the task of the first request, and the scheduler asks again
            raise self.cancelled()
        try:
            response = await self._transport.send(
                self._request,
                request_timeout=request_timeout,
                on_new_connection=on_new_connection,
                on_sent=self._note_sent,
            )
        except TruebitError as error:
            error.may_have_run = self.may_have_arrived
            if isinstance(error, TransportError):
                error.connection_was_stale = False  # it would be repeated at once
            raise
        try:
            if len(response.body) <= LARGE_BODY:
                self.execution_id = self._read(response)
            else:
                read = functools.partial(self._read, response)
                self.execution_id = await read_in_thread(self._request, read, ends, request_timeout)
        except RequestTimeoutError as error:
            error.may_have_run = True
            raise
        except TruebitError as error:
            self.may_have_arrived = error.may_have_run
            if self._journal is not None and not error.may_have_run:
                self._journal.refused()
            raise
        # Now, and not when the caller wakes up: it may have been cancelled meanwhile.
        seconds = self._poller.bind().time() - self._started
        self._poller.emitter.emit(Submitted, self.execution_id, self._kind, seconds)
        if self._journal is not None:
            self._journal.accepted(self.execution_id)
        return self.execution_id

    def _note_sent(self) -> None:
        if self._journal is not None:
            self._journal.sent()
        self.may_have_arrived = True

    def _read(self, response: Response) -> str:
        now = time.time()
        return self._transport.read(response, lambda response: read_submission(self._kind, response, now))

    def _failure(self, error: TruebitError) -> TruebitError:
        """Return the error to raise in place of one that ended the submission."""
        if isinstance(error, VerificationTimeoutError):
            if self.may_have_arrived:
                detail = f"the deadline of {error.deadline:g} s passed"
                return _caused(SubmissionUncertainError(None, detail, kind=self._kind, may_have_run=True), error)
            return failure_at_deadline(error, None, "before it was its turn")
        if isinstance(error, TransportError) and self.may_have_arrived:
            return _caused(SubmissionUncertainError(None, error.detail, kind=self._kind, may_have_run=True), error)
        if isinstance(error, SessionClosedError):
            error.execution_id, error.may_have_run = None, self.may_have_arrived  # the scheduler's ID is empty
        return error


def note_execution(error: BaseException, execution_id: str, kind: str) -> None:
    """Note on an error which execution it leaves behind."""
    execution = f"its execution {execution_id!r} (kind {kind!r})"
    error.add_note(f"The task was submitted: {execution} goes on, and can be waited for.")


def _caused(error: TruebitError, cause: TruebitError) -> TruebitError:
    error.__cause__ = cause
    return error
