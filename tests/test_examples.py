"""Every example runs as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_it_runs(example: Path) -> None:
    ran = subprocess.run([sys.executable, "-W", "error", example], capture_output=True, text=True, check=True)
    assert ran.stdout.strip()
    assert ran.stderr == ""


def test_there_are_examples() -> None:
    assert EXAMPLES
