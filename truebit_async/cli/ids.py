"""Reading execution IDs from a file or a pipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import attrs

from truebit_async._wire import check_execution_id
from truebit_async.cli.results import ExitCode


@attrs.frozen
class IdList:
    """What was read.

    Attributes:
        ids: the IDs, each once, in their first order.
        problems: a message for every malformed line, with its number.
    """

    ids: list[str]
    problems: list[str]

    @property
    def exit_code(self) -> ExitCode:
        """What the command exits with at least: a malformed line is an execution without an answer."""
        return ExitCode.NO_ANSWER if self.problems else ExitCode.SUCCEEDED


def read_ids(source: str) -> IdList:
    """Read IDs: one per line, or JSON objects with an ``executionId``. Blank lines and # comments are skipped.

    Args:
        source: a file, or ``-`` for stdin.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8-sig")
    ids: dict[str, None] = {}
    problems = []
    for number, line in enumerate(text.split("\n"), start=1):
        entry = line.strip()
        if entry and not entry.startswith("#"):
            try:
                ids[_parse(entry)] = None
            except ValueError as error:
                problems.append(f"{source}:{number}: {error}")
    return IdList(list(ids), problems)


def _parse(entry: str) -> str:
    if not entry.startswith("{"):
        return check_execution_id(entry)
    try:
        execution_id = json.loads(entry)["executionId"]
    except (ValueError, KeyError, RecursionError):
        msg = "not a JSON object with an executionId"
        raise ValueError(msg) from None
    return check_execution_id(execution_id)
