"""JSON as JavaScript writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truebit_async._canonical_json import canonical_json, javascript_number, parse_exactly


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # What `String(value)` gives in JavaScript.
        (0, "0"),
        (-7, "-7"),
        (2**53, "9007199254740992"),
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (100.0, "100"),
        (123.456, "123.456"),
        (0.1, "0.1"),
        (0.0002, "0.0002"),
        (0.000001, "0.000001"),
        (0.00000123, "0.00000123"),
        (0.0000001, "1e-7"),
        (5e-7, "5e-7"),
        (-1.25e-7, "-1.25e-7"),
        (1e16, "10000000000000000"),
        (1.5e16, "15000000000000000"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e21, "1.5e+21"),
        (1e22, "1e+22"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        (2.2250738585072014e-308, "2.2250738585072014e-308"),
        (0.1 + 0.2, "0.30000000000000004"),
        (4.35, "4.35"),
        (1 / 3, "0.3333333333333333"),
    ],
)
def test_numbers_are_written_as_javascript_does(value: float, text: str) -> None:
    assert javascript_number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_back_and_has_the_fewest_digits(value: float) -> None:
    text = javascript_number(value)
    assert float(text) == value
    digits = text.lstrip("-").partition("e")[0].replace(".", "").strip("0")
    assert digits == repr(value).lstrip("-").partition("e")[0].replace(".", "").strip("0")
    has_exponent = value != 0 and not 1e-6 <= abs(value) < 1e21
    assert ("e" in text) is has_exponent
    assert not text.endswith(".0")
    assert "e-0" not in text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'{"b": 1, "a": 2}', '{"a":2,"b":1}'),
        (b'{"x": {"b": 1, "a": [{"d": 1, "c": 2}]}}', '{"x":{"b":1,"a":[{"d":1,"c":2}]}}'),
        (b'{"B": 0, "a": 0, "_": 0, "aa": 0, "": 0}', '{"":0,"B":0,"_":0,"a":0,"aa":0}'),
        ('{"\uffff": 0, "\U00010000": 0}'.encode(), '{"\U00010000":0,"\uffff":0}'),  # U+10000 is D800 DC00 in UTF-16
        (b'{"a": [true, false, null, 1, 1.0, -0.0, -0, 1E2, 5e-07]}', '{"a":[true,false,null,1,1,0,0,100,5e-7]}'),
        (b'{"a": "\\u0041\\/\\u001f\\u007f\\b\\f\\n\\r\\t\\"\\\\"}', '{"a":"A/\\u001f\x7f\\b\\f\\n\\r\\t\\"\\\\"}'),
        (b'{"a": "\\uD83D\\uDE00 \\ud83d"}', '{"a":"\U0001f600 \\ud83d"}'),
        ('{"a": "ü\u2028"}'.encode(), '{"a":"ü\u2028"}'),
        (
            b'{"b": {"x": 1, "10": 2, "2": 3, "02": 4, "-1": 5}, "3": 6}',
            '{"3":6,"b":{"2":3,"10":2,"x":1,"02":4,"-1":5}}',
        ),
        (
            b'{"a": {"4294967296": 1, "4294967295": 2, "4294967294": 3, "0": 4}}',
            '{"a":{"0":4,"4294967294":3,"4294967296":1,"4294967295":2}}',
        ),
        (b' {"\\udc00": {}, "a": []} ', '{"a":[],"\\udc00":{}}'),
    ],
)
def test_the_canonical_form(raw: bytes, text: str) -> None:
    assert canonical_json(parse_exactly(raw)) == text.encode()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a": 9007199254740993}', "too large for JavaScript"),
        (b'{"a": -9007199254740993}', "too large for JavaScript"),
        (b'{"a": 1e309}', "too large for JavaScript"),
        (b'{"a": 9007199254740993.0}', "more digits than JavaScript keeps"),
        (b'{"a": 0.00050000000000000000001}', "more digits than JavaScript keeps"),
        (b'{"a": 1e-400}', "more digits than JavaScript keeps"),
        (b'{"a": 1e-9999999999999999999999}', "more digits than JavaScript keeps"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "limit"),
        (b'{"a": 1, "a": 1}', "has a key twice"),
        (b'{"a": [{"b": 1, "\\u0062": 1}]}', "has a key twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b"{", "it is not JSON"),
        (b"\xff", "it is not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested deeper"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "more than 100000"),
    ],
)
def test_what_cannot_be_written_so_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_exactly(raw)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-(2**53), 2**53)  # JavaScript writes some larger ones as integers
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=3), JSON))
def test_it_is_read_back_as_it_was(value: dict[str, Any]) -> None:
    raw = json.dumps(value).encode()
    canonical = canonical_json(parse_exactly(raw))
    assert json.loads(canonical) == value
    assert canonical == canonical_json(parse_exactly(canonical))
