"""The statistics of a job, gathered batch by batch in memory that does not grow, and merged without rounding."""

import heapq
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

import pyarrow as pa

from maskedge.inference.encoding import MASK_SPELLINGS
from maskedge.inference.metrics import perplexity
from maskedge_batch.scoring.columns import Columns, target_bytes, text_bytes

__all__ = ["BINS_PER_DECADE", "LAST_BIN", "MASK", "Guess", "RowExample", "Statistics", "Tally"]

BINS_PER_DECADE = 8
"""Bins of the histograms of row perplexities between 1 and 10, between 10 and 100, and so on."""
LAST_BIN = 12 * BINS_PER_DECADE
"""All that are greater share it, infinite ones among them: a chart that reached them would show nothing else."""
EXAMPLES = 10
"""Rows that are shown as the hardest, and as the easiest."""
GUESSES = 3
"""Predictions that are shown for each mask of such a row."""
EXCERPT_CHARACTERS = 280
"""Most characters of such a row's text that are shown."""
MASK = re.compile("|".join(map(re.escape, MASK_SPELLINGS)))
"""The spellings of a mask in a text."""


@dataclass(frozen=True, slots=True)
class Guess:
    """One of the most probable tokens at a mask."""

    token_str: str
    score: float
    """Probability."""


@dataclass(frozen=True, slots=True)
class RowExample:
    """A row that is shown in the report."""

    row: int
    """Index in the input; the first row is 0."""
    perplexity: float
    text: str
    """At most `EXCERPT_CHARACTERS` of it, around its first mask."""
    targets: tuple[str | None, ...]
    """The known words, one for each mask."""
    guesses: tuple[tuple[Guess, ...], ...]
    """The most probable tokens of each mask, best first."""


@dataclass(slots=True)
class Tally:
    """Log-probabilities of one kind of row: of the targets at masks, or of all tokens of texts without masks.

    Sums are fractions and so exact: the same figures come out in whatever order parts of a job are merged. One token
    of probability 0 makes the sum -infinity, which is no fraction.
    """

    rows: int = 0
    tokens: int = 0
    finite_logprob: Fraction = Fraction()
    """Sum over all rows where it is finite, nats."""
    infinite: int = 0
    """Log-probabilities, of tokens or whole rows, that are -infinity."""
    histogram: Counter[int] = field(default_factory=Counter)
    """Rows with a perplexity of 10**(bin / BINS_PER_DECADE) or more, up to the next bin; `LAST_BIN` has no end."""
    hardest: list[RowExample] = field(default_factory=list)
    easiest: list[RowExample] = field(default_factory=list)

    @property
    def logprob(self) -> float:
        """Sum over all tokens, nats."""
        return -math.inf if self.infinite else float(self.finite_logprob)

    @property
    def cross_entropy(self) -> float | None:
        """-(1/tokens) sum logprob, nats: a micro-average, in which every token counts the same; None without tokens."""
        if not self.tokens:
            return None
        return math.inf if self.infinite else float(-self.finite_logprob / self.tokens)

    @property
    def perplexity(self) -> float | None:
        """exp(cross_entropy)."""
        return perplexity(self.logprob, self.tokens) if self.tokens else None

    def add(
        self,
        logprobs: Sequence[float],
        tokens: int,
        perplexities: Sequence[tuple[float, int]],
        example: Callable[[float, int], RowExample],
    ) -> None:
        """Adds rows.

        Args:
            logprobs: Of each token, or of each row, nats; their sum counts.
            tokens: How many tokens the rows have.
            perplexities: Each row's perplexity and its index in the batch.
            example: Makes what is shown of a row, from those two.
        """
        self.rows += len(perplexities)
        self.tokens += tokens
        finite = [logprob for logprob in logprobs if logprob > -math.inf]
        self.finite_logprob += _exact_sum(finite)
        self.infinite += len(logprobs) - len(finite)
        self.histogram.update(_bin(value) for value, _ in perplexities)
        # Only the batch's own extremes can be among the extremes of all rows, so only those are made into examples.
        hardest = heapq.nsmallest(EXAMPLES, perplexities, key=lambda pair: (-pair[0], pair[1]))
        easiest = heapq.nsmallest(EXAMPLES, perplexities)
        self.hardest = _hardest([*self.hardest, *(example(*pair) for pair in hardest)])
        self.easiest = _easiest([*self.easiest, *(example(*pair) for pair in easiest)])

    def merge(self, other: "Tally") -> None:
        """Adds the tally of other rows."""
        self.rows += other.rows
        self.tokens += other.tokens
        self.finite_logprob += other.finite_logprob
        self.infinite += other.infinite
        self.histogram += other.histogram
        self.hardest = _hardest([*self.hardest, *other.hardest])
        self.easiest = _easiest([*self.easiest, *other.easiest])


