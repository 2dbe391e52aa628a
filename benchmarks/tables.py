"""The tables of the documentation that are made from ``docs/benchmarks.json``.

``python -m benchmarks.tables`` makes them again without measuring, for example after a change of their wording.
"""

# ruff: noqa: RUF001  # calculations have multiplication signs

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import attrs

DOCS = Path(__file__).parents[1] / "docs"

Report = dict[str, Any]

# The rows of the page "How far it goes"
POLLS = "polls of one process, always due"
POLLS_RATIO = "polls of a batch / plain aiohttp GETs, per second"
ONCE = "IDs of one process, each polled once"
FAST_POLLS = "polls of one process, always due, with orjson, on uvloop"
FAST_POLLS_RATIO = "polls of a batch / plain aiohttp GETs, the same"
PENDING = "memory per pending ID at 100,000"
PROCESS = "memory of one process with 1,000,000 pending IDs"
LINE = "checkpoint: one line"
WRITE = "checkpoint: CPU to write a line"
COMMAND = "wait --resume: memory without any ID"
KEPT = "wait --resume: memory per ID that is done"
RESUME = "wait --resume: CPU per ID that is done"
SKIP = "wait --shard: CPU per ID of another shard"

IDS = 100_000_000
SHARDS = 16
EACH = IDS // SHARDS
POLLS_PER_ID = 15  # of an execution that runs for half a minute, with the default policy
ALLOWED = 1000  # polls per second, in the example of a dispatcher that limits the rate
MAX_PENDING = 100_000  # the default of wait_for_verifications()


def costs(report: Report) -> str:
    """Return ``docs/benchmarks-table.md``."""
    lines = [f"Measured with {report['machine']}.", "", "| what | figure | target | |", "| --- | ---: | --- | --- |"]
    for row in report["rows"]:
        state = "" if not row["target"] else "met" if row["is_met"] else "**missed**"
        lines.append(f"| {row['what']} | {_figure(row)} | {row['target']} | {state} |")
    return "\n".join(lines) + "\n"


def how_far(report: Report) -> str:
    """Return ``docs/how-far-table.md``. Each part follows a comment that names it."""
    rows = {row["what"]: row for row in report["rows"]}
    names = [POLLS, POLLS_RATIO, ONCE, FAST_POLLS, FAST_POLLS_RATIO, PENDING, PROCESS]
    names += [LINE, WRITE, COMMAND, KEPT, RESUME, SKIP]
    figures = _Figures.of(report)
    measured = [f"| {name} | {_figure(rows[name])} |" for name in names]
    intervals = [
        f"| {count:,} | {count:,} / {figures.rate:,.0f} per second | {_duration(count / figures.rate)} |"
        for count in (10_000, MAX_PENDING, 1_000_000)
    ]
    steps = [f"| {what} | {calculation} | {result} |" for what, calculation, result in _steps(figures)]
    parts = {
        "conclusion": [_conclusion(figures)],
        "one process": [f"Measured with {report['machine']}.", "", "| what | figure |", "| --- | ---: |", *measured],
        "intervals": [
            "| pending IDs | calculation | time between two polls of an ID |",
            "| ---: | --- | ---: |",
            *intervals,
        ],
        "100 million": ["| what | calculation | result |", "| --- | --- | ---: |", *steps],
    }
    texts = {name: "\n".join(lines) for name, lines in parts.items()}
    return "".join(f"<!-- {name} -->\n\n{text}\n\n" for name, text in texts.items()) + "<!-- end -->\n"


@attrs.frozen
class _Figures:
    """What the page calculates with, rounded as the page shows it.

    Attributes:
        rate: polls per second of one process.
        once: IDs per second of one process, if each is polled once.
        pending: bytes of memory per pending ID.
        million: megabytes of memory of one process with a million pending IDs.
        line: bytes of a line of a checkpoint.
        write: microseconds to write one.
        command: megabytes of memory of the command without any ID.
        kept: bytes of memory per ID that is done.
        resume: microseconds per ID that is done.
        skip: microseconds per ID of another shard.
    """

    rate: float
    once: float
    pending: float
    million: float
    line: float
    write: float
    command: float
    kept: float
    resume: float
    skip: float

    @classmethod
    def of(cls, report: Report) -> Self:
        value = {row["what"]: row["value"] for row in report["rows"]}
        names = (POLLS, ONCE, PENDING, PROCESS, LINE, WRITE, COMMAND, KEPT, RESUME, SKIP)
        return cls(*(_rounded(value[name]) for name in names))

    @property
    def polling(self) -> float:
        """Seconds that one process needs to poll each ID once."""
        return IDS / self.once

    @property
    def polling_often(self) -> float:
        """Seconds that one process needs to poll each ID `POLLS_PER_ID` times."""
        return IDS * POLLS_PER_ID / self.rate

    @property
    def writing(self) -> float:
        """Seconds that one process needs to write all lines."""
        return IDS * self.write / 1e6

    @property
    def skipping(self) -> float:
        """Seconds that a shard needs to read the IDs of the others."""
        return (IDS - EACH) * self.skip / 1e6

    @property
    def memory(self) -> float:
        """Bytes of memory of a shard that was resumed."""
        return self.command * 1e6 + MAX_PENDING * self.pending + EACH * self.kept


