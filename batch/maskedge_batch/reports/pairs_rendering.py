"""The report on minimal pairs as HTML, Markdown and JSON."""

from dataclasses import asdict
from typing import Any

from maskedge.plain_json import plain_json
from maskedge_batch.reports.accuracy import Accuracy, MeanAccuracy
from maskedge_batch.reports.pairs import PairsReport
from maskedge_batch.reports.rendering import REASONS, TEMPLATES

__all__ = ["interval_text", "pairs_html", "pairs_json", "pairs_markdown"]

PAIR_REASONS = REASONS | {
    "null_text": "A sentence is null.",
    "unexpected_mask": "A sentence holds a mask: it has no pseudo-log-likelihood.",
    "same_sentence": "Both sentences are the same.",
}
SCORES = {
    "sum": "pseudo-log-likelihood",
    "token": "pseudo-log-likelihood per token",
    "character": "pseudo-log-likelihood per character",
}


def pairs_json(report: PairsReport) -> str:
    """Every figure under the name of its field, accuracies with their value and interval."""
    values = asdict(report)
    values["overall"] = _accuracy(report.overall) if report.overall else None
    values["grouped"] = [
        {
            "column": grouping.column,
            "groups": {name: _accuracy(group) for name, group in grouping.groups.items()},
            "mean": asdict(grouping.mean),
        }
        for grouping in report.grouped
    ]
    return plain_json(values, indent=2, ensure_ascii=False) + "\n"


def pairs_html(report: PairsReport) -> str:
    """One page that needs no other file and no network."""
    return TEMPLATES.get_template("pairs.html").render(_values(report))


def pairs_markdown(report: PairsReport) -> str:
    """The same figures for a terminal, a pull request or a wiki."""
    return TEMPLATES.get_template("pairs.md").render(_values(report))


def interval_text(accuracy: Accuracy | MeanAccuracy) -> str:
    """The ends of an accuracy's interval, if it has one."""
    return "{:.1%} to {:.1%}".format(*accuracy.interval) if accuracy.interval else "\N{EN DASH}"


def _values(report: PairsReport) -> dict[str, Any]:
    return {"report": report, "reasons": PAIR_REASONS, "scores": SCORES}


def _accuracy(accuracy: Accuracy) -> dict[str, Any]:
    return {**asdict(accuracy), "value": accuracy.value, "interval": accuracy.interval}


TEMPLATES.filters["interval"] = interval_text
