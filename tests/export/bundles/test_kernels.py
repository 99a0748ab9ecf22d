"""The int8 graphs of exported families in the kernels: fp32's answers as near as in onnxruntime, or not recognized."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny_families import SENTENCES

from maskedge import Predictor, UnsupportedGraphError
from maskedge.bundle.engine import OnnxGraph, graph_inputs
from maskedge.bundle.kernel_graph import KernelGraph
from maskedge.kernels.graph_file import read_graph
from maskedge_export.bundles.export import ExportOptions, export_bundle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kernels")]

SIZES = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 160}
FAMILIES = {
    "bert": SIZES,
    "roberta": SIZES,
    "distilbert": {"dim": 64, "n_heads": 2, "hidden_dim": 160},
    "electra": {**SIZES, "embedding_size": 32},
}
"""Some with other positions, with a projection of the embeddings, and a name for each size."""
TEXTS = [
    "The [MASK] of these two answers is right.",
    "It [MASK] a short novel, [MASK] long.",
    "[MASK]",
    "no water [MASK] here",
]


@pytest.fixture(scope="module", params=FAMILIES)
def bundle(
    request: pytest.FixtureRequest,
    make_checkpoint: Callable[..., Path],
    few_sentences: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A family's bundle, in sizes that the kernels are made for."""
    family = str(request.param)
    directory = tmp_path_factory.mktemp(family)
    checkpoint = make_checkpoint(family, directory / "checkpoint", **FAMILIES[family])
    export_bundle(str(checkpoint), directory / "bundle", ExportOptions("both", (few_sentences,), gate=False))
    return directory / "bundle"


def masked_sentences(mask_token: str) -> list[str]:
    """Some of the sentences that tokenizers are trained on, with a word masked."""
    words = [sentence.split() for sentence in SENTENCES.read_text(encoding="utf-8").splitlines()[100:160]]
    return [" ".join([*some[:2], mask_token, *some[3:]]) for some in words] + [mask_token]


def logprobs(predictor: Predictor, texts: list[str]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """Of one word at each mask, nats."""
    fills = predictor.fill(texts, targets=["the"])
    return np.array([mask.targets[0].logprob for fill in fills for mask in fill.masks])


def test_int8_in_the_kernels_is_as_near_to_fp32_as_in_onnxruntime(bundle: Path) -> None:
    exact = Predictor.load(bundle, precision="fp32", engine="onnxruntime")
    kernels = Predictor.load(bundle, precision="int8", engine="kernels")
    onnxruntime = Predictor.load(bundle, precision="int8", engine="onnxruntime")
    texts = masked_sentences(exact.mask_token)
    near, other = (np.abs(logprobs(each, texts) - logprobs(exact, texts)).mean() for each in (kernels, onnxruntime))
    assert near < 1.2 * other
    assert kernels.verify().max_logprob_difference < 0.05
    assert kernels.fill(texts) == [kernels.fill([text])[0] for text in texts]


def test_the_graph_is_read_as_onnx_reads_it(bundle: Path) -> None:
    path = bundle / "onnx" / "int8.onnx"
    read, expected = read_graph(path), onnx.load(path).graph
    assert [(node.operator, node.inputs, node.outputs) for node in read.nodes] == [
        (node.op_type, tuple(node.input), tuple(node.output)) for node in expected.node
    ]
    for node, other in zip(read.nodes, expected.node, strict=True):
        values = {each.name: onnx.helper.get_attribute_value(each) for each in other.attribute}
        known = {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
        assert node.attributes == {name: None if isinstance(value, list) else value for name, value in known.items()}
    assert read.constants.keys() == {each.name for each in expected.initializer}
    for each in expected.initializer:
        array = numpy_helper.to_array(each)
        assert read.constants[each.name].dtype == array.dtype
        assert np.array_equal(read.constants[each.name], array)


def test_a_token_of_padding_inside_a_text_is_not_counted_where_roberta_does_not(bundle: Path) -> None:
    file = bundle / "onnx" / "int8.onnx"
    tokenizer = Predictor.load(bundle).encoder.tokenizer
    padding = tokenizer.token_to_id("<pad>") or tokenizer.token_to_id("[PAD]") or 0
    inputs = graph_inputs([[2, 9, padding, 11, padding, 12, 3]], [[3, 5]], [[[7], [8]]], 5)
    found, expected = (graph.run(["target_logprobs"], inputs) for graph in (KernelGraph(file), OnnxGraph(file)))
    off = np.asarray(found["target_logprobs"], np.float64) - np.asarray(expected["target_logprobs"], np.float64)
    assert np.abs(off).max() < 0.03


def test_a_pre_norm_encoder_is_not_theirs(int8_bundles: Callable[[str], Path]) -> None:
    with pytest.raises(UnsupportedGraphError, match="take onnxruntime"):
        Predictor.load(int8_bundles("modernbert"), precision="int8", engine="kernels")
