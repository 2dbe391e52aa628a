from __future__ import annotations

import os
from pathlib import Path

import pytest

from truebit_async.testing import Simulator

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def example(request: pytest.FixtureRequest) -> Path:
    """The example that the test module is named after."""
    (path,) = (CHECKOUT / "examples").glob(request.path.stem.removeprefix("test_") + ".*")
    return path


@pytest.fixture
def environment(simulator: Simulator) -> dict[str, str]:
    """What an example finds in its environment, in a process of its own."""
    return {**os.environ, "TRUEBIT_BASE_URL": simulator.url, "PYTHONWARNINGS": "error"}
