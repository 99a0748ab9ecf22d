"""Levels that become signed: what a product of integers gives then, beside numpy, and what stays as it was."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from maskedge.bundle.engine import graph_inputs
from maskedge.bundle.engine_choice import load_graph
from maskedge.bundle.format import DEFAULT_BUNDLE

pytestmark = pytest.mark.usefixtures("openvino")

Floats = npt.NDArray[np.floating[Any]]

SCALE = 0.02
DRAW = np.random.default_rng(11)
TOKENS = DRAW.normal(size=(5, 64)).astype(np.float32)
WEIGHTS = DRAW.integers(-63, 64, (64, 24), np.int8)
SCALES = DRAW.uniform(0.001, 0.02, (1, 24)).astype(np.float32)
BIAS = DRAW.normal(size=24).astype(np.float32)


def network(
    zero_point: int = 120,
    scales: Floats = SCALES,
    *,
    last: int = 255,
    transposed: bool = False,
    computed: bool = False,
    two: bool = False,
) -> Any:
    """A layer of integers as ONNX describes it, or two that share their activation."""
    from maskedge.bundle.openvino_library import openvino, operators

    tokens = operators.parameter([-1, 64], np.float32, name="tokens")
    lowest, highest = (np.float32(SCALE * (level - zero_point)) for level in (0, last))
    levels = operators.fake_quantize(tokens, lowest, highest, np.float32(0), np.float32(last), last + 1)
    zero: Any = np.float32(zero_point)
    if computed:
        zero = operators.add(operators.constant(zero), operators.multiply(tokens, np.float32(0)))
    centred = operators.subtract(operators.convert(operators.convert(levels, "u8"), "f32"), zero)
    activation = operators.multiply(centred, np.float32(SCALE))
    integers = operators.constant(np.ascontiguousarray(WEIGHTS.T) if transposed else WEIGHTS)
    weight = operators.multiply(operators.convert(integers, "f32"), scales.T if transposed else scales)
    layers = [
        operators.add(operators.matmul(activation, weight, False, transposed), BIAS) for _ in range(2 if two else 1)
    ]
    return openvino.Model(layers, [tokens], "layer")


def answers(model: Any) -> list[Floats]:
    from maskedge.bundle.openvino_graph import OPTIONS
    from maskedge.bundle.openvino_library import openvino

    found = openvino.Core().compile_model(model, "CPU", OPTIONS)([TOKENS])
    return [np.array(values) for values in found.values()]


def expected(zero_point: int, scales: Floats) -> Floats:
    levels = np.clip(np.round(TOKENS / np.float32(SCALE)) + zero_point, 0, 255).astype(np.int64) - zero_point
    outputs: Floats = levels @ WEIGHTS.astype(np.int64) * (SCALE * scales.astype(np.float64)) + BIAS
    return outputs


def levels_of(model: Any) -> list[tuple[float, float]]:
    """The first and the last level to which each activation is rounded."""
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    return [(node.input_value(3).get_node().data.item(), node.input_value(4).get_node().data.item()) for node in nodes]


@pytest.mark.parametrize("zero_point", [0, 1, 19, 120, 128, 255])
@pytest.mark.parametrize("scales", [SCALES, SCALES[0], SCALES[0, :1], SCALES[0, 0]], ids=lambda scales: scales.shape)
def test_a_product_of_signed_levels_is_that_of_the_integers(zero_point: int, scales: Floats) -> None:
    from maskedge.bundle.openvino_model import with_signed_levels

    model = with_signed_levels(network(zero_point, scales))
    assert levels_of(model) == [(-128, 127)]
    (found,) = answers(model)
    np.testing.assert_allclose(found, expected(zero_point, scales), rtol=0, atol=2e-4)


def test_products_of_one_activation_share_its_levels() -> None:
    from maskedge.bundle.openvino_model import with_signed_levels

    model = with_signed_levels(network(two=True))
    assert levels_of(model) == [(-128, 127)]
    for found in answers(model):
        np.testing.assert_allclose(found, expected(120, SCALES), rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    "other",
    [
        lambda: network(last=127),
        lambda: network(transposed=True),
        lambda: network(computed=True),
        lambda: network(scales=DRAW.uniform(0.001, 0.02, (64, 1)).astype(np.float32)),
    ],
    ids=["levels of 7 bits", "transposed weights", "a zero point that is computed", "a scale for each row"],
)
def test_other_products_stay_as_they_are(other: Callable[[], Any]) -> None:
    from maskedge.bundle.openvino_model import with_signed_levels

    model = other()
    before, operations = answers(model), len(model.get_ops())
    (after,) = answers(with_signed_levels(model))
    assert len(model.get_ops()) == operations
    np.testing.assert_array_equal(after, before[0])


@pytest.mark.parametrize("amx", [False, True])
def test_a_text_is_answered_alike_with_and_without_them(amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels of activations lie where the sums before them are not exact to the bit, so now and then one is another."""
    from maskedge.bundle.cpu import features_of

    file = DEFAULT_BUNDLE / "onnx" / "int8-avx2.onnx"
    inputs = graph_inputs(np.arange(600, 632).reshape(2, 16), [[3]] * 2, [[[700]]] * 2, 5)
    usual = load_graph(file, "onnxruntime", threads=1).run(["target_logprobs"], inputs)
    flags = ["avx2", *["amx_int8"] * amx]
    monkeypatch.setattr("maskedge.bundle.openvino_model.cpu_features", lambda: features_of("x86_64", flags))
    found = load_graph(file, "openvino", threads=1).run(["target_logprobs"], inputs)
    assert np.allclose(found["target_logprobs"], usual["target_logprobs"], atol=0.1)
