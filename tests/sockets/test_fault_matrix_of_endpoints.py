"""Every row of the fault matrix at every other endpoint, over real sockets: nothing is sent twice, nothing leaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import quote

import aiohttp
import attrs
import pytest

from tests.sockets.faults import (
    FAULTS,
    GOOD,
    MATRIX,
    STATUSES,
    Fault,
    answer,
    at_api_status,
    at_evidence,
    at_submission,
    may_have_run,
)
from tests.sockets.hostile_server import HostileServer, hostile_server, send
from tests.sockets.test_fault_matrix import TRANSIENT, TRIES, policy_for
from tests.sockets.test_the_key_stays_home import texts_of
from truebit_async import ApiTask, FunctionTask, PollEvent, TruebitSession, errors

pytestmark = pytest.mark.no_cover  # a sweep over what other tests cover

KEY, SECRET = "planted-key-5eC4e7", "hunter2"
SQUARE = FunctionTask("ns", "square", SECRET, total_solutions=3, required_solutions=2)
ORDER = ApiTask("ns", "order", params={"a": SECRET}, headers={"b": SECRET}, execution_timeout=1)
QUICK = [fault for fault in FAULTS if not (fault.hangs or fault.pauses)]
LIMITED = [fault for fault in FAULTS if fault.hangs or fault.pauses]


async def run_one(session: TruebitSession, _: str) -> None:
    async for outcome in session.functions.run_many([SQUARE]):
        if outcome.execution_id == "":
            outcome.unwrap()
        return  # it was submitted, and what is polled then is not this row


@attrs.frozen
class Endpoint:
    """An endpoint of the API as a session calls it.

    Attributes:
        ask: calls it about an execution.
        expected: what each row ends in.
        is_submission: whether it submits a task.
    """

    ask: Callable[[TruebitSession, str], Awaitable[object]]
    expected: Callable[[Fault], type[errors.TruebitError] | None]
    is_submission: bool = False

    def requests(self, fault: Fault) -> int:
        if fault.where != "http":
            return 0
        if self.is_submission:
            return TRIES if self.expected(fault) is errors.RateLimitedError and not fault.pauses else 1
        error = self.expected(fault)
        is_transient = fault.name == "status 408" or (error is not None and issubclass(error, TRANSIENT))
        return TRIES if is_transient and not fault.pauses else 1


ENDPOINTS = {
    "get the status of an API task": Endpoint(lambda s, name: s.apis.get_execution_status(name), at_api_status),
    "submit a function task": Endpoint(lambda s, _: s.functions.submit(SQUARE), at_submission, is_submission=True),
    "submit an API task": Endpoint(lambda s, _: s.apis.submit(ORDER), at_submission, is_submission=True),
    "submit a batch": Endpoint(run_one, at_submission, is_submission=True),
    "get a transcript": Endpoint(TruebitSession.get_transcript, at_evidence),
    "get a transcript by hash": Endpoint(
        lambda s, _: s.get_transcript_by_hash("ab"),
        lambda fault: None if fault.name == "about another execution" else at_evidence(fault),
    ),
    "get an invoice": Endpoint(TruebitSession.get_invoice, at_evidence),
}
every_endpoint = pytest.mark.parametrize("name", ENDPOINTS)


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server({fault.name: fault.serve for fault in MATRIX} | {"good": send(answer(GOOD))}) as server:
        yield server


@contextlib.contextmanager
def trusting(server: HostileServer, fault: Fault) -> Iterator[None]:
    """Trust the authority behind the wrong name, so that the name is all that is wrong."""
    context = aiohttp.connector._SSL_CONTEXT_VERIFIED
    assert context is not None
    with pytest.MonkeyPatch.context() as patch:
        if "another host" in fault.name:
            trusting_context = type(context)(context.protocol)
            trusting_context.load_default_certs()
            server.authority.configure_trust(trusting_context)
            patch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting_context)
        yield


async def problems_of(server: HostileServer, endpoint: Endpoint, fault: Fault) -> list[str]:
    """Play a row. Return what is not as it should be."""
    problems, events = list[str](), list[PollEvent]()
    found: errors.TruebitError | None = None
    url = f"{server.urls[fault.where]}/{quote(fault.name, safe='')}"
    started = time.monotonic()
    async with TruebitSession(url, api_key=KEY, policy=policy_for(fault), listeners=[events.append]) as session:
        try:
            with trusting(server, fault):
                await endpoint.ask(session, fault.name)
        except errors.TruebitError as error:
            found = error
    expected = endpoint.expected(fault)
    if type(found) is not (type(None) if expected is None else expected):
        problems.append(f"{found!r} instead of {expected}")
    if found is not None and found.may_have_run is not (endpoint.is_submission and may_have_run(fault)):
        problems.append(f"may_have_run is {found.may_have_run}")
    requests = (server.posts if endpoint.is_submission else server.requests)[fault.name]
    if requests != endpoint.requests(fault):
        problems.append(f"{requests} requests")
    if time.monotonic() - started > 5:
        problems.append("it took long")
    shown = [f"{event} {event!r}" for event in events] + (list(texts_of(found)) if found is not None else [])
    problems += [f"{secret} in {text}" for text in shown for secret in (KEY, SECRET) if secret in text]
    return problems


async def problems_of_all(server: HostileServer, endpoint: Endpoint, faults: list[Fault]) -> dict[str, list[str]]:
    found = [await problems_of(server, endpoint, fault) for fault in faults if fault not in LIMITED]
    found += await asyncio.gather(*(problems_of(server, endpoint, fault) for fault in faults if fault in LIMITED))
    played = [fault for fault in faults if fault not in LIMITED] + [fault for fault in faults if fault in LIMITED]
    return {fault.name: problems for fault, problems in zip(played, found, strict=True) if problems}


@every_endpoint
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([fault for fault in QUICK if "MB" not in fault.name and "for ever" not in fault.name], id="quick"),
        pytest.param(FAULTS, id="all", marks=pytest.mark.full),
        pytest.param(STATUSES, id="statuses", marks=pytest.mark.full),
    ],
)
@pytest.mark.timeout(120)
def test_every_fault(server: HostileServer, caplog: pytest.LogCaptureFixture, name: str, faults: list[Fault]) -> None:
    caplog.set_level(logging.DEBUG)
    server.requests.clear()
    server.posts.clear()
    assert asyncio.run(problems_of_all(server, ENDPOINTS[name], faults)) == {}
    logged = [f"{record.getMessage()} {record!r} {record.args!r}" for record in caplog.records]
    assert [text for text in logged if KEY in text or SECRET in text] == []
