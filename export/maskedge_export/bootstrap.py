"""How far a sample's figure may lie from that of all text: the percentile bootstrap (Efron & Tibshirani 1993)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Estimate", "estimate", "perplexity_ratio"]

RESAMPLES = 2000
LEVEL = 0.95

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the interval that 95 % of resampled samples' figures fall into."""

    value: float
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """The estimate of a function, rising throughout, of the figure."""
        return Estimate(function(self.value), function(self.low), function(self.high))


def estimate(values: FloatArray, statistic: Callable[[FloatArray], np.floating] = np.mean) -> Estimate:
    """A statistic of values [cells] with its interval, drawn with a fixed seed.

    What was measured in pairs stays in pairs where `values` are the pairs' differences.
    """
    generator = np.random.default_rng(0)
    draws = [statistic(values[generator.integers(len(values), size=len(values))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(statistic(values)), float(low), float(high))


def perplexity_ratio(before: FloatArray, after: FloatArray) -> Estimate:
    """The perplexity of losses `after` [cells] (nats) over that of `before`, paired cell by cell."""
    return estimate(after - before).map(math.exp)
