"""``truebit-async transcript`` and ``invoice``: fetch evidence."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from truebit_async._protocol.body import parse_json
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.options import Budgets, Connection
from truebit_async.cli.output import check_stdout, print_bytes_to_stdout, print_to_stderr, print_to_stdout
from truebit_async.cli.runner import UsageProblem, run
from truebit_async.cli.sessions import logging_to, make_session
from truebit_async.models import Invoice, Transcript
from truebit_async.session import TruebitSession


def write_transcript(execution_id: str, out: Path | None, connection: Connection) -> ExitCode:
    """Print the transcript of an execution, or write it to a file.

    Args:
        execution_id: the execution.
        out: the file; None is stdout.
        connection: which dispatcher to ask, and as whom.
    """
    return _write(lambda session: session.get_transcript(execution_id), out, connection)


def write_invoice(execution_id: str, out: Path | None, connection: Connection) -> ExitCode:
    """Print the invoice of an execution, or write it to a file.

    Args:
        execution_id: the execution.
        out: the file; None is stdout.
        connection: which dispatcher to ask, and as whom.
    """
    return _write(lambda session: session.get_invoice(execution_id), out, connection)


def _write(
    fetch: Callable[[TruebitSession], Awaitable[Transcript | Invoice]], out: Path | None, connection: Connection
) -> ExitCode:
    """Fetch evidence, and write its exact bytes. A terminal gets it without the inputs of tasks."""
    if out is None:
        check_stdout()
    session = make_session(connection, Budgets())

    async def fetch_and_write() -> ExitCode:
        async with session:
            raw = (await fetch(session)).raw
        if out is not None:
            await asyncio.to_thread(_write_private, out, raw)
        elif sys.stdout.isatty():
            evidence = parse_json(raw)
            shown = _without_inputs(evidence)
            print_to_stdout(json.dumps(shown, indent=2))
            if shown != evidence:
                print_to_stderr(
                    "truebit-async: inputs of tasks are not shown; a pipe or --out FILE gets the exact bytes"
                )
        else:
            print_bytes_to_stdout(raw)
        return ExitCode.SUCCEEDED

    with logging_to(print_to_stderr, verbose=connection.verbose):
        return run(fetch_and_write).report()


def _write_private(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            try:
                file.write(content)
                file.flush()
            except OSError:
                path.unlink()  # a part of it would be in the way of the next try
                raise
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}; name a new file"
        raise UsageProblem(msg) from None


def _without_inputs(value: object) -> object:
    """Return evidence without the inputs of tasks, which may hold secrets."""
    if isinstance(value, dict):
        return {name: "(not shown)" if name == "input" else _without_inputs(part) for name, part in value.items()}
    return [_without_inputs(part) for part in value] if isinstance(value, list) else value
