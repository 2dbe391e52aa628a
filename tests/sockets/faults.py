"""The fault matrix: what a server or a network may do, and what comes of it.

Run as a script, it prints the table of the page "What it survives" of the documentation.
"""

from __future__ import annotations

import email.utils
import gzip
import itertools
import time
import zlib
from collections.abc import Iterator

import attrs

from tests.sockets.hostile_server import (
    ID_PLACEHOLDER,
    Serve,
    drip,
    flood,
    send,
    send_and_hang,
    send_and_reset,
    with_id,
)
from truebit_async import errors

GOOD = (
    b'{"clearTextSolution": {"executionStatus": "succeed", "output": "42"}, "verificationStatus": "Success", '
    b'"executionId": ' + ID_PLACEHOLDER + b"}"
)
MIB = 2**20


@attrs.frozen
class Fault:
    """A row.

    Attributes:
        name: what goes wrong; also the execution ID it happens to.
        serve: how it is done.
        error: what it is documented to end in; None if there is a good answer in spite of it.
        where: the address it happens at: see `HostileServer.urls`.
        hangs: whether nothing but a time limit ends it.
        pauses: whether the server asks for a pause that no deadline outlives.
    """

    name: str
    serve: Serve
    error: type[errors.TruebitError] | None
    where: str = "http"
    hangs: bool = False
    pauses: bool = False


