"""``truebit-async demo``: a batch against a Simulator, from the first poll to the table of what became of it."""

from __future__ import annotations

from statistics import median

from rich.console import Console
from rich.table import Table
from tenacity import wait_random_exponential

from truebit_async.cli.cast import CAST, Role, add_cast, all_execution_ids
from truebit_async.cli.progress import BatchProgress
from truebit_async.cli.results import ExitCode, Verdict
from truebit_async.models import Outcome
from truebit_async.policy import PollPolicy
from truebit_async.session import TruebitSession
from truebit_async.testing import Simulator

_POLICY = PollPolicy(wait=wait_random_exponential(multiplier=0.4, min=0.2, max=1.5), deadline=12)


async def run_demo(out: Console, messages: Console) -> ExitCode:
    """Wait for the cast; print a table to ``out`` and progress to ``messages``.

    Returns:
        SUCCEEDED if every execution ended as planned, else NOT_SUCCEEDED.
    """
    outcomes: dict[str, Outcome] = {}
    async with Simulator() as simulator:
        add_cast(simulator)
        execution_ids = list(all_execution_ids())
        messages.print(f"A simulated dispatcher at {simulator.url} runs {len(execution_ids)} executions.")
        with BatchProgress(messages, live=messages.is_terminal) as progress:
            progress.tally.total, progress.tally.is_total_known = len(execution_ids), True
            async with TruebitSession(simulator.url, api_key="demo", policy=_POLICY, listener=progress) as session:
                async for outcome in session.wait_for_verifications(execution_ids):
                    outcomes[outcome.execution_id] = outcome
        requests = len(simulator.requests)
    messages.print(progress.tally.as_text())
    out.print(_table(outcomes))
    went_as_planned = all(
        Verdict.of(outcomes[execution_id].execution) is role.verdict
        for role in CAST
        for execution_id in role.execution_ids
    )
    verdict = "Every execution ended as planned" if went_as_planned else "NOT every execution ended as planned"
    out.print(f"{verdict} ({requests} requests).")
    return ExitCode.SUCCEEDED if went_as_planned else ExitCode.NOT_SUCCEEDED


def _table(outcomes: dict[str, Outcome]) -> Table:
    table = Table(title="What became of them")
    table.add_column("executions")
    table.add_column("fate")
    table.add_column("verdict")
    table.add_column("polls", justify="right")
    table.add_column("median time", justify="right")
    for role in CAST:
        table.add_row(*_row(role, [outcomes[execution_id] for execution_id in role.execution_ids]))
    return table


def _row(role: Role, outcomes: list[Outcome]) -> tuple[str, str, str, str, str]:
    verdicts = {Verdict.of(outcome.execution) for outcome in outcomes}
    return (
        f"{role.count} {role.name}",
        role.fate,
        ", ".join(sorted(verdicts)),
        str(sum(outcome.polls for outcome in outcomes)),
        f"{median(outcome.elapsed for outcome in outcomes):.1f} s",
    )
