"""Read execution IDs: one per line, plain or as ``executionId`` in a JSON object, or a column of CSV."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

from truebit_async._protocol.ids import check_execution_id
from truebit_async.cli.lines import MAX_LINE
from truebit_async.cli.runner import UsageProblem

_CELL = rb'(?:"(?:[^"]++|"")*+"[^,]*+|(?!")[^,]*+)'
_match_whole_cells = re.compile(_CELL + b"(?:," + _CELL + b")*+").fullmatch  # what ends within quotes does not match
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class IdParser:
    """Parses the lines of one source, in order.

    Args:
        source: the name of the source, for messages.
        report_malformed: called with a message for every malformed line.
        column: the column of CSV that holds the IDs; None if the source is not CSV.
    """

    def __init__(self, source: str, report_malformed: Callable[[str], None], column: str | None = None) -> None:
        self._source = source
        self._report_malformed = report_malformed
        self._line_number = 0
        self._first_line = 0  # of a row of CSV that has several
        self._csv = None if column is None else _CsvParser(source, column)

    def parse(self, line: bytes) -> str | None:
        """Return the ID in the next line; None if it has none, or is malformed.

        Args:
            line: the line. It may end with a line break.

        Raises:
            UsageProblem: the source cannot be read at all.
        """
        self._line_number += 1
        if self._line_number == 1:
            if line.startswith(_UTF_16) or b"\0" in line[:4]:
                msg = f"{self._source} is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 FILE"
                raise UsageProblem(msg)
            line = line.removeprefix(codecs.BOM_UTF8)
        if self._csv is None or not self._csv.is_within_row:
            self._first_line = self._line_number
        try:
            return _parse(line) if self._csv is None else self._csv.parse(line)
        except ValueError as error:
            self._report(str(error))
            return None

    def parse_all(self, lines: Iterable[bytes]) -> Iterator[str]:
        """Yield the IDs in all lines of the source.

        Raises:
            UsageProblem: the source cannot be read at all.
        """
        for line in lines:
            execution_id = self.parse(line)
            if execution_id is not None:
                yield execution_id
        self._finish()

    async def stream(self, known_ids: Iterable[str], lines: AsyncIterable[bytes]) -> AsyncIterator[str]:
        """Yield the known IDs first, and then the ID of each line as it arrives.

        Raises:
            UsageProblem: the lines cannot be read.
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
            raise UsageProblem(msg) from error
        self._finish()

    def _finish(self) -> None:
        if self._csv is not None and self._csv.is_within_row:
            self._report("the row has a quote that is never closed; nothing after it was read")

    def _report(self, problem: str) -> None:
        self._report_malformed(f"{self._source}:{self._first_line}: {problem}")


class _CsvParser:
    """Takes the IDs from a column of CSV with a header. A row may have several lines, if a cell has line breaks.

    Args:
        source: the name of the source, for messages.
        column: the name of the column.

    Attributes:
        is_within_row: whether the last line has ended within quotes, so that its row goes on in the next line.
    """

    def __init__(self, source: str, column: str) -> None:
        self.is_within_row = False
        self._source = source
        self._column = column
        self._index: int | None = None  # of the column, once the header was read
        self._row: list[bytes] = []  # its lines
        self._size = 0  # of the row, in bytes

    def parse(self, line: bytes) -> str | None:
        """Return the ID if the next line ends a row that has one."""
        self._row.append(line)
        self._size += len(line) + 1
        self.is_within_row = _match_whole_cells(b'"' + line if self.is_within_row else line) is None
        if self.is_within_row and self._size <= MAX_LINE:
            return None
        row = b"\n".join(self._row)
        self._row.clear()
        self._size = 0
        self.is_within_row = False
        return self._parse_row(_decode(row, "row"))

    def _parse_row(self, row: str) -> str | None:
        if not row.strip():
            return None
        try:
            cells = next(csv.reader(io.StringIO(row, newline="\n")))
        except csv.Error as error:
            msg = f"not CSV: {error}"
            raise ValueError(msg) from None
        if self._index is None:
            self._index = self._find_column([cell.strip() for cell in cells])
            return None
        if len(cells) <= self._index or not cells[self._index].strip():
            msg = f"the row has nothing in column {self._column!r}"
            raise ValueError(msg)
        return check_execution_id(cells[self._index].strip())

    def _find_column(self, names: list[str]) -> int:
        if self._column not in names:
            hint = "; commas must separate the columns" if len(names) == 1 else ""
            msg = f"{self._source} has no column {self._column!r}, but {', '.join(map(repr, names))}{hint}"
            raise UsageProblem(msg)
        return names.index(self._column)


def _decode(line: bytes, name: str = "line") -> str:
    if len(line) > MAX_LINE:
        msg = f"the {name} is longer than {MAX_LINE >> 20} MiB"
        raise ValueError(msg)
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        msg = f"not UTF-8: {error.reason} at byte {error.start + 1}"
        raise ValueError(msg) from None


def _parse(line: bytes) -> str | None:
    """Return the ID in a line that is plain or JSON."""
    entry = _decode(line).strip()
    if not entry or entry.startswith("#"):
        return None
    if entry.startswith("["):
        msg = "a JSON array; write one ID per line: jq -r '.[]' FILE"
        raise ValueError(msg)
    if not entry.startswith("{"):
        if any(char in entry for char in " ,;\"'{}[]"):
            msg = "a space, comma, quote or bracket is no part of a plain ID; write one ID per line, or give --column"
            raise ValueError(msg)
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
