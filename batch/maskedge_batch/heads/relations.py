"""Which head finds a syntactic relation best, and whether that is more than luck or a fixed distance.

An attention head finds a dependent's head where, of all other words of the sentence, it looks at that one most (Clark
et al. 2019); in the other direction, where the head word looks most at one of its dependents in that relation. The
attention head is chosen on one half of the sentences and its accuracy taken from the other, since the best of many
would look good by luck. So is the baseline: always the word at one fixed distance.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from maskedge.arrays import Float32Array, Int64Array
from maskedge_batch.heads.annotated import AnnotatedSentence

__all__ = ["Direction", "RelationCounts", "RelationResult", "questions"]

Direction = Literal["to head", "to dependent"]

BUCKETS = 400
"""Groups of sentences that are counted apart: the even ones choose, the odd ones report and are drawn for intervals."""
OFFSETS = [offset for offset in range(-8, 9) if offset]
RESAMPLES = 1000
FEWEST = 100
"""Cases that a relation must have in the half that reports."""


@dataclass(frozen=True, slots=True)
class RelationResult:
    """How well the best head finds a relation, on sentences that it was not chosen on."""

    relation: str
    direction: Direction
    layer: int
    """From 1."""
    head: int
    """From 1."""
    cases: int
    accuracy: float
    interval: tuple[float, float]
    """95 %, by a bootstrap over groups of sentences."""
    offset: int
    """The distance in words that finds the relation best; positive to the right."""
    baseline: float
    """Accuracy of always looking there."""
    gain: float
    """`accuracy` - `baseline`."""
    gain_interval: tuple[float, float]
    """95 %, paired."""


class _Counts:
    """Of one relation in one direction, by groups of sentences."""

    def __init__(self, heads: int) -> None:
        self.cases = np.zeros(BUCKETS, np.int64)
        self.found = np.zeros((BUCKETS, heads), np.int64)
        self.by_offset = np.zeros((BUCKETS, len(OFFSETS)), np.int64)


class RelationCounts:
    """Counts over sentences that pass by."""

    def __init__(self, layers: int, heads: int) -> None:
        self._heads = heads
        self._counts: defaultdict[tuple[str, Direction], _Counts] = defaultdict(lambda: _Counts(layers * heads))
        self.sentences = 0

    def add(self, sentence: AnnotatedSentence, between: Float32Array, present: list[bool]) -> None:
        """Takes in a sentence.

        Args:
            sentence: With its words.
            between: Attention between its words [layers * heads, words, words].
            present: Whether each word has tokens that were read.
        """
        bucket = self.sentences % BUCKETS
        self.sentences += 1
        candidates = np.where(np.eye(len(present), dtype=bool) | ~np.array(present), -1, between)
        looked_at = candidates.argmax(-1)  # [layers * heads, words]
        for relation, direction, query, answers in questions(sentence, present):
            counts = self._counts[relation, direction]
            counts.cases[bucket] += 1
            counts.found[bucket] += np.isin(looked_at[:, query], answers)
            counts.by_offset[bucket] += [query + offset in answers for offset in OFFSETS]

    def results(self) -> list[RelationResult]:
        """Of each relation with enough cases, the most frequent first."""
        enough = {key: counts for key, counts in self._counts.items() if counts.cases[1::2].sum() >= FEWEST}
        found = [self._result(*key, counts) for key, counts in enough.items()]
        return sorted(found, key=lambda result: (-result.cases, result.relation, result.direction))

    def accuracies(self, relation: str, direction: Direction) -> tuple[list[float], int]:
        """Every head's accuracy over all sentences, layer by layer, and how many cases there are."""
        counts = self._counts[relation, direction]
        cases = int(counts.cases.sum())
        return (counts.found.sum(0) / max(cases, 1)).tolist(), cases

    def _result(self, relation: str, direction: Direction, counts: _Counts) -> RelationResult:
        choosing, reporting = slice(0, None, 2), slice(1, None, 2)
        best = int(counts.found[choosing].sum(0).argmax())
        offset = int(counts.by_offset[choosing].sum(0).argmax())
        cases, found = counts.cases[reporting], counts.found[reporting, best]
        by_offset = counts.by_offset[reporting, offset]
        accuracy, baseline = found.sum() / cases.sum(), by_offset.sum() / cases.sum()
        drawn = _resampled(np.stack([cases, found, by_offset]))
        return RelationResult(
            relation=relation,
            direction=direction,
            layer=best // self._heads + 1,
            head=best % self._heads + 1,
            cases=int(cases.sum()),
            accuracy=float(accuracy),
            interval=_middle(drawn[1] / drawn[0]),
            offset=OFFSETS[offset],
            baseline=float(baseline),
            gain=float(accuracy - baseline),
            gain_interval=_middle((drawn[1] - drawn[2]) / drawn[0]),
        )


def questions(sentence: AnnotatedSentence, present: list[bool]) -> Iterator[tuple[str, Direction, int, list[int]]]:
    """Relation, direction, the word that is asked, and the right answers."""
    dependents: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for number, word in enumerate(sentence.words):
        if word.head is not None and present[number] and present[word.head]:
            yield word.relation, "to head", number, [word.head]
            dependents[word.head, word.relation].append(number)
    for (head, relation), numbers in dependents.items():
        yield relation, "to dependent", head, numbers


def _resampled(groups: Int64Array) -> Int64Array:
    """Sums over groups drawn with replacement: [figures, groups] -> [figures, RESAMPLES]."""
    groups = groups[:, groups[0] > 0]
    count = groups.shape[1]
    times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    sums: Int64Array = groups @ times.T
    return sums


def _middle(values: Float32Array) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
