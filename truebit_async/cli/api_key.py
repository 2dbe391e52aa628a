"""The API key of the command. It is read from the environment or a file, because other users can see arguments."""

from __future__ import annotations

import os
from pathlib import Path

_keys_from_files: set[str] = set()


def known_api_keys() -> set[str]:
    """Return the keys that no message may show: the key in the environment, and the keys that were read from files."""
    return _keys_from_files | {os.environ.get("TRUEBIT_API_KEY", "")} - {""}


def read_api_key(path: str) -> str:
    """Return the key in a file, without a line break at its end.

    Args:
        path: the file.

    Raises:
        ValueError: the file cannot be read, or does not contain a key. The message does not quote the content.
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
        msg = f"{path} must contain only the key, on one line, in printable ASCII without spaces"
        raise ValueError(msg)
    _keys_from_files.add(key.decode("ascii"))
    return key.decode("ascii")
