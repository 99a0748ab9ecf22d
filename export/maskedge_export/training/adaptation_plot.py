"""What an adaptation changed, as a picture."""

from pathlib import Path
from typing import Any

import numpy as np

from maskedge_export.evaluation.bootstrap import difference
from maskedge_export.training.before_after import BeforeAfter

__all__ = ["plot_ratios"]


def plot_ratios(comparison: BeforeAfter, file: Path) -> None:
    """Perplexity after / before of all words and of each group, with its 95 % interval, as a PNG."""
    from matplotlib.figure import Figure

    shown = [comparison.overall, *comparison.by_frequency, *comparison.by_pieces]
    figure = Figure(figsize=(8, 0.6 + 0.36 * len(shown)), layout="constrained")
    axes: Any = figure.subplots()
    ratios = np.array([group.ratio.value for group in shown])
    low, high = (np.array([getattr(group.ratio, end) for group in shown]) for end in ("low", "high"))
    errors = np.array([difference(ratios, low), difference(high, ratios)])
    errors[~np.isfinite(errors)] = 0  # an interval without an end has none to draw
    axes.axvline(1, color="#6b6b6b", linewidth=1)
    axes.errorbar(ratios, range(len(shown)), xerr=errors, fmt="o", color="#30638e", capsize=3, markersize=4)
    axes.set_yticks(range(len(shown)), [f"{group.group} ({group.words:,})" for group in shown])
    axes.invert_yaxis()
    axes.set(xlabel="perplexity of a word, after / before (left of 1: better)")
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)
