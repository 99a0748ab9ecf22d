"""How far a figure of these rows may lie from that of all such rows, by the bootstrap (Efron & Tibshirani 1993).

Rows are put into at most `BUCKETS` buckets, and whole buckets are drawn. Every figure of a report is a function of sums
over rows, so its resamples are products of one matrix, of how often each bucket was drawn, with the buckets' sums: the
cost does not grow with the rows. Few rows have a bucket each, which makes it the ordinary bootstrap.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from maskedge.arrays import Float64Array, Int64Array

__all__ = [
    "BUCKETS",
    "FEWEST_ROWS",
    "LEVEL",
    "RESAMPLES",
    "Estimate",
    "Resampling",
    "Total",
    "buckets_of",
    "estimate",
    "ratio",
    "row_hash",
]

BUCKETS = 2000
RESAMPLES = 2000
LEVEL = 0.95
"""Share of the resampled figures that lie within an interval."""
FEWEST_ROWS = 10
"""Fewer have no interval: their resamples hardly differ, which would look like certainty."""
SEED = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval, which is None where too few rows stand behind it."""

    value: float
    low: float | None = None
    high: float | None = None

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """The estimate of a function of the figure, which must be monotone: then the interval's ends stay ends."""
        ends = (None, None) if self.low is None or self.high is None else (function(self.low), function(self.high))
        low, high = ends if ends[0] is None or ends[1] is None or ends[0] <= ends[1] else ends[::-1]
        return Estimate(function(self.value), low, high)


@dataclass(frozen=True, slots=True)
class Total:
    """A quantity summed over all rows, and over those of each resample."""

    value: float
    draws: Float64Array
    """[resamples]"""


class Resampling:
    """Draws of buckets, the same for every figure of a report, so that figures can be compared draw by draw."""

    def __init__(self, buckets: int, resamples: int = RESAMPLES, seed: int = SEED) -> None:
        self.buckets = buckets
        self._resamples, self._seed = resamples, seed

    @cached_property
    def _times(self) -> Float64Array:
        """[resamples, buckets], how often each bucket was drawn."""
        if not self.buckets:
            return np.zeros((self._resamples, 0))
        shares = np.full(self.buckets, 1 / self.buckets)
        drawn = np.random.default_rng(self._seed).multinomial(self.buckets, shares, size=self._resamples)
        return drawn.astype(np.float64)

    def totals(self, finite: Float64Array, infinite: Float64Array | None = None) -> list[Total]:
        """The totals of n quantities.

        Args:
            finite: [buckets, n], sums over the values that are finite.
            infinite: [buckets, n], how many values are infinite: with the sign plus.
        """
        draws = self._times @ finite
        values = [math.fsum(column) for column in finite.T]
        if infinite is not None and infinite.any():
            draws[self._times @ infinite > 0] = math.inf
            values = [math.inf if some.any() else value for value, some in zip(values, infinite.T, strict=True)]
        return [Total(value, drawn) for value, drawn in zip(values, draws.T, strict=True)]


def ratio(over: Total, under: Total, rows: int) -> Estimate | None:
    """A total over another, such as losses over tokens; None where that other is 0. `rows` is as in `estimate`."""
    if not under.value:
        return None
    with np.errstate(invalid="ignore"):  # 0 / 0: a small group may be missing from a resample
        return estimate(over.value / under.value, over.draws / under.draws, rows)


def estimate(value: float, draws: Float64Array, rows: int) -> Estimate:
    """A figure with its interval, from those of resamples [resamples]; NaN there is no figure.

    `rows` says how many rows are behind it: where they are too few, there is no interval.
    """
    known = draws[~np.isnan(draws)]
    return Estimate(value, *_interval(known)) if rows >= FEWEST_ROWS and len(known) else Estimate(value)


def _interval(draws: Float64Array) -> tuple[float, float]:
    """The ends between which `LEVEL` of the resampled figures [resamples] lie."""
    return _quantile(draws, (1 - LEVEL) / 2), _quantile(draws, (1 + LEVEL) / 2)


def _quantile(values: Float64Array, share: float) -> float:
    """Between two values, unless one of them is infinite."""
    with np.errstate(invalid="ignore"):
        between = float(np.quantile(values, share))
    return float(np.quantile(values, share, method="inverted_cdf")) if math.isnan(between) else between


def row_hash(rows: Int64Array) -> "np.typing.NDArray[np.uint64]":
    """A number for each row number [n] that looks random and is the same everywhere.

    By SplitMix64 (Steele et al. 2014).
    """
    mixed = rows.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def buckets_of(rows: Int64Array, total: int) -> Int64Array:
    """The bucket of each row number [n], of `total` rows."""
    if total <= BUCKETS:
        return rows
    return (row_hash(rows) % np.uint64(BUCKETS)).astype(np.int64)
