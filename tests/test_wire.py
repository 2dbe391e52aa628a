"""The protocol rules, reply by reply; no loop, no socket."""

from __future__ import annotations

import importlib.util
import json
import sys
import unittest.mock
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from truebit_async import _wire, errors
from truebit_async.models import (
    ClearTextSolution,
    Execution,
    ExecutionStatus,
    Signature,
    VerificationStatus,
)

PAYLOADS = Path(__file__).parent / "payloads"
NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.fixture(params=["orjson", "json"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything holds with and without the extra `speed`."""
    if request.param == "json":
        monkeypatch.setattr(_wire, "orjson", None)
    else:
        pytest.importorskip("orjson")


def decode(body: bytes | dict[str, Any], status: int = 200, **headers: str) -> Execution:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return _wire.decode_status("id", status, named, raw, now=NOW)


# Execution IDs


@pytest.mark.parametrize(
    ("execution_id", "segment"),
    [
        ("abf5e6d2-f72d-4324-a046-bc6e9f27b303", "abf5e6d2-f72d-4324-a046-bc6e9f27b303"),
        ("a/b", "a%2Fb"),
        ("../../admin", "..%2F..%2Fadmin"),
        ("a?b#c", "a%3Fb%23c"),
        ("100%", "100%25"),
        ("%2e%2e", "%252e%252e"),
        ("two words", "two%20words"),
        ("ü", "%C3%BC"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
        ("...", "..."),
        ("x" * 512, "x" * 512),
    ],
)
def test_an_id_becomes_one_segment(execution_id: str, segment: str) -> None:
    assert _wire.status_path(_wire.check_execution_id(execution_id)) == f"/task/function/execution-status/{segment}"


@pytest.mark.parametrize(
    ("execution_id", "reason"),
    [
        ("", "it is empty"),
        (".", "change the path"),
        ("..", "change the path"),
        ("a\nb", "control characters"),
        ("a\r\nHost: evil", "control characters"),
        ("\x00", "control characters"),
        ("a\x7f", "control characters"),
        ("a\x85", "control characters"),
        ("\ud800", "lone surrogates"),
        ("x" * 513, "513 characters"),
        (None, "not a str but NoneType"),
        (7, "not a str but int"),
        (b"id", "not a str but bytes"),
    ],
)
def test_what_is_no_id(execution_id: Any, reason: str) -> None:
    with pytest.raises(errors.InvalidExecutionIdError, match=reason) as caught:
        _wire.check_execution_id(execution_id)
    assert caught.value.execution_id == (execution_id if isinstance(execution_id, str) else repr(execution_id))
    assert len(str(caught.value)) < 300


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=600))
def test_any_text_is_refused_or_comes_back_exactly(text: str) -> None:
    try:
        path = _wire.status_path(_wire.check_execution_id(text))
    except errors.InvalidExecutionIdError:
        return
    segment = path.removeprefix(_wire.STATUS_PATH)
    assert "/" not in segment
    assert segment.isascii()
    assert segment not in {"", ".", ".."}
    assert unquote(segment) == text


# Good replies


def test_the_current_published_example() -> None:
    body = (PAYLOADS / "status_function_current.json").read_bytes()
    execution = _wire.decode_status("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee", 200, {}, body, now=NOW)
    assert execution == Execution(
        "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee",
        VerificationStatus.SUCCESS,
        ClearTextSolution(
            "function task output",
            ExecutionStatus.SUCCEED,
            "0x************************************79C8",
            Signature(
                28,
                "20476805d11b************************************83f93de9b185d486",
                "07f38e3b3633************************************236081b5b8f74e66",
            ),
        ),
    )


def test_the_older_published_example_has_its_signature_inside() -> None:
    body = (PAYLOADS / "status_function_old.json").read_bytes()
    execution = _wire.decode_status("abf5e6d2-f72d-4324-a046-bc6e9f27b303", 200, {}, body, now=NOW)
    assert execution.output == "function task output"
    assert execution.clear_text_solution is not None
    assert execution.clear_text_solution.signature == Signature(
        28,
        "20476805d11bd09ecad1b67102a0be84810749430bf8deca83f93de9b185d486",
        "07f38e3b363300f4997460ddef83c0769dedfd7ba8a61a21236081b5b8f74e66",
    )


def test_the_reply_about_an_api_task_is_not_taken_for_one_about_a_function() -> None:
    body = (PAYLOADS / "status_api_old.json").read_bytes()
    with pytest.raises(errors.UnknownStatusError, match="verificationStatus is missing"):
        _wire.decode_status("eced5793-8634-4489-a589-2f1978367496", 200, {}, body, now=NOW)


INSIDE, BESIDE = {"v": 27, "r": "aa", "s": "bb"}, {"v": 28, "r": "cc", "s": "dd"}


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({}, None),
        ({"clearTextSolution": None}, None),
        ({"signature": BESIDE}, None),
        ({"clearTextSolution": {}}, ClearTextSolution()),
        ({"clearTextSolution": {"output": None, "signature": None}}, ClearTextSolution()),
        (
            {"clearTextSolution": {"output": "7", "executionStatus": "failed", "new": [1]}, "other": 1},
            ClearTextSolution("7", ExecutionStatus.FAILED),
        ),
        (
            {"clearTextSolution": {"signature": INSIDE}, "signature": BESIDE},
            ClearTextSolution(signature=Signature(27, "aa", "bb")),
        ),
        (
            {"clearTextSolution": {"signature": None}, "signature": BESIDE},
            ClearTextSolution(signature=Signature(28, "cc", "dd")),
        ),
    ],
)
def test_what_the_schema_does_not_require_may_be_absent(
    reply: dict[str, Any], expected: ClearTextSolution | None
) -> None:
    execution = decode({"verificationStatus": "Success", **reply})
    assert execution == Execution("id", VerificationStatus.SUCCESS, expected)


@pytest.mark.parametrize("status", list(VerificationStatus))
def test_every_documented_status(status: VerificationStatus) -> None:
    assert decode({"executionId": "id", "verificationStatus": status.value}).verification_status is status


def test_the_given_id_is_kept_and_not_its_copy() -> None:
    execution_id = str(uuid.uuid4())
    body = json.dumps({"executionId": execution_id, "verificationStatus": "Running"}).encode()
    execution = _wire.decode_status(execution_id, 200, {}, body, now=0)
    assert execution.execution_id is execution_id


# Replies that are not what the API documents


def big_v(v: int) -> bytes:
    return b'{"verificationStatus": "Success", "clearTextSolution": {"signature": {"v": %d, "r": "", "s": ""}}}' % v


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "it is not JSON"),
        (b"<html>busy</html>", "it is not JSON"),
        (b'{"verificationStatus": "Success"', "it is not JSON"),
        (b'{"verificationStatus": "Success"} x', "it is not JSON"),
        (b"[]", "expected a JSON object, got list"),
        (b"null", "expected a JSON object, got NoneType"),
        (b'"Success"', "expected a JSON object, got str"),
        (b'{"verificationStatus": "Success", "n": NaN}', "NaN is not JSON"),
        (big_v(2**63), "expected int"),
        (big_v(10**400), "expected int"),
        (b'{"verificationStatus": "Running", "n": ' + b"1" * 5000 + b"}", "5000 digits"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b'{"verificationStatus": "Success\xff"}', "it is not UTF-8"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested too deep"),
        (b"[" * 10_000 + b"]" * 10_000, "nested too deep"),
        ({"verificationStatus": 1}, "verificationStatus is int, not a string"),
        ({"verificationStatus": "Success", "executionId": 5}, "executionId is int, not a string"),
        ({"verificationStatus": "Success", "clearTextSolution": "42"}, "clear_text_solution"),
        ({"verificationStatus": "Success", "clearTextSolution": []}, "clear_text_solution"),
        ({"verificationStatus": "Success", "clearTextSolution": {"output": {}}}, "output"),
        ({"verificationStatus": "Success", "clearTextSolution": {"output": 42}}, "output"),
        ({"verificationStatus": "Success", "clearTextSolution": {"executionStatus": "maybe"}}, "execution_status"),
        ({"verificationStatus": "Success", "clearTextSolution": {"senderAddress": 1}}, "sender_address"),
        ({"verificationStatus": "Success", "clearTextSolution": {"signature": "0x"}}, "signature"),
        ({"verificationStatus": "Success", "clearTextSolution": {"signature": {"v": 28}}}, "required field missing"),
        (
            {"verificationStatus": "Success", "clearTextSolution": {"signature": {"v": "28", "r": "", "s": ""}}},
            r"expected int @ execution.clear_text_solution.signature.v",
        ),
        ({"verificationStatus": "Success", "clearTextSolution": {}, "signature": {"v": True, "r": "", "s": ""}}, "v"),
        ({"verificationStatus": "Success", "clearTextSolution": {}, "signature": 5}, "signature"),
    ],
)
def test_decode_errors(body: bytes | dict[str, Any], detail: str) -> None:
    with pytest.raises(errors.DecodeError, match=detail) as caught:
        decode(body)
    assert caught.value.execution_id == "id"
    assert caught.value.status == 200
    assert caught.value.__cause__ is not None


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ({}, None),
        ({"executionId": "id"}, None),
        ({"verificationStatus": None}, None),
        ({"verificationStatus": ""}, ""),
        ({"verificationStatus": "success"}, "success"),
        ({"verificationStatus": "Paused"}, "Paused"),
        ({"verificationStatus": "P" * 5000}, "P" * 1024),
    ],
)
def test_an_unknown_status_is_never_taken_for_success(reply: dict[str, Any], status: str | None) -> None:
    with pytest.raises(errors.UnknownStatusError, match="keep_waiting") as caught:
        decode(reply)
    assert caught.value.verification_status == status


@pytest.mark.parametrize("received", ["other", "", "ID", "id ", "x" * 5000])
def test_a_reply_about_another_execution_is_refused(received: str) -> None:
    with pytest.raises(errors.ExecutionIdMismatchError) as caught:
        decode({"executionId": received, "verificationStatus": "Success"})
    assert caught.value.received_id == received[:1024]


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b"plain", "plain"),
        (b"x" * 5000, "x" * 1024),
        (b"\xff" * 5000, "\N{REPLACEMENT CHARACTER}" * 341),
        ("ü".encode() * 5000, "ü" * 512),
    ],
)
def test_excerpts_stay_within_one_kibibyte(body: bytes, excerpt: str) -> None:
    with pytest.raises(errors.DecodeError) as caught:
        decode(body)
    assert caught.value.body_excerpt == excerpt
    assert len(caught.value.body_excerpt.encode()) <= 1024


@pytest.mark.parametrize("status", [201, 202, 204, 206, 100, 600, 999])
def test_statuses_the_api_does_not_document(status: int) -> None:
    with pytest.raises(errors.UnexpectedResponseError, match="does not document this status") as caught:
        decode({"verificationStatus": "Success"}, status)
    assert type(caught.value) is errors.UnexpectedResponseError
    assert caught.value.status == status


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirects_are_refused(status: int) -> None:
    with pytest.raises(errors.RedirectError, match="https://elsewhere") as caught:
        decode(b"", status, location="https://elsewhere.example/x")
    assert caught.value.location == "https://elsewhere.example/x"
    with pytest.raises(errors.RedirectError, match="it redirects") as caught:
        decode(b"", status)
    assert caught.value.location is None


# Error statuses


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
    ],
)
def test_error_statuses(status: int, error: type[errors.ApiError], body: bytes, message: str | None) -> None:
    with pytest.raises(error) as caught:
        decode(body, status, x_request_id="request-1")
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.message) == (status, message)
    assert caught.value.request_id == "request-1"


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
    assert _wire.parse_retry_after({"Retry-After": value}, NOW) == seconds


def test_retry_after_counts_from_the_clock_of_the_server() -> None:
    headers = {"Retry-After": "Tue, 14 Nov 2023 23:00:10 GMT", "Date": "Tue, 14 Nov 2023 23:00:00 GMT"}
    assert _wire.parse_retry_after(headers, NOW) == 10.0
    assert _wire.parse_retry_after({}, NOW) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40).map(lambda text: text + " GMT") | st.text(max_size=40))
def test_no_retry_after_breaks_the_parser(value: str) -> None:
    seconds = _wire.parse_retry_after({"Retry-After": value, "Date": value}, NOW)
    assert seconds is None or seconds >= 0


# Any bytes, any model


def test_without_orjson_the_module_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)
    spec = importlib.util.find_spec("truebit_async._wire")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.orjson is None
    assert module.decode_status("id", 200, {}, b'{"verificationStatus": "Running"}', now=NOW).is_running


def large(output: str, more: str = "") -> bytes:
    solution = f'{{"executionStatus": "succeed", "output": "{output}"}}'
    return f'{{"verificationStatus": "Success", "clearTextSolution": {solution}{more}}}'.encode()


MIB = 2**20


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "output",
    [
        "a",
        "a,b;[{",
        '\\"',
        pytest.param("\\\\", marks=pytest.mark.unmeasured),
        '\\\\\\"',
        "\\n",
        "x" * (2**16 - 62) + '\\"' * 50,
        "é",
        "\U0001f600",
        '\\",\\"[{',
    ],
)
@pytest.mark.parametrize("shift", range(3))
def test_a_large_output_is_one_value_whatever_is_in_it(output: str, shift: int) -> None:
    output = "s" * shift + output * (MIB // len(output) + 1)  # just large
    is_equal = decode(large(output)).output == json.loads(f'"{output}"')
    assert is_equal  # without megabytes of explanation


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("values", ["[],", "0,", '"",', '{"a":0},', '"\\\\",', "[[[[]]]],"])
def test_a_large_body_of_many_values_is_refused(values: str) -> None:
    body = large("a" * MIB, f', "more": [{values * 20_000}0]')
    with pytest.raises(errors.DecodeError, match="more than 1048576 bytes and more than 10000 values"):
        decode(body)
    assert decode(body.replace(b"a" * MIB, b"a")).output == "a"


def test_a_large_error_body_has_no_message() -> None:
    body = b'{"message": "because", "more": [' + b"0," * MIB + b"0]}"
    with pytest.raises(errors.ServerError) as caught:
        _wire.decode_status("id", 500, {}, body, now=NOW)
    assert caught.value.message is None


FUZZ_EXAMPLES = max(1000, settings().max_examples)


def http_date(moment: datetime) -> str:
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


@settings(max_examples=FUZZ_EXAMPLES)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none()
        | st.booleans()
        | st.floats()
        | st.integers()
        | st.text(max_size=5)
        | st.sampled_from(["Success", "Running", "id", "succeed"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "executionId",
                        "verificationStatus",
                        "clearTextSolution",
                        "signature",
                        "output",
                        "v",
                        "r",
                        "s",
                        "executionStatus",
                        "senderAddress",
                        "message",
                    ]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=20,
    ).map(lambda value: json.dumps(value).encode()),
    st.integers(100, 999) | st.just(200),
    st.dictionaries(
        st.sampled_from(["Retry-After", "Date", "Location", "X-Request-Id"]),
        st.text() | st.floats().map(str) | st.integers().map(str) | st.datetimes().map(http_date),
    ),
)
def test_only_documented_errors_come_out(body: bytes, status: int, headers: dict[str, str]) -> None:
    for parser in (None, orjson):
        with unittest.mock.patch.object(_wire, "orjson", parser):
            try:
                execution = _wire.decode_status("id", status, headers, body, now=NOW)
            except (errors.ApiError, errors.UnexpectedResponseError) as error:
                assert error.status == status
            else:
                assert status == 200
                assert execution.execution_id == "id"


text = st.none() | st.text()
signatures = st.builds(Signature, v=st.integers(-(2**63), 2**63 - 1), r=st.text(), s=st.text())
solutions = st.builds(
    ClearTextSolution, text, st.none() | st.sampled_from(ExecutionStatus), text, st.none() | signatures
)
executions = st.builds(
    Execution,
    execution_id=st.text(),
    verification_status=st.sampled_from(VerificationStatus),
    clear_text_solution=st.none() | solutions,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(signatures | solutions | executions)
def test_models_survive_the_round_trip(model: Signature | ClearTextSolution | Execution) -> None:
    raw = _wire.make_converter().unstructure(model)
    assert _wire.make_converter().structure(json.loads(json.dumps(raw)), type(model)) == model


def test_the_api_spelling_comes_out() -> None:
    execution = Execution(
        "id",
        VerificationStatus.SUCCESS,
        ClearTextSolution("42", ExecutionStatus.SUCCEED, "0xabc", Signature(28, "aa", "bb")),
    )
    assert _wire.make_converter().unstructure(execution) == {
        "executionId": "id",
        "verificationStatus": "Success",
        "clearTextSolution": {
            "output": "42",
            "executionStatus": "succeed",
            "senderAddress": "0xabc",
            "signature": {"v": 28, "r": "aa", "s": "bb"},
        },
    }
    assert _wire.make_converter().unstructure(Execution("id", VerificationStatus.RUNNING)) == {
        "executionId": "id",
        "verificationStatus": "Running",
    }
