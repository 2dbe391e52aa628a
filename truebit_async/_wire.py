"""The protocol without I/O: execution ID → request path; status, headers and body → `Execution` or a typed error.

Source of every fact here: the dispatcher's API description (operation ``getFunctionExecutionStatus``) and the
payloads published with it.
"""

from __future__ import annotations

import enum
import functools
import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from types import NoneType, UnionType
from typing import Any, Never, get_args
from urllib.parse import quote

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from truebit_async.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    DecodeError,
    ExecutionIdMismatchError,
    ExecutionNotFoundError,
    InvalidExecutionIdError,
    PaymentRequiredError,
    RateLimitedError,
    RedirectError,
    ServerError,
    TruebitError,
    UnexpectedResponseError,
    UnknownStatusError,
)
from truebit_async.models import ClearTextSolution, Execution, ExecutionStatus, VerificationStatus

try:
    import orjson
except ModuleNotFoundError:  # it is in the extra `speed`
    orjson = None  # type: ignore[assignment]

MAX_EXECUTION_ID_LENGTH = 512  # ours: the API names no limit, and published IDs have 36 characters
EXCERPT_BYTES = 1024
LARGE_BODY = 2**20  # bytes; decoding a larger one takes long enough to be felt by others in the event loop
MAX_VALUES_IF_LARGE = 10_000
STATUS_PATH = "/task/function/execution-status/"

_ERROR_CLASSES: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: AuthenticationError,
    404: ExecutionNotFoundError,
    429: RateLimitedError,
}
_is_unreserved = re.compile(r"[A-Za-z0-9_.~-]+").fullmatch
_VERIFICATION_STATUSES = {status.value: status for status in VerificationStatus}


# Requests


def check_execution_id(execution_id: object) -> str:
    """Return the ID if it can be one.

    Raises:
        InvalidExecutionIdError: it is not a str, empty, ``.`` or ``..``, has control characters or lone
            surrogates, or more than 512 characters.
    """
    if not isinstance(execution_id, str):
        kind = type(execution_id).__name__
        raise InvalidExecutionIdError(repr(execution_id)[:MAX_EXECUTION_ID_LENGTH], f"it is not a str but {kind}")
    if not execution_id:
        reason = "it is empty"
    elif execution_id in {".", ".."}:
        reason = "it would change the path of the request"
    elif len(execution_id) > MAX_EXECUTION_ID_LENGTH:
        reason = f"it has {len(execution_id)} characters, more than {MAX_EXECUTION_ID_LENGTH}"
    elif not execution_id.isprintable() and any(unicodedata.category(char) in {"Cc", "Cs"} for char in execution_id):
        reason = "it has control characters or lone surrogates"
    else:
        return execution_id
    raise InvalidExecutionIdError(execution_id, reason)


def status_path(execution_id: str) -> str:
    """Return the path that asks for the status of a checked ID, which becomes exactly one path segment."""
    # Nearly all IDs are UUIDs, which are their own encoding.
    return STATUS_PATH + (execution_id if _is_unreserved(execution_id) else quote(execution_id, safe=""))


# Replies


def decode_status(
    execution_id: str, status: int, headers: Mapping[str, str], body: bytes | bytearray, *, now: float
) -> Execution:
    """Return what a reply says of an execution.

    Args:
        execution_id: the ID that was asked for.
        status: the HTTP status code.
        headers: the response headers; the mapping must ignore the case of names, as HTTP does.
        body: the whole body, decompressed.
        now: the wall clock, in seconds since the epoch, to read dates by.

    Raises:
        ApiError: the status is an error.
        UnexpectedResponseError: the reply is not one the API documents.
    """
    if status == 200:
        return _decode_execution(execution_id, body)
    raise _failure(execution_id, status, headers, body, now)


def excerpt(body: bytes | bytearray) -> str:
    """Return the beginning of a body for an error: at most 1 KiB, with U+FFFD for what is not UTF-8."""
    text = body[:EXCERPT_BYTES].decode("utf-8", "replace")
    # U+FFFD is longer than the byte it stands for, so the text is cut once more.
    return text.encode()[:EXCERPT_BYTES].decode("utf-8", "ignore")


