"""Queries are grouped into batches of one length and one number of masks; nothing is padded, nothing lost."""

import random
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock, get_ident

import numpy as np
import numpy.typing as npt
import pytest

from maskedge.bundle.padding import FREE_PADDING, MASKS_PER_BATCH, TOKENS_PER_BATCH, UNPADDED, Padding
from maskedge.inference.batching import (
    RANKED_PER_BATCH,
    READ_AHEAD_TOKENS,
    Query,
    answer_each,
    answer_queries,
    stream_answers,
)
from maskedge.inference.workers import Workers

MASK_ID = 99

Arrays = dict[str, npt.NDArray[np.int64]]


class RecordingGraph:
    """Keeps its inputs, and answers each row with its first id, which the tests make the query's number."""

    def __init__(self, padding: Padding = UNPADDED) -> None:
        self.padding = padding
        self.calls: list[Arrays] = []
        self.lock = Lock()

    def run(self, outputs: list[str], inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        with self.lock:
            self.calls.append(inputs)
        return {name: inputs["input_ids"][:, :1].copy() for name in outputs}


def draw_queries(seed: int, count: int) -> list[Query]:
    chance = random.Random(seed)
    return [_draw_query(chance, 1000 + number) for number in range(count)]


def _draw_query(chance: random.Random, number: int) -> Query:
    length = chance.choice([5, 5, 8, 13, 40, 300])
    masks = tuple(sorted(chance.sample(range(1, length), chance.choice([1, 1, 2, 3]))))
    ids = np.array([number, *range(1, length)], np.int64)
    return Query(ids, masks, tuple(chance.randrange(50) for _ in masks))


def ask(queries: list[Query], threads: int = 2, padding: Padding = UNPADDED) -> tuple[list[int], list[Arrays]]:
    graph = RecordingGraph(padding)
    answers = answer_queries(graph, queries, mask_id=MASK_ID, outputs=["number"], top_k=3, workers=Workers(threads))
    return [int(row["number"].item()) for row in answers], graph.calls


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_each_query_is_answered_in_its_place(count: int, threads: int) -> None:
    numbers, calls = ask(draw_queries(0, count), threads)
    assert numbers == [1000 + number for number in range(count)]
    assert sorted(id_ for call in calls for id_ in call["input_ids"][:, 0].tolist()) == sorted(numbers)


@pytest.mark.parametrize("seed", range(5))
def test_a_row_is_its_query_masked_and_nothing_else(seed: int) -> None:
    """Rows are as long as their queries and masked where they say: no batch mixes lengths or mask counts."""
    queries = draw_queries(seed, 200)
    _, calls = ask(queries)
    for call in calls:
        assert call["top_k"].tolist() == [3]
        for ids, masks, targets in zip(call["input_ids"], call["mask_positions"], call["target_ids"], strict=True):
            query = queries[ids[0] - 1000]
            expected = [MASK_ID if at in query.mask_positions else at for at in range(1, len(query.input_ids))]
            assert ids[1:].tolist() == expected
            assert tuple(masks.tolist()) == query.mask_positions
            assert targets.tolist() == [[target] for target in query.target_ids]


@pytest.mark.parametrize("seed", range(5))
def test_a_batch_keeps_to_the_token_budget(seed: int) -> None:
    _, calls = ask(draw_queries(seed, 400))
    assert max(call["input_ids"].size for call in calls) > TOKENS_PER_BATCH / 2
    assert all(call["input_ids"].size <= TOKENS_PER_BATCH for call in calls)


def test_a_batch_keeps_to_the_mask_budget() -> None:
    """Each mask's distribution over the vocabulary is held at once."""
    queries = [Query(np.arange(1000 + number, 1020 + number), tuple(range(2, 18)), (0,) * 16) for number in range(50)]
    numbers, calls = ask(queries)
    assert numbers == [1000 + number for number in range(50)]
    assert max(call["mask_positions"].size for call in calls) == MASKS_PER_BATCH


def test_positions_are_masked_without_being_asked_about() -> None:
    queries = [Query(np.array([1000, 11, 12, 13, 14]), (3,), (13,), also_masked=(1, 4)), *draw_queries(4, 20)[1:]]
    _, calls = ask(queries)
    (row,) = [ids for call in calls for ids in call["input_ids"].tolist() if ids[0] == 1000]
    assert row == [1000, MASK_ID, 12, MASK_ID, MASK_ID]
    (masks,) = [call["mask_positions"] for call in calls if call["input_ids"][0, 0] == 1000]
    assert masks[0].tolist() == [3]


def test_a_query_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    queries = [Query(np.arange(1000 + i, 1000 + i + 2 * TOKENS_PER_BATCH), (1,), (0,)) for i in range(3)]
    numbers, calls = ask(queries)
    assert numbers == [1000, 1001, 1002]
    assert [len(call["input_ids"]) for call in calls] == [1, 1, 1]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_little_work_is_shared_by_all_threads(threads: int) -> None:
    queries = [Query(np.array([1000 + number, 1, 2]), (1,), (0,)) for number in range(8)]
    _, calls = ask(queries, threads)
    assert [len(call["input_ids"]) for call in calls] == [8 // threads] * threads


def test_the_largest_batches_go_first() -> None:
    _, calls = ask(draw_queries(1, 200), threads=1)
    sizes = [call["input_ids"].size for call in calls]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("lengths", [(25,), (57,), (64, 64), (20, 31, 44, 57), tuple(range(10, 70, 5))])
@pytest.mark.parametrize("threads", [2, 3, 4])
def test_threads_that_score_sentences_finish_together(lengths: tuple[int, ...], threads: int) -> None:
    """Each thread takes the next batch when it is done with one. A sentence has a copy for each of its tokens."""
    queries = [Query(np.arange(1000, 1000 + length), (at,), (0,)) for length in lengths for at in range(1, length - 1)]
    graph, busy = RecordingGraph(), [0] * threads
    with ThreadPoolExecutor(1) as in_turn:
        workers = Workers(threads, in_turn)
        answer_queries(graph, queries, mask_id=MASK_ID, outputs=["number"], top_k=0, workers=workers)
    for call in graph.calls:
        busy[busy.index(min(busy))] += call["input_ids"].size
    assert max(busy) <= 1.12 * sum(busy) / threads


def test_queries_are_not_written_to() -> None:
    queries = draw_queries(2, 50)
    before = [query.input_ids.copy() for query in queries]
    ask(queries)
    assert all(np.array_equal(query.input_ids, ids) for query, ids in zip(queries, before, strict=True))


@pytest.mark.parametrize("threads", [1, 3])
def test_queries_are_made_while_earlier_ones_are_answered(threads: int) -> None:
    queries, made = draw_queries(5, 8000), 0

    def make() -> Iterator[Query]:
        nonlocal made
        for made, query in enumerate(queries, start=1):  # noqa: B007
            yield query

    graph, most = RecordingGraph(), 0
    answers = stream_answers(graph, make(), mask_id=MASK_ID, outputs=["number"], top_k=3, workers=Workers(threads))
    for place, row in enumerate(answers):
        assert row["number"].item() == 1000 + place
        most = max(most, sum(len(query.input_ids) for query in queries[place:made]) if place % 100 == 0 else 0)
    assert place == len(queries) - 1
    assert READ_AHEAD_TOKENS * threads <= most <= READ_AHEAD_TOKENS * threads + 300
    assert most < sum(len(query.input_ids) for query in queries) / 2


def test_no_queries_no_answers() -> None:
    assert list(stream_answers(RecordingGraph(), iter(()), mask_id=0, outputs=[], top_k=0, workers=Workers(2))) == []


def test_an_error_in_a_batch_reaches_the_caller() -> None:
    class FailingGraph:
        padding = UNPADDED

        def run(self, outputs: list[str], inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
            raise MemoryError("too much")

    with pytest.raises(MemoryError, match="too much"):
        answer_queries(
            FailingGraph(), draw_queries(3, 50), mask_id=MASK_ID, outputs=["number"], top_k=0, workers=Workers(2)
        )


# Graphs that may be padded

PADDED = Padding(group=16, step=2, row_bits=4, max_length=64)


def draw_lengths(seed: int, count: int) -> list[Query]:
    """Queries of one or two masks and of any length up to the longest."""
    chance = random.Random(seed)
    lengths = [min(64, 3 + int(chance.expovariate(1 / 25))) for _ in range(count)]
    return [
        Query(np.array([1000 + number, *range(1, length)]), tuple(range(1, chance.choice([2, 2, 3]))), (0,) * 2)
        for number, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 9, 600])
def test_queries_that_share_a_padded_batch_are_answered_in_their_places(count: int, threads: int) -> None:
    numbers, _ = ask(draw_lengths(0, count), threads, PADDED)
    assert numbers == [1000 + number for number in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_a_padded_row_is_its_query_and_lengths_say_how_much_of_it(seed: int) -> None:
    queries = draw_lengths(seed, 300)
    _, calls = ask(queries, padding=PADDED)
    for call in calls:
        longest = call["input_ids"].shape[1]
        lengths = call.get("lengths", np.full(len(call["input_ids"]), longest))
        assert {length // 16 for length in lengths.tolist()} == {longest // 16}
        for ids, own, masks in zip(call["input_ids"], lengths, call["mask_positions"], strict=True):
            query = queries[ids[0] - 1000]
            assert own == len(query.input_ids)
            assert tuple(masks.tolist()) == query.mask_positions
            expected = [MASK_ID if at in query.mask_positions else at for at in range(1, own)]
            assert ids[1:].tolist() == expected + [0] * (longest - own)


@pytest.mark.parametrize("count", [60, 600, 6000])
def test_padding_makes_fewer_batches_of_fewer_shapes_for_few_tokens(count: int) -> None:
    queries = draw_lengths(7, count)
    (_, plain), (_, padded) = (ask(queries, padding=padding) for padding in (UNPADDED, PADDED))
    shapes, fewer = ({call["input_ids"].shape for call in calls} for calls in (plain, padded))
    tokens, more = (sum(call["input_ids"].size for call in calls) for calls in (plain, padded))
    assert len(fewer) < len(shapes) / 2
    assert len(padded) < len(plain)
    assert tokens < more < 1.1 * tokens + 10 * PADDED.most  # of the last batch of each of ten groups
    assert max(call["input_ids"].size for call in padded) <= TOKENS_PER_BATCH


def test_a_batch_is_not_padded_more_than_another_batch_would_cost() -> None:
    long, short = (np.arange(1000, 1000 + length) for length in (31, 17))
    queries = [Query(ids, (1,), (0,)) for ids in [long, *[short] * 90]]
    _, calls = ask(queries, threads=1, padding=PADDED)
    mixed = next(call for call in calls if 31 in call.get("lengths", ()))
    assert (mixed["lengths"] == 17).sum() == PADDED.most // (31 - 17)


# What is made of answers while others come


@pytest.mark.parametrize("threads", [1, 2])
def test_something_is_made_of_each_answer_in_its_place(threads: int) -> None:
    def finish(number: int, outputs: dict[str, npt.NDArray[np.generic]]) -> tuple[int, int]:
        return number, int(outputs["number"].item())

    made = answer_each(
        RecordingGraph(),
        draw_queries(1, 300),
        finish,
        mask_id=MASK_ID,
        outputs=["number"],
        top_k=3,
        workers=Workers(threads),
    )
    assert made == [(number, 1000 + number) for number in range(300)]


@pytest.mark.parametrize(("threads", "few"), [(1, 2), (2, 5)])
def test_no_more_outputs_are_held_than_are_being_used(threads: int, few: int) -> None:
    """A call with targets ranks the whole vocabulary at each mask: a long list's rankings would fill the memory."""
    graph, alive, most = RecordingGraph(), [], 0

    def run(outputs: list[str], inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        result = RecordingGraph.run(graph, outputs, inputs)
        alive.append(weakref.ref(result["number"]))
        return result

    def finish(number: int, outputs: dict[str, npt.NDArray[np.generic]]) -> int:
        nonlocal most
        most = max(most, sum(array() is not None for array in alive))
        return number

    graph.run = run  # type: ignore[method-assign]
    workers = Workers(threads)
    answer_each(graph, draw_queries(2, 500), finish, mask_id=MASK_ID, outputs=["number"], top_k=3, workers=workers)
    assert len(alive) > 20
    assert most <= few


def test_the_caller_finishes_answers_while_others_are_computed() -> None:
    """The threads' Python would wait for each other's, and the CPU with it."""

    class SlowGraph(RecordingGraph):
        def run(self, outputs: list[str], inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
            time.sleep(0.02)
            return super().run(outputs, inputs)

    def finish(number: int, outputs: dict[str, npt.NDArray[np.generic]]) -> tuple[int, int]:
        return get_ident(), len(graph.calls)

    graph, queries = SlowGraph(), draw_queries(2, 500)
    made = answer_each(graph, queries, finish, mask_id=MASK_ID, outputs=["number"], top_k=3, workers=Workers(2))
    assert {thread for thread, _ in made} == {get_ident()}
    assert min(computed for _, computed in made) < len(graph.calls) / 2


@pytest.mark.parametrize("top_k", [5, 30_000, 250_000, 10 * RANKED_PER_BATCH])
def test_a_batch_ranks_no_more_than_fits(top_k: int) -> None:
    graph, queries = RecordingGraph(), draw_queries(3, 500)
    answer_queries(graph, queries, mask_id=MASK_ID, outputs=["number"], top_k=top_k, workers=Workers(1))
    for call in graph.calls:
        rows, masks = call["mask_positions"].shape
        assert rows == 1 or rows * masks * top_k <= RANKED_PER_BATCH
    assert sum(len(call["input_ids"]) for call in graph.calls) == 500


# Where padding is left out


@pytest.mark.parametrize("count", [1, 7, 60, 600])
def test_texts_of_any_lengths_share_batches_of_equally_many_tokens(count: int) -> None:
    queries = [replace(query, mask_positions=(1,)) for query in draw_lengths(3, count)]
    numbers, calls = ask(queries, threads=2, padding=FREE_PADDING)
    assert numbers == [1000 + number for number in range(count)]
    own = [int(call.get("lengths", np.full(*call["input_ids"].shape)).sum()) for call in calls]
    tokens, longest = sum(len(query.input_ids) for query in queries), max(len(query.input_ids) for query in queries)
    assert sum(own) == tokens
    assert max(own) <= TOKENS_PER_BATCH + longest
    assert len(calls) <= 2 * -(-tokens // (2 * (TOKENS_PER_BATCH - longest)))
    own.sort()
    assert count == 1 or own[1] - own[0] <= 2 * longest  # the last ones of both threads, which may be smaller
    assert max(own) - min(own[2:], default=max(own)) <= 2 * longest


@pytest.mark.parametrize(("count", "length"), [(2, 512), (4, 256), (64, 16)])
def test_texts_of_one_length_are_shared_by_all_threads(count: int, length: int) -> None:
    queries = [Query(np.arange(1000 + number, 1000 + number + length), (1,), (0,)) for number in range(count)]
    _, calls = ask(queries, threads=2, padding=FREE_PADDING)
    assert [len(call["input_ids"]) for call in calls] == [count // 2] * 2


def test_queries_are_made_while_the_first_ones_are_answered() -> None:
    graph, made = RecordingGraph(FREE_PADDING), []

    def make() -> Iterator[Query]:
        for query in draw_lengths(5, 400):
            made.append(len(graph.calls))
            yield replace(query, mask_positions=(1,))

    answers = answer_queries(graph, make(), mask_id=MASK_ID, outputs=["number"], top_k=5, workers=Workers(1))
    assert len(answers) == 400
    assert made[0] == 0
    assert made[-1] > len(graph.calls) / 2


def test_a_query_that_cannot_be_made_ends_the_others() -> None:
    def make() -> Iterator[Query]:
        yield from (replace(query, mask_positions=(1,)) for query in draw_lengths(5, 300))
        raise ValueError("no more")

    class SlowGraph(RecordingGraph):
        def run(self, outputs: list[str], inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
            found = super().run(outputs, inputs)
            time.sleep(0.3)  # all are made in a part of it
            return found

    graph = SlowGraph(FREE_PADDING)
    with pytest.raises(ValueError, match="no more"):
        answer_queries(graph, make(), mask_id=MASK_ID, outputs=["number"], top_k=5, workers=Workers(2))
    assert sum(len(call["input_ids"]) for call in graph.calls) < 300 / 2


def test_a_batch_without_padding_has_no_more_masks_than_fit() -> None:
    queries = [Query(np.arange(1000 + at, 1002 + at), (1,), (0,)) for at in range(700)]
    _, calls = ask(queries, threads=1, padding=FREE_PADDING)
    assert sorted(len(call["input_ids"]) for call in calls)[-1] == MASKS_PER_BATCH
    assert sum(len(call["input_ids"]) for call in calls) == 700
