"""What an adaptation changed, as a page and as JSON, with its picture beside them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from maskedge.plain_json import plain_json
from maskedge_export.training.adaptation_plot import plot_ratios
from maskedge_export.training.before_after import BeforeAfter, WordGroup

__all__ = ["write_report"]


def write_report(comparison: BeforeAfter, source: str, directory: Path) -> None:
    """Write `adaptation.json`, `adaptation.md` and `adaptation.png`; `source` names the model before."""
    (directory / "adaptation.json").write_text(plain_json(asdict(comparison), indent=1) + "\n", encoding="utf-8")
    (directory / "adaptation.md").write_text(_markdown(comparison, source), encoding="utf-8")
    plot_ratios(comparison, directory / "adaptation.png")


def _markdown(comparison: BeforeAfter, source: str) -> str:
    words = comparison.overall.words
    head = [
        f"# {source}, before and after adaptation",
        "",
        f"{words:,} words of text kept out of training, one in a sentence, every piece predicted with",
        "itself and the word's later pieces masked. Perplexity is that of a word; the ratio is after / before with its",
        "paired 95 % bootstrap interval.",
        "",
        "![Perplexity after / before](adaptation.png)",
    ]
    tables = {
        "All words": [comparison.overall],
        "By frequency in the text trained on": comparison.by_frequency,
        "By number of pieces": comparison.by_pieces,
        "Words that gained most": comparison.gained_most,
    }
    return "\n".join([*head, *(line for title, groups in tables.items() for line in _table(title, groups))]) + "\n"


def _table(title: str, groups: Sequence[WordGroup]) -> list[str]:
    lines = ["", f"## {title}", "", "| | words | before | after | ratio |", "|---|--:|--:|--:|--:|"]
    return lines + [f"| {' | '.join(group.row())} |" for group in groups]
