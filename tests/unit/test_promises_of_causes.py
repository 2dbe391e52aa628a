"""Exceptions that cause each other in a cycle hang nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cyclic_causes import CYCLES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("api_key", [pytest.param(None, marks=pytest.mark.full), "secret"])
@pytest.mark.parametrize("cycle", CYCLES)
def test_a_request_and_a_wait_end_in_spite_of_a_cycle_of_causes(cycle: str, api_key: str | None) -> None:
    command = [sys.executable, "-m", "tests.unit.cyclic_causes", cycle, *([api_key] if api_key else [])]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=15, check=False)
    assert ended.stdout.splitlines() == ["TransportError True", "TransportError True"], ended.stderr
