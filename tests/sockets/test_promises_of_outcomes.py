"""An outcome that failed keeps what it says, and nothing of how it came about."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from tenacity import wait_fixed

from tests.promises import check_keeps_little, listening
from tests.sockets.raw_server import RawRequest, body_of, raw_server, response
from truebit_async import Execution, Outcome, PollEvent, PollPolicy, TruebitSession, errors
from truebit_async.events import Finished

POLICY = PollPolicy(wait=wait_fixed(0.001), deadline=5, request_timeout=5, max_consecutive_errors=2)
BOMB = response(gzip.compress(b"x" * (9 * 2**20)), headers=b"Content-Encoding: gzip\r\n")
SMALL_BOMB = response(gzip.compress(b"x" * (2 * 2**20)), headers=b"Content-Encoding: gzip\r\n")
PAGE = response(b"<html>" + b"<p>Please try again later.</p>\n" * 6500 + b"</html>")
HANG = None


def closing(request: RawRequest) -> None:
    request.close()


def cutting_off(request: RawRequest) -> None:
    request.transport.write(PAGE[:100_000])
    request.transport.close()


def answering(data: bytes | None) -> Callable[[RawRequest], None]:
    return lambda request: None if data is None else request.send(data)


FAILURES: dict[str, tuple[Callable[[RawRequest], None], type[errors.TruebitError]]] = {
    "gzip bomb that is no JSON": (answering(SMALL_BOMB), errors.DecodeError),
    "gzip bomb beyond the limit": (answering(BOMB), errors.ResponseTooLargeError),
    "HTML page of 200 KB": (answering(PAGE), errors.DecodeError),
    "half of a JSON document": (answering(response(b'{"executionId": "' + b"y" * 100_000)), errors.DecodeError),
    "another shape": (answering(response(b'{"verificationStatus": ["' + b"z" * 100_000 + b'"]}')), errors.TruebitError),
    "404 with a JSON body": (
        answering(response(b'{"message": "execution was not found"}', status="404 Not Found")),
        errors.ExecutionNotFoundError,
    ),
    "503 with a page": (answering(response(b"<html>" * 1000, status="503 Busy")), errors.ServerError),
    "garbage": (answering(b"\x16\x03\x01 this is not HTTP\r\n\r\n"), errors.TransportError),
    "connection closed": (closing, errors.TransportError),
    "body cut off": (cutting_off, errors.TransportError),
    "request timeout": (answering(HANG), errors.RequestTimeoutError),
    "deadline": (answering(HANG), errors.VerificationTimeoutError),
    "deadline after failures": (closing, errors.VerificationTimeoutError),
    "deadline while running": (lambda request: request.send(running(request)), errors.VerificationTimeoutError),
}

POLICIES = {
    "request timeout": PollPolicy(wait=wait_fixed(0.001), deadline=5, request_timeout=0.01, max_consecutive_errors=2),
    "deadline": PollPolicy(wait=wait_fixed(0.001), deadline=0.2),
    "deadline after failures": PollPolicy(wait=wait_fixed(0.02), deadline=0.3, max_consecutive_errors=10**6),
    "deadline while running": PollPolicy(wait=wait_fixed(0.02), deadline=0.3),
}


def running(request: RawRequest) -> bytes:
    return response(body_of("Running", request.execution_id))


@pytest.fixture
def refusing_url() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connecting is refused, and nobody else takes the port
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def outcome_of(url: str, policy: PollPolicy) -> Outcome[Execution]:
    async with TruebitSession(url, policy=policy) as session:
        [outcome] = [outcome async for outcome in session.wait_for_verifications(["id"])]
        return outcome


@pytest.mark.full
@pytest.mark.parametrize("failure", FAILURES)
async def test_an_outcome_that_failed_holds_no_frames(failure: str) -> None:
    answer, error_type = FAILURES[failure]
    async with raw_server(answer) as server:
        outcome = await outcome_of(server.url, POLICIES.get(failure, POLICY))
        assert isinstance(outcome.error, error_type)
        check_keeps_little(outcome.error)


async def test_an_outcome_of_a_refused_connection_holds_no_frames(refusing_url: str) -> None:
    outcome = await outcome_of(refusing_url, POLICY)
    assert isinstance(outcome.error, errors.TransportError)
    check_keeps_little(outcome.error)


async def test_the_twins_of_a_shared_failure_hold_no_frames() -> None:
    async with raw_server(answering(PAGE)) as server, TruebitSession(server.url, policy=POLICY) as session:
        batches = [session.wait_for_verifications(["id"]) for _ in range(3)]
        outcomes = await asyncio.gather(*(anext(batch) for batch in batches))
        for outcome in outcomes:
            assert outcome.error is not None
            check_keeps_little(outcome.error)
        for batch in batches:
            await batch.aclose()


@pytest.mark.full
@pytest.mark.parametrize("failure", ["HTML page of 200 KB", "gzip bomb that is no JSON", "request timeout", "refused"])
async def test_outcomes_that_wait_for_a_slow_consumer_hold_no_frames(failure: str, refusing_url: str) -> None:
    answer, _ = FAILURES.get(failure, (closing, errors.TransportError))
    policy = POLICIES.get(failure, POLICY)
    finished = 0
    count = 40 if "bomb" in failure else 100

    def count_finished(event: PollEvent) -> None:
        nonlocal finished
        finished += isinstance(event, Finished)

    async def ids(name: str) -> AsyncIterator[str]:
        for number in range(count):
            yield f"{name}-{number}"

    async with raw_server(answer) as server:
        url = refusing_url if failure == "refused" else server.url
        async with TruebitSession(url, policy=policy, max_concurrency=5, **listening(count_finished)) as session:
            assert len([outcome async for outcome in session.wait_for_verifications(ids("first"))]) == count
            server.requests.clear()
            finished = 0
            batch = session.wait_for_verifications(ids("later"))
            gc.collect()
            tracemalloc.start()
            try:
                first = await anext(batch)
                while finished < count:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
                server.requests.clear()
                gc.collect()
                each = tracemalloc.get_traced_memory()[0] / count
            finally:
                tracemalloc.stop()
            outcomes = [first, *[outcome async for outcome in batch]]
    assert len(outcomes) == count
    excerpt = sum(len(getattr(outcome.error, "body_excerpt", "")) for outcome in outcomes) / count
    assert each - excerpt < 4096
    for outcome in outcomes:
        assert outcome.error is not None
        check_keeps_little(outcome.error)
