"""Which values can be execution IDs, and how an ID becomes a segment of a path."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

from truebit_async.errors import InvalidExecutionIdError

MAX_EXECUTION_ID_LENGTH = 512  # ours: the API names no limit, and published IDs have 36 characters

_is_unreserved = re.compile(r"[A-Za-z0-9_.~-]+").fullmatch


def check_execution_id(execution_id: object, kind: str | None = None) -> str:
    """Return the ID if it can be one.

    Args:
        execution_id: what the user gave.
        kind: the kind of task, for the error.

    Raises:
        InvalidExecutionIdError: it is not a str, empty, ``.`` or ``..``, has control characters or lone surrogates, or
            more than 512 characters.
    """
    if not isinstance(execution_id, str):
        reason = f"it is not a str but {type(execution_id).__name__}"
        raise InvalidExecutionIdError(_text_of(execution_id)[:MAX_EXECUTION_ID_LENGTH], reason, kind=kind)
    if not execution_id:
        reason = "it is empty"
    elif execution_id in {".", ".."}:
        reason = "it would change the path of the request"
    elif len(execution_id) > MAX_EXECUTION_ID_LENGTH:
        reason = f"it has {len(execution_id)} characters, more than {MAX_EXECUTION_ID_LENGTH}"
    elif not execution_id.isprintable() and any(unicodedata.category(char) in {"Cc", "Cs"} for char in execution_id):
        reason = "it has control characters or lone surrogates"
    else:
        return execution_id
    raise InvalidExecutionIdError(execution_id, reason, kind=kind)


def path_segment(execution_id: str) -> str:
    """Return a checked ID as exactly one percent-encoded path segment."""
    # Nearly all IDs are UUIDs, which need no encoding.
    return execution_id if _is_unreserved(execution_id) else quote(execution_id, safe="")


def _text_of(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # raised by the value
        return object.__repr__(value)
