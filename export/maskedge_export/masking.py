"""Which tokens of a row are to be predicted, and what the model sees in their place: other ones at every step."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from maskedge_export.recipe import MaskingRecipe

__all__ = ["IGNORED", "MaskedRows", "Masker", "Vocabulary"]

IGNORED = -100
"""Target of a position that fills up a row with fewer masks than others: it has no loss."""

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

LETTER, DIGIT, OTHER, ANY, NEVER = 0, 1, 2, 3, -1


@dataclass(frozen=True, slots=True)
class MaskedRows:
    """Rows as the model sees them, and what it is to say."""

    input_ids: IntArray
    """[batch, length]"""
    mask_positions: IntArray
    """[batch, masks]"""
    targets: IntArray
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
    """[vocabulary]: no special token."""
    left: npt.NDArray[np.int8]
    """[vocabulary]: the kind of character that a token continues a word with; NEVER where it begins one."""
    right: npt.NDArray[np.int8]
    """[vocabulary]: the kind of character that it ends with; ANY for a word's space that is a token of its own."""

    @classmethod
    def of(cls, tokenizer: Any) -> "Vocabulary":
        """The vocabulary of a transformers fast tokenizer: WordPiece, byte-level BPE, Unigram, or whole words."""
        backend = tokenizer.backend_tokenizer
        size = backend.get_vocab_size()
        special = {index for index, token in backend.get_added_tokens_decoder().items() if token.special}
        ordinary = np.array([index not in special for index in range(size)])
        ends = _word_piece_ends if type(backend.model).__name__ in ("WordPiece", "WordLevel") else _spaced_ends
        left, right = zip(
            *(ends(backend.id_to_token(index)) if ordinary[index] else (NEVER, NEVER) for index in range(size)),
            strict=True,
        )
        return cls(tokenizer.mask_token_id, ordinary, np.array(left, np.int8), np.array(right, np.int8))

    def continues(self, ids: IntArray) -> BoolArray:
        """Whether each token of ids [batch, length] belongs to the word of the token before it."""
        joined = np.zeros(ids.shape, np.bool_)
        left, right = self.left[ids[:, 1:]], self.right[ids[:, :-1]]
        joined[:, 1:] = (left != NEVER) & ((left == right) | (right == ANY))
        return joined


def _word_piece_ends(token: str) -> tuple[int, int]:
    return (LETTER if token.startswith("##") else NEVER), LETTER


def _spaced_ends(token: str) -> tuple[int, int]:
    """A token that carries its word's leading space (Ġ, Ċ, ▁) begins a word; one without it continues a word whose last
    character is of the same kind: a letter, a digit or other, the parts that byte-level BPE never joins."""
    first, last = _character_kind(token[:1]), _character_kind(token[-1:])
    return (NEVER if token[:1] in _SPACES else first), (ANY if token[-1:] in _SPACES else last)


_SPACES = ("", "Ġ", "Ċ", "ĉ", "▁")


def _character_kind(character: str) -> int:
    if character.isascii() and not character.isalpha():
        return DIGIT if character.isdigit() else OTHER
    return LETTER  # of beyond ASCII, byte-level BPE shows single bytes: most are parts of letters


@dataclass(frozen=True, slots=True)
class Masker:
    """Dynamic masking (Liu et al. 2019) with BERT's replacements (Devlin et al. 2018)."""

    vocabulary: Vocabulary
    recipe: MaskingRecipe

    def mask(self, rows: IntArray, generator: np.random.Generator, rate: float | None = None) -> MaskedRows:
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

    def next_tokens(self, rows: IntArray) -> MaskedRows:
        """Nothing masked: from each position the ordinary token after it [batch, length - 1]."""
        positions = np.arange(rows.shape[1] - 1)[np.newaxis].repeat(len(rows), 0)
        following = rows[:, 1:]
        return MaskedRows(rows, positions, np.where(self.vocabulary.ordinary[following], following, IGNORED), True)

    def _choose(self, rows: IntArray, count: int, generator: np.random.Generator) -> tuple[IntArray, BoolArray]:
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

    def _replace(self, tokens: IntArray, chosen: BoolArray, generator: np.random.Generator) -> IntArray:
        draws = generator.random(tokens.shape)
        others = generator.choice(np.flatnonzero(self.vocabulary.ordinary), tokens.shape)
        is_mask = chosen & (draws < self.recipe.mask_share)
        is_random = chosen & ~is_mask & (draws < self.recipe.mask_share + self.recipe.random_share)
        return np.where(is_mask, self.vocabulary.mask_id, np.where(is_random, others, tokens))
