"""The executions of ``demo`` and ``simulate``: a few dozen, grouped by what happens to them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import attrs

from truebit_async.cli.categories import OutcomeCategory
from truebit_async.testing import Reply, Simulator


@attrs.frozen
class Scenario:
    """A group of executions that all end in the same way.

    Attributes:
        name: the prefix of their IDs: ``name-01``, ``name-02`` and so on.
        count: the number of executions.
        description: what happens to them, in a few words.
        expected: the category of their outcomes.
    """

    name: str
    count: int
    description: str
    expected: OutcomeCategory

    @property
    def execution_ids(self) -> list[str]:
        """The IDs of the executions."""
        return [f"{self.name}-{number:02}" for number in range(1, self.count + 1)]


SCENARIOS = (
    Scenario("success", 18, "the run succeeded", OutcomeCategory.SUCCEEDED),
    Scenario("flaky", 5, "two polls get a 500", OutcomeCategory.SUCCEEDED),
    Scenario("failed", 5, "the run failed", OutcomeCategory.FAILED),
    Scenario("indeterminate", 4, "no consensus", OutcomeCategory.INDETERMINATE),
    Scenario("error", 4, "ends with an error", OutcomeCategory.ERROR),
    Scenario("missing", 2, "unknown ID (404)", OutcomeCategory.NO_FINAL_STATE),
)


def all_execution_ids() -> Iterator[str]:
    """Yield the execution IDs of all scenarios."""
    for scenario in SCENARIOS:
        yield from scenario.execution_ids


def add_scenarios(simulator: Simulator) -> None:
    """Add the executions of all scenarios to a Simulator. Each takes one to six polls, the same number in every run.

    Three tasks can be submitted: the function tasks ``demo/square`` (of a number) and ``demo/shipped`` (of an order as
    JSON), and the API task ``demo/order``.
    """
    simulator.deploy_function("demo", "square", lambda text: str(int(text) ** 2), polls=1)
    simulator.deploy_function("demo", "shipped", _is_shipped, polls=1)
    simulator.deploy_api("demo", "order", lambda call: {"id": call["params"]["id"], "state": "shipped"}, polls=1)
    for scenario in SCENARIOS:
        for index, execution_id in enumerate(scenario.execution_ids):
            polls = 1 + index % 6
            match scenario.name:
                case "success":
                    simulator.add(execution_id, polls=polls, output=str(index * index))
                case "flaky":
                    failure = Reply.error(500, "database is locked")
                    success = Reply.success("succeeded after two failures")
                    simulator.script(execution_id, failure, Reply.running(), failure, success)
                case "failed":
                    simulator.add(execution_id, polls=polls, execution_status="failed")
                case "indeterminate":
                    simulator.add(execution_id, polls=polls, status="Indeterminate")
                case "error":
                    simulator.add(execution_id, polls=polls, status="Error")
                case _:
                    pass  # the Simulator answers 404 for an ID that was not added


def _is_shipped(order: str) -> str:
    return "true" if json.loads(order)["state"] == "shipped" else "false"
