"""The pytest plugin of truebit_async: fixtures for tests of code that waits for executions.

This module is not part of the package, because pytest imports it at every start, even if no test uses it. Importing a
module of the package would import aiohttp too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from truebit_async import TruebitSession
    from truebit_async.testing import Simulator

try:
    from pytest_asyncio import fixture
except ModuleNotFoundError:  # another plugin, such as anyio, runs async tests and fixtures
    fixture = pytest.fixture  # type: ignore[assignment]


@fixture
async def truebit_simulator(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    """A `truebit_async.testing.Simulator` that runs in the event loop of the test.

    During the test, ``TRUEBIT_BASE_URL`` is its URL and ``TRUEBIT_API_KEY`` is ``test-key``. If the code under test
    creates a ``TruebitSession()``, that session uses the Simulator, and not a real dispatcher or a real key.
    """
    from truebit_async.testing import Simulator  # noqa: PLC0415  # see the docstring of this module

    async with Simulator() as simulator:
        monkeypatch.setenv("TRUEBIT_BASE_URL", simulator.url)
        monkeypatch.setenv("TRUEBIT_API_KEY", "test-key")
        yield simulator


@fixture
async def truebit_session(truebit_simulator: Simulator) -> AsyncIterator[TruebitSession]:
    """A `truebit_async.TruebitSession` for ``truebit_simulator``.

    The first polls are milliseconds apart, so that tests are fast. The gaps grow to 10 s, so that a wait of an hour on
    virtual time makes as few requests as in production.
    """
    from tenacity import wait_exponential  # noqa: PLC0415  # likewise

    from truebit_async import PollPolicy, TruebitSession  # noqa: PLC0415

    policy = PollPolicy(wait=wait_exponential(multiplier=0.002, max=10))
    async with TruebitSession(truebit_simulator.url, policy=policy) as session:
        yield session
