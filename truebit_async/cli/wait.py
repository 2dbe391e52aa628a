"""``truebit-async wait``: a batch from its IDs to its results, which may be a file that a later run resumes."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping

from truebit_async.checkpoint import Checkpoint, Record, outcome_as_json
from truebit_async.cli.progress import BatchProgress
from truebit_async.cli.results import ExitCode, Verdict, exit_code
from truebit_async.cli.tally import Tally
from truebit_async.session import TruebitSession

ExecutionIds = Iterable[str] | AsyncIterable[str]


async def run_wait(
    session: TruebitSession,
    execution_ids: ExecutionIds,
    progress: BatchProgress,
    checkpoint: Checkpoint | None,
) -> ExitCode:
    """Wait for executions; print their lines to stdout, or append them to a checkpoint.

    Args:
        session: asks the dispatcher, and is closed in the end.
        execution_ids: the IDs; one that comes again is waited for once. An async iterable is read as it goes.
        progress: the listener of that session.
        checkpoint: where the lines go; what is final in it is not asked for again. None prints them.

    Returns:
        The exit code, to which final records of the checkpoint and malformed lines count as well; USAGE if there was
        not one ID, nor a malformed one.
    """
    intake = _Intake(progress.tally, {} if checkpoint is None else checkpoint.final)
    async with session:
        with progress:
            async for outcome in session.wait_for_verifications(intake.pending_in(execution_ids)):
                intake.verdicts.add(Verdict.of(outcome.execution))
                if checkpoint is None:
                    progress.print_result(outcome_as_json(outcome))
                else:
                    checkpoint.write(outcome)
    return intake.exit_code()


class _Intake:
    """Sorts IDs into those to wait for and those that are done with, and remembers every verdict.

    Args:
        tally: is told how many IDs there are.
        final: the answers on file.

    Attributes:
        verdicts: what was met so far.
    """

    def __init__(self, tally: Tally, final: Mapping[str, Record]) -> None:
        self.verdicts: set[Verdict] = set()
        self._tally = tally
        self._final = final
        self._seen: set[str] = set()

    def pending_in(self, execution_ids: ExecutionIds) -> ExecutionIds:
        """Return the IDs to wait for, each once; those of an async iterable come as they are read."""
        if isinstance(execution_ids, AsyncIterable):
            return self._stream(execution_ids)
        pending = [execution_id for execution_id in execution_ids if self._is_pending(execution_id)]
        self._tally.is_total_known = True
        return pending

    def exit_code(self) -> ExitCode:
        if self._tally.malformed:
            return ExitCode.NO_ANSWER
        if self._tally.is_empty:
            return ExitCode.USAGE
        return exit_code(self.verdicts)

    async def _stream(self, execution_ids: AsyncIterable[str]) -> AsyncIterator[str]:
        async for execution_id in execution_ids:
            if self._is_pending(execution_id):
                yield execution_id
        self._tally.is_total_known = True

    def _is_pending(self, execution_id: str) -> bool:
        if execution_id in self._seen:
            return False
        self._seen.add(execution_id)
        if execution_id in self._final:
            self._tally.skipped += 1
            self.verdicts.add(Verdict.of(self._final[execution_id].execution))
            return False
        self._tally.total += 1
        return True
