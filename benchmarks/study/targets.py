"""What the strategies of the package are to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from benchmarks.study.figures import Figures, geometric_mean
from benchmarks.study.strategies import DEFAULT, LEARNED

NEVER = 10**6  # executions, if the delay did not come back


@attrs.frozen
class Target:
    """A target.

    Attributes:
        what: what is measured.
        limit: the least or the highest figure that meets it.
        figure: what was measured.
        unit: follows both.
        is_least: whether ``limit`` is the least one.
        detail: follows the figure.
    """

    what: str
    limit: float
    figure: float
    unit: str = ""
    is_least: bool = False
    detail: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the figure meets the limit."""
        return self.figure >= self.limit if self.is_least else self.figure <= self.limit


REASONS: dict[str, str] = {
    "`LearnedWait`: CPU per decision and answer": (
        "On one machine, it was between 9.8 and 10.4 µs in six runs. A poll in a batch takes some 160 µs in all."
    ),
}
"""Why a target is missed, by what is measured."""


def targets(report: Figures) -> list[Target]:
    """Return the targets with their figures."""
    simulated, price = report["simulated"], report["measured"]["price"]
    return [
        *_learned(simulated, report["sizes"]),
        *_switches(simulated["switches"]),
        *_caps(simulated["saturation"]),
        Target("`LearnedWait`: CPU per decision and answer", 10, price["learned, decision and answer"], " µs"),
        Target("`LearnedWait`: memory per group", 20, price["bytes per group"] / 1000, " kB"),
        Target("`LearnedWait`: CPU per plan", 2, price["plan"] / 1000, " ms"),
        *_default(simulated["default"]),
    ]


def _learned(simulated: Figures, sizes: Figures) -> Iterator[Target]:
    rows, means = simulated["learned"]["laws"], simulated["learned"]["means, cold start included"]
    weakest = min(rows, key=lambda row: row["all / full jitter"]["lower"])
    near = sum(row["share of the oracle"] >= 0.9 for row in rows)  # noqa: PLR2004
    first = geometric_mean(row["first 200"]["lower"] for row in rows)
    cold = simulated["cold batches"]["means"]["batch 1"]
    whole, batch = "`LearnedWait`, cold start included", f"`LearnedWait`, first batch of {sizes['batch']:,} at once"
    yield Target(f"{whole}: delay lower by, mean of {len(rows)} distributions", 3, means["lower"], is_least=True)
    yield Target(f"{whole}: requests / full jitter, mean", 1.05, means["requests"])
    yield Target(
        f"{whole}: delay lower by, least distribution",
        1.35,
        weakest["all / full jitter"]["lower"],
        is_least=True,
        detail=weakest["law"],
    )
    what = "`LearnedWait`, second half: distributions at 90 % of the best possible or more"
    yield Target(what, 9, near, is_least=True, detail=f"of {len(rows)}")
    yield Target("`LearnedWait`, first 200 executions: delay lower by, mean", 2.2, first, is_least=True)
    saved = 100 * simulated["same delay"]["mean saved"]
    yield Target("`LearnedWait`, delay of full jitter: requests saved, mean", 40, saved, " %", is_least=True)
    yield Target(f"{batch}: delay lower by, mean", 1.5, cold["lower"], is_least=True)
    yield Target(f"{batch}: requests / full jitter, mean", 1.25, cold["requests"])


def _switches(rows: list[Figures]) -> Iterator[Target]:
    rows = [row for row in rows if row["has targets"]]
    name = "`LearnedWait`, durations change"
    for what, limit, key, unit in (
        ("worst delay / full jitter", 1.3, "worst delay / full jitter", ""),
        ("worst requests / full jitter", 1.8, "worst requests / full jitter", ""),
        ("delay is back after", 200, "back after", " executions"),
    ):
        figures = [(NEVER if row[key] is None else row[key], f"{row['from']} to {row['to']}") for row in rows]
        figure, detail = max(figures)
        yield Target(f"{name}: {what}", limit, figure, unit, detail=detail)


def _caps(rows: list[Figures]) -> Iterator[Target]:
    name = "`LearnedWait` under a cap"
    for row in rows:
        if row["is mixed"]:
            lower = min(row["lower than"].values())
            yield Target(f"{name}, {row['case']}: delay lower by", 1.6, lower, is_least=True)
    for row in rows:
        if not row["is mixed"]:
            higher = row[LEARNED]["delay"] / row[DEFAULT]["delay"]
            yield Target(f"{name}, {row['case']}: delay / default", 1.02, higher)


def _default(default: Figures) -> Iterator[Target]:
    means, count = default["means"], len(default["laws"])
    least = min(default["laws"], key=lambda row: row["default / full jitter"]["at equal requests"])
    equal = "at equal requests"
    yield Target(f"default: delay lower by {equal}, mean of {count} distributions", 1.4, means[equal], is_least=True)
    yield Target(
        f"default: delay lower by {equal}, least distribution",
        0.75,
        least["default / full jitter"][equal],
        is_least=True,
        detail=least["law"],
    )
    yield Target("default: requests / full jitter, mean", 1.25, means["requests"])
