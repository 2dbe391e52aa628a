"""Any body, with and without orjson: what is parsed, what is refused, and what it costs."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import unittest.mock
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.protocol.reading import read
from truebit_async import errors
from truebit_async._protocol import body as body_module
from truebit_async._protocol.body import LARGE_BODY, MAX_STRUCTURE, parse_json

MIB = 2**20


def large(output: str, more: str = "") -> bytes:
    solution = f'{{"executionStatus": "succeed", "output": "{output}"}}'
    return f'{{"executionId":"id","verificationStatus": "Success", "clearTextSolution": {solution}{more}}}'.encode()


def test_without_orjson_the_module_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)
    spec = importlib.util.find_spec("truebit_async._protocol.body")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.orjson is None
    assert module.parse_json(b'{"verificationStatus": "Running"}') == {"verificationStatus": "Running"}


# Limits


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "output",
    [
        "a",
        "a,b;[{",
        '\\"',
        "\\\\",
        '\\\\\\"',
        "\\n",
        "x" * (2**16 - 82) + '\\"' * 50,
        "\\\\" * 2**15 + '\\"[',
        "é",
        "\U0001f600",
        '\\",\\"[{',
    ],
    ids=range(11),
)
@pytest.mark.parametrize("shift", range(3))
def test_a_large_output_is_one_value_whatever_is_in_it(output: str, shift: int) -> None:
    output = "s" * shift + output * (2 * LARGE_BODY // len(output) + 1)
    is_equal = read(large(output)).output == json.loads(f'"{output}"')
    assert is_equal  # without megabytes of explanation


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("values", ["[],", "0,", '"",', '{"a":0},', '"\\\\",', "[[[[]]]],"])
@pytest.mark.parametrize("size", [1, MIB])
def test_a_body_of_many_values_is_refused(values: str, size: int) -> None:
    body = large("a" * size, f', "more": [{values * 110_000}0]')
    with pytest.raises(errors.DecodeError, match="more than 100000 commas and brackets"):
        read(body)


def test_many_values_are_no_problem_if_they_are_few_enough() -> None:
    assert read(large("a" * MIB, f', "more": [{"0," * 90_000}0]')).output == "a" * MIB


def nested(depth: int, inner: str = "1") -> bytes:
    kinds = ("[", "]"), ('{"a":', "}")
    opening = "".join(kinds[level % 2][0] for level in range(depth))
    closing = "".join(kinds[level % 2][1] for level in reversed(range(depth)))
    return f"{opening}{inner}{closing}".encode()


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("depth", [1, 2, 99, 100, 101, 990, 1000, 1010, 1023, 1024, 1100, 100_000])
def test_the_depth_has_a_limit(depth: int) -> None:
    if depth > 100:
        with pytest.raises(ValueError, match=r"nested deeper than 100 levels|more than 100000"):
            parse_json(nested(depth))
    else:
        assert json.dumps(parse_json(nested(depth)), separators=(",", ":")).encode() == nested(depth)


@pytest.mark.usefixtures("parser")
def test_brackets_in_strings_are_not_nested() -> None:
    text = "[" * 200 + '\\"{' * 200
    assert parse_json(f'["{text}"]'.encode()) == ["[" * 200 + '"{' * 200]
    assert parse_json(nested(100, '"[[[["')) is not None
    with pytest.raises(ValueError, match="nested deeper"):
        parse_json(f'["\\\\", {nested(100).decode()}]'.encode())


# The same of both parsers as of the standard library


def both(body: bytes) -> list[Any]:
    results = []
    for parser in (None, orjson):
        with unittest.mock.patch.object(body_module, "orjson", parser):
            results.append(parse_json(body))
    return results


escapes = st.sampled_from(
    [
        r"\"",
        r"\\",
        r"\/",
        r"\b",
        r"\f",
        r"\n",
        r"\r",
        r"\t",
        r"\u0041",
        r"\u00e9",
        r"\u005c",
        r"\u0022",
        r"\uD83D\uDE00",
        r"\ud83d",
        r"\udE00",
    ]
)
characters = st.characters(exclude_characters='"\\', exclude_categories=["Cs", "Cc"])
strings = st.lists(escapes | characters, max_size=20).map("".join)


@given(st.lists(st.tuples(strings, st.integers(1, 4)), max_size=6), st.integers(1, 9))
def test_strings_of_any_escapes(parts: list[tuple[str, int]], piece: int) -> None:
    text = "".join(part * count for part, count in parts)
    body = f'{{"a":"{text}","{text}":[]}}'.encode()
    with (
        unittest.mock.patch.object(body_module, "LARGE_BODY", 0),
        unittest.mock.patch.object(body_module, "_PIECE", piece * 2),
        unittest.mock.patch.object(body_module, "_BACKSLASHES", b"\\" * piece * 2),
    ):
        assert both(body) == [json.loads(body)] * 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text('a,[]{}\\"\n', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a,[]{}\\"', max_size=4), inner, max_size=4),
    max_leaves=30,
)


def depth_of(value: object) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def structure_of(value: object) -> int:
    """Return how many commas and brackets a value has in JSON."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 2 + max(0, len(inner) - 1) + sum(map(structure_of, inner))


