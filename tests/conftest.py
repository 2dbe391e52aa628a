from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import aioresponses.core
import pytest
from blockbuster import BlockBuster, BlockBusterFunction
from hypothesis import settings

from tests.policies import FAST
from truebit_async import TruebitSession
from truebit_async.testing import Simulator

# No deadline for one example: on a busy machine, each may be slow.
settings.register_profile("default", max_examples=25, deadline=None)
settings.register_profile("full", max_examples=100, deadline=None)
settings.register_profile("scheduled", max_examples=100_000, deadline=None)
settings.load_profile("default")


@pytest.hookimpl(trylast=True)  # Hypothesis marks its tests first
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure no coverage in Hypothesis tests: they do not cover the same lines in every run."""
    for item in items:
        if item.get_closest_marker("hypothesis"):
            item.add_marker("no_cover")


@pytest.fixture(autouse=True)
def _no_configuration_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRUEBIT_API_KEY", raising=False)
    monkeypatch.delenv("TRUEBIT_BASE_URL", raising=False)


@pytest.fixture(scope="module", autouse=True)
def _cheap_collections() -> None:
    """Exclude existing objects from garbage collection, so that the collections in many tests are quick."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def blockbuster() -> BlockBuster:
    blockbuster = BlockBuster("truebit_async")
    blockbuster.functions["io.FileIO.write"] = BlockBusterFunction(  # unbuffered, so unknown to it
        None,
        "io.FileIO.write",
        scanned_modules="truebit_async",
        can_block_functions=[
            # One short line is appended per outcome, in microseconds, and must be with the system before the next.
            ("truebit_async/checkpoint.py", {"_append"}),
            ("<frozen importlib._bootstrap_external>", {"_write_atomic"}),  # bytecode, at the first import ever
        ],
    )
    # The measurement of coverage waits for its own lock while another thread begins to be measured.
    blockbuster.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", "lock_data")
    return blockbuster


@pytest.fixture(autouse=True)
def _no_blocking_call_in_the_loop(blockbuster: BlockBuster) -> Iterator[None]:
    """Fail a test in which this package makes a blocking call in a running event loop."""
    blockbuster.activate()
    try:
        yield
    finally:
        blockbuster.deactivate()


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def session(simulator: Simulator) -> AsyncIterator[TruebitSession]:
    async with TruebitSession(simulator.url, policy=FAST) as session:
        yield session


@pytest.fixture
def mocked_http(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses.aioresponses]:
    """aioresponses, with the one argument it does not know yet.

    aiohttp 3.14 requires ``stream_writer`` of `ClientResponse`; aioresponses 0.7.9 does not pass it (its issue 289).
    To be removed when that is fixed.
    """

    class Response(aiohttp.ClientResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.setdefault("stream_writer", Mock())
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(aioresponses.core, "ClientResponse", Response)
    with aioresponses.aioresponses() as mocked:
        yield mocked
