"""What can be an execution ID, and what it becomes in a path."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from truebit_async import errors
from truebit_async._protocol.ids import check_execution_id, path_segment


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
    assert path_segment(check_execution_id(execution_id)) == segment


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
        check_execution_id(execution_id, "function")
    assert caught.value.execution_id == (execution_id if isinstance(execution_id, str) else repr(execution_id))
    assert caught.value.kind == "function"
    assert len(str(caught.value)) < 300


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=600))
def test_any_text_is_refused_or_comes_back_exactly(text: str) -> None:
    try:
        segment = path_segment(check_execution_id(text))
    except errors.InvalidExecutionIdError:
        return
    assert "/" not in segment
    assert segment.isascii()
    assert segment not in {"", ".", ".."}
    assert unquote(segment) == text


def test_a_value_whose_repr_raises_is_refused_like_others() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    with pytest.raises(errors.InvalidExecutionIdError, match="it is not a str but Broken"):
        check_execution_id(Broken())
