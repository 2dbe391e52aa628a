"""``python -m benchmarks``: run the benchmarks, print a table, and write ``docs/benchmarks.json`` and what shows it.

``--short`` runs everything at a small size to check that the benchmarks work. It compares nothing and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import attrs

from benchmarks import measurements, one_process, tables
from benchmarks.server import status_server
from benchmarks.start_up import start_up
from benchmarks.tables import DOCS


@attrs.frozen
class Row:
    """One row of the table.

    Attributes:
        what: what was measured.
        value: the measured value.
        unit: the unit of the value.
        target: the target as text; empty if there is none.
        is_met: whether the value meets the target.
    """

    what: str
    value: float
    unit: str
    target: str = ""
    is_met: bool = True


def at_most(what: str, value: float, limit: float, unit: str = "x") -> Row:
    """Return a row whose value must not exceed a limit."""
    return Row(what, value, unit, f"at most {limit:g}", value <= limit)


def _in_new_process(function: Callable[..., dict[str, float]], *arguments: Any, **options: Any) -> dict[str, float]:
    with status_server() as url:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
            print(f"  {function.__name__} {arguments or ''}", file=sys.stderr, flush=True)
            return pool.submit(function, url, *arguments, **options).result()


def measure(*, short: bool) -> list[Row]:
    """Run all measurements; at a small size if ``short``."""
    m, run = measurements, _in_new_process
    rounds, count, pending = (2, 200, 2000) if short else (200, 20_000, 100_000)
    shortest, spread = (0.5, 3.0) if short else (5.0, 30.0)
    rows = []

    single = run(m.single_requests, rounds, speed=False)
    rows += [
        Row("CPU per GET: plain aiohttp loop, undecoded", single["plain aiohttp"], "µs"),
        Row("CPU per GET: get_execution_status", single["truebit_async"], "µs"),
        Row("CPU per GET: plain httpx loop, undecoded", single["plain httpx"], "µs"),
        at_most("get_execution_status / plain aiohttp", single["ratio"], 1.05),
    ]
    fast = run(m.single_requests, rounds, speed=True)
    rows.append(at_most("the same with orjson, both on uvloop", fast["ratio"], 1.0))

    pairs = [
        (run(m.batch, "truebit_async", count, shortest, spread), run(m.batch, "gather", count, shortest, spread))
        for _ in range(1 if short else 3)
    ]
    ours, theirs = sorted(pairs, key=lambda pair: pair[0]["cpu per poll"] / pair[1]["cpu per poll"])[len(pairs) // 2]
    rows += [
        Row(f"CPU per poll, batch of {count:,}: wait_for_verifications", ours["cpu per poll"], "µs"),
        Row(f"CPU per poll, batch of {count:,}: gather + tenacity", theirs["cpu per poll"], "µs"),
        at_most(
            "batch poll / plain aiohttp GET, before and after it",
            statistics.median(ours["cpu per poll"] / ours["plain cpu per GET"] for ours, _ in pairs),
            1.25,
        ),
        at_most("batch poll / gather + tenacity poll", ours["cpu per poll"] / theirs["cpu per poll"], 0.45),
    ]

    ours = run(m.memory, "truebit_async", pending)
    learned = run(m.memory, "LearnedWait", pending)
    theirs = run(m.memory, "gather", pending // 5)
    rows += [
        at_most(f"memory per pending ID at {pending:,}", ours["bytes"], 480, "bytes"),
        at_most("the same with LearnedWait, more than that", learned["bytes"] - ours["bytes"], 40, "bytes"),
        Row(f"the same, gather + tenacity at {pending // 5:,}", theirs["bytes"], "bytes"),
    ]

    few = run(m.scheduler, pending // 10, 5 * pending)["cpu per poll"]
    many = run(m.scheduler, pending * 10, 5 * pending)["cpu per poll"]
    rows += [
        Row(f"scheduler alone, CPU per poll at {pending // 10:,} pending", few, "µs"),
        at_most(f"the same at {pending * 10:,} pending / at {pending // 10:,}", many / few, 2),
    ]

    kept = run(m.rate, 500.0, 2.0 if short else 10.0)
    rows += [
        at_most("max_rate: fullest second / cap", kept["fullest second"], 1.0),
        Row("max_rate: average / cap", kept["average"], "x", "at least 0.97", kept["average"] >= 0.97),  # noqa: PLR2004
        at_most("worst deadline overrun of 1,000 waits on a server that hangs",
                run(m.overrun, 1000, 1.0 if short else 3.0)["worst"], 50, "ms"),
        at_most("requests of 1,000 waits / of one wait",
                run(m.single_flight, 1000)["requests"] / run(m.single_flight, 1)["requests"], 1.0),
    ]  # fmt: skip
    imports = run(m.import_time, 3 if short else 15)
    ratio = imports["truebit_async"] / imports["its dependencies"]
    rows.append(at_most("import of TruebitSession / of aiohttp, tenacity, attrs, cattrs", ratio, 1.15))
    return rows + _start_up_rows(short=short) + _one_process_rows(short=short)


def _start_up_rows(*, short: bool) -> list[Row]:
    cpu = _in_new_process(start_up, 2 if short else 30)
    return [
        Row("CPU to start: python -c 'import aiohttp'", cpu["import aiohttp"], "ms"),
        at_most("truebit-async --version / import aiohttp", cpu["--version / import aiohttp"], 0.4),
        at_most("truebit-async --help / import aiohttp", cpu["--help / import aiohttp"], 0.8),
        at_most("shell completion of truebit-async / import aiohttp", cpu["completion / import aiohttp"], 0.8),
        Row("CPU to start: a script with one GET by aiohttp", cpu["one GET"], "ms"),
        at_most("truebit-async status / a script with one GET", cpu["status / one GET"], 1.5),
    ]


def _one_process_rows(*, short: bool) -> list[Row]:
    """Return the rows that the page "How far it goes" rests on."""
    m, run = one_process, _in_new_process
    sizes = (2, 500, 0.2) if short else (5, 10_000, 3.0)
    plain, fast = run(m.polls_per_second, *sizes, speed=False), run(m.polls_per_second, *sizes, speed=True)
    pending = 5000 if short else 1_000_000
    command = run(m.command, 2000 if short else 300_000)
    process = run(measurements.memory, "truebit_async", pending)["whole process"]
    return [
        Row(tables.POLLS, plain["polls"], "per second"),
        Row(tables.POLLS_RATIO, plain["ratio"], "x"),
        Row(tables.ONCE, plain["once"], "per second"),
        Row(tables.FAST_POLLS, fast["polls"], "per second"),
        Row(tables.FAST_POLLS_RATIO, fast["ratio"], "x"),
        Row(tables.PROCESS, process / 1e6, "MB"),
        Row(tables.LINE, command["bytes per line"], "bytes"),
        Row(tables.WRITE, command["cpu to write"], "µs"),
        Row(tables.COMMAND, command["memory without IDs"] / 1e6, "MB"),
        Row(tables.KEPT, command["memory per ID"], "bytes"),
        Row(tables.RESUME, command["cpu to resume"], "µs"),
        Row(tables.SKIP, command["cpu to skip"], "µs"),
    ]


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="use small sizes; compare and write nothing")
    short = parser.parse_args().short
    rows = measure(short=short)
    for row in rows:
        state = "" if short or not row.target else "met" if row.is_met else "MISSED"
        print(f"{row.what:62} {row.value:10.3f} {row.unit:6} {row.target:14} {state}")
    if not short:
        from benchmarks.plot import draw  # noqa: PLC0415  # processes that measure memory shall not load matplotlib

        machine = (
            f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        )
        report = {"machine": machine, "rows": [attrs.asdict(row) for row in rows]}
        (DOCS / "benchmarks.json").write_text(json.dumps(report, indent=2) + "\n")
        tables.write(report)
        draw(report, DOCS / "benchmarks.svg")


if __name__ == "__main__":
    main()
