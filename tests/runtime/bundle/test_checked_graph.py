"""A graph from anywhere may give anything: what is not as the format says is refused before anybody trusts it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from maskedge import EngineError, Predictor
from maskedge.bundle.checked_graph import CheckedGraph
from maskedge.bundle.engine import Int64Array, OnnxGraph, Outputs, graph_inputs
from maskedge.bundle.format import GRAPH_OUTPUTS
from maskedge.bundle.padding import UNPADDED

OUTPUTS = list(GRAPH_OUTPUTS)
INPUTS = graph_inputs([[2, 4, 4, 3], [2, 4, 4, 3]], [[1, 2], [1, 2]], np.ones((2, 2, 1)), top_k=3)
RANKED, MASKS, RATED = (2, 2, 3), (2, 2), (2, 2, 1)
SOUND: Outputs = {
    "top_logprobs": np.zeros(RANKED, np.float32),
    "top_ids": np.full(RANKED, 6, np.int64),
    "entropy": np.zeros(MASKS, np.float32),
    "target_logprobs": np.zeros(RATED, np.float32),
    "target_ranks": np.ones(RATED, np.int64),
}


class Answering:
    """A graph that answers the same to everything."""

    padding = UNPADDED

    def __init__(self, answer: Outputs) -> None:
        self.answer = answer

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        return {name: self.answer[name] for name in outputs}


def ask(answer: Outputs, outputs: list[str] = OUTPUTS) -> Outputs:
    return CheckedGraph(Answering(answer), Path("bundle/onnx/fp32.onnx"), vocab_size=7).run(outputs, INPUTS)


def test_what_the_format_says_passes_as_it_is() -> None:
    assert ask(SOUND) == SOUND
    assert ask({"entropy": SOUND["entropy"]}, ["entropy"]) == {"entropy": SOUND["entropy"]}


def test_no_candidates_are_ranked_where_none_are_asked_for() -> None:
    none = np.zeros((2, 2, 0), np.int64)
    graph = CheckedGraph(Answering({"top_ids": none}), Path("fp32.onnx"), vocab_size=7)
    assert graph.run(["top_ids"], INPUTS | {"top_k": np.array([0], np.int64)})["top_ids"] is none


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 2, 3, 1), np.float32),
        np.zeros((2, 2, 4), np.int64),
        np.zeros((1, 2), np.float32),
        np.float32(0),
        np.zeros((0, 2, 3), np.float32),
        np.full(MASKS, "a"),
    ],
)
def test_another_shape_is_refused_with_the_output_and_the_file(name: str, wrong: npt.NDArray[np.generic]) -> None:
    with pytest.raises(EngineError, match=rf"bundle/onnx/fp32\.onnx: {name} is .*; it must be .*\[batch"):
        ask(SOUND | {name: np.asarray(wrong)})


@pytest.mark.parametrize("name", OUTPUTS)
def test_floats_in_the_place_of_whole_numbers_and_the_other_way_round_are_refused(name: str) -> None:
    values = SOUND[name]
    other = np.zeros(values.shape, np.float32 if values.dtype == np.int64 else np.int64)
    with pytest.raises(EngineError, match=f"{name} is {other.dtype}"):
        ask(SOUND | {name: other})


@pytest.mark.parametrize("token", [-1, 7, 2**62])
def test_an_id_outside_the_vocabulary_is_refused(token: int) -> None:
    ids = SOUND["top_ids"].copy()
    ids[1, 0, 2] = token
    with pytest.raises(EngineError, match=rf"top_ids has ids from .*{token}.*; it must be from 0 to 6"):
        ask(SOUND | {"top_ids": ids})


def test_a_predictor_s_graph_is_checked(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, run = Predictor.load(bundle, precision="fp32", engine="onnxruntime"), OnnxGraph.run

    def with_an_axis_more(self: OnnxGraph, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        return {name: values[..., np.newaxis] for name, values in run(self, outputs, inputs).items()}

    monkeypatch.setattr(OnnxGraph, "run", with_an_axis_more)
    for ask_it in (lambda: predictor.fill(["the [MASK]"]), lambda: predictor.score(["the river"]), predictor.verify):
        with pytest.raises(EngineError, match=r"fp32\.onnx: \w+ is \w+ \(.*it must be (int64|float32) \[batch"):
            ask_it()
    with pytest.raises(EngineError, match="the attention graph gives"):
        predictor.attend("the river")
