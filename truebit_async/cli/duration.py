"""Parse durations such as ``1h30m``."""

from __future__ import annotations

import math
import re

EXAMPLES = "90 or 90s (seconds), 10m, 1h30m, 2d, 1.5h"
"""Examples of accepted durations, for help texts and messages."""

SHORT_EXAMPLES = "90s, 10m, 1h30m, 2d, 1.5h"
"""The same for messages that show them in brackets."""

_SECONDS_PER_UNIT = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_match_number = re.compile(_NUMBER).fullmatch
_match_duration = re.compile("".join(rf"(?:{_NUMBER}{unit})?" for unit in _SECONDS_PER_UNIT)).fullmatch


def parse_duration(text: str) -> float:
    """Return a duration in seconds.

    Args:
        text: a number of seconds, or numbers with the units d, h, m and s. Each unit may occur once, the largest first.

    Raises:
        ValueError: the text is not a duration, or the duration is zero or infinite. The message shows examples.
    """
    match = _match_duration(f"{text}s" if _match_number(text) else text)
    seconds = 0.0
    if match is not None:
        amounts = match.groups(default="0")
        units = _SECONDS_PER_UNIT.values()
        seconds = sum(float(amount) * unit for amount, unit in zip(amounts, units, strict=True))
    if not 0 < seconds < math.inf:
        msg = f"{text!r} is not a duration above zero; write it like {EXAMPLES}"
        raise ValueError(msg)
    return seconds


def parse_duration_range(text: str) -> tuple[float, float]:
    """Return the shortest and the longest of a range of durations, in seconds.

    Args:
        text: a duration, or two with dots between them, such as ``5..35s``. A unit after the second one counts for
            the first one too if that has none.

    Raises:
        ValueError: as for `parse_duration`, or the first one is longer than the second one.
    """
    first, dots, second = text.partition("..")
    if dots and _match_number(first) and second[-1:] in _SECONDS_PER_UNIT:
        first += second[-1]
    try:
        shortest, longest = parse_duration(first), parse_duration(second if dots else first)
    except ValueError as error:
        msg = f"{error}, or as a range like 5..35s"
        raise ValueError(msg) from None
    if shortest > longest:
        msg = f"{text!r} ends before it begins; write the shorter duration first"
        raise ValueError(msg)
    return shortest, longest