def _failure(
    execution_id: str, status: int, headers: Mapping[str, str], body: bytes | bytearray, now: float
) -> TruebitError:
    if 400 <= status <= 599:
        error = _ERROR_CLASSES.get(status, ServerError if status >= 500 else ApiError)
        return error(execution_id, status, _message(body), parse_retry_after(headers, now), headers.get("X-Request-Id"))
    if 300 <= status <= 399:
        location = headers.get("Location")
        detail = "it redirects" if location is None else f"it redirects to {location[:200]!r}"
        location = location and location[:EXCERPT_BYTES]
        return RedirectError(execution_id, status, detail, excerpt(body), location)
    return UnexpectedResponseError(execution_id, status, "the API does not document this status", excerpt(body))


def _decode_execution(execution_id: str, body: bytes | bytearray) -> Execution:
    try:
        reply = _json_object(_parse_json(body))
        if reply.get("executionId") != execution_id:
            _check_received_id(execution_id, _optional_str(reply, "executionId"), body)
        try:
            verification_status = _VERIFICATION_STATUSES[reply["verificationStatus"]]
        except (KeyError, TypeError):
            raise _unknown_status(execution_id, _optional_str(reply, "verificationStatus"), body) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise DecodeError(execution_id, 200, _explain(error), excerpt(body)) from error
    solution = reply.get("clearTextSolution")
    if solution is None:  # most are still running
        return Execution(execution_id, verification_status)
    _move_signature_inside(reply)
    try:
        return Execution(execution_id, verification_status, _structure_solution()(solution, ClearTextSolution))
    except (ValueError, TypeError, KeyError):
        return _structure_or_explain(execution_id, reply, body)


def _check_received_id(execution_id: str, received_id: str | None, body: bytes | bytearray) -> None:
    if received_id is not None:  # the schema does not require it
        received_id = received_id[:EXCERPT_BYTES]
        detail = f"it is about execution {received_id[:200]!r}"
        raise ExecutionIdMismatchError(execution_id, 200, detail, excerpt(body), received_id)


def _unknown_status(execution_id: str, status: str | None, body: bytes | bytearray) -> UnknownStatusError:
    detail = "verificationStatus is missing" if status is None else f"verificationStatus is {status[:200]!r}"
    return UnknownStatusError(execution_id, 200, detail, excerpt(body), status and status[:EXCERPT_BYTES])


@functools.cache
def _structure_solution() -> Callable[[Any, object], ClearTextSolution]:
    return make_converter().get_structure_hook(ClearTextSolution)


def _structure_or_explain(execution_id: str, reply: dict[str, Any], body: bytes | bytearray) -> Execution:
    try:
        return make_converter(detailed_validation=True).structure(reply | {"executionId": execution_id}, Execution)
    except cattrs.BaseValidationError as error:
        detail = "; ".join(cattrs.transform_error(error, path="execution"))
        raise DecodeError(execution_id, 200, detail, excerpt(body)) from error


def _json_object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    msg = f"expected a JSON object, got {type(value).__name__}"
    raise TypeError(msg)


def _move_signature_inside(reply: dict[str, Any]) -> None:
    """Move a signature beside ``clearTextSolution`` (a published example) into it (the schema)."""
    signature, solution = reply.get("signature"), reply.get("clearTextSolution")
    if signature is not None and isinstance(solution, dict) and solution.get("signature") is None:
        solution["signature"] = signature


def _optional_str(reply: dict[str, Any], name: str) -> str | None:
    value = reply.get(name)
    if value is None or isinstance(value, str):
        return value
    msg = f"{name} is {type(value).__name__}, not a string"
    raise TypeError(msg)


def _explain(error: Exception) -> str:
    match error:
        case RecursionError():
            return "its JSON is nested too deep"
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case json.JSONDecodeError():
            return f"it is not JSON ({error.msg} at character {error.pos})"
    return str(error)


def _message(body: bytes | bytearray) -> str | None:
    """Return the ``message`` of a documented error body; an error with any other body is an error all the same."""
    try:
        reply = _parse_json(body)
    except (ValueError, RecursionError):
        return None
    message = reply.get("message") if isinstance(reply, dict) else None
    return message[:EXCERPT_BYTES] if isinstance(message, str) else None


def _check_shape(body: bytes | bytearray) -> None:
    """Refuse a large body with more values than any status reply: they would take many times its size in memory.

    A large output is no problem: it is one string, however many commas and brackets are in it. So what is inside
    strings does not count. The body is read in pieces, so that another thread gets its turn in between.
    """
    values = inside_string = start = 0
    while start < len(body):
        end = start + 2**16
        while body[end - 1 : end] == b"\\":  # a piece does not end within an escape
            end += 1
        piece = body[start:end].replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside = b"".join(parts[inside_string::2])
        values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        if values > MAX_VALUES_IF_LARGE:
            msg = f"it has more than {LARGE_BODY} bytes and more than {MAX_VALUES_IF_LARGE} values"
            raise ValueError(msg)
        inside_string ^= (len(parts) - 1) & 1
        start = end


