"""A simulated dispatcher on loopback. It follows the documented endpoints, and it can fail on purpose."""

from __future__ import annotations

import asyncio
import json
import math
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote

import attrs
from aiohttp import web

from truebit_async.testing.evidence import Document, EvidenceReplies, ExecutionFacts, default_task, evidence_target
from truebit_async.testing.replies import Reply
from truebit_async.testing.submissions import DeployedTask, problem_with

__all__ = ["RecordedRequest", "Simulator"]

_Kind = Literal["function", "api"]

_STATUS_PATHS: dict[str, _Kind] = {
    "/task/function/execution-status/": "function",
    "/task/api/execution-status/": "api",
}
_SUBMIT_PATHS: dict[str, _Kind] = {
    "/task/function/execute-by-name": "function",
    "/task/api/execute-by-name": "api",
}
_MAX_RECORDED_REQUESTS = 100_000
_MAX_REQUEST_BYTES = 64 * 2**20
_SHUTDOWN_TIMEOUT = 0.05  # seconds for active handlers when the Simulator stops; for aiohttp, 0 means no limit


@attrs.frozen
class RecordedRequest:
    """A request that a `Simulator` received.

    Attributes:
        time: when it arrived, in seconds on the clock of the event loop (`time.monotonic`, or the virtual time of a
            `VirtualTimeLoop`).
        path: the path as it was sent, still percent-encoded.
        execution_id: the decoded execution ID in the path; None if there is none.
        kind: the kind of task, ``"function"`` or ``"api"``; None if the path does not tell, as for evidence.
        headers: the headers. Lookup ignores the case of names.
        method: the HTTP method.
        body: the body.
    """

    time: float
    path: str
    execution_id: str | None
    kind: str | None
    headers: Mapping[str, str] = attrs.field(repr=False)
    method: str = "GET"
    body: bytes = attrs.field(default=b"", repr=False)


@attrs.define
class _SimulatedExecution:
    final: Reply
    polls_left: float
    running_for: float
    started_at: float | None  # None until the first request
    facts: ExecutionFacts

    def is_over(self, now: float) -> bool:
        ends_at = (now if self.started_at is None else self.started_at) + self.running_for
        return self.polls_left <= 0 and now >= ends_at and self.final.name != Reply.running().name

    def next_reply(self) -> Reply:
        now = asyncio.get_running_loop().time()
        if self.started_at is None:
            self.started_at = now
        if self.polls_left > 0 or now < self.started_at + self.running_for:
            self.polls_left -= 1
            return Reply.running()
        return self.final


@attrs.define
class _Script:
    replies: deque[Reply]

    def next_reply(self) -> Reply:
        return self.replies.popleft() if len(self.replies) > 1 else self.replies[0]


