"""A dispatcher on loopback that follows the documented contract of the status endpoint, and fails on request."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote

import attrs
from aiohttp import web

from truebit_async.testing.replies import Reply

__all__ = ["RecordedRequest", "Simulator"]

_STATUS_PATH = "/task/function/execution-status/"
_LOG_SIZE = 100_000
_SHUTDOWN_TIMEOUT = 0.05  # seconds for handlers that are still busy when it stops; aiohttp takes 0 for "no limit"


@attrs.frozen
class RecordedRequest:
    """A request that arrived at a `Simulator`.

    Attributes:
        time: when, in seconds of the event loop's clock, which is `time.monotonic` but for a `VirtualTimeLoop`.
        path: the path exactly as it was sent, still percent-encoded.
        execution_id: the decoded ID it asked about; None if it asked for something else.
        headers: its headers; the mapping ignores the case of names.
    """

    time: float
    path: str
    execution_id: str | None
    headers: Mapping[str, str] = attrs.field(repr=False)


@attrs.define
class _SimulatedExecution:
    final: Reply
    polls_left: float
    running_for: float
    started: float | None

    def next_reply(self) -> Reply:
        now = asyncio.get_running_loop().time()
        if self.started is None:
            self.started = now
        if self.polls_left > 0 or now < self.started + self.running_for:
            self.polls_left -= 1
            return Reply.running()
        return self.final


@attrs.define
class _Script:
    replies: deque[Reply]

    def next_reply(self) -> Reply:
        return self.replies.popleft() if len(self.replies) > 1 else self.replies[0]


class Simulator:
    """A real HTTP server on 127.0.0.1 for tests and trials. An ID that nobody added is a 404.

    Use it as ``async with Simulator() as sim: ...``. Executions may be added before and while it runs.

    Args:
        port: the port to listen on; 0 takes a free one.
    """

    def __init__(self, *, port: int = 0) -> None:
        self._port = port
        self._executions: dict[str, _SimulatedExecution | _Script] = {}
        self._runner: web.AppRunner | None = None
        self._clock: Callable[[], float] | None = None  # of the loop, once it runs
        self._max_rate = math.inf
        self._served: deque[float] = deque()
        self.requests: deque[RecordedRequest] = deque(maxlen=_LOG_SIZE)
        """What arrived, oldest first; the last 100,000 requests."""

    # What it knows

    def add(
        self,
        execution_id: str,
        *,
        polls: int = 0,
        running_for: float = 0.0,
        status: Literal["Success", "Indeterminate", "Error", "Running"] = "Success",
        output: str | None = None,
        execution_status: Literal["succeed", "failed"] = "succeed",
    ) -> None:
        """Add an execution, or replace the one with this ID.

        Args:
            execution_id: its ID.
            polls: how many times to answer Running first.
            running_for: how many seconds to answer Running at least: from now, or from the first request if the
                Simulator is not running yet.
            status: the verificationStatus it ends in; Running never ends.
            output: what it returns; None stands for ``"42"``, or for an empty output if it failed.
            execution_status: whether the run works; only a Success says so.
        """
        if status == "Success":
            default_output = "42" if execution_status == "succeed" else ""
            final = Reply.execution(status, default_output if output is None else output, execution_status)
        else:
            final = Reply.execution(status)
        self._executions[execution_id] = _SimulatedExecution(final, polls, running_for, self._clock and self._clock())

    def script(self, execution_id: str, *replies: Reply) -> None:
        """Answer requests for this ID with these replies, one after the other; the last one is repeated.

        Args:
            execution_id: the ID.
            replies: the replies, at least one.

        Raises:
            ValueError: there is no reply.
        """
        if not replies:
            msg = "a script needs at least one reply"
            raise ValueError(msg)
        self._executions[execution_id] = _Script(deque(replies))

    def limit_rate(self, per_second: float) -> None:
        """Answer 429 with ``Retry-After: 1`` to requests beyond a limit.

        Args:
            per_second: how many requests are answered in one second.
        """
        self._max_rate = per_second

    # The server

    @property
    def url(self) -> str:
        """The base URL to give to a session.

        Raises:
            RuntimeError: the Simulator is not running.
        """
        if self._runner is None:
            msg = "the Simulator is not running; write `async with Simulator() as sim:`"
            raise RuntimeError(msg)
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", r"/{path:[\s\S]*}", self._handle)  # a decoded path may have line breaks
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self._clock = asyncio.get_running_loop().time
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        runner, self._runner, self._clock = self._runner, None, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        path = request.raw_path.partition("?")[0]
        execution_id = _execution_id(path)
        self.requests.append(RecordedRequest(now, request.raw_path, execution_id, request.headers))
        if execution_id is None:
            return await Reply.error(404, "no such endpoint").send(request, "")
        if request.method != "GET":
            return await _WRONG_METHOD.send(request, execution_id)
        reply = self._too_fast(now) or self._reply_about(execution_id)
        try:
            return await reply.send(request, execution_id)
        except ConnectionResetError:  # the client has gone; there is nobody to answer
            return web.Response()

    def _reply_about(self, execution_id: str) -> Reply:
        execution = self._executions.get(execution_id)
        if execution is None:
            return Reply.error(404, f"execution {execution_id} was not found")
        return execution.next_reply()

    def _too_fast(self, now: float) -> Reply | None:
        if self._max_rate == math.inf:
            return None
        while self._served and self._served[0] <= now - 1:
            self._served.popleft()
        if len(self._served) >= self._max_rate:
            return Reply.error(429, "too many requests", retry_after=1)
        self._served.append(now)
        return None


_WRONG_METHOD = Reply.raw(405, b'{"message": "only GET is allowed here"}', {"Allow": "GET"})


def _execution_id(path: str) -> str | None:
    segment = path.removeprefix(_STATUS_PATH)
    return None if segment == path or not segment or "/" in segment else unquote(segment)
