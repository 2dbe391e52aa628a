"""Python imports this module at its start when this folder is on its path, as it is for snippets.

It gives event loops a clock that runs ten times as fast, so that the test of a page takes a second or two. It also
refuses connections to other hosts.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import time

SPEED = 10
LOOPBACK = {None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0"}  # noqa: S104  # servers may listen on all addresses


class FastSelector(selectors.DefaultSelector):
    """Waits for a fraction of the time that it is told to wait."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout and timeout / SPEED)


def fast_time(loop: asyncio.BaseEventLoop) -> float:
    return time.monotonic() * SPEED


def refuse_other_hosts(event: str, args: tuple[object, ...]) -> None:
    match event, args:
        case ("socket.getaddrinfo", (host, *_)) | ("socket.connect", (_, (host, *_))) if host not in LOOPBACK:
            msg = f"a snippet may talk to this machine only, not to {host}"
            raise RuntimeError(msg)  # an OSError would look like a failing network


selectors.DefaultSelector = FastSelector  # type: ignore[misc]
asyncio.BaseEventLoop.time = fast_time  # type: ignore[assignment,method-assign]
sys.modules["uvloop"] = asyncio  # uvloop has its own clock; asyncio has functions of the same names
sys.addaudithook(refuse_other_hosts)
