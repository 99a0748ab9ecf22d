"""Minimal pairs: a sentence and the same one with two neighbouring words exchanged; which does a model prefer?

A user ranks sentences by pseudo-log-likelihood (Salazar et al. 2020), so a quantized model must rank them as its source
does. Test suites of such pairs (Warstadt et al. 2020) cover a few languages; these can be made from anybody's text.
"""

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from maskedge.arrays import Float64Array
from maskedge.errors import TextError
from maskedge.inference.encoding import TextEncoder
from maskedge.inference.words import Word, divide
from maskedge_export.evaluation.logprobs import Logprobs
from maskedge_export.evaluation.masked_tokens import SENTENCE_END, MaskedBatch

__all__ = ["MinimalPair", "minimal_pairs", "preferences", "sentences_of"]

PAIRS = 100
SHORTEST, LONGEST = 4, 16
"""Tokens that a sentence may have: its pseudo-log-likelihood takes as many rows."""
SEED = 21


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """Two sentences, each as a batch with one row for each of its tokens, masked in turn."""

    original: MaskedBatch
    exchanged: MaskedBatch
    """The original with two neighbouring words in each other's place."""


def minimal_pairs(texts: Sequence[str], encoder: TextEncoder, count: int = PAIRS) -> list[MinimalPair]:
    """At most `count` pairs from one sentence of each text, drawn with a fixed seed.

    Args:
        texts: Plain texts.
        encoder: The tokenizer of the models that will rank the pairs.
        count: Where the search ends.
    """
    rng = random.Random(SEED)
    pairs: list[MinimalPair] = []
    for text in rng.sample(list(texts), len(texts)):
        with suppress(TextError):  # one that the tokenizer cannot write
            pair = _pair(rng.choice(SENTENCE_END.split(text)), encoder, rng)
            pairs += [pair] if pair else []
        if len(pairs) == count:
            break
    return pairs


def sentences_of(pairs: Sequence[MinimalPair]) -> list[MaskedBatch]:
    """The batches of all pairs: each pair's original, then the exchanged sentence."""
    return [sentence for pair in pairs for sentence in (pair.original, pair.exchanged)]


def preferences(pairs: Sequence[MinimalPair], logprobs: Logprobs) -> Float64Array:
    """By how much each original's pseudo-log-likelihood lies above the exchanged sentence's [pairs], nats.

    Args:
        pairs: The sentences.
        logprobs: Of the model that ranks them.
    """
    sentences = sentences_of(pairs)
    rated = zip(sentences, logprobs(sentences), strict=True)
    likelihoods = [np.take_along_axis(row, sentence.targets, -1).sum() for sentence, row in rated]
    return np.subtract(likelihoods[::2], likelihoods[1::2])


def _pair(sentence: str, encoder: TextEncoder, rng: random.Random) -> MinimalPair | None:
    """The sentence's pair; None where a model cannot rate it, or no two neighbouring words can change places.

    Raises TextError where the tokenizer cannot write it.
    """
    encoding = encoder.encoding(sentence)
    if not SHORTEST <= len(encoding.ids) <= LONGEST or encoder.mask_id in encoding.ids:
        return None
    # Words are exchanged in the text, not their tokens: a word's tokens may depend on what stands beside it.
    neighbours = [pair for pair in pairwise(divide(sentence, encoding.offsets)) if _can_change_places(*pair, sentence)]
    if not neighbours:
        return None
    exchanged = encoder.encoding(_exchange(sentence, *rng.choice(neighbours)))
    if max(len(encoding.ids), len(exchanged.ids)) > encoder.room:
        return None
    return MinimalPair(_each_token_masked(encoding.ids, encoder), _each_token_masked(exchanged.ids, encoder))


def _can_change_places(first: Word, second: Word, sentence: str) -> bool:
    """Whether both words are of letters alone, and differ in more than their case."""
    spelled = [sentence[word.start : word.stop] for word in (first, second)]
    return spelled[0].lower() != spelled[1].lower() and all(word.isalpha() for word in spelled)


def _exchange(sentence: str, first: Word, second: Word) -> str:
    """The sentence with both words in each other's place; what stands between them stays."""
    between = sentence[first.stop : second.start]
    exchanged = sentence[second.start : second.stop] + between + sentence[first.start : first.stop]
    return sentence[: first.start] + exchanged + sentence[second.stop :]


def _each_token_masked(ids: list[int], encoder: TextEncoder) -> MaskedBatch:
    """One row for each of the ids [ids, length], with that one masked."""
    rows = np.tile(np.array([*encoder.prefix, *ids, *encoder.suffix], np.int64), (len(ids), 1))
    positions = len(encoder.prefix) + np.arange(len(ids))[:, np.newaxis]
    np.put_along_axis(rows, positions, encoder.mask_id, 1)
    return MaskedBatch(rows, positions, np.array(ids)[:, np.newaxis])
