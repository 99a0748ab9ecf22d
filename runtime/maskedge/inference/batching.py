"""Queries -> batches -> answers in the queries' order.

A batch holds queries of one number of masks, and of one length; or of lengths that the graph may pad to the longest and
give the same bits. So no answer depends on what it was batched with.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise, repeat
from operator import itemgetter
from typing import TypeVar

import numpy as np

from maskedge.arrays import Int64Array
from maskedge.bundle.engine import Graph, Outputs, graph_inputs, prepared
from maskedge.bundle.padding import MASKS_PER_BATCH, TOKENS_PER_BATCH, Padding
from maskedge.inference.workers import Workers

__all__ = ["AnswerEach", "AnswerQueries", "Finish", "Query", "answer_each", "answer_queries", "stream_answers"]

RANKED_PER_BATCH = 1 << 21
"""Tokens that are ranked and returned for a batch's masks, 12 bytes each: a call with targets ranks the vocabulary."""

READ_AHEAD_TOKENS = 64 * TOKENS_PER_BATCH
"""Tokens of queries that are read ahead for each thread: so many batches that waiting for the last costs little."""

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Query:
    """A text's tokens and the positions to mask and predict."""

    input_ids: Int64Array
    """[length]; what stands at the masked positions does not matter."""
    mask_positions: tuple[int, ...]
    """The positions that are masked and predicted."""
    target_ids: tuple[int, ...]
    """For each of them the id to rate; any id where no target is known."""
    also_masked: tuple[int, ...] = ()
    """Positions that are masked and not predicted."""


AnswerQueries = Callable[[Iterable[Query], list[str], int], list[Outputs]]
"""(queries, names of outputs, top_k) -> the outputs of each query, in order, without their batch axis."""


Finish = Callable[[int, Outputs], Made]
"""Makes of a query's number and its outputs what is kept of them. Called a batch after another, by who asked."""


AnswerEach = Callable[[Iterable[Query], list[str], int, Finish[Made]], list[Made]]
"""As `AnswerQueries`, with what is made of each query's outputs in their place."""


def answer_queries(
    graph: Graph, queries: Iterable[Query], *, mask_id: int, outputs: list[str], top_k: int, workers: Workers
) -> list[Outputs]:
    """The graph's outputs for each query, in order, without their batch axis.

    Args:
        graph: The graph.
        queries: Of any lengths. They may be made while the graph runs of those before.
        mask_id: The vocabulary id that masked positions get.
        outputs: The names of the outputs.
        top_k: How many of the most probable tokens each mask gets.
        workers: Run the batches.
    """
    return answer_each(graph, queries, _as_they_are, mask_id=mask_id, outputs=outputs, top_k=top_k, workers=workers)


def _as_they_are(_: int, outputs: Outputs) -> Outputs:
    return outputs


def answer_each(
    graph: Graph,
    queries: Iterable[Query],
    finish: Finish[Made],
    *,
    mask_id: int,
    outputs: list[str],
    top_k: int,
    workers: Workers,
) -> list[Made]:
    """What `finish` makes of each query's outputs, in order, while those of other batches are computed.

    Args:
        graph: The graph.
        queries: As in `answer_queries`.
        finish: Is given a query's index and its outputs, without their batch axis.
        mask_id: As in `answer_queries`, and so are the others.
        outputs: The names of the outputs.
        top_k: How many of the most probable tokens each mask gets.
        workers: Run the batches.
    """

    def begin_each() -> Iterator[tuple[list[int], Callable[[], Outputs]]]:
        batches = _batches_of(queries, workers.threads, _mask_budget(top_k), graph.padding)
        first = list(islice(batches, 2))
        idle = workers.idle if len(first) == 1 else 0
        for batch in chain(first, batches):
            inputs = _inputs([query for _, query in batch], mask_id, top_k, graph.padding)
            yield [number for number, _ in batch], prepared(graph, outputs, inputs, idle)

    def run(batch: tuple[list[int], Callable[[], Outputs]]) -> tuple[list[int], Outputs]:
        numbers, answer = batch
        return numbers, answer()

    def finish_each(answered: tuple[list[int], Outputs]) -> list[tuple[int, Made]]:
        numbers, result = answered
        rows = ({name: values[row] for name, values in result.items()} for row in range(len(numbers)))
        return [(number, finish(number, row)) for number, row in zip(numbers, rows, strict=True)]

    by_index = dict(chain.from_iterable(workers.map(run, begin_each(), finish_each)))
    return [by_index[index] for index in range(len(by_index))]


def stream_answers(
    graph: Graph, queries: Iterable[Query], *, mask_id: int, outputs: list[str], top_k: int, workers: Workers
) -> Iterator[Outputs]:
    """Answers as `answer_queries` does, while the queries are made: so many at a time as keep the threads busy."""
    for some in _read_ahead(queries, repeat(READ_AHEAD_TOKENS * workers.threads)):
        yield from answer_queries(graph, some, mask_id=mask_id, outputs=outputs, top_k=top_k, workers=workers)