class Simulator:
    """An HTTP server on 127.0.0.1 for tests and experiments. It answers 404 for an ID that was not added.

    Use it as ``async with Simulator() as sim: ...``. Executions may be added before it starts and while it runs.

    Args:
        port: the port to listen on; 0 takes a free one.
    """

    def __init__(self, *, port: int = 0) -> None:
        self._port = port
        self._executions: dict[tuple[str, str], _SimulatedExecution | _Script] = {}  # by kind and ID
        self._tasks: dict[tuple[str, str, str], DeployedTask] = {}  # by kind, namespace and name
        self._submission_replies: dict[str, deque[Reply]] = {"function": deque(), "api": deque()}
        self._evidence = EvidenceReplies(self._find)
        self._runner: web.AppRunner | None = None
        self._clock: Callable[[], float] | None = None  # the clock of the loop while the Simulator runs
        self._max_rate = math.inf
        self._answered_at: deque[float] = deque()  # times within the last second, if the rate is limited
        self.requests: deque[RecordedRequest] = deque(maxlen=_MAX_RECORDED_REQUESTS)
        """The requests received, oldest first. Only the last 100,000 are kept."""

    # Executions

    def add(
        self,
        execution_id: str,
        *,
        polls: int = 0,
        running_for: float = 0.0,
        status: Literal["Success", "Indeterminate", "Error", "Running"] = "Success",
        output: str | Mapping[str, object] | None = None,
        execution_status: Literal["succeed", "failed"] = "succeed",
        kind: _Kind = "function",
    ) -> None:
        """Add an execution, or replace the one with this ID.

        Args:
            execution_id: its ID.
            polls: how many times to answer Running first.
            running_for: for how many seconds to answer Running at least. The time starts now, or with the first request
                if the Simulator is not running yet.
            status: the final status. An execution with the status Running never ends.
            output: the output of the task, a text for a function task and a JSON object for an API task. None means
                ``"42"`` or ``{"value": 42}``, or an empty output if the run failed.
            execution_status: whether the run succeeded. Only a Success tells it.
            kind: the kind of task. The same ID may be that of a function task and that of an API task. Evidence is then
                that of the function task.
        """
        self._add(execution_id, default_task(kind), polls, running_for, status, output, execution_status, kind)

    def _add(
        self,
        execution_id: str,
        task: Mapping[str, Any],
        polls: int,
        running_for: float,
        status: Literal["Success", "Indeterminate", "Error", "Running"],
        output: str | Mapping[str, object] | None,
        execution_status: Literal["succeed", "failed"],
        kind: _Kind,
    ) -> None:
        if status == "Success":
            success: str | Mapping[str, object] = {"value": 42} if kind == "api" else "42"
            default_output = success if execution_status == "succeed" else ""
            output = default_output if output is None else output
            final = Reply.execution(status, output, execution_status)
        else:
            final = Reply.execution(status)
        started_at = None if self._clock is None else self._clock()
        facts = ExecutionFacts(kind, execution_id, task, output)
        self._executions[kind, execution_id] = _SimulatedExecution(final, polls, running_for, started_at, facts)

    def script(self, execution_id: str, *replies: Reply, kind: _Kind = "function") -> None:
        """Answer requests for an ID with these replies in order, and then repeat the last one.

        Args:
            execution_id: the ID.
            replies: one or more replies.
            kind: the kind of task.

        Raises:
            ValueError: no reply was given.
        """
        if not replies:
            msg = "a script needs at least one reply"
            raise ValueError(msg)
        self._executions[kind, execution_id] = _Script(deque(replies))

    def script_evidence(self, key: str, *replies: Reply, document: Document = "transcript") -> None:
        """Answer requests for evidence with these replies in order, and then repeat the last one.

        Args:
            key: the execution ID; the transcript hash if the document is ``"transcript_by_hash"``.
            replies: one or more replies.
            document: which evidence: ``"transcript"``, ``"transcript_by_hash"`` or ``"invoice"``.

        Raises:
            ValueError: no reply was given.
        """
        if not replies:
            msg = "a script needs at least one reply"
            raise ValueError(msg)
        self._evidence.script(document, key, replies)

    @property
    def signer(self) -> str | None:
        """The address that signs evidence, made anew for each Simulator; None without the extra ``audit``."""
        return self._evidence.signer.address

    # Tasks

    def deploy_function(
        self, namespace: str, task_name: str, run: Callable[[str], str], *, polls: int = 0, running_for: float = 0.0
    ) -> None:
        """Let a function task be submitted.

        Args:
            namespace: its namespace.
            task_name: its name.
            run: makes the output from the input. If it raises, or the output is empty or no str, the run has failed. It
                runs in the event loop, so it must not block.
            polls: how many times to answer Running first.
            running_for: for how many seconds to answer Running at least, from the submission.

        Raises:
            TypeError: ``run`` is a coroutine function.
        """
        self._tasks["function", namespace, task_name] = DeployedTask("function", run, polls, running_for)

    def deploy_api(
        self,
        namespace: str,
        task_name: str,
        run: Callable[[dict[str, Any]], Mapping[str, object]],
        *,
        polls: int = 0,
        running_for: float = 0.0,
    ) -> None:
        """Let an API task be submitted.

        Args:
            namespace: its namespace.
            task_name: its name.
            run: makes the output, a JSON object, from the input: an object with ``path``, ``method``, ``params`` and
                ``headers``, as far as they were given. If it raises, or the output is no dict that JSON can hold, the
                call has failed. It runs in the event loop, so it must not block.
            polls: how many times to answer Running first.
            running_for: for how many seconds to answer Running at least, from the submission.

        Raises:
            TypeError: ``run`` is a coroutine function.
        """
        self._tasks["api", namespace, task_name] = DeployedTask("api", run, polls, running_for)

    def script_submissions(self, *replies: Reply, kind: _Kind = "function") -> None:
        """Answer the next submissions with these replies in order, and run no task for them.

        Args:
            replies: the replies.
            kind: the kind of task.
        """
        self._submission_replies[kind].extend(replies)

    def limit_rate(self, per_second: float) -> None:
        """Answer 429 with ``Retry-After: 1`` to requests above a limit.

        Args:
            per_second: how many other requests to answer in one second.
        """
        self._max_rate = per_second

    # The server

    @property
    def url(self) -> str:
        """The base URL for a session.

        Raises:
            RuntimeError: the Simulator is not running.
        """
        if self._runner is None:
            msg = "the Simulator is not running; write `async with Simulator() as sim:`"
            raise RuntimeError(msg)
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_MAX_REQUEST_BYTES)
        app.router.add_route("*", r"/{path:[\s\S]*}", self._handle)  # a decoded path may contain line breaks
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
        kind, execution_id = _target_of(path)
        evidence = evidence_target(path)
        if evidence is not None and evidence[0] != "transcript_by_hash":
            execution_id = evidence[1]
        try:
            body = await request.read()
        except web.RequestPayloadError:
            return await Reply.error(400, "the body cannot be read").send(request, "")
        self.requests.append(
            RecordedRequest(now, request.raw_path, execution_id, kind, request.headers, request.method, body)
        )
        if kind is not None and execution_id is None:
            return await self._handle_submission(request, kind, body, now)
        if kind is None and evidence is None:
            return await Reply.error(404, "no such endpoint").send(request, "")
        if request.method != "GET":
            return await _GET_ONLY.send(request, "")
        reply = self._rate_limit_reply(now)
        if reply is None and evidence is not None:
            reply = await self._evidence.reply_to(*evidence)
        elif reply is None:
            reply = self._reply_for(str(kind), str(execution_id))
        try:
            return await reply.send(request, execution_id or "")
        except ConnectionResetError:  # the client has disconnected
            return web.Response()

    async def _handle_submission(
        self, request: web.Request, kind: _Kind, body: bytes, now: float
    ) -> web.StreamResponse:
        if request.method != "POST":
            return await _POST_ONLY.send(request, "")
        reply = self._rate_limit_reply(now)
        if reply is None and self._submission_replies[kind]:
            reply = self._submission_replies[kind].popleft()
        if reply is None and not request.headers.get("x-api-key"):
            reply = Reply.error(401, "an API key is required")
        if reply is None and (problem := problem_with(kind, body)) is not None:
            reply = Reply.error(400, problem)
        if reply is None:
            reply = self._submit(kind, json.loads(body))
        return await reply.send(request, "")

    def _submit(self, kind: _Kind, fields: dict[str, Any]) -> Reply:
        task = self._tasks.get((kind, fields["namespace"], fields["taskName"]))
        if task is None:
            return Reply.error(400, "there is no such task")
        execution_id = str(uuid.uuid4())
        output, execution_status = task.output_of(fields["input"])
        self._add(execution_id, fields, task.polls, task.running_for, "Success", output, execution_status, kind)
        return Reply.raw(200, json.dumps({"executionId": execution_id}).encode())

    def _reply_for(self, kind: str, execution_id: str) -> Reply:
        execution = self._executions.get((kind, execution_id))
        if execution is None:
            return Reply.error(404, f"execution {execution_id} was not found")
        return execution.next_reply()

    def _find(self, execution_id: str) -> tuple[ExecutionFacts, bool] | None:
        """Return what evidence tells of an execution, and whether it is over."""
        for kind in ("function", "api"):
            execution = self._executions.get((kind, execution_id))
            if isinstance(execution, _SimulatedExecution):
                return execution.facts, execution.is_over(asyncio.get_running_loop().time())
        return None

    def _rate_limit_reply(self, now: float) -> Reply | None:
        if self._max_rate == math.inf:
            return None
        while self._answered_at and self._answered_at[0] <= now - 1:
            self._answered_at.popleft()
        if len(self._answered_at) >= self._max_rate:
            return Reply.error(429, "too many requests", retry_after=1)
        self._answered_at.append(now)
        return None


_POST_ONLY = Reply.raw(405, b'{"message": "only POST is allowed here"}', {"Allow": "POST"})
_GET_ONLY = Reply.raw(405, b'{"message": "only GET is allowed here"}', {"Allow": "GET"})


def _target_of(path: str) -> tuple[_Kind | None, str | None]:
    """Return the kind of task in a path, and the execution ID if it is that of a status request; else None."""
    if path in _SUBMIT_PATHS:
        return _SUBMIT_PATHS[path], None
    for prefix, kind in _STATUS_PATHS.items():
        segment = path.removeprefix(prefix)
        if path.startswith(prefix) and segment and "/" not in segment:
            return kind, unquote(segment)
    return None, None
