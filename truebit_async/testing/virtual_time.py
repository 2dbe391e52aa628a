"""An event loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors

__all__ = ["VirtualTimeLoop"]


class _NeverBlockingSelector(selectors.DefaultSelector):
    """Moves the clock of its loop on, in place of every wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            msg = "deadlock: nothing is ready and no timer is set"
            raise RuntimeError(msg)
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop on which hours pass at once: for tests of code that sleeps, not of code that uses real sockets.

    Use it as ``asyncio.Runner(loop_factory=VirtualTimeLoop)``. Its clock starts at 0. Waiting for something that no
    timer will bring is a `RuntimeError` and not a hang.
    """

    def __init__(self) -> None:
        self._virtual = _NeverBlockingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._virtual.now
