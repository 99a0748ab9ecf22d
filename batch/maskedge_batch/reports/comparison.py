"""A comparison of two models on the same rows: every number of it, as frozen values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from maskedge_batch.reports.bootstrap import Estimate
from maskedge_batch.reports.examples import RowExample
from maskedge_batch.reports.report import Intervals
from maskedge_batch.reports.scored import Provenance

__all__ = [
    "ComparedBreakdown",
    "ComparedGroup",
    "ComparedKind",
    "Comparison",
    "Difference",
    "DifferenceBin",
    "RowChange",
    "Side",
]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two models."""

    name: str
    """What tells it from the other: its model, its precision or its files."""
    files: tuple[str, ...]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better or worse B is than A, on some rows."""

    rows: int
    units: int
    """Target words, words of texts, or tokens: what the losses are divided by."""
    perplexity_a: float
    perplexity_b: float
    difference: Estimate
    """Cross-entropy of B less that of A, nats for each unit; below 0, B is better."""
    ratio: Estimate
    """The perplexity of B over that of A."""
    b_better: float
    """Share of the rows that B knows better, by more than `SAME_NATS` for each unit."""
    a_better: float

    @property
    def better(self) -> str | None:
        """The better one, "A" or "B"; None where the interval leaves it open or there is none."""
        low, high = self.ratio.low, self.ratio.high
        if low is None or high is None or math.isnan(low) or math.isnan(high):
            return None
        return "B" if high < 1 else "A" if low > 1 else None


@dataclass(frozen=True, slots=True)
class ComparedGroup:
    """Rows that have something in common."""

    label: str
    difference: Difference


@dataclass(frozen=True, slots=True)
class ComparedBreakdown:
    """The same comparison for each group."""

    title: str
    column: str | None
    """The column that was grouped by; None: the texts' length."""
    groups: tuple[ComparedGroup, ...]
    groups_left_out: int
    rows_left_out: int


@dataclass(frozen=True, slots=True)
class DifferenceBin:
    """Rows whose difference for each unit is in [low, high), nats; the first and the last bin hold all beyond."""

    low: float
    high: float
    rows: int


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that the two models know very differently."""

    a: RowExample
    """The row as A has it: its perplexity, and what A said."""
    b: RowExample
    difference: float
    """Nats for each unit, B less A."""


@dataclass(frozen=True, slots=True)
class ComparedKind:
    """The comparison on one kind of text."""

    unit: str
    """What the losses are divided by: "target word", "word" or "token"."""
    overall: Difference
    breakdowns: tuple[ComparedBreakdown, ...]
    histogram: tuple[DifferenceBin, ...]
    improved: tuple[RowChange, ...]
    """The rows that B knows better by most."""
    worsened: tuple[RowChange, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that a comparison says."""

    a: Side
    b: Side
    key: str | None
    """The column that rows were matched by; None: by their position."""
    rows: int
    """Rows that both have."""
    rows_only_a: int
    rows_only_b: int
    masked: ComparedKind | None
    """Of the targets at masks that both rated."""
    unmasked: ComparedKind | None
    """Of the texts without masks that both scored."""
    notes: tuple[str, ...]
    """What could not be compared, a sentence each."""
    intervals: Intervals
    definitions: Mapping[str, str]
