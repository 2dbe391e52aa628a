"""JSON bodies: parsed within limits, with and without orjson to the same result."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any, Never

try:
    import orjson
except ModuleNotFoundError:  # it is in the extra `speed`
    orjson = None  # type: ignore[assignment]

EXCERPT_BYTES = 1024
LARGE_BODY = 2**15  # bytes; a larger body is decoded in a thread: many such bodies at once would hold the event loop
MAX_STRUCTURE = 100_000  # commas and brackets; the published replies have fewer than 20
MAX_DEPTH = 100  # of nested arrays and objects; the published replies have 3

_MAX_FOR_ORJSON = 2**20  # bytes

_long_number = re.compile(rb"[0-9]{19}")  # or digits in a string, which does no harm

_PIECE = 2**16  # bytes that are looked at in one go, so that other threads get their turn in between
_BACKSLASHES = b"\\" * _PIECE
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_DEPTH_STEP = [1 if byte in b"[{" else -1 for byte in range(256)]


def excerpt(body: bytes | bytearray) -> str:
    """Return the beginning of a body for an error: at most 1 KiB, with U+FFFD for what is not UTF-8."""
    text = body[:EXCERPT_BYTES].decode("utf-8", "replace")
    # U+FFFD is longer than the byte it stands for, so the text is cut once more.
    return text.encode()[:EXCERPT_BYTES].decode("utf-8", "ignore")


def parse_json(body: bytes | bytearray) -> Any:
    """Return the value of a JSON body.

    Args:
        body: the whole body.

    Raises:
        ValueError: it is not JSON in UTF-8, or passes a limit.
        RecursionError: the stack of the caller has no room left.
    """
    # A smaller body cannot hold MAX_STRUCTURE commas and brackets.
    if len(body) > LARGE_BODY or body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_limits(body)
    # orjson makes a float of a long integer. To look for one in a large body would hold up other threads for longer
    # than orjson saves.
    if orjson is not None and len(body) <= _MAX_FOR_ORJSON and _long_number.search(body) is None:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # it refuses some valid JSON, and explains less: the standard library decides
    text = body.decode("utf-8")
    if text.startswith("{"):
        value, end = _decoder.raw_decode(text)
        if end == len(text):  # no white space around it, so `decode` need not look for any
            return value
    return _decoder.decode(text)


def explain(error: Exception) -> str:
    """Return what is wrong with a body, from what `parse_json` raised."""
    match error:
        case RecursionError():
            return "its JSON is nested too deep"
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case json.JSONDecodeError():
            return f"it is not JSON ({error.msg} at character {error.pos})"
    return str(error)


def _check_limits(body: bytes | bytearray) -> None:
    """Refuse a body that would take many times its size in memory, much of the stack, or long in one go of the parser.

    A large output is no problem: it is one string, however many commas and brackets it has. So what is inside strings
    does not count.
    """
    commas, brackets = 0, bytearray()
    is_inside_string, start = False, 0
    while start < len(body):
        piece = body[start : start + _PIECE]
        if piece == _BACKSLASHES:  # it is all escapes; to find that out below would take longer than to decode them
            start += _PIECE
            continue
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # it ends within an escape
            piece = body[start : start + _PIECE + 1]
        start += len(piece)
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[is_inside_string::2])
        is_inside_string ^= len(parts) % 2 == 0
        brackets += outside.translate(None, _NO_BRACKETS)
        commas += outside.count(b",")
        if commas + len(brackets) > MAX_STRUCTURE:
            msg = f"its JSON has more than {MAX_STRUCTURE} commas and brackets"
            raise ValueError(msg)
    if max(itertools.accumulate(map(_DEPTH_STEP.__getitem__, brackets)), default=0) > MAX_DEPTH:
        msg = f"its JSON is nested deeper than {MAX_DEPTH} levels"
        raise ValueError(msg)


def _refuse_constant(name: str) -> Never:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
