"""What an adaptation gained, as a page, a picture and JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from maskedge_export.training.before_after import Gain, Gains, gain_row

__all__ = ["write_report"]


def write_report(gains: Gains, source: str, directory: Path) -> None:
    """Write `adaptation.json`, `adaptation.md` and `adaptation.png`; `source` names the model before."""
    (directory / "adaptation.json").write_text(json.dumps(asdict(gains), indent=1) + "\n", encoding="utf-8")
    (directory / "adaptation.md").write_text(_markdown(gains, source), encoding="utf-8")
    _draw(gains, directory / "adaptation.png")


def _markdown(gains: Gains, source: str) -> str:
    head = [
        f"# {source}, before and after adaptation",
        "",
        f"{gains.overall.words:,} words of text kept out of training, one in a sentence, every piece predicted with",
        "itself and the word's later pieces masked. Perplexity is that of a word; the ratio is after / before with its",
        "paired 95 % bootstrap interval.",
        "",
        "![Perplexity after / before](adaptation.png)",
    ]
    tables = {
        "All words": [gains.overall],
        "By frequency in the text trained on": gains.by_frequency,
        "By number of pieces": gains.by_pieces,
        "Words that gained most": gains.gained_most,
    }
    return "\n".join([*head, *(line for title, group in tables.items() for line in _table(title, group))]) + "\n"


def _table(title: str, gains: Sequence[Gain]) -> list[str]:
    lines = ["", f"## {title}", "", "| | words | before | after | ratio |", "|---|--:|--:|--:|--:|"]
    return lines + [f"| {' | '.join(gain_row(gain))} |" for gain in gains]


def _draw(gains: Gains, file: Path) -> None:
    """The ratios of the groups with their intervals, as a PNG."""
    from matplotlib.figure import Figure

    shown = [gains.overall, *gains.by_frequency, *gains.by_pieces]
    figure = Figure(figsize=(8, 0.6 + 0.36 * len(shown)), layout="constrained")
    axes: Any = figure.subplots()
    ratios = np.array([gain.ratio.value for gain in shown])
    errors = [ratios - [gain.ratio.low for gain in shown], [gain.ratio.high for gain in shown] - ratios]
    axes.axvline(1, color="#6b6b6b", linewidth=1)
    axes.errorbar(ratios, range(len(shown)), xerr=errors, fmt="o", color="#30638e", capsize=3, markersize=4)
    axes.set_yticks(range(len(shown)), [f"{gain.group} ({gain.words:,})" for gain in shown])
    axes.invert_yaxis()
    axes.set(xlabel="perplexity of a word, after / before (left of 1: better)")
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)
