"""The replies about function tasks, one by one."""

from __future__ import annotations

import json
import unittest.mock
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.protocol.reading import NOW, read
from truebit_async import errors
from truebit_async._protocol import body as body_module
from truebit_async._protocol import reply as reply_module
from truebit_async._protocol.functions import FUNCTIONS, read_status
from truebit_async._protocol.messages import Request, Response
from truebit_async._protocol.reply import StateReply, StatusField
from truebit_async.models import ClearTextSolution, Execution, ExecutionStatus, Signature, VerificationStatus

PAYLOADS = Path(__file__).parent / "payloads"


def test_the_request() -> None:
    path = "/task/function/execution-status/a%2Fb"
    assert FUNCTIONS.status_request("a/b") == Request("GET", path, kind="function", execution_id="a/b")


@pytest.mark.parametrize("status", list(VerificationStatus))
def test_all_but_running_are_final(status: VerificationStatus) -> None:
    assert FUNCTIONS.is_final(Execution("id", status)) is (status is not VerificationStatus.RUNNING)


# Good replies


def test_the_current_published_example() -> None:
    body = (PAYLOADS / "status_function_current.json").read_bytes()
    execution = read_status("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee", Response(200, {}, body), NOW)
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
    execution = read_status("abf5e6d2-f72d-4324-a046-bc6e9f27b303", Response(200, {}, body), NOW)
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
        read_status("eced5793-8634-4489-a589-2f1978367496", Response(200, {}, body), NOW)


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
    execution = read({"verificationStatus": "Success", **reply})
    assert execution == Execution("id", VerificationStatus.SUCCESS, expected)


@pytest.mark.parametrize("status", list(VerificationStatus))
def test_every_documented_status(status: VerificationStatus) -> None:
    assert read({"verificationStatus": status.value}).verification_status is status


def test_the_given_id_is_kept_and_not_its_copy() -> None:
    execution_id = str(uuid.uuid4())
    body = json.dumps({"executionId": execution_id, "verificationStatus": "Running"}).encode()
    execution = read_status(execution_id, Response(200, {}, body), 0)
    assert execution.execution_id is execution_id


# Replies that are not what the API documents


def with_v(v: int) -> bytes:
    signature = b'{"v": %d, "r": "", "s": ""}' % v
    return b'{"executionId": "id", "verificationStatus": "Success", "clearTextSolution": {"signature": %b}}' % signature


DECODE_ERRORS: list[tuple[bytes | dict[str, Any], str]] = [
    (b"", "it is not JSON"),
    (b"<html>busy</html>", "it is not JSON"),
    (b'{"verificationStatus": "Success"', "it is not JSON"),
    (b'{"verificationStatus": "Success"} x', "it is not JSON"),
    (b"[]", "expected a JSON object, got array"),
    (b"null", "expected a JSON object, got null"),
    (b'"Success"', "expected a JSON object, got string"),
    (b"%d" % 2**70, "expected a JSON object, got number"),
    (b'{"verificationStatus": "Success", "n": NaN}', "NaN is not JSON"),
    (with_v(2**63), "expected int"),
    (with_v(10**400), "expected int"),
    (b'{"verificationStatus": "Running", "n": ' + b"1" * 5000 + b"}", "5000 digits"),
    (b"\xff\xfe", "it is not UTF-8"),
    (b'{"verificationStatus": "Success\xff"}', "it is not UTF-8"),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested deeper than 100 levels"),
    (b"[" * 10_000 + b"]" * 10_000, "nested deeper than 100 levels"),
    ({"verificationStatus": 1}, "verificationStatus is of type number, not string"),
    ({"verificationStatus": 2**70}, "verificationStatus is of type number, not string"),
    ({"verificationStatus": True}, "verificationStatus is of type boolean, not string"),
    ({"verificationStatus": {}}, "verificationStatus is of type object, not string"),
    ({"verificationStatus": "Success", "executionId": 5}, "executionId is of type number, not string"),
    ({"verificationStatus": "Success", "clearTextSolution": "42"}, "clear_text_solution"),
    ({"verificationStatus": "Success", "clearTextSolution": []}, "clear_text_solution"),
    ({"verificationStatus": "Success", "clearTextSolution": {"output": {}}}, "output"),
    ({"verificationStatus": "Success", "clearTextSolution": {"output": 42}}, "output"),
    ({"verificationStatus": "Success", "clearTextSolution": {"executionStatus": "maybe"}}, "execution_status"),
    ({"verificationStatus": "Success", "clearTextSolution": {"executionStatus": []}}, "execution_status"),
    ({"verificationStatus": "Success", "clearTextSolution": {"senderAddress": 1}}, "sender_address"),
    ({"verificationStatus": "Success", "clearTextSolution": {"signature": "0x"}}, "signature"),
    ({"verificationStatus": "Success", "clearTextSolution": {"signature": {"v": 28}}}, "required field missing"),
    (
        {"verificationStatus": "Success", "clearTextSolution": {"signature": {"v": "28", "r": "", "s": ""}}},
        r"expected int @ execution.clear_text_solution.signature.v",
    ),
    ({"verificationStatus": "Success", "clearTextSolution": {}, "signature": {"v": True, "r": "", "s": ""}}, "v"),
    ({"verificationStatus": "Success", "clearTextSolution": {}, "signature": 5}, "signature"),
]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("body", "detail"), DECODE_ERRORS)
def test_decode_errors(body: bytes | dict[str, Any], detail: str) -> None:
    with pytest.raises(errors.DecodeError, match=detail) as caught:
        read(body)
    assert (caught.value.execution_id, caught.value.kind, caught.value.status) == ("id", "function", 200)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("body", "detail"), DECODE_ERRORS)
