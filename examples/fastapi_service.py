"""A web service around one session: ask for the verified output of an execution, or follow its progress live.

Run it from a checkout with the extra `examples`, for instance against a simulated dispatcher::

    truebit-async simulate --port 8080 &
    TRUEBIT_BASE_URL=http://127.0.0.1:8080 uvicorn examples.fastapi_service:app --timeout-graceful-shutdown 5 &
    curl http://127.0.0.1:8000/executions/success-18
    curl --no-buffer http://127.0.0.1:8000/executions/success-18/progress
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

import truebit_async as truebit
from truebit_async import (
    AnyExecution,
    BackedOff,
    Finished,
    Outcome,
    Paused,
    Polled,
    PollEvent,
    PollPolicy,
    TruebitError,
    TruebitSession,
)

POLICY = PollPolicy(not_found_grace=2)  # a client may ask a moment before the dispatcher knows the execution

STATUSES: dict[type[TruebitError], HTTPStatus] = {  # the most specific class of an error counts
    truebit.InvalidExecutionIdError: HTTPStatus.BAD_REQUEST,
    truebit.ExecutionNotFoundError: HTTPStatus.NOT_FOUND,
    truebit.IndeterminateError: HTTPStatus.CONFLICT,  # the nodes disagree
    truebit.ExecutionFailedError: HTTPStatus.FAILED_DEPENDENCY,  # the nodes agree that it failed
    truebit.AuthenticationError: HTTPStatus.INTERNAL_SERVER_ERROR,  # the key is ours, not the client's
    truebit.RateLimitedError: HTTPStatus.SERVICE_UNAVAILABLE,
    truebit.SessionClosedError: HTTPStatus.SERVICE_UNAVAILABLE,  # the service is being stopped
    truebit.RequestTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    truebit.VerificationTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    TruebitError: HTTPStatus.BAD_GATEWAY,  # any other failure of the dispatcher or the network
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one session for as long as the service runs."""
    async with TruebitSession(policy=POLICY) as app.state.session:
        yield


def get_session(request: Request) -> TruebitSession:
    """Return that session."""
    session: TruebitSession = request.app.state.session
    return session


Session = Annotated[TruebitSession, Depends(get_session)]
Deadline = Annotated[float, Query(gt=0, le=300, description="Seconds to wait for the result.")]
app = FastAPI(title="Verified executions", lifespan=lifespan)


def status_of(error: TruebitError) -> HTTPStatus:
    """Return the HTTP status that fits an error."""
    return next(STATUSES[base] for base in type(error).__mro__ if base in STATUSES)


@app.exception_handler(TruebitError)
async def answer_with_error(_: Request, error: TruebitError) -> JSONResponse:
    """Answer a request that has no verified output."""
    return JSONResponse({"detail": str(error)}, status_of(error))


@app.get("/executions/{execution_id}", responses={status: {} for status in STATUSES.values()})
async def get_output(execution_id: str, session: Session, deadline: Deadline = 30) -> dict[str, str]:
    """Answer once the execution is verified. The deadline also ends the wait of a client that has disconnected."""
    execution = await session.wait_for_verification(execution_id, deadline=deadline)
    return {"execution_id": execution_id, "output": execution.output}  # `output` raises if there is none


async def watch(
    execution_id: str, session: Session, deadline: Deadline = 300
) -> AsyncIterator[AsyncIterator[PollEvent]]:
    """Provide the events of a wait. FastAPI closes this generator, and so the wait, when the request ends."""
    async with aclosing(session.watch(execution_id, deadline=deadline)) as events:
        yield events


@app.get("/executions/{execution_id}/progress", response_class=EventSourceResponse)
async def stream_progress(
    events: Annotated[AsyncIterator[PollEvent], Depends(watch)],
) -> AsyncIterator[ServerSentEvent]:
    """Stream each poll, backoff and pause as it happens. The last message is `end`; clients then close the stream."""
    async for event in events:
        match event:
            case Polled(seconds=seconds, execution=execution, error=error):
                status = None if execution is None else execution.status
                detail = None if error is None else str(error)
                yield ServerSentEvent(event="Polled", data={"seconds": seconds, "status": status, "error": detail})
            case BackedOff(seconds=seconds, polls=polls):
                yield ServerSentEvent(event="BackedOff", data={"seconds": seconds, "polls": polls})
            case Paused(seconds=seconds):
                yield ServerSentEvent(event="Paused", data={"seconds": seconds})
            case Finished(outcome=outcome):
                yield ServerSentEvent(event="end", data=summary(outcome))


def summary(outcome: Outcome[AnyExecution[object]]) -> dict[str, object]:
    """Return what the last message says about an outcome."""
    try:
        return {"status": HTTPStatus.OK, "output": outcome.output}
    except TruebitError as error:
        return {"status": status_of(error), "detail": str(error)}
