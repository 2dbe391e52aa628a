"""The session: what users hold. It composes the transport, the wire rules, the poller and the policy."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from types import EllipsisType, TracebackType
from typing import Self

import aiohttp
import attrs
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from truebit_async._arguments import check_count, check_positive
from truebit_async._batch import wait_for_all
from truebit_async._pacing import Pacer
from truebit_async._poller import Poller
from truebit_async._transport import Transport
from truebit_async._wire import LARGE_BODY, check_execution_id, decode_status, status_path
from truebit_async.errors import SessionClosedError, TruebitError, VerificationTimeoutError
from truebit_async.events import Announcer, BackedOff, Listener
from truebit_async.models import Execution, Outcome
from truebit_async.policy import PollPolicy

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
        max_response_bytes: limit of one response body after decompression, in bytes.
        listener: a quick function that is told of every wait, poll, back-off and pause: see `truebit_async.events`.

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
        listener: Listener | None = None,
    ) -> None:
        check_count("max_concurrency", max_concurrency)
        if max_rate is not None:
            check_positive("max_rate", max_rate)
        check_count("max_response_bytes", max_response_bytes)
        if http is not None and not isinstance(http, aiohttp.ClientSession):
            msg = f"http must be an aiohttp.ClientSession, not {type(http).__name__}"
            raise TypeError(msg)
        if listener is not None and not callable(listener):
            msg = f"listener must be a function of one event, not {type(listener).__name__}"
            raise TypeError(msg)
        self._policy = _check_policy(PollPolicy() if policy is None else policy)
        self._transport = Transport(
            base_url if base_url is not None else os.environ.get("TRUEBIT_BASE_URL") or DEFAULT_BASE_URL,
            api_key if api_key is not None else os.environ.get("TRUEBIT_API_KEY") or None,
            http=http,
            max_connections=max_concurrency,
            max_response_bytes=max_response_bytes,
        )
        self._announcer = Announcer(listener)
        self._poller = Poller(self._fetch, Pacer(max_concurrency, max_rate), self._announcer)
        self._retries: set[asyncio.Timeout] = set()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session: its waits end with `SessionClosedError`, its connections close.

        A client session passed in as ``http`` stays open. Closing twice is fine.
        """
        self._is_closed = True
        for scope in self._retries:
            if not scope.expired():  # else it is on the way out already
                scope.reschedule(asyncio.get_running_loop().time())
        try:
            await self._poller.close()
        finally:  # also if this is cancelled meanwhile: nobody may close it again
            await self._transport.close()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open"
        return f"<TruebitSession {str(self._transport.base_url)!r} {state}>"

    async def get_execution_status(self, execution_id: str) -> Execution:
        """Ask once how an execution is doing; transient failures are tried again as the policy says.

        Args:
            execution_id: the ``executionId`` that the execute call returned.

        Returns:
            The execution in whatever state it is, running or final.

        Raises:
            InvalidExecutionIdError: the ID cannot be one; no request was sent.
            ApiError: the dispatcher answered with an error, such as `ExecutionNotFoundError`.
            UnexpectedResponseError: the answer is not one the API documents.
            TransportError: there was no answer, ``max_consecutive_errors`` times in a row.
            VerificationTimeoutError: the policy's deadline passed before any of that.
            SessionClosedError: the session is closed.
        """
        check_execution_id(execution_id)
        self._check_open(execution_id)
        started = self._poller.now()
        try:
            return await self._poller.request(execution_id, self._policy, started)
        except TruebitError as error:
            if not error.is_transient:
                raise
            return await self._try_again(execution_id, error, started)

    async def wait_for_verification(
        self,
        execution_id: str,
        *,
        policy: PollPolicy | None = None,
        deadline: float | EllipsisType | None = ...,
    ) -> Execution:
        """Poll until ``verificationStatus`` leaves Running.

        Any number of waits for one execution share its polls. Cancelling the call stops its polling at once.

        Args:
            execution_id: the ``executionId`` that the execute call returned.
            policy: the budgets of this wait; None takes the session's.
            deadline: seconds for the whole wait, in place of the policy's; None waits for ever.

        Returns:
            The execution in its final state. That may be Indeterminate or Error, and a Success may hold a run that
            failed: read ``output`` or call ``raise_for_verification()`` to be told so by an exception.

        Raises:
            VerificationTimeoutError: the deadline passed; it keeps the last state seen.
            InvalidExecutionIdError: the ID cannot be one; no request was sent.
            ApiError: the dispatcher answered with an error that waiting cannot mend, or went on failing.
            UnexpectedResponseError: an answer was not one the API documents.
            TransportError: there was no answer, ``max_consecutive_errors`` times in a row.
            SessionClosedError: the session is, or was meanwhile, closed.
            TypeError: ``policy`` or ``deadline`` has the wrong type.
            ValueError: ``deadline`` is negative, zero, infinite or NaN.
        """
        check_execution_id(execution_id)
        self._check_open(execution_id)
        return (await self._poller.wait(execution_id, self._budgets(policy, deadline))).unwrap()

    def wait_for_verifications(
        self,
        execution_ids: Iterable[str] | AsyncIterable[str],
        *,
        policy: PollPolicy | None = None,
        deadline: float | EllipsisType | None = ...,
        max_pending: int = 100_000,
    ) -> AsyncGenerator[Outcome, None]:
        """Wait for many executions, and yield one `Outcome` for each as it finishes.

        No ID sinks another: whatever happens to one is in its outcome. An ID that comes again while it is pending
        adds nothing. Leaving the loop stops the polling of the rest.

        Args:
            execution_ids: the IDs, as an iterable or an async iterable; it is read as there is room.
            policy: the budgets of each wait; None takes the session's.
            deadline: seconds for each wait, from its first poll being due; in place of the policy's.
            max_pending: how many IDs are held at once.

        Raises:
            SessionClosedError: the session is closed.
            TypeError: ``execution_ids`` is a single str, or not iterable; or another argument has the wrong type.
            ValueError: ``max_pending`` is below 1, or ``deadline`` is negative, zero, infinite or NaN.
            Exception: whatever reading ``execution_ids`` raised, after the outcomes that were already there.
        """
        self._check_open()
        check_count("max_pending", max_pending)
        if isinstance(execution_ids, str) or not isinstance(execution_ids, Iterable | AsyncIterable):
            msg = f"execution_ids must be an iterable of IDs, not {type(execution_ids).__name__}"
            raise TypeError(msg)
        return wait_for_all(self._poller, execution_ids, self._budgets(policy, deadline), max_pending)

    async def _try_again(self, execution_id: str, error: TruebitError, started: float) -> Execution:
        """Go on with a request whose first attempt has failed; tenacity is told of that attempt as of the others."""
        policy, failures = self._policy, [error]

        async def attempt() -> Execution:
            if retrying.statistics["attempt_number"] == 1:
                raise error
            try:
                return await self._poller.request(execution_id, policy, self._poller.now())
            except TruebitError as later_error:
                failures.append(later_error)
                raise

        def back_off(state: RetryCallState) -> None:
            self._announcer.tell(BackedOff(execution_id, state.upcoming_sleep, len(failures), None))

        def set_true_start(state: RetryCallState) -> None:
            state.start_time = started

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda failure: isinstance(failure, TruebitError) and failure.is_transient),
            wait=policy.wait,
            stop=stop_after_attempt(policy.max_consecutive_errors),
            before=set_true_start,
            before_sleep=back_off,
            reraise=True,
        )
        scope = asyncio.timeout_at(None if policy.deadline is None else started + policy.deadline)
        self._retries.add(scope)
        try:
            async with scope:
                return await retrying(attempt)
        except TimeoutError:
            if not scope.expired():
                raise
            if self._is_closed or policy.deadline is None:
                raise SessionClosedError(execution_id) from None
            last, elapsed = failures[-1], self._poller.now() - started
            raise VerificationTimeoutError(execution_id, policy.deadline, None, last, len(failures), elapsed) from last
        finally:
            self._retries.discard(scope)

    async def _fetch(self, execution_id: str, request_timeout: float) -> Execution:
        path = status_path(execution_id)
        try:
            response = await self._transport.get(path, execution_id=execution_id, timeout=request_timeout)
            if len(response[2]) > LARGE_BODY:
                return await asyncio.to_thread(decode_status, execution_id, *response, now=time.time())
            return decode_status(execution_id, *response, now=time.time())
        except TruebitError as error:
            failure, response = self._transport.without_key(error), None
        raise failure  # not in the block above, where the original would come along as its context

    def _budgets(self, policy: PollPolicy | None, deadline: float | EllipsisType | None) -> PollPolicy:
        policy = self._policy if policy is None else _check_policy(policy)
        return policy if deadline is ... else attrs.evolve(policy, deadline=deadline)

    def _check_open(self, execution_id: str | None = None) -> None:
        if self._is_closed:
            raise SessionClosedError(execution_id)


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


def _check_policy(policy: PollPolicy) -> PollPolicy:
    if not isinstance(policy, PollPolicy):
        msg = f"policy must be a PollPolicy, not {type(policy).__name__}"
        raise TypeError(msg)
    return policy
