"""A report as HTML, Markdown and JSON."""

from dataclasses import asdict
from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from maskedge.inference.encoding import MAX_UNMASKED_TOKENS
from maskedge.plain_json import plain_json
from maskedge_batch.reports import charts, lines, wording
from maskedge_batch.reports.examples import TokenLogprob
from maskedge_batch.reports.report import Report

__all__ = ["REASONS", "TEMPLATES", "as_html", "as_json", "as_markdown"]

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
VERIFICATION = {
    "mean_kl": "mean KL divergence, nats",
    "top1_agreement": "same best token",
    "perplexity_change": "change of the perplexity",
    "max_logprob_difference": "largest log-probability difference, nats",
}
"""What is shown of how a bundle's graph compares with its checkpoint, by the manifest's names."""
SURPRISE_NATS = (2.0, 4.0, 7.0, 10.0)
"""A token less probable than exp(-nats) has the next of five colours."""


def as_json(report: Report) -> str:
    """Every metric under the name of its field; an infinite one is null, as JSON has no word for it."""
    return plain_json(asdict(report), indent=2, ensure_ascii=False) + "\n"


def as_html(report: Report) -> str:
    """One page that needs no other file and no network."""
    return TEMPLATES.get_template("report.html").render(_values(report))


def as_markdown(report: Report) -> str:
    """The same figures for a terminal, a pull request or a wiki."""
    return TEMPLATES.get_template("report.md").render(_values(report))


def _values(report: Report) -> dict[str, Any]:
    return {
        "report": report,
        "reasons": REASONS,
        "masked_lines": list(lines.masked_lines(report.masked)) if report.masked else [],
        "unmasked_lines": list(lines.unmasked_lines(report.unmasked)) if report.unmasked else [],
        "verification": {
            label: report.provenance.verification[name]
            for name, label in VERIFICATION.items()
            if name in report.provenance.verification
        },
    }


def _drawn(draw: Any, *arguments: Any) -> Markup:
    return Markup(draw(*arguments))  # noqa: S704  numbers and our own words only, no text of the input


def _surprise(token: TokenLogprob) -> int:
    """From 0, nothing to be surprised at, to 4."""
    return sum(-token.logprob > nats for nats in SURPRISE_NATS)


TEMPLATES = Environment(
    loader=PackageLoader("maskedge_batch.reports"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
TEMPLATES.tests["ruled"] = charts.has_rule
TEMPLATES.filters |= {
    "number": wording.number,
    "percent": wording.percent,
    "significant": wording.significant,
    "between": wording.between,
    "between_shares": partial(wording.between, share=True),
    "seconds": "{:,.1f} s".format,
    "listed": wording.listed,
    "plain": wording.markdown_text,
    "marked": wording.marked,
    "shown": wording.shown,
    "surprise": _surprise,
    "group_lines": lines.group_lines,
    "histogram": partial(_drawn, charts.histogram_svg),
    "reliability": partial(_drawn, charts.reliability_svg),
}
