"""What a model gained between two trainings: losses of the same held-out words, before and after."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from maskedge.arrays import BoolArray, Float64Array
from maskedge.inference.metrics import perplexity
from maskedge_export.evaluation.bootstrap import Estimate, difference, perplexity_ratio
from maskedge_export.evaluation.whole_words import MaskedWord, plain_words

__all__ = ["BeforeAfter", "WordCounts", "WordGroup", "compare_words", "count_words_of"]

FREQUENCIES = (1000.0, 100.0, 10.0, 1.0)
"""Lower ends of the classes of frequency, occurrences in a million words."""
MOST_PIECES = 4
SHOWN_WORDS = 20


@dataclass(frozen=True, slots=True)
class WordGroup:
    """One group of words, before and after a training."""

    group: str
    words: int
    before: float
    """Perplexity of a word: exp(-mean log p)."""
    after: float
    ratio: Estimate
    """after / before, with its paired bootstrap interval."""

    def row(self) -> tuple[str, ...]:
        """Its name, its words, their perplexity before and after, and the ratio, as a table shows them: with an
        interval where there is more than one word to draw from."""
        low, high = self.ratio.low, self.ratio.high
        interval = f" ({low:.3f} to {high:.3f})" if self.words > 1 else ""
        perplexities = (f"{value:,.1f}" if value < 1e7 else f"{value:.1e}" for value in (self.before, self.after))
        return self.group, f"{self.words:,}", *perplexities, f"{self.ratio.value:.3f}{interval}"


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """Held-out words before and after a training: all of them, and in groups."""

    overall: WordGroup
    by_frequency: list[WordGroup]
    """By how often a word stands in the text trained on."""
    by_pieces: list[WordGroup]
    """By how many tokens a word has."""
    gained_most: list[WordGroup]
    """Single words, those whose summed log-probability rose most first."""


@dataclass(frozen=True, slots=True)
class WordCounts:
    """How often words stand in a text."""

    counts: Counter[str]
    """By the word in small letters."""
    total: int
    """Words of the text."""

    def per_million(self, word: str) -> float:
        """Occurrences in a million words."""
        return 1e6 * self.counts[word.lower()] / max(1, self.total)


def count_words_of(documents: Iterable[Sequence[str]], wanted: set[str]) -> WordCounts:
    """How often each wanted word stands in the documents, small and capital letters being the same.

    Words are those that `plain_words` finds, which the wanted ones are drawn from.
    """
    known = {word.lower() for word in wanted}
    counts: Counter[str] = Counter()
    total = 0
    for document in documents:
        for text in document:
            words = [word for chunk in text.lower().split() for word in _words_of(chunk)]
            total += len(words)
            counts.update(word for word in words if word in known)
    return WordCounts(counts, total)


@lru_cache(1 << 16)  # blanks always divide, and what stands between them comes again and again: 4 times as fast
def _words_of(chunk: str) -> tuple[str, ...]:
    return tuple(chunk[start:stop] for start, stop in plain_words(chunk))


def compare_words(
    words: Sequence[MaskedWord], before: Float64Array, after: Float64Array, counts: WordCounts
) -> BeforeAfter:
    """The comparison of words before and after a training.

    Args:
        words: Held-out words, one in a sentence.
        before: Their losses before the training [words], nats.
        after: And after it [words], nats.
        counts: How often they stand in the text trained on.
    """
    frequency = np.array([counts.per_million(word.word) for word in words])
    pieces = np.array([min(len(word.pieces), MOST_PIECES) for word in words])
    by_pieces = {_pieces_name(count): pieces == count for count in range(1, MOST_PIECES + 1)}
    spelled = np.array([word.word.lower() for word in words])
    return BeforeAfter(
        _group("all", np.full(len(words), True), before, after),
        _groups(_frequency_classes(frequency), before, after),
        _groups(by_pieces, before, after),
        _groups({word: spelled == word for word in _gained_most(spelled, difference(before, after))}, before, after),
    )


def _frequency_classes(frequency: Float64Array) -> dict[str, BoolArray]:
    classes: dict[str, BoolArray] = {}
    upper = math.inf
    for lower in FREQUENCIES:
        name = f"{lower:,.0f} in a million or more" if upper == math.inf else f"{lower:,.0f} to {upper:,.0f}"
        classes[name] = (frequency >= lower) & (frequency < upper)
        upper = lower
    classes[f"less than {upper:,.0f}"] = (frequency > 0) & (frequency < upper)
    classes["never seen"] = frequency == 0
    return classes


def _pieces_name(count: int) -> str:
    return {1: "1 piece", MOST_PIECES: f"{MOST_PIECES} or more"}.get(count, f"{count} pieces")


def _gained_most(spelled: npt.NDArray[np.str_], gained: Float64Array) -> list[str]:
    """The words whose summed log-probabilities rose most; `gained` [words] by how much each word's did, nats."""
    words, owners = np.unique(spelled, return_inverse=True)
    sums = np.bincount(owners, gained)
    return [str(words[index]) for index in np.argsort(-sums)[:SHOWN_WORDS] if sums[index] > 0]


def _groups(groups: dict[str, BoolArray], before: Float64Array, after: Float64Array) -> list[WordGroup]:
    return [_group(name, members, before, after) for name, members in groups.items() if members.any()]


def _group(name: str, members: BoolArray, before: Float64Array, after: Float64Array) -> WordGroup:
    before, after = before[members], after[members]
    first, second = (perplexity(-float(losses.sum()), len(losses)) for losses in (before, after))
    return WordGroup(name, len(before), first, second, perplexity_ratio(before, after))
