"""A nightly batch: read a CSV file, and write its rows with the verified outputs as JSONL or Parquet.

Run it from a checkout; Parquet needs the extra `examples`::

    python examples/nightly_batch.py executions.csv results.parquet --max-rate 50

The file `results.parquet.checkpoint` keeps the outcomes. If the command is killed, run it again: it continues and does
not ask again for executions that have a final state. Exit codes, for a scheduler:

    0  every execution was verified and succeeded
    1  unexpected error: see the traceback
    2  wrong usage
    3  at least one execution has no final state yet: run the same command again
    4  all have one, and at least one did not succeed: see the column truebit_error
"""

import argparse
import asyncio
import csv
import json
import sys
import time
from pathlib import Path

from truebit_async import CheckpointError, Execution, TruebitSession, VerificationFailedError
from truebit_async.checkpoint import Checkpoint, Record, latest

Row = dict[str, str | None]
NEW_COLUMNS = ("truebit_status", "truebit_output", "truebit_error")  # the columns that are added to a row


def read_csv(path: Path, id_column: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the rows of a CSV file. It must have a column for the execution IDs."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="")
        columns, rows = list(reader.fieldnames or ()), list(reader)
    if id_column not in columns:
        message = f"{path} has no column {id_column!r}"
        raise ValueError(message)
    if any(None in row for row in rows):
        message = f"a row of {path} has more cells than there are columns"
        raise ValueError(message)
    return columns, rows


async def wait_for_all(session: TruebitSession, execution_ids: list[str], checkpoint: Checkpoint[Execution]) -> None:
    """Wait for the executions that have no final state yet, and write each outcome to the checkpoint."""
    pending = [execution_id for execution_id in execution_ids if execution_id not in checkpoint.final]
    finished, shown_at = len(execution_ids) - len(pending), 0.0
    async with session:
        async for outcome in session.wait_for_verifications(pending):
            checkpoint.write(outcome)
            finished += 1
            is_last = finished == len(execution_ids)
            if is_last or time.monotonic() - shown_at > (0.1 if sys.stderr.isatty() else 10):
                end = "\r" if sys.stderr.isatty() and not is_last else "\n"  # a log gets a line every ten seconds
                print(f"{finished} of {len(execution_ids)} finished", end=end, file=sys.stderr, flush=True)
                shown_at = time.monotonic()


def result_columns(record: Record[Execution]) -> Row:
    """Return the columns that are added to a row."""
    status = output = error = None
    if record.execution is not None:
        status = record.execution.verification_status.value
        try:
            output = record.execution.output
        except VerificationFailedError as failure:
            error = str(failure)
    elif record.error is not None:
        error = record.error.message
    return dict(zip(NEW_COLUMNS, (status, output, error), strict=True))


def write_jsonl(path: Path, _: list[str], rows: list[Row]) -> None:
    """Write one JSON object per row."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path, columns: list[str], rows: list[Row]) -> None:
    """Write a table of strings. Types inferred from the values could change from night to night."""
    import pyarrow as pa  # noqa: PLC0415  # large, and needed only here
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = pa.schema([(column, pa.string()) for column in columns])
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


WRITERS = {".jsonl": write_jsonl, ".parquet": write_parquet}


def main() -> int:
    """Run the batch and return the exit code."""
    parser = argparse.ArgumentParser(description="Wait for the executions that a CSV file lists.")
    parser.add_argument("executions", type=Path, help="the CSV file")
    parser.add_argument("results", type=Path, help=f"the file to write, ending in {' or '.join(WRITERS)}")
    parser.add_argument("--column", default="execution_id", help="the column with the execution IDs")
    parser.add_argument("--max-rate", type=float, default=50, help="requests per second")
    options = parser.parse_args()
    results: Path = options.results
    if results.suffix not in WRITERS:
        parser.error(f"{results} must end in {' or '.join(WRITERS)}")
    try:
        columns, rows = read_csv(options.executions, options.column)
        session = TruebitSession(max_rate=options.max_rate)
        checkpoint = Checkpoint(f"{results}.checkpoint", resume=True)
    except (OSError, ValueError, csv.Error, CheckpointError) as error:
        parser.error(str(error))

    with checkpoint:
        execution_ids = list(dict.fromkeys(row[options.column] for row in rows))
        asyncio.run(wait_for_all(session, execution_ids, checkpoint))
    records = {record.execution_id: record for record in latest(f"{results}.checkpoint")}
    result_rows = [{**row, **result_columns(records[row[options.column]])} for row in rows]
    part = results.with_name(f"{results.name}.part")  # readers see all results or none
    WRITERS[results.suffix](part, list(dict.fromkeys([*columns, *NEW_COLUMNS])), result_rows)
    part.replace(results)
    if any(row["truebit_status"] is None for row in result_rows):
        return 3
    return 4 if any(row["truebit_error"] for row in result_rows) else 0


if __name__ == "__main__":
    sys.exit(main())
