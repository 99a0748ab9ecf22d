"""The int8 graph: a row's bits are its own, and its numbers are those of a slow reference."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from maskedge.bundle.engine import OnnxGraph, graph_inputs, session_options
from maskedge.bundle.format import Bundle
from maskedge_export.graphs.matmuls import matmul_inputs, separate_gemms
from maskedge_export.graphs.onnx_export import encoder_graph
from maskedge_export.quantization.gptq import round_to_nearest
from maskedge_export.quantization.observers import SAMPLED_ROWS, ActivationObserver, Range, wants_per_token_scales
from maskedge_export.quantization.qdq import Plan, quantize, round_weights

OUTPUTS = ["top_logprobs", "top_ids", "entropy", "target_logprobs", "target_ranks"]
RANGES = [Range(-3.0, 5.0), Range(0.0, 6.0), Range(-4.0, 0.0), Range(-0.17, 0.02), Range(-1e-3, 800.0), Range(0.0, 0.0)]


class Bigram(nn.Module):
    """A token table and one linear layer."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table, self.head = nn.Embedding(30, 16), nn.Linear(16, 30)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, input_ids: torch.Tensor, mask_positions: torch.Tensor) -> torch.Tensor:
        rows = torch.gather(self.table(input_ids), 1, mask_positions.unsqueeze(-1).expand(-1, -1, 16))
        return self.head(rows)


def matmuls(bundle: Path, precision: str) -> int:
    """How many MatMuls of an activation with a weight a graph of the bundle has."""
    return [node.op_type for node in onnx.load(bundle / "onnx" / f"{precision}.onnx").graph.node].count("MatMul")


