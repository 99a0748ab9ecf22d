"""How far a sample's metric may lie from that of all text: the percentile bootstrap (Efron & Tibshirani 1993)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maskedge.arrays import Float64Array, Int64Array
from maskedge.inference.metrics import perplexity

__all__ = ["Estimate", "estimate", "perplexity_ratio"]

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric with the interval that 95 % of resampled samples' metrics fall into."""

    value: float
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """The estimate of a function, rising throughout, of the metric."""
        return Estimate(function(self.value), function(self.low), function(self.high))


def estimate(
    values: Float64Array,
    statistic: Callable[[Float64Array], np.floating] = np.mean,
    texts: Int64Array | None = None,
) -> Estimate:
    """A statistic of values [n] with its interval, drawn with a fixed seed.

    What was measured in pairs stays in pairs where `values` are the pairs' differences. `texts` [n] says which text
    each value is of: whole texts are drawn then, since values of one text are more alike than those of several.
    """
    generator = np.random.default_rng(0)
    _, owners = np.unique(np.arange(len(values)) if texts is None else texts, return_inverse=True)
    count = int(owners.max()) + 1
    drawn = (np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(RESAMPLES))
    draws = [statistic(np.repeat(values, times[owners])) for times in drawn]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(statistic(values)), float(low), float(high))


def perplexity_ratio(before: Float64Array, after: Float64Array, texts: Int64Array | None = None) -> Estimate:
    """The perplexity of losses `after` [n] (nats) over that of `before`, paired one by one; `texts` as above."""
    return estimate(after - before, texts=texts).map(lambda excess: perplexity(-excess, 1))
