"""Transcripts and invoices, one by one."""

from __future__ import annotations

import json
import pickle
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truebit_async import errors
from truebit_async._protocol import evidence
from truebit_async._protocol.messages import Request, Response
from truebit_async.models import Invoice, LineItem, Signature, Transcript, TranscriptMessage, TransferredBytes

PAYLOADS = Path(__file__).parent / "payloads"
API_ID = "e7e444fa-96c5-45c9-9c65-dd9f8edfdafd"
NOW = 1_700_000_000.0
SECRET = "hunter2"  # noqa: S105  # planted
LIMIT = 64 * 2**20

Read = Callable[[str, Response, float], Transcript | Invoice]
READERS: list[Read] = [evidence.read_transcript, evidence.read_transcript_by_hash, evidence.read_invoice]

pytestmark = pytest.mark.usefixtures("parser")


def respond(body: bytes | dict[str, Any], status: int = 200) -> Response:
    return Response(status, {}, bytearray(body if isinstance(body, bytes) else json.dumps(body).encode()))


def read(body: bytes | dict[str, Any], execution_id: str = "id") -> Transcript:
    return evidence.read_transcript(execution_id, respond(body), NOW)


def read_message(message: dict[str, Any]) -> TranscriptMessage:
    (found,) = read({"transcript": [message]}).messages
    return found


# Requests


@pytest.mark.parametrize(
    ("request_", "path", "execution_id"),
    [
        (evidence.transcript_request("a/b"), "/task/a%2Fb/transcript", "a/b"),
        (evidence.invoice_request("a/b"), "/task/a%2Fb/transcriptInvoice", "a/b"),
        (evidence.transcript_by_hash_request("0xaB"), "/task/hash/0xaB/transcript", None),
    ],
)
def test_the_requests(request_: Request, path: str, execution_id: str | None) -> None:
    assert request_ == Request(
        "GET", path, None, execution_id, max_response_bytes=LIMIT, has_private_response=True, is_repeatable=True
    )


@pytest.mark.parametrize("transcript_hash", ["", "0x", "xyz", "ab/cd", " ab", "ab\n", "0x0xab", "a" * 600])
def test_what_is_not_hexadecimal_is_no_hash(transcript_hash: str) -> None:
    with pytest.raises(ValueError, match=r"^transcript_hash must be hexadecimal"):
        evidence.check_transcript_hash(transcript_hash)


def test_a_hash_is_a_str() -> None:
    assert evidence.check_transcript_hash("0XaB") == "0XaB"
    with pytest.raises(TypeError, match=r"^transcript_hash must be a str, not bytes"):
        evidence.check_transcript_hash(b"ab")


# What was published


def test_the_published_transcript_of_an_api_task() -> None:
    raw = (PAYLOADS / "transcript_api.json").read_bytes()
    transcript = read(raw, API_ID)
    assert (transcript.execution_id, transcript.raw, transcript.hash) == (API_ID, raw, None)
    assert (transcript.timestamp, transcript.msg_hash, transcript.signature) == (None, None, None)
    (message,) = transcript.messages
    assert (message.type, message.execution_id) == ("api_task_created", API_ID)
    assert message.msg_hash == "d6f80a07d2998701afeb0cde3aa4954d6525750b53bf12a34d91f7dc51580d9b"
    assert message.signature == Signature(
        28,
        "7b0e0bed74e79e8527d296a750e7283fc482c4adaa45beaebd5e569c4e5c3579",
        "429d80d2d3b205d1d717c1b239ca409d81eabd4fdfc53401ca8ff488041202c7",
    )
    assert message.public_key is not None
    assert message.public_key.startswith("0423fcbc")
    assert message.fields == json.loads(raw)["transcript"][0]
    assert message.message == message.fields["message"]


