"""Which of the IDs in the input need to be waited for."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping

from truebit_async.checkpoint import FinalState
from truebit_async.cli.categories import OutcomeCategory
from truebit_async.cli.summary import Summary
from truebit_async.sharding import Shard


class PendingIds:
    """Selects the IDs that need to be waited for, and counts them in a summary.

    Args:
        summary: receives the counts.
        final: the final states in the checkpoint, by execution ID.
        shard: the shard whose IDs to select; None selects all.
    """

    def __init__(self, summary: Summary, final: Mapping[str, FinalState], shard: Shard | None) -> None:
        self._summary = summary
        self._final = final
        self._shard = shard
        self._seen: set[str] = set()

    def select(self, execution_ids: Iterable[str] | AsyncIterable[str]) -> Iterable[str] | AsyncIterable[str]:
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
        if execution_id in self._seen or (self._shard is not None and execution_id not in self._shard):
            return False
        self._seen.add(execution_id)
        state = self._final.get(execution_id)
        if state is not None:
            self._summary.skipped[OutcomeCategory.of_status(state.status, succeeded=state.succeeded)] += 1
            return False
        self._summary.total += 1
        return True
