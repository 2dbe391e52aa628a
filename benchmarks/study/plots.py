"""The plots of the page "When to ask". Their colours are readable on white and on black."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.plot import GREY
from benchmarks.study.figures import Figures
from benchmarks.study.strategies import DEFAULT, FULL_JITTER, LEARNED

BLUE, ORANGE, GREEN = "#2a7fb8", "#d9822b", "#3a9a5c"
COLORS = {FULL_JITTER: GREY, DEFAULT: GREEN, LEARNED: BLUE}
WIDTH = 8.0  # inches

UNEVEN_GAPS = (1.0, 9.0, 2.0, 10.0, 3.0, 5.0)  # seconds
EVEN_GAPS = (5.0,) * 6
LABELLED = (0.5, 1.0, 2.0)  # efforts


def draw(simulated: Figures, folder: Path) -> None:
    """Draw all plots as SVG files."""
    mpl.rcParams.update({"svg.hashsalt": "truebit_async", "font.size": 10, "text.color": GREY})
    plots = {
        "even-gaps": even_gaps(),
        "hazard": hazard(simulated["hazard"]),
        "effort": effort(simulated["curves"]),
        "learning": learning(simulated["by number"]),
        "switch": switch(simulated["switches"]),
    }
    for name, figure in plots.items():
        figure.savefig(folder / f"when-{name}.svg", transparent=True, metadata={"Date": None})


def expected_delay(gaps: tuple[float, ...]) -> float:
    """Return the mean delay of an execution that ends at any moment with the same probability.

    It ends within a gap with a probability in proportion to the gap, and then waits for half of the gap on average.
    """
    return sum(gap * gap for gap in gaps) / (2 * sum(gaps))


def even_gaps() -> Figure:
    """Draw two schedules with the same number of polls, and the expected delay of each."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    for axis, name, gaps, color in ((axes[0], "uneven", UNEVEN_GAPS, ORANGE), (axes[1], "even", EVEN_GAPS, BLUE)):
        start = 0.0
        for gap in gaps:
            axis.fill([start, start, start + gap], [0, gap, 0], color=color, alpha=0.3, lw=0)
            axis.plot([start, start, start + gap], [0, gap, 0], color=color, lw=1.2)
            start += gap
        polls = [sum(gaps[:count]) for count in range(len(gaps) + 1)]
        axis.plot(polls, [0] * len(polls), "v", color=color, markersize=7, clip_on=False, zorder=3)
        mean = expected_delay(gaps)
        axis.plot([0, start], [mean, mean], color=GREY, lw=1, ls=(0, (4, 3)))
        axis.set_ylabel(f"{name} gaps\ndelay, s", color=color)
        axis.text(start + 0.4, mean, f"mean delay\n{mean:.2f} s", color=GREY, va="center")
        axis.set_yticks([0, 5, 10])
        axis.set_ylim(0, 10.5)
        axis.set_xlim(-0.5, start + 4.5)
        _plain(axis)
    axes[0].tick_params(bottom=False)
    axes[1].set_xticks(range(0, 31, 5))
    axes[1].set_xlabel("age at which the execution ends, in seconds; a triangle marks a poll", color=GREY)
    return figure


def hazard(figures: Figures) -> Figure:
    """Draw density and hazard of a law by age, and the ages at which it is best to poll."""
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 1])
    for axis, name, color in ((axes[0], "density", ORANGE), (axes[1], "hazard", BLUE)):
        axis.fill_between(figures["ages"], figures[name], color=color, alpha=0.3, lw=0)
        axis.plot(figures["ages"], figures[name], color=color, lw=1.5)
        axis.set_ylabel(f"{name}\nper second", color=color)
        axis.set_ylim(bottom=0)
        _plain(axis)
    axes[2].vlines(figures["polls"], 0, 1, color=GREY, lw=1.5)
    axes[2].set_ylabel("polls", color=GREY)
    axes[2].set_yticks([])
    axes[2].set_xlabel("age of the execution, in seconds", color=GREY)
    axes[2].set_xlim(0, figures["ages"][-1])
    _plain(axes[2])
    return figure


