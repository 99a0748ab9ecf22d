"""How rows are divided among pieces and threads changes nothing that is written."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from maskedge import Predictor
from maskedge.bundle.engine import Graph
from maskedge.bundle.padding import UNPADDED
from maskedge_batch.scoring import batches
from maskedge_batch.scoring.batches import score_batches
from maskedge_batch.scoring.columns import Columns
from maskedge_batch.scoring.options import ScoringOptions
from maskedge_batch.scoring.profile import Profile, Stage
from maskedge_batch.scoring.rows import ready_rows

COLUMNS = Columns("text", "target")


@pytest.fixture(scope="module")
def rows(sentences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some with targets of several pieces, some that cannot be scored, some that stand there twice."""
    strange = [{"id": 1, "text": text, "target": None} for text in (None, "", "[MASK] \u65e5")]
    whole = [row | {"target": "unbelievable"} for row in sentences[:40] if row["target"]]
    return [*sentences, *strange, *whole, *sentences[::3]]


def score(rows: list[dict[str, Any]], predictor: Predictor, batch_rows: int = 10**6, **options: Any) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    return pa.Table.from_batches(
        score_batches(iter(table.to_batches(max_chunksize=batch_rows)), predictor, COLUMNS, **options)
    )


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("piece_tokens", [1, 333, 65_536])
def test_every_division_gives_the_same_bits(
    bundle: Path,
    predictor: Predictor,
    rows: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    piece_tokens: int,
) -> None:
    expected = score(rows, replace(predictor, threads=1))
    monkeypatch.setattr(batches, "PIECE_TOKENS", piece_tokens)
    scored = score(rows, Predictor.load(bundle, threads=threads), batch_rows=97, memory_budget=piece_tokens)
    assert scored.combine_chunks().equals(expected.combine_chunks())


def test_results_are_divided_alike_whatever_runs_them(bundle: Path, rows: list[dict[str, Any]]) -> None:
    """What is written in row groups depends on it."""
    texts = [{"text": row["text"], "target": None} for row in rows if row["text"] and "[MASK]" not in row["text"]] * 9
    long = [{**row, "text": f"{row['text']} {number} " * 3} for number, row in enumerate(texts)]
    seen = set()
    for threads, budget in ((1, 1), (2, 1 << 30), (5, 1 << 16)):
        scored = score(long, Predictor.load(bundle, threads=threads), memory_budget=budget)
        seen.add(tuple(len(chunk) for chunk in scored.column("text").chunks))
    (division,) = seen
    assert len(division) > 2


def test_a_row_that_stands_there_again_is_not_scored_again(bundle: Path, sentences: list[dict[str, Any]]) -> None:
    tokens: list[int] = []
    predictor = Predictor.load(bundle, threads=2, before_batch=tokens.append)
    once = score(sentences, predictor)
    read = sum(tokens)
    tokens.clear()
    thrice = score([row for row in sentences for _ in range(3)], predictor)
    assert sum(tokens) == read
    assert thrice.take(list(range(0, 720, 3))).equals(once)
    assert thrice.take(list(range(2, 720, 3))).equals(once)


def test_one_text_with_other_targets_is_another_row(predictor: Predictor, words: list[str]) -> None:
    rows = [{"text": f"{words[0]} [MASK]", "target": word} for word in words[1:4]]
    assert len(set(score(rows, predictor).column("mlm_perplexity").to_pylist())) == 3


def test_wide_answers_make_small_pieces(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 predictions take the memory of 80 times 5."""
    monkeypatch.setattr(batches, "PIECE_BYTES", 1 << 20)
    rows = [{"text": f"[MASK] {number}", "target": None} for number in range(60)]
    few, many = (score(rows, predictor, options=ScoringOptions(top_k=top_k)) for top_k in (5, 400))
    assert few.column("text").num_chunks == 1
    assert many.column("text").num_chunks > 8


def test_a_row_set_aside_costs_nothing(predictor: Predictor) -> None:
    batch = pa.record_batch({"text": pa.array([None, ""], pa.string()), "target": pa.nulls(2, pa.string())})
    for row in ready_rows(batch, predictor, COLUMNS, ScoringOptions()):
        assert row.cost(64) == row.size(5, 64) == 0


class PausingGraph:
    """Waits before its second run until it is let go."""

    padding = UNPADDED

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.runs = 0
        self.reached = threading.Event()
        self.go = threading.Event()

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> Any:
        self.runs += 1
        if self.runs > 1:
            self.reached.set()
            self.go.wait(30)
        return self.graph.run(outputs, inputs)


def test_an_abandoned_job_runs_no_further_batch(predictor: Predictor, words: list[str]) -> None:
    """A writer that fails, say: what is in flight would otherwise be scored to its end."""
    graph = PausingGraph(predictor.graph)
    texts = [" ".join([words[0], "[MASK]", *words[:length]]) for length in range(1, 40)]
    scored = score_batches(
        (pa.record_batch({"text": [text], "target": [words[1]]}) for text in texts),
        replace(predictor, graph=graph, threads=1),
        COLUMNS,
    )
    assert isinstance(scored, Iterator)
    next(scored)
    assert graph.reached.wait(30)
    threading.Timer(0.05, graph.go.set).start()
    scored.close()  # type: ignore[attr-defined]
    assert graph.runs == 2


def test_the_profile_knows_each_stage_and_thread(predictor: Predictor, sentences: list[dict[str, Any]]) -> None:
    profile = Profile()
    score(sentences, replace(predictor, threads=2), profile=profile)
    stages = profile.stages()
    assert list(stages) == list(Stage)
    assert {stage for stage, spent in stages.items() if spent.seconds} == {*Stage} - {Stage.WRITE}
    assert stages[Stage.INFERENCE].seconds <= 2 * profile.wall_seconds
    kinds = Counter(name.rsplit("_", 1)[0] for name in profile.threads())
    assert kinds.keys() == {"maskedge-read", "maskedge-score", "maskedge-model"}
    assert kinds["maskedge-model"] <= 2
