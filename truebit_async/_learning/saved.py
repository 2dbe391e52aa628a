"""What was learned, as a file of JSON."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from truebit_async._learning.ages import COUNT, FIRST, RATIO

VERSION = 1
MAX_GROUPS = 1000
MAX_KEY_LENGTH = 200  # characters
_MAX_FILE_SIZE = 32 * 2**20  # bytes; a thousand groups take a fourth of this

_BINS = {"first": FIRST, "ratio": RATIO, "count": COUNT}
_DIGITS = 6
_MAX_WEIGHT = 1e9  # far more than any that is saved

GroupName = tuple[str, str]
"""The kind of task, and the key."""


@attrs.frozen
class SavedGroup:
    """What is kept of a group.

    Attributes:
        completed: how many executions were seen to end.
        total: the sum of their weights.
        price: how many seconds of delay a request is worth.
        passes: for each bin, the weight of the executions that were seen to pass it.
        ends: for each bin, the weight of those that ended in it.
    """

    completed: int
    total: float
    price: float
    passes: list[float]
    ends: list[float]


def save(path: str | os.PathLike[str], groups: Mapping[GroupName, SavedGroup]) -> None:
    """Write groups to a file, which takes the place of an older one in one step.

    Raises:
        OSError: the file cannot be written.
    """
    records = [
        {
            "kind": kind,
            "key": key,
            "completed": group.completed,
            "total": group.total,
            "price": group.price,
            "passes": _shortened(group.passes),
            "ends": _shortened(group.ends),
        }
        for (kind, key), group in groups.items()
    ]
    text = json.dumps({"learnedWaits": VERSION, "bins": _BINS, "groups": records}, separators=(",", ":"))
    directory, name = os.path.split(os.path.abspath(path))  # noqa: PTH100  # `resolve` would follow a link
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=directory)
    except OSError as error:
        error.filename = os.fspath(path)  # it names the temporary file
        raise
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105  # a path as str
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108  # a path as str
        raise


def load(path: str | os.PathLike[str]) -> dict[GroupName, SavedGroup]:
    """Read groups from a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is broken, or has another version.
    """
    with Path(path).open("rb") as file:
        content = file.read(_MAX_FILE_SIZE + 1)
    try:
        return _groups(content)
    except (_BrokenError, ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _BrokenError) else "it is not JSON in UTF-8"
        msg = f"{os.fspath(path)} is no file of learned waits: {reason}. Delete it to learn anew."
        raise ValueError(msg) from None


class _BrokenError(Exception):
    """What is wrong with a file."""


def _groups(content: bytes) -> dict[GroupName, SavedGroup]:
    if len(content) > _MAX_FILE_SIZE:
        msg = f"it is larger than {_MAX_FILE_SIZE} bytes"
        raise _BrokenError(msg)
    if not content.strip():
        msg = "it is empty"
        raise _BrokenError(msg)
    document = json.loads(content)
    if not isinstance(document, dict) or "learnedWaits" not in document:
        msg = "the field learnedWaits is missing"
        raise _BrokenError(msg)
    version = document["learnedWaits"]
    if version is True or version != VERSION or document.get("bins") != _BINS:
        msg = "another version of truebit_async has written it"
        raise _BrokenError(msg)
    records = document.get("groups")
    if not isinstance(records, list) or len(records) > MAX_GROUPS:
        msg = f"groups must be an array of at most {MAX_GROUPS}"
        raise _BrokenError(msg)
    return dict(_named_group(number, record) for number, record in enumerate(records))


def _named_group(number: int, record: Any) -> tuple[GroupName, SavedGroup]:  # noqa: ANN401
    if not isinstance(record, dict):
        msg = f"groups[{number}] is not an object"
        raise _BrokenError(msg)

    def check(name: str, *, is_right: bool) -> None:
        if not is_right:
            msg = f"{name} of groups[{number}] is missing or wrong"
            raise _BrokenError(msg)

    for name in ("kind", "key"):
        check(name, is_right=isinstance(record.get(name), str) and len(record[name]) <= MAX_KEY_LENGTH)
    completed = record.get("completed")
    check("completed", is_right=isinstance(completed, int) and not isinstance(completed, bool) and completed >= 0)
    for name in ("total", "price"):
        check(name, is_right=_is_weight(record.get(name)))
    for name in ("passes", "ends"):
        values = record.get(name)
        is_right = isinstance(values, list) and len(values) <= COUNT and all(map(_is_weight, values))
        check(name, is_right=is_right)
    fields = (record[name] for name in ("completed", "total", "price", "passes", "ends"))
    return (record["kind"], record["key"]), SavedGroup(*fields)


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX_WEIGHT


def _shortened(values: Iterable[float]) -> list[float]:
    """Round values, and leave out zeros at the end."""
    rounded = [float(f"{value:.{_DIGITS}g}") for value in values]
    while rounded and not rounded[-1]:
        rounded.pop()
    return rounded