def effort(curves: list[Figures]) -> Figure:
    """Draw mean delay against mean requests, for fixed intervals, `LearnedWait` and the oracle."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots(1, len(curves), sharey=True)
    for axis, row in zip(axes, curves, strict=True):
        _curve(axis, row["fixed"], "fixed interval", ORANGE, "s-")
        _curve(axis, row["oracle"], "the best possible", GREY, ":")
        _curve(axis, row["learned"], LEARNED, BLUE, "o-")
        axis.plot(*row["default"], "D", color=GREEN, label=DEFAULT, markersize=7)
        axis.plot(*row["full jitter"], "X", color=GREY, label=FULL_JITTER, markersize=8)
        for spent, requests, delay in row["learned"]:
            if spent in LABELLED:
                axis.annotate(
                    f"{spent:g}", (requests, delay), (-4, -11), textcoords="offset points", color=BLUE, ha="right"
                )
        axis.set_title(row["law"], color=GREY, fontsize=10)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(1.8, 30)
        axis.set_ylim(0.12, 8)
        axis.set_xticks([2, 5, 10, 20], ["2", "5", "10", "20"])
        axis.set_yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
        axis.minorticks_off()
        axis.set_xlabel("requests per execution", color=GREY)
        axis.grid(color=GREY, alpha=0.25, lw=0.6)
        _plain(axis)
    _finish(figure, axes[0])
    return figure


def learning(figures: Figures) -> Figure:
    """Draw the delay of the first executions by their number."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    laws = figures["laws"]
    axes = figure.subplots(1, len(laws), sharey=True)
    edges = [first for first, _ in figures["groups"]] + [figures["groups"][-1][1]]
    for axis, (law, rows) in zip(axes, laws.items(), strict=True):
        for name, delays in rows.items():
            axis.stairs(delays, edges, color=COLORS[name], lw=1.8, label=name, baseline=None)
        axis.set_title(law, color=GREY, fontsize=10)
        axis.set_xlabel("number of the execution", color=GREY)
        axis.set_xlim(0, edges[-1])
        axis.grid(color=GREY, alpha=0.25, lw=0.6)
        _plain(axis)
    axes[0].set_ylim(bottom=0)
    _finish(figure, axes[0])
    return figure


def switch(switches: list[Figures]) -> Figure:
    """Draw the delay before and after durations change, for the change that costs the most and for its reverse."""
    chosen = [row for row in switches if "lognormal" in row["from"]]
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots(1, len(chosen), sharey=True)
    for axis, row in zip(axes, chosen, strict=True):
        series = row["series"]
        for name in (FULL_JITTER, LEARNED):
            axis.plot(series["executions"], series[name], color=COLORS[name], lw=1.6, label=name)
        axis.axvline(0, color=GREY, lw=1, ls=(0, (4, 3)))
        axis.set_title(f"{row['from']} \N{RIGHTWARDS ARROW} {row['to']}", color=GREY, fontsize=10)
        axis.set_xlabel("executions after the change", color=GREY)
        axis.set_xlim(series["executions"][0], series["executions"][-1])
        axis.grid(color=GREY, alpha=0.25, lw=0.6)
        _plain(axis)
    axes[0].set_ylim(bottom=0)
    _finish(figure, axes[0])
    return figure


def _finish(figure: Figure, first: Axes) -> None:
    """Label the axes that all plots of a figure share, and add one legend for all."""
    first.set_ylabel("mean delay, in seconds", color=GREY)
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, labelcolor=GREY)


def _curve(axis: Axes, points: list[list[float]], label: str, color: str, style: str) -> None:
    requests, delays = [point[1] for point in points], [point[2] for point in points]
    axis.plot(requests, delays, style, color=color, label=label, lw=1.6, markersize=4)


def _plain(axis: Any) -> None:
    axis.tick_params(colors=GREY)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(GREY)
