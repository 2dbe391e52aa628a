"""``status``, ``wait`` and ``results``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.help import Command
from truebit_async.cli.options import (
    DISPATCHER,
    FILE,
    INPUT_AND_OUTPUT,
    Budgets,
    Checked,
    Connection,
    ResultFormat,
    TaskKind,
    complete_files,
    connection_options,
    format_option,
    kind_option,
    option,
    status_options,
    wait_options,
)

if TYPE_CHECKING:
    from truebit_async.sharding import Shard


def _parse_shard(text: str) -> Shard:
    from truebit_async.sharding import Shard

    return Shard.parse(text)


@click.command(
    cls=Command,
    short_help="Print the status of one execution.",
    examples=[
        "truebit-async status abf5e6d2-f72d-4324-a046-bc6e9f27b303",
        "truebit-async status --api-key-file key.txt ID | jq .verificationStatus",
        "truebit-async status --kind api ID",
    ],
    exit_codes=[
        (ExitCode.SUCCEEDED, "verified and succeeded"),
        (ExitCode.NOT_SUCCEEDED, "still running, or not succeeded"),
        (ExitCode.USAGE, "wrong usage, or the dispatcher refuses the API key or the account"),
        (ExitCode.NO_FINAL_STATE, "no status (not found, unreachable)"),
    ],
)
@click.argument("execution_id", metavar="ID")
@format_option(ResultFormat.TEXT, ResultFormat.JSON)
@status_options
@kind_option(DISPATCHER)
@connection_options
def status(
    execution_id: str,
    *,
    result_format: ResultFormat | None,
    kind: TaskKind,
    budgets: Budgets,
    connection: Connection,
) -> ExitCode:
    """Print the status of one execution. It may still be running."""
    from truebit_async.cli.status import run_status

    return run_status(execution_id, kind, budgets, connection, result_format)


@click.command(
    cls=Command,
    short_help="Wait for executions to finish.",
    examples=[
        "truebit-async wait --deadline 2m abf5e6d2-f72d-4324-a046-bc6e9f27b303",
        "truebit-async wait --from ids.txt --out results.jsonl --max-rate 200",
        "truebit-async wait --from ids.txt --out results.jsonl --resume",
        "truebit-async wait --from ids.txt --shard 3/16 --resume",
        "producer | truebit-async wait --from - | jq -c .clearTextSolution",
    ],
    exit_codes=[
        (ExitCode.SUCCEEDED, "all verified and succeeded"),
        (ExitCode.NOT_SUCCEEDED, "all final, but not all succeeded"),
        (ExitCode.USAGE, "wrong usage, or the dispatcher refuses the API key or the account"),
        (
            ExitCode.NO_FINAL_STATE,
            "at least one without a final state (not found, deadline passed, unreachable, not an ID)",
        ),
        (ExitCode.INTERRUPTED, "interrupted by Ctrl-C"),
        (ExitCode.TERMINATED, "terminated by SIGTERM"),
    ],
)
@click.argument("execution_ids", metavar="[ID]...", nargs=-1)
@option(
    "--from",
    "sources",
    metavar="FILE",
    multiple=True,
    shell_complete=complete_files,
    help="Read IDs from a file, one per line, plain or as JSON. - reads lines from stdin as they arrive. "
    "May be given several times.",
    section=INPUT_AND_OUTPUT,
)
@option(
    "--column",
    metavar="NAME",
    help="The input is CSV with a header: take the IDs from this column.",
    section=INPUT_AND_OUTPUT,
)
@option(
    "--out",
    metavar="FILE",
    type=FILE,
    help="Append the results to a file, as JSON, instead of printing them.",
    section=INPUT_AND_OUTPUT,
)
@option(
    "--resume",
    is_flag=True,
    help="Continue the --out file: skip the IDs that have a final state in it.",
    section=INPUT_AND_OUTPUT,
)
@option(
    "--shard",
    metavar="INDEX/COUNT",
    type=Checked("shard", _parse_shard),
    help="Wait only for the IDs of one shard, from 0/COUNT to the last. --max-rate is then the rate of all shards "
    "together. Default of --out: results-INDEX-of-COUNT.jsonl.",
    section=INPUT_AND_OUTPUT,
)
@format_option(ResultFormat.TEXT, ResultFormat.JSON)
@option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print everything as JSON: the results, and the summary as the last line of stdout.",
    section=INPUT_AND_OUTPUT,
)
@option("-q", "--quiet", is_flag=True, help="Print no progress, and no summary on stderr.", section=INPUT_AND_OUTPUT)
@wait_options
@kind_option(DISPATCHER)
@connection_options
def wait(  # noqa: PLR0913  # one parameter per option
    execution_ids: tuple[str, ...],
    *,
    sources: tuple[str, ...],
    column: str | None,
    out: Path | None,
    resume: bool,
    shard: Shard | None,
    result_format: ResultFormat | None,
    as_json: bool,
    quiet: bool,
    kind: TaskKind,
    budgets: Budgets,
    connection: Connection,
) -> ExitCode:
    """Wait for executions to finish, and print each result as soon as it is known.

    On a terminal a result is one line of text, elsewhere one line of JSON. Progress and a summary go to stderr. If a
    run with --out stops for any reason, run the same command with --resume to continue it.
    """
    if not (execution_ids or sources):
        message = "give at least one execution ID, or --from FILE"
        raise click.UsageError(message)
    if result_format is not None and (as_json or out is not None or shard is not None):
        message = "--format goes neither with --json nor with --out or --shard, which are always JSON"
        raise click.UsageError(message)
    if column is not None and not sources:
        message = "--column needs --from, the CSV to read"
        raise click.UsageError(message)
    if shard is not None and out is None:
        out = Path(shard.file_name)
    if resume and out is None:
        message = "--resume needs --out, the file to resume"
        raise click.UsageError(message)
    from truebit_async.cli.wait import Wait

    return Wait(
        execution_ids=execution_ids,
        sources=sources,
        column=column,
        out=out,
        resume=resume,
        shard=shard,
        result_format=ResultFormat.JSON if as_json else result_format,
        has_json_summary=as_json,
        is_quiet=quiet,
        kind=kind,
        budgets=budgets,
        connection=connection,
    ).run()


@click.command(
    cls=Command,
    short_help="Print what result files hold.",
    examples=[
        "truebit-async results results.jsonl --failed",
        "truebit-async results results-*-of-16.jsonl --format csv > results.csv",
    ],
    exit_codes=[
        (ExitCode.SUCCEEDED, "all verified and succeeded"),
        (ExitCode.NOT_SUCCEEDED, "all final, but not all succeeded"),
        (ExitCode.USAGE, "a file cannot be read or is not one that wait has written, or there is no result"),
        (
            ExitCode.NO_FINAL_STATE,
            "at least one without a final state, or a shard is missing or unfinished",
        ),
    ],
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@option("--failed", is_flag=True, help="Print only what did not succeed.", section=INPUT_AND_OUTPUT)
@format_option(ResultFormat.TEXT, ResultFormat.JSON, ResultFormat.CSV)
@option("-q", "--quiet", is_flag=True, help="Print no summary.", section=INPUT_AND_OUTPUT)
@kind_option(INPUT_AND_OUTPUT)
def results(
    files: tuple[Path, ...], *, failed: bool, result_format: ResultFormat | None, quiet: bool, kind: TaskKind
) -> ExitCode:
    """Print what the files hold that `wait --out` has written: the last result of each execution.

    Several files are read as one. Of files written with --shard, it tells which shards are missing or unfinished.
    """
    from truebit_async.cli.results import print_results

    return print_results(files, kind, result_format, only_failed=failed, is_quiet=quiet)
