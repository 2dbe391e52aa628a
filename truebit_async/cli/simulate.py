"""``truebit-async simulate``: serve a simulated dispatcher until somebody stops it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shlex
from collections.abc import Sequence
from pathlib import Path

from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.output import check_stdout, print_to_stderr, print_to_stdout
from truebit_async.cli.runner import UsageProblem, run
from truebit_async.cli.scenarios import add_scenarios, all_execution_ids
from truebit_async.testing import Simulator

_SEED = 11  # so that two rehearsals are alike


def run_simulator(
    port: int, ids_file: Path | None, count: int | None, running_for: tuple[float, float], failing: float
) -> ExitCode:
    """Serve a simulated dispatcher until Ctrl-C or SIGTERM.

    Args:
        port: the port to listen on; 0 takes a free one.
        ids_file: where to write the execution IDs; None is stdout.
        count: how many executions to serve; None serves those of ``demo``.
        running_for: how many seconds an execution runs, at least and at most.
        failing: the share of executions that do not succeed, from 0 to 1.
    """
    if ids_file is None:
        check_stdout()
    return run(lambda: _serve(port, ids_file, count, running_for, failing)).report()


async def _serve(
    port: int, ids_file: Path | None, count: int | None, running_for: tuple[float, float], failing: float
) -> ExitCode:
    simulator = Simulator(port=port)
    add_scenarios(simulator)
    ids = list(all_execution_ids())
    if count is not None:
        ids = _add_batch(simulator, count, running_for, failing)
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(simulator)
        except OSError as error:
            msg = f"cannot listen on port {port}: {error.strerror or error}; --port 0 takes a free one"
            raise UsageProblem(msg) from None
        if ids_file is None:
            print_to_stdout("\n".join(ids))
        else:
            await asyncio.to_thread(_write_new, ids_file, ids)
        where = "on stdout" if ids_file is None else f"in {ids_file}"
        print_to_stderr(
            f"A simulated dispatcher listens at {simulator.url}; Ctrl-C stops it. Its {len(ids):,} IDs are {where}."
        )
        what = ids[0] if ids_file is None else f"--from {shlex.quote(str(ids_file))}"
        print_to_stderr(f"Try: truebit-async wait --base-url {simulator.url} {what}")
        while True:
            await asyncio.Event().wait()  # nothing sets this event: the Simulator runs until it is stopped


def _add_batch(simulator: Simulator, count: int, running_for: tuple[float, float], failing: float) -> list[str]:
    """Add executions to a Simulator, and return their IDs."""
    chance = random.Random(_SEED)  # noqa: S311  # no secret
    ids = [f"batch-{number:0{len(str(count))}}" for number in range(1, count + 1)]
    failed_ids = set(chance.sample(ids, round(count * failing)))
    for number, execution_id in enumerate(ids):
        seconds = chance.uniform(*running_for)
        if execution_id in failed_ids:
            simulator.add(execution_id, running_for=seconds, execution_status="failed")
        else:
            simulator.add(execution_id, running_for=seconds, output=str(number))
    return ids


def _write_new(path: Path, ids: Sequence[str]) -> None:
    """Write the IDs to a file that does not exist yet: it may be the list of a real batch."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.writelines(f"{execution_id}\n" for execution_id in ids)
    except OSError as error:
        msg = f"cannot write the IDs to {path}: {error.strerror or error}; name a new file"
        raise UsageProblem(msg) from None