@settings(max_examples=300)
@given(json_values, st.integers(0, 5), st.integers(0, 30), st.integers(1, 9))
def test_the_limits_are_exact(value: Any, max_depth: int, max_structure: int, piece: int) -> None:
    body = json.dumps(value).encode()
    with (
        unittest.mock.patch.object(body_module, "LARGE_BODY", -1),
        unittest.mock.patch.object(body_module, "MAX_DEPTH", max_depth),
        unittest.mock.patch.object(body_module, "MAX_STRUCTURE", max_structure),
        unittest.mock.patch.object(body_module, "_PIECE", piece * 2),
        unittest.mock.patch.object(body_module, "_BACKSLASHES", b"\\" * piece * 2),
    ):
        if depth_of(value) > max_depth or structure_of(value) > max_structure:
            with pytest.raises(ValueError, match=r"nested deeper|more than"):
                parse_json(body)
        else:
            assert both(body) == [value] * 2


# Costs


def seconds(body: bytes) -> float:
    """Return the least CPU time that it takes to parse a body: a busy machine is no failure."""
    times = []
    for _ in range(5):
        started = time.thread_time()
        parse_json(body)
        times.append(time.thread_time() - started)
    return min(times)


@pytest.mark.full
@pytest.mark.no_cover
@pytest.mark.usefixtures("parser")
def test_eight_megabytes_of_backslashes_take_no_longer_than_letters() -> None:
    letters, backslashes = (b'{"a":"' + char * 8 * MIB + b'"}' for char in (b"a", b"\\"))
    assert seconds(backslashes) < 2.5 * seconds(letters)


@pytest.mark.full
@pytest.mark.no_cover
@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "text", ['\\"', "\\n", "\\u00e9", "\\ud83d\\ude00", '\\\\\\"', "é", "\\\\" * 2**16 + "a"], ids=range(7)
)
def test_a_large_body_of_any_escape_is_quick(text: str) -> None:
    body = f'{{"a":"{text * (2 * MIB // len(text.encode()))}"}}'.encode()
    assert seconds(body) < 0.15  # a tenth of it where nothing else runs


@pytest.mark.no_cover
@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("text", ["[],", "{},", '{"a":1},', "1e5,", '"",', "[" * 90 + "]" * 90 + ","])
def test_what_is_decoded_in_the_loop_is_quick(text: str) -> None:
    count = min(LARGE_BODY // len(text) - 1, MAX_STRUCTURE // sum(map(text.count, ",[]{}")) - 3)
    body = f"[{text * count}1]".encode()
    assert len(body) <= LARGE_BODY
    assert seconds(body) < 0.05


def test_pieces_of_nothing_but_backslashes_are_passed_over() -> None:
    text = "\\" * 3 * 2**16
    assert parse_json(json.dumps({"output": text}).encode()) == {"output": text}
