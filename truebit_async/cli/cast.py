"""The executions that ``demo`` waits for and ``simulate`` serves: a few dozen, of every fate."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from truebit_async.cli.results import Verdict
from truebit_async.testing import Reply, Simulator


@attrs.frozen
class Role:
    """Some executions with the same fate.

    Attributes:
        name: the executions are called ``name-01``, ``name-02`` ...
        count: how many there are.
        fate: what happens to them, in a few words.
        verdict: what must become of them.
    """

    name: str
    count: int
    fate: str
    verdict: Verdict

    @property
    def execution_ids(self) -> list[str]:
        """The IDs of its executions."""
        return [f"{self.name}-{number:02}" for number in range(1, self.count + 1)]


CAST = (
    Role("success", 18, "the nodes agree that it worked", Verdict.SUCCEEDED),
    Role("flaky", 5, "two errors 500 on the way, then a success", Verdict.SUCCEEDED),
    Role("failed", 5, "the nodes agree that it failed", Verdict.FAILED),
    Role("indeterminate", 4, "the nodes reach no consensus", Verdict.INDETERMINATE),
    Role("error", 4, "ends with an error", Verdict.ERROR),
    Role("missing", 2, "unknown to the dispatcher (404)", Verdict.NO_ANSWER),
)


def all_execution_ids() -> Iterator[str]:
    """Yield the IDs of the whole cast."""
    for role in CAST:
        yield from role.execution_ids


def add_cast(simulator: Simulator) -> None:
    """Make a Simulator play the cast. Executions take one to six polls, the same at every start."""
    for role in CAST:
        for number, execution_id in enumerate(role.execution_ids):
            polls = 1 + number % 6
            match role.name:
                case "success":
                    simulator.add(execution_id, polls=polls, output=str(number * number))
                case "flaky":
                    failure = Reply.error(500, "database is locked")
                    simulator.script(execution_id, failure, Reply.running(), failure, Reply.success("flaky, but right"))
                case "failed":
                    simulator.add(execution_id, polls=polls, execution_status="failed")
                case "indeterminate":
                    simulator.add(execution_id, polls=polls, status="Indeterminate")
                case "error":
                    simulator.add(execution_id, polls=polls, status="Error")
                case _:
                    pass  # a 404 is what a dispatcher says of an ID that nobody added
