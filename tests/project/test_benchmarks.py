"""The figures in the documentation are those of the last measurement."""

# ruff: noqa: RUF001  # calculations have multiplication signs

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from truebit_async import ProportionalWait

tables = pytest.importorskip("benchmarks.tables")  # a source distribution has no benchmarks

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def report() -> dict[str, Any]:
    report: dict[str, Any] = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    return report


@pytest.mark.parametrize(
    ("page", "made"), [("benchmarks-table.md", tables.costs), ("how-far-table.md", tables.how_far)]
)
def test_tables_are_made_from_the_measurement(
    page: str, made: Callable[[dict[str, Any]], str], report: dict[str, Any]
) -> None:
    assert (DOCS / page).read_text(encoding="utf-8") == made(report), "run: python -m benchmarks.tables"


def test_the_page_shows_every_part_of_its_tables(report: dict[str, Any]) -> None:
    marks = re.findall("<!-- .* -->", tables.how_far(report))
    page = (DOCS / "explanation" / "how-far.md").read_text(encoding="utf-8")
    assert re.findall(":start-after: (.*)", page) == marks[:-1]
    assert re.findall(":end-before: (.*)", page) == marks[1:]


def test_the_default_policy_polls_as_often_as_the_page_says() -> None:
    wait = ProportionalWait()
    age, polls = 0.0, 1
    while age < 30:  # half a minute
        age += wait.mean_gap(polls, age)
        polls += 1
    assert polls == tables.POLLS_PER_ID
    page = (DOCS / "explanation" / "how-far.md").read_text(encoding="utf-8")
    assert f"takes about {polls} polls" in " ".join(page.split())


def test_the_calculation_follows_from_its_figures(report: dict[str, Any]) -> None:
    figures = {
        tables.POLLS: 5000,
        tables.ONCE: 4000,
        tables.PENDING: 500,
        tables.PROCESS: 600,
        tables.LINE: 400,
        tables.WRITE: 10,
        tables.COMMAND: 50,
        tables.KEPT: 200,
        tables.RESUME: 16,
        tables.SKIP: 4,
    }
    for row in report["rows"]:
        row["value"] = figures.get(row["what"], 1)
    page = tables.how_far(report)
    for row in (
        "| 100,000 | 100,000 / 5,000 per second | 20 seconds |",
        "| one poll of each ID | 100,000,000 / 4,000 per second | 6.94 hours |",
        "| 15 polls of each ID | 100,000,000 × 15 / 5,000 per second | 3.47 days |",
        "| writing the lines | 100,000,000 × 10 µs | 16.7 minutes |",
        "| all, one poll of each ID | 6.94 hours + 16.7 minutes | 7.22 hours |",
        "| all, 15 polls of each ID | 3.47 days + 16.7 minutes | 3.48 days |",
        "| load on the dispatcher, at most | 16 × 5,000 per second | 80,000 per second |",
        "| reading the IDs of other shards | 93,750,000 × 4 µs | 6.25 minutes |",
        "| all, one poll of each ID | 7.22 hours / 16 + 6.25 minutes | 33.3 minutes |",
        "| all, 15 polls of each ID | 3.48 days / 16 + 6.25 minutes | 5.33 hours |",
        "| a shard, with the command itself | 50 MB + 50 MB + 1.25 GB | 1.35 GB |",
        "| 16 shards | 16 × 1.35 GB | 21.6 GB |",
        "| all checkpoints | 100,000,000 × 400 bytes | 40 GB |",
        "| reading what a shard has done | 6,250,000 × 16 µs | 100 seconds |",
    ):
        assert row in page
