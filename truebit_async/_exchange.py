"""One exchange together with the reading of its response, within one time limit."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from truebit_async._protocol.body import LARGE_BODY
from truebit_async._protocol.messages import Request, Response
from truebit_async._scheduler.poller import Poller
from truebit_async._transport import Transport
from truebit_async.errors import RequestTimeoutError, TransportError, TruebitError, VerificationTimeoutError

ResultT = TypeVar("ResultT")


class Exchange(Generic[ResultT]):
    """Fetches one thing after another with requests of one form.

    Args:
        transport: sends the requests.
        poller: knows whether the session is closed.
        request: makes the request, from what is asked for: an execution ID, say.
        read: reads the response, from what is asked for, the response, and the wall clock in seconds since the epoch.
    """

    def __init__(
        self,
        transport: Transport,
        poller: Poller,
        request: Callable[[str], Request],
        read: Callable[[str, Response, float], ResultT],
    ) -> None:
        self._transport = transport
        self._poller = poller
        self._request = request
        self._read_response = read

    async def fetch(self, wanted: str, request_timeout: float, *, on_new_connection: bool) -> ResultT:
        """Make one exchange.

        Args:
            wanted: what is asked for.
            request_timeout: limit of the exchange and of reading its response, in seconds.
            on_new_connection: whether to open a connection for it.

        Raises:
            TruebitError: there is no result.
        """
        ends = asyncio.get_running_loop().time() + request_timeout
        request = self._request(wanted)
        response = await self._transport.send(
            request, request_timeout=request_timeout, on_new_connection=on_new_connection
        )
        if len(response.body) <= LARGE_BODY:
            return self._read(wanted, response)
        result = await read_in_thread(request, functools.partial(self._read, wanted, response), ends, request_timeout)
        # The session may have been closed meanwhile, and closing cannot end a thread.
        self._poller.check_open(request.execution_id, request.kind)
        return result

    def _read(self, wanted: str, response: Response) -> ResultT:
        now = time.time()
        return self._transport.read(response, lambda response: self._read_response(wanted, response, now))


async def read_in_thread(request: Request, read: Callable[[], ResultT], ends: float, request_timeout: float) -> ResultT:
    """Read a large response in a thread, since it would hold up the event loop.

    Args:
        request: the request.
        read: reads its response. It may start late, so one limit holds for the exchange and for reading.
        ends: when that limit passes, on the clock of the loop, in seconds.
        request_timeout: that limit, in seconds.

    Raises:
        TruebitError: what ``read`` raises, or a `RequestTimeoutError`.
    """
    try:
        async with asyncio.timeout_at(ends):
            return await asyncio.to_thread(read)
    except TimeoutError as error:
        detail = f"the response was not read within {request_timeout:g} s"
        raise RequestTimeoutError(request.execution_id, detail, request_timeout, kind=request.kind) from error


def failure_at_deadline(error: VerificationTimeoutError, execution_id: str | None, before: str) -> TruebitError:
    """Return the error to raise when a deadline has passed that is not that of a wait.

    Args:
        error: what the scheduler raised.
        execution_id: the execution that it is about; None if it is about none.
        before: what had not happened yet.
    """
    if error.last_error is not None:
        return error.last_error
    detail = f"the deadline of {error.deadline:g} s passed {before}"
    return TransportError(execution_id, detail, kind=error.kind)
