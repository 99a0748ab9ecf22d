"""Queries -> batches -> answers in the queries' order.

A batch holds queries of one length and one number of masks, so nothing is padded and no answer depends on what it was
batched with.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np

from maskedge.arrays import Int64Array
from maskedge.bundle.engine import Graph, Outputs, graph_inputs

__all__ = ["AnswerQueries", "Query", "answer_queries", "stream_answers"]

TOKENS_PER_BATCH = 1024
"""Large enough to keep the matrix units busy, small enough that a layer's activations stay in the caches."""

MASKS_PER_BATCH = 256
"""At each mask the graph makes a distribution over the vocabulary: 256 of them over 30k tokens are 31 MB."""

READ_AHEAD_TOKENS = 64 * TOKENS_PER_BATCH
"""For each thread: many batches, so that little of the time goes by while only the last one is running."""

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class Query:
    """One question to the model: what stands at these positions, once they are masked?"""

    input_ids: Int64Array
    """[length]"""
    mask_positions: tuple[int, ...]
    target_ids: tuple[int, ...]
    """One for each mask; any id where no target is known."""
    also_masked: tuple[int, ...] = ()
    """Positions that are masked too, and not asked about."""


AnswerQueries = Callable[[list[Query], list[str], int], list[Outputs]]
"""Answers queries, in their order: which outputs, and how many of the most probable tokens."""


def answer_queries(
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


def stream_answers(
    graph: Graph, queries: Iterable[Query], *, mask_id: int, outputs: list[str], top_k: int, threads: int
) -> Iterator[Outputs]:
    """As `answer_queries`, of queries made while it runs: no more of them are held than keep the threads busy."""
    for some in _read_ahead(queries, READ_AHEAD_TOKENS * threads):
        yield from answer_queries(graph, some, mask_id=mask_id, outputs=outputs, top_k=top_k, threads=threads)


def _read_ahead(queries: Iterable[Query], tokens: int) -> Iterator[list[Query]]:
    """The queries in groups of so many tokens, or one query more."""
    group: list[Query] = []
    held = 0
    for query in queries:
        group.append(query)
        held += len(query.input_ids)
        if held >= tokens:
            yield group
            group, held = [], 0
    if group:
        yield group


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
    for (length, masks), group in sorted(groups.items(), reverse=True):
        size = max(1, min(token_budget // length, MASKS_PER_BATCH // masks))
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _inputs(queries: list[Query], mask_id: int, top_k: int) -> dict[str, Int64Array]:
    input_ids = np.stack([query.input_ids for query in queries])
    mask_positions = np.array([query.mask_positions for query in queries], np.int64)
    np.put_along_axis(input_ids, mask_positions, mask_id, axis=1)
    for ids, query in zip(input_ids, queries, strict=True):
        ids[list(query.also_masked)] = mask_id
    target_ids = np.array([query.target_ids for query in queries], np.int64)[:, :, np.newaxis]
    return graph_inputs(input_ids, mask_positions, target_ids, top_k)
