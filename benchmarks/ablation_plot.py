"""The ablations as a picture."""

from pathlib import Path
from typing import Any

__all__ = ["draw"]

Metrics = dict[str, Any]

MOST_BARS = 15

SHIPPED = ("int8", "int8-avx2", "int8-weights", "int4-weights")
"""The graphs that a bundle may hold."""

COLOURS = {"onnxruntime": "#8c8c8c", "ours": "#4c78a8", "shipped": "#d9480f"}


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


def _work_done_twice(metrics: Metrics) -> list[float]:
    """Of each graph of the trade, which has two terms for the first so many activations."""
    return [sum(found["work"] for found in metrics["activations"][: row["finer"]]) for row in metrics["trade"]]
