"""All experiments by name. They run in several processes at a time."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.study import (
    changes,
    cold_batches,
    curves,
    default_wait,
    hazard,
    latency,
    learning,
    price,
    same_delay,
    saturation,
    sessions,
    submitted_before,
)
from benchmarks.study.figures import Figures, rounded
from benchmarks.study.laws import HELD_OUT, LAWS
from benchmarks.study.processes import alike_processes
from benchmarks.study.sizes import Sizes

SIMULATED: dict[str, Callable[[Sizes], Any]] = {
    "default": default_wait.measure,
    "learned": lambda sizes: learning.measure(LAWS, sizes),
    "held out": lambda sizes: learning.measure(HELD_OUT, sizes),
    "by number": learning.by_number,
    "same delay": same_delay.measure,
    "cold batches": cold_batches.measure,
    "drift": changes.drift,
    "switches": changes.switches,
    "submitted before": submitted_before.measure,
    "latency": latency.measure,
    "saturation": saturation.measure,
    "curves": curves.measure,
    "hazard": lambda _: hazard.measure(),
}
"""The experiments whose figures are the same in each run."""

MEASURED: dict[str, Callable[[Sizes], Any]] = {"price": price.measure, "sessions": sessions.measure}
"""Those that depend on the machine."""


SLOWEST = "saturation"


def run(sizes: Sizes, names: list[str]) -> Figures:
    """Run experiments, and return their figures as the JSON file has them."""
    with alike_processes() as processes:
        # The slowest one first, so that no process is idle at the end; and times are measured when nothing else runs.
        together = sorted((name for name in names if name != "price"), key=lambda name: name != SLOWEST)
        runs = {name: processes.submit(_figures, name, sizes) for name in together}
        figures = {name: running.result() for name, running in runs.items()}
        if "price" in names:
            figures["price"] = processes.submit(_figures, "price", sizes).result()
    return {
        "sizes": {
            name: getattr(sizes, name)
            for name in ("main", "moderate", "batch", "runs", "before", "capped", "rate", "real")
        },
        "simulated": {name: figures[name] for name in SIMULATED if name in figures},
        "measured": {
            "machine": f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
            f"{os.cpu_count()} cores",
            **{name: figures[name] for name in MEASURED if name in figures},
        },
    }


def _figures(name: str, sizes: Sizes) -> Any:
    start = time.perf_counter()
    experiment = SIMULATED.get(name) or MEASURED[name]
    figures = rounded(experiment(sizes))
    print(f"{name:20} {time.perf_counter() - start:6.1f} s", file=sys.stderr, flush=True)
    return figures
