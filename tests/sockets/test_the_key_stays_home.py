"""A planted API key is searched for wherever it must not be."""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from tenacity import wait_fixed

import truebit_async
import truebit_async.cli
from tests.policies import FAST
from tests.sockets.faults import FAULTS, GOOD, answer, head
from tests.sockets.hostile_server import HostileServer, hostile_server, send
from truebit_async import Execution, PollEvent, PollPolicy, TruebitSession, errors
from truebit_async.checkpoint import Checkpoint, outcome_as_json
from truebit_async.cli import sessions

KEY = "planted-key-5eC4e7"
ECHO = json.dumps({"message": f"no access with {KEY}"}).encode()
ESCAPED = ECHO.replace(b"planted", b"\\u0070lanted")
ECHOES = {
    "echo in a message": answer(ECHO, status=b"403 Forbidden"),
    "echo in a message, escaped": answer(ESCAPED, status=b"500 Oops"),
    "echo in a request ID": answer(b"", b"X-Request-Id: " + KEY.encode(), status=b"404 Not Found"),
    "echo in a redirect": answer(b"", b"Location: /?key=" + KEY.encode(), status=b"302 Found"),
    "echo in garbage": f"HTTP/{KEY} what\r\n\r\n".encode(),
    "echo in a body that is not JSON": answer(f"<html>{KEY}</html>".encode()),
    "echo in a status": answer(json.dumps({"verificationStatus": KEY}).encode()),
    "echo in an ID": answer(json.dumps({"executionId": KEY}).encode()),
    "echo in a solution": answer(GOOD.replace(b"succeed", KEY.encode())),
    "echo in a solution, escaped": answer(GOOD.replace(b"succeed", KEY.replace("p", "\\u0070").encode())),
    "echo in a reason": answer(b"", status=b"200 " + KEY.encode()),
}
HARMFUL = [fault for fault in FAULTS if fault.where == "http" and "MB" not in fault.name and not fault.pauses]
IDS = ["nobody knows", *ECHOES, *(fault.name for fault in HARMFUL)]
QUICK_IDS = ["nobody knows", *ECHOES, *(fault.name for fault in HARMFUL if not fault.hangs)]
POLICY = PollPolicy(wait=wait_fixed(0.001), deadline=0.3, request_timeout=0.05, max_consecutive_errors=2)


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    answers = {fault.name: fault.serve for fault in HARMFUL} | {name: send(data) for name, data in ECHOES.items()}
    with hostile_server(answers) as server:
        yield server


def texts_of(error: BaseException) -> Iterator[str]:
    """Yield whatever a log, a report or a debugger may show of an error, its causes and its frames."""
    yield "".join(traceback.format_exception(error))
    link: BaseException | None = error
    while link is not None:
        yield f"{link} {link!r} {link.args!r} {vars(link)!r} {getattr(link, '__notes__', '')}"
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                yield repr(frame.f_locals)
        if isinstance(link, errors.TruebitError):
            yield repr(pickle.dumps(link))
        link = link.__cause__ or link.__context__


@pytest.fixture
def checkpoint(tmp_path: Path) -> Iterator[Checkpoint[Execution]]:  # opened here, because opening one blocks
    with Checkpoint(tmp_path / "results.jsonl") as checkpoint:
        yield checkpoint


