"""Memory for values and levels, which serves the next ones once they are not used any more."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskedge.kernels.packing import INNER, OUTER
from maskedge.kernels.pages import Bytes, Pages, up_to
from maskedge.kernels.plan import Plan, Rows
from maskedge.kernels.steps import Levels, Value

__all__ = ["BEYOND", "GatheredMemory", "LevelMemory", "Memory"]

BEYOND = 8
"""Rows that attention reads beyond a text's last."""


@dataclass(frozen=True, slots=True)
class LevelMemory:
    """Where levels are kept."""

    first: Bytes
    rest: Bytes | None
    row_factors: Bytes | None


@dataclass(frozen=True, slots=True)
class GatheredMemory:
    """Where a batch's rows are, and where they are put behind those of the batches before it."""

    source: Bytes
    to: Bytes
    row_bytes: int
    in_blocks: bool
    """Whether they are levels."""


class Memory:
    """What a plan's values and levels take, for so many rows of each kind."""

    def __init__(self, plan: Plan, rows: dict[Rows, int]) -> None:
        self._plan = plan
        self._pages = Pages()
        self._rows = {kind: up_to(OUTER, most) for kind, most in rows.items()}
        self._uses = {made: len(users) for made, users in plan.users.items()}
        self._free: defaultdict[int, list[Bytes]] = defaultdict(list)
        self._floats: dict[Value, Bytes] = {}
        self._levels: dict[Levels, LevelMemory] = {}
        self._all: list[npt.NDArray[Any]] = []

    def add_floats(self, value: Value, most: int | None = None) -> int:
        """The address of memory for a value, or for so many of its rows."""
        rows = self._rows[self._plan.rows_of(value)] + BEYOND
        self._floats[value] = self.take(4 * min(rows, most or rows) * self._plan.width(value))
        return self.address(value)

    def add_in_place(self, value: Value, source: Value) -> int:
        """The address of memory for a value: that of another whose last user makes it, row by row."""
        self._floats[value] = self._floats.pop(source)
        return self.address(value)

    def is_last_use(self, value: Value) -> bool:
        """Whether a value has one user that has not been made."""
        return self._uses[value] == 1

    def add_heads(self, value: Value, width: int, count: int) -> tuple[int, int]:
        """The address of memory for so many heads of a value, and how many floats each has."""
        room = (self._rows[self._plan.rows_of(value)] + BEYOND) * width
        self._floats[value] = self.take(4 * room * count)
        return self.address(value), room

    def add_levels(self, levels: Levels) -> LevelMemory:
        """Memory for levels."""
        rows = self._rows[self._plan.rows_of(levels.source)]
        size = rows * up_to(INNER, self._plan.width(levels.source))
        rest = None if levels.rest is None else self.take(size)
        row_factors = None if levels.least is None else self.take(4 * rows)
        self._levels[levels] = LevelMemory(self.take(size), rest, row_factors)
        return self._levels[levels]

    def gather(self, made: Value | Levels) -> list[GatheredMemory]:
        """Memory for what several batches' masks become, which no batch's values have before."""
        if not isinstance(made, Levels):
            gathered = self._for_gathered(self._floats[made], 4 * self._plan.width(made))
            self._floats[made] = gathered.to
            return [gathered]
        kept, columns = self._levels[made], up_to(INNER, self._plan.width(made.source))
        first = self._for_gathered(kept.first, columns, in_blocks=True)
        rest = None if kept.rest is None else self._for_gathered(kept.rest, columns, in_blocks=True)
        row_factors = None if kept.row_factors is None else self._for_gathered(kept.row_factors, 4)
        self._levels[made] = LevelMemory(first.to, rest.to if rest else None, row_factors.to if row_factors else None)
        return [each for each in (first, rest, row_factors) if each]

    def _for_gathered(self, source: Bytes, row_bytes: int, in_blocks: bool = False) -> GatheredMemory:
        rows = self._rows[Rows.GATHERED] + BEYOND
        return GatheredMemory(source, self._pages.take(rows * row_bytes), row_bytes, in_blocks)

    def floats(self, value: Value) -> npt.NDArray[np.float32]:
        """[rows, width] a value's floats."""
        return self._floats[value].view(np.float32).reshape(-1, self._plan.width(value))

    def levels(self, levels: Levels) -> LevelMemory:
        """That of levels which were added."""
        return self._levels[levels]

    def address(self, value: Value) -> int:
        """That of a value's floats."""
        return self._floats[value].ctypes.data

    def pointer(self, array: npt.NDArray[Any] | None) -> int | None:
        """The address of an array, which stays as long as the memory does."""
        if array is None:
            return None
        self._all.append(array)
        return array.ctypes.data

    def take(self, size: int) -> Bytes:
        """So many bytes, which may have been others' before."""
        return self._free[size].pop() if self._free[size] else self._pages.take(size)

    def give_back(self, memory: Bytes) -> None:
        """It serves others from now on."""
        self._free[memory.size].append(memory)

    def used(self, made: Value | Levels) -> None:
        """Says that one of its users has been made. Of what has no more, the memory serves others."""
        self._uses[made] -= 1
        if self._uses[made] == 0:
            self._forget(made)

    def _forget(self, made: Value | Levels) -> None:
        if not isinstance(made, Levels):
            if made in self._floats:  # and not another's by now
                self.give_back(self._floats.pop(made))
            return
        kept = self._levels.pop(made)
        for part in (kept.first, kept.rest, kept.row_factors):
            if part is not None:
                self.give_back(part)
