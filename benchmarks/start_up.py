"""What it costs to start the command: CPU time of whole processes, beside processes that only import aiohttp."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import attrs

from benchmarks.clients import PATH

Numbers = dict[str, float]

COMMAND = str(Path(sysconfig.get_path("scripts"), "truebit-async"))

# Runs a command and prints what it used. It is small: the peak of a process is at least that of the one that starts it.
_LAUNCHER = """\
import os, sys
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""

_ONE_GET = """\
import asyncio
import sys

import aiohttp


async def main():
    async with aiohttp.ClientSession() as http, http.get(sys.argv[1]) as response:
        await response.json()


asyncio.run(main())
"""


@attrs.frozen
class Usage:
    """What a process has used.

    Attributes:
        cpu: CPU time in seconds, user and system.
        memory: its peak of resident memory, in bytes.
    """

    cpu: float
    memory: float


@attrs.frozen
class Child:
    """A process to measure.

    Attributes:
        command: its command line.
        prints: something that its output must contain, so that no failure is measured.
        environment: environment variables, beside those of this process.
        stdin: the file that it reads; None is empty.
    """

    command: list[str]
    prints: str = ""
    environment: dict[str, str] = attrs.field(factory=dict)
    stdin: Path | None = None

    def run(self) -> Usage:
        """Run it in an empty folder, without ``PYTHON*`` and ``TRUEBIT*`` variables."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TRUEBIT"))}
        with tempfile.TemporaryDirectory() as folder, Path(self.stdin or os.devnull).open("rb") as stdin:
            ran = subprocess.run(  # noqa: S603  # the commands are those of this package
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, *self.command],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                cwd=folder,
                env=inherited | self.environment,
            )
        assert ran.returncode == 0, f"{self.command} exited with {ran.returncode}:\n{ran.stdout}"
        *printed, used = ran.stdout.splitlines()
        assert self.prints in "\n".join(printed), f"{self.command} did not print {self.prints}:\n{ran.stdout}"
        return Usage(*map(float, used.split()))


def start_up(url: str, rounds: int) -> Numbers:
    """Measure CPU time of processes, user and system; return milliseconds and ratios.

    The processes take turns. Each round yields one ratio of each pair. Each result is the median of the rounds.
    """
    completion = {"_TRUEBIT_ASYNC_COMPLETE": "bash_complete", "COMP_WORDS": "truebit-async wait --d", "COMP_CWORD": "2"}
    children = {
        "import aiohttp": Child([sys.executable, "-c", "import aiohttp"]),
        "--version": Child([COMMAND, "--version"], "truebit"),
        "--help": Child([COMMAND, "--help"], "--version"),
        "completion": Child([COMMAND], "--deadline", completion),
        "one GET": Child([sys.executable, "-c", _ONE_GET, f"{url}{PATH}done-1"]),
        "status": Child([COMMAND, "status", "--base-url", url, "done-1"], '"verificationStatus": "Success"'),
    }
    beside = dict.fromkeys(["--version", "--help", "completion"], "import aiohttp") | {"status": "one GET"}
    costs: dict[str, list[float]] = {name: [] for name in children}
    for number in range(rounds + 1):
        for name in list(children)[:: 1 if number % 2 else -1]:
            cpu = children[name].run().cpu
            if number:  # the first round writes bytecode files and fills the page cache
                costs[name].append(cpu * 1000)
    numbers = {name: statistics.median(cost) for name, cost in costs.items()}
    for name, other in beside.items():
        ratios = [ours / plain for ours, plain in zip(costs[name], costs[other], strict=True)]
        numbers[f"{name} / {other}"] = statistics.median(ratios)
    return numbers
