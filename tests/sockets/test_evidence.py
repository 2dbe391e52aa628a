"""Transcripts and invoices over real sockets: fetched, audited, and in spite of faults."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import aiohttp
import attrs
import pytest
from tenacity import wait_fixed

from tests.policies import FAST
from tests.sockets.faults import answer, head
from tests.sockets.hostile_server import Serve, hostile_server, send, send_and_hang
from tests.sockets.test_the_key_stays_home import texts_of
from truebit_async import (
    ApiTask,
    FunctionTask,
    Invoice,
    Paused,
    PollEvent,
    PollPolicy,
    Transcript,
    TransferredBytes,
    TruebitSession,
    audit,
    errors,
)
from truebit_async._protocol import evidence
from truebit_async.audit import Verdict
from truebit_async.testing import Reply, Simulator

KEY = "planted-key-5eC4e7"
SECRET = "hunter2"  # noqa: S105  # planted
POLICY = PollPolicy(wait=wait_fixed(0.01), deadline=10, request_timeout=1, max_consecutive_errors=3)
SQUARE = FunctionTask("ns", "square", SECRET, total_solutions=3, required_solutions=2)
ORDER = ApiTask("ns", "order", path="/order", method="GET", params={"password": SECRET}, execution_timeout=10)

Kind = Literal["function", "api"]
Get = Callable[[TruebitSession, str], Awaitable[Transcript | Invoice]]

GETTERS: dict[str, Get] = {
    "transcript": TruebitSession.get_transcript,
    "transcript_by_hash": TruebitSession.get_transcript_by_hash,
    "invoice": TruebitSession.get_invoice,
}
every_document = pytest.mark.parametrize("document", GETTERS)


@pytest.fixture
def events() -> list[PollEvent]:
    return []


@pytest.fixture
async def session(simulator: Simulator, events: list[PollEvent]) -> AsyncIterator[TruebitSession]:
    simulator.deploy_function("ns", "square", lambda text: text * 2)
    simulator.deploy_api("ns", "order", lambda _: {"id": 2})
    async with TruebitSession(simulator.url, api_key=KEY, policy=POLICY, listeners=[events.append]) as session:
        yield session


def script(simulator: Simulator, document: Any, *replies: Reply) -> None:
    simulator.script_evidence("ab", *replies, document=document)


# Good evidence


async def test_the_evidence_of_a_function_task(simulator: Simulator, session: TruebitSession) -> None:
    execution = await session.functions.run(SQUARE)
    transcript = await session.get_transcript(execution.execution_id)
    assert transcript.execution_id == execution.execution_id
    assert [message.type for message in transcript.messages] == [
        "task_created",
        *["node_outcome"] * 3,
        "solutions_revealed",
        "execution_completed",
    ]
    created = transcript.messages[0].message
    assert created is not None
    assert (created["type"], created["input"]) == ("dispatch_task", SECRET)
    assert transcript.timestamp is not None
    report = audit.audit_transcript(transcript, [str(simulator.signer)])
    assert {check.verdict for check in report.checks} == {Verdict.AS_EXPECTED}
    assert len(report.checks) == 1 + 5 * 2 + 1
    assert (report.total_solutions, report.required_solutions) == (3, 2)
    assert report.not_checked == report.not_checked[:1]
    assert await session.get_transcript(execution.execution_id) == transcript

    invoice = await session.get_invoice(execution.execution_id)
    assert [item.operation for item in invoice.line_items] == ["charge", "pay", "pay", "pay"]
    assert invoice.line_items[0].total_steps_computed == 6839448
    assert (invoice.step_gas_price, invoice.byte_gas_price) == (0.0005, None)
    assert invoice.task_created_time_stamp == transcript.timestamp
    assert str(invoice.task_id).startswith("rs_")
    assert audit.audit_invoice(invoice, [str(simulator.signer)]).verdict is Verdict.AS_EXPECTED
    assert audit.audit_transcript(transcript).verdict is Verdict.AS_EXPECTED


async def test_the_evidence_of_an_api_task(simulator: Simulator, session: TruebitSession) -> None:
    execution = await session.apis.run(ORDER)
    transcript = await session.get_transcript(execution.execution_id)
    types = ["api_task_created", "api_outcome", "execution_completed"]
    assert [message.type for message in transcript.messages] == types
    created = transcript.messages[0].message
    assert created is not None
    assert created["input"] == {"path": "/order", "method": "GET", "params": {"password": SECRET}}
    assert audit.audit_transcript(transcript, [str(simulator.signer)]).verdict is Verdict.AS_EXPECTED
    invoice = await session.get_invoice(execution.execution_id)
    assert [item.total_transferred_bytes for item in invoice.line_items] == [TransferredBytes(0, len('{"id":2}'))]
    assert (invoice.step_gas_price, invoice.byte_gas_price) == (None, 0.0002)
    assert audit.audit_invoice(invoice, [str(simulator.signer)]).verdict is Verdict.AS_EXPECTED


@pytest.mark.parametrize("kind", ["function", "api"])
async def test_the_evidence_of_an_execution_that_was_added(
    simulator: Simulator, session: TruebitSession, kind: Kind
) -> None:
    simulator.add("a/b", polls=1, kind=kind)
    running = await session.get_transcript("a/b")
    assert len(running.messages) == 1
    assert running.hash is None
    with pytest.raises(errors.ExecutionNotFoundError):
        await session.get_invoice("a/b")
    tasks = session.functions if kind == "function" else session.apis
    await tasks.get_execution_status("a/b")
    done = await session.get_transcript("a/b")
    assert done.hash is not None
    assert (await session.get_invoice("a/b")).execution_id == "a/b"
    for wanted in (done.hash, "0x" + done.hash.upper()):
        assert await session.get_transcript_by_hash(wanted) == done
    trusted = [str(simulator.signer)]
    assert audit.audit_transcript(running, trusted).verdict is Verdict.AS_EXPECTED
    assert audit.audit_transcript(done, trusted).verdict is Verdict.AS_EXPECTED


async def test_an_execution_that_runs_has_no_end_in_its_transcript(
    simulator: Simulator, session: TruebitSession
) -> None:
    simulator.add("forever", status="Running")
    simulator.add("long", running_for=100)
    for execution_id in ("forever", "long"):
        assert (await session.get_transcript(execution_id)).hash is None
    simulator.add("forever", status="Error")
    assert (await session.get_transcript("forever")).hash is not None


async def test_the_requests_are_recorded(simulator: Simulator, session: TruebitSession) -> None:
    simulator.add("a b")
    await session.get_transcript("a b")
    await session.get_invoice("a b")
    with pytest.raises(errors.ExecutionNotFoundError) as caught:
        await session.get_transcript_by_hash("ab")
    assert caught.value.execution_id is None
    assert [(request.path, request.execution_id, request.kind) for request in simulator.requests] == [
        ("/task/a%20b/transcript", "a b", None),
        ("/task/a%20b/transcriptInvoice", "a b", None),
        ("/task/hash/ab/transcript", None, None),
    ]
    assert all(request.headers["x-api-key"] == KEY for request in simulator.requests)


async def test_no_event_tells_of_them(
    simulator: Simulator, session: TruebitSession, events: list[PollEvent], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "truebit_async")
    execution = await session.functions.run(SQUARE)
    events.clear()
    await session.get_transcript(execution.execution_id)
    script(simulator, "transcript", Reply.error(500), Reply.error(429, retry_after=0.01), Reply.raw(200, b"{}"))
    await session.get_transcript("ab")
    (pause,) = events
    assert isinstance(pause, Paused)
    assert (pause.execution_id, pause.kind, pause.error.kind) == ("ab", "", None)
    assert SECRET not in caplog.text


async def test_they_stay_within_the_caps(simulator: Simulator) -> None:
    async with TruebitSession(simulator.url, policy=FAST, max_rate=10) as session:
        simulator.add("id")
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(session.get_invoice("id") for _ in range(5)))
        assert asyncio.get_running_loop().time() - started > 0.3


async def test_with_a_client_session_of_the_user(simulator: Simulator) -> None:
    simulator.add("id")
    async with (
        aiohttp.ClientSession() as http,
        TruebitSession(simulator.url, http=http, max_response_bytes=10) as session,
    ):
        assert (await session.get_transcript("id")).execution_id == "id"


# Without the extra


async def test_without_the_extra_nothing_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eth_keys.datatypes", None)
    async with Simulator() as simulator:
        simulator.add("id")
        assert simulator.signer is None
        async with TruebitSession(simulator.url) as session:
            transcript = await session.get_transcript("id")
            assert transcript.signature is None
            assert transcript.hash is not None
            assert (await session.get_invoice("id")).accounting_signature is None
    assert audit.audit_transcript(transcript, ["0x" + "5e" * 20]).verdict is Verdict.NOT_COMPARED


# The Simulator


@pytest.mark.parametrize("path", ["/task/id/transcript/more", "/task/id/other", "/task//transcript", "/task/hash/a/b"])
async def test_there_is_no_other_endpoint(simulator: Simulator, path: str) -> None:
    simulator.add("id")
    async with aiohttp.ClientSession(simulator.url) as http, http.get(path) as response:
        assert (response.status, await response.json()) == (404, {"message": "no such endpoint"})


async def test_evidence_can_only_be_read(simulator: Simulator) -> None:
    async with aiohttp.ClientSession(simulator.url) as http, http.post("/task/id/transcript") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET")


async def test_a_limited_rate_holds_for_evidence(simulator: Simulator) -> None:
    simulator.limit_rate(0)
    async with aiohttp.ClientSession(simulator.url) as http, http.get("/task/id/transcript") as response:
        assert response.status == 429


def test_a_script_needs_a_reply() -> None:
    with pytest.raises(ValueError, match="at least one reply"):
        Simulator().script_evidence("id")


async def test_a_scripted_status_has_no_evidence(simulator: Simulator, session: TruebitSession) -> None:
    simulator.script("id", Reply.success("42"))
    with pytest.raises(errors.ExecutionNotFoundError):
        await session.get_transcript("id")


# Faults


@every_document
@pytest.mark.parametrize("fault", [Reply.reset(), Reply.cut_off(), Reply.garbage(), Reply.error(500)], ids=str)
async def test_a_transient_failure_is_tried_again(
    simulator: Simulator, session: TruebitSession, document: str, fault: Reply
) -> None:
    script(simulator, document, fault, fault, Reply.raw(200, b'{"executionId": "ab"}'))
    assert (await GETTERS[document](session, "ab")).execution_id == "ab"
    assert len(simulator.requests) == 3


@every_document
@pytest.mark.parametrize(
    ("reply", "error", "requests"),
    [
        (Reply.reset(), errors.TransportError, 3),
        (Reply.cut_off(), errors.TransportError, 3),
        (Reply.error(503), errors.ServerError, 3),
        (Reply.error(404), errors.ExecutionNotFoundError, 1),
        (Reply.error(401, KEY), errors.AuthenticationError, 1),
        (Reply.redirect("https://elsewhere.example"), errors.RedirectError, 1),
        (Reply.raw(200, b'{"transcript": 1, "lineItem": 1}'), errors.DecodeError, 1),
        (Reply.raw(200, b'{"a":' * 20_000 + b"1" + b"}" * 20_000), errors.DecodeError, 1),
    ],
    ids=str,
)
async def test_the_error_that_a_fault_ends_in(
    simulator: Simulator,
    session: TruebitSession,
    document: str,
    reply: Reply,
    error: type[errors.TruebitError],
    requests: int,
) -> None:
    script(simulator, document, reply)
    with pytest.raises(errors.TruebitError) as caught:
        await GETTERS[document](session, "ab")
    assert type(caught.value) is error
    assert caught.value.execution_id == (None if document == "transcript_by_hash" else "ab")
    assert caught.value.kind is None
    assert len(simulator.requests) == requests
    assert [text for text in texts_of(caught.value) if KEY in text] == []


@pytest.mark.parametrize("document", ["transcript", "invoice"])
async def test_the_evidence_of_another_execution_is_refused(
    simulator: Simulator, session: TruebitSession, document: str
) -> None:
    script(simulator, document, Reply.wrong_id())
    with pytest.raises(errors.ExecutionIdMismatchError):
        await GETTERS[document](session, "ab")


async def test_the_evidence_with_another_hash_is_refused(simulator: Simulator, session: TruebitSession) -> None:
    body = {"transcript": [{"type": "execution_completed", "transcriptHash": "cd"}]}
    script(simulator, "transcript_by_hash", Reply.raw(200, json.dumps(body).encode()))
    with pytest.raises(errors.UnexpectedResponseError, match="not the one asked for"):
        await session.get_transcript_by_hash("ab")


async def test_bad_arguments_are_refused_before_a_request(simulator: Simulator, session: TruebitSession) -> None:
    for get in (session.get_transcript, session.get_invoice):
        with pytest.raises(errors.InvalidExecutionIdError):
            await get("..")
    with pytest.raises(ValueError, match="transcript_hash"):
        await session.get_transcript_by_hash("not hexadecimal")
    assert not simulator.requests


# Time limits


@every_document
async def test_a_request_that_hangs_times_out_and_is_tried_again(simulator: Simulator, document: str) -> None:
    policy = attrs.evolve(POLICY, request_timeout=0.1)
    script(simulator, document, Reply.hang(), Reply.raw(200, b"{}"))
    async with TruebitSession(simulator.url, policy=policy) as session:
        assert (await GETTERS[document](session, "ab")).raw == b"{}"
        script(simulator, document, Reply.hang())
        with pytest.raises(errors.RequestTimeoutError):
            await GETTERS[document](session, "ab")


@every_document
async def test_the_deadline_holds(simulator: Simulator, document: str) -> None:
    script(simulator, document, Reply.hang())
    async with TruebitSession(simulator.url, policy=attrs.evolve(POLICY, deadline=0.2)) as session:
        started = asyncio.get_running_loop().time()
        with pytest.raises(errors.TransportError, match=r"the deadline of 0.2 s passed before there was") as caught:
            await GETTERS[document](session, "ab")
        assert asyncio.get_running_loop().time() - started == pytest.approx(0.2, abs=0.1)
    assert type(caught.value) is errors.TransportError
    assert caught.value.execution_id == (None if document == "transcript_by_hash" else "ab")
    assert caught.value.kind is None
    assert "verified" not in "".join(texts_of(caught.value))


async def test_at_the_deadline_the_last_error_is_raised(simulator: Simulator) -> None:
    script(simulator, "transcript", Reply.error(503), Reply.hang())
    async with TruebitSession(simulator.url, policy=attrs.evolve(POLICY, deadline=0.3)) as session:
        with pytest.raises(errors.ServerError):
            await session.get_transcript("ab")


@every_document
async def test_closing_the_session_ends_them(simulator: Simulator, document: str) -> None:
    script(simulator, document, Reply.hang())
    for deadline in (None, 0.5):
        session = TruebitSession(simulator.url, policy=attrs.evolve(POLICY, deadline=deadline))
        task = asyncio.ensure_future(GETTERS[document](session, "ab"))
        await asyncio.sleep(0.05)
        await session.close()
        for late in (task, GETTERS[document](session, "ab")):
            with pytest.raises(errors.SessionClosedError) as caught:
                await late
            assert caught.value.execution_id == (None if document == "transcript_by_hash" else "ab")
            assert caught.value.kind is None


# Size


@every_document
async def test_the_limit_is_that_of_evidence(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, document: str
) -> None:
    monkeypatch.setattr(evidence, "MAX_EVIDENCE_BYTES", 100_000)
    body = json.dumps({"password": SECRET, "more": "x" * 50_000}).encode()
    script(simulator, document, Reply.raw(200, body), Reply.raw(200, body * 2))
    async with TruebitSession(simulator.url, api_key=KEY, policy=POLICY, max_response_bytes=10) as session:
        assert (await GETTERS[document](session, "ab")).raw == body
        with pytest.raises(errors.ResponseTooLargeError) as caught:
            await GETTERS[document](session, "ab")
    assert caught.value.max_response_bytes == 100_000
    assert "evidence has a fixed limit" in str(caught.value)
    assert [text for text in texts_of(caught.value) if SECRET in text] == []


def test_the_limit_is_64_mib() -> None:
    assert evidence.MAX_EVIDENCE_BYTES == 64 * 2**20


async def test_a_large_body_is_read_beside_the_loop(
    simulator: Simulator, session: TruebitSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    parse = evidence.parse_transcript

    def parse_and_note(raw: bytes) -> Transcript:
        threads.append(threading.current_thread())
        return parse(raw)

    monkeypatch.setattr(evidence, "parse_transcript", parse_and_note)
    script(simulator, "transcript", Reply.raw(200, json.dumps({"more": "x" * 2**20}).encode()))
    await session.get_transcript("ab")
    assert threads[0] is not threading.main_thread()


async def test_closing_the_session_while_a_large_body_is_read_ends_it(
    simulator: Simulator, session: TruebitSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    parse = evidence.parse_transcript

    def parse_slowly(raw: bytes) -> Transcript:
        begun.set()
        may_end.wait(5)
        return parse(raw)

    monkeypatch.setattr(evidence, "parse_transcript", parse_slowly)
    script(simulator, "transcript", Reply.raw(200, json.dumps({"more": "x" * 2**20}).encode()))
    task = asyncio.create_task(session.get_transcript("ab"))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    await session.close()
    may_end.set()
    with pytest.raises(errors.SessionClosedError):
        await task


# Secrets


PRIVATE = json.dumps({"executionId": "id", "input": {"params": {"password": SECRET}}, "key": KEY}).encode()
LEAKS: dict[str, Serve] = {
    "cut off": send(head(b"Content-Length: 9999") + PRIVATE),
    "JSON cut off": send(answer(PRIVATE[:-1])),
    "twice": send(answer(PRIVATE * 2)),
    "about another execution": send(answer(PRIVATE)),
    "longer than it says": send(head(b"Content-Length: 5") + PRIVATE + b"\r\n\r\n"),
    "no HTTP": send(PRIVATE + b"\r\n\r\n"),
    "in a bad head": send(b"HTTP/1.1 200 OK\r\n" + PRIVATE + b"\r\n\r\n"),
    "in a bad chunk": send(head(b"Transfer-Encoding: chunked") + PRIVATE + b"\r\n"),
    "another status": send(answer(PRIVATE, status=b"206 Partial Content")),
    "a redirect": send(answer(PRIVATE, status=b"302 Found")),
    "a list": send(answer(b"[" + PRIVATE + b"]")),
    "hangs": send_and_hang(head(b"Content-Length: 9999") + PRIVATE),
    "not UTF-8": send(answer(PRIVATE + b"\xff")),
}


@pytest.mark.parametrize("is_injected", [False, True])
@pytest.mark.parametrize("document", ["transcript", "invoice"])
async def test_no_error_and_no_log_shows_what_was_received(
    caplog: pytest.LogCaptureFixture, document: str, is_injected: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    policy = attrs.evolve(POLICY, request_timeout=0.2, max_consecutive_errors=1)
    answers: dict[str, Serve] = {}
    with hostile_server(answers) as server:
        async with aiohttp.ClientSession() as http:
            injected = http if is_injected else None
            async with TruebitSession(server.urls["http"], api_key=KEY, policy=policy, http=injected) as session:
                for name, serve in LEAKS.items():
                    answers.update(transcript=serve, transcriptInvoice=serve)
                    with pytest.raises(errors.TruebitError) as caught:
                        await GETTERS[document](session, "asked for")
                    leaked = [text for text in texts_of(caught.value) if SECRET in text or KEY in text]
                    assert leaked == [], name
    assert SECRET not in caplog.text
