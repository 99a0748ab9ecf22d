"""A report as HTML, Markdown and JSON."""

import math
import re
from dataclasses import asdict

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from maskedge.inference.encoding import MAX_UNMASKED_TOKENS
from maskedge.plain_json import plain_json
from maskedge_batch.reports.chart import has_rule, histogram_svg
from maskedge_batch.reports.report import MaskedMetrics, Report, UnmaskedMetrics
from maskedge_batch.reports.statistics import MASK

__all__ = ["REASONS", "TEMPLATES", "as_html", "as_json", "as_markdown"]

NOTHING = "\N{EN DASH}"
"""Stands for a number that there is none of."""

REASONS = {
    "null_text": "The text is null.",
    "empty_text": "The text is empty.",
    "invalid_unicode": "The text is not valid UTF-8.",
    "untokenizable": "The tokenizer cannot write the text, such as a character that its vocabulary has no token for.",
    "mask_lost": "A mask fell away when the text was cut to the model's length.",
    "too_long": f"The text has no mask and more than {MAX_UNMASKED_TOKENS:,} tokens.",
    "not_a_number": "What the model says of the text is no number (NaN): its weights hold some, or its sums overflow.",
    "target_not_in_vocabulary": "The vocabulary cannot spell the target, or not as one token where only "
    "those are rated; only the target's scores are null.",
    "target_too_long": "The target has more pieces than the model reads tokens; only the target's scores are null.",
    "target_count_mismatch": "There are not as many targets as masks; only the targets' scores are null.",
}


def as_json(report: Report) -> str:
    """Every metric under the name of its field; an infinite one is null, as JSON has no word for it."""
    return plain_json(asdict(report), indent=2, ensure_ascii=False) + "\n"


def as_html(report: Report) -> str:
    """One page that needs no other file and no network."""
    return TEMPLATES.get_template("report.html").render(report=report, reasons=REASONS)


def as_markdown(report: Report) -> str:
    """The same figures for a terminal, a pull request or a wiki."""
    return TEMPLATES.get_template("report.md").render(report=report, reasons=REASONS)


def _number(value: int) -> str:
    return f"{value:,}"


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.1%}"


def _significant(value: float | None) -> str:
    """Four significant digits, and no exponent as long as a reader can do without."""
    if value is None:
        return NOTHING
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else "-\N{INFINITY}"
    if abs(value) >= 1e9:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 999.95 else f"{value:#.4g}"


def _markdown_text(text: str) -> str:
    """Text that stays text in a Markdown table."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split())).replace("\\<", "&lt;")


def _highlighted(text: str) -> Markup:
    """The text, escaped, with its masks marked."""
    parts = MASK.split(text)
    return Markup("<mark>mask</mark>").join(parts)


def _histogram(metrics: MaskedMetrics | UnmaskedMetrics, perplexity: float) -> Markup:
    return Markup(histogram_svg(metrics.histogram, perplexity))  # noqa: S704  numbers only, no text of the input


TEMPLATES = Environment(
    loader=PackageLoader("maskedge_batch.reports"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)

TEMPLATES.tests["ruled"] = has_rule

TEMPLATES.filters |= {
    "number": _number,
    "percent": _percent,
    "significant": _significant,
    "seconds": "{:,.1f} s".format,
    "plain": _markdown_text,
    "highlighted": _highlighted,
    "histogram": _histogram,
}
