from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def cells(example: Path) -> list[str]:
    return re.split(r"^(?=# %%)", example.read_text(encoding="utf-8"), flags=re.MULTILINE)


async def run(cells: list[str]) -> dict[str, Any]:
    """Run cells one after the other and in one namespace, with `await` at the top level, as Jupyter does."""
    namespace: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        code = compile(cell, f"cell {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, namespace)  # noqa: S307  # it is our own
        if inspect.iscoroutine(running):
            await running
    return namespace


async def test_its_cells_run_one_after_the_other(cells: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = asyncio.all_tasks()
    namespace = await run(cells)
    first, second, *table = capsys.readouterr().out.splitlines()
    assert "is still running" in first
    assert second == "Success 1764"
    assert {tuple(line.split()[:3]) for line in table} == {
        ("forecast", "Success", "1764"),
        ("backtest", "Success", "0.93"),
        ("bad-input", "Success", "-"),
        ("too-slow", "Indeterminate", "-"),
        ("mistyped", "ExecutionNotFoundError", "-"),
    }

    # and the last one leaves nothing behind
    assert "closed" in repr(namespace["session"])
    with pytest.raises(RuntimeError, match="not running"):
        _ = namespace["dispatcher"].url
    assert asyncio.all_tasks() == before
