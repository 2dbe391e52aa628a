"""Transcripts and invoices: paths, and the shape of what a dispatcher answers.

Source: the documents of transcripts and invoices, version 1.120.0-beta.311, with the payloads published there, and
their operation ``getTranscriptInvoiceByExecutionId``. Both paths of transcripts are known from a public client, and are
not in the published API description.

No error quotes a body, except the ``message`` of an error reply (400 to 599): it holds the input of a task, which may
be a secret of a user. An error is made in one function and raised in another one, whose frame does not hold the body
either.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast, get_type_hints

from truebit_async._protocol.body import EXCERPT_BYTES, explain, parse_json
from truebit_async._protocol.converter import json_name, json_type, make_converter
from truebit_async._protocol.failures import failure
from truebit_async._protocol.ids import path_segment
from truebit_async._protocol.messages import Request, Response
from truebit_async.errors import DecodeError, ExecutionIdMismatchError, TruebitError, UnexpectedResponseError
from truebit_async.models.common import Signature
from truebit_async.models.evidence import Invoice, LineItem, Transcript, TranscriptMessage

EvidenceT = TypeVar("EvidenceT", Transcript, Invoice)

MAX_EVIDENCE_BYTES = 64 * 2**20
"""The limit of a body. A transcript holds the input and the output of a task several times."""

_is_hash = re.compile(r"(?:0[xX])?[0-9a-fA-F]{1,512}").fullmatch  # the length is not documented

_JSON_NAMES = {  # those that the models spell differently
    "task_created_time_stamp": "taskCreated_timeStamp",
    "accounting_signature": "accounting_signature",
    "total_steps_computed": "total_steps_computed",
    "peak_memory_used": "peak_memory_used",
}


def check_transcript_hash(transcript_hash: object) -> str:
    """Return a transcript hash if it can be one.

    Raises:
        TypeError: it is not a str.
        ValueError: it is not hexadecimal.
    """
    if not isinstance(transcript_hash, str):
        msg = f"transcript_hash must be a str, not {type(transcript_hash).__name__}"
        raise TypeError(msg)
    if not _is_hash(transcript_hash):
        msg = "transcript_hash must be hexadecimal digits, with or without 0x"
        raise ValueError(msg)
    return transcript_hash


def transcript_request(execution_id: str) -> Request:
    """Return the request for the transcript of an execution.

    Args:
        execution_id: a checked execution ID.
    """
    return _request(f"/task/{path_segment(execution_id)}/transcript", execution_id)


def transcript_by_hash_request(transcript_hash: str) -> Request:
    """Return the request for the transcript that has a hash.

    Args:
        transcript_hash: a checked hash.
    """
    return _request(f"/task/hash/{path_segment(transcript_hash)}/transcript", None)


def invoice_request(execution_id: str) -> Request:
    """Return the request for the invoice of an execution.

    Args:
        execution_id: a checked execution ID.
    """
    return _request(f"/task/{path_segment(execution_id)}/transcriptInvoice", execution_id)


def read_transcript(execution_id: str, response: Response, now: float) -> Transcript:
    """Return the transcript that a response holds.

    Args:
        execution_id: the execution that was asked for.
        response: the response.
        now: the wall clock, in seconds since the epoch, to read dates by.

    Raises:
        ApiError: the status is an error.
        UnexpectedResponseError: it is not a transcript, or that of another execution.
    """
    return _raise_errors(_read(parse_transcript, execution_id, response, now))


def read_transcript_by_hash(transcript_hash: str, response: Response, now: float) -> Transcript:
    """Return the transcript that a response holds.

    Args:
        transcript_hash: the hash that was asked for.
        response: the response.
        now: the wall clock, in seconds since the epoch, to read dates by.

    Raises:
        ApiError: the status is an error.
        UnexpectedResponseError: it is not a transcript, or one with another hash.
    """
    return _raise_errors(_with_hash(transcript_hash, _read(parse_transcript, None, response, now)))


def read_invoice(execution_id: str, response: Response, now: float) -> Invoice:
    """Return the invoice that a response holds.

    Args:
        execution_id: the execution that was asked for.
        response: the response.
        now: the wall clock, in seconds since the epoch, to read dates by.

    Raises:
        ApiError: the status is an error.
        UnexpectedResponseError: it is not an invoice, or that of another execution.
    """
    return _raise_errors(_read(parse_invoice, execution_id, response, now))


def parse_transcript(raw: bytes | bytearray) -> Transcript:
    """Return the transcript that a body holds.

    Raises:
        ValueError: it is not JSON in UTF-8, passes a limit of `parse_json`, or is not of the shape of a transcript.
        RecursionError: the stack of the caller has no room left.
    """
    fields = _parse_object(raw)
    messages = tuple(
        TranscriptMessage(**_typed_fields(TranscriptMessage, message), fields=message)
        for message in _objects(fields, "transcript")
    )
    return Transcript(**_typed_fields(Transcript, fields), messages=messages, raw=bytes(raw))


def parse_invoice(raw: bytes | bytearray) -> Invoice:
    """Return the invoice that a body holds.

    Raises:
        ValueError: it is not JSON in UTF-8, passes a limit of `parse_json`, or is not of the shape of an invoice.
        RecursionError: the stack of the caller has no room left.
    """
    fields = _parse_object(raw)
    items = tuple(LineItem(**_typed_fields(LineItem, item)) for item in _objects(fields, "lineItem"))
    return Invoice(**_typed_fields(Invoice, fields), line_items=items, raw=bytes(raw))


def read_signature(value: Any) -> Signature | None:
    """Return the signature that a JSON value is; None if it is not of the documented form."""
    return cast("Signature | None", _typed(make_converter().get_structure_hook(Signature), Signature, value))


def _request(path: str, execution_id: str | None) -> Request:
    return Request(
        "GET", path, execution_id=execution_id, max_response_bytes=MAX_EVIDENCE_BYTES, has_private_response=True
    )


def _read(
    parse: Callable[[bytes | bytearray], EvidenceT], execution_id: str | None, response: Response, now: float
) -> EvidenceT | TruebitError:
    if response.status != 200:
        return failure(None, execution_id, response, now, is_private=True)
    try:
        evidence = parse(response.body)
    except (ValueError, RecursionError) as error:
        return DecodeError(execution_id, 200, explain(error), "")
    received = evidence.execution_id
    if execution_id is None or received is None or received == execution_id:
        return evidence
    detail = f"it is about execution {received[:200]!r}"
    return ExecutionIdMismatchError(execution_id, 200, detail, "", received[:EXCERPT_BYTES])


def _with_hash(transcript_hash: str, result: Transcript | TruebitError) -> Transcript | TruebitError:
    received = result.hash if isinstance(result, Transcript) else None
    if received is None or _digits(received) == _digits(transcript_hash):
        return result
    detail = f"its transcriptHash is {received[:200]!r}, which is not the one asked for"
    return UnexpectedResponseError(None, 200, detail, "")


def _raise_errors(result: EvidenceT | TruebitError) -> EvidenceT:
    if isinstance(result, TruebitError):
        raise result
    return result


def _parse_object(raw: bytes | bytearray) -> dict[str, Any]:
    value = parse_json(raw)
    if isinstance(value, dict):
        return value
    msg = f"expected a JSON object, got {json_type(value)}"
    raise ValueError(msg)


def _objects(fields: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects, which may be absent or null."""
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        msg = f"{name} is of type {json_type(value)}, not array"
        raise ValueError(msg)  # noqa: TRY004  # about what was received
    for at, item in enumerate(value):
        if not isinstance(item, dict):
            msg = f"{name}[{at}] is of type {json_type(item)}, not object"
            raise ValueError(msg)  # noqa: TRY004  # likewise
    return value


def _typed_fields(model: type, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a model that are of the type that it documents. The others are None."""
    return {name: _typed(structure, hint, fields.get(key)) for name, key, structure, hint in _structures(model)}


def _typed(structure: Any, hint: Any, value: Any) -> Any:
    try:
        return structure(value, hint)
    except (ValueError, TypeError, KeyError):
        return None


@functools.cache
def _structures(model: type) -> list[tuple[str, str, Any, Any]]:
    """Return the name, the name in JSON, the hook and the type of each field that is one value in JSON."""
    converter = make_converter()
    return [
        (
            name,
            _JSON_NAMES.get(name, json_name(name)),
            _structure_number if hint == float | None else converter.get_structure_hook(hint),
            hint,
        )
        for name, hint in get_type_hints(model).items()
        if name not in {"fields", "messages", "line_items", "raw"}
    ]


def _structure_number(value: Any, _: Any) -> Any:  # cattrs would make a number of a text, too
    return value if type(value) in {int, float} else None


def _digits(transcript_hash: str) -> str:
    return transcript_hash.lower().removeprefix("0x")
