"""``truebit-async wait``: a batch from its IDs to its results, which may be a file that a later run resumes."""

from __future__ import annotations

from truebit_async.checkpoint import Checkpoint, outcome_as_json
from truebit_async.cli.progress import BatchProgress
from truebit_async.cli.results import ExitCode, Verdict, exit_code
from truebit_async.session import TruebitSession


async def run_wait(
    session: TruebitSession, execution_ids: list[str], progress: BatchProgress, checkpoint: Checkpoint | None
) -> ExitCode:
    """Wait for executions; print their lines to stdout, or append them to a checkpoint.

    Args:
        session: asks the dispatcher, and is closed in the end.
        execution_ids: the IDs, each once.
        progress: the listener of that session.
        checkpoint: where the lines go; what is final in it is not asked for again. None prints them.

    Returns:
        The exit code, to which final records of the checkpoint count as well.
    """
    final = {} if checkpoint is None else checkpoint.final
    verdicts = {Verdict.of(final[execution_id].execution) for execution_id in execution_ids if execution_id in final}
    pending = [execution_id for execution_id in execution_ids if execution_id not in final]
    progress.total = len(pending)
    async with session:
        with progress:
            async for outcome in session.wait_for_verifications(pending):
                verdicts.add(Verdict.of(outcome.execution))
                if checkpoint is None:
                    progress.print_result(outcome_as_json(outcome))
                else:
                    checkpoint.write(outcome)
    return exit_code(verdicts)