def test_a_decode_error_keeps_no_other_error_which_could_hold_the_body(body: Any, detail: str) -> None:
    with pytest.raises(errors.DecodeError) as caught:
        read(body)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_detail_is_one_short_line() -> None:
    running = StatusField("status", {"Running": 0}, running=0)
    reply = StateReply("function", "id", Response(200, {}, b'{"status": "Running", "n": 5}'), NOW, running)
    with pytest.raises(errors.DecodeError) as caught:
        reply.part("n", ClearTextSolution, "a\nb\u2028" * 500)
    assert r"a\nb\u2028" in caught.value.detail
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) == 1024


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ({}, None),
        ({"executionId": None}, None),
        ({"verificationStatus": None}, None),
        ({"verificationStatus": ""}, ""),
        ({"verificationStatus": "success"}, "success"),
        ({"verificationStatus": "Paused"}, "Paused"),
        ({"verificationStatus": "P" * 5000}, "P" * 1024),
        ({"verificationStatus": "a\nb\x1b"}, "a\nb\x1b"),
    ],
)
def test_an_unknown_status_is_never_taken_for_success(reply: dict[str, Any], status: str | None) -> None:
    with pytest.raises(errors.UnknownStatusError, match="keep_waiting") as caught:
        read(reply)
    assert caught.value.received_status == status
    assert caught.value.kind == "function"
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("status", list(VerificationStatus))
@pytest.mark.parametrize("received", ["other", "", "ID", "id ", "x" * 5000])
def test_a_reply_about_another_execution_is_refused(received: str, status: VerificationStatus) -> None:
    with pytest.raises(errors.ExecutionIdMismatchError) as caught:
        read({"executionId": received, "verificationStatus": status.value})
    assert caught.value.received_id == received[:1024]
    assert caught.value.kind == "function"


@pytest.mark.parametrize(
    "body", [b'{"verificationStatus": "%s"}', b'{"executionId": null, "verificationStatus": "%s"}']
)
def test_a_final_state_of_an_execution_without_a_name_is_refused(body: bytes) -> None:
    assert read(body.replace(b"%s", b"Running")) == Execution("id", VerificationStatus.RUNNING)
    for status in (VerificationStatus.SUCCESS, VerificationStatus.ERROR, VerificationStatus.INDETERMINATE):
        with pytest.raises(errors.ExecutionIdMismatchError, match="names no execution") as caught:
            read(body.replace(b"%s", status.value.encode()))
        assert caught.value.received_id is None


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
        read(body)
    assert caught.value.body_excerpt == excerpt
    assert len(caught.value.body_excerpt.encode()) <= 1024


@pytest.mark.parametrize(
    ("failure", "detail"), [(RecursionError(), "nested too deep"), (ValueError("it is odd"), "it is odd")]
)
def test_a_failing_parser_is_a_decode_error(failure: Exception, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_module, "parse_json", unittest.mock.Mock(side_effect=failure))
    with pytest.raises(errors.DecodeError, match=detail) as caught:
        read({})
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_a_part_that_only_the_quick_converter_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_module, "_structure_hook", lambda _: unittest.mock.Mock(side_effect=ValueError))
    with pytest.raises(errors.DecodeError, match=r"execution.clear_text_solution is not of the documented shape"):
        read({"verificationStatus": "Success", "clearTextSolution": {}})


# Any bytes


FUZZ_EXAMPLES = max(300, settings().max_examples)
FIELDS = [
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
values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["Success", "Running", "id", "succeed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=20,
)


def http_date(moment: datetime) -> str:
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


def outcome(body: bytes, status: int, headers: dict[str, str]) -> object:
    """Return what a response is read as; of an error, all that it says."""
    try:
        return read(body, status, **headers)
    except (errors.ApiError, errors.UnexpectedResponseError) as error:
        assert error.status == status
        assert error.__cause__ is None
        assert error.__context__ is None
        assert str(error).isprintable()
        return type(error), attrs.asdict(error)


@settings(max_examples=FUZZ_EXAMPLES)
@given(
    st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()),
    st.integers(100, 999) | st.just(200),
    st.dictionaries(
        st.sampled_from(["Retry_After", "Date", "Location", "X_Request_Id"]),
        st.text() | st.floats().map(str) | st.integers().map(str) | st.datetimes().map(http_date),
    ),
)
def test_only_documented_errors_come_out_and_the_same_ones_of_both_parsers(
    body: bytes, status: int, headers: dict[str, str]
) -> None:
    with unittest.mock.patch.object(body_module, "orjson", None):
        expected = outcome(body, status, headers)
    with unittest.mock.patch.object(body_module, "orjson", orjson):
        assert outcome(body, status, headers) == expected