@pytest.fixture(scope="module")
def optimized(int8_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How many nodes of each kind onnxruntime runs."""
    path = tmp_path_factory.mktemp("optimized") / "int8.onnx"
    options = session_options()
    options.optimized_model_filepath = str(path)
    OnnxGraph(int8_bundle / "onnx" / "int8.onnx", options)
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)


def test_score_is_independent_of_batch_mates(int8_bundle: Path, masked_ids: Callable[..., Any]) -> None:
    graph = OnnxGraph(int8_bundle / "onnx" / "int8.onnx")
    ids, positions = (tensor.numpy() for tensor in masked_ids(300, batch=33, length=19))

    def run(size: int) -> list[npt.NDArray[np.generic]]:
        rows = [slice(start, start + size) for start in range(0, 33, size)]
        results = [
            graph.run(OUTPUTS, graph_inputs(ids[at], positions[at], positions[at][:, :, np.newaxis], top_k=50))
            for at in rows
        ]
        return [np.concatenate([result[name] for result in results]) for name in OUTPUTS]

    alone = run(1)
    for size in (2, 7, 33):
        for name, expected, actual in zip(OUTPUTS, alone, run(size), strict=True):
            assert actual.tobytes() == expected.tobytes(), f"{name} in batches of {size}"


def test_every_product_with_a_weight_runs_on_integers(int8_bundle: Path, optimized: Counter[str]) -> None:
    # an activation of two terms is multiplied twice
    assert optimized["MatMulIntegerToFloat"] == matmuls(int8_bundle, "int8") >= matmuls(int8_bundle, "fp32")
    assert optimized["MatMul"] == optimized["Gemm"] == 0


def test_no_layer_norm_is_fused_into_the_slow_kernel(optimized: Counter[str]) -> None:
    assert optimized["SkipLayerNormalization"] == 0


def test_embedding_is_stored_once_as_int8_rows(int8_bundle: Path) -> None:
    vocab_size = Bundle.open(int8_bundle).manifest.vocab_size
    tensors = onnx.load(int8_bundle / "onnx" / "int8.onnx").graph.initializer
    tables = [tensor for tensor in tensors if sorted(tensor.dims) == [32, vocab_size]]  # the tied head's is the same
    assert [(list(table.dims), table.data_type) for table in tables] == [([vocab_size, 32], TensorProto.INT8)]


def test_int8_weights_take_a_quarter_of_the_space(int8_bundle: Path) -> None:
    def size(precision: str) -> int:
        return (int8_bundle / "onnx" / f"{precision}.onnx.data").stat().st_size

    assert size("int8") < 0.5 * size(
        "fp32"
    )  # biases, norms and scales stay in fp32, and weigh much in so small a model


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_a_linear_layer_computes_what_a_slow_reference_does(tied: bool, tmp_path: Path) -> None:
    model = Bigram(tied=tied)
    observer = ActivationObserver()
    observer.add(np.linspace(-1.5, 2.0, 64, dtype=np.float32).reshape(4, 16), np.random.default_rng(0))
    ids, positions = np.arange(30).reshape(2, 15), np.array([[1, 9], [4, 14]])
    actual = quantized_logits(model, observer, tmp_path, ids, positions)
    expected = slow_linear(model, np.take_along_axis(ids, positions, 1), observer.mse_range)
    np.testing.assert_allclose(actual, expected, atol=2e-5)


@pytest.mark.slow
def test_two_terms_round_an_activation_a_hundred_times_finer(tmp_path: Path) -> None:
    model = Bigram(tied=False)
    observer = ActivationObserver()
    observer.add(model.table.weight.detach().numpy(), np.random.default_rng(0))
    ids, positions = np.arange(30)[np.newaxis], np.arange(30)[np.newaxis]
    exact = slow_linear(model, ids, None)
    one, two = (quantized_logits(model, observer, tmp_path, ids, positions, kind) for kind in ("", "two_term"))
    assert np.abs(two - exact).max() < np.abs(one - exact).max() / 100


@pytest.mark.slow
def test_rows_divided_by_their_largest_magnitude_keep_small_rows_fine(tmp_path: Path) -> None:
    model = Bigram(tied=False)
    with torch.no_grad():
        model.table.weight[3] *= 1000
    observer = ActivationObserver()
    observer.add(model.table.weight.detach().numpy(), np.random.default_rng(0))
    assert wants_per_token_scales(observer)
    ids, positions = np.arange(30)[np.newaxis], np.arange(30)[np.newaxis]
    exact = slow_linear(model, ids, None)
    one, per_token = (quantized_logits(model, observer, tmp_path, ids, positions, kind) for kind in ("", "per_token"))
    size = np.abs(exact[0] - model.head.bias.detach().numpy()).max(-1)  # [row]
    assert (np.abs(per_token - exact)[0].max(-1) < 0.02 * size).all()
    assert (np.abs(one - exact)[0].max(-1) > 0.2 * size).sum() > 20


def test_a_row_of_zeros_stays_one(tmp_path: Path) -> None:
    model = Bigram(tied=False)
    with torch.no_grad():
        model.table.weight[4] = 0
    observer = ActivationObserver()
    observer.add(model.table.weight.detach().numpy(), np.random.default_rng(0))
    logits = quantized_logits(model, observer, tmp_path, np.array([[4, 5]]), np.array([[0]]), "per_token")
    np.testing.assert_array_equal(logits[0, 0], model.head.bias.detach().numpy())


def test_rows_of_one_size_are_not_uneven() -> None:
    observer = ActivationObserver()
    observer.add(np.random.default_rng(0).uniform(-1, 1, (64, 32)).astype(np.float32), np.random.default_rng(0))
    assert not wants_per_token_scales(observer)


def test_products_left_exact_are_those_of_fp32(tmp_path: Path) -> None:
    model = Bigram(tied=False)
    observer = ActivationObserver()
    observer.add(model.table.weight.detach().numpy(), np.random.default_rng(0))
    ids, positions = np.arange(30)[np.newaxis], np.arange(30)[np.newaxis]
    table, weight = model.table.weight.detach().numpy(), model.head.weight.detach().numpy()
    rows = signed(table)[ids] * scales(table)[ids][..., np.newaxis]
    actual = quantized_logits(model, observer, tmp_path, ids, positions, "fp32")
    np.testing.assert_allclose(actual, rows @ weight.T + model.head.bias.detach().numpy(), atol=2e-5)


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_becomes_a_product_that_can_be_quantized(transposed: int) -> None:
    weight = np.random.default_rng(0).normal(size=(6, 4) if transposed else (4, 6)).astype(np.float32)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 4), ("y", 6))]
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.ones(6, np.float32), "b")]
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=transposed)
    graph = helper.make_graph([node], "gemm", ends[:1], ends[1:], constants)
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    model = ir.from_proto(before)
    separate_gemms(model)
    assert list(matmul_inputs(model)) == ["x"]
    x = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    outputs = [
        onnxruntime.InferenceSession(proto.SerializeToString()).run(["y"], {"x": x})[0]
        for proto in (before, ir.to_proto(model))
    ]
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-6)


def quantized_logits(
    model: Bigram, observer: ActivationObserver, directory: Path, ids: Any, positions: Any, kind: str = ""
) -> npt.NDArray[np.float32]:
    """What onnxruntime computes of the quantized model."""
    graph = encoder_graph(model)
    observers = dict.fromkeys(matmul_inputs(graph), observer)
    chosen: Any = {kind: frozenset(observers)} if kind else {}
    quantize(graph, Plan(observers, round_weights(graph, observers, rounding=round_to_nearest), **chosen))
    ir.save(graph, directory / "int8.onnx")
    session = onnxruntime.InferenceSession(directory / "int8.onnx")
    (logits,) = session.run(None, {"input_ids": ids, "mask_positions": positions})
    return np.asarray(logits)


def slow_linear(model: Bigram, ids: npt.NDArray[np.int64], range_: Range | None) -> npt.NDArray[np.float64]:
    """Logits [.., vocabulary] in integers, with a scale for each row of the table and each output of the layer.

    Without a range the activations are left as they are.
    """
    table, weight = (module.weight.detach().numpy() for module in (model.table, model.head))  # [30, 16]
    x = signed(table)[ids] * scales(table)[ids][..., np.newaxis]
    if range_ is None:
        return x.astype(np.float64) @ (signed(weight).T * scales(weight)) + model.head.bias.detach().numpy()
    steps = np.clip(np.rint(x / range_.scale) + range_.zero_point, 0, 255).astype(np.int64) - int(range_.zero_point)
    sums = steps @ signed(weight).T
    return sums * range_.scale * scales(weight) + model.head.bias.detach().numpy()


def scales(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.abs(weight).max(1) / np.float32(127)


def signed(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    return np.rint(weight / scales(weight)[:, np.newaxis]).astype(np.int64)


@pytest.mark.parametrize("range_", RANGES, ids=str)
def test_zero_is_exact(range_: Range) -> None:
    assert 0 <= int(range_.zero_point) <= 255
    assert range_.rounded(np.zeros(1, np.float32)).tolist() == [0.0]


@pytest.mark.parametrize("range_", RANGES[:-1], ids=str)
def test_rounding_errs_by_half_a_step_within_the_range(range_: Range) -> None:
    x = np.linspace(range_.low, range_.high, 1001, dtype=np.float32)
    # the zero point is rounded too, so the very ends may lie half a step further out
    assert np.abs(range_.rounded(x) - x).max() <= 1.001 * range_.scale


@pytest.mark.parametrize("range_", RANGES, ids=str)
def test_rounding_is_that_of_onnxruntime(range_: Range) -> None:
    x = np.random.default_rng(0).normal(scale=max(range_.high, -range_.low, 1e-3), size=5000).astype(np.float32)
    np.testing.assert_array_equal(range_.rounded(x), onnx_rounded(x, range_))


def onnx_rounded(x: npt.NDArray[np.float32], range_: Range) -> npt.NDArray[np.float32]:
    """x quantized and dequantized by ONNX's operators."""
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [float(range_.scale)])
    zero = helper.make_tensor("zero", TensorProto.UINT8, [], [int(range_.zero_point)])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["steps"]),
        helper.make_node("DequantizeLinear", ["steps", "scale", "zero"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "rounding", ends[:1], ends[1:], [scale, zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    return np.asarray(y)


@pytest.mark.parametrize(("low", "high"), [(2.0, 3.0), (-3.0, -2.0), (-1.0, 3.0)])
def test_best_range_contains_zero(low: float, high: float) -> None:
    observer = ActivationObserver()
    observer.add(np.linspace(low, high, 200, dtype=np.float32).reshape(20, 10), np.random.default_rng(0))
    best = observer.mse_range
    assert best.low <= 0 <= best.high


def test_best_range_clips_what_is_too_rare_to_pay_for() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, SAMPLED_ROWS, 64)).astype(np.float32)
    x[0, 0, 0] = 8.0
    observer = ActivationObserver()
    for batch in x:
        observer.add(batch, rng)
    full, best = Range(float(x.min()), float(x.max())), observer.mse_range
    assert best.high < full.high
    assert np.square(best.rounded(x) - x).sum() < np.square(full.rounded(x) - x).sum()
