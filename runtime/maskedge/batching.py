"""Queries -> batches -> answers in the queries' order.

A batch holds queries of one length and one number of masks, so nothing is padded and no answer depends on what it was
batched with.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from maskedge.engine import Graph, Outputs

__all__ = ["Query", "answer"]

TOKENS_PER_BATCH = 1024
"""Large enough to keep the matrix units busy, small enough that a layer's activations stay in the caches."""

IntArray = npt.NDArray[np.int64]
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class Query:
    """One question to the model: what stands at these positions, once they are masked?"""

    input_ids: IntArray
    """[length]"""
    mask_positions: tuple[int, ...]
    target_ids: tuple[int, ...]
    """One for each mask; any id where no target is known."""


def answer(
    graph: Graph, queries: Sequence[Query], *, mask_id: int, outputs: list[str], top_k: int, threads: int
) -> list[Outputs]:
    """For each query the graph's outputs, without their batch axis."""
    batches = list(_batches(queries, _token_budget(queries, threads)))

    def run(batch: list[int]) -> list[Outputs]:
        result = graph.run(outputs, _inputs([queries[index] for index in batch], mask_id, top_k))
        return [{name: values[row] for name, values in result.items()} for row in range(len(batch))]

    rows = _parallel_map(run, batches, threads)
    by_index = dict(zip(chain.from_iterable(batches), chain.from_iterable(rows), strict=True))
    return [by_index[index] for index in range(len(queries))]


def _parallel_map(function: Callable[[In], Out], items: Sequence[In], threads: int) -> list[Out]:
    """The function of each item; a single item runs in the calling thread, which answers sooner."""
    if len(items) < 2 or threads < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def _token_budget(queries: Sequence[Query], threads: int) -> int:
    """Tokens a batch: no more than what gives every thread something to do."""
    tokens = sum(len(query.input_ids) for query in queries)
    return min(TOKENS_PER_BATCH, -(-tokens // threads))


def _batches(queries: Sequence[Query], token_budget: int) -> Iterator[list[int]]:
    """Indices of the queries of each batch, the longest texts first so that the threads finish together."""
    groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for index, query in enumerate(queries):
        groups[len(query.input_ids), len(query.mask_positions)].append(index)
    for (length, _), group in sorted(groups.items(), reverse=True):
        size = max(1, token_budget // length)
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _inputs(queries: list[Query], mask_id: int, top_k: int) -> dict[str, IntArray]:
    input_ids = np.stack([query.input_ids for query in queries])
    mask_positions = np.array([query.mask_positions for query in queries], np.int64)
    np.put_along_axis(input_ids, mask_positions, mask_id, axis=1)
    return {
        "input_ids": input_ids,
        "mask_positions": mask_positions,
        "target_ids": np.array([query.target_ids for query in queries], np.int64)[:, :, np.newaxis],
        "top_k": np.array([top_k], np.int64),
    }
