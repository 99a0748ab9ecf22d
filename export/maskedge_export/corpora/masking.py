"""Which tokens of a row are to be predicted, and what the model sees in their place: other ones at every step."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from maskedge.arrays import BoolArray, Int64Array
from maskedge_export.corpora.token_ends import ANY, INSIDE, NEVER, token_ends
from maskedge_export.encoders.checkpoint import last_id
from maskedge_export.recipe import MaskingRecipe

__all__ = ["IGNORED", "MaskedRows", "Masker", "Vocabulary"]

IGNORED = -100
"""Target of a position that fills up a row with fewer masks than others: it has no loss."""


@dataclass(frozen=True, slots=True)
class MaskedRows:
    """Rows as the model sees them, and what it is to say."""

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
    left: npt.NDArray[np.int8]
    """[vocabulary]: the kind of character that a token continues a word with; NEVER where it begins one, INSIDE
    where it goes on with a character."""
    right: npt.NDArray[np.int8]
    """[vocabulary]: the kind of character that it ends with; ANY for a word's space that is a token of its own, INSIDE
    for bytes of a character that an earlier token began."""

    @classmethod
    def of(cls, tokenizer: Any) -> "Vocabulary":
        """The vocabulary of a transformers fast tokenizer: WordPiece, byte-level BPE, Unigram, or whole words."""
        ends = token_ends(tokenizer.backend_tokenizer)
        ids = range(last_id(tokenizer) + 1)
        left, right = np.array([ends.get(index, (NEVER, NEVER)) for index in ids], np.int8).T
        return cls(tokenizer.mask_token_id, np.array([index in ends for index in ids]), left, right)

    def continues(self, ids: Int64Array) -> BoolArray:
        """Whether each token of ids [batch, length] belongs to the word of the token before it."""
        joined = np.zeros(ids.shape, np.bool_)
        left, right = self.left[ids[:, 1:]], self._ending(ids[:, :-1])
        joined[:, 1:] = (left != NEVER) & (right != NEVER) & ((left == right) | (right == ANY) | (left == INSIDE))
        return joined

    def _ending(self, ids: Int64Array) -> npt.NDArray[np.int8]:
        """The kind of character that stands at the end of each token [batch, length]."""
        right = self.right[ids]
        places = np.where(right == INSIDE, 0, np.arange(ids.shape[1]))
        return np.take_along_axis(right, np.maximum.accumulate(places, axis=1), 1)


@dataclass(frozen=True, slots=True)
class Masker:
    """Dynamic masking (Liu et al. 2019) with BERT's replacements (Devlin et al. 2018)."""

    vocabulary: Vocabulary
    recipe: MaskingRecipe

    def mask(self, rows: Int64Array, generator: np.random.Generator, rate: float | None = None) -> MaskedRows:
        """Mask a fixed number of each row's tokens [batch, length]; special tokens never. `rate`: the recipe's.

        With whole words, one that would exceed that number is left alone, so rows may have fewer.
        """
        count = max(1, round((rate or self.recipe.rate) * rows.shape[1]))
        positions, chosen = self._choose(rows, count, generator)
        targets = np.where(chosen, np.take_along_axis(rows, positions, 1), IGNORED)
        seen = self._replace(np.take_along_axis(rows, positions, 1), chosen, generator)
        input_ids = rows.copy()
        np.put_along_axis(input_ids, positions, seen, 1)
        return MaskedRows(input_ids, positions, targets)

    def next_tokens(self, rows: Int64Array) -> MaskedRows:
        """Nothing masked: from each position the ordinary token after it [batch, length - 1]."""
        positions = np.arange(rows.shape[1] - 1)[np.newaxis].repeat(len(rows), 0)
        following = rows[:, 1:]
        return MaskedRows(rows, positions, np.where(self.vocabulary.ordinary[following], following, IGNORED), True)

    def _choose(self, rows: Int64Array, count: int, generator: np.random.Generator) -> tuple[Int64Array, BoolArray]:
        """Positions [batch, count] in random order, and which of them are masks."""
        keys = generator.random(rows.shape)
        words = np.arange(rows.shape[1])[np.newaxis].repeat(len(rows), 0)
        if self.recipe.whole_word:  # all pieces of a word get its first piece's key
            words = np.maximum.accumulate(np.where(self.vocabulary.continues(rows), 0, words), axis=1)
            keys = np.take_along_axis(keys, words, 1)
        keys = np.where(self.vocabulary.ordinary[rows], keys, 2.0)
        order = np.argsort(keys, axis=1, kind="stable")
        chosen = np.take_along_axis(keys, order, 1)[:, :count] < 2
        if self.recipe.whole_word and count < rows.shape[1]:
            words = np.take_along_axis(words, order, 1)
            chosen &= words[:, :count] != words[:, count, np.newaxis]  # a word that goes on beyond the count
        return order[:, :count], chosen

    def _replace(self, tokens: Int64Array, chosen: BoolArray, generator: np.random.Generator) -> Int64Array:
        draws = generator.random(tokens.shape)
        others = generator.choice(np.flatnonzero(self.vocabulary.ordinary), tokens.shape)
        is_mask = chosen & (draws < self.recipe.mask_share)
        is_random = chosen & ~is_mask & (draws < self.recipe.mask_share + self.recipe.random_share)
        return np.where(is_mask, self.vocabulary.mask_id, np.where(is_random, others, tokens))