def test_the_published_invoices() -> None:
    raw = (PAYLOADS / "invoice_api.json").read_bytes()
    assert evidence.read_invoice(API_ID, respond(raw), NOW) == Invoice(
        API_ID,
        "api_142456019dd5b351e82b6f679bf7b36af9e9a0fd523f30844a2c479d908b913e",
        1762441264136,
        "4750340717624412641106",
        None,
        0.0002,
        Signature(
            27,
            "2cb73383f446dbaa2de9bfeec669bf159a72b7662ec15df9b391dcdf1267436b",
            "3e245d19087c9c5c448fdf9a26d0a219c98eae8d9fb0fa360a63a94c252443e0",
        ),
        (
            LineItem(
                "charge",
                "0x04cD16f6525110B023435d5a0dCA6532acc2C8F7",
                total_transferred_bytes=TransferredBytes(0, 0),
            ),
        ),
        raw,
    )
    raw = (PAYLOADS / "invoice_function.json").read_bytes()
    invoice = evidence.read_invoice("1104204c-c482-42e8-8c14-1305936dc5c3", respond(raw), NOW)
    assert (invoice.step_gas_price, invoice.byte_gas_price) == (5e-7, None)
    assert [item.operation for item in invoice.line_items] == ["charge", "pay", "pay", "pay"]
    assert invoice.line_items[1] == LineItem(
        "pay", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", total_steps_computed=6839448, peak_memory_used=17
    )


# What is unexpected


@pytest.mark.parametrize("body", [{}, {"transcript": None, "lineItem": None, "executionId": None}, {"more": [1]}])
def test_nothing_is_required(body: dict[str, Any]) -> None:
    assert read(body).messages == ()
    assert read(body).execution_id is None
    assert evidence.read_invoice("id", respond(body), NOW).line_items == ()


def test_an_unknown_message_is_kept() -> None:
    message = {"type": "a new one", "sequencerAddress": "0x5a", "timestamp": 7, "more": [1]}
    found = read_message(message)
    assert (found.type, found.sequencer_address, found.timestamp, found.fields) == ("a new one", "0x5a", 7, message)


@pytest.mark.parametrize("value", [None, 7, 7.5, True, "7", [], {}, {"v": 27}, {"v": "27", "r": "a", "s": "b"}])
def test_a_field_of_an_unexpected_type_is_none(value: object) -> None:
    names = ["type", "executionId", "message", "msgHash", "signature", "publicKey", "sequencerAddress", "timestamp"]
    message = dict.fromkeys(names, value)
    found = read_message(message)
    text = value if isinstance(value, str) else None
    assert found == TranscriptMessage(
        text,
        text,
        value if isinstance(value, dict) else None,
        text,
        None,
        text,
        text,
        value if type(value) is int else None,
        message,
    )
    names = ["taskId", "invoiceId", "taskCreated_timeStamp", "accounting_signature", "stepGasPrice", "byteGasPrice"]
    items = [dict.fromkeys(["operation", "total_steps_computed", "peak_memory_used", "totalTransferredBytes"], value)]
    invoice = evidence.read_invoice("id", respond({**dict.fromkeys(names, value), "lineItem": items}), NOW)
    whole = value if type(value) is int else None
    number = value if type(value) in {int, float} else None
    assert (invoice.task_id, invoice.invoice_id, invoice.task_created_time_stamp) == (text, text, whole)
    assert (invoice.step_gas_price, invoice.byte_gas_price, invoice.accounting_signature) == (number, number, None)
    assert invoice.line_items == (LineItem(text, None, whole, whole),)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "it is not JSON (Expecting value at character 0)"),
        (b"[]", "expected a JSON object, got array"),
        (b"\xff", "it is not UTF-8"),
        (b'{"transcript": {}, "lineItem": {}}', "is of type object, not array"),
        (b'{"transcript": [{}, 1], "lineItem": [{}, 1]}', "[1] is of type number, not object"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "its JSON is nested deeper than 100 levels"),
        (b'{"a": [' + b"[]," * 100_000 + b"[]]}", "its JSON has more than 100000 commas and brackets"),
    ],
)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_not_of_the_shape_is_refused(reader: Read, body: bytes, detail: str) -> None:
    with pytest.raises(errors.DecodeError) as caught:
        reader("ab", respond(body), NOW)
    assert detail in caught.value.detail
    assert caught.value.kind is None
    assert caught.value.execution_id == (None if reader is evidence.read_transcript_by_hash else "ab")


