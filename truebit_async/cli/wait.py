"""``truebit-async wait``: wait for a batch of executions, and print the results or append them to a checkpoint."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import stat
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console

from truebit_async.checkpoint import Checkpoint, outcome_as_json
from truebit_async.cli.categories import OutcomeCategory, exit_code_for
from truebit_async.cli.causes import cause_of
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.hints import in_terms_of_the_command
from truebit_async.cli.ids import IdParser
from truebit_async.cli.learned import LearnedInterval
from truebit_async.cli.lines import LineReader
from truebit_async.cli.options import Budgets, Connection, ResultFormat, TaskKind, is_text
from truebit_async.cli.output import check_stdout, print_to_stderr, print_to_stdout, stdout_is_a_pipe
from truebit_async.cli.pending_ids import PendingIds
from truebit_async.cli.progress import BatchProgress
from truebit_async.cli.result_text import result_line
from truebit_async.cli.runner import REFUSALS, ExitStatus, UsageProblem, run
from truebit_async.cli.sessions import logging_to, make_session, tasks_of
from truebit_async.cli.shard_summary import ShardSummary
from truebit_async.errors import TruebitError
from truebit_async.models import AnyExecution, Outcome
from truebit_async.session import TruebitSession
from truebit_async.sharding import Shard

ExecutionIds = Iterable[str] | AsyncIterable[str]
AnyCheckpoint = Checkpoint[Any]

_SECONDS_BETWEEN_LOOKS = 0.05


@attrs.frozen(kw_only=True)
class Wait:
    """The options of ``wait``.

    Attributes:
        execution_ids: the IDs among the arguments.
        sources: the files with more of them; ``-`` is stdin.
        column: the column of CSV in these files; None if they are not CSV.
        out: the checkpoint; None prints the results.
        resume: whether to continue the checkpoint.
        shard: which IDs to wait for; None waits for all.
        result_format: how to print the results; None is text on a terminal, and JSON elsewhere.
        has_json_summary: whether to print the summary as JSON.
        is_quiet: whether to print neither progress nor summary.
        kind: the kind of task.
        budgets: how long to wait, and how often to ask.
        connection: which dispatcher to ask, and as whom.
    """

    execution_ids: tuple[str, ...]
    sources: tuple[str, ...]
    column: str | None
    out: Path | None
    resume: bool
    shard: Shard | None
    result_format: ResultFormat | None
    has_json_summary: bool
    is_quiet: bool
    kind: TaskKind
    budgets: Budgets
    connection: Connection

    def run(self) -> ExitCode:
        """Wait for the executions."""
        if self.out is None or self.has_json_summary:
            check_stdout()
        console = Console(stderr=True)
        progress = BatchProgress(console, live=self._has_live_display(console), quiet=self.is_quiet)
        summary = progress.summary

        def report_malformed(problem: str) -> None:
            if self.shard is None or self.shard.index == 0:  # a line without an ID belongs to no shard
                summary.malformed += 1
                progress.print_message(problem)

        with contextlib.ExitStack() as stack:
            ids = self._open_sources(stack, report_malformed)
            shards = 1 if self.shard is None else self.shard.count
            learned = LearnedInterval(self.budgets, self.out)
            session = make_session(self.connection, self.budgets, progress, strategy=learned.strategy, shards=shards)
            try:
                checkpoint = self._open_checkpoint(stack)
                shard_summary = self._begin_shard_summary()
            except TruebitError as error:
                return ExitStatus(ExitCode.USAGE, in_terms_of_the_command(str(error))).report()
            stack.enter_context(logging_to(progress.print_message, verbose=self.connection.verbose))
            stack.callback(learned.end, summary)  # also after a bug
            status = run(lambda: self._wait(session, ids, progress, checkpoint))
        if self.has_json_summary:
            print_to_stdout(summary.as_json(status.code))
        elif summary.is_empty and self.shard is not None and not self.is_quiet:
            print_to_stderr(f"no ID of the input belongs to shard {self.shard}")
        elif not (summary.is_empty or self.is_quiet):
            console.print(summary.as_text(), highlight=False, soft_wrap=not console.is_terminal)
        if shard_summary is not None and status.message is None:  # it has reached its end
            shard_summary.end(summary, status.code)
        if status.code.is_interruption:
            status = attrs.evolve(status, message=f"{status.message}{self._how_to_continue}")
        return status.report()

    async def _wait(
        self, session: TruebitSession, ids: ExecutionIds, progress: BatchProgress, checkpoint: AnyCheckpoint | None
    ) -> ExitCode:
        summary = progress.summary
        pending = PendingIds(summary, {} if checkpoint is None else checkpoint.final, self.shard)
        categories: set[OutcomeCategory] = set()
        async with session:
            outcomes = tasks_of(session, self.kind).wait_for_verifications(pending.select(ids))
            with progress:
                async with contextlib.aclosing(outcomes):
                    async for outcome in outcomes:
                        categories.add(OutcomeCategory.of(outcome.execution))
                        if checkpoint is None:
                            await _until_stdout_has_room()
                            progress.print_result(self._result(outcome))
                        else:
                            checkpoint.write(outcome)
                        if isinstance(outcome.error, REFUSALS) and not progress.has_answer:
                            problem = in_terms_of_the_command(str(outcome.error)).rstrip(".")
                            msg = f"stopped, since no other request can succeed: {problem}{self._how_to_continue}"
                            raise UsageProblem(msg)
        if summary.malformed:
            return ExitCode.NO_FINAL_STATE
        if summary.is_empty and self.shard is None:
            msg = "; ".join(f"{'stdin' if name == '-' else name} contains no execution ID" for name in self.sources)
            raise UsageProblem(msg)
        return exit_code_for(categories | summary.skipped.keys())

    def _result(self, outcome: Outcome[AnyExecution[object]]) -> str:
        if not is_text(self.result_format):
            return outcome_as_json(outcome)
        problem = "" if outcome.error is None else str(cause_of(outcome.error))
        return result_line(outcome.execution_id, outcome.execution, problem, outcome.elapsed)

    def _has_live_display(self, console: Console) -> bool:
        """Return whether there is a terminal on which nobody types IDs, and to which no other program may print."""
        if self.is_quiet or not console.is_terminal or console.is_dumb_terminal:
            return False
        somebody_types = "-" in self.sources and sys.stdin is not None and sys.stdin.isatty()
        a_program_may_print = self.out is None and stdout_is_a_pipe()
        return not (somebody_types or a_program_may_print)

    def _open_sources(self, stack: contextlib.ExitStack, report_malformed: Callable[[str], None]) -> ExecutionIds:
        """Return the IDs of all sources. Files are read now, and stdin is read step by step.

        Raises:
            UsageProblem: a source cannot be read.
        """
        known_ids = list(self.execution_ids)
        for name in self.sources:
            if name != "-":
                known_ids += self._read_ids(name, IdParser(name, report_malformed, self.column))
        if "-" not in self.sources:
            return known_ids
        if sys.stdin is None:  # it was closed, and its number may belong to another file by now
            msg = "cannot read IDs from stdin: it is closed"
            raise UsageProblem(msg)
        if sys.stdin.isatty():
            print_to_stderr("reading IDs from stdin, one per line; Ctrl-D ends the input")
        lines = stack.enter_context(LineReader(sys.stdin.fileno()))
        return IdParser("stdin", report_malformed, self.column).stream(known_ids, lines)

    def _read_ids(self, path: str, parser: IdParser) -> Iterator[str]:
        """Yield the IDs in a file, but not those of other shards: they could fill the memory."""
        try:
            with Path(path).open("rb") as file:
                for execution_id in parser.parse_all(line.removesuffix(b"\n") for line in file):
                    if self.shard is None or execution_id in self.shard:
                        yield execution_id
        except OSError as error:
            msg = f"cannot read IDs from {path}: {error.strerror or error}"
            raise UsageProblem(msg) from None

    def _open_checkpoint(self, stack: contextlib.ExitStack) -> AnyCheckpoint | None:
        if self.out is None:
            return None
        checkpoint: AnyCheckpoint
        if self.kind is TaskKind.API:
            checkpoint = stack.enter_context(Checkpoint(self.out, resume=self.resume, kind="api"))
        else:
            checkpoint = stack.enter_context(Checkpoint(self.out, resume=self.resume))
        if checkpoint.mended is not None:
            print_to_stderr(f"{self.out}: {checkpoint.mended}")
        return checkpoint

    def _begin_shard_summary(self) -> ShardSummary | None:
        if self.shard is None or self.out is None:
            return None
        others = [path.name for path in self.out.parent.glob("results-*.jsonl") if self._is_of_other_shards(path)]
        if others:
            print_to_stderr(f"warning: {others[0]} belongs to another number of shards; its IDs are waited for again")
        shard_summary = ShardSummary(self.out)
        shard_summary.begin()
        return shard_summary

    def _is_of_other_shards(self, path: Path) -> bool:
        shard = Shard.of_file(path)
        return shard is not None and self.shard is not None and shard.count != self.shard.count

    @property
    def _how_to_continue(self) -> str:
        return "" if self.out is None else f"; to continue {self.out}, run the same command with --resume"


async def _until_stdout_has_room() -> None:
    """Wait while the reader of stdout does not read: a write would stop the event loop, and Ctrl-C with it."""
    mode = os.fstat(1).st_mode
    may_be_full = os.name == "posix" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode))
    while may_be_full and not select.select([], [1], [], 0)[1]:  # noqa: ASYNC110  # not every loop can watch stdout
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
