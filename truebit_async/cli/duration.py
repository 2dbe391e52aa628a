"""Durations as people write them."""

from __future__ import annotations

import math
import re

FORMS = "90 or 90s (seconds), 10m, 1h30m, 2d, 1.5h"
"""Examples of what is accepted, for help texts and messages."""

_SECONDS_PER = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_is_number = re.compile(_NUMBER).fullmatch
_match = re.compile("".join(rf"(?:{_NUMBER}{unit})?" for unit in _SECONDS_PER)).fullmatch


def parse_duration(text: str) -> float:
    """Return a duration in seconds.

    Args:
        text: a number of seconds, or numbers with units from d to s, each unit once and the largest first.

    Raises:
        ValueError: it is none of that, not above zero, or not finite; the message shows the accepted forms.
    """
    parts = _match(f"{text}s" if _is_number(text) else text)
    amounts = parts.groups(default="0") if parts else ()
    seconds = sum(float(amount) * unit for amount, unit in zip(amounts, _SECONDS_PER.values(), strict=False))
    if not 0 < seconds < math.inf:
        msg = f"{text!r} is not a duration above zero; write it like {FORMS}"
        raise ValueError(msg)
    return seconds
