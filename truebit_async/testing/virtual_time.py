"""An event loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

__all__ = ["VirtualTimeLoop"]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

# Seconds of real time without anything to read before the clock jumps. What is sent to a socket of the same loop is
# there at once, or nearly so; a clock that overtook it would make a timeout of it.
_QUIET = 0.001

# Likewise before it is called a deadlock; a thread that is told to end may take a while.
_QUIET_WITHOUT_TIMER = 0.2


class _NeverBlockingSelector(selectors.DefaultSelector):
    """Moves the clock of its loop on, in place of every wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.jobs = 0  # in threads or processes: until they are done, time is real

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(self._real_timeout(timeout))
        if not ready:
            if timeout is None:
                msg = "deadlock: nothing is ready and no timer is set"
                raise RuntimeError(msg)
            self.now += timeout
        return ready

    def _real_timeout(self, timeout: float | None) -> float | None:
        if timeout == 0:
            return 0
        if self.jobs:
            return timeout
        if timeout is None:
            return _QUIET_WITHOUT_TIMER
        has_sockets = len(self.get_map()) > 1  # one is the loop's own
        return _QUIET if has_sockets else 0


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop on which hours pass at once, for tests of code that sleeps.

    Use it as ``asyncio.Runner(loop_factory=VirtualTimeLoop)``. Its clock starts at 0, and jumps as soon as nothing is
    left to do at a moment. Sockets may be used if both ends are on this loop, as those of a session and a `Simulator`
    are. What comes from another process or thread is not waited for, but for jobs in an executor. Waiting for something
    that no timer will bring is a `RuntimeError` and not a hang.
    """

    def __init__(self) -> None:
        self._virtual = _NeverBlockingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._virtual.now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
        """Run a function in an executor; the clock does not jump meanwhile.

        Args:
            executor: where to run it; None takes the loop's default.
            func: the function.
            args: its arguments.
        """
        job = super().run_in_executor(executor, func, *args)
        self._virtual.jobs += 1
        job.add_done_callback(self._end_job)
        return job

    def _end_job(self, _: asyncio.Future[_T]) -> None:
        self._virtual.jobs -= 1

    async def shutdown_default_executor(self, *args: float | None) -> None:
        """Wait for the threads of the default executor to end; the clock does not jump meanwhile.

        Args:
            args: from Python 3.12 on, for how many seconds.
        """
        self._virtual.jobs += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._virtual.jobs -= 1
