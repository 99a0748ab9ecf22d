"""Calls from several threads that share a predictor's threads: the same answers, and no more batches at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskedge import Predictor
from maskedge.bundle.engine import Graph
from maskedge.bundle.padding import UNPADDED

DrawTexts = Callable[..., list[str]]


class CountingGraph:
    """Notes how many of its runs there are at once; each waits for company that the pool should not give it."""

    padding = UNPADDED

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.running = self.most = 0
        self.lock = threading.Lock()
        self.company = threading.Condition()

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> Any:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        with self.company:
            self.company.wait(0.002)
        try:
            return self.graph.run(outputs, inputs)
        finally:
            with self.lock:
                self.running -= 1


class NotingGraph:
    """Notes the names of the threads that it runs in."""

    padding = UNPADDED

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.threads: set[str] = set()

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> Any:
        self.threads.add(threading.current_thread().name)
        return self.graph.run(outputs, inputs)


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_together_run_no_more_batches_at_once_than_one(bundle: Path, draw_texts: DrawTexts, threads: int) -> None:
    predictor = Predictor.load(bundle, threads=threads)
    graph = CountingGraph(predictor.graph)
    texts = [draw_texts(seed, masks=(1, 2)) for seed in range(5)]
    expected = [predictor.fill(some) for some in texts]
    with replace(predictor, graph=graph).sharing_threads() as shared, ThreadPoolExecutor(5) as callers:
        assert list(callers.map(shared.fill, texts)) == expected
    assert graph.most == threads


def test_scores_are_those_of_a_predictor_alone(tiny: Predictor, draw_texts: DrawTexts) -> None:
    texts = draw_texts(0, masks=(0,))
    with tiny.sharing_threads() as shared:
        assert shared.score(texts) == tiny.score(texts)
        assert list(shared.fill_many(["the [MASK]"] * 3)) == tiny.fill(["the [MASK]"] * 3)


def test_attention_is_looked_at_by_the_shared_threads(tiny: Predictor, draw_texts: DrawTexts) -> None:
    encoded = [tiny.encode(text) for text in draw_texts(0, masks=(1, 2))]
    with tiny.sharing_threads() as shared:
        graph = NotingGraph(shared._attention_graph)
        vars(shared)["_attention_graph"] = graph
        shared.attend_encoded(encoded)
    assert {name.rpartition("_")[0] for name in graph.threads} == {"maskedge-model"}


def test_an_error_ends_its_own_call_only(bundle: Path) -> None:
    def refuse(tokens: int) -> None:
        if threading.current_thread().name.startswith("maskedge-model") and tokens == 3:
            raise InterruptedError("enough")

    predictor = Predictor.load(bundle, threads=2, before_batch=refuse)
    with predictor.sharing_threads() as shared:
        with pytest.raises(InterruptedError, match="enough"):
            shared.fill(["[MASK]"])
        assert len(shared.fill(["the [MASK]"])) == 1