def _read_ahead(queries: Iterable[Query], sizes: Iterable[int]) -> Iterator[list[Query]]:
    """The queries in groups of as many as have no more tokens than a size each, but at least one."""
    rest = iter(queries)
    query = next(rest, None)
    for size in sizes:
        group: list[Query] = []
        while query is not None and (not group or len(query.input_ids) <= size):
            group.append(query)
            size -= len(query.input_ids)
            query = next(rest, None)
        if not group:
            return
        yield group


def _batches_of(
    queries: Iterable[Query], threads: int, mask_budget: int, padding: Padding
) -> Iterator[list[tuple[int, Query]]]:
    """Batches of queries with their numbers. Where texts of any lengths share a batch, the first few are of the first
    queries, so that they run while the next are made."""
    sizes = chain([threads * TOKENS_PER_BATCH], repeat(threads * padding.tokens))
    first = 0
    for group in _read_ahead(queries, sizes) if padding.left_out else [list(queries)]:
        for batch in _batches(group, _token_budget(group, threads, padding.tokens), mask_budget, padding):
            yield [(first + index, group[index]) for index in batch]
        first += len(group)


def _token_budget(queries: Sequence[Query], threads: int, most: int) -> int:
    """Tokens to put in a batch: so many that each thread gets as many batches, none of more than `most`."""
    tokens = sum(len(query.input_ids) for query in queries)
    batches = max(1, -(-tokens // (threads * most)))  # of each thread
    return -(-tokens // (threads * batches))


def _mask_budget(top_k: int) -> int:
    """Most masks in a batch."""
    return min(MASKS_PER_BATCH, RANKED_PER_BATCH // max(1, top_k))


def _batches(queries: Sequence[Query], token_budget: int, mask_budget: int, padding: Padding) -> list[list[int]]:
    """Indices of the queries of each batch, the most tokens first so that the threads finish together."""
    lengths = [len(query.input_ids) for query in queries]
    groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        groups[length // padding.group, len(queries[index].mask_positions)].append(index)
    batches: list[tuple[int, list[int]]] = []  # tokens, indices
    for (_, masks), group in sorted(groups.items(), reverse=True):
        parts = _parts(group, lengths, token_budget, mask_budget // masks, padding)
        batches += ((lengths[part[0]] * len(part), part) for part in parts)
    return [indices for _, indices in sorted(batches, key=itemgetter(0), reverse=True)]


def _parts(
    group: list[int], lengths: list[int], token_budget: int, most_rows: int, padding: Padding
) -> Iterator[list[int]]:
    """A group's indices, of the longest queries first, in batches."""
    group.sort(key=lengths.__getitem__, reverse=True)
    if padding.left_out:
        yield from _even_parts(group, lengths, token_budget, most_rows)
        return
    start = 0
    while start < len(group):
        length = padding.length(lengths[group[start]])
        most = padding.full_rows(max(1, min(padding.tokens // length, most_rows)))
        part = group[start : start + min(most, padding.rows(-(-token_budget // length)))]
        padded = np.cumsum([length - lengths[index] for index in part])
        part = part[: max(1, int(np.searchsorted(padded, padding.most, side="right")))]
        yield part
        start += len(part)


def _even_parts(group: list[int], lengths: list[int], token_budget: int, most_rows: int) -> Iterator[list[int]]:
    """A group's indices in batches of about as many tokens each, whatever their lengths."""
    ends = np.cumsum([lengths[index] for index in group])
    tokens = int(ends[-1])
    parts = -(-tokens // token_budget)
    shares = tokens * np.arange(1, parts) / parts
    starts = [0, *np.searchsorted(ends, shares, side="right").tolist(), len(group)]
    for start, end in pairwise(starts):
        for first in range(start, end, most_rows):
            yield group[first : min(first + most_rows, end)]


def _inputs(queries: list[Query], mask_id: int, top_k: int, padding: Padding) -> dict[str, Int64Array]:
    """The graph's inputs for a batch: the queries stacked, with `mask_id` at the positions that they mask; then, where
    the graph wants more rows, the last query again."""
    queries = queries + queries[-1:] * (padding.rows(len(queries)) - len(queries))
    lengths = np.array([len(query.input_ids) for query in queries], np.int64)
    input_ids = np.zeros((len(queries), padding.length(int(lengths.max()))), np.int64)
    for ids, query in zip(input_ids, queries, strict=True):
        ids[: len(query.input_ids)] = query.input_ids
        ids[list(query.also_masked)] = mask_id
    mask_positions = np.array([query.mask_positions for query in queries], np.int64)
    np.put_along_axis(input_ids, mask_positions, mask_id, axis=1)
    target_ids = np.array([query.target_ids for query in queries], np.int64)[:, :, np.newaxis]
    inputs = graph_inputs(input_ids, mask_positions, target_ids, top_k)
    return inputs if lengths.min() == input_ids.shape[1] else inputs | {"lengths": lengths}