def _conclusion(f: _Figures) -> str:
    alone = f.polling + f.writing
    return (
        f"One process sends about {f.rate:,.0f} polls per second with one core, and keeps a million pending IDs in "
        f"{f.million:,.0f} MB. Shards use more cores, so they help if the dispatcher answers more polls than that. "
        f"They do not help if the dispatcher limits the rate: with `--max-rate 200`, one process needs "
        f"{200 / f.rate:.1%} of a core.\n\n"
        f"One process polls 100 million executions that have ended in {_duration(alone)}. {SHARDS} shards on {SHARDS} "
        f"cores do it in {_duration(alone / SHARDS + f.skipping)}, if the dispatcher answers {SHARDS * f.rate:,.0f} "
        f"polls per second. They need {_size(SHARDS * f.memory)} of memory and {_size(IDS * f.line)} of disk in all. "
        f"If the dispatcher answers {ALLOWED:,} polls per second, it takes {_duration(IDS / ALLOWED)}, in one process "
        f"or in {SHARDS}."
    )


def _steps(f: _Figures) -> Iterable[tuple[str, str, str]]:
    """Return the rows of the calculation: what, how, and the result."""
    rates = SHARDS * f.rate
    once, often = "one poll of each ID", f"{POLLS_PER_ID} polls of each ID"
    alone, alone_often = f.polling + f.writing, f.polling_often + f.writing
    writing, skipping = _duration(f.writing), _duration(f.skipping)
    pending, kept, memory = _size(MAX_PENDING * f.pending), _size(EACH * f.kept), _size(f.memory)
    return [
        ("**One process**", "", ""),
        (once, f"{IDS:,} / {f.once:,.0f} per second", _duration(f.polling)),
        (often, f"{IDS:,} × {POLLS_PER_ID} / {f.rate:,.0f} per second", _duration(f.polling_often)),
        ("writing the lines", f"{IDS:,} × {f.write:g} µs", writing),
        (f"all, {once}", f"{_duration(f.polling)} + {writing}", _duration(alone)),
        (f"all, {often}", f"{_duration(f.polling_often)} + {writing}", _duration(alone_often)),
        (f"**{SHARDS} shards, a core for each**", "", ""),
        ("IDs of a shard", f"{IDS:,} / {SHARDS}", f"{EACH:,}"),
        ("load on the dispatcher, at most", f"{SHARDS} × {f.rate:,.0f} per second", f"{rates:,.0f} per second"),
        ("reading the IDs of other shards", f"{IDS - EACH:,} × {f.skip:g} µs", skipping),
        (f"all, {once}", f"{_duration(alone)} / {SHARDS} + {skipping}", _duration(alone / SHARDS + f.skipping)),
        (f"all, {often}", f"{_duration(alone_often)} / {SHARDS} + {skipping}",
         _duration(alone_often / SHARDS + f.skipping)),
        (f"**A dispatcher that answers {ALLOWED:,} per second**", "", ""),
        (f"a shard, with `--max-rate {ALLOWED}`", f"{ALLOWED:,} / {SHARDS}", f"{ALLOWED / SHARDS:g} per second"),
        (once, f"{IDS:,} / {ALLOWED:,} per second", _duration(IDS / ALLOWED)),
        (often, f"{POLLS_PER_ID} × {_duration(IDS / ALLOWED)}", _duration(POLLS_PER_ID * IDS / ALLOWED)),
        ("**Memory**", "", ""),
        ("pending IDs of a shard", f"{MAX_PENDING:,} × {f.pending:g} bytes", pending),
        ("IDs that a resumed shard has read", f"{EACH:,} × {f.kept:g} bytes", kept),
        ("a shard, with the command itself", f"{f.command:g} MB + {pending} + {kept}", memory),
        (f"{SHARDS} shards", f"{SHARDS} × {memory}", _size(SHARDS * f.memory)),
        ("**Disk**", "", ""),
        ("the list of IDs", f"{IDS:,} × 37 bytes", _size(IDS * 37)),
        ("all checkpoints", f"{IDS:,} × {f.line:g} bytes", _size(IDS * f.line)),
        ("the checkpoint of a shard", f"{EACH:,} × {f.line:g} bytes", _size(EACH * f.line)),
        ("**Resuming**", "", ""),
        ("reading what a shard has done", f"{EACH:,} × {f.resume:g} µs", _duration(EACH * f.resume / 1e6)),
    ]  # fmt: skip


def _figure(row: dict[str, Any]) -> str:
    value = row["value"]
    return f"{value:,.0f} {row['unit']}" if value >= 100 else f"{value:.3g} {row['unit']}"  # noqa: PLR2004  # three digits


def _rounded(value: float) -> float:
    """Round to three digits, as readers see it, before it is calculated with."""
    return float(f"{value:.3g}")


def _duration(seconds: float) -> str:
    """Return a duration in the largest unit of which there are two or more, else in seconds."""
    units = (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    unit, length = next(((unit, length) for unit, length in units if seconds >= 2 * length), units[-1])
    return f"{_rounded(seconds / length):g} {unit}"


def _size(size: float) -> str:
    unit, length = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)  # noqa: PLR2004
    return f"{_rounded(size / length):g} {unit}"


def write(report: Report) -> None:
    """Write the tables."""
    (DOCS / "benchmarks-table.md").write_text(costs(report), encoding="utf-8")
    (DOCS / "how-far-table.md").write_text(how_far(report), encoding="utf-8")


if __name__ == "__main__":
    write(json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8")))
