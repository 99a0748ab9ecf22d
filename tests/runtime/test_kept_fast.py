"""What costs time, counted instead of timed: the shipped graphs' nodes, the graph's runs and tokens, Python's calls.

Counts do not depend on the clock. A change of `kept_fast.json` is a change of speed: it is written anew by
`python tests/runtime/test_kept_fast.py`, and its difference says what became of which count.
"""

import json
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from maskedge import Predictor
from maskedge.bundle.engine import Graph, OnnxGraph, graph_inputs, session_options
from maskedge.bundle.padding import UNPADDED

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "tiny_bundle"
FILE = Path(__file__).with_name("kept_fast.json")
SENTENCES = (ROOT / "examples" / "sentences.txt").read_text(encoding="utf-8").splitlines()
ANEW = "python tests/runtime/test_kept_fast.py"
ROOM = 1.1
"""How many times the recorded calls of Python there may be: its versions differ in what is a call."""

Counts = dict[str, Any]


def masked(text: str) -> str:
    """The sentence with its middle word masked."""
    words = text.split()
    words[len(words) // 2] = "[MASK]"
    return " ".join(words)


MASKED = [masked(text) for text in SENTENCES]
WORKLOADS: dict[str, Callable[[Predictor], object]] = {
    "fill": lambda predictor: predictor.fill(MASKED),
    "call": lambda predictor: predictor(MASKED),
    "stream": lambda predictor: list(predictor.fill_many(MASKED)),
    "one": lambda predictor: predictor.fill(MASKED[:1]),
    "score": lambda predictor: predictor.score(SENTENCES[:40]),
    "score_stream": lambda predictor: list(predictor.score_many(SENTENCES[:80])),
    "score_one": lambda predictor: predictor.score(SENTENCES[:1]),
}


@dataclass
class CountingGraph:
    """Notes the tokens of each run."""

    graph: Graph
    tokens: list[int] = field(default_factory=list)
    padding = UNPADDED

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> Any:
        self.tokens.append(inputs["input_ids"].size)
        return self.graph.run(outputs, inputs)


def shipped_nodes() -> Counts:
    """Operators of each shipped graph as onnxruntime runs it, by how many there are."""
    bundle = Predictor.load().bundle
    return {name: nodes(bundle.graph_file(entry)) for name, entry in bundle.manifest.graphs.items()}


def nodes(graph: Path) -> Counts:
    """As a profile of one run lists them."""
    options = session_options()
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = OnnxGraph(graph, options).session
        session.run(None, graph_inputs(np.ones((2, 8)), [[3], [3]], [[[0]], [[0]]], top_k=5))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return dict(sorted(Counter(event["args"]["op_name"] for event in events if event.get("cat") == "Node").items()))


def runs_and_tokens(workload: str) -> Counts:
    """Of the graph, for two threads."""
    predictor = Predictor.load(TINY, engine="onnxruntime", threads=2)
    graph = CountingGraph(predictor.graph)
    WORKLOADS[workload](replace(predictor, graph=graph))
    return {"runs": len(graph.tokens), "tokens": sum(graph.tokens)}


def python_calls(workload: str) -> int:
    """Calls of Python's functions in one thread, of a predictor that has done the same before."""
    predictor, calls = Predictor.load(TINY, engine="onnxruntime", threads=1), 0
    WORKLOADS[workload](predictor)

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(note)
    try:
        WORKLOADS[workload](predictor)
    finally:
        sys.setprofile(None)
    return calls


def recorded() -> Counts:
    counts: Counts = json.loads(FILE.read_text(encoding="utf-8"))
    return counts


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="onnxruntime fuses otherwise elsewhere")
def test_the_shipped_graphs_have_the_nodes_that_they_had() -> None:
    assert shipped_nodes() == recorded()["nodes"], ANEW


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_takes_as_many_runs_of_the_graph_as_it_took(workload: str) -> None:
    assert runs_and_tokens(workload) == recorded()["graph"][workload], ANEW


def test_calls_and_streams_take_the_runs_that_fill_takes() -> None:
    fill = runs_and_tokens("fill")
    assert [runs_and_tokens("call"), runs_and_tokens("stream")] == [fill, fill]


def test_no_token_is_padded_or_computed_twice() -> None:
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    lengths = [len(tokenizer.encode(text).ids) for text in MASKED]
    scored = [len(tokenizer.encode(text).ids) for text in SENTENCES[:40]]
    assert runs_and_tokens("fill")["tokens"] <= sum(lengths)
    assert runs_and_tokens("score")["tokens"] <= sum(length * (length - 2) for length in scored)


@pytest.mark.parametrize("workload", ["fill", "call", "score"])
def test_python_does_no_more_around_the_graph_than_it_did(workload: str) -> None:
    assert python_calls(workload) <= ROOM * recorded()["python_calls"][workload], ANEW


if __name__ == "__main__":
    counts = {
        "nodes": shipped_nodes(),
        "graph": {workload: runs_and_tokens(workload) for workload in WORKLOADS},
        "python_calls": {workload: python_calls(workload) for workload in ("fill", "call", "score")},
    }
    FILE.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
