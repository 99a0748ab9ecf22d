"""Batches that are padded have the same bits: what lengths and shapes there are, and the proof by golden vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskedge import Predictor
from maskedge.bundle.cpu import cpu_features, features_of
from maskedge.bundle.engine import Graph, graph_inputs
from maskedge.bundle.engine_choice import load_graph
from maskedge.bundle.format import Bundle, GoldenVector
from maskedge.bundle.golden_vectors import padding_is_exact
from maskedge.bundle.padding import UNPADDED, Padding

OUTPUTS = ["top_logprobs", "top_ids", "entropy", "target_logprobs", "target_ranks"]
IN_GROUPS = Padding(group=16, step=2, row_bits=4, max_length=50)


# Shapes


@pytest.mark.parametrize("length", range(1, 51))
def test_a_batch_is_as_long_as_its_longest_text_or_longer_and_of_the_same_group(length: int) -> None:
    padded = IN_GROUPS.length(length)
    assert length <= padded <= min(50, length + 1)
    assert padded // 16 == length // 16
    assert IN_GROUPS.length(padded) == padded
    assert padded % 2 == 1 or padded in (16, 32, 48, 50)
    assert (padded % 16 == 0) is (length % 16 == 0)


@pytest.mark.parametrize("count", range(1, 300))
def test_rows_are_rounded_to_few_numbers(count: int) -> None:
    assert count <= IN_GROUPS.rows(count) < count * 1.125
    assert count / 1.125 < IN_GROUPS.full_rows(count) <= count
    for rounded in (IN_GROUPS.rows(count), IN_GROUPS.full_rows(count)):
        assert IN_GROUPS.rows(rounded) == IN_GROUPS.full_rows(rounded) == rounded


def test_of_three_hundred_numbers_of_rows_fifty_are_left() -> None:
    assert len({IN_GROUPS.rows(count) for count in range(1, 301)}) == 50


@pytest.mark.parametrize("number", [1, 2, 7, 33, 500])
def test_where_nothing_is_padded_shapes_are_the_texts_own(number: int) -> None:
    assert UNPADDED.length(number) == UNPADDED.rows(number) == UNPADDED.full_rows(number) == number


# OpenVINO


@pytest.fixture(scope="module", params=["int8", "fp32"])
def graph(request: pytest.FixtureRequest, bundle: Path, openvino: None) -> Graph:
    graph = load_graph(bundle / "onnx" / f"{request.param}.onnx", "openvino", threads=1, max_length=64)
    if graph.padding == UNPADDED:
        assert not cpu_features().avx512_vnni
        pytest.skip("without AVX-512 nothing is padded in OpenVINO")
    return graph


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("length", range(3, 65))
def test_a_text_has_the_same_bits_alone_and_padded_among_others(graph: Graph, length: int) -> None:
    draw = np.random.default_rng(length)
    last = min(64, length // 16 * 16 + 15)
    for padded in {graph.padding.length(length), (length + last) // 2, last}:
        ids = draw.integers(5, 400, (4, padded))
        masks, targets = [[length // 2, length - 1]] * 4, [[[7], [8]]] * 4
        (alone,) = rows(graph.run(OUTPUTS, graph_inputs(ids[1:2, :length], masks[:1], targets[:1], 5)))
        inputs = graph_inputs(ids, masks, targets, 5) | {"lengths": np.array([padded, length, padded, length])}
        assert rows(graph.run(OUTPUTS, inputs))[1] == alone, padded


def rows(outputs: dict[str, Any]) -> list[list[bytes]]:
    """The bytes of each row's outputs."""
    return [[values[row].tobytes() for values in outputs.values()] for row in range(len(outputs["entropy"]))]


@pytest.mark.usefixtures("openvino")
def test_it_pads_where_it_was_measured_to_be_exact(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = bundle / "onnx" / "fp32.onnx"
    for flags, padding in ((["avx2"], UNPADDED), (["avx2", "avx512_vnni"], Padding(16, 2, 4, 64))):
        cpu = features_of("x86_64", flags)
        monkeypatch.setattr("maskedge.bundle.openvino_graph.cpu_features", lambda cpu=cpu: cpu)
        assert load_graph(file, "openvino", threads=1, max_length=64).padding == padding
    assert load_graph(file, "openvino", threads=1).padding == UNPADDED
    assert load_graph(file, "onnxruntime", threads=1, max_length=64).padding == UNPADDED


# The proof


@dataclass
class Answering:
    """A graph that answers with a text's first ids, and with something else where more tokens than this are added."""

    exact_up_to: int
    padding = Padding(16, 2, 4, 64)

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> Any:
        ids, lengths = inputs["input_ids"], inputs.get("lengths", [inputs["input_ids"].shape[1]])
        added = ids.shape[1] - lengths[0]
        return {name: ids[:, :2] + float(added > self.exact_up_to) for name in outputs}


def vectors(*lengths: int) -> tuple[GoldenVector, ...]:
    return tuple(GoldenVector(tuple(range(5, 5 + length)), (1,), ((7,),), ((-1.0,),)) for length in lengths)


@pytest.mark.parametrize(
    ("lengths", "added", "exact"),
    [((3, 9, 20), 6, True), ((3, 9, 20), 5, False), ((3, 15, 20, 30), 12, True), ((3, 15, 20, 30), 11, False)],
)
def test_golden_vectors_prove_it(lengths: tuple[int, ...], added: int, exact: bool) -> None:
    assert padding_is_exact(Answering(added), vectors(*lengths)) is exact


@pytest.mark.parametrize("lengths", [(), (3,), (3, 20, 40), (7, 7)])
def test_nothing_is_proved_where_no_two_lengths_are_of_one_group(lengths: tuple[int, ...]) -> None:
    assert not padding_is_exact(Answering(100), vectors(*lengths))


@pytest.fixture
def proved(bundle: Path, openvino: None) -> Predictor:
    return Predictor.load(bundle, precision="fp32", engine="openvino")


def test_a_predictor_pads_after_the_proof_alone(
    proved: Predictor, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Padding(16, 2, 4, Bundle.open(bundle).manifest.max_length) if cpu_features().avx512_vnni else UNPADDED
    assert proved.graph.padding == expected
    monkeypatch.setattr("maskedge.bundle.engine_choice.padding_is_exact", lambda graph, golden: False)
    assert Predictor.load(bundle, precision="fp32", engine="openvino").graph.padding == UNPADDED
