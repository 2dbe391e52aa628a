"""The tables of the page "When to ask", made from ``docs/when-to-ask.json``.

``python -m benchmarks.study.tables`` makes them and the plots again without a simulation, for example after a change of
their wording.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from benchmarks.study.figures import Figures
from benchmarks.study.saturation import IN_ORDER
from benchmarks.study.strategies import DEFAULT, LEARNED
from benchmarks.study.targets import NEVER, REASONS, Target, targets
from benchmarks.tables import DOCS

REPORT = DOCS / "when-to-ask.json"
TABLE = DOCS / "when-to-ask-table.md"

TRIPLE = "requests / delay / p95"


def table(report: Figures) -> str:
    """Return ``docs/when-to-ask-table.md``. Each part follows a comment that names it."""
    simulated, measured = report["simulated"], report["measured"]
    sizes = report["sizes"]
    parts = {
        "conclusion": _conclusion(simulated, sizes),
        "targets": _targets(targets(report)),
        "default": _default(simulated["default"], sizes),
        "learned": _learned(simulated["learned"], sizes),
        "beginning": _beginning(simulated["learned"]),
        "held out": _held_out(simulated["held out"]),
        "effort": _effort(simulated["curves"], sizes),
        "same delay": _same_delay(simulated["same delay"], sizes),
        "changes": _changes(simulated["switches"], simulated["drift"], sizes),
        "cold batches": _cold_batches(simulated["cold batches"], sizes),
        "submitted before": _submitted_before(simulated["submitted before"], sizes),
        "caps": _caps(simulated["saturation"], sizes),
        "latency": _latency(simulated["latency"], sizes),
        "price": _price(measured),
        "sessions": _sessions(measured["sessions"], sizes),
    }
    return "".join(f"<!-- {name} -->\n\n{_text(lines)}\n\n" for name, lines in parts.items()) + "<!-- end -->\n"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _conclusion(simulated: Figures, sizes: Figures) -> Iterator[str]:
    default, learned, held_out = (simulated[name]["means"] for name in ("default", "learned", "held out"))
    more = default["requests"] - 1
    saved = sorted(row["saved"] for row in simulated["same delay"]["laws"])
    yield (
        f"**In short:** compared with exponential backoff with full jitter, from 0.5 s to 10 s, the default of this "
        f"package has a mean delay {_ratio(default['lower'])} times lower, and sends {_percent(more)} more requests. "
        f"`LearnedWait` sends as many requests as full jitter ({_ratio(learned['requests'])} times). When it has seen "
        f"{sizes['main'] // 2:,} executions, its delay is {_ratio(learned['lower'])} times lower; it is "
        f"{_ratio(held_out['lower'])} times lower for durations that it was not developed with. With the delay of full "
        f"jitter, it sends {_percent(saved[0])} to {_percent(saved[-1])} fewer requests."
    )


def _targets(found: list[Target]) -> Iterator[str]:
    missed = [target for target in found if not target.is_met]
    yield (
        f'*Means are geometric. "Lower by" is the delay of full jitter divided by that of the strategy; under a cap, '
        f"full jitter is not compared, but the default, and `LearnedWait` with polls in the order in which they became "
        f"due: the lesser figure counts. {len(found) - len(missed)} of {len(found)} targets are met.*"
    )
    yield ""
    yield "| what | target | figure | met |"
    yield "| --- | ---: | ---: | --- |"
    for target in found:
        bound = f"{'≥' if target.is_least else '≤'} {target.limit:g}{target.unit}"
        detail = f" ({target.detail})" if target.detail else ""
        yield f"| {target.what} | {bound} | {_figure(target)}{detail} | {'yes' if target.is_met else '**no**'} |"
    for target in missed:
        if target.what in REASONS:
            yield ""
            yield f"**Missed: {target.what}.** {REASONS[target.what]}"


def _figure(target: Target) -> str:
    if target.figure >= NEVER:
        return "more than 1,000"
    if target.unit in {" %", " executions", " kB"} or isinstance(target.figure, int):
        return f"{target.figure:.0f}{target.unit}"
    return f"{target.figure:.{1 if target.unit else 2}f}{target.unit}"


def _default(default: Figures, sizes: Figures) -> Iterator[str]:
    means, weakest = default["means"], default["weakest"]
    yield (
        f"*Simulated: {sizes['main']:,} executions of each distribution, one every 0.5 s. Requests are the mean per "
        "execution. Delay is the mean time in seconds from the end of an execution to the result that says so; 95 % "
        "are below p95. The last column compares at equal requests: the factor of the delay divided by that of the "
        "requests.*"
    )
    yield ""
    yield f"| durations | full jitter: {TRIPLE} | default: {TRIPLE} | requests | delay lower by | at equal requests |"
    yield "| --- | --- | --- | ---: | ---: | ---: |"
    for row in default["laws"]:
        yield (
            f"| {row['law']} | {_triple(row['full jitter'])} | {_triple(row['default'])} | "
            f"{_compared(row['default / full jitter'])} |"
        )
    yield f"| **geometric mean** | | | {_compared(means)} |"
    yield ""
    yield (
        f"The distribution for which the default gains least is *{weakest['law']}*: its delay is "
        f"{_times(1 / weakest['lower'])} that of full jitter, with {_times(weakest['requests'])} the requests."
    )


def _learned(learned: Figures, sizes: Figures) -> Iterator[str]:
    yield (
        f"*Simulated: {sizes['main']:,} executions of each distribution, one every 0.5 s; `LearnedWait()` knows "
        "nothing at the beginning. The factors compare it with full jitter in all executions, those from which it "
        "learned included.*"
    )
    yield ""
    yield (
        f"| durations | full jitter: {TRIPLE} | default | `LearnedWait` | requests | delay lower by | at equal "
        f"requests |"
    )
    yield "| --- | --- | --- | --- | ---: | ---: | ---: |"
    for row in learned["laws"]:
        summaries = " | ".join(_triple(row[name]) for name in ("full jitter", "default", "all"))
        yield f"| {row['law']} | {summaries} | {_compared(row['all / full jitter'])} |"
    yield f"| **geometric mean** | | | | {_compared(learned['means, cold start included'])} |"


def _beginning(learned: Figures) -> Iterator[str]:
    yield (
        "*Simulated: executions arrive one every 0.5 s. Delay in seconds, and in brackets by which factor it is lower "
        "than with full jitter. The oracle is the best schedule for somebody who knows the distribution exactly, at "
        "the same mean number of requests.*"
    )
    yield ""
    yield "| durations | first 200 | first 1,000 | second half | oracle | oracle / second half |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for row in learned["laws"]:
        yield (
            f"| {row['law']} | {_lower(row['first 200'])} | {_lower(row['first 1000'])} | "
            f"{row['later']['delay']:.2f} ({_ratio(row['later / full jitter']['lower'])}) | {row['oracle']:.2f} | "
            f"{_percent(row['share of the oracle'])} |"
        )


def _held_out(held_out: Figures) -> Iterator[str]:
    yield "*Kinds that were not used to develop `LearnedWait`; otherwise as above.*"
    yield ""
    yield (
        f"| durations | full jitter: {TRIPLE} | default | `LearnedWait` | second half lower by | oracle / second half |"
    )
    yield "| --- | --- | --- | --- | ---: | ---: |"
    for row in held_out["laws"]:
        summaries = " | ".join(_triple(row[name]) for name in ("full jitter", "default", "all"))
        lower, share = row["later / full jitter"]["lower"], row["share of the oracle"]
        yield f"| {row['law']} | {summaries} | {_ratio(lower)} | {_percent(share)} |"
    yield f"| **geometric mean** | | | | {_ratio(held_out['means']['lower'])} | |"


def _effort(curves: list[Figures], sizes: Figures) -> Iterator[str]:
    yield (
        f"*Simulated: requests per execution and mean delay in seconds, once {sizes['moderate'] // 4:,} executions "
        f"have ended.*"
    )
    yield ""
    yield f"| effort | {' | '.join(row['law'] for row in curves)} |"
    yield f"| ---: | {' | '.join('---' for _ in curves)} |"
    for points in zip(*(row["learned"] for row in curves), strict=True):
        cells = " | ".join(f"{requests:.1f} requests, {delay:.2f} s" for _, requests, delay in points)
        yield f"| {points[0][0]:g} | {cells} |"


def _same_delay(same: Figures, sizes: Figures) -> Iterator[str]:
    yield (
        f"*Simulated: `LearnedWait(mean_delay=...)` with the mean delay of full jitter, once "
        f"{sizes['moderate'] // 4:,} executions have ended. The oracle has the delay of `LearnedWait`.*"
    )
    yield ""
    yield "| durations | full jitter: requests, delay | `LearnedWait`: requests, delay | saved | oracle: requests |"
    yield "| --- | --- | --- | ---: | ---: |"
    for row in same["laws"]:
        pairs = " | ".join(
            f"{row[name]['requests']:.2f}, {row[name]['delay']:.2f} s" for name in ("full jitter", "learned")
        )
        yield f"| {row['law']} | {pairs} | {_percent(row['saved'])} | {row['oracle']:.2f} |"
    yield f"| **geometric mean** | | | {_percent(same['mean saved'])} | |"


def _changes(switches: list[Figures], drift: Figures, sizes: Figures) -> Iterator[str]:
    yield (
        f"*Simulated: durations change after {sizes['before']:,} executions, from one to the next; mean of "
        f"{sizes['runs']} runs. The worst 100 executions after the change are compared with the same ones under full "
        f"jitter. Delay is back when the mean of 100 executions is within 1.1 times that of a `LearnedWait` that has "
        f"only ever seen the new durations.*"
    )
    yield ""
    yield "| from | to | worst delay / full jitter | worst requests / full jitter | back after |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for row in switches:
        back = "more than 1,000" if row["back after"] is None else f"{row['back after']:,}"
        worst = f"{_ratio(row['worst delay / full jitter'])} | {_ratio(row['worst requests / full jitter'])}"
        yield f"| {row['from']} | {row['to']} | {worst} | {back} executions |"
    yield ""
    ratio = drift["learned / full jitter"]
    yield (
        f"A slow drift does less harm: while the median rises from 5 s to 50 s over {sizes['moderate']:,} executions, "
        f"`LearnedWait` sends {_times(ratio['requests'])} the requests of full jitter, and its delay is lower by a "
        f"factor of {_ratio(ratio['lower'])}."
    )


def _cold_batches(batches: Figures, sizes: Figures) -> Iterator[str]:
    yield (
        f"*Simulated: {sizes['batch']:,} executions that begin at once, of which nothing is known; then three more "
        f"such batches, each after the one before. In brackets: requests / those of full jitter; before them: the "
        f"factor by which the delay is lower.*"
    )
    names = ("default", "not decided again", "batch 1", "batch 2", "batch 3", "batch 4")
    yield ""
    yield "| durations | default | `LearnedWait`, sleeping waits left alone | first batch | second | third | fourth |"
    yield f"| --- | {' | '.join('---:' for _ in names)} |"
    for row in [*batches["laws"], {"law": "**geometric mean**", **batches["means"]}]:
        cells = " | ".join(f"{_ratio(row[name]['lower'])} ({_ratio(row[name]['requests'])})" for name in names)
        yield f"| {row['law']} | {cells} |"


def _submitted_before(rows: list[Figures], sizes: Figures) -> Iterator[str]:
    yield (
        f"*Simulated: {sizes['batch']:,} executions that were submitted 0 to 35 s before their wait, and have not "
        f"ended. `LearnedWait` has seen {2 * sizes['batch']:,} executions from their beginning. Requests, and mean "
        f"delay in seconds.*"
    )
    names = ("full jitter", "default", "unknown", "unknown, own group", "known")
    yield ""
    yield (
        "| durations | full jitter | default | time of submission unknown | unknown, `key` of their own | "
        "`submitted_at` |"
    )
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        cells = " | ".join(f"{row[name]['all']['requests']:.2f}, {row[name]['all']['delay']:.2f}" for name in names)
        yield f"| {row['law']} | {cells} |"


def _caps(rows: list[Figures], sizes: Figures) -> Iterator[str]:
    yield (
        f"*The scheduler of the package on virtual time: {sizes['capped']:,} executions, {sizes['rate']} requests per "
        f"second. Nothing is known at the beginning. Of mixed kinds, `key` tells the kinds apart. Requests per "
        f"execution / mean delay / 95th percentile, in seconds. The last column compares the delay of `LearnedWait` "
        f"with both others.*"
    )
    yield ""
    yield "| executions | default | `LearnedWait`, longest due first | `LearnedWait` | lower by |"
    yield "| --- | --- | --- | --- | ---: |"
    for row in rows:
        cells = " | ".join(
            f"{row[name]['requests']:.1f} / {row[name]['delay']:.1f} / {row[name]['p95']:.0f}"
            for name in (DEFAULT, IN_ORDER, LEARNED)
        )
        lower = ", ".join(_ratio(row["lower than"][name]) for name in (DEFAULT, IN_ORDER))
        yield f"| {row['case']} | {cells} | {lower} |"


def _latency(latency: Figures, sizes: Figures) -> Iterator[str]:
    learned, default = (latency["means"][f"{name} / full jitter"] for name in ("learned", "default"))
    yield (
        f"If each request takes 0.05 to 0.5 s, at random, the factors change little "
        f"({len(latency['laws'])} distributions, {sizes['moderate']:,} executions each; the delay includes the last "
        f"request): with the default, the delay is lower by a factor of {_ratio(default['lower'])} with "
        f"{_times(default['requests'])} the requests, and with `LearnedWait` by a factor of "
        f"{_ratio(learned['lower'])} with {_times(learned['requests'])} the requests, cold start included."
    )


def _price(measured: Figures) -> Iterator[str]:
    price = measured["price"]
    yield (
        f"Measured with {measured['machine']}: `LearnedWait` takes {price['learned, decision and answer']:.1f} µs to "
        f"learn from an answer and decide on a gap; the default takes {price['default, decision']:.1f} µs to decide. "
        f"In {price['executions']:,} executions, `LearnedWait` made {price['plans']} plans, each in about "
        f"{price['plan'] / 1000:.1f} ms. A group of executions takes {price['bytes per group'] / 1000:.0f} kB."
    )


def _sessions(sessions: list[Figures], sizes: Figures) -> Iterator[str]:
    yield (
        f"*{sizes['real']:,} executions of each distribution in a real session with `LearnedWait()`, on virtual time "
        "and with a simulated dispatcher, beside the simulation with the same durations.*"
    )
    yield ""
    yield f"| durations | session: {TRIPLE} | simulation: {TRIPLE} | requests | delay |"
    yield "| --- | --- | --- | ---: | ---: |"
    for row in sessions:
        yield (
            f"| {row['law']} | {_triple(row['session'])} | {_triple(row['simulation'])} | "
            f"{_ratio(row['requests'])} | {_ratio(row['delay'])} |"
        )


def _triple(summary: Figures) -> str:
    return f"{summary['requests']:.2f} / {summary['delay']:.2f} / {summary['p95']:.2f}"


def _compared(ratios: Figures) -> str:
    return " | ".join(_ratio(ratios[name]) for name in ("requests", "lower", "at equal requests"))


def _lower(row: Figures) -> str:
    return f"{row['delay']:.2f} ({_ratio(row['lower'])})"


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _times(value: float) -> str:
    return f"{value:.2f} times"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def save(report: Figures) -> None:
    """Write the figures."""
    REPORT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write(report: Figures) -> None:
    """Write the tables and draw the plots."""
    from benchmarks.study.plots import draw  # noqa: PLC0415  # tables need no matplotlib

    TABLE.write_text(table(report), encoding="utf-8")
    draw(report["simulated"], DOCS / "pictures")


if __name__ == "__main__":
    write(json.loads(REPORT.read_text(encoding="utf-8")))
