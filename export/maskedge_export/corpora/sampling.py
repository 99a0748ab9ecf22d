"""Which rows of the corpus each step trains on."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from maskedge.arrays import BoolArray, Int64Array
from maskedge_export.errors import CorpusError

__all__ = ["RowSampler", "Rows"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the corpus, special tokens included."""

    input_ids: Int64Array
    """[batch, length]"""
    word_starts: BoolArray
    """[batch, length]: where a word begins, which is masked as a whole; everywhere if tokens are masked one by one."""


@dataclass(frozen=True, slots=True)
class RowSampler:
    """Rows of one length in an order that depends on the seed alone, about as many an epoch as the corpus holds.

    A row begins where a text does, if one begins in its first half, and goes as far into the next row's part as it was
    moved: a few percent of the corpus are read twice, and as many not at all. Each epoch divides it elsewhere.
    """

    tokens: npt.NDArray[np.unsignedinteger[Any]]
    """[tokens]"""
    length: int
    """Tokens of a row, the prefix included."""
    prefix: tuple[int, ...]
    """What every row begins with, such as [CLS]."""
    separator: int | None
    """What follows each text."""
    seed: int
    word_starts: BoolArray | None = None
    """[tokens]: where a word begins; None to have every token be one."""

    def __post_init__(self) -> None:
        if len(self.tokens) < self.room:
            raise CorpusError(
                f"the corpus has {len(self.tokens)} tokens, fewer than one row of {self.length}; "
                "shorten schedule.lengths, or give more text"
            )

    @property
    def room(self) -> int:
        """Tokens of the corpus in a row."""
        return self.length - len(self.prefix)

    @property
    def rows_per_epoch(self) -> int:
        """Rows until the corpus begins again."""
        return len(self.tokens) // self.room

    def rows(self, first: int, count: int) -> Rows:
        """The rows [count, length] that come `first`, `first` + 1, ... since training on this length began."""
        numbers = np.arange(first, first + count)
        epochs = numbers // self.rows_per_epoch
        within = numbers % self.rows_per_epoch
        blocks = np.concatenate(
            [_order(self.rows_per_epoch, self.seed, int(epoch))[within[epochs == epoch]] for epoch in np.unique(epochs)]
        )
        offsets = np.array([self._offset(int(epoch)) for epoch in epochs])
        starts = self._text_starts(np.minimum(blocks * self.room + offsets, len(self.tokens) - self.room))
        places = starts[:, np.newaxis] + np.arange(self.room)  # [count, room]
        prefix = np.tile(np.array(self.prefix, np.int64), (count, 1))
        input_ids = np.concatenate([prefix, self.tokens[places].astype(np.int64)], axis=1)
        return Rows(input_ids, self._word_starts(places))

    def _word_starts(self, places: Int64Array) -> BoolArray:
        """Where words begin in rows [count, length] that have the corpus's tokens at `places` [count, room]."""
        word_starts = np.ones((len(places), self.length), np.bool_)
        if self.word_starts is not None:  # what a row has of a word that began before it is a word there
            word_starts[:, len(self.prefix) + 1 :] = self.word_starts[places[:, 1:]]
        return word_starts

    def _offset(self, epoch: int) -> int:
        """Where an epoch's first row begins."""
        return int(np.random.default_rng([self.seed, epoch, 1]).integers(self.room)) if epoch else 0

    def _text_starts(self, starts: Int64Array) -> Int64Array:
        """Where a text begins in the first half of a row, that is where the row begins: as texts do in use."""
        if self.separator is None:
            return starts
        ends = self.tokens[starts[:, np.newaxis] + np.arange(self.room // 2)] == self.separator
        shift = np.where(ends.any(1), ends.argmax(1) + 1, 0)
        return np.minimum(starts + shift, len(self.tokens) - self.room)


@lru_cache(maxsize=2)
def _order(rows: int, seed: int, epoch: int) -> Int64Array:
    return np.random.default_rng([seed, epoch]).permutation(rows)
