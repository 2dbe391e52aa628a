"""The API key on the command line: in the environment or in a file, never in an argument, which others can see."""

from __future__ import annotations

import os
from pathlib import Path

_read: set[str] = set()


def known_api_keys() -> set[str]:
    """Return the keys that no message may show: from the environment, and those that were read from files."""
    return _read | {os.environ.get("TRUEBIT_API_KEY", "")} - {""}


def read_api_key(path: str) -> str:
    """Return the key that a file holds, without the line break at its end.

    Args:
        path: the file.

    Raises:
        ValueError: the file cannot be read, or holds no key; the message tells nothing of what it holds.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise ValueError(msg) from None
    key = content.removesuffix(b"\n").removesuffix(b"\r")
    if not key:
        msg = f"{path} is empty; write the key into it"
        raise ValueError(msg)
    if not all(ord("!") <= byte <= ord("~") for byte in key):
        msg = f"{path} must hold the key on one line and nothing else: printable ASCII without spaces"
        raise ValueError(msg)
    _read.add(key.decode("ascii"))
    return key.decode("ascii")