def head(*headers: bytes, status: bytes = b"200 OK", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([version + b" " + status, *headers, b"", b""])


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    return head(b"Content-Length: %d" % len(body), b"Connection: close", *headers, status=status) + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head(b"Transfer-Encoding: chunked") + body + end


def bomb(size: int) -> Iterator[bytes]:
    """Return gzip of so many zeros; a block that stands for 1 MiB is repeated."""
    deflate = zlib.compressobj(wbits=-15)
    block = deflate.compress(b"0" * MIB) + deflate.flush(zlib.Z_FULL_FLUSH)
    yield head(b"Content-Encoding: gzip", b"Content-Length: %d" % (10 + size // MIB * len(block)))
    yield gzip.compress(b"")[:10]
    yield from itertools.repeat(block, size // MIB)


def nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    return opening * depth + closing * depth


def http_date(seconds: float) -> bytes:
    return email.utils.formatdate(time.time() + seconds, usegmt=True).encode()


Transport, Slow, Decode = errors.TransportError, errors.RequestTimeoutError, errors.DecodeError
TooLarge, Unknown, Mismatch = errors.ResponseTooLargeError, errors.UnknownStatusError, errors.ExecutionIdMismatchError
close = send()

BEFORE = [
    Fault("connection refused", close, Transport, where="refused"),
    Fault("TLS handshake never answered", close, Slow, where="mute", hangs=True),
    Fault("plain HTTP where TLS is expected", close, Transport, where="http where https is expected"),
    Fault("TLS certificate of an unknown authority", close, Transport, where="https"),
    Fault("TLS certificate of another host", close, Transport, where="https of another host"),
    Fault("closed before the headers", close, Transport),
    Fault("reset before the headers", send_and_reset(b""), Transport),
    Fault("hang before the headers", send_and_hang(b""), Slow, hangs=True),
    Fault("garbage instead of HTTP", send(b"\x00\xff" * 500 + b"\r\n\r\n"), Transport),
    Fault("a TLS alert instead of HTTP", send(b"\x15\x03\x01\x00\x02\x02\x50"), Transport),
    Fault("an HTTP/2 preface", send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Transport),
    Fault("HTTP/0.9, a body without headers", send(GOOD), Transport),
    Fault("HTTP/1.0, the body ends with the connection", send(head(version=b"HTTP/1.0") + GOOD), None),
    Fault("an interim answer first", send(head(status=b"103 Early Hints") + answer(GOOD)), None),
    Fault("an interim answer and nothing more", send_and_hang(head(status=b"100 Continue")), Slow, hangs=True),
    Fault("interim answers for ever", flood(b"", head(status=b"100 Continue")), Slow, hangs=True),
]
HEADERS = [
    Fault("closed in the headers", send(b"HTTP/1.1 200 OK\r\nConte"), Transport),
    Fault("reset in the headers", send_and_reset(b"HTTP/1.1 200 OK\r\nConte"), Transport),
    Fault("hang in the headers", send_and_hang(b"HTTP/1.1 200 OK\r\nConte"), Slow, hangs=True),
    Fault("headers at one byte per second", drip(b"HTTP/1.1 200", b" OK\r\n"), Slow, hangs=True),
    Fault("a header of 100,000 bytes", send(answer(GOOD, b"X-Long: " + b"x" * 100_000)), Transport),
    Fault("100,000 bytes in many headers", send(answer(GOOD, *[b"X: " + b"x" * 96] * 1000)), Transport),
    Fault("headers for ever", flood(b"HTTP/1.1 200 OK\r\n", b"X-More: %01000d\r\n" % 7), Transport),
    Fault("a status that is not a number", send(answer(GOOD, status=b"OK OK")), Transport),
    Fault("status 99999", send(answer(GOOD, status=b"99999 OK")), Transport),
    Fault("a header without a colon", send(answer(GOOD, b"nonsense")), Transport),
    Fault("a NUL in a header", send(answer(GOOD, b"X-Nul: a\x00b")), Transport),
    Fault("a negative Content-Length", send(head(b"Content-Length: -1") + GOOD), Transport),
    Fault("a Content-Length that is not a number", send(head(b"Content-Length: many") + GOOD), Transport),
    Fault("two Content-Lengths", send(answer(GOOD, b"Content-Length: 7")), Transport),
    Fault("a Content-Length and chunks", send(answer(b"0\r\n\r\n", b"Transfer-Encoding: chunked")), Transport),
    Fault("a redirect without a target", send(answer(b"", status=b"302 Found")), errors.RedirectError),
]  # fmt: skip
BODY = [
    Fault("shorter than Content-Length", send(head(b"Content-Length: 9999") + GOOD), Transport),
    Fault("reset in the body", send_and_reset(head(b"Content-Length: 9999") + GOOD), Transport),
    Fault("hang in the body", send_and_hang(head(b"Content-Length: 9999") + GOOD), Slow, hangs=True),
    Fault("a body at one byte per second", drip(head(b"Content-Length: 9999"), GOOD), Slow, hangs=True),
    Fault("longer than Content-Length", send(answer(GOOD) + b"and more"), Transport),
    Fault("chunks", send(chunked(GOOD[:20], GOOD[20:])), None),
    Fault("chunks and trailers", send(chunked(GOOD, end=b"0\r\nX-Trailer: 1\r\n\r\n")), None),
    Fault("chunks cut off", send(chunked(GOOD[:20], end=b"50\r\n{")), Transport),
    Fault("chunks that never end", send_and_hang(chunked(GOOD, end=b"")), Slow, hangs=True),
    Fault("chunks for ever", flood(chunked(end=b""), b"10000\r\n" + b" " * 2**16 + b"\r\n"), TooLarge),
    Fault("a chunk size that is not a number", send(chunked(end=b"zz\r\nabc\r\n0\r\n\r\n")), Transport),
    Fault("a negative chunk size", send(chunked(end=b"-5\r\nabc\r\n0\r\n\r\n")), Transport),
    Fault("gzip", send(answer(gzip.compress(with_id(GOOD, "gzip")), b"Content-Encoding: gzip")), None),
    Fault("gzip broken", send(answer(gzip.compress(b"")[:10] + b"\xff" * 50, b"Content-Encoding: gzip")), Transport),
    Fault("gzip cut off", send(answer(gzip.compress(GOOD)[:-30], b"Content-Encoding: gzip")), Decode),
    Fault("gzip in name only", send(answer(GOOD, b"Content-Encoding: gzip")), Transport),
    Fault("deflate broken", send(answer(b"\x78\x9c" + b"\xff" * 50, b"Content-Encoding: deflate")), Transport),
    Fault("a gzip bomb, 1 MB of 1 GB", send(*bomb(1024 * MIB)), TooLarge),
    Fault("an unknown encoding", send(answer(b"\x01\x02", b"Content-Encoding: rot13")), Decode),
    Fault("100 MB", send(head(b"Content-Length: 100000000"), *[b" " * 100_000] * 1000), TooLarge),
    Fault("empty", send(answer(b"")), Decode),
    Fault("HTML", send(answer(b"<html>busy</html>", b"Content-Type: text/html")), Decode),
    Fault("JSON under the name of HTML", send(answer(GOOD, b"Content-Type: text/html")), None),
    Fault("JSON cut off", send(answer(GOOD[:-5])), Decode),
    Fault("JSON twice", send(answer(GOOD * 2)), Decode),
    Fault("JSON with NaN", send(answer(b'{"verificationStatus": "Success", "n": NaN}')), Decode),
    Fault("UTF-16", send(answer(GOOD.decode().encode("utf-16"))), Decode),
    Fault("not UTF-8", send(answer(GOOD.replace(b"42", b"4\xff"))), Decode),
    Fault("arrays nested 100,000 deep", send(answer(nested(b"[", b"]", 100_000))), Decode),
    Fault("objects nested 100,000 deep", send(answer(nested(b'{"a":', b"}", 100_000))), Decode),
    Fault("8 MB of empty arrays", send(answer(GOOD[:-1] + b', "more": [' + b"[]," * 2_700_000 + b"0]}")), Decode),
    Fault("8 MB of objects", send(answer(GOOD[:-1] + b', "more": [' + b'{"a":0},' * 1_000_000 + b"0]}")), Decode),
    Fault("a list", send(answer(b"[]")), Decode),
    Fault("an output that is not a string", send(answer(GOOD.replace(b'"42"', b"42"))), Decode),
    Fault("no verificationStatus", send(answer(b"{}")), Unknown),
    Fault("an unknown verificationStatus", send(answer(GOOD.replace(b"Suc", b"suc"))), Unknown),
    Fault("a final status that names no execution", send(answer(GOOD.replace(ID_PLACEHOLDER, b"null"))), Mismatch),
    Fault("about another execution", send(answer(GOOD.replace(ID_PLACEHOLDER, b'"x"'))), Mismatch),
]  # fmt: skip


def retry_after(status: int, value: bytes, *, pauses: bool = False) -> Fault:
    error: type[errors.TruebitError] = errors.RateLimitedError if status == 429 else errors.ServerError
    shown = "a date in the past" if b"GMT" in value else value.decode()
    if pauses:
        error, shown = errors.VerificationTimeoutError, "a date in the future" if b"GMT" in value else shown
    reply = answer(b'{"message": "later"}', b"Retry-After: " + value, status=b"%d Later" % status)
    return Fault(f"{status} with Retry-After: {shown}", send(reply), error, pauses=pauses)


RETRY_AFTER = [
    fault
    for status in (429, 503)
    for fault in (
        *(retry_after(status, value) for value in (b"0", b"-1", b"1e12", b"NaN", b"soon", http_date(-3600))),
        *(retry_after(status, value, pauses=True) for value in (b"1000000000000", http_date(3600))),
    )
]

ERRORS_BY_STATUS: dict[int, type[errors.TruebitError]] = {
    101: errors.UnexpectedResponseError,
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.PaymentRequiredError,
    403: errors.AuthenticationError,
    404: errors.ExecutionNotFoundError,
    429: errors.RateLimitedError,
}
ERRORS_BY_CLASS: dict[int, type[errors.TruebitError] | None] = {
    1: None,  # interim: the answer follows
    2: errors.UnexpectedResponseError,
    3: errors.RedirectError,
    4: errors.ApiError,
    5: errors.ServerError,
}


def status_fault(status: int) -> Fault:
    body = b"" if status in (204, 304) else b'{"message": "because"}'
    reply = answer(body, status=b"%d X" % status)
    if status < 200 and status != 101:
        reply = head(status=b"%d X" % status) + answer(GOOD)
    error = ERRORS_BY_STATUS.get(status, ERRORS_BY_CLASS[status // 100])
    return Fault(f"status {status}", send(reply), None if status == 200 else error)


STATUSES = [status_fault(status) for status in range(100, 600) if status != 200]
PHASES = {"Before the headers": BEFORE, "In the headers": HEADERS, "In the body": BODY, "Retry-After": RETRY_AFTER}
FAULTS = [fault for faults in PHASES.values() for fault in faults]
MATRIX = [*FAULTS, *STATUSES]


# The same rows at other endpoints than that of function tasks

OBJECTS_THAT_NAME_AN_EXECUTION = {
    "an output that is not a string",
    "an unknown verificationStatus",
    "about another execution",
}
OBJECTS = {*OBJECTS_THAT_NAME_AN_EXECUTION, "no verificationStatus", "a final status that names no execution"}


def at_api_status(fault: Fault) -> type[errors.TruebitError] | None:
    """Return what a status request for an API task ends in: the good answer has no ``status``."""
    is_answer = fault.error is None or fault.name in OBJECTS - {"about another execution"}
    return Unknown if is_answer else fault.error


def at_submission(fault: Fault) -> type[errors.TruebitError] | None:
    """Return what a submission ends in; None if it is accepted."""
    if fault.where != "http":
        return fault.error
    if fault.pauses:
        return errors.RateLimitedError if "429" in fault.name else errors.ServerError
    if fault.error in (Transport, Slow):
        return errors.SubmissionUncertainError
    if fault.name in OBJECTS:
        return None if fault.name in OBJECTS_THAT_NAME_AN_EXECUTION else Decode
    return fault.error


def may_have_run(fault: Fault) -> bool:
    """Return whether the task of a submission may have run, if the submission ends in an error."""
    error = at_submission(fault)
    if fault.where != "http" or error is None:
        return False
    if fault.name.startswith("status 4"):
        return fault.name in {"status 408", "status 425"}
    return not issubclass(error, errors.RateLimitedError)


def at_evidence(fault: Fault) -> type[errors.TruebitError] | None:
    """Return what a request for evidence ends in: any object will do that names no other execution."""
    if fault.pauses:
        return errors.RateLimitedError if "429" in fault.name else errors.ServerError
    return None if fault.name in OBJECTS - {"about another execution"} else fault.error


COLUMNS = (lambda fault: fault.error, at_submission, at_evidence)


def as_markdown() -> str:
    lines = [
        "| what happens | a status request | a submission | a transcript or invoice |",
        "| --- | --- | --- | --- |",
    ]
    for phase, faults in PHASES.items():
        lines.append(f"| **{phase}** | | | |")
        lines += [f"| {fault.name} | {_results(fault)} |" for fault in faults]
    lines.append("| **Status codes** | | | |")
    for results, group in itertools.groupby(STATUSES, key=_results):
        numbers = [fault.name.removeprefix("status ") for fault in group]
        shown = numbers[0] if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        lines.append(f"| {shown} | {results} |")
    return "\n".join(lines) + "\n"


def _results(fault: Fault) -> str:
    errors_of_columns = [column(fault) for column in COLUMNS]
    shown = ["the answer" if error is None else f"`{error.__name__}`" for error in errors_of_columns]
    if may_have_run(fault):
        shown[1] += ", may have run"
    return " | ".join(shown)


if __name__ == "__main__":
    print(as_markdown(), end="")  # noqa: T201
