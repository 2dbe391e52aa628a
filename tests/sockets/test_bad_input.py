"""What the documentation promises for bad input, row by row, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any
from unittest.mock import AsyncMock

import aiohttp
import pytest

from tests.policies import FAST
from truebit_async import PollPolicy, TruebitSession, errors
from truebit_async.testing import Reply, Simulator


@pytest.mark.parametrize("execution_id", ["", None, 7, b"id", ".", "..", "a\nb", "a\x00", "x" * 513])
@pytest.mark.parametrize("method", ["get_execution_status", "wait_for_verification"])
async def test_an_invalid_id_sends_no_request(
    simulator: Simulator, session: TruebitSession, method: str, execution_id: Any
) -> None:
    with pytest.raises(errors.InvalidExecutionIdError):
        await getattr(session, method)(execution_id)
    with pytest.raises(ValueError, match="is not an execution ID"):
        await getattr(session, method)(execution_id)
    assert not simulator.requests


@pytest.mark.parametrize(
    ("execution_id", "segment"),
    [
        ("a/b", "a%2Fb"),
        ("a?b", "a%3Fb"),
        ("a#b", "a%23b"),
        ("100%", "100%25"),
        ("%2e%2e", "%252e%252e"),
        ("a b", "a%20b"),
        ("a+b", "a%2Bb"),
        ("ü", "%C3%BC"),
        ("../../admin", "..%2F..%2Fadmin"),
        ("a;b:c@d&e=f", "a%3Bb%3Ac%40d%26e%3Df"),
    ],
)
async def test_a_strange_id_is_sent_as_one_segment_exactly(
    simulator: Simulator, session: TruebitSession, execution_id: str, segment: str
) -> None:
    simulator.add(execution_id)
    assert (await session.get_execution_status(execution_id)).execution_id == execution_id
    assert simulator.requests[0].path == f"/task/function/execution-status/{segment}"


ERRORS = [
    (400, errors.BadRequestError),
    (401, errors.AuthenticationError),
    (402, errors.PaymentRequiredError),
    (403, errors.AuthenticationError),
    (404, errors.ExecutionNotFoundError),
    (429, errors.RateLimitedError),
    (500, errors.ServerError),
    (502, errors.ServerError),
    (503, errors.ServerError),
    (504, errors.ServerError),
]
BODIES = [
    (b'{"message": "because"}', "because"),
    (b'{"error": 1}', None),
    (b"<html>nginx</html>", None),
    (b"", None),
]


@pytest.mark.full
@pytest.mark.parametrize(("status", "error"), ERRORS)
@pytest.mark.parametrize(("body", "message"), BODIES)
async def test_error_statuses(
    simulator: Simulator, status: int, error: type[errors.ApiError], body: bytes, message: str | None
) -> None:
    simulator.script("id", Reply.raw(status, body))
    policy = PollPolicy(wait=FAST.wait, max_consecutive_errors=2)
    async with TruebitSession(simulator.url, policy=policy) as session:
        for ask in (session.get_execution_status, session.wait_for_verification):
            with pytest.raises(error) as caught:
                await ask("id")
            assert (caught.value.status, caught.value.message) == (status, message)
    assert len(simulator.requests) == (4 if status in {429, 500, 502, 503, 504} else 2)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<html>", errors.DecodeError),
        (b"[]", errors.DecodeError),
        (b"{}", errors.UnknownStatusError),
        (b'{"verificationStatus": "Paused"}', errors.UnknownStatusError),
        (b'{"verificationStatus": 7}', errors.DecodeError),
        (
            b'{"executionId": "id", "verificationStatus": "Success", "clearTextSolution": {"output": 7}}',
            errors.DecodeError,
        ),
        (b'{"verificationStatus": "Success", "executionId": "other"}', errors.ExecutionIdMismatchError),
        (b'{"verificationStatus": "Success\xff"}', errors.DecodeError),
        (b"[" * 10_000 + b"]" * 10_000, errors.DecodeError),
        (b" " * 100_000, errors.ResponseTooLargeError),
    ],
)
async def test_replies_that_are_not_documented(
    simulator: Simulator, body: bytes, error: type[errors.UnexpectedResponseError]
) -> None:
    simulator.script("id", Reply.raw(200, body))
    async with TruebitSession(simulator.url, max_response_bytes=50_000) as session:
        for ask in (session.get_execution_status, session.wait_for_verification):
            with pytest.raises(error) as caught:
                await ask("id")
            assert type(caught.value) is error
            assert len(caught.value.body_excerpt.encode()) <= 1024
    assert len(simulator.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(simulator: Simulator, session: TruebitSession, status: int) -> None:
    simulator.add("target")
    simulator.script("id", Reply.redirect(f"{simulator.url}/task/function/execution-status/target", status))
    with pytest.raises(errors.RedirectError):
        await session.wait_for_verification("id")
    assert len(simulator.requests) == 1


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connecting is refused, and nobody else takes it
        yield taken.getsockname()[1]


async def fails(session: TruebitSession, cause: type[BaseException]) -> None:
    with pytest.raises(errors.TransportError) as caught:
        await session.wait_for_verification("id")
    assert isinstance(caught.value.__cause__, cause)
    assert "gave up after 2 transient failures" in caught.value.__notes__[0]


FAILING_FAST = PollPolicy(wait=FAST.wait, max_consecutive_errors=2)


async def test_connection_refused() -> None:
    with closed_port() as port:
        async with TruebitSession(f"http://127.0.0.1:{port}", policy=FAILING_FAST) as session:
            await fails(session, aiohttp.ClientConnectorError)


async def test_dns_failure() -> None:
    resolver = AsyncMock(spec=aiohttp.abc.AbstractResolver)
    resolver.resolve.side_effect = OSError(None, "no such host")
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as http,
        TruebitSession("https://dispatcher.invalid", http=http, policy=FAILING_FAST) as session,
    ):
        await fails(session, aiohttp.ClientConnectorDNSError)


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (Reply.reset(), aiohttp.ClientOSError),
        (Reply.cut_off(), aiohttp.ClientPayloadError),
        (Reply.garbage(), aiohttp.ClientResponseError),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_broken_answers(simulator: Simulator, reply: Reply, cause: type[BaseException]) -> None:
    simulator.script("id", reply)
    async with TruebitSession(simulator.url, policy=FAILING_FAST) as session:
        await fails(session, cause)


async def test_tls_failure(simulator: Simulator) -> None:
    async with TruebitSession(simulator.url.replace("http:", "https:"), policy=FAILING_FAST) as session:
        await fails(session, aiohttp.ClientConnectorSSLError)


async def test_a_session_recovers_from_all_of_it(simulator: Simulator, session: TruebitSession) -> None:
    faults = (Reply.reset(), Reply.cut_off(), Reply.garbage(), Reply.raw(200, b"["), Reply.raw(200, b" " * 10**6))
    for fault in faults:
        simulator.script("id", fault)
        with contextlib.suppress(errors.TruebitError):
            await session.get_execution_status("id")
    simulator.add("id")
    assert (await asyncio.wait_for(session.get_execution_status("id"), 5)).succeeded
