"""A web service around one session: ask for the verified output of an execution, or follow its progress live.

Run it from a checkout with the extra `examples`, for instance against a simulated dispatcher::

    truebit-async simulate --port 8080 &
    TRUEBIT_BASE_URL=http://127.0.0.1:8080 uvicorn examples.fastapi_service:app --timeout-graceful-shutdown 5 &
    curl http://127.0.0.1:8000/executions/success-18
    curl --no-buffer http://127.0.0.1:8000/executions/success-18/progress
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from itertools import chain
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

import truebit_async as truebit
from truebit_async import BackedOff, Paused, Polled, PollEvent, PollPolicy, TruebitError, TruebitSession

POLICY = PollPolicy(not_found_grace=2)  # a client may ask a moment before the dispatcher knows the execution
BACKLOG = 32  # messages that a slow client may lag behind

STATUSES: dict[type[TruebitError], HTTPStatus] = {  # of an error, the most specific class counts
    truebit.InvalidExecutionIdError: HTTPStatus.BAD_REQUEST,
    truebit.ExecutionNotFoundError: HTTPStatus.NOT_FOUND,
    truebit.IndeterminateError: HTTPStatus.CONFLICT,  # the nodes disagree
    truebit.ExecutionFailedError: HTTPStatus.FAILED_DEPENDENCY,  # the nodes agree that it failed
    truebit.AuthenticationError: HTTPStatus.INTERNAL_SERVER_ERROR,  # the key is ours, not the client's
    truebit.RateLimitedError: HTTPStatus.SERVICE_UNAVAILABLE,
    truebit.SessionClosedError: HTTPStatus.SERVICE_UNAVAILABLE,  # the service is being stopped
    truebit.RequestTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    truebit.VerificationTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    TruebitError: HTTPStatus.BAD_GATEWAY,  # whatever else may be wrong with the dispatcher, or on the way to it
}


class Follower:
    """A client that follows an execution, and what it has yet to be sent."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[ServerSentEvent] = asyncio.Queue(BACKLOG)
        self._latest = ""

    def tell(self, name: str, **data: object) -> None:
        """Queue a message; the oldest one makes room for it, so that a slow client holds nobody up."""
        if name == self._latest == "BackedOff":
            return  # every wait for the execution tells of its own, and they all share the next poll
        self._latest = name
        if self.messages.full():
            self.messages.get_nowait()
        self.messages.put_nowait(ServerSentEvent(event=name, data=data))


followers: dict[str, set[Follower]] = {}  # by execution ID


def fan_out(event: PollEvent) -> None:
    """Pass an event on to those it is for. A session has one listener, and this is it."""
    group = followers.get(event.execution_id, ())
    match event:
        case Polled(seconds=seconds, execution=execution, error=error):
            status = None if execution is None else execution.verification_status
            for follower in group:
                follower.tell("Polled", seconds=seconds, status=status, error=None if error is None else str(error))
        case BackedOff(seconds=seconds, polls=polls):
            for follower in group:
                follower.tell("BackedOff", seconds=seconds, polls=polls)
        case Paused(seconds=seconds):  # one execution brought it about, and all of them pause
            for follower in chain(*followers.values()):
                follower.tell("Paused", seconds=seconds)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one session for as long as the service runs."""
    async with TruebitSession(policy=POLICY, listener=fan_out) as app.state.session:
        yield


def get_session(request: Request) -> TruebitSession:
    """Return that session."""
    session: TruebitSession = request.app.state.session
    return session


Session = Annotated[TruebitSession, Depends(get_session)]
Deadline = Annotated[float, Query(gt=0, le=300, description="Seconds to wait for the verdict.")]
app = FastAPI(title="Verified executions", lifespan=lifespan)


def status_of(error: TruebitError) -> HTTPStatus:
    """Return the HTTP status that fits an error."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


@app.exception_handler(TruebitError)
async def answer_with_error(_: Request, error: TruebitError) -> JSONResponse:
    """Answer whatever ended otherwise than with a verified output."""
    return JSONResponse({"detail": str(error)}, status_of(error))


@app.get("/executions/{execution_id}", responses={status: {} for status in STATUSES.values()})
async def get_output(execution_id: str, session: Session, deadline: Deadline = 30) -> dict[str, str]:
    """Answer once the execution is verified. The deadline also bounds what a client that has left costs."""
    execution = await session.wait_for_verification(execution_id, deadline=deadline)
    return {"execution_id": execution_id, "output": execution.output}  # where there is none, `output` raises why


async def follow(execution_id: str, session: Session, deadline: Deadline = 300) -> AsyncIterator[Follower]:
    """Follow an execution for as long as the request lasts: however that ends, FastAPI lets this one end, too."""
    follower = Follower()

    async def wait() -> None:
        try:
            execution = await session.wait_for_verification(execution_id, deadline=deadline)
            follower.tell("end", status=HTTPStatus.OK, output=execution.output)
        except TruebitError as error:
            follower.tell("end", status=status_of(error), detail=str(error))

    followers.setdefault(execution_id, set()).add(follower)
    try:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(wait())
            yield follower
            waiting.cancel()
    finally:
        followers[execution_id].remove(follower)
        if not followers[execution_id]:
            del followers[execution_id]


@app.get("/executions/{execution_id}/progress", response_class=EventSourceResponse)
async def stream_progress(follower: Annotated[Follower, Depends(follow)]) -> AsyncIterator[ServerSentEvent]:
    """Stream Polled, BackedOff and Paused as they happen, and at last `end`, on which clients close the stream."""
    message = ServerSentEvent()
    while message.event != "end":
        message = await follower.messages.get()
        yield message
