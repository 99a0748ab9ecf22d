"""The ablations as Markdown and as a picture."""

from pathlib import Path
from textwrap import fill
from typing import Any

__all__ = ["draw", "report"]

Metrics = dict[str, Any]

WIDTH = 120
"""Characters of a line of the page's text."""

MOST_BARS = 15

SHIPPED = ("int8", "int8-avx2", "int8-weights", "int4-weights")
"""The graphs that a bundle may hold."""

COLOURS = {"onnxruntime": "#8c8c8c", "ours": "#4c78a8", "shipped": "#d9480f"}

INTRODUCTION = """`{checkpoint}`, {cells:,} masked tokens held out from calibration, compared with its fp32 graph.
Intervals are 95 %, paired. Speed is that of one thread, relative to fp32 in the same run. Written by
`benchmarks/ablations.py`."""

PRECISIONS = """`int8`, `int8-avx2`, `int8-weights` and `int4-weights` are what `mlm-export bundle --precision` writes,
here without the gate, which would give the int8 graphs more second terms until they pass. In a bundle what graphs have
in common lies once, in `onnx/shared.data`: the embedding table of `int8` and `int8-avx2`, that of `int8-weights` and
`int4-weights`, norms and biases; MB counts it for each. Other weights cannot be shared: they differ in bits, in what
has a scale, or in how they were rounded, and fp32's are not smoothed. The graphs in blocks are slower than int8 on CPUs
with VNNI: their kernel rounds every activation itself, once for each product."""

TRADE = """A second term makes an activation's steps finer, and its products are done twice: work is their share of all
of a token's. The first line is the graph with row scales above, timed again: how far its two speeds lie apart is the
timing's noise."""

ACTIVATIONS = """In the order of their gain for their work. An activation is named after the weights it is multiplied
with. The gain is measured on calibration text, all others being as in the graph with row scales above."""


def report(metrics: Metrics) -> str:
    """The figures as Markdown."""
    lines = [
        "# Quantization, step by step",
        "",
        _text(INTRODUCTION.format(**metrics)),
        "",
        "| | Graph | MB | Times faster | Mean KL, nats | Same best token | Perplexity | Interval |",
        "| --: | --- | --: | --: | --: | --: | --: | --: |",
        *(_row(number, name, row) for number, (name, row) in enumerate(metrics["graphs"].items())),
        "",
        _text(verdict(metrics["graphs"])),
        "",
        "![Divergence against time, each activation's part, and divergence against work](quantization.png)",
        "",
        _text(PRECISIONS),
        "",
        "## Two terms for how many activations",
        "",
        _text(TRADE),
        "",
        "| Activations | Work done twice | Times faster | Mean KL, nats | Same best token |",
        "| --: | --: | --: | --: | --: |",
        *(_trade_row(row, work) for row, work in zip(metrics["trade"], _work_done_twice(metrics), strict=True)),
        "",
        "## What each activation's second term gains",
        "",
        _text(ACTIVATIONS),
        "",
        "| Activation | Gain, nats | Work | In int8 |",
        "| --- | --: | --: | --- |",
        *(_activation_row(row) for row in metrics["activations"]),
    ]
    return "\n".join(lines) + "\n"


