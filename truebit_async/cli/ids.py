"""Execution IDs as lines: plain, or JSON objects with an ``executionId``; blank lines and # comments are skipped."""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable

from truebit_async._wire import check_execution_id
from truebit_async.cli.lines import MAX_LINE


class InputError(Exception):
    """The IDs cannot be read; the message says why."""


class IdParser:
    """Takes the lines of one source, from its first.

    Args:
        source: what messages call it.
        complain: is told of every malformed line, with its number.
    """

    def __init__(self, source: str, complain: Callable[[str], None]) -> None:
        self._source = source
        self._complain = complain
        self._number = 0

    def ids_in(self, line: bytes) -> Iterable[str]:
        """Return the ID in the next line, or nothing if it holds none."""
        self._number += 1
        if self._number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            return _parse(line)
        except ValueError as error:
            self._complain(f"{self._source}:{self._number}: {error}")
            return ()

    async def stream(self, first: Iterable[str], lines: AsyncIterable[bytes]) -> AsyncIterator[str]:
        """Yield IDs known beforehand, and then those in lines, as these come.

        Raises:
            InputError: the lines cannot be read.
        """
        for execution_id in first:
            yield execution_id
        try:
            async for line in lines:
                for execution_id in self.ids_in(line):
                    yield execution_id
        except OSError as error:
            msg = f"cannot read IDs from {self._source}: {error.strerror or error}"
            raise InputError(msg) from error


def _parse(line: bytes) -> Iterable[str]:
    if len(line) > MAX_LINE:
        msg = f"the line is longer than {MAX_LINE >> 20} MiB"
        raise ValueError(msg)
    try:
        entry = line.decode().strip()
    except UnicodeDecodeError as error:
        msg = f"not UTF-8: {error.reason} at byte {error.start + 1}"
        raise ValueError(msg) from None
    if not entry or entry.startswith("#"):
        return ()
    if not entry.startswith("{"):
        return (check_execution_id(entry),)
    try:
        execution_id = json.loads(entry)["executionId"]
    except (ValueError, KeyError, RecursionError):
        msg = "not a JSON object with an executionId"
        raise ValueError(msg) from None
    return (check_execution_id(execution_id),)
