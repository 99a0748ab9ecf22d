"""Whole words masked in held-out text: the same words for every tokenizer, so that any two models can be compared."""

import random
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from maskedge.arrays import Float64Array
from maskedge.errors import TextError
from maskedge.inference.encoding import TextEncoder
from maskedge.inference.words import Word, divide
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.evaluation.masked_tokens import SENTENCE_END, TOKENS_PER_BATCH

__all__ = ["MaskedWord", "masked_words", "plain_words", "word_losses"]

LONGEST = 400
"""Most characters of a sentence, so that every model that is compared can take it."""


@dataclass(frozen=True, slots=True)
class MaskedWord:
    """A word of a sentence, as one tokenizer divides it."""

    sentence: str
    start: int
    """The word's first character in the sentence."""
    stop: int
    """The character after its last one."""
    input_ids: tuple[int, ...]
    """The sentence's tokens, none masked."""
    pieces: range
    """The positions of the word's tokens."""

    @property
    def word(self) -> str:
        """As it is written."""
        return self.sentence[self.start : self.stop]


def masked_words(texts: Sequence[str], encoder: TextEncoder, seed: int = 0) -> list[MaskedWord]:
    """One word of letters of one sentence of each text. Sentence and word depend on the text and the seed alone.

    A text gives none where its sentence has no such word, or the tokenizer joins the word to something else or does not
    know all of it.

    Args:
        texts: Plain texts.
        encoder: The tokenizer that divides the words.
        seed: Another seed draws other words.
    """
    found = []
    for text in texts:
        rng = random.Random(f"{seed} {text}")
        sentence = rng.choice(SENTENCE_END.split(text))[:LONGEST]
        words = plain_words(sentence)
        if words and (masked := _masked(sentence, *rng.choice(words), encoder)):
            found.append(masked)
    return found


def plain_words(sentence: str) -> list[tuple[int, int]]:
    """The words of letters alone, each as its first character and the one after its last.

    Words are what the runtime divides a text into, if each character is a token.
    """
    offsets = [(index, index + 1) for index in range(len(sentence))]
    words = divide(sentence, offsets)
    return [(word.start, word.stop) for word in words if _is_spelled(sentence[word.start : word.stop])]


def _is_spelled(word: str) -> bool:
    """Whether a word is of letters, and marks on them, alone."""
    return word[:1].isalpha() and all(unicodedata.category(character)[0] in "LM" for character in word)


def _masked(sentence: str, start: int, stop: int, encoder: TextEncoder) -> MaskedWord | None:
    try:
        encoding = encoder.encoding(sentence)
    except TextError:
        return None
    ids = encoding.ids
    for word in divide(sentence, encoding.offsets):
        if (word.start, word.stop) == (start, stop) and word.tokens.stop <= encoder.room:
            if any(encoder.is_unknown(ids[token]) for token in word.tokens):
                return None  # no model is trained to predict its unknown token
            return MaskedWord(sentence, start, stop, *_framed(ids[: encoder.room], word, encoder))
    return None


def _framed(ids: list[int], word: Word, encoder: TextEncoder) -> tuple[tuple[int, ...], range]:
    before = len(encoder.prefix)
    pieces = range(word.tokens.start + before, word.tokens.stop + before)
    return (*encoder.prefix, *ids, *encoder.suffix), pieces


@torch.no_grad()
def word_losses(encoder: Encoder, words: Sequence[MaskedWord], mask_id: int) -> Float64Array:
    """-log p of each word [words], nats: the sum over its pieces, each predicted with itself and the later ones masked.

    By the chain rule that is the word's own probability, given how many pieces it has (Kauf & Ivanova 2023).

    Args:
        encoder: Of maskedge's own kind, on any device.
        words: As `masked_words` finds them with this encoder's tokenizer.
        mask_id: The token that stands for a masked one.
    """
    losses = np.zeros(len(words))
    device = encoder.embedding.tokens.weight.device
    for owners, *arrays in _rows(words, mask_id):
        ids, positions, targets = (torch.tensor(array, device=device) for array in arrays)
        logits = encoder(ids, positions.unsqueeze(1)).squeeze(1)
        loss = F.cross_entropy(logits.float(), targets, reduction="none")
        np.add.at(losses, owners, loss.double().cpu().numpy())
    return losses


def _rows(words: Sequence[MaskedWord], mask_id: int) -> Iterator[tuple[list[int], ...]]:
    """Batches of one length as four lists, an item a row: the number of its word, its ids, the position to predict, and
    the token that stood there."""
    by_length: defaultdict[int, list[tuple[int, list[int], int, int]]] = defaultdict(list)
    for index, word in enumerate(words):
        for piece in word.pieces:
            later = range(piece, word.pieces.stop)
            ids = [mask_id if position in later else token for position, token in enumerate(word.input_ids)]
            by_length[len(ids)].append((index, ids, piece, word.input_ids[piece]))
    for length, rows in sorted(by_length.items()):
        size = max(1, TOKENS_PER_BATCH // length)
        for start in range(0, len(rows), size):
            yield tuple(list(column) for column in zip(*rows[start : start + size], strict=True))
