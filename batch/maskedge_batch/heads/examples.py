"""Sentences that show what a head does: it finds a relation where looking at a fixed distance does not."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from maskedge_batch.heads.reading import ReadSentence
from maskedge_batch.heads.relations import RelationResult, questions

__all__ = ["Example", "find_examples"]

EXAMPLES = 4
"""Sentences a relation."""
LONGEST = 120
"""Characters of a sentence that is shown."""


@dataclass(frozen=True, slots=True)
class Example:
    """A sentence, the word that looks, and the one it looks at."""

    text: str
    query: tuple[int, int]
    """Where the word begins and ends in the text."""
    key: tuple[int, int]
    weight: float
    """The attention between them."""


def find_examples(
    results: Sequence[RelationResult], sentences: Iterable[ReadSentence], heads: int
) -> tuple[tuple[Example, ...], ...]:
    """Of each result the sentences with the most attention, one sentence once."""
    best: list[list[tuple[float, int, Example]]] = [[] for _ in results]
    places = {(result.relation, result.direction): number for number, result in enumerate(results)}
    numbers = count()
    for read in sentences:
        if len(read.sentence.text) > LONGEST:
            continue
        between = read.between_words()
        found: dict[int, Example] = {}
        for relation, direction, query, answers in questions(read.sentence, read.present):
            place = places.get((relation, direction))
            if place is None or query + results[place].offset in answers:
                continue
            row = between[(results[place].layer - 1) * heads + results[place].head - 1, query].copy()
            row[query] = -1
            key = int(np.argmax(row))
            if key in answers and (place not in found or row[key] > found[place].weight):
                found[place] = _example(read, query, key, float(row[key]))
        for place, example in found.items():
            heapq.heappush(best[place], (example.weight, -next(numbers), example))
            best[place] = heapq.nlargest(EXAMPLES, best[place])
    return tuple(tuple(example for _, _, example in heapq.nlargest(EXAMPLES, each)) for each in best)


def _example(read: ReadSentence, query: int, key: int, weight: float) -> Example:
    words = read.sentence.words
    return Example(
        read.sentence.text,
        (words[query].start, words[query].stop),
        (words[key].start, words[key].stop),
        weight,
    )
