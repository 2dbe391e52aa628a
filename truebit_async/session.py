"""The session: what users hold. It composes the transport, the scheduler and the tasks, and has no rule of its own."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from datetime import datetime
from types import EllipsisType, TracebackType
from typing import Never, Self

import aiohttp

from truebit_async._arguments import check_count, check_positive
from truebit_async._evidence import Evidence
from truebit_async._protocol.apis import APIS
from truebit_async._protocol.functions import FUNCTIONS
from truebit_async._scheduler.pacer import Pacer
from truebit_async._scheduler.poller import Poller
from truebit_async._transport import Transport
from truebit_async.events import Emitter, Listener, PollEvent
from truebit_async.models import ApiExecution, ApiTask, Execution, FunctionTask, Invoice, Outcome, Transcript
from truebit_async.policy import PollPolicy, check_policy
from truebit_async.tasks import SubmissionTimes, Tasks

__all__ = ["DEFAULT_BASE_URL", "TruebitSession", "wait_for_verification"]

DEFAULT_BASE_URL = "https://run.truebit.network"
"""The public beta of Truebit Verify."""


class TruebitSession:
    """A connection to a Truebit dispatcher, with one scheduler for all that is asked through it.

    Use it as ``async with TruebitSession() as session: ...``, or call `close` yourself. It can be made before the
    event loop runs, and belongs to the loop it is first used in.

    Args:
        base_url: where the dispatcher is, http or https, without credentials; a path in it is kept as a prefix. None
            takes ``TRUEBIT_BASE_URL`` from the environment, else https://run.truebit.network.
        api_key: sent as ``x-api-key`` to the base URL and nowhere else. None takes ``TRUEBIT_API_KEY`` from the
            environment, else none is sent; the API's documents do not ask for one to read a status.
        http: a client session of yours to send requests with (its proxy, TLS and tracing settings apply; its
            timeouts do not). You close it. None opens one at the first request and closes it with this session.
        policy: the budgets of every wait that does not bring its own.
        max_concurrency: requests in flight at once, over the whole session.
        max_rate: requests per second over the whole session; None sets no cap.
        max_response_bytes: limit of one response body after decompression, in bytes; 64 MiB for evidence, whatever
            this is.
        listeners: quick functions that are called with every event: see `truebit_async.events`.

    Attributes:
        functions: the function tasks, as `Tasks`. ``get_execution_status``, ``wait_for_verification``,
            ``wait_for_verifications`` and ``watch`` of the session are short forms of its methods.
        apis: the API tasks, as `Tasks`. Waits for both kinds share the caps of the session.

    Raises:
        TypeError: an argument has the wrong type; the message names it.
        ValueError: an argument has a value that cannot work; the message names it.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        http: aiohttp.ClientSession | None = None,
        policy: PollPolicy | None = None,
        max_concurrency: int = 64,
        max_rate: float | None = None,
        max_response_bytes: int = 8 * 2**20,
        listeners: Iterable[Listener] = (),
    ) -> None:
        check_count("max_concurrency", max_concurrency)
        if max_rate is not None:
            check_positive("max_rate", max_rate)
        check_count("max_response_bytes", max_response_bytes)
        if http is not None and not isinstance(http, aiohttp.ClientSession):
            msg = f"http must be an aiohttp.ClientSession, not {type(http).__name__}"
            raise TypeError(msg)
        policy = PollPolicy() if policy is None else check_policy(policy)
        self._transport = Transport(
            base_url if base_url is not None else os.environ.get("TRUEBIT_BASE_URL") or DEFAULT_BASE_URL,
            api_key if api_key is not None else os.environ.get("TRUEBIT_API_KEY") or None,
            http=http,
            max_connections=max_concurrency,
            max_response_bytes=max_response_bytes,
        )
        self._poller = Poller(Pacer(max_concurrency, max_rate), Emitter(_check_listeners(listeners)))
        self.functions: Tasks[FunctionTask, Execution] = Tasks(FUNCTIONS, self._transport, self._poller, policy)
        self.apis: Tasks[ApiTask, ApiExecution] = Tasks(APIS, self._transport, self._poller, policy)
        self._evidence = Evidence(self._transport, self._poller, policy)

    async def __aenter__(self) -> Self:
        self._poller.check_open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session: its waits end with `SessionClosedError`, its connections close.

        A client session passed in as ``http`` stays open. Closing twice is fine.

        Raises:
            RuntimeError: the session belongs to another event loop; close it there. Nothing was closed.
        """
        try:
            await self._poller.close()
        finally:  # also if this is cancelled meanwhile: nobody may close it again
            if self._poller.is_closed:
                await self._transport.close()

    def __repr__(self) -> str:
        if not hasattr(self, "functions"):
            return "<TruebitSession, not initialized>"
        state = "closed" if self._poller.is_closed else "open"
        return f"<TruebitSession {str(self._transport.base_url)!r} {state}>"

    def __reduce__(self) -> Never:
        msg = "a TruebitSession cannot be pickled or copied: it holds connections and the API key"
        raise TypeError(msg)

    async def get_execution_status(self, execution_id: str) -> Execution:
        """Ask once for the state of a function task's execution: see `Tasks.get_execution_status`.

        Args:
            execution_id: the ``executionId`` that the execute call returned.

        Returns:
            The execution in whatever state it is, running or final.

        Raises:
            TruebitError: see `Tasks.get_execution_status`.
        """
        return await self.functions.get_execution_status(execution_id)

    async def wait_for_verification(
        self,
        execution_id: str,
        *,
        policy: PollPolicy | None = None,
        deadline: float | EllipsisType | None = ...,
        submitted_at: datetime | None = None,
    ) -> Execution:
        """Poll until ``verificationStatus`` of a function task leaves Running: see `Tasks.wait_for_verification`.

        Args:
            execution_id: the ``executionId`` that the execute call returned.
            policy: the budgets of this wait; None takes the session's.
            deadline: seconds for the whole wait, in place of the policy's; None waits for ever.
            submitted_at: when the execution was submitted: see `Tasks.wait_for_verification`.

        Returns:
            The execution in its final state.

        Raises:
            TruebitError: see `Tasks.wait_for_verification`.
            TypeError: ``policy``, ``deadline`` or ``submitted_at`` has the wrong type.
            ValueError: ``deadline`` is negative, zero, infinite or NaN, or ``submitted_at`` has no time zone.
        """
        return await self.functions.wait_for_verification(
            execution_id, policy=policy, deadline=deadline, submitted_at=submitted_at
        )

    def wait_for_verifications(
        self,
        execution_ids: Iterable[str] | AsyncIterable[str],
        *,
        policy: PollPolicy | None = None,
        deadline: float | EllipsisType | None = ...,
        submitted_at: SubmissionTimes = None,
        max_pending: int = 100_000,
    ) -> AsyncGenerator[Outcome[Execution], None]:
        """Wait for many function tasks, one `Outcome` for each as it finishes: see `Tasks.wait_for_verifications`.

        Args:
            execution_ids: the IDs, as an iterable or an async iterable; it is read as there is room.
            policy: the budgets of each wait; None takes the session's.
            deadline: seconds for each wait, in place of the policy's; None waits for ever.
            submitted_at: when the executions were submitted: see `Tasks.wait_for_verifications`.
            max_pending: how many IDs are held at once.

        Raises:
            SessionClosedError: the session is closed.
            TypeError: see `Tasks.wait_for_verifications`.
            ValueError: see `Tasks.wait_for_verifications`.
        """
        return self.functions.wait_for_verifications(
            execution_ids, policy=policy, deadline=deadline, submitted_at=submitted_at, max_pending=max_pending
        )

    def watch(
        self,
        execution_id: str,
        *,
        policy: PollPolicy | None = None,
        deadline: float | EllipsisType | None = ...,
        submitted_at: datetime | None = None,
    ) -> AsyncGenerator[PollEvent, None]:
        """Wait for a function task, and yield the events of that wait; the last is `Finished`: see `Tasks.watch`.

        Args:
            execution_id: the ``executionId`` that the execute call returned.
            policy: the budgets of this wait; None takes the session's.
            deadline: seconds for the whole wait, in place of the policy's; None waits for ever.
            submitted_at: when the execution was submitted: see `Tasks.wait_for_verification`.

        Raises:
            TruebitError: see `Tasks.watch`.
            TypeError: ``policy``, ``deadline`` or ``submitted_at`` has the wrong type.
            ValueError: ``deadline`` is negative, zero, infinite or NaN, or ``submitted_at`` has no time zone.
        """
        return self.functions.watch(execution_id, policy=policy, deadline=deadline, submitted_at=submitted_at)

    async def get_transcript(self, execution_id: str) -> Transcript:
        """Fetch the transcript of an execution of any kind: the messages about it, as far as it has come.

        A transient failure is tried again as the session's policy says. Keep ``raw`` of the transcript: see
        `truebit_async.audit` for what it shows, and what it does not.

        Args:
            execution_id: the ``executionId`` that the execute call returned.

        Returns:
            The transcript. It holds the input of the task, and the parameters of an API task.

        Raises:
            InvalidExecutionIdError: the ID cannot be one; no request was sent.
            ApiError: the dispatcher answered with an error, such as `ExecutionNotFoundError`.
            UnexpectedResponseError: the response is not a transcript, that of another execution, or above 64 MiB.
            TransportError: there was no response, ``max_consecutive_errors`` times in a row or until the policy's
                deadline.
            SessionClosedError: the session is, or was meanwhile, closed.
            Exception: whatever the wait strategy of the policy raised.
        """
        return await self._evidence.transcript(execution_id)

    async def get_transcript_by_hash(self, transcript_hash: str) -> Transcript:
        """Fetch the transcript that has a hash: see `get_transcript`.

        Args:
            transcript_hash: the ``hash`` of the transcript, in hexadecimal, with or without ``0x``.

        Returns:
            The transcript.

        Raises:
            TruebitError: see `get_transcript`. A transcript with another hash is an `UnexpectedResponseError`.
            TypeError: ``transcript_hash`` is not a str.
            ValueError: ``transcript_hash`` is not hexadecimal; no request was sent.
        """
        return await self._evidence.transcript_by_hash(transcript_hash)

    async def get_invoice(self, execution_id: str) -> Invoice:
        """Fetch the invoice of an execution of any kind: see `get_transcript`.

        Args:
            execution_id: the ``executionId`` that the execute call returned.

        Returns:
            The invoice.

        Raises:
            TruebitError: see `get_transcript`.
        """
        return await self._evidence.invoice(execution_id)


async def wait_for_verification(
    execution_id: str,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    http: aiohttp.ClientSession | None = None,
    policy: PollPolicy | None = None,
    deadline: float | EllipsisType | None = ...,
) -> Execution:
    """Wait for one execution in a script: open a session, wait, close it.

    A service holds one `TruebitSession` instead, and so shares its connections and caps.

    Args:
        execution_id: the ``executionId`` that the execute call returned.
        base_url: see `TruebitSession`.
        api_key: see `TruebitSession`.
        http: see `TruebitSession`.
        policy: the budgets of the wait.
        deadline: seconds for the whole wait, in place of the policy's; None waits for ever.

    Returns:
        The execution in its final state, as `TruebitSession.wait_for_verification` does.

    Raises:
        TruebitError: see `TruebitSession.wait_for_verification`.
        TypeError: see `TruebitSession`.
        ValueError: see `TruebitSession`.
    """
    async with TruebitSession(base_url, api_key=api_key, http=http, policy=policy) as session:
        return await session.wait_for_verification(execution_id, deadline=deadline)


def _check_listeners(listeners: Iterable[Listener]) -> tuple[Listener, ...]:
    if not isinstance(listeners, Iterable):
        msg = f"listeners must be an iterable of functions of one event, not {type(listeners).__name__}"
        raise TypeError(msg)
    functions = tuple(listeners)
    for function in functions:
        if not callable(function):
            msg = f"each listener must be a function of one event, not {type(function).__name__}"
            raise TypeError(msg)
        if inspect.iscoroutinefunction(function):
            msg = "each listener must be a plain function, not an async one: let it put the event into a queue"
            raise TypeError(msg)
    return functions
