"""``truebit-async wait``: wait for a batch of executions, and print the results or append them to a checkpoint."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Any, TypeVar

from truebit_async.checkpoint import Checkpoint, FinalState, outcome_as_json
from truebit_async.cli.exit_codes import ExitCode, OutcomeCategory, exit_code_for
from truebit_async.cli.progress import BatchProgress
from truebit_async.cli.summary import Summary
from truebit_async.models import AnyExecution
from truebit_async.session import TruebitSession
from truebit_async.tasks import Tasks

ExecutionT = TypeVar("ExecutionT", bound=AnyExecution[object])

ExecutionIds = Iterable[str] | AsyncIterable[str]


async def run_wait(
    session: TruebitSession,
    tasks: Tasks[Any, ExecutionT],
    execution_ids: ExecutionIds,
    progress: BatchProgress,
    checkpoint: Checkpoint[ExecutionT] | None,
) -> ExitCode:
    """Wait for executions; print their outcomes to stdout, or append them to a checkpoint.

    Args:
        session: is closed at the end.
        tasks: polls the dispatcher through the session.
        execution_ids: the IDs. An ID that occurs twice is waited for once. An async iterable is read step by step.
        progress: the listener of the session.
        checkpoint: where to write the outcomes. IDs with a final state in it are skipped. None prints the outcomes.

    Returns:
        The exit code. Skipped IDs and malformed lines count too. USAGE means that there was neither an ID nor a
        malformed line.
    """
    summary = progress.summary
    pending = _PendingIds(summary, {} if checkpoint is None else checkpoint.final)
    categories: set[OutcomeCategory] = set()
    async with session:
        with progress:
            async for outcome in tasks.wait_for_verifications(pending.select(execution_ids)):
                categories.add(OutcomeCategory.of(outcome.execution))
                if checkpoint is None:
                    progress.print_result(outcome_as_json(outcome))
                else:
                    checkpoint.write(outcome)
    if summary.malformed:
        return ExitCode.NO_FINAL_STATE
    if summary.is_empty:
        return ExitCode.USAGE
    return exit_code_for(categories | pending.skipped_categories)


class _PendingIds:
    """Selects the IDs that need to be waited for, and counts them in a summary.

    Args:
        summary: receives the counts.
        final: the final states in the checkpoint, by execution ID.

    Attributes:
        skipped_categories: the categories of the skipped executions.
    """

    def __init__(self, summary: Summary, final: Mapping[str, FinalState]) -> None:
        self.skipped_categories: set[OutcomeCategory] = set()
        self._summary = summary
        self._final = final
        self._seen: set[str] = set()

    def select(self, execution_ids: ExecutionIds) -> ExecutionIds:
        """Return each ID once, without those that have a final state. An async iterable is read step by step."""
        if isinstance(execution_ids, AsyncIterable):
            return self._select_async(execution_ids)
        pending = [execution_id for execution_id in execution_ids if self._is_pending(execution_id)]
        self._summary.is_total_known = True
        return pending

    async def _select_async(self, execution_ids: AsyncIterable[str]) -> AsyncIterator[str]:
        async for execution_id in execution_ids:
            if self._is_pending(execution_id):
                yield execution_id
        self._summary.is_total_known = True

    def _is_pending(self, execution_id: str) -> bool:
        if execution_id in self._seen:
            return False
        self._seen.add(execution_id)
        state = self._final.get(execution_id)
        if state is not None:
            self._summary.skipped += 1
            self.skipped_categories.add(OutcomeCategory.of_status(state.status, succeeded=state.succeeded))
            return False
        self._summary.total += 1
        return True
