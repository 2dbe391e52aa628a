"""Draw the plot of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

GREY = "#808080"  # readable on white and on black
COLORS = {True: "#2a7fb8", False: "#999999"}


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw CPU time per request and memory per pending ID as an SVG, for truebit_async and for the alternatives."""
    mpl.rcParams.update({"svg.hashsalt": "truebit_async", "font.size": 10, "text.color": GREY})
    values = {row["what"]: row["value"] for row in report["rows"]}
    cpu = [(what, value) for what, value in values.items() if what.startswith("CPU per")]
    memory = [(what, value) for what, value in values.items() if "per pending ID" in what or "the same, gather" in what]
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots(2, 1, height_ratios=[len(cpu), len(memory)])
    for axis, bars, unit in ((axes[0], cpu, "microseconds of CPU"), (axes[1], memory, "bytes per pending ID")):
        labels = [what for what, _ in reversed(bars)]
        lengths = [value for _, value in reversed(bars)]
        ours = ["verification" in what or "get_execution" in what or "memory" in what for what in labels]
        drawn = axis.barh(labels, lengths, color=[COLORS[is_ours] for is_ours in ours])
        axis.bar_label(drawn, fmt="{:,.0f}", padding=3, color=GREY)
        axis.set_xlabel(unit, color=GREY)
        axis.tick_params(colors=GREY)
        axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
        axis.margins(x=0.12)
    figure.savefig(path, transparent=True, metadata={"Date": None})
