"""``demo`` and ``simulate``: try everything without a network."""

from __future__ import annotations

from pathlib import Path

import click

from truebit_async.cli.duration import parse_duration_range
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.help import Command
from truebit_async.cli.options import COUNT, FILE, Checked, option

_LARGEST_PORT = 65535


def _parse_share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        msg = f"{text!r} is not a share; write it like 5% or 0.05"
        raise ValueError(msg)
    return share


@click.command(
    cls=Command,
    short_help="Try it without a network.",
    exit_codes=[
        (ExitCode.SUCCEEDED, "every execution ended as expected"),
        (ExitCode.NOT_SUCCEEDED, "at least one did not"),
        (ExitCode.INTERRUPTED, "interrupted by Ctrl-C"),
    ],
)
def demo() -> ExitCode:
    """Run a demonstration that needs no network and no API key.

    It starts a simulated dispatcher with a few dozen executions and waits for them. The executions cover every kind of
    outcome, so the demonstration shows how `wait` reports each of them. Then it runs a chain of two tasks.
    """
    from truebit_async.cli.demo import run_demo
    from truebit_async.cli.runner import run

    return run(run_demo).report()


@click.command(
    cls=Command,
    short_help="Serve a simulated dispatcher.",
    examples=[
        "truebit-async simulate --count 2000 --ids ids.txt --running-for 5..35s",
        "truebit-async wait --base-url http://127.0.0.1:8080 --from ids.txt",
    ],
    exit_codes=[
        (ExitCode.USAGE, "wrong usage, or the port is in use"),
        (ExitCode.INTERRUPTED, "stopped by Ctrl-C"),
        (ExitCode.TERMINATED, "terminated by SIGTERM"),
    ],
)
@option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, _LARGEST_PORT),
    default=8080,
    help="The port; 0 takes a free one. Default: 8080.",
)
@option(
    "--count",
    metavar="COUNT",
    type=COUNT,
    help="Add this many executions, and print their IDs instead of those of `demo`.",
)
@option("--ids", "ids_file", metavar="FILE", type=FILE, help="Write the IDs to this new file instead of stdout.")
@option(
    "--running-for",
    metavar="DURATION..DURATION",
    type=Checked("duration", parse_duration_range),
    help="How long an execution runs once it has been asked for, for example 10s or 5..35s. Needs --count.",
)
@option(
    "--fail",
    metavar="SHARE",
    type=Checked("share", _parse_share),
    help="The share of executions that do not succeed, for example 5%. Needs --count.",
)
def simulate(
    *,
    port: int,
    count: int | None,
    ids_file: Path | None,
    running_for: tuple[float, float] | None,
    fail: float | None,
) -> ExitCode:
    """Serve a simulated dispatcher on 127.0.0.1 until Ctrl-C, to try a program or this command.

    It prints the IDs of its executions: those of `demo`, or a batch of --count executions to rehearse with. It also
    runs the tasks demo/square, demo/shipped (functions) and demo/order (API).
    """
    if count is None and (running_for is not None or fail is not None):
        message = "--running-for and --fail need --count"
        raise click.UsageError(message)
    from truebit_async.cli.simulate import run_simulator

    return run_simulator(port, ids_file, count, running_for or (0.0, 0.0), fail or 0.0)
