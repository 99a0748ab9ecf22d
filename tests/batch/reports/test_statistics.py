"""Statistics: parts merge to exactly what the whole gives."""

from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskedge import Predictor
from maskedge_batch.reports.statistics import Statistics
from maskedge_batch.scoring.batches import score_batches
from maskedge_batch.scoring.columns import Columns

COLUMNS = Columns("text", "target")


@pytest.fixture(scope="module")
def scored(predictor: Predictor, sentences: list[dict[str, Any]]) -> pa.RecordBatch:
    batch = pa.RecordBatch.from_pylist(sentences)
    (one,) = pa.Table.from_batches(score_batches(iter([batch]), predictor, COLUMNS)).combine_chunks().to_batches()
    return one


def gather(scored: pa.RecordBatch, first: int, stop: int) -> Statistics:
    statistics = Statistics(COLUMNS, first_row=first)
    statistics.add(scored.slice(first, stop - first))
    return statistics


@settings(max_examples=30, derandomize=True, deadline=None)
@given(cuts=st.lists(st.integers(0, 240), max_size=6), order=st.randoms(use_true_random=False))
def test_merged_parts_are_the_whole_in_any_order(scored: pa.RecordBatch, cuts: list[int], order: Any) -> None:
    edges = [0, *sorted(cuts), 240]
    parts = [gather(scored, first, stop) for first, stop in pairwise(edges)]
    order.shuffle(parts)
    merged = Statistics(COLUMNS)
    for part in parts:
        merged.merge(part)
    assert merged == gather(scored, 0, 240)


def test_batches_added_one_after_another_are_the_whole(scored: pa.RecordBatch) -> None:
    statistics = Statistics(COLUMNS)
    for first in range(0, 240, 50):
        statistics.add(scored.slice(first, 50))
    assert statistics == gather(scored, 0, 240)