@dataclass(slots=True)
class Statistics:
    """The statistics of scored batches that follow one another in a file.

    Parts of a file may be counted apart and merged in any order: all sums are exact, and examples are ordered by
    perplexity and row, so the result is the same as that of one pass.
    """

    columns: Columns
    first_row: int = 0
    """The index in the input of the first row that is added."""
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    entropy: Fraction = Fraction()
    """Sum over all masks, nats."""
    top1: int = 0
    """Targets that the model held most probable."""
    top5: int = 0
    masked: Tally = field(default_factory=Tally)
    """The targets at masks."""
    unmasked: Tally = field(default_factory=Tally)
    """All tokens of the texts without masks."""

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds the next batch that `score_batches` yielded."""
        self.statuses.update(_values(batch, "mlm_status"))
        entropies = _flat(batch, "mlm_entropy")
        self.masks += len(entropies)
        self.entropy += _exact_sum(entropies)
        ranks = _flat(batch, "mlm_target_rank")
        self.top1 += sum(rank == 1 for rank in ranks)
        self.top5 += sum(rank <= 5 for rank in ranks)
        self._add_perplexities(batch)
        self.rows += batch.num_rows

    def _add_perplexities(self, batch: pa.RecordBatch) -> None:
        # A row with a pseudo-log-likelihood has no mask; one with a perplexity and none has targets at its masks.
        plls, counts = _values(batch, "mlm_pll"), _values(batch, "mlm_token_count")
        rated = [(value, row) for row, value in enumerate(_values(batch, "mlm_perplexity")) if value is not None]
        logprobs = _flat(batch, "mlm_target_logprob")
        example = partial(self._example, batch)
        self.masked.add(logprobs, len(logprobs), [pair for pair in rated if plls[pair[1]] is None], example)
        unmasked = [pair for pair in rated if plls[pair[1]] is not None]
        tokens = sum(counts[row] for _, row in unmasked)
        self.unmasked.add([plls[row] for _, row in unmasked], tokens, unmasked, example)

    def _example(self, batch: pa.RecordBatch, perplexity: float, row: int) -> RowExample:
        one = batch.slice(row, 1)
        (text,) = text_bytes(one.column(self.columns.text))
        (words,) = target_bytes(one.column(self.columns.target)) if self.columns.target else ((),)
        masks = one.column("mlm_predictions").to_pylist()[0] or ()
        return RowExample(
            row=self.first_row + self.rows + row,
            perplexity=perplexity,
            text=_excerpt((text or b"").decode()),
            targets=tuple(word.decode() if word else None for word in words),
            guesses=tuple(tuple(Guess(g["token_str"], g["score"]) for g in mask[:GUESSES]) for mask in masks),
        )

    def merge(self, other: "Statistics") -> None:
        """Adds the statistics of another part of the same file."""
        self.rows += other.rows
        self.statuses += other.statuses
        self.masks += other.masks
        self.entropy += other.entropy
        self.top1 += other.top1
        self.top5 += other.top5
        self.masked.merge(other.masked)
        self.unmasked.merge(other.unmasked)


def _exact_sum(values: Iterable[float]) -> Fraction:
    """The sum without rounding: every float is a fraction, and sums of fractions do not depend on their order."""
    return sum(map(Fraction, values), Fraction())


def _bin(value: float) -> int:
    """The number of the histogram's bin that a perplexity falls into; 0 begins at a perplexity of 1."""
    return max(0, math.floor(min(math.log10(value) * BINS_PER_DECADE, LAST_BIN)))


def _hardest(examples: list[RowExample]) -> list[RowExample]:
    return heapq.nsmallest(EXAMPLES, examples, key=lambda example: (-example.perplexity, example.row))


def _easiest(examples: list[RowExample]) -> list[RowExample]:
    return heapq.nsmallest(EXAMPLES, examples, key=lambda example: (example.perplexity, example.row))


def _values(batch: pa.RecordBatch, column: str) -> list[Any]:
    return list(batch.column(column).to_pylist())


def _flat(batch: pa.RecordBatch, column: str) -> list[Any]:
    """All values in the rows' lists, without the nulls."""
    return [value for row in _values(batch, column) if row for value in row if value is not None]


def _excerpt(text: str) -> str:
    if len(text) <= EXCERPT_CHARACTERS:
        return text
    mask = MASK.search(text)
    start = max(0, (mask.start() if mask else 0) - EXCERPT_CHARACTERS // 2)
    stop = start + EXCERPT_CHARACTERS
    return ("…" if start else "") + text[start:stop] + ("…" if stop < len(text) else "")
