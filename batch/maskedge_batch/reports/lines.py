"""The figures of a report as lines of a table: what the page, the Markdown and the terminal all show."""

import math
from collections.abc import Callable, Iterable, Iterator
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

__all__ = ["GroupLine", "Line", "group_lines", "masked_lines", "placed", "unmasked_lines"]


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
        for each in metrics.overall.accuracies:
            yield _line(f"top-{each.k} accuracy", each.share, _targets(metrics.overall), share=True)
    if metrics.calibration:
        masks = f"{number(metrics.calibration.masks)} masks" + (" of one piece" if several else "")
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
    place = placed(map(perplexity_of, breakdown.groups))
    for group in breakdown.groups:
        figures, estimate = group.figures, perplexity_of(group)
        yield GroupLine(
            label=group.label,
            rows=number(figures.rows),
            count=number(figures.targets if isinstance(figures, MaskedFigures) else figures.tokens),
            value=significant(estimate.value),
            interval=between(estimate),
            more=_more(figures),
            place=place(estimate),
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
        return percent(figures.accuracies[0].share.value)
    per_word = figures.pseudo_perplexity_per_word
    return significant(per_word.value if per_word else None)


def placed(
    estimates: Iterable[Estimate], others: Iterable[float] = ()
) -> Callable[[Estimate | float], tuple[float, float, float] | None]:
    """A logarithmic axis, from 0 to 100, on which estimates with their intervals have a place, and other numbers too.

    Returns:
        A function that gives the places of an estimate's lower end, value and upper end: None where these are not
            finite and above 0.
    """
    everything: list[Estimate | float] = [*estimates, *others]
    ends = [end for one in everything for end in _ends(one)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 0.0)

    def place(one: Estimate | float) -> tuple[float, float, float] | None:
        logarithms = _ends(one)
        if not logarithms or high <= low:
            return None
        first, value, last = (round(100 * (end - low) / (high - low), 2) for end in logarithms)
        return first, value, last

    return place


def _ends(one: Estimate | float) -> list[float]:
    """An interval's ends, and the value between them, as logarithms; nothing where they cannot be drawn."""
    value = one if isinstance(one, float) else one.value
    ends = (value, value) if isinstance(one, float) else (one.low, one.high)
    values = [value if end is None else end for end in (ends[0], value, ends[1])]
    return [math.log(each) for each in values] if all(0 < each < math.inf for each in values) else []
