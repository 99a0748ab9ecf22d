"""The comparison as a picture: sentences a second, one sentence's time, and tokens a second by length."""

import math
from itertools import accumulate
from pathlib import Path
from typing import Any

from harness.workloads import LENGTHS

__all__ = ["draw"]

Metrics = dict[str, Any]

OURS, PEER = "#d9480f", "#8c8c8c"
LABEL_SIZE = 8


def draw(figures: Metrics, path: Path) -> None:
    """The model with most entries; nothing where there is none."""
    from matplotlib.figure import Figure

    if not figures["models"]:
        return
    name, model = max(figures["models"].items(), key=lambda item: len(item[1]["entries"]))
    entries = model["entries"]
    lengths = [row for row in entries.values() if any(f"lengths/{length}" in row for length in LENGTHS)]
    figure = Figure(figsize=(11, 1.5 + (0.42 if lengths else 0.24) * len(entries)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.3, 1)) if lengths else [figure]
    left, right = parts[0].subplots(1, 2, width_ratios=(1.2, 1))
    draw_bars(left, column(entries, "sentences", "rows_per_second"), "sentences a second")
    latencies = dict(reversed(column(entries, "one", "median_milliseconds").items()))
    draw_bars(right, latencies, "one sentence, ms (line: to p99)")
    for place, (entry, median) in enumerate(latencies.items()):
        right.plot([median, entries[entry]["one"]["p99_milliseconds"]], [place - 0.3] * 2, color="black", lw=1)
    if lengths:
        draw_lengths(parts[1].subplots(), entries)
    processor = figures["machine"]["processor"]
    figure.suptitle(f"{name}, {figures['machine']['cores']} cores, {processor}", x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=110)


def column(entries: Metrics, workload: str, metric: str) -> dict[str, float]:
    """One figure of all who have it, the smallest first."""
    found = {name: row[workload][metric] for name, row in entries.items() if workload in row}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def draw_bars(axes: Any, values: dict[str, float], title: str) -> None:
    """A bar each, its value behind it."""
    colours = [OURS if name.startswith("maskedge") else PEER for name in values]
    bars = axes.barh(list(values), list(values.values()), color=colours)
    axes.bar_label(bars, [f"{value:.3g}" for value in values.values()], padding=3, fontsize=LABEL_SIZE)
    axes.tick_params(axis="y", labelsize=LABEL_SIZE)
    axes.margins(x=0.14)
    axes.set_title(title, loc="right", fontsize=10)


def draw_lengths(axes: Any, entries: Metrics) -> None:
    """A line each; ours have colour."""
    ends = {}
    for name, row in entries.items():
        rates = {length: row[key]["tokens_per_second"] for length in LENGTHS if (key := f"lengths/{length}") in row}
        if rates:
            ours = name.startswith("maskedge")
            style = {"color": OURS if ours else PEER, "lw": 2 if ours else 1, "marker": "o", "ms": 3}
            axes.plot(list(rates), list(rates.values()), **style)
            ends[name] = max(rates), rates[max(rates)]
    axes.set(xscale="log", yscale="log", xlabel="tokens of a text", xlim=(14, 2600))
    axes.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.set_title("tokens a second", loc="left", fontsize=10)
    label_ends(axes, ends)


def label_ends(axes: Any, ends: dict[str, tuple[int, float]]) -> None:
    """Names beside the ends of lines, moved until none lies on another or above the axes."""
    arrow = {"arrowstyle": "-", "lw": 0.4, "color": PEER, "relpos": (0, 0.5)}
    ordered = sorted(ends.items(), key=lambda item: item[1][1])
    heights = spread([math.log(rate) for _, (_, rate) in ordered], *map(math.log, axes.get_ylim()))
    for (name, end), height in zip(ordered, heights, strict=True):
        place = {"xytext": (1.25 * max(LENGTHS), math.exp(height)), "fontsize": 7, "va": "center", "arrowprops": arrow}
        axes.annotate(name, end, **place)


def spread(heights: list[float], low: float, high: float) -> list[float]:
    """Rising heights, moved up until none is nearer to another than a line of text, then down to end below `high`."""
    gap = (high - low) / max(26, len(heights))
    rising = accumulate(heights, lambda before, height: max(height, before + gap))
    falling = accumulate(reversed(list(rising)), lambda before, height: min(height, before - gap), initial=high)
    return list(falling)[:0:-1]