def _refuse_constant(name: str) -> Never:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


_json_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _parse_json(body: bytes | bytearray) -> Any:
    if len(body) > LARGE_BODY:
        _check_shape(body)
    if orjson is not None:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # it refuses more than JSON does, and explains less: the standard library has the last word
    text = body.decode("utf-8")
    if text.startswith("{"):  # as nearly all do: this way, nothing looks for white space around it
        value, end = _json_decoder.raw_decode(text)
        if end == len(text):
            return value
    return _json_decoder.decode(text)


# Retry-After


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that ``Retry-After`` asks to wait, or None if it is absent or says nothing usable.

    A date counts from the server's own ``Date`` where there is one, so that a wrong clock on either side does no
    harm; a date in the past is 0 seconds.
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        seconds = float(value)
        return seconds if math.isfinite(seconds) else None
    until = _parse_http_date(value)
    if until is None:
        return None
    sent = _parse_http_date(headers.get("Date", ""))
    return max(0.0, until - (now if sent is None else sent))


def _parse_http_date(value: str) -> float | None:
    if not value.endswith("GMT"):
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # the parser lets several kinds out
        return None


# The converter


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _is_optional(kind: Any) -> bool:
    return isinstance(kind, UnionType) and NoneType in get_args(kind)


def _exactly(*kinds: type) -> Any:
    """Return a hook that takes values of these types as they are; cattrs would make ``"28"`` of 28 and 1 of true."""
    expected = kinds[0].__name__

    def structure(value: object, _: object) -> Any:
        if type(value) in kinds:
            return value
        msg = f"expected {expected}, got {type(value).__name__}"
        raise TypeError(msg)

    return structure


def _structure_int64(value: object, _: object) -> int:
    # Beyond 64 bits, orjson makes a float of an integer and the standard library does not.
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    msg = f"expected a 64-bit int, got {type(value).__name__}"
    raise TypeError(msg)


def _member_of(status: type[enum.Enum]) -> Any:
    members: dict[object, enum.Enum] = {member.value: member for member in status}

    def structure(value: object, _: object) -> enum.Enum:
        try:
            return members[value]
        except (KeyError, TypeError):
            return status(value)  # slower, and says what is wrong

    return structure


@functools.cache
def make_converter(*, detailed_validation: bool = False) -> cattrs.Converter:
    """Return a converter between the models (snake_case) and the API's JSON objects (camelCase), both ways.

    Unknown fields are ignored; absent ones and nulls become None, and None is left out again. It is made when it is
    first asked for: that takes milliseconds, which importing the package should not.

    Args:
        detailed_validation: whether an error tells of everything that is wrong, and where. That costs time also
            when nothing is wrong.
    """
    converter = cattrs.Converter(detailed_validation=detailed_validation)
    converter.register_structure_hook(str, _exactly(str))
    converter.register_structure_hook(int, _structure_int64)
    # The statuses are str as well, and must not be taken by the hook for it.
    for status in (VerificationStatus, ExecutionStatus):
        converter.register_structure_hook(status, _member_of(status))

    @converter.register_structure_hook_factory(_is_optional)
    def optional_factory(kind: Any) -> Any:  # as cattrs does it, but the hook is looked up once and not at every value
        (inner,) = (arg for arg in get_args(kind) if arg is not NoneType)
        if inner is str:
            return _exactly(str, NoneType)
        structure_inner = converter.get_structure_hook(inner)
        return lambda value, _: None if value is None else structure_inner(value, inner)

    def names(cls: type) -> dict[str, Any]:
        return {field.name: override(rename=_camel_case(field.name)) for field in attrs.fields(cls)}

    @converter.register_structure_hook_factory(attrs.has)
    def structure_factory(cls: type) -> Any:
        structure_fields: Any = make_dict_structure_fn(cls, converter, **names(cls))
        return lambda value, kind: structure_fields(value if isinstance(value, dict) else _json_object(value), kind)

    @converter.register_unstructure_hook_factory(attrs.has)
    def unstructure_factory(cls: type) -> Any:
        return make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **names(cls))

    return converter
