"""Sentences as a model reads them, with the attention that it pays them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from maskedge import Attention, EncodedText, Predictor, TextError
from maskedge.arrays import Float32Array
from maskedge_batch.heads.annotated import AnnotatedSentence, token_words
from maskedge_batch.heads.word_attention import attention_between_words

__all__ = ["ReadSentence", "chunks", "encode", "read"]

Item = TypeVar("Item")

AT_ONCE = 64
"""Sentences that are read together: with 12 layers of 12 heads and 30 tokens each their attention takes 33 MB."""


@dataclass(frozen=True, slots=True)
class ReadSentence:
    """A sentence with the attention that a model paid it."""

    sentence: AnnotatedSentence
    attention: Attention
    words: tuple[int | None, ...]
    """For each token the number of its annotated word; None where it belongs to none."""

    @property
    def present(self) -> list[bool]:
        """Whether each word has tokens that were read."""
        read = set(self.words)
        return [number in read for number in range(len(self.sentence.words))]

    def between_words(self) -> Float32Array:
        """[layers * heads, words, words]"""
        length = len(self.words)
        weights = self.attention.weights.reshape(-1, length, length)
        return attention_between_words(weights, self.words, len(self.sentence.words))


def chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yields the items in lists of `AT_ONCE`."""
    remaining = iter(items)
    while some := list(islice(remaining, AT_ONCE)):
        yield some


def encode(
    predictor: Predictor, sentence: AnnotatedSentence, set_aside: Counter[str]
) -> tuple[AnnotatedSentence, EncodedText] | None:
    """The sentence as the model reads it; None where it cannot, and its reason is counted."""
    try:
        return sentence, predictor.encode(sentence.text)
    except TextError as error:
        set_aside[error.status] += 1
        return None


def read(predictor: Predictor, encoded: list[tuple[AnnotatedSentence, EncodedText]]) -> Iterator[ReadSentence]:
    """Yields each sentence with its attention."""
    attentions = predictor.attend_encoded([text for _, text in encoded])
    for (sentence, text), attention in zip(encoded, attentions, strict=True):
        yield ReadSentence(sentence, attention, _words(predictor, sentence, text, attention))


def _words(
    predictor: Predictor, sentence: AnnotatedSentence, text: EncodedText, attention: Attention
) -> tuple[int | None, ...]:
    """The annotated word of each token that was read."""
    encoder = predictor.encoder
    inside = len(attention.tokens) - len(encoder.prefix) - len(encoder.suffix)
    words = token_words(sentence.words, encoder.offsets(text)[text.window_start :][:inside])
    return (*(None for _ in encoder.prefix), *words, *(None for _ in encoder.suffix))
