"""A report: every number of a run, as a frozen value."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from maskedge_batch.reports.statistics import BINS_PER_DECADE, LAST_BIN, RowExample, Statistics, Tally

__all__ = ["Bin", "MaskedMetrics", "Report", "RunFacts", "UnmaskedMetrics", "make_report"]

DEFINITIONS = {
    "masked cross-entropy": "-(1/M) Σ log p(target | text with its masks), in nats, over the M masks with a known "
    "target. Every mask counts the same, whatever row it stands in.",
    "masked perplexity": "exp(masked cross-entropy).",
    "top-1 and top-5 accuracy": "Share of those M masks where the target is the most probable token of the "
    "vocabulary, or among the five most probable.",
    "entropy": "Entropy of the distribution over the vocabulary at a mask, in nats; the mean is over all masks, with "
    "or without a target. Its exponential is the number of words the model wavers between.",
    "pseudo-log-likelihood": "Σ log P(token | all other tokens of the text), in nats: each token masked in turn, "
    "special tokens left out (Salazar et al. 2020). For texts without a mask; one that is longer than the model reads "
    "is read through windows, each token in the one with that token in its middle.",
    "pseudo-perplexity": "exp(-Σ pseudo-log-likelihoods / Σ tokens) over all those texts: a micro-average, not a mean "
    "of row perplexities.",
    "row perplexity": "exp(-mean log-probability) of one row's targets, or of all its tokens where it has no mask.",
    "rows per second": "Rows over the seconds spent reading, scoring and writing; loading the model is left out.",
}


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What was run, on what, and how long it took."""

    input: str
    output: str
    text_column: str
    target_column: str | None
    top_k: int | None
    model: str
    precision: str
    fingerprint: str
    versions: Mapping[str, str]
    started: str
    """ISO 8601, UTC."""
    wall_seconds: float
    scoring_seconds: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows with a perplexity in [low, high)."""

    low: float
    high: float
    """Infinite in the last bin there can be, which holds infinite perplexities too."""
    rows: int


@dataclass(frozen=True, slots=True)
class MaskedMetrics:
    """Metrics of the rows whose text holds masks. Those about targets are None or empty where no target was known."""

    masks: int
    mean_entropy: float
    targets: int
    rows_with_targets: int
    cross_entropy: float | None
    perplexity: float | None
    top1_accuracy: float | None
    top5_accuracy: float | None
    histogram: tuple[Bin, ...]
    hardest: tuple[RowExample, ...]
    easiest: tuple[RowExample, ...]


@dataclass(frozen=True, slots=True)
class UnmaskedMetrics:
    """Metrics of the rows whose text holds no mask."""

    rows: int
    tokens: int
    pll: float
    pseudo_perplexity: float
    histogram: tuple[Bin, ...]
    hardest: tuple[RowExample, ...]
    easiest: tuple[RowExample, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All that the reports say."""

    run: RunFacts
    rows: int
    rows_ok: int
    set_aside: Mapping[str, int]
    """Rows by the reason why not all of their scores could be given, most frequent first."""
    rows_per_second: float
    masked: MaskedMetrics | None
    unmasked: UnmaskedMetrics | None
    definitions: Mapping[str, str]


def make_report(statistics: Statistics, run: RunFacts) -> Report:
    """The report of a finished job."""
    reasons = Counter(statistics.statuses)
    rows_ok = reasons.pop("ok", 0)
    return Report(
        run=run,
        rows=statistics.rows,
        rows_ok=rows_ok,
        set_aside=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        rows_per_second=statistics.rows / run.scoring_seconds,
        masked=_masked(statistics) if statistics.masks else None,
        unmasked=_unmasked(statistics.unmasked) if statistics.unmasked.rows else None,
        definitions=DEFINITIONS,
    )


def _masked(statistics: Statistics) -> MaskedMetrics:
    tally = statistics.masked
    return MaskedMetrics(
        masks=statistics.masks,
        mean_entropy=float(statistics.entropy / statistics.masks),
        targets=tally.tokens,
        rows_with_targets=tally.rows,
        cross_entropy=tally.cross_entropy,
        perplexity=tally.perplexity,
        top1_accuracy=statistics.top1 / tally.tokens if tally.tokens else None,
        top5_accuracy=statistics.top5 / tally.tokens if tally.tokens else None,
        histogram=_bins(tally.histogram),
        hardest=tuple(tally.hardest),
        easiest=tuple(tally.easiest),
    )


def _unmasked(tally: Tally) -> UnmaskedMetrics:
    assert tally.perplexity is not None  # a row is only tallied with its tokens
    return UnmaskedMetrics(
        rows=tally.rows,
        tokens=tally.tokens,
        pll=tally.logprob,
        pseudo_perplexity=tally.perplexity,
        histogram=_bins(tally.histogram),
        hardest=tuple(tally.hardest),
        easiest=tuple(tally.easiest),
    )


def _bins(histogram: Counter[int]) -> tuple[Bin, ...]:
    """The bins from the first to the last that has rows, the empty ones between them included."""
    if not histogram:
        return ()
    edges = range(min(histogram), max(histogram) + 1)
    return tuple(Bin(_edge(n), _edge(n + 1), histogram[n]) for n in edges)


def _edge(n: int) -> float:
    return 10 ** (n / BINS_PER_DECADE) if n <= LAST_BIN else math.inf
