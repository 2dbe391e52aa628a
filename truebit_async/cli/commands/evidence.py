"""``transcript``, ``invoice`` and ``audit``."""

from __future__ import annotations

from pathlib import Path

import click

from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.help import Command
from truebit_async.cli.options import (
    FILE,
    INPUT_AND_OUTPUT,
    Connection,
    ResultFormat,
    complete_files,
    connection_options,
    format_option,
    option,
)

_EXIT_CODES = [
    (ExitCode.SUCCEEDED, "printed, or written to the file"),
    (ExitCode.USAGE, "wrong usage, or the dispatcher refuses the API key or the account"),
    (ExitCode.NO_FINAL_STATE, "it could not be fetched"),
]
_out = option(
    "--out",
    metavar="FILE",
    type=FILE,
    help="Write to a new file instead of stdout. Only its owner can read it.",
    section=INPUT_AND_OUTPUT,
)


@click.command(
    cls=Command,
    short_help="Print the transcript of an execution.",
    examples=[
        "truebit-async transcript --out transcript.json ID",
        "truebit-async transcript ID | jq '.transcript[].type'",
    ],
    exit_codes=_EXIT_CODES,
)
@click.argument("execution_id", metavar="ID")
@_out
@connection_options
def transcript(execution_id: str, *, out: Path | None, connection: Connection) -> ExitCode:
    """Print the transcript of an execution.

    In a pipe and in a file, these are the exact bytes that the dispatcher sent. They hold the input of the task,
    secrets included. On a terminal, the inputs are left out.
    """
    from truebit_async.cli.evidence import write_transcript

    return write_transcript(execution_id, out, connection)


@click.command(
    cls=Command,
    short_help="Print the invoice of an execution.",
    examples=["truebit-async invoice --out invoice.json ID"],
    exit_codes=_EXIT_CODES,
)
@click.argument("execution_id", metavar="ID")
@_out
@connection_options
def invoice(execution_id: str, *, out: Path | None, connection: Connection) -> ExitCode:
    """Print the invoice of an execution.

    In a pipe and in a file, these are the exact bytes that the dispatcher sent.
    """
    from truebit_async.cli.evidence import write_invoice

    return write_invoice(execution_id, out, connection)


@click.command(
    cls=Command,
    short_help="Find out who signed evidence.",
    examples=[
        "truebit-async audit ID",
        "truebit-async audit --trust ADDRESS transcript.json invoice.json",
    ],
    exit_codes=[
        (ExitCode.SUCCEEDED, "all signers that could be compared are the expected ones"),
        (ExitCode.NOT_SUCCEEDED, "at least one is not"),
        (ExitCode.USAGE, "wrong usage, or the extra `audit` is missing, or the dispatcher refuses the API key"),
        (ExitCode.NO_FINAL_STATE, "no signer could be compared, or some evidence could not be fetched"),
    ],
)
@click.argument("sources", metavar="ID|FILE...", nargs=-1, required=True, shell_complete=complete_files)
@option(
    "--trust", metavar="ADDRESS", multiple=True, help="An address that is trusted to sign. May be given several times."
)
@format_option(ResultFormat.TEXT, ResultFormat.JSON)
@connection_options
def audit(
    sources: tuple[str, ...], *, trust: tuple[str, ...], result_format: ResultFormat | None, connection: Connection
) -> ExitCode:
    """Find out who signed transcripts and invoices. An audit never shows that an output is right.

    An argument that names a file is read; the file must hold a transcript or an invoice. Any other argument is an
    execution ID, whose transcript and invoice are fetched. It must not contain a slash or end with .json.
    """
    from truebit_async.cli.audit import audit_sources

    return audit_sources(sources, trust, result_format, connection)
