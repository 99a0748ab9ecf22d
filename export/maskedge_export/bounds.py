"""Where the numbers of a recipe may lie."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from maskedge_export.errors import RecipeError

__all__ = ["Bounds", "check_bounds"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The lowest and the highest number allowed; no number at all, nan, never is."""

    lowest: float
    highest: float = math.inf
    above: bool = False
    """Whether the lowest itself is not allowed."""
    below: bool = False
    """Whether the highest itself is not allowed."""

    def hold(self, value: float) -> bool:
        """Whether a number is allowed."""
        high_enough = value > self.lowest if self.above else value >= self.lowest
        return high_enough and (value < self.highest if self.below else value <= self.highest)

    def __str__(self) -> str:
        if self.highest == math.inf:
            return f"{'a number above' if self.above else 'at least'} {self.lowest:g}"
        return f"{'above ' if self.above else ''}{self.lowest:g} to {'below ' if self.below else ''}{self.highest:g}"


def check_bounds(section: str, options: object, bounds: Mapping[str, Bounds]) -> None:
    """Raises RecipeError, naming the key, its value and what is allowed, for an option outside its bounds, or a list of
    which one is."""
    for key, allowed in bounds.items():
        value = getattr(options, key)
        for number in value if isinstance(value, tuple) else (value,):
            if not allowed.hold(number):
                raise RecipeError(f"{section}.{key} is {number}; give {allowed}")
