"""``truebit-async audit``: find the signers of transcripts and invoices."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import attrs
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from truebit_async._audit_report import overall
from truebit_async._protocol.body import parse_json
from truebit_async._protocol.converter import make_converter
from truebit_async._text import one_line
from truebit_async.audit import (
    AuditError,
    AuditReport,
    Verdict,
    audit_invoice,
    audit_transcript,
    read_invoice,
    read_transcript,
)
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.hints import in_terms_of_the_command
from truebit_async.cli.options import Budgets, Connection, ResultFormat, is_text
from truebit_async.cli.output import check_stdout, print_to_stderr, print_to_stdout
from truebit_async.cli.runner import REFUSALS, UsageProblem, run
from truebit_async.cli.sessions import logging_to, make_session
from truebit_async.errors import ExecutionNotFoundError, TruebitError
from truebit_async.models import Invoice, Transcript
from truebit_async.session import TruebitSession

_EXIT_CODES = {
    Verdict.AS_EXPECTED: ExitCode.SUCCEEDED,
    Verdict.DIFFERENT: ExitCode.NOT_SUCCEEDED,
    Verdict.NOT_COMPARED: ExitCode.NO_FINAL_STATE,
}
_NAMES_IN_EVIDENCE = ("transcript", "accounting_signature", "invoiceId")
_YES_OR_NO = {None: "", True: "yes", False: "no"}
_STYLES = {Verdict.AS_EXPECTED: "green", Verdict.DIFFERENT: "bold red", Verdict.NOT_COMPARED: "yellow"}


def audit_sources(
    sources: Sequence[str], trusted: Sequence[str], result_format: ResultFormat | None, connection: Connection
) -> ExitCode:
    """Audit files, and the transcripts and invoices of executions.

    Args:
        sources: execution IDs and files.
        trusted: the addresses that are trusted to sign.
        result_format: how to print the audits; None is a table on a terminal, and lines of JSON elsewhere.
        connection: which dispatcher to ask, and as whom.

    Returns:
        NOT_SUCCEEDED if a signer is not the expected one; else NO_FINAL_STATE if evidence could not be fetched or no
        signer could be compared; else SUCCEEDED.
    """
    check_stdout()
    session = make_session(connection, Budgets())
    with logging_to(print_to_stderr, verbose=connection.verbose):
        return run(
            lambda: _run_audit(session, sources, trusted, Console() if is_text(result_format) else None)
        ).report()


@attrs.frozen
class Audit:
    """The audit of one transcript or invoice.

    Attributes:
        source: the execution ID or the file.
        evidence: ``"transcript"`` or ``"invoice"``.
        report: what was found.
    """

    source: str
    evidence: str
    report: AuditReport

    def as_json(self) -> str:
        """Return the audit as one line of JSON."""
        report = make_converter().unstructure(self.report)
        return json.dumps(
            {"source": self.source, "evidence": self.evidence, "verdict": self.report.verdict.value, **report}
        )

    def as_text(self) -> RenderableType:
        """Return the audit for people to read."""
        table = Table(title=one_line(f"{self.evidence} of {self.source}"), title_justify="left")
        for name in ("signed", "signer", "as named", "trusted", "verdict"):
            table.add_column(name, no_wrap=name != "signed", overflow="fold")
        for check in self.report.checks:
            table.add_row(
                Text(f"{check.where.removeprefix('transcript')} {one_line(check.type or '')[:40]}"),
                _shortened(check.signer),
                _YES_OR_NO[check.matches_claim],
                _YES_OR_NO[check.is_trusted],
                Text(check.verdict, style=_STYLES[check.verdict]),
            )
        lines = [f"{check.where}: {one_line(check.problem)}" for check in self.report.checks if check.problem]
        signers = Counter(check.signer for check in self.report.checks if check.signer is not None)
        lines += [f"{signer} made {count} of the signatures" for signer, count in signers.items()]
        if self.report.total_solutions is not None:
            lines.append(
                f"nodes asked: {self.report.total_solutions}; nodes that had to agree: {self.report.required_solutions}"
            )
        not_checked = [f"- {one_line(sentence)}" for sentence in self.report.not_checked]
        return Group(table, *map(Text, [*lines, "Not checked:", *not_checked, ""]))


async def _run_audit(
    session: TruebitSession, sources: Sequence[str], trusted: Sequence[str], console: Console | None
) -> ExitCode:
    verdicts: set[Verdict] = set()
    is_complete = True
    await asyncio.to_thread(_check_usage, trusted)
    async with session:
        wanted = [
            (source, fetch) for source in sources for fetch in await asyncio.to_thread(_evidence_of, session, source)
        ]
        for source, fetch in wanted:
            try:
                audit = await _audit(source, await fetch(), trusted)
            except REFUSALS:
                raise
            except TruebitError as error:  # the other evidence is audited all the same
                hint = " There is no file of this name either." if isinstance(error, ExecutionNotFoundError) else ""
                print_to_stderr(f"truebit-async: {in_terms_of_the_command(str(error))}{hint}")
                is_complete = False
            else:
                verdicts.add(audit.report.verdict)
                _print(audit, console)
    verdict = overall(verdicts)
    return _EXIT_CODES[verdict] if is_complete or verdict is Verdict.DIFFERENT else ExitCode.NO_FINAL_STATE


def _check_usage(trusted: Sequence[str]) -> None:
    """Check that the addresses are valid, and that the extra is installed, before anything is fetched."""
    try:
        audit_transcript(b"{}", trusted)
    except (ImportError, ValueError) as error:
        raise UsageProblem(str(error)) from None


def _evidence_of(session: TruebitSession, source: str) -> list[Callable[[], Awaitable[Transcript | Invoice]]]:
    """Return what gets the evidence: that in a file, or the transcript and the invoice of an execution."""
    raw = _read_file(source)
    if raw is None:
        return [lambda: session.get_transcript(source), lambda: session.get_invoice(source)]
    names = _names_in(raw)
    try:
        evidence = read_transcript(raw) if "transcript" in names else read_invoice(raw)
        problem = "it has no field of one" if names.isdisjoint(_NAMES_IN_EVIDENCE) else None
    except AuditError as error:
        problem = error.reason
    if problem is not None:
        msg = f"{source} is neither a transcript nor an invoice: {problem}"
        raise UsageProblem(msg)

    async def read() -> Transcript | Invoice:
        return evidence

    return [read]


async def _audit(source: str, evidence: Transcript | Invoice, trusted: Sequence[str]) -> Audit:
    """Audit in a thread, since each signature takes milliseconds."""
    if isinstance(evidence, Transcript):
        return Audit(source, "transcript", await asyncio.to_thread(audit_transcript, evidence, trusted))
    return Audit(source, "invoice", await asyncio.to_thread(audit_invoice, evidence, trusted))


def _print(audit: Audit, console: Console | None) -> None:
    if console is None:
        print_to_stdout(audit.as_json())
    else:
        console.print(audit.as_text())


def _read_file(source: str) -> bytes | None:
    """Return the content of a file; None if the source is an execution ID."""
    try:
        return Path(source).read_bytes()
    except FileNotFoundError:
        if "/" not in source and not source.endswith(".json"):
            return None
        problem = "there is no such file"
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    msg = f"{source}: {problem}"
    raise UsageProblem(msg)


def _names_in(raw: bytes) -> frozenset[str]:
    """Return the names of the fields of a JSON object; none if it is not one."""
    try:
        return frozenset(parse_json(raw).keys())
    except (ValueError, AttributeError, RecursionError):
        return frozenset()


def _shortened(address: str | None) -> str:
    return "" if address is None else f"{address[:6]}…{address[-4:]}"
