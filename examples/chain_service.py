"""A web service that chains an API task into a function task, and pays once for each request.

A client names its request in the header ``Idempotency-Key``, and may repeat it. The service notes in a database that it
is about to submit a task, and the execution ID as soon as there is one. So a request that is repeated, also after a
crash of the service, waits for the same executions.

Run it from a checkout with the extra `examples`, for instance against a simulated dispatcher::

    truebit-async simulate --port 8080 &
    export TRUEBIT_BASE_URL=http://127.0.0.1:8080 TRUEBIT_API_KEY=your-key
    uvicorn examples.chain_service:app &
    curl -X POST -H 'Idempotency-Key: 1' http://127.0.0.1:8000/orders/2/check
"""

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Annotated, TypeVar
from weakref import WeakValueDictionary

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse

from truebit_async import (
    AnyExecution,
    ApiTask,
    FunctionTask,
    SubmissionUncertainError,
    Tasks,
    TruebitError,
    TruebitSession,
    VerificationFailedError,
    VerificationTimeoutError,
)

DEADLINE = 60.0  # seconds for each of the two tasks

TaskT = TypeVar("TaskT")
ExecutionT = TypeVar("ExecutionT", bound=AnyExecution[object])


class Ledger:
    """Which step of which request was submitted as which execution.

    Args:
        path: the database.
    """

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("CREATE TABLE IF NOT EXISTS steps (step TEXT PRIMARY KEY, execution_id TEXT)")

    async def _execute(self, sql: str, *values: str | None) -> list[tuple[str | None]]:
        return await asyncio.to_thread(lambda: self._database.execute(sql, values).fetchall())

    async def find(self, step: str) -> tuple[str | None] | None:
        """Return the execution ID of a step; a None inside says that it was about to be submitted."""
        rows = await self._execute("SELECT execution_id FROM steps WHERE step = ?", step)
        return rows[0] if rows else None

    async def begin(self, step: str) -> None:
        """Note that a step is about to be submitted."""
        await self._execute("INSERT INTO steps VALUES (?, NULL)", step)

    async def note(self, step: str, execution_id: str) -> None:
        """Note the execution ID of a step."""
        await self._execute("UPDATE steps SET execution_id = ? WHERE step = ?", execution_id, step)

    async def forget(self, step: str) -> None:
        """Forget a step that was not submitted after all."""
        await self._execute("DELETE FROM steps WHERE step = ?", step)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


class Service:
    """Runs each step of a request once.

    Args:
        session: submits and waits.
        ledger: remembers.
    """

    def __init__(self, session: TruebitSession, ledger: Ledger) -> None:
        self.session = session
        self._ledger = ledger
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run_once(self, tasks: Tasks[TaskT, ExecutionT], task: TaskT, step: str) -> ExecutionT:
        """Return the final state of a step, which is submitted unless it was before."""
        async with self._locks.setdefault(step, asyncio.Lock()):  # a client may repeat a request while it is under way
            found = await self._ledger.find(step)
            if found is None:
                return await self._submit(tasks, task, step)
        if found[0] is None:
            detail = f"the service ended while it submitted {step!r}"
            raise SubmissionUncertainError(None, detail, may_have_run=True)
        return await tasks.wait_for_verification(found[0], deadline=DEADLINE)

    async def _submit(self, tasks: Tasks[TaskT, ExecutionT], task: TaskT, step: str) -> ExecutionT:
        await self._ledger.begin(step)
        try:
            return await tasks.run(task, on_submitted=partial(self._ledger.note, step), deadline=DEADLINE)
        except TruebitError as error:
            if not error.may_have_run and error.execution_id is None:  # it was refused, or never sent
                await self._ledger.forget(step)
            raise


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one session and one database for as long as the service runs."""
    ledger = await asyncio.to_thread(Ledger, os.environ.get("LEDGER", "ledger.sqlite"))
    try:
        async with TruebitSession(max_rate=50) as session:
            app.state.service = Service(session, ledger)
            yield
    finally:
        ledger.close()


app = FastAPI(title="Checked orders", lifespan=lifespan)


@app.post("/orders/{order_id}/check")
async def check_order(order_id: int, request: Request, idempotency_key: Annotated[str, Header()]) -> dict[str, object]:
    """Fetch an order with an API task, and have a function task decide whether it is shipped."""
    service: Service = request.app.state.service
    session = service.session
    get = ApiTask("demo", "order", path="/order/{id}", method="GET", params={"id": order_id}, execution_timeout=10)
    order = await service.run_once(session.apis, get, f"{idempotency_key}/{order_id}/order")
    given = json.dumps(order.output, sort_keys=True)  # `output` raises if the call failed
    check = FunctionTask("demo", "shipped", given, total_solutions=3, required_solutions=2)
    checked = await service.run_once(session.functions, check, f"{idempotency_key}/{order_id}/check")
    return {
        "is_shipped": checked.output == "true",  # "false" would be true in Python
        "executions": {"order": order.execution_id, "check": checked.execution_id},
    }


@app.exception_handler(TruebitError)
async def answer_with_error(_: Request, error: TruebitError) -> JSONResponse:
    """Answer a request that has no result. With the same key it may be repeated, unless it is uncertain."""
    match error:
        case VerificationTimeoutError():
            status = HTTPStatus.GATEWAY_TIMEOUT
        case VerificationFailedError():
            status = HTTPStatus.FAILED_DEPENDENCY
        case _ if error.may_have_run:
            status = HTTPStatus.CONFLICT  # somebody has to find out before it is repeated
        case _:
            status = HTTPStatus.BAD_GATEWAY
    return JSONResponse({"detail": str(error), "may_have_run": error.may_have_run}, status)
