"""What the experiments share: means, ratios, and the form in which figures are kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

Figures = dict[str, Any]

DIGITS = 4  # significant digits that are kept; the last ones may depend on the machine's mathematical library


def geometric_mean(values: Iterable[float]) -> float:
    """Return the mean of ratios."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def compared(ours: dict[str, float], reference: dict[str, float]) -> dict[str, float]:
    """Return the ratios of requests, and how many times lower the delay is.

    With even gaps, twice as many requests halve the delay. So the last figure compares both at equal requests.

    Args:
        ours: the summary of a strategy.
        reference: the summary of another one for the same executions.
    """
    requests, lower = ours["requests"] / reference["requests"], reference["delay"] / ours["delay"]
    return {"requests": requests, "lower": lower, "at equal requests": lower / requests}


def rounded(value: Any) -> Any:
    """Round all figures to the digits that are kept."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, bool | str | int) or value is None:
        return value
    return float(f"{float(value):.{DIGITS}g}")