def _text(paragraph: str) -> str:
    return fill(" ".join(paragraph.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def _row(number: int, name: str, row: Metrics) -> str:
    low, high = row["intervals"]["perplexity_change"]
    return (
        f"| {number or ''} | {name} | {row['megabytes']:.1f} | {row['times_faster']:.2f} | {row['mean_kl']:.4f} | "
        f"{row['top1_agreement']:.1%} | {row['perplexity_change']:+.2%} | {low:+.2%} to {high:+.2%} |"
    )


def _trade_row(row: Metrics, work: float) -> str:
    return (
        f"| {row['finer']} | {work:.1%} | {row['times_faster']:.2f} | {row['mean_kl']:.4f} | "
        f"{row['top1_agreement']:.1%} |"
    )


def _activation_row(row: Metrics) -> str:
    chosen = [name for name, taken in (("two terms", row["two_terms"]), ("row scales", row["row_scales"])) if taken]
    gain = round(row["gain"], 5) + 0.0  # no -0.00000
    return f"| {row['name']} | {gain:.5f} | {row['work']:.1%} | {', '.join(chosen)} |"


def _work_done_twice(metrics: Metrics) -> list[float]:
    """Of each graph of the trade, which has two terms for the first so many activations."""
    return [sum(found["work"] for found in metrics["activations"][: row["finer"]]) for row in metrics["trade"]]


def verdict(graphs: dict[str, Metrics]) -> str:
    """Whether static ranges lose more than dynamic ones."""
    numbers = {name: number for number, name in enumerate(graphs)}
    dynamic = graphs["onnxruntime dynamic"]["mean_kl"]
    static = [name for name in graphs if name not in ("fp32", *SHIPPED[2:]) and "dynamic" not in name]
    worse = [str(numbers[name]) for name in static if graphs[name]["mean_kl"] > dynamic]
    return (
        f"Static ranges lose more than onnxruntime's dynamic ones ({dynamic:.4f} nats) in {_listed(worse)}; `int8`, "
        f"static but for the scales of rows, loses {graphs['int8']['mean_kl']:.4f}."
    )


def _listed(numbers: list[str]) -> str:
    if len(numbers) < 2:
        return f"graph {numbers[0]}" if numbers else "no graph"
    return f"graphs {', '.join(numbers[:-1])} and {numbers[-1]}"


def draw(metrics: Metrics, path: Path) -> None:
    """Divergence against time for the graphs and against work along the trade; each activation's gain."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 9.5), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1), hspace=0.04)
    top, bottom = parts
    _draw_graphs(top.subplots(), metrics["graphs"])
    gains, trade = bottom.subplots(1, 2, width_ratios=(1, 1.1))
    _draw_gains(gains, metrics["activations"])
    _draw_trade(trade, metrics)
    figure.savefig(path, dpi=110)


def _draw_graphs(axes: Any, graphs: dict[str, Metrics]) -> None:
    """Numbered as in the table: names beside the points would lie on each other."""
    from matplotlib.ticker import LogLocator, NullLocator

    for number, (name, row) in enumerate(graphs.items()):
        if name == "fp32":
            continue
        at = 1 / row["times_faster"], row["mean_kl"]
        axes.plot(*at, "o", color=_colour(name), markersize=13, label=f"{number}  {name}")
        axes.annotate(str(number), at, ha="center", va="center_baseline", fontsize=8, color="white", weight="bold")
    axes.set(xlabel="time, relative to fp32", ylabel="mean KL from fp32, nats", yscale="log")
    axes.set_title("What is lost, and the time it takes", loc="left")
    axes.set_xlim(left=0)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=9, markerscale=0.6)


def _colour(name: str) -> str:
    if name in SHIPPED:
        return COLOURS["shipped"]
    return COLOURS["onnxruntime" if name.startswith("onnxruntime") else "ours"]


def _draw_gains(axes: Any, activations: list[Metrics]) -> None:
    largest = sorted(activations, key=lambda row: row["gain"])[-MOST_BARS:]
    for chosen, colour, label in ((True, "shipped", "int8 has it"), (False, "ours", "int8 does without")):
        at = [place for place, row in enumerate(largest) if row["two_terms"] is chosen]
        axes.barh(at, [1e3 * largest[place]["gain"] for place in at], color=COLOURS[colour], label=label)
    axes.set_yticks(range(len(largest)), [row["name"] for row in largest], fontsize=8)
    axes.set(xlabel="mean KL saved, thousandths of a nat")
    axes.set_title(f"What a second term saves: the {len(largest)} largest", loc="right")
    axes.legend(loc="lower right", frameon=False, fontsize=9)


def _draw_trade(axes: Any, metrics: Metrics) -> None:
    """Against work, which is counted, and not time: two timings of one graph differ by more than a step here."""
    work = [100 * share for share in _work_done_twice(metrics)]
    lost = [row["mean_kl"] for row in metrics["trade"]]
    axes.plot(work, lost, "o-", color=COLOURS["ours"], label="so many, most gain for their work first")
    for place, (row, *at) in enumerate(zip(metrics["trade"], work, lost, strict=True)):
        offset = (7, 6) if place % 2 == 0 else (-2, -13)  # by turns: the first few lie close together
        axes.annotate(str(row["finer"]), at, xytext=offset, textcoords="offset points", fontsize=8)
    chosen = 100 * sum(row["work"] for row in metrics["activations"] if row["two_terms"])
    axes.plot(chosen, metrics["graphs"]["int8"]["mean_kl"], "D", color=COLOURS["shipped"], label="int8")
    axes.set(xlabel="work done twice, % of the integer products", ylabel="mean KL from fp32, nats")
    axes.set_ylim(0, 1.1 * max(lost))
    axes.set_title("Two terms for ever more activations", loc="left")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", frameon=False, fontsize=9)
