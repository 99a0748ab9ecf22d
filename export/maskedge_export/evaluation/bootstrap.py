"""How far a sample's figure may lie from that of all text: the percentile bootstrap (Efron & Tibshirani 1993)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maskedge.arrays import Float64Array, Int64Array

__all__ = ["Estimate", "estimate", "perplexity_ratio"]

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the interval that 95 % of resampled samples' figures fall into."""

    value: float
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """The estimate of a function, rising throughout, of the figure."""
        return Estimate(function(self.value), function(self.low), function(self.high))


def estimate(
    values: Float64Array,
    statistic: Callable[[Float64Array], np.floating] = np.mean,
    texts: Int64Array | None = None,
) -> Estimate:
    """A statistic of values [cells] with its interval, drawn with a fixed seed.

    What was measured in pairs stays in pairs where `values` are the pairs' differences. `texts` [cells] says which text
    each cell is of: whole texts are drawn then, since cells of one text are more alike than those of several.
    """
    generator = np.random.default_rng(0)
    _, owners = np.unique(np.arange(len(values)) if texts is None else texts, return_inverse=True)
    count = int(owners.max()) + 1
    drawn = (np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(RESAMPLES))
    draws = [statistic(np.repeat(values, times[owners])) for times in drawn]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(statistic(values)), float(low), float(high))


def perplexity_ratio(before: Float64Array, after: Float64Array, texts: Int64Array | None = None) -> Estimate:
    """The perplexity of losses `after` [cells] (nats) over that of `before`, paired cell by cell; `texts` as above."""
    return estimate(after - before, texts=texts).map(math.exp)
