"""``truebit-async results``: print what checkpoints hold."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from truebit_async.checkpoint import CheckpointError, Record, latest, record_as_json
from truebit_async.cli.categories import OutcomeCategory, exit_code_for
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.options import ResultFormat, TaskKind
from truebit_async.cli.output import check_stdout, print_to_stderr, print_to_stdout
from truebit_async.cli.result_text import result_line
from truebit_async.cli.runner import ExitStatus
from truebit_async.cli.shard_summary import ShardSummary
from truebit_async.errors import TruebitError
from truebit_async.sharding import Shard

_COLUMNS = ("execution_id", "tag", "outcome", "output", "error", "polls", "elapsed")


def print_results(
    files: Sequence[Path], kind: TaskKind, result_format: ResultFormat | None, *, only_failed: bool, is_quiet: bool
) -> ExitCode:
    """Print the last record of each execution in some checkpoints, and a summary.

    Args:
        files: the checkpoints.
        kind: the kind of task that they hold.
        result_format: how to print the records; None is text on a terminal, and JSON elsewhere.
        only_failed: whether to leave out the executions that succeeded.
        is_quiet: whether to print no summary.
    """
    check_stdout()
    if result_format is None:
        result_format = ResultFormat.TEXT if sys.stdout.isatty() else ResultFormat.JSON
    categories: Counter[OutcomeCategory] = Counter()
    if result_format is ResultFormat.CSV:
        print_to_stdout(_csv_line(_COLUMNS))
    try:
        for record in _records(files, kind):
            category = OutcomeCategory.of(record.execution)
            categories[category] += 1
            if not (only_failed and record.succeeded):
                print_to_stdout(_FORMATS[result_format](record, category))
    except CheckpointError as error:
        return ExitStatus(ExitCode.USAGE, str(error)).report()
    if not is_quiet:
        _print_summary(categories)
    problems = _problems_of_shards(files)
    for problem in problems:
        print_to_stderr(f"truebit-async: {problem}")
    return max(ExitCode.NO_FINAL_STATE if problems else ExitCode.SUCCEEDED, exit_code_for(categories))


def _records(files: Sequence[Path], kind: TaskKind) -> Iterator[Record[Any]]:
    return latest(*files, kind="api") if kind is TaskKind.API else latest(*files)


def _as_text(record: Record[Any], _: OutcomeCategory) -> str:
    problem = "" if record.error is None else record.error.type
    name = record.execution_id or f"task {record.tag}"
    return result_line(name, record.execution, problem, record.elapsed)


def _as_json(record: Record[Any], _: OutcomeCategory) -> str:
    return record_as_json(record)


def _as_csv(record: Record[Any], category: OutcomeCategory) -> str:
    output = error = ""
    try:
        value = record.output
        output = value if isinstance(value, str) else json.dumps(value)
    except TruebitError as problem:
        error = str(problem) if record.error is None else record.error.message
    tag = "" if record.tag is None else record.tag
    return _csv_line((record.execution_id, tag, category, output, error, record.polls, record.elapsed))


_FORMATS = {ResultFormat.TEXT: _as_text, ResultFormat.JSON: _as_json, ResultFormat.CSV: _as_csv}


def _csv_line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _print_summary(categories: Counter[OutcomeCategory]) -> None:
    table = Table()
    table.add_column("outcome")
    table.add_column("executions", justify="right")
    for category in OutcomeCategory:
        if categories[category]:
            table.add_row(category, f"{categories[category]:,}")
    Console(stderr=True).print(table, highlight=False)


def _problems_of_shards(files: Sequence[Path]) -> list[str]:
    """Return what is missing of the shards to which the files belong by their names."""
    problems = []
    shards: dict[int, set[int]] = {}  # the indexes by count
    for file in files:
        shard = Shard.of_file(file)
        if shard is not None:
            shards.setdefault(shard.count, set()).add(shard.index)
            if not ShardSummary(file).exists:
                problems.append(
                    f"shard {shard} is unfinished: its wait still runs, or was stopped; run it again with --resume"
                )
    for count, indexes in shards.items():
        missing = ", ".join(f"{index}/{count}" for index in range(count) if index not in indexes)
        if missing:
            problems.append(f"there is no file of these shards: {missing}")
    return problems
