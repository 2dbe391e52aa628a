"""A timer of the loop that is set again and again."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Callable


def loop_time() -> float:
    """Return the time of the running loop, in seconds."""
    return asyncio.get_running_loop().time()


class Timer:
    """Calls a function at the time that it was last set to, in an empty context.

    Args:
        on_time: the function.

    Attributes:
        time: when it is called, in seconds of the loop's clock; infinity if the timer is not set.
    """

    def __init__(self, on_time: Callable[[], None]) -> None:
        self._on_time = on_time
        self._handle: asyncio.Handle | None = None
        self.time: float = math.inf  # not all of uvloop's handles have `when()`

    def set(self, time: float) -> None:
        """Call the function at a time, and not at the one that was set before; infinity is never."""
        if time == self.time:
            return
        if self._handle is not None:
            self._handle.cancel()
        self.time, self._handle = time, None
        if time < math.inf:
            loop = asyncio.get_running_loop()
            self._handle = loop.call_at(time, self._fire, context=contextvars.Context())

    def _fire(self) -> None:
        self.time, self._handle = math.inf, None
        self._on_time()
