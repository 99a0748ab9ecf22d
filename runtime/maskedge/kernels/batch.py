"""Texts that are computed together."""

from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np

from maskedge.arrays import Int64Array
from maskedge.kernels.library import BatchCall

__all__ = ["Batch", "Room"]


@dataclass(frozen=True, slots=True)
class Room:
    """The most of each that a workspace takes."""

    tokens: int
    masks: int
    longest: int
    """Tokens of a text."""
    gathered: int = 0
    """Masks of several batches, of which logits are made at once; those of a batch if they are more."""
    members: int = 1
    """Threads that compute a batch together."""

    def holds(self, other: "Room") -> bool:
        """Whether it is at least as large."""
        return self == self.with_more(other)

    def with_more(self, other: "Room") -> "Room":
        """The larger of each."""
        return Room(*map(max, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts without padding, one after another."""

    ids: Int64Array  # [tokens]
    positions: Int64Array  # [tokens], rows of their embedding
    starts: Int64Array  # [texts + 1], the first token of each text
    mask_starts: Int64Array  # [texts + 1], the first mask of each text
    masks: Int64Array  # [masks], rows of tokens

    @property
    def room(self) -> Room:
        """What it takes."""
        return Room(self.ids.size, self.masks.size, int(np.diff(self.starts).max()))

    def parts(self, tokens: int, masks: int) -> list["Batch"]:
        """Its texts in batches of about as many tokens each: at most about so many, or masks, but for a text alone."""
        most = tokens + tokens // 8  # hardly slower than two halves
        count = max(-(-self.ids.size // most), -(-self.masks.size // masks))
        if count == 1:
            return [self]
        shares = self.ids.size * np.arange(1, count) / count
        bounds = np.unique([0, *np.searchsorted(self.starts, shares), self.starts.size - 1])
        return [self._part(first, end) for first, end in pairwise(bounds.tolist())]

    def _part(self, first: int, end: int) -> "Batch":
        """Its texts from `first` on, before `end`."""
        starts, mask_starts = self.starts[first : end + 1], self.mask_starts[first : end + 1]
        tokens, masks = (slice(of_text[0], of_text[-1]) for of_text in (starts, mask_starts))
        return Batch(
            ids=self.ids[tokens],
            positions=self.positions[tokens],
            starts=starts - starts[0],
            mask_starts=mask_starts - mask_starts[0],
            masks=self.masks[masks] - starts[0],
        )

    def call(self) -> BatchCall:
        """As the kernels take it, while it lasts."""
        return BatchCall(
            ids=self.ids.ctypes.data,
            positions=self.positions.ctypes.data,
            rows_of_masks=self.masks.ctypes.data,
            starts=self.starts.ctypes.data,
            mask_starts=self.mask_starts.ctypes.data,
            tokens=self.ids.size,
            masks=self.masks.size,
            texts=self.starts.size - 1,
        )
