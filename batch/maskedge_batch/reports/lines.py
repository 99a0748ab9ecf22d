"""The figures of a report as lines of a table: what the page, the Markdown and the terminal all show."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from maskedge_batch.reports.bootstrap import Estimate
from maskedge_batch.reports.report import (
    Breakdown,
    Group,
    MaskedFigures,
    MaskedMetrics,
    UnmaskedFigures,
    UnmaskedMetrics,
)
from maskedge_batch.reports.wording import between, number, percent, significant

__all__ = ["GroupLine", "Line", "group_lines", "masked_lines", "unmasked_lines"]


@dataclass(frozen=True, slots=True)
class Line:
    """A metric."""

    label: str
    value: str
    interval: str
    base: str
    """What it is of: "323 targets"."""


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A group's line in a breakdown."""

    label: str
    rows: str
    count: str
    """Targets, or tokens."""
    value: str
    """Perplexity."""
    interval: str
    more: str
    """Top-1 accuracy, or the pseudo-perplexity per word."""
    place: tuple[float, float, float] | None
    """Where the interval's ends and the value lie on the breakdown's logarithmic axis, each from 0 to 100; None where
    they are not finite. Without an interval, all are the value's."""


def masked_lines(metrics: MaskedMetrics) -> Iterator[Line]:
    """Of texts with masks."""
    several = metrics.several_pieces
    if metrics.overall:
        yield _perplexity("masked perplexity, per target word", metrics.overall)
        if several:
            if metrics.single_piece:
                yield _perplexity("of targets of one piece", metrics.single_piece)
            yield _perplexity("of targets of several pieces", several)
        yield _line("masked cross-entropy, nats", metrics.overall.cross_entropy, _targets(metrics.overall))
    rated = metrics.single_piece
    for each in rated.accuracies if rated else ():
        base = f"{_targets(rated)} of one piece" if several and rated else _targets(rated) if rated else ""
        yield _line(f"top-{each.k} accuracy", each.share, base, share=True)
    if metrics.calibration:
        masks = f"{number(metrics.calibration.masks)} masks"
        yield Line("expected calibration error", percent(metrics.calibration.error), "", masks)
    yield _line("mean entropy, nats", metrics.mean_entropy, f"{number(metrics.masks)} masks")


def unmasked_lines(metrics: UnmaskedMetrics) -> Iterator[Line]:
    """Of texts without masks."""
    figures = metrics.overall
    texts = f"{number(figures.rows)} texts"
    yield _line("pseudo-perplexity, per token", figures.pseudo_perplexity, f"{number(figures.tokens)} tokens")
    if figures.pseudo_perplexity_per_word:
        yield _line("pseudo-perplexity, per word", figures.pseudo_perplexity_per_word, f"{number(figures.words)} words")
    if figures.bits_per_character:
        yield _line("bits per character", figures.bits_per_character, f"{number(figures.characters)} characters")
    yield Line("pseudo-log-likelihood, nats", significant(figures.pll), "", texts)


def group_lines(breakdown: Breakdown) -> Iterator[GroupLine]:
    """A breakdown's groups."""
    ends = [end for group in breakdown.groups for end in _ends(perplexity_of(group))]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    for group in breakdown.groups:
        figures, estimate = group.figures, perplexity_of(group)
        yield GroupLine(
            label=group.label,
            rows=number(figures.rows),
            count=number(figures.targets if isinstance(figures, MaskedFigures) else figures.tokens),
            value=significant(estimate.value),
            interval=between(estimate),
            more=_more(figures),
            place=_place(estimate, low, high),
        )


def perplexity_of(group: Group) -> Estimate:
    """What groups are compared by."""
    figures = group.figures
    return figures.perplexity if isinstance(figures, MaskedFigures) else figures.pseudo_perplexity


def _line(label: str, estimate: Estimate, base: str, *, share: bool = False) -> Line:
    value = percent(estimate.value) if share else significant(estimate.value)
    return Line(label, value, between(estimate, share=share), base)


def _perplexity(label: str, figures: MaskedFigures) -> Line:
    return _line(label, figures.perplexity, _targets(figures))


def _targets(figures: MaskedFigures) -> str:
    return f"{number(figures.targets)} targets"


def _more(figures: MaskedFigures | UnmaskedFigures) -> str:
    if isinstance(figures, MaskedFigures):
        return percent(figures.accuracies[0].share.value if figures.accuracies else None)
    per_word = figures.pseudo_perplexity_per_word
    return significant(per_word.value if per_word else None)


def _ends(estimate: Estimate) -> list[float]:
    """The interval's ends where they can be drawn, as logarithms."""
    low, high = (estimate.value if end is None else end for end in (estimate.low, estimate.high))
    values = (low, estimate.value, high)
    return [math.log(value) for value in values] if all(0 < value < math.inf for value in values) else []


def _place(estimate: Estimate, low: float, high: float) -> tuple[float, float, float] | None:
    ends = _ends(estimate)
    if not ends or high <= low:
        return None
    first, value, last = (round(100 * (end - low) / (high - low), 2) for end in ends)
    return first, value, last
