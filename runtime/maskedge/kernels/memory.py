"""Memory for values and levels, which serves the next ones once they are not used any more."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskedge.kernels.packing import INNER, OUTER
from maskedge.kernels.pages import Bytes, Pages, up_to
from maskedge.kernels.plan import Plan
from maskedge.kernels.steps import Levels, Value

__all__ = ["BEYOND", "LevelMemory", "Memory"]

BEYOND = 8
"""Rows that attention reads beyond a text's last."""


@dataclass(frozen=True, slots=True)
class LevelMemory:
    """Where levels are kept."""

    first: Bytes
    rest: Bytes | None
    row_factors: Bytes | None


class Memory:
    """What a plan's values and levels take, for so many tokens and masks."""

    def __init__(self, plan: Plan, tokens: int, masks: int) -> None:
        self._plan = plan
        self._pages = Pages()
        self._rows = {False: up_to(OUTER, tokens), True: up_to(OUTER, masks)}
        self._uses = {made: len(users) for made, users in plan.users.items()}
        self._free: defaultdict[int, list[Bytes]] = defaultdict(list)
        self._floats: dict[Value, Bytes] = {}
        self._levels: dict[Levels, LevelMemory] = {}
        self._all: list[npt.NDArray[Any]] = []

    def add_floats(self, value: Value, most: int | None = None) -> int:
        """The address of memory for a value, or for so many of its rows."""
        rows = self._rows[self._plan.at_masks(value)] + BEYOND
        self._floats[value] = self.take(4 * min(rows, most or rows) * self._plan.width(value))
        return self.address(value)

    def add_in_place(self, value: Value, source: Value) -> int:
        """The address of memory for a value: that of another whose last user makes it, row by row."""
        self._floats[value] = self._floats.pop(source)
        return self.address(value)

    def is_last_use(self, value: Value) -> bool:
        """Whether a value has one user that has not been made."""
        return self._uses[value] == 1

    def add_head(self, value: Value, width: int) -> int:
        """The address of memory for a head of a value."""
        self._floats[value] = self.take(4 * (self._rows[self._plan.at_masks(value)] + BEYOND) * width)
        return self.address(value)

    def add_levels(self, levels: Levels) -> LevelMemory:
        """Memory for levels."""
        rows = self._rows[self._plan.at_masks(levels.source)]
        size = rows * up_to(INNER, self._plan.width(levels.source))
        rest = None if levels.rest is None else self.take(size)
        row_factors = None if levels.least is None else self.take(4 * rows)
        self._levels[levels] = LevelMemory(self.take(size), rest, row_factors)
        return self._levels[levels]

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
