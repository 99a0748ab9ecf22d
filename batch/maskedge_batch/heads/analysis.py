"""Sentences -> what each head does with them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from maskedge import Predictor
from maskedge.arrays import Float64Array
from maskedge_batch.heads.annotated import AnnotatedSentence
from maskedge_batch.heads.clusters import HeadDistances, cluster
from maskedge_batch.heads.examples import Example, find_examples
from maskedge_batch.heads.reading import ReadSentence, chunks, encode, read
from maskedge_batch.heads.relations import RelationCounts, RelationResult
from maskedge_batch.heads.roles import RoleSums

__all__ = ["HeadsAnalysis", "analyse_heads"]

FOR_DISTANCES = 300
"""Sentences that distances between heads are taken from: they take the square of the number of heads."""
FOR_EXAMPLES = 1000
"""Annotated sentences that are kept, for examples to be found among them."""
CLUSTERS = 8


@dataclass(frozen=True, slots=True)
class HeadsAnalysis:
    """What each head does over a corpus."""

    layers: int
    heads: int
    sentences: int
    tokens: int
    """Special ones left out."""
    set_aside: Mapping[str, int]
    """Sentences that could not be read, by reason."""
    truncated: int
    """Sentences that were cut to the model's length."""
    roles: Mapping[str, Float64Array]
    """Of each role its value [layers, heads]."""
    uniform: Mapping[str, float]
    """What attention would show that looks at all tokens alike."""
    distances: Float64Array
    """[layers * heads, layers * heads], nats."""
    clusters: list[int]
    """The group of each head, layer by layer."""
    relations: tuple[RelationResult, ...]
    """Empty without annotation."""
    accuracies: tuple[Float64Array, ...]
    """Of each relation every head's accuracy over all sentences [layers, heads]."""
    examples: tuple[tuple[Example, ...], ...]
    """Of each relation sentences in which its head finds it and the baseline does not."""


def analyse_heads(predictor: Predictor, sentences: Iterable[AnnotatedSentence]) -> Iterator[int | HeadsAnalysis]:
    """Reads sentences while they come, and says what each head did.

    Args:
        predictor: With an attention graph.
        sentences: Plain or annotated.

    Yields:
        How many sentences are done, now and then; at the end the analysis.

    Raises:
        BundleNotFoundError: The bundle has no attention graph.
    """
    gathered: _Gathered | None = None
    set_aside: Counter[str] = Counter()
    for some in chunks(sentences):
        readable = [pair for pair in (encode(predictor, one, set_aside) for one in some) if pair]
        for one in read(predictor, readable):
            gathered = gathered or _Gathered(one.attention.layers, one.attention.heads)
            gathered.add(one)
        yield (gathered.sentences if gathered else 0) + set_aside.total()
    yield (gathered or _Gathered(0, 0)).analysis(predictor, set_aside)


class _Gathered:
    def __init__(self, layers: int, heads: int) -> None:
        self.layers, self.heads = layers, heads
        self.roles = RoleSums(layers, heads)
        self.distances = HeadDistances(layers * heads)
        self.relations = RelationCounts(layers, heads)
        self.kept: list[AnnotatedSentence] = []
        self.sentences = self.truncated = 0

    def add(self, one: ReadSentence) -> None:
        self.sentences += 1
        self.truncated += one.attention.truncated
        self.roles.add(one.attention)
        if self.sentences <= FOR_DISTANCES:
            self.distances.add(one.attention)
        if one.sentence.words:
            self.relations.add(one.sentence, one.between_words(), one.present)
            if len(self.kept) < FOR_EXAMPLES:
                self.kept.append(one.sentence)

    def analysis(self, predictor: Predictor, set_aside: Counter[str]) -> HeadsAnalysis:
        results = tuple(self.relations.results())
        accuracies = (self.relations.accuracies(result.relation, result.direction)[0] for result in results)
        encoded = (pair for pair in (encode(predictor, one, Counter()) for one in self.kept) if pair)
        again = (one for some in chunks(encoded) for one in read(predictor, some))
        distances = self.distances.means()
        return HeadsAnalysis(
            layers=self.layers,
            heads=self.heads,
            sentences=self.sentences,
            tokens=self.roles.queries,
            set_aside=dict(set_aside.most_common()),
            truncated=self.truncated,
            roles=self.roles.means(),
            uniform=self.roles.uniform(),
            distances=distances,
            clusters=cluster(distances, CLUSTERS),
            relations=results,
            accuracies=tuple(np.reshape(each, (self.layers, self.heads)) for each in accuracies),
            examples=find_examples(results, again, self.heads) if results else (),
        )
