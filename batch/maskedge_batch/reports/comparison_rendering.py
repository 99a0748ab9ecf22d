"""A comparison as HTML, Markdown and JSON, and its verdict in a sentence."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from maskedge.plain_json import plain_json
from maskedge_batch.reports.charts import differences_svg
from maskedge_batch.reports.comparison import ComparedBreakdown, ComparedKind, Comparison, Difference
from maskedge_batch.reports.lines import placed
from maskedge_batch.reports.rendering import TEMPLATES
from maskedge_batch.reports.wording import NOTHING, ratio_between, ratio_text, significant

__all__ = ["KINDS", "as_html", "as_json", "as_markdown", "kinds", "verdict"]

KINDS = {"masked": "Targets at masks", "unmasked": "Texts without masks"}


@dataclass(frozen=True, slots=True)
class ComparedLine:
    """A group's line in a comparison."""

    label: str
    difference: Difference
    place: tuple[float, float, float] | None
    """Where the ratio and its interval lie on the logarithmic axis, from 0 to 100."""
    one: float | None
    """Where a ratio of 1 lies; None where there is no axis."""


def verdict(difference: Difference) -> str:
    """Which is better, in a sentence: "B is better: perplexity ratio 0.39 (0.35 to 0.43)"."""
    said = f"perplexity ratio {ratio_text(difference.ratio)}"
    if difference.ratio.low is None:
        return f"too few rows to tell: {said}"
    said = f"{said} ({ratio_between(difference.ratio)})"
    return f"{difference.better} is better: {said}" if difference.better else f"no difference shown: {said}"


def as_json(comparison: Comparison) -> str:
    """Every number under the name of its field, and each kind's verdict; what is not finite is null."""
    values = asdict(comparison)
    for name, _, kind in kinds(comparison):
        values[name]["better"] = kind.overall.better
        values[name]["verdict"] = verdict(kind.overall)
    return plain_json(values, indent=2, ensure_ascii=False) + "\n"


def as_html(comparison: Comparison) -> str:
    """One page that needs no other file and no network."""
    return TEMPLATES.get_template("compare.html").render(_values(comparison))


def as_markdown(comparison: Comparison) -> str:
    """The same numbers for a terminal, a pull request or a wiki."""
    return TEMPLATES.get_template("compare.md").render(_values(comparison))


def kinds(comparison: Comparison) -> Iterator[tuple[str, str, ComparedKind]]:
    """The kinds of text that were compared: the field's name, what it is called, and the comparison."""
    for name, title in KINDS.items():
        kind = getattr(comparison, name)
        if kind is not None:
            yield name, title, kind


def _values(comparison: Comparison) -> dict[str, Any]:
    return {"comparison": comparison, "kinds": list(kinds(comparison))}


def _lines(breakdown: ComparedBreakdown) -> Iterator[ComparedLine]:
    """A breakdown's groups, on an axis that has a ratio of 1 on it."""
    ratios = [group.difference.ratio for group in breakdown.groups]
    axis = placed(ratios, (1.0,))
    for group in breakdown.groups:
        one = axis(1.0)
        yield ComparedLine(group.label, group.difference, axis(group.difference.ratio), one[1] if one else None)


def _better(difference: Difference) -> str:
    return difference.better or NOTHING


def _signed(value: float) -> str:
    return f"+{significant(value)}" if value > 0 else significant(value)


def _drawn(kind: ComparedKind) -> Markup:
    return Markup(differences_svg(kind.histogram, kind.unit))  # noqa: S704  numbers and our own words only


TEMPLATES.filters |= {
    "verdict": verdict,
    "compared_lines": _lines,
    "better": _better,
    "ratio": ratio_text,
    "ratio_between": ratio_between,
    "signed": _signed,
    "differences": _drawn,
}
