"""How far a metric of a sample may lie from that of all text: the percentile bootstrap (Efron & Tibshirani 1993)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maskedge.arrays import Float32Array, Float64Array, Int64Array
from maskedge.inference.metrics import perplexity

__all__ = ["Estimate", "difference", "estimate", "perplexity_ratio", "quantile"]

RESAMPLES = 2000
LEVEL = 0.95
"""Share of the resampled metrics that lie within the interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric with its 95 % interval: 95 % of the metrics of resampled samples lie within."""

    value: float
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """The estimate of a function of the metric, which must rise throughout: then the interval's ends stay ends."""
        return Estimate(function(self.value), function(self.low), function(self.high))


def estimate(
    values: Float64Array,
    statistic: Callable[[Float64Array], np.floating | float] = np.mean,
    texts: Int64Array | None = None,
) -> Estimate:
    """A statistic of values with its interval; the resamples are drawn with a fixed seed.

    Args:
        values: [n]. What was measured in pairs stays in pairs where they are the pairs' differences.
        statistic: Values [m] -> a number.
        texts: [n], the text that each value is of. Whole texts are drawn then, since values of one text are more alike
            than those of several.
    """
    generator = np.random.default_rng(0)
    _, owners = np.unique(np.arange(len(values)) if texts is None else texts, return_inverse=True)
    count = int(owners.max()) + 1
    # A resample draws as many texts as there are, with replacement, and takes a text's values as often as it was drawn.
    drawn = (np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(RESAMPLES))
    with np.errstate(invalid="ignore"):  # of infinities of both signs there is no mean
        draws = np.array([statistic(np.repeat(values, times[owners])) for times in drawn])
        value = float(statistic(values))
    low, high = (quantile(draws, (1 + side * LEVEL) / 2) for side in (-1, 1))
    return Estimate(value, low, high)


def quantile(values: Float64Array, share: float) -> float:
    """The number that such a share of the values [n] lies below, between two of them unless those are infinite."""
    with np.errstate(invalid="ignore"):
        between = float(np.quantile(values, share))
    if math.isnan(between) and not np.isnan(values).any():
        return float(np.quantile(values, share, method="inverted_cdf"))
    return between


def difference(first: Float32Array | Float64Array, second: Float64Array) -> Float64Array:
    """first - second; nothing where both are the same infinity, as two models' log-probabilities of a token that both
    rule out."""
    result = np.zeros(np.broadcast_shapes(first.shape, second.shape))
    return np.subtract(first, second, out=result, where=np.asarray(first != second))


def perplexity_ratio(before: Float64Array, after: Float64Array, texts: Int64Array | None = None) -> Estimate:
    """The perplexity after over the perplexity before, paired, with its interval.

    Args:
        before: Losses [n], nats.
        after: Losses of the same masked tokens [n], nats.
        texts: As in `estimate`.
    """
    return estimate(difference(after, before), texts=texts).map(lambda excess: perplexity(-excess, 1))
