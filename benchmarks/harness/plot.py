"""The comparison as a picture: sentences a second, one sentence's time, and tokens a second by length."""

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
    figure = Figure(figsize=(11, 3 + 0.42 * len(entries)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.3, 1))
    left, right = parts[0].subplots(1, 2, width_ratios=(1.2, 1))
    draw_bars(left, column(entries, "sentences", "rows_per_second"), "sentences a second, one mask each")
    draw_bars(right, column(entries, "one", "median_milliseconds"), "one sentence, ms (whisker: 99th percentile)")
    draw_whiskers(right, entries)
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
    axes.set_title(title, loc="left", fontsize=10)


def draw_whiskers(axes: Any, entries: Metrics) -> None:
    """From the median to the 99th percentile."""
    for place, (name, median) in enumerate(column(entries, "one", "median_milliseconds").items()):
        axes.plot([median, entries[name]["one"]["p99_milliseconds"]], [place - 0.3] * 2, color="black", lw=1)


def draw_lengths(axes: Any, entries: Metrics) -> None:
    """A line each; ours have colour."""
    for name, row in entries.items():
        points = [
            (length, row[f"lengths/{length}"]["tokens_per_second"]) for length in LENGTHS if f"lengths/{length}" in row
        ]
        if points:
            ours = name.startswith("maskedge")
            style = {"color": OURS if ours else PEER, "lw": 2 if ours else 1, "marker": "o", "ms": 3}
            axes.plot(*zip(*points, strict=True), **style)
            axes.annotate(name, points[-1], xytext=(6, -3), textcoords="offset points", fontsize=7)
    axes.set(xscale="log", yscale="log", xlabel="tokens of a text", xlim=(14, 2600))
    axes.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.set_title("tokens a second", loc="left", fontsize=10)
