"""How perplexities are spread: bins of equal width on a logarithmic axis."""

import math
from dataclasses import dataclass

import numpy as np

from maskedge.arrays import Float64Array, Int64Array

__all__ = ["BINS_PER_DECADE", "LAST_BIN", "Bin", "bins_of", "filled"]

BINS_PER_DECADE = 8
"""Between 1 and 10, between 10 and 100, and so on."""
LAST_BIN = 12 * BINS_PER_DECADE
"""All that are greater share it, infinite ones among them: a chart that reached them would show nothing else."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows with a perplexity in [low, high)."""

    low: float
    high: float
    """Infinite in the last bin there can be, which holds infinite perplexities too."""
    rows: int


def bins_of(perplexities: Float64Array) -> Int64Array:
    """The number of the bin that each perplexity [n] falls into; 0 begins at 1."""
    edges = np.array([_edge(number) for number in range(LAST_BIN + 1)])
    return np.clip(np.searchsorted(edges, perplexities, side="right") - 1, 0, LAST_BIN).astype(np.int64)


def filled(rows: dict[int, int]) -> tuple[Bin, ...]:
    """The bins from the first to the last that has rows, the empty ones between them included."""
    if not rows:
        return ()
    numbers = range(min(rows), max(rows) + 1)
    return tuple(Bin(_edge(number), _edge(number + 1), rows.get(number, 0)) for number in numbers)


def _edge(number: int) -> float:
    return 10 ** (number / BINS_PER_DECADE) if number <= LAST_BIN else math.inf
