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

    Each epoch cuts the corpus into blocks of a row's length, at other places than the epoch before, and reads them in
    random order. A row whose first half holds the beginning of a text is moved to begin there, and reads as far into
    the next block: a few percent of the corpus are read twice in an epoch, and as many not at all.
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
        """The `count` rows that follow the `first` ones since training on this length began."""
        # which epoch each row belongs to, and which block of the corpus it is there
        numbers = np.arange(first, first + count)
        epochs = numbers // self.rows_per_epoch
        within = numbers % self.rows_per_epoch
        blocks = np.concatenate(
            [_order(self.rows_per_epoch, self.seed, int(epoch))[within[epochs == epoch]] for epoch in np.unique(epochs)]
        )
        # where the block begins, or the text that begins in its first half
        offsets = np.array([self._offset(int(epoch)) for epoch in epochs])
        starts = self._text_starts(np.minimum(blocks * self.room + offsets, len(self.tokens) - self.room))
        # the tokens there, with what every row begins with before them
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
        """Where an epoch's first block begins."""
        return int(np.random.default_rng([self.seed, epoch, 1]).integers(self.room)) if epoch else 0

    def _text_starts(self, starts: Int64Array) -> Int64Array:
        """Rows' starts [count], moved to where a text begins in a row's first half: in use too, the model reads texts
        from their beginning."""
        if self.separator is None:
            return starts
        ends = self.tokens[starts[:, np.newaxis] + np.arange(self.room // 2)] == self.separator
        shift = np.where(ends.any(1), ends.argmax(1) + 1, 0)
        return np.minimum(starts + shift, len(self.tokens) - self.room)


@lru_cache(maxsize=2)
def _order(rows: int, seed: int, epoch: int) -> Int64Array:
    """The blocks [rows] in the order in which an epoch reads them."""
    return np.random.default_rng([seed, epoch]).permutation(rows)
