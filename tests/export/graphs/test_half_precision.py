"""Constants in half precision: the same answers to the bit, in half the space."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from maskedge_export.graphs import half_precision
from maskedge_export.graphs.half_precision import halve_exact_constants

TEXT = """<ir_version: 10, opset_import: ["": 23]> gather (int64[N] ids) => (float[N, 2] sums)
    <float[3, 2] exact = {0.5, -2, 65504, 0.000061, 3, -0}, float[3, 2] inexact = {0.1, 70000, 1, 2, 3, 4}>
    { one = Gather(exact, ids) two = Gather(inexact, ids) sums = Add(one, two) }"""
IDS = {"ids": np.array([2, 0, 1, 1])}


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ir.Model:
    """A graph of two tables: one that half precision holds, but for a number that is made to fit, and one that it
    does not."""
    monkeypatch.setattr(half_precision, "SMALLEST", 1)
    made = ir.from_proto(onnx.parser.parse_model(TEXT))
    table = made.graph.initializers["exact"]
    table.const_value = ir.tensor(table.const_value.numpy().astype(np.float16).astype(np.float32), name="exact")  # type: ignore[union-attr]
    return made


def answers(model: ir.Model) -> np.ndarray:
    """Of onnxruntime."""
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    return np.asarray(session.run(None, IDS)[0])


def test_only_what_loses_nothing_is_halved_and_the_answers_keep_their_bits(model: ir.Model) -> None:
    before = answers(model)
    halve_exact_constants(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    stored = {name: value.const_value.dtype for name, value in model.graph.initializers.items() if value.const_value}
    assert stored == {"exact.half": ir.DataType.FLOAT16, "inexact": ir.DataType.FLOAT}
    assert answers(model).tobytes() == before.tobytes()


def test_small_constants_are_left_alone(model: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_precision, "SMALLEST", 25)
    halve_exact_constants(model)
    assert "exact" in model.graph.initializers
