"""``truebit-async demo``: a batch of executions on a Simulator, and a chain of two tasks with their evidence."""

from __future__ import annotations

import asyncio
import json
from statistics import median

from rich.console import Console
from rich.table import Table
from tenacity import wait_random_exponential

from truebit_async.audit import audit_transcript
from truebit_async.cli.categories import OutcomeCategory
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.progress import BatchProgress
from truebit_async.cli.scenarios import SCENARIOS, Scenario, add_scenarios, all_execution_ids
from truebit_async.models import ApiTask, Execution, FunctionTask, Outcome
from truebit_async.policy import PollPolicy
from truebit_async.session import TruebitSession
from truebit_async.testing import Simulator

_SHOWN_ID = "success-08"
_POLICY = PollPolicy(wait=wait_random_exponential(multiplier=0.4, min=0.2, max=1.5), deadline=12)


async def run_demo() -> ExitCode:
    """Wait for the executions of all scenarios, and run a chain.

    Returns:
        SUCCEEDED if every execution ended as expected, else NOT_SUCCEEDED.
    """
    out, messages = Console(), Console(stderr=True)
    outcomes: dict[str, Outcome[Execution]] = {}
    async with Simulator() as simulator:
        add_scenarios(simulator)
        execution_ids = list(all_execution_ids())
        messages.print(f"A simulated dispatcher at {simulator.url} runs {len(execution_ids)} executions.")
        with BatchProgress(messages, live=messages.is_terminal) as progress:
            progress.summary.total, progress.summary.is_total_known = len(execution_ids), True
            async with TruebitSession(simulator.url, api_key="demo", policy=_POLICY, listeners=[progress]) as session:
                async for outcome in session.wait_for_verifications(execution_ids):
                    outcomes[outcome.execution_id] = outcome
                requests = len(simulator.requests)
        async with TruebitSession(simulator.url, api_key="demo", policy=_POLICY) as session:
            chain = await _run_chain(session, simulator)
    out.print(_table(outcomes))
    all_as_expected = all(
        OutcomeCategory.of(outcomes[execution_id].execution) is scenario.expected
        for scenario in SCENARIOS
        for execution_id in scenario.execution_ids
    )
    conclusion = "Every execution ended as expected" if all_as_expected else "NOT every execution ended as expected"
    out.print(f"{conclusion} ({requests} requests).\n")
    for line in [*_code_for(outcomes[_SHOWN_ID]), *chain]:
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    return ExitCode.SUCCEEDED if all_as_expected else ExitCode.NOT_SUCCEEDED


async def _run_chain(session: TruebitSession, simulator: Simulator) -> list[str]:
    """Run an API task, feed its output into a function task, and audit that. Return lines that tell of it."""
    get_order = ApiTask("demo", "order", path="/order/{id}", method="GET", params={"id": 2}, execution_timeout=10)
    order = (await session.apis.run(get_order)).output
    check = FunctionTask("demo", "shipped", json.dumps(order), total_solutions=3, required_solutions=2)
    checked = await session.functions.run(check)
    transcript = await session.get_transcript(checked.execution_id)
    lines = [
        "A chain of two tasks, each of them submitted once:",
        f"1. API task demo/order        {json.dumps(order)}",
        f"2. function task demo/shipped {checked.output}",
    ]
    signer = await asyncio.to_thread(lambda: simulator.signer)  # the first time, this imports a library
    if signer is None:
        return [*lines, "To audit the transcript, install the extra `audit`"]
    report = await asyncio.to_thread(audit_transcript, transcript, [signer])
    return [
        *lines,
        f"3. audit of its transcript    {len(report.checks)} signatures {report.verdict}",
        f"                              {report.required_solutions} of {report.total_solutions} nodes had to agree",
    ]


def _code_for(outcome: Outcome[Execution]) -> list[str]:
    """Return lines that show a result, and the code that gets it."""
    return [
        f"The result of {outcome.execution_id} is {outcome.output}. This is the code that gets it:",
        "",
        "    async with TruebitSession() as session:",
        f'        execution = await session.wait_for_verification("{outcome.execution_id}")',
        "    print(execution.output)",
        "",
    ]


def _table(outcomes: dict[str, Outcome[Execution]]) -> Table:
    table = Table()
    table.add_column("executions", overflow="fold")
    table.add_column("what happens")
    table.add_column("outcome", overflow="fold")
    table.add_column("polls", justify="right")
    table.add_column("median time", justify="right")
    for scenario in SCENARIOS:
        table.add_row(*_row(scenario, [outcomes[execution_id] for execution_id in scenario.execution_ids]))
    return table


def _row(scenario: Scenario, outcomes: list[Outcome[Execution]]) -> tuple[str, str, str, str, str]:
    categories = {OutcomeCategory.of(outcome.execution) for outcome in outcomes}
    return (
        f"{scenario.count} {scenario.name}",
        scenario.description,
        ", ".join(sorted(categories)),
        str(sum(outcome.polls for outcome in outcomes)),
        f"{median(outcome.elapsed for outcome in outcomes):.1f} s",
    )
