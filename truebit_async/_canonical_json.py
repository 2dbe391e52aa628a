"""JSON as JavaScript writes it, which is the form in which invoices are signed.

The form was inferred from the published invoices: keys of the object are sorted, those of the objects inside are not.
In every object, JavaScript puts the keys first that are whole numbers, from the smallest to the largest.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from truebit_async._protocol.body import explain, parse_json

_MAX_EXACT = 2**53  # JavaScript has no other numbers than floats
_MAX_INDEX = 2**32 - 2  # of an array; JavaScript keeps larger whole numbers among the other keys

_TOO_LARGE = "a number in it is too large for JavaScript"

_is_whole = re.compile("0|[1-9][0-9]{0,9}").fullmatch
_lone_surrogate = re.compile("[\ud800-\udfff]")


def parse_exactly(raw: bytes) -> dict[str, Any]:
    """Return a JSON object with nothing lost.

    Args:
        raw: the whole body.

    Raises:
        ValueError: it is not a JSON object in UTF-8, passes a limit of `parse_json`, has a key twice, or a number that
            JavaScript would change.
    """
    try:
        parse_json(raw)  # this keeps the limits, and refuses NaN
        value = _decoder.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        problem = explain(error)
    else:
        if isinstance(value, dict):
            return value
        problem = "it is not a JSON object"
    raise ValueError(problem)


def canonical_json(fields: dict[str, Any]) -> bytes:
    """Return a JSON object in the form in which it is signed.

    Args:
        fields: what `parse_exactly` returned, or a part of it.
    """
    # JavaScript sorts by the units of UTF-16.
    ordered = {key: fields[key] for key in sorted(fields, key=lambda key: key.encode("utf-16-be", "surrogatepass"))}
    return _write(ordered).encode()


def javascript_number(value: float) -> str:
    """Return a number as JavaScript writes it.

    Args:
        value: a number. An int is within ±2^53.
    """
    if isinstance(value, int):
        return str(value)
    # repr() finds the same digits: the fewest that are read as this number.
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if not digits:
        return "0"  # also for -0.0
    return ("-" if value < 0 else "") + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    """Return digits with their decimal point, as section Number::toString of ECMAScript says.

    Args:
        digits: the digits, without zeros at either end.
        point: how many of them are in front of the decimal point; negative if zeros follow it.
    """
    if len(digits) <= point <= 21:  # noqa: PLR2004
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:  # noqa: PLR2004
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:  # noqa: PLR2004
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def _write(value: Any) -> str:  # noqa: ANN401
    match value:
        case dict():
            return "{" + ",".join(f"{_write_text(key)}:{_write(value[key])}" for key in _in_order(value)) + "}"
        case list():
            return "[" + ",".join(map(_write, value)) + "]"
        case str():
            return _write_text(value)
        case True | False | None:
            return {True: "true", False: "false", None: "null"}[value]
    return javascript_number(value)


def _in_order(keys: Iterable[str]) -> list[str]:
    """Return keys in the order in which JavaScript keeps them: array indices, then the others as they came."""
    indices: list[str] = []
    others: list[str] = []
    for key in keys:
        (indices if _is_whole(key) and int(key) <= _MAX_INDEX else others).append(key)
    return [*sorted(indices, key=int), *others]


def _write_text(text: str) -> str:
    written = json.dumps(text, ensure_ascii=False)
    return _lone_surrogate.sub(lambda match: f"\\u{ord(match[0]):04x}", written)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        msg = "an object in it has a key twice"
        raise ValueError(msg)
    return fields


def _parse_int(digits: str) -> int:
    value = int(digits)
    if abs(value) > _MAX_EXACT:
        raise ValueError(_TOO_LARGE)
    return value


def _parse_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(_TOO_LARGE)
    try:
        is_kept = Decimal(digits) == Decimal(repr(value))
    except InvalidOperation:  # the exponent has more than 18 digits
        is_kept = False
    if not is_kept:
        msg = "a number in it has more digits than JavaScript keeps"
        raise ValueError(msg)
    return value


_decoder = json.JSONDecoder(
    object_pairs_hook=_without_duplicates,
    parse_int=_parse_int,
    parse_float=_parse_float,
)
