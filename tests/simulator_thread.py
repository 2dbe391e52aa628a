"""A Simulator in another thread, for tests that block the thread they run in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from truebit_async.testing import Simulator


@contextmanager
def simulator_thread() -> Iterator[Simulator]:
    simulator = Simulator()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(simulator.__aenter__(), loop).result()
    yield simulator
    asyncio.run_coroutine_threadsafe(simulator.__aexit__(None, None, None), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
