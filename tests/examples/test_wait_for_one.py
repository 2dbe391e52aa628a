from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.full
def test_it_runs_as_it_is(example: Path) -> None:
    ran = subprocess.run([sys.executable, "-W", "error", example], capture_output=True, text=True, check=True)
    first, last, requests = ran.stdout.splitlines()
    assert "is still running" in first
    assert last == "Success: 1764"
    assert int(requests.removesuffix(" requests")) > 2
    assert ran.stderr == ""
