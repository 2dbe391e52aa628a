"""The pytest plugin of truebit_async: fixtures for the tests of code that waits for executions.

It stands beside the package and not in it, because pytest imports it at every start, also where nobody uses it, and
importing the package would bring aiohttp along.
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
except ModuleNotFoundError:  # then it is the business of whatever else runs async tests, such as anyio
    fixture = pytest.fixture  # type: ignore[assignment]


@fixture
async def truebit_simulator(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    """A `truebit_async.testing.Simulator` that runs in the event loop of the test.

    While it does, ``TRUEBIT_BASE_URL`` points to it, and ``TRUEBIT_API_KEY`` is ``test-key``: a ``TruebitSession()``
    that the code under test makes talks to it, and never to a real dispatcher with a real key.
    """
    from truebit_async.testing import Simulator  # noqa: PLC0415  # only where it is used

    async with Simulator() as simulator:
        monkeypatch.setenv("TRUEBIT_BASE_URL", simulator.url)
        monkeypatch.setenv("TRUEBIT_API_KEY", "test-key")
        yield simulator


@fixture
async def truebit_session(truebit_simulator: Simulator) -> AsyncIterator[TruebitSession]:
    """A `truebit_async.TruebitSession` that talks to ``truebit_simulator``.

    Its first polls follow each other within milliseconds, so that tests are quick, and its later ones up to 10 s apart,
    so that on virtual time a wait of an hour takes no more requests than it would in earnest.
    """
    from tenacity import wait_exponential  # noqa: PLC0415  # as above

    from truebit_async import PollPolicy, TruebitSession  # noqa: PLC0415

    policy = PollPolicy(wait=wait_exponential(multiplier=0.002, max=10))
    async with TruebitSession(truebit_simulator.url, policy=policy) as session:
        yield session
