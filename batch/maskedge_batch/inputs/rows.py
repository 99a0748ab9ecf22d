"""Which rows of a file are meant: row group by row group, and a bit a row where only some of a group are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["BoolArray", "FileRows", "GroupRows", "IntArray", "Rows"]

BoolArray: TypeAlias = npt.NDArray[np.bool_]
IntArray: TypeAlias = npt.NDArray[np.int64]

Rows: TypeAlias = range | BoolArray
"""Of one row group: those that follow each other, or a value for each of its rows."""


@dataclass(frozen=True, slots=True)
class GroupRows:
    """The chosen rows of one row group."""

    total: int
    """Rows of the group."""
    chosen: int
    bits: bytes | None = None
    """A bit a row; None: the first `chosen` of them."""

    @classmethod
    def of(cls, mask: BoolArray) -> "GroupRows":
        """Those whose value is true."""
        chosen = int(mask.sum())
        return cls(len(mask), chosen, None if mask[:chosen].all() else np.packbits(mask).tobytes())

    @property
    def mask(self) -> BoolArray:
        """A value for each row of the group."""
        if self.bits is None:
            return np.arange(self.total) < self.chosen
        packed = np.frombuffer(self.bits, np.uint8)
        return np.unpackbits(packed, count=self.total).astype(np.bool_)

    def part(self, first: int, end: int) -> Rows:
        """Those of the chosen rows from `first` up to, not with, `end`, which count the chosen ones only."""
        if self.bits is None:
            return range(first, end)
        mask = self.mask
        rank = mask.cumsum()
        return mask & (rank > first) & (rank <= end)

    def keep(self, positions: IntArray) -> "GroupRows":
        """Only those of the chosen rows whose numbers, counted among the chosen ones, are given."""
        mask = np.zeros(self.total, np.bool_)
        mask[np.flatnonzero(self.mask)[positions]] = True
        return GroupRows.of(mask)


@dataclass(frozen=True, slots=True)
class FileRows:
    """The chosen rows of a file."""

    groups: tuple[GroupRows, ...]

    @classmethod
    def all(cls, totals: Sequence[int]) -> "FileRows":
        """Every row of row groups with so many rows."""
        return cls(tuple(GroupRows(total, total) for total in totals))

    @property
    def chosen(self) -> int:
        """How many there are."""
        return sum(group.chosen for group in self.groups)

    def part(self, first: int, end: int) -> Iterator[tuple[int, Rows]]:
        """Numbers of row groups with those of their chosen rows that lie from `first` up to, not with, `end`, which
        count the file's chosen rows."""
        start = 0
        for number, group in enumerate(self.groups):
            lower, upper = max(first - start, 0), min(end - start, group.chosen)
            start += group.chosen
            if lower < upper:
                yield number, group.part(lower, upper)
            if start >= end:
                return

    def keep(self, positions: IntArray) -> "FileRows":
        """Only those of the chosen rows whose numbers, counted among the chosen ones and in order, are given."""
        edges = np.cumsum([0, *(group.chosen for group in self.groups)])
        cuts = np.searchsorted(positions, edges)
        parts = (positions[cuts[index] : cuts[index + 1]] - edges[index] for index in range(len(self.groups)))
        return FileRows(tuple(group.keep(part) for group, part in zip(self.groups, parts, strict=True)))
