"""Parse execution IDs, one per line: plain, or as ``executionId`` in a JSON object. Comments (#) are skipped."""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable

from truebit_async._protocol.ids import check_execution_id
from truebit_async.cli.lines import MAX_LINE


class InputError(Exception):
    """The IDs cannot be read; the message says why."""


class IdParser:
    """Parses the lines of one source, in order.

    Args:
        source: the name of the source, for messages.
        report_malformed: called with a message for every malformed line.
    """

    def __init__(self, source: str, report_malformed: Callable[[str], None]) -> None:
        self._source = source
        self._report_malformed = report_malformed
        self._line_number = 0

    def parse(self, line: bytes) -> str | None:
        """Return the ID on the next line; None if the line is blank, a comment or malformed."""
        self._line_number += 1
        if self._line_number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            return _parse(line)
        except ValueError as error:
            self._report_malformed(f"{self._source}:{self._line_number}: {error}")
            return None

    async def stream(self, known_ids: Iterable[str], lines: AsyncIterable[bytes]) -> AsyncIterator[str]:
        """Yield the known IDs first, and then the ID of each line as it arrives.

        Raises:
            InputError: the lines cannot be read.
        """
        for execution_id in known_ids:
            yield execution_id
        try:
            async for line in lines:
                parsed_id = self.parse(line)
                if parsed_id is not None:
                    yield parsed_id
        except OSError as error:
            msg = f"cannot read IDs from {self._source}: {error.strerror or error}"
            raise InputError(msg) from error


def _parse(line: bytes) -> str | None:
    if len(line) > MAX_LINE:
        msg = f"the line is longer than {MAX_LINE >> 20} MiB"
        raise ValueError(msg)
    try:
        entry = line.decode().strip()
    except UnicodeDecodeError as error:
        msg = f"not UTF-8: {error.reason} at byte {error.start + 1}"
        raise ValueError(msg) from None
    if not entry or entry.startswith("#"):
        return None
    if not entry.startswith("{"):
        return check_execution_id(entry)
    try:
        fields = json.loads(entry)
        execution_id = fields["executionId"]
    except (ValueError, KeyError, RecursionError):
        msg = "not a JSON object with an executionId"
        raise ValueError(msg) from None
    if execution_id == "" and "tag" in fields:  # a checkpoint says so of a task that has no execution
        return None
    return check_execution_id(execution_id)
