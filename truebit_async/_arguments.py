"""Checks of what a user passes in. Every message names the argument."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

from yarl import URL


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
    if not _is_finite(value) or value < 0 or (value == 0 and not zero_allowed):
        msg = f"{name} must be {'zero or more' if zero_allowed else 'above zero'} and finite, not {_shown(value)}"
        raise ValueError(msg)


def age_since(name: str, value: object) -> float:
    """Return how many seconds ago a time was; 0 for a time that is still to come.

    Args:
        name: what the user calls it.
        value: what the user gave; None is now.

    Raises:
        TypeError: it is not a datetime.
        ValueError: it has no time zone.
    """
    if value is None:
        return 0.0
    if not isinstance(value, datetime):
        msg = f"{name} must be a datetime, such as datetime.fromtimestamp(seconds, UTC), not {type(value).__name__}"
        raise TypeError(msg)
    if value.tzinfo is None or value.utcoffset() is None:
        msg = f"{name} must have a time zone, such as datetime.now(UTC)"
        raise ValueError(msg)
    return max(0.0, (datetime.now(UTC) - value).total_seconds())


def check_count(name: str, value: object, *, maximum: float = math.inf) -> None:
    """Check that an argument is a whole number of at least one.

    Args:
        name: what the user calls it.
        value: what the user gave.
        maximum: the largest number that will do.

    Raises:
        TypeError: it is not an int.
        ValueError: it is below one, or above the maximum.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be a whole number, not {type(value).__name__}"
        raise TypeError(msg)
    if value < 1:
        msg = f"{name} must be at least 1, not {_shown(value)}"
        raise ValueError(msg)
    if value > maximum:
        msg = f"{name} must be at most {maximum}, not {_shown(value)}"
        raise ValueError(msg)


def check_text(name: str, value: object, *, empty_allowed: bool = False) -> None:
    """Check that an argument is a str. The text is not quoted: it may be a secret.

    Args:
        name: what the user calls it.
        value: what the user gave.
        empty_allowed: whether an empty one will do as well.

    Raises:
        TypeError: it is not a str.
        ValueError: it is empty, or has lone surrogates, which UTF-8 cannot write.
    """
    if not isinstance(value, str):
        msg = f"{name} must be a str, not {type(value).__name__}"
        raise TypeError(msg)
    if not value and not empty_allowed:
        msg = f"{name} must not be empty"
        raise ValueError(msg)
    if not _fits_utf8(value):
        msg = f"{name} has lone surrogates, which UTF-8 cannot write"
        raise ValueError(msg)


def _fits_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # it holds the whole value, and must not become the context of another error
        return False
    return True


def json_copy(name: str, value: object) -> object:
    """Return a copy of a JSON value, which later changes of the original do not reach.

    Args:
        name: what the user calls it.
        value: what the user gave. It is not quoted: it may hold secrets.

    Raises:
        TypeError: it holds something that JSON cannot write, or an object with a key that is not a str.
        ValueError: it holds NaN, an infinity or itself, or is nested too deep.
    """
    _check_keys(name, value)
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except TypeError as error:
        msg = f"{name} must be JSON: {error}"
        raise TypeError(msg) from None
    except (ValueError, RecursionError):
        msg = f"{name} must be JSON, without NaN and infinity, and not nested too deep"
        raise ValueError(msg) from None


def check_base_url(base_url: str) -> URL:
    """Return a base URL as an object.

    Args:
        base_url: what the user gave.

    Raises:
        TypeError: it is not a str.
        ValueError: it is not an address that requests and an API key can be sent to.
    """
    if not isinstance(base_url, str):
        msg = f"base_url must be a str, not {type(base_url).__name__}"
        raise TypeError(msg)
    try:
        url = URL(base_url)
        host = url.host  # decoded, which fails for some hosts
    except ValueError:  # neither the URL nor this error is quoted: what a URL must not hold must not reach a log
        msg = "base_url is not a URL"
        raise ValueError(msg) from None
    if url.user is not None or url.password is not None:
        # The URL is not quoted here: what it must not hold must not reach a log either.
        msg = "base_url must not have credentials; pass the API key on its own"
        raise ValueError(msg)
    if url.scheme not in {"http", "https"} or not host:
        msg = f"base_url must be an http:// or https:// address with a host, not {base_url!r}"
        raise ValueError(msg)
    try:
        (url.raw_host or "").encode("idna")
    except UnicodeError as error:  # it would be raised by the look-up of the address, at the first request
        msg = f"base_url has a host that cannot be looked up: {host!r} ({error})"
        raise ValueError(msg) from None
    if url.query_string or url.fragment:
        msg = "base_url must not have a query or a fragment"
        raise ValueError(msg)
    return url


def check_api_key(api_key: str) -> str:
    """Return an API key that can be sent in a header.

    Args:
        api_key: what the user gave.

    Raises:
        TypeError: it is not a str.
        ValueError: it is empty, or has characters other than printable ASCII.
    """
    if not isinstance(api_key, str):
        msg = f"api_key must be a str, not {type(api_key).__name__}"
        raise TypeError(msg)
    if not api_key or not all("!" <= char <= "~" for char in api_key):
        msg = "api_key must be printable ASCII without spaces; was it read with a line break at its end?"
        raise ValueError(msg)
    return api_key


def _check_keys(name: str, value: object) -> None:
    """Refuse keys that `json.dumps` would make texts of."""
    pending, seen = [value], set[int]()
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            if any(not isinstance(key, str) for key in part):
                msg = f"{name} must be JSON: the keys of an object must be str"
                raise TypeError(msg)
            pending += part.values()
        elif isinstance(part, list | tuple):
            pending += part


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def _shown(value: float) -> str:
    try:
        return str(value)
    except ValueError:  # an int with too many digits for Python to print
        return "a number with thousands of digits"