async def test_no_object_event_log_or_error_shows_it(
    server: HostileServer, caplog: pytest.LogCaptureFixture, checkpoint: Checkpoint[Execution], tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[PollEvent] = []
    seen: list[str] = [repr(checkpoint)]
    async with TruebitSession(server.urls["http"], api_key=KEY, policy=POLICY, listeners=[events.append]) as session:
        seen += [repr(session), str(session)]
        async for outcome in session.wait_for_verifications(IDS):
            checkpoint.write(outcome)
            seen += [repr(outcome), str(outcome), outcome_as_json(outcome)]
            if outcome.error is not None:
                seen += texts_of(outcome.error)
        for execution_id in QUICK_IDS:
            for ask in (session.get_execution_status, session.wait_for_verification):
                try:
                    seen.append(repr(await ask(execution_id)))
                except errors.TruebitError as error:
                    seen += texts_of(error)
    assert len(seen) > 3 * len(IDS)  # of each outcome, and of what was raised
    assert {event.execution_id for event in events} >= set(IDS)
    seen += [f"{event} {event!r}" for event in events]
    seen += [f"{record.getMessage()} {record!r} {record.args!r}" for record in caplog.records]
    seen.append((tmp_path / "results.jsonl").read_text())
    assert [text for text in seen if KEY in text] == []
    assert all(request.count(KEY.encode()) == 1 and b"\r\nx-api-key: " in request for request in server.heads)


@pytest.mark.parametrize("name", ECHOES)
async def test_without_the_echo_an_error_still_says_what_is_wrong(server: HostileServer, name: str) -> None:
    raised = {}
    for key in (KEY, "another-key"):
        async with TruebitSession(server.urls["http"], api_key=key, policy=POLICY) as session:
            with pytest.raises(errors.TruebitError) as caught:
                await session.get_execution_status(name)
            raised[key] = caught.value
    assert type(raised[KEY]) is type(raised["another-key"])
    # The excerpt of the body is of a fixed length, and so ends elsewhere.
    texts = {key: str(error).partition(" The body begins")[0] for key, error in raised.items()}
    assert texts[KEY] == texts["another-key"].replace(KEY, "***")


async def test_a_reply_that_only_the_redaction_makes_readable_is_refused() -> None:
    key = 'k"eyk"eyk"ey'
    body = b'{"verificationStatus": "Running", "note": "' + key.encode() + b'"}'
    with hostile_server({"id": send(answer(body))}) as server:
        async with TruebitSession(server.urls["http"], api_key=key, policy=POLICY) as session:
            with pytest.raises(errors.DecodeError, match="repeats the API key"):
                await session.get_execution_status("id")


async def test_a_large_reply_is_searched_too() -> None:
    body = json.dumps({"message": KEY, "more": "x" * 2**18}).encode()
    with hostile_server({"id": send(answer(body, status=b"403 Forbidden"))}) as server:
        async with TruebitSession(server.urls["http"], api_key=KEY, policy=POLICY) as session:
            with pytest.raises(errors.AuthenticationError) as caught:
                await session.get_execution_status("id")
    assert caught.value.message == "***"


@pytest.mark.full
def test_the_command_does_not_show_it(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TRUEBIT_API_KEY", KEY)
    monkeypatch.setenv("TRUEBIT_BASE_URL", server.urls["http"])
    monkeypatch.setattr(sessions, "PollPolicy", lambda: POLICY)
    out = tmp_path / "results.jsonl"
    # One by one, since the command stops at once if the first response refuses the key.
    waits = [["wait", "-v", "--out", str(out), "--resume", execution_id] for execution_id in IDS]
    for arguments in [["wait", "-v", *IDS], *waits, ["status", "-v", IDS[1]]]:
        monkeypatch.setattr(sys, "argv", ["truebit-async", *arguments])
        with pytest.raises(SystemExit):
            truebit_async.cli.main()
    shown = capsys.readouterr()
    assert len(out.read_text().splitlines()) == len(IDS)
    assert "request took" in shown.err  # requests are logged
    assert KEY not in shown.out + shown.err + out.read_text()


# Requests to others


@pytest.mark.full
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["same host", "other host", "other scheme"])
async def test_a_redirect_takes_it_nowhere(status: int, target: str) -> None:
    answers = dict.fromkeys(["there"], send(answer(GOOD)))
    with hostile_server(answers) as home, hostile_server(answers) as other:
        base = {"same host": home.urls["http"], "other host": other.urls["http"], "other scheme": home.urls["https"]}
        location = f"{base[target]}/task/function/execution-status/there".encode()
        answers["here"] = send(answer(b"", b"Location: " + location, status=b"%d Elsewhere" % status))
        async with TruebitSession(home.urls["http"], api_key=KEY, policy=FAST) as session:
            with pytest.raises(errors.RedirectError) as caught:
                await session.wait_for_verification("here")
        assert caught.value.location == location.decode()
        assert home.requests == {"here": 1}
        assert not other.requests


async def test_https_to_http_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"there": send(answer(GOOD))}
    with hostile_server(answers) as server:
        location = f"{server.urls['http']}/task/function/execution-status/there".encode()
        answers["here"] = send(head(b"Location: " + location, b"Content-Length: 0", status=b"302 Found"))
        context = aiohttp.connector._SSL_CONTEXT_VERIFIED
        assert context is not None
        trusting = type(context)(context.protocol)
        server.authority.configure_trust(trusting)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http,
            TruebitSession(server.urls["https"], api_key=KEY, http=http) as session,
        ):
            with pytest.raises(errors.RedirectError):
                await session.get_execution_status("here")
        assert server.requests == {"here": 1}


async def test_a_proxy_of_the_environment_is_used_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower() in {"no_proxy", "http_proxy", "all_proxy"}]:
        monkeypatch.delenv(name)
    with hostile_server({"id": send(answer(GOOD))}) as home, hostile_server({"id": send(answer(GOOD))}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.urls["http"])
        async with TruebitSession(home.urls["http"], api_key=KEY) as session:
            await session.get_execution_status("id")
        assert (home.requests.total(), proxy.requests.total()) == (1, 0)
        async with (
            aiohttp.ClientSession(trust_env=True) as http,
            TruebitSession(home.urls["http"], api_key=KEY, http=http) as session,
        ):
            await session.get_execution_status("id")
        assert (home.requests.total(), proxy.requests.total()) == (1, 1)


async def test_the_frames_of_an_error_do_not_hold_a_reply_that_is_too_large() -> None:
    reply = answer(KEY.encode() * 100, b"X-Request-Id: " + KEY.encode())
    with hostile_server({"id": send(reply)}) as server:
        async with TruebitSession(server.urls["http"], api_key=KEY, policy=POLICY, max_response_bytes=1000) as session:
            with pytest.raises(errors.ResponseTooLargeError) as caught:
                await session.get_execution_status("id")
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert [
        (frame.f_code.co_name, name)
        for frame in frames
        if "/tests/" not in frame.f_code.co_filename
        for name, value in frame.f_locals.items()
        if KEY in repr(value) or isinstance(value, aiohttp.ClientResponse)
    ] == []


async def test_an_error_of_a_middleware_that_holds_it_deep_inside_is_not_kept() -> None:
    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        inner = ValueError("inner")
        inner.__cause__ = LookupError(KEY)
        msg = "outer"
        raise ExceptionGroup(msg, [inner])

    async with (
        aiohttp.ClientSession(middlewares=[middleware]) as http,
        TruebitSession("http://127.0.0.1:9", api_key=KEY, http=http, policy=POLICY) as session,
    ):
        with pytest.raises(errors.TransportError, match="outer") as caught:
            await session.get_execution_status("id")
    assert caught.value.__cause__ is None
