"""A Simulator in a process of its own, for tests whose load would slow down a server beside them."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from truebit_async.testing import Simulator


async def _serve(set_up: Callable[[Simulator], None], parent: Connection) -> None:
    async with Simulator() as simulator:
        set_up(simulator)
        parent.send(simulator.url)
        await asyncio.get_running_loop().run_in_executor(None, parent.poll, None)


def _run(set_up: Callable[[Simulator], None], parent: Connection) -> None:
    asyncio.run(_serve(set_up, parent))


@contextlib.contextmanager
def simulator_process(set_up: Callable[[Simulator], None]) -> Iterator[str]:
    """Run a Simulator that a module-level function has set up; yield its URL."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_run, args=(set_up, there))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join()
        process.close()
        here.close()
        there.close()
