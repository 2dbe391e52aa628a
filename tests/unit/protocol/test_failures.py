"""Responses that are failures by their status code."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.protocol.reading import NOW, read
from truebit_async import errors
from truebit_async._protocol.failures import parse_retry_after

CLASSES = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.PaymentRequiredError,
    403: errors.AuthenticationError,
    404: errors.ExecutionNotFoundError,
    408: errors.ApiError,
    418: errors.ApiError,
    429: errors.RateLimitedError,
    500: errors.ServerError,
    501: errors.ServerError,
    502: errors.ServerError,
    503: errors.ServerError,
    504: errors.ServerError,
    524: errors.ServerError,
    599: errors.ServerError,
}


@pytest.mark.parametrize(("status", "error"), CLASSES.items())
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message": "because"}', "because"),
        (b'{"message": "' + b"x" * 5000 + b'"}', "x" * 1024),
        (b'{"message": 5}', None),
        (b'{"error": "because"}', None),
        (b'["because"]', None),
        (b"<html>because</html>", None),
        (b"\xff", None),
        (b"[" * 10_000, None),
        (b"", None),
        (b'{"message": "because", "more": [' + b"0," * 2**20 + b"0]}", None),
    ],
    ids=range(10),
)
def test_error_statuses(status: int, error: type[errors.ApiError], body: bytes, message: str | None) -> None:
    with pytest.raises(error) as caught:
        read(body, status, x_request_id="request-1")
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.message) == (status, message)
    assert caught.value.request_id == "request-1"
    assert (caught.value.execution_id, caught.value.kind) == ("id", "function")
    assert caught.value.__context__ is None


def test_a_message_of_several_lines_is_one_line_of_text() -> None:
    with pytest.raises(errors.ServerError) as caught:
        read(b'{"message": "first\\nsecond\\u2028third\\u001b[31m"}', 500, x_request_id="a\x85b")
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("status", [201, 202, 204, 206, 100, 600, 999])
def test_statuses_the_api_does_not_document(status: int) -> None:
    with pytest.raises(errors.UnexpectedResponseError, match="does not document this status") as caught:
        read({"verificationStatus": "Success"}, status)
    assert type(caught.value) is errors.UnexpectedResponseError
    assert caught.value.status == status
    assert caught.value.kind == "function"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirects_are_refused(status: int) -> None:
    with pytest.raises(errors.RedirectError, match="https://elsewhere") as caught:
        read(b"", status, location="https://elsewhere.example/x")
    assert caught.value.location == "https://elsewhere.example/x"
    with pytest.raises(errors.RedirectError, match="it redirects") as caught:
        read(b"", status)
    assert caught.value.location is None


def test_headers_are_kept_only_in_part() -> None:
    with pytest.raises(errors.RedirectError) as redirect:
        read(b"", 302, location="x" * 5000)
    assert redirect.value.location == "x" * 1024
    with pytest.raises(errors.ServerError) as failure:
        read(b"", 500, x_request_id="x" * 5000)
    assert failure.value.request_id == "x" * 1024


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("1000000000000", 1e12),
        ("9" * 400, None),
        ("-1", None),
        ("+1", None),
        ("1e3", None),
        ("NaN", None),
        ("inf", None),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", None),
        ("", None),
        ("soon", None),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tuesday, 14-Nov-23 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:20 GMT", 0.0),
        ("Tue, 14 Nov 1995 22:13:30 GMT", 0.0),
        ("Tue, 99 Nov 2023 22:13:30 GMT", None),
        ("Tue, 14 Nov 99999 22:13:30 GMT", None),
        ("GMT", None),
        (", GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert parse_retry_after({"Retry-After": value}, NOW) == seconds


def test_retry_after_counts_from_the_clock_of_the_server() -> None:
    headers = {"Retry-After": "Tue, 14 Nov 2023 23:00:10 GMT", "Date": "Tue, 14 Nov 2023 23:00:00 GMT"}
    assert parse_retry_after(headers, NOW) == 10.0
    assert parse_retry_after({}, NOW) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40).map(lambda text: text + " GMT") | st.text(max_size=40))
def test_no_retry_after_breaks_the_parser(value: str) -> None:
    seconds = parse_retry_after({"Retry-After": value, "Date": value}, NOW)
    assert seconds is None or seconds >= 0
