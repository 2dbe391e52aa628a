"""Responses that are failures: status code, headers and body → typed error."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from truebit_async._protocol.body import EXCERPT_BYTES, excerpt, parse_json
from truebit_async._protocol.messages import Response
from truebit_async.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ExecutionNotFoundError,
    PaymentRequiredError,
    RateLimitedError,
    RedirectError,
    ServerError,
    TruebitError,
    UnexpectedResponseError,
)

_ERROR_CLASSES: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: AuthenticationError,
    404: ExecutionNotFoundError,
    429: RateLimitedError,
}


def failure(
    kind: str | None, execution_id: str | None, response: Response, now: float, *, is_private: bool = False
) -> TruebitError:
    """Return the error that a response with any status but 200 stands for.

    Args:
        kind: the kind of task.
        execution_id: the execution.
        response: the response.
        now: the wall clock, in seconds since the epoch, to read dates by.
        is_private: whether the body may hold what a task gets, so that no more of it is quoted than the ``message`` of
            an error.
    """
    status, headers = response.status, response.headers
    quoted = "" if is_private else excerpt(response.body)
    if 400 <= status <= 599:
        error = _ERROR_CLASSES.get(status, ServerError if status >= 500 else ApiError)
        return error(
            execution_id,
            status,
            _message(response.body),
            parse_retry_after(headers, now),
            _cut(headers.get("X-Request-Id")),
            kind=kind,
        )
    if 300 <= status <= 399:
        location = _cut(headers.get("Location"))
        detail = "it redirects" if location is None else f"it redirects to {location[:200]!r}"
        return RedirectError(execution_id, status, detail, quoted, location, kind=kind)
    detail = "the API does not document this status"
    return UnexpectedResponseError(execution_id, status, detail, quoted, kind=kind)


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that ``Retry-After`` asks to wait, or None if it is absent or says nothing usable.

    A date counts from the server's own ``Date`` where there is one, so that a wrong clock on either side does no harm.
    A date in the past is 0 seconds.

    Args:
        headers: the response headers.
        now: the wall clock, in seconds since the epoch.
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


def _message(body: bytes | bytearray) -> str | None:
    """Return the ``message`` of a documented error body; an error with any other body is an error all the same."""
    try:
        reply = parse_json(body)
    except (ValueError, RecursionError):
        return None
    message = reply.get("message") if isinstance(reply, dict) else None
    return _cut(message) if isinstance(message, str) else None


def _cut(text: str | None) -> str | None:
    return text and text[:EXCERPT_BYTES]


def _parse_http_date(value: str) -> float | None:
    if not value.endswith("GMT"):
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # the parser lets several kinds out
        return None
