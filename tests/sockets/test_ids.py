"""No execution ID steers the request: the server sees exactly the one segment that was asked for, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.sockets.faults import answer
from tests.sockets.hostile_server import HostileServer, Serve, hostile_server, send
from truebit_async import TruebitSession, errors

PREFIX = "/task/function/execution-status/"


class AnyId(dict[str, Serve]):
    def get(self, *_: object) -> Serve:
        return send(answer(b'{"verificationStatus": "Running"}'))


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server(AnyId()) as server:
        yield server


@pytest.fixture(scope="module")
def ask(server: HostileServer) -> Iterator[Callable[[str], bytes | None]]:
    """Ask about an ID; return the request as it arrived, or None if the ID was refused."""
    session = TruebitSession(server.urls["http"])

    async def ask_once(execution_id: str) -> bytes | None:
        before = len(server.heads)
        try:
            execution = await session.get_execution_status(execution_id)
        except errors.InvalidExecutionIdError:
            assert len(server.heads) == before
            return None
        assert execution.execution_id == execution_id
        assert len(server.heads) == before + 1
        return server.heads[-1]

    with asyncio.Runner() as runner:
        yield lambda execution_id: runner.run(ask_once(execution_id))
        runner.run(session.close())


TOKENS = [
    ".", "..", "%2e", "%2E%2e", "/", "%2f", "\\", "%5c", "?", "#", ";", "@", ":", "//", "http://", "&", "=", "%", "%00",
    "%0d%0aX-Evil:1", "id", "x" * 511,
]  # fmt: skip
CHARACTERS = "\r\n\x00\t \x85\u2028\ufeff\u200b\u202e\uff0e\uff0f\u2024\u2215\u0131\u00e9\u0301\U0001f600\ud800"
steering = st.lists(st.sampled_from([*TOKENS, *CHARACTERS]), max_size=6).map("".join)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(execution_id=steering | st.text(max_size=600))
@example(execution_id=".")
@example(execution_id="..")
@example(execution_id="x" * 512)
@example(execution_id="x" * 513)
@example(execution_id="\U0001f600" * 512)
def test_no_id_steers_the_request(ask: Callable[[str], bytes | None], execution_id: str) -> None:
    request = ask(execution_id)
    if request is None:
        return
    first_line, *headers = request.decode("ascii").split("\r\n")
    method, target, version = first_line.split(" ")
    segment = target.removeprefix(PREFIX)
    assert (method, target, version) == ("GET", PREFIX + segment, "HTTP/1.1")
    assert segment not in {"", ".", ".."}
    assert not set(segment) & set("/?#\\;@:&=+ ")
    assert unquote(segment, errors="strict") == execution_id
    assert headers[1:] == ["Accept: application/json", *ordinary_headers(headers)]


def ordinary_headers(headers: list[str]) -> list[str]:
    return [line for line in headers[2:] if line.split(":")[0] in {"User-Agent", "Accept-Encoding", ""}]


def test_an_id_of_512_characters_is_the_longest(ask: Callable[[str], bytes | None]) -> None:
    assert ask("x" * 512) is not None
    assert ask("x" * 513) is None
