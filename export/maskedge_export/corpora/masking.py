"""Which tokens of a row are to be predicted, and what the model sees in their place: other ones at every step."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maskedge.arrays import BoolArray, Int64Array
from maskedge_export.corpora.sampling import Rows
from maskedge_export.encoders.checkpoint import last_id
from maskedge_export.recipe import MaskingRecipe

__all__ = ["IGNORED", "MaskedRows", "Masker", "Vocabulary"]

IGNORED = -100
"""Target of a position that fills up a row with fewer masks than others: it has no loss."""

NEVER_CHOSEN = 2.0
"""A key beyond those that are drawn from [0, 1)."""


@dataclass(frozen=True, slots=True)
class MaskedRows:
    """Rows as the model sees them, and what it is to predict."""

    input_ids: Int64Array
    """[batch, length]"""
    mask_positions: Int64Array
    """[batch, masks]"""
    targets: Int64Array
    """[batch, masks]: the ids that stood there, or IGNORED."""
    causal: bool = False
    """Whether a position sees none after it."""

    def shifted(self) -> "MaskedRows":
        """The same, each token predicted from the position before it; none stands before a row's first."""
        positions = np.maximum(self.mask_positions - 1, 0)
        return replace(self, mask_positions=positions, targets=np.where(self.mask_positions > 0, self.targets, IGNORED))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What masking needs to know of a tokenizer."""

    mask_id: int
    ordinary: BoolArray
    """[vocabulary]: a token, and no special one."""

    @classmethod
    def of(cls, tokenizer: Any) -> "Vocabulary":
        """The vocabulary of a transformers fast tokenizer."""
        backend = tokenizer.backend_tokenizer
        special = {index for index, token in backend.get_added_tokens_decoder().items() if token.special}
        ordinary = np.zeros(last_id(tokenizer) + 1, np.bool_)
        ordinary[[index for index in backend.get_vocab().values() if index not in special]] = True
        return cls(tokenizer.mask_token_id, ordinary)


@dataclass(frozen=True, slots=True)
class Masker:
    """Dynamic masking (Liu et al. 2019) with BERT's replacements (Devlin et al. 2018)."""

    vocabulary: Vocabulary
    recipe: MaskingRecipe

    def mask(self, rows: Rows, generator: np.random.Generator, rate: float | None = None) -> MaskedRows:
        """Mask a fixed number of each row's tokens, all those of a word (with `word_ends`, of its end) or none; special
        tokens never.

        A word that would exceed that number is left alone, so rows may have fewer masks where words have several
        tokens.

        Args:
            rows: [batch, length]
            generator: What draws the words and what stands in their place.
            rate: Share of a row's tokens to mask; the recipe's by default.
        """
        ids = rows.input_ids
        count = max(1, round((rate or self.recipe.rate) * ids.shape[1]))
        positions, chosen = self._choose(rows, count, generator)
        tokens = np.take_along_axis(ids, positions, 1)
        input_ids = ids.copy()
        np.put_along_axis(input_ids, positions, self._replace(tokens, chosen, generator), 1)
        return MaskedRows(input_ids, positions, np.where(chosen, tokens, IGNORED))

    def next_tokens(self, rows: Int64Array) -> MaskedRows:
        """Rows of ids [batch, length] with nothing masked: each position but the last predicts the token after it,
        special tokens ignored."""
        positions = np.arange(rows.shape[1] - 1)[np.newaxis].repeat(len(rows), 0)
        following = rows[:, 1:]
        return MaskedRows(rows, positions, np.where(self.vocabulary.ordinary[following], following, IGNORED), True)

    def _choose(self, rows: Rows, count: int, generator: np.random.Generator) -> tuple[Int64Array, BoolArray]:
        """Positions [batch, count] in random order, and which of them are masks."""
        # name each word by the place of its first token
        words = np.maximum.accumulate(np.where(rows.word_starts, np.arange(rows.word_starts.shape[1]), 0), axis=1)
        # put the words into random order: all tokens of a word get its first one's key, special tokens come last
        keys = np.take_along_axis(generator.random(words.shape), words, 1)
        keys = np.where(self.vocabulary.ordinary[rows.input_ids], keys, NEVER_CHOSEN)
        if self.recipe.word_ends:
            keys = np.where(_beginnings(words, generator), NEVER_CHOSEN, keys)
        order = np.argsort(keys, axis=1, kind="stable")
        keys, words = np.take_along_axis(keys, order, 1), np.take_along_axis(words, order, 1)
        # take as many tokens as are to be masked, but leave the word alone that goes on beyond them
        chosen = keys[:, :count] < NEVER_CHOSEN
        if count < words.shape[1]:
            goes_on = keys[:, count, np.newaxis] < NEVER_CHOSEN
            chosen &= ~(goes_on & (words[:, :count] == words[:, count, np.newaxis]))
        return order[:, :count], chosen

    def _replace(self, tokens: Int64Array, chosen: BoolArray, generator: np.random.Generator) -> Int64Array:
        """What the model sees in place of tokens [batch, count]: for those chosen the mask, a random ordinary token, or
        the token itself; the others stay."""
        draws = generator.random(tokens.shape)
        others = generator.choice(np.flatnonzero(self.vocabulary.ordinary), tokens.shape)
        is_mask = chosen & (draws < self.recipe.mask_share)
        is_random = chosen & ~is_mask & (draws < self.recipe.mask_share + self.recipe.random_share)
        return np.where(is_mask, self.vocabulary.mask_id, np.where(is_random, others, tokens))


def _beginnings(words: Int64Array, generator: np.random.Generator) -> BoolArray:
    """The tokens before one of their word's that is drawn at random [batch, length]; `words` says where the words
    begin."""
    rows, length = words.shape
    flat = words + length * np.arange(rows)[:, np.newaxis]
    tokens = np.bincount(flat.ravel(), minlength=flat.size)[flat]
    first = np.floor(np.take_along_axis(generator.random(words.shape), words, 1) * tokens)
    beginnings: BoolArray = np.arange(length) - words < first
    return beginnings
