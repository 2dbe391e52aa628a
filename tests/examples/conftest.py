from __future__ import annotations

import os
from pathlib import Path

import pytest

from truebit_async.testing import Simulator

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def example(request: pytest.FixtureRequest) -> Path:
    """The example that the test module is named after."""
    path = CHECKOUT / "examples" / request.path.name.removeprefix("test_")
    assert path.is_file()
    return path


@pytest.fixture
def environment(simulator: Simulator) -> dict[str, str]:
    """What an example finds in its environment, in a process of its own."""
    return {**os.environ, "TRUEBIT_BASE_URL": simulator.url, "PYTHONWARNINGS": "error"}
