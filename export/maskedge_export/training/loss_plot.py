"""A run's log -> a picture of its loss."""

import math
from pathlib import Path
from typing import Any

__all__ = ["plot_loss"]

HELD_OUT_COLOUR, LOSS_COLOUR, RATE_COLOUR = "#d1495b", "#30638e", "#6b6b6b"


def plot_loss(entries: list[dict[str, Any]], file: Path) -> None:
    """Training loss and held-out loss (nats) over steps, and the learning rate below them, as a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5), layout="constrained")
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    steps = [entry["step"] for entry in entries]
    losses.plot(steps, [entry["loss"] for entry in entries], color=LOSS_COLOUR, linewidth=1, label="training")
    _plot_held_out(losses, entries)
    losses.set(ylabel="masked cross-entropy, nats")
    losses.legend(frameon=False)
    rates.plot(steps, [entry["learning_rate"] for entry in entries], color=RATE_COLOUR, linewidth=1)
    rates.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, rates):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


def _plot_held_out(axes: Any, entries: list[dict[str, Any]]) -> None:
    measured = [entry for entry in entries if entry["held_out_perplexity"]]
    if measured:
        axes.plot(
            [entry["step"] for entry in measured],
            [math.log(entry["held_out_perplexity"]) for entry in measured],
            color=HELD_OUT_COLOUR,
            marker="o",
            markersize=3,
            label=f"held out, one mask a sentence (perplexity {measured[-1]['held_out_perplexity']:.1f} at the end)",
        )
