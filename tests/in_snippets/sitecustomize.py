"""What every Python that runs a snippet imports first, since this folder is on its path.

Event loops get a clock that is fast, so that a page which waits for executions at the pace of its readers is tested in
a second or two. And nobody leaves home.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import time

SPEED = 10
HOME = {None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0"}  # noqa: S104  # listening on all is no way out


class FastSelector(selectors.DefaultSelector):
    """Waits for a fraction of the time that it is told to wait."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout and timeout / SPEED)


def fast_time(loop: asyncio.BaseEventLoop) -> float:
    return time.monotonic() * SPEED


def stay_home(event: str, args: tuple[object, ...]) -> None:
    match event, args:
        case ("socket.getaddrinfo", (host, *_)) | ("socket.connect", (_, (host, *_))) if host not in HOME:
            msg = f"a snippet may talk to this machine only, not to {host}"
            raise RuntimeError(msg)  # no OSError, which would look like a network that fails


selectors.DefaultSelector = FastSelector  # type: ignore[misc]
asyncio.BaseEventLoop.time = fast_time  # type: ignore[assignment,method-assign]
sys.modules["uvloop"] = asyncio  # it has a clock of its own, and asyncio has functions of the same names
sys.addaudithook(stay_home)
