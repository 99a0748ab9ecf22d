"""Intervals against a bootstrap that resamples one row after another, and against a population that is known."""

import math

import numpy as np
import pytest

from maskedge.arrays import Float64Array
from maskedge_batch.reports import bootstrap
from maskedge_batch.reports.bootstrap import Estimate, Resampling, buckets_of, ratio, row_hash


def estimate(losses: Float64Array, counts: Float64Array, resamples: int = bootstrap.RESAMPLES) -> Estimate:
    """Losses [rows] over counts [rows], as a report has it."""
    buckets = buckets_of(np.arange(len(losses)), len(losses))
    resampling = Resampling(min(len(losses), bootstrap.BUCKETS), resamples)
    sums = np.zeros((resampling.buckets, 2))
    np.add.at(sums, buckets, np.stack([losses, counts], axis=1))
    over, under = resampling.totals(sums)
    found = ratio(over, under, len(losses))
    assert found is not None
    return found


def drawn(rows: int, seed: int) -> tuple[Float64Array, Float64Array]:
    """Losses and counts of rows of a population whose ratio is 3."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 9, rows).astype(np.float64)
    return counts * generator.exponential(3.0, rows), counts


def straightforward(losses: Float64Array, counts: Float64Array) -> tuple[float, float]:
    generator = np.random.default_rng(1234)
    values = []
    for _ in range(3000):
        rows = generator.integers(len(losses), size=len(losses))
        values.append(sum(losses[rows]) / sum(counts[rows]))
    values.sort()
    return values[75], values[2925]


@pytest.mark.parametrize("rows", [40, 400])
def test_the_interval_is_that_of_resampling_the_rows(rows: int) -> None:
    losses, counts = drawn(rows, seed=5)
    found = estimate(losses, counts)
    low, high = straightforward(losses, counts)
    assert found.value == pytest.approx(losses.sum() / counts.sum(), rel=1e-12)
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))


def test_buckets_of_rows_give_the_interval_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, counts = drawn(4000, seed=6)
    by_row = straightforward(losses[:2000], counts[:2000])
    monkeypatch.setattr(bootstrap, "BUCKETS", 500)
    found = estimate(losses[:2000], counts[:2000])
    assert found.low == pytest.approx(by_row[0], abs=0.15 * (by_row[1] - by_row[0]))
    assert found.high == pytest.approx(by_row[1], abs=0.15 * (by_row[1] - by_row[0]))


@pytest.mark.parametrize("buckets", [2000, 60])
def test_the_interval_holds_the_populations_figure_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch, buckets: int
) -> None:
    monkeypatch.setattr(bootstrap, "BUCKETS", buckets)
    held = 0
    for seed in range(200):
        found = estimate(*drawn(120, seed), resamples=400)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 3.0 <= found.high
    assert 0.89 <= held / 200 <= 0.99  # skewed losses take the bootstrap a little below 0.95


def test_buckets_are_filled_evenly_and_are_the_same_everywhere() -> None:
    rows = np.arange(200_000)
    sizes = np.bincount(buckets_of(rows, len(rows)), minlength=bootstrap.BUCKETS)
    assert len(sizes) == bootstrap.BUCKETS
    assert abs(sizes - 100).max() < 60  # six standard deviations
    assert row_hash(rows[:1]).tolist() == [0xE220A8397B1DCDAF]  # SplitMix64's first number, as its authors print it
    assert buckets_of(rows[:3], 3).tolist() == [0, 1, 2]


def test_a_monotone_function_keeps_the_ends_in_order() -> None:
    assert Estimate(2.0, 1.0, 3.0).map(math.exp) == Estimate(math.exp(2), math.exp(1), math.exp(3))
    assert Estimate(2.0, 1.0, 3.0).map(lambda value: -value) == Estimate(-2.0, -3.0, -1.0)
    assert Estimate(2.0).map(math.exp) == Estimate(math.exp(2), None, None)
