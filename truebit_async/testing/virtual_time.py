"""An event loop whose clock jumps to the next timer instead of waiting."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

__all__ = ["VirtualTimeLoop"]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

# How long, in real seconds, the sockets must be silent before the clock jumps. Data between two sockets of one loop
# arrives almost at once, but not instantly. If the clock jumped earlier, a request could time out in virtual time.
_SILENCE_BEFORE_JUMP = 0.001

# How long, in real seconds, nothing may happen without a timer before it counts as a deadlock. A thread may need some
# time to end.
_SILENCE_BEFORE_DEADLOCK = 0.2


class _VirtualTimeSelector(selectors.DefaultSelector):
    """Advances the virtual time instead of waiting for the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.running_jobs = 0  # in threads or processes; while there are any, the selector waits in real time

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
        if self.running_jobs:
            return timeout
        if timeout is None:
            return _SILENCE_BEFORE_DEADLOCK
        has_sockets = len(self.get_map()) > 1  # the loop itself uses one
        return _SILENCE_BEFORE_JUMP if has_sockets else 0


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, for tests of code that sleeps.

    Use it as ``asyncio.Runner(loop_factory=VirtualTimeLoop)``. The clock starts at 0. When nothing is ready to run, it
    jumps to the next timer, so that an hour of sleep takes no time.

    Both ends of a socket must be on this loop, as with a session and a `Simulator`. The loop waits in real time for
    jobs in an executor, but not for other threads or processes. If nothing is ready and no timer is set, the loop
    raises a `RuntimeError` instead of waiting forever.
    """

    def __init__(self) -> None:
        self._virtual_selector = _VirtualTimeSelector()
        super().__init__(self._virtual_selector)

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._virtual_selector.now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
        """Run a function in an executor. The clock does not jump while it runs.

        Args:
            executor: the executor; None means the default executor of the loop.
            func: the function.
            args: its arguments.
        """
        job = super().run_in_executor(executor, func, *args)
        self._virtual_selector.running_jobs += 1
        job.add_done_callback(self._end_job)
        return job

    def _end_job(self, _: asyncio.Future[_T]) -> None:
        self._virtual_selector.running_jobs -= 1

    async def shutdown_default_executor(self, *args: float | None) -> None:
        """Wait for the threads of the default executor to end. The clock does not jump while they run.

        Args:
            args: the time limit in seconds (Python 3.12 and later).
        """
        self._virtual_selector.running_jobs += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._virtual_selector.running_jobs -= 1
