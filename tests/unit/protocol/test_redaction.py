"""Whatever a server makes of the API key, nothing of it stays."""

from __future__ import annotations

import json
import re
import time
import unittest.mock
from collections.abc import Callable, Mapping
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from truebit_async._protocol import redaction
from truebit_async._protocol.messages import Response
from truebit_async._protocol.redaction import Redactor

KEYS = [
    "planted-key-5eC4e7",
    "dGhlIGtleQ+/x9==",
    "ab\\cd\\\\ef/gh",
    "\\starts-and-ends\\",
    "'quoted\"key'",
    "100%25-key",
    "(a.b*c)[d]$^|",
    "short",
    "\\",
    "\\\\\\\\\\\\\\\\\\\\x",
]
keys = st.sampled_from(KEYS) | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40)


def written_by(write: Callable[[str], object], key: str) -> str:
    text = str(write(f"<{key}>"))
    return text[text.index("<") + 1 : text.rindex(">")]


def forms_of(key: str) -> list[str]:
    escaped = "".join(f"\\u{ord(char):04x}" for char in key)
    return [
        key,
        written_by(json.dumps, key),
        written_by(json.dumps, key).replace("/", "\\/"),
        written_by(lambda text: json.dumps(json.dumps(text)), key),
        written_by(repr, key),
        written_by(lambda text: repr(repr(text)), key),
        written_by(str.encode, key),
        escaped,
        escaped.upper().replace("\\U", "\\u"),
        escaped.replace("\\", "\\\\"),
        "".join(json.dumps(char)[1:-1] if at % 2 else f"\\u{ord(char):04X}" for at, char in enumerate(key)),
        quote(key, safe=""),
        quote(key, safe="/"),
        re.sub("%..", lambda code: code[0].lower(), quote(key, safe="")),
    ]


def all_forms_of(key: str) -> list[str]:
    """Return the forms of the key and, if it is not short, of all but its first and all but its last character."""
    partial = [key[1:], key[:-1]] if len(key) >= 8 else []
    return [form for part in (key, *partial) for form in forms_of(part)]


@pytest.mark.parametrize("key", [KEYS[0], *(pytest.param(key, marks=pytest.mark.full) for key in KEYS[1:])])
def test_every_form_in_every_place(key: str) -> None:
    redactor = Redactor(key)
    for form in all_forms_of(key):
        assert redactor.redact(f"<{form}>") == "<***>", form
        assert redactor.is_in(f"<{form}>"), form
        for before in (0, 1, 2**14 - len(form), 2**14 - 3, 2**14, 100_000):
            for body in (b"<" * before + form.encode() + b">", bytearray(b"<" * before + form.encode() + b">")):
                redacted = redactor.redact_response(Response(200, {}, body))
                assert redacted.body == b"<" * before + b"***>", (form, before)
        redacted = redactor.redact_response(Response(302, CIMultiDict({"Location": f"/?{form}&"}), b"<>"))
        assert redacted.headers["location"] == "/?***&"
        assert (redacted.status, redacted.body) == (302, b"<>")


@given(keys, st.text('\\u0"x%', max_size=5), st.text('\\u0"x%', max_size=5), st.integers(0, 30))
@example("planted-key-5eC4e7", "\\", "", 0)
def test_no_key_is_found_afterwards(key: str, before: str, after: str, distance: int) -> None:
    redactor = Redactor(key)
    for form in all_forms_of(key):
        body = b"x" * distance + f"{before}{form}{after}{form}".encode()
        with unittest.mock.patch.object(redaction, "_PIECE", 16):
            redacted = bytes(redactor.redact_response(Response(200, {}, body)).body)
        assert form.encode() not in redacted
        assert form not in redactor.redact(f"{before}{form}{after}{form}")


@given(st.sampled_from(KEYS), st.binary(max_size=100) | st.text('\\u0041"ab%', max_size=200).map(str.encode))
def test_a_response_without_it_is_the_same_object(key: str, body: bytes) -> None:
    redactor = Redactor(key)
    assume(not redactor.is_in(body.decode("latin-1")))
    multidict = CIMultiDict({"A": "b"})
    cases: list[Mapping[str, str]] = [multidict, CIMultiDictProxy(multidict), {}]
    for headers in cases:
        for response in (Response(200, headers, body), Response(200, headers, bytearray(body))):
            assert redactor.redact_response(response) is response


def test_the_case_of_header_names_is_ignored_still() -> None:
    headers = CIMultiDict({"X-Request-Id": "the planted-key", "Retry-After": "7"})
    redacted = Redactor("planted-key").redact_response(Response(429, headers, b""))
    assert redacted.headers["retry-after"] == "7"
    assert redacted.headers["x-request-id"] == "the ***"


def test_a_part_of_a_short_key_stays() -> None:
    assert Redactor("short").redact("hort shor") == "hort shor"
    assert Redactor("1234567").redact("123456 234567 1234567") == "123456 234567 ***"
    assert Redactor("12345678").redact("1234567 2345678 12345678 234567") == "*** *** *** ***"


@pytest.mark.full
@pytest.mark.no_cover
@pytest.mark.parametrize("key", ["planted-key-5eC4e7", "\\" * 40 + "xyz", "(" * 40])
@pytest.mark.parametrize("text", ["\\", "a", '\\"', "\\u00e9", "\\u0070", "\\n", "%41", "p", "("])
def test_a_search_is_quick(key: str, text: str) -> None:
    response = Response(200, {}, text.encode() * (2**20 // len(text)))
    started = time.thread_time()
    Redactor(key).redact_response(response)
    Redactor(key).redact(text * 1000)
    assert time.thread_time() - started < 1