@pytest.mark.parametrize("reader", [evidence.read_transcript, evidence.read_invoice])
def test_the_evidence_of_another_execution_is_refused(reader: Read) -> None:
    with pytest.raises(errors.ExecutionIdMismatchError, match="about execution 'other'") as caught:
        reader("id", respond({"executionId": "other"}), NOW)
    assert caught.value.received_id == "other"


def test_an_id_that_is_no_string_is_none() -> None:
    assert read({"executionId": 7}).execution_id is None


# The hash


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_the_hash(place: str) -> None:
    fields = {"transcriptHash": "ab"}
    completed = {"type": "execution_completed", **(fields if place == "beside" else {"message": fields})}
    assert read({"transcript": [{"transcriptHash": "cd"}, completed]}).hash == "ab"


def test_a_hash_that_is_no_string_is_none() -> None:
    assert read({"transcript": [{"type": "execution_completed", "transcriptHash": 7}]}).hash is None


@pytest.mark.parametrize("wanted", ["ab", "AB", "0xab", "0XaB"])
@pytest.mark.parametrize("received", ["ab", "AB", "0xAb", None])
def test_the_transcript_with_the_hash_asked_for(wanted: str, received: str | None) -> None:
    body = {"executionId": "x", "transcript": [{"type": "execution_completed", "transcriptHash": received}]}
    assert evidence.read_transcript_by_hash(wanted, respond(body), NOW).execution_id == "x"


def test_a_transcript_with_another_hash_is_refused() -> None:
    body = {"transcript": [{"type": "execution_completed", "transcriptHash": "cd", "input": SECRET}]}
    with pytest.raises(errors.UnexpectedResponseError, match="transcriptHash is 'cd', which is not the one") as caught:
        evidence.read_transcript_by_hash("ab", respond(body), NOW)
    assert_hidden(caught.value)


# Secrets


def assert_hidden(error: errors.TruebitError) -> None:
    texts = [str(error), repr(error), repr(pickle.dumps(error)), repr(error.__context__), repr(error.__cause__)]
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if "/tests/" not in frame.f_code.co_filename]
    texts += [repr(frame.f_locals) for frame in frames]
    assert frames
    assert [text for text in texts if SECRET in text] == []


@pytest.mark.parametrize(
    "response",
    [
        respond(f'{{"input": "{SECRET}"'.encode()),
        respond(f'["{SECRET}"]'.encode()),
        respond({"executionId": "other", "input": SECRET}),
        respond({"input": SECRET, "transcript": [1], "lineItem": [1]}),
        respond(SECRET.encode(), 206),
        respond(SECRET.encode(), 302),
    ],
    ids=lambda response: f"{response.status}",
)
@pytest.mark.parametrize("reader", [evidence.read_transcript, evidence.read_invoice])
def test_no_error_holds_what_was_received(reader: Read, response: Response) -> None:
    with pytest.raises(errors.UnexpectedResponseError) as caught:
        reader("id", response, NOW)
    assert_hidden(caught.value)


def test_the_message_of_an_error_status_is_kept() -> None:
    with pytest.raises(errors.ExecutionNotFoundError) as caught:
        evidence.read_transcript("id", respond({"message": "no"}, 404), NOW)
    assert caught.value.message == "no"


def test_no_repr_shows_what_a_message_holds() -> None:
    message = {"type": "task_created", "executionId": "id", "input": SECRET, "message": {"input": SECRET}}
    transcript = read({"executionId": "id", "transcript": [message] * 11, "input": SECRET})
    assert repr(transcript.messages[0]) == "TranscriptMessage(type='task_created', execution_id='id')"
    assert re.fullmatch(
        r"Transcript\(execution_id='id', messages=<11: \['task_created', .*…>\)",
        repr(transcript),
    )
    assert SECRET not in f"{transcript!r} {transcript}"


def test_they_can_be_hashed_and_pickled() -> None:
    transcript = read({"transcript": [{"message": {}}]})
    assert pickle.loads(pickle.dumps(transcript)) == transcript  # noqa: S301
    assert isinstance(hash(transcript), int)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["executionId", "transcript", "lineItem", "signature", "taskId"]), JSON))
def test_an_object_is_read_or_refused(body: dict[str, Any]) -> None:
    for reader in READERS:
        try:
            reader("id", respond(body), NOW)
        except errors.UnexpectedResponseError as error:
            assert str(error)
