"""``truebit-async results``: print what checkpoints hold."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from truebit_async import errors
from truebit_async._text import one_line
from truebit_async.checkpoint import CheckpointError, Record, RecordedError, latest, record_as_json
from truebit_async.cli.categories import OutcomeCategory, exit_code_for
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.options import ResultFormat, TaskKind, is_text
from truebit_async.cli.output import check_stdout, print_to_stderr, print_to_stdout
from truebit_async.cli.result_text import result_line
from truebit_async.cli.runner import ExitStatus
from truebit_async.cli.shard_summary import ShardSummary
from truebit_async.cli.summary import outcome_table
from truebit_async.errors import TruebitError
from truebit_async.sharding import Shard

_COLUMNS = ("execution_id", "tag", "outcome", "output", "error", "polls", "elapsed")
_SHOWN_SHARDS = 16


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
        result_format = ResultFormat.TEXT if is_text(None) else ResultFormat.JSON
    categories: Counter[OutcomeCategory] = Counter()
    try:
        for record in _records(files, kind):
            if result_format is ResultFormat.CSV and not categories:
                print_to_stdout(_csv_line(_COLUMNS))
            category = OutcomeCategory.of(record.execution)
            categories[category] += 1
            if not (only_failed and record.succeeded):
                print_to_stdout(_FORMATS[result_format](record, category))
    except CheckpointError as error:
        wrong_kind = f"not '{kind}'; "
        return ExitStatus(ExitCode.USAGE, str(error).replace(wrong_kind, f"{wrong_kind}give --kind, or ")).report()
    if categories and not is_quiet:
        Console(stderr=True).print(outcome_table({"executions": categories}), highlight=False)
    problems = _problems_of_shards(files)
    code = max(ExitCode.NO_FINAL_STATE if problems else ExitCode.SUCCEEDED, exit_code_for(categories))
    if not categories and not all(_is_finished_shard(file) for file in files):
        problems.append(f"no result is in {', '.join(map(str, files))}")
        code = max(code, ExitCode.USAGE)
    for problem in problems:
        print_to_stderr(f"truebit-async: {problem}")
    return code


def _records(files: Sequence[Path], kind: TaskKind) -> Iterator[Record[Any]]:
    return latest(*files, kind="api") if kind is TaskKind.API else latest(*files)


def _as_text(record: Record[Any], _: OutcomeCategory) -> str:
    problem = "" if record.error is None else _reason(record.execution_id, record.error)
    name = record.execution_id or f"task {record.tag}"
    return result_line(name, record.execution, problem, record.elapsed)


def _reason(execution_id: str, error: RecordedError) -> str:
    """Return the text of an error without the ID, which stands before it, and without a hint for Python programs."""
    hint = getattr(getattr(errors, error.type, None), "hint", "")
    message = error.message.removeprefix(f"execution {execution_id!r}: ").replace(hint, "").rstrip()
    return f"{error.type}: {message}"


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
    """Return a line of CSV without its end. The cells stay as they are, unless stdout cannot show them."""
    if sys.stdout.isatty():
        cells = [one_line(str(cell)) for cell in cells]
    line = io.StringIO()
    csv.writer(line).writerow(cells)  # its own line terminator: it quotes cells that have one of these characters
    encoding = sys.stdout.encoding or "utf-8"
    return line.getvalue().removesuffix("\r\n").encode(encoding, "backslashreplace").decode(encoding)


def _is_finished_shard(file: Path) -> bool:
    return Shard.of_file(file) is not None and ShardSummary(file).is_finished


def _problems_of_shards(files: Sequence[Path]) -> list[str]:
    """Return what is missing of the shards to which the files belong by their names."""
    problems = []
    shards: dict[int, set[int]] = {}  # the indexes by count
    for file in files:
        shard = Shard.of_file(file)
        if shard is not None:
            shards.setdefault(shard.count, set()).add(shard.index)
            if not ShardSummary(file).is_finished:
                problems.append(
                    f"shard {shard} is unfinished: its wait still runs, or was stopped; run it again with --resume"
                )
    for count, indexes in shards.items():
        missing = (index for index in range(count) if index not in indexes)
        names = [f"{index}/{count}" for index in itertools.islice(missing, _SHOWN_SHARDS)]
        if names:
            rest = count - len(indexes) - len(names)
            more = f" and {rest:,} more" if rest else ""
            problems.append(f"there is no file of these shards: {', '.join(names)}{more}")
    return problems
