"""Checks of the numbers a user passes in; every message names the argument."""

from __future__ import annotations

import math


def check_positive(name: str, value: object, *, zero_allowed: bool = False) -> None:
    """Check that an argument is a finite number above zero.

    Args:
        name: what the user calls it.
        value: what the user gave.
        zero_allowed: whether zero will do as well.

    Raises:
        TypeError: it is not an int or float.
        ValueError: it is NaN, infinite, negative, or a zero that is not allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name} must be a number, not {type(value).__name__}"
        raise TypeError(msg)
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero_allowed):
        msg = f"{name} must be {'zero or more' if zero_allowed else 'above zero'} and finite, not {value}"
        raise ValueError(msg)


def check_count(name: str, value: object) -> None:
    """Check that an argument is a whole number of at least one.

    Args:
        name: what the user calls it.
        value: what the user gave.

    Raises:
        TypeError: it is not an int.
        ValueError: it is below one.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be a whole number, not {type(value).__name__}"
        raise TypeError(msg)
    if value < 1:
        msg = f"{name} must be at least 1, not {value}"
        raise ValueError(msg)
