"""fp32 graph -> static int8 graph: unsigned 8-bit activations times signed 8-bit weights, in QDQ form.

Every activation has one fixed scale, found on calibration text, so a row's score does not depend on its batch. Weights
have a scale for each output channel. The embedding table is stored as int8 rows with a scale each.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes.common import RemoveUnusedNodesPass

from maskedge_export.calibration import Batch

__all__ = ["ActivationSample", "Range", "observe_activations", "quantize"]

FloatArray = npt.NDArray[np.float32]

SAMPLED_ROWS = 8
"""Rows of each activation kept from a batch, to choose its range by."""

SHRINKAGE = np.linspace(1.0, 0.3, 15)
"""How far each end of the observed range is tried to be pulled in: a few clipped outliers buy finer steps."""


@dataclass(frozen=True, slots=True)
class Range:
    """What an activation's 256 steps cover; contains 0."""

    low: float
    high: float

    @property
    def scale(self) -> np.float32:
        """Width of a step."""
        return np.float32(max(self.high - self.low, 1e-8) / 255)

    @property
    def zero_point(self) -> np.uint8:
        """The step that stands for 0."""
        return np.uint8(np.clip(np.rint(-self.low / self.scale), 0, 255))

    def rounded(self, x: FloatArray) -> FloatArray:
        """x as the 8-bit steps represent it."""
        zero = np.float32(self.zero_point)
        steps = np.clip(np.rint(x / self.scale) + zero, 0, 255)
        return np.asarray((steps - zero) * self.scale, np.float32)


@dataclass
class ActivationSample:
    """What was seen of one activation."""

    low: float = 0.0
    high: float = 0.0
    rows: list[FloatArray] = field(default_factory=list)

    def add(self, values: FloatArray, rng: np.random.Generator) -> None:
        """Take note of a batch's values [.., channels]."""
        flat = values.reshape(-1, values.shape[-1])
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        self.rows.append(flat[rng.permutation(len(flat))[:SAMPLED_ROWS]])

    @cached_property
    def best_range(self) -> Range:
        """The range with the least squared rounding and clipping error on the sampled rows."""
        x = np.concatenate(self.rows).ravel()
        candidates = [Range(self.low * a, self.high * b) for a in SHRINKAGE for b in SHRINKAGE[:: 2 if self.low else 1]]
        return min(candidates, key=lambda range_: float(np.square(range_.rounded(x) - x).sum()))


def observe_activations(graph: Path, names: Iterable[str], batches: Iterable[Batch]) -> dict[str, ActivationSample]:
    """Samples of the named values while the fp32 graph, which has them as outputs, runs over the batches."""
    options = onnxruntime.SessionOptions()
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    samples = {name: ActivationSample() for name in names}
    rng = np.random.default_rng(0)
    for batch in batches:
        inputs = {"input_ids": batch.input_ids, "mask_positions": batch.mask_positions}
        for sample, values in zip(samples.values(), session.run(list(samples), inputs), strict=True):
            sample.add(values, rng)
    return samples


def matmul_inputs(model: ir.Model) -> dict[str, ir.Value]:
    """The activations that are multiplied with weights, by name."""
    return {str(x.name): x for node in weight_matmuls(model) if (x := node.inputs[0]) is not None}


def weight_matmuls(model: ir.Model) -> list[ir.Node]:
    """The nodes that multiply an activation with a weight, or with the transposed embedding table."""
    return [node for node in model.graph if node.op_type == "MatMul" and _weight(node) is not None]


def _weight(node: ir.Node) -> FloatArray | None:
    """The weight [in, out] of a MatMul node; None where it multiplies two activations."""
    value = node.inputs[1]
    if value is not None and value.const_value is not None:
        return np.asarray(value.const_value.numpy())
    table = _transposed_table(node)
    return None if table is None or table.const_value is None else np.asarray(table.const_value.numpy()).T


def _transposed_table(node: ir.Node) -> ir.Value | None:
    producer = None if node.inputs[1] is None else node.inputs[1].producer()
    return producer.inputs[0] if producer is not None and producer.op_type == "Transpose" else None


def quantize(model: ir.Model, samples: Mapping[str, ActivationSample], fine: Container[str] = ()) -> None:
    """Turn each product of an activation with a weight, and the embedding, into its int8 form, in place.

    An activation named in `fine` is given two terms of 8 bits, x = a + b, where b covers what rounding left of a: twice
    the integer work for its products, for an error 256 times smaller. Still one fixed scale a term.
    """
    nodes = weight_matmuls(model)
    table = _quantize_embedding(model)
    terms: dict[str, list[ir.Value]] = {}
    for node in nodes:
        x = node.inputs[0]
        assert x is not None
        name = str(x.name)
        if name not in terms:
            terms[name] = (_two_terms if name in fine else _one_term)(model, node, x, samples[name])
        weight = _head_weight(model, node, table) or _quantized_weight(model, node)
        products = [_insert(model, node, "MatMul", [term, weight]) for term in terms[name]]
        product = products[0] if len(products) == 1 else _insert(model, node, "Add", products)
        ir.convenience.replace_all_uses_with(node.outputs[0], product)
        model.graph.remove(node, safe=True)
    RemoveUnusedNodesPass()(model)


def _one_term(model: ir.Model, before: ir.Node, x: ir.Value, sample: ActivationSample) -> list[ir.Value]:
    return [_quantized_activation(model, before, x, str(x.name), sample.best_range)]


def _two_terms(model: ir.Model, before: ir.Node, x: ir.Value, sample: ActivationSample) -> list[ir.Value]:
    coarse = Range(sample.low, sample.high)  # nothing clipped, so that the rest stays within half a step
    first = _quantized_activation(model, before, x, str(x.name), coarse)
    rest = _insert(model, before, "Sub", [x, first])
    half = float(coarse.scale) / 2
    return [first, _quantized_activation(model, before, rest, f"{x.name}.rest", Range(-half, half))]


def channel_scales(weight: FloatArray, axis: int) -> FloatArray:
    """The scale of each output channel: its largest magnitude becomes 127. `axis` is the input channels'."""
    return np.asarray(np.maximum(np.abs(weight).max(axis), 1e-12) / 127, np.float32)


def _quantized_activation(model: ir.Model, before: ir.Node, x: ir.Value, name: str, range_: Range) -> ir.Value:
    scale = _constant(model, f"{name}.scale", np.array(range_.scale))
    zero = _constant(model, f"{name}.zero_point", np.array(range_.zero_point))
    quantized = _insert(model, before, "QuantizeLinear", [x, scale, zero])
    return _insert(model, before, "DequantizeLinear", [quantized, scale, zero])


def _quantized_weight(model: ir.Model, node: ir.Node) -> ir.Value:
    weight = _weight(node)
    assert weight is not None
    assert node.inputs[1] is not None
    name, scales = node.inputs[1].name, channel_scales(weight, axis=0)
    integers = _constant(model, f"{name}.int8", _integers(weight, scales))
    return _insert(model, node, "DequantizeLinear", [integers, _constant(model, f"{name}.scale", scales)], {"axis": 1})


@dataclass(frozen=True, slots=True)
class _Table:
    source: ir.Value
    integers: ir.Value
    scales: ir.Value


def _quantize_embedding(model: ir.Model) -> _Table:
    """Store the token table as int8 rows; a gathered row is cast and multiplied with its scale."""
    node = next(
        n for n in model.graph if n.op_type == "Gather" and n.inputs[1] is not None and n.inputs[1].name == "input_ids"
    )
    source, ids = node.inputs[0], node.inputs[1]
    assert source is not None
    assert source.const_value is not None
    rows = np.asarray(source.const_value.numpy())
    scales = channel_scales(rows, axis=1)
    table = _Table(
        source,
        _constant(model, f"{source.name}.int8", _integers(rows, scales[:, np.newaxis])),
        _constant(model, f"{source.name}.scale", scales),
    )
    gathered = _insert(model, node, "Gather", [table.integers, ids], {"axis": 0})
    floats = _insert(model, node, "Cast", [gathered], {"to": ir.DataType.FLOAT})
    gathered_scales = _insert(model, node, "Gather", [table.scales, ids], {"axis": 0})
    last = _constant(model, "embedding.last_axis", np.array([-1]))
    column = _insert(model, node, "Unsqueeze", [gathered_scales, last])
    scaled = _insert(model, node, "Mul", [floats, column])
    ir.convenience.replace_all_uses_with(node.outputs[0], scaled)
    model.graph.remove(node, safe=True)
    return table


def _head_weight(model: ir.Model, node: ir.Node, table: _Table) -> ir.Value | None:
    """The tied head's weight: the same int8 rows, transposed when the session loads them."""
    if _transposed_table(node) is not table.source:
        return None
    transposed = _insert(model, node, "Transpose", [table.integers], {"perm": [1, 0]})
    return _insert(model, node, "DequantizeLinear", [transposed, table.scales], {"axis": 1})


def _integers(weight: FloatArray, scales: FloatArray) -> npt.NDArray[np.int8]:
    return np.asarray(np.clip(np.rint(weight / scales), -127, 127), np.int8)


def _constant(model: ir.Model, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
    if name not in model.graph.initializers:
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        model.graph.register_initializer(value)
    return model.graph.initializers[name]


def _insert(
    model: ir.Model,
    before: ir.Node,
    op: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
) -> ir.Value:
    node = ir.node(op, inputs, attributes)
    model.graph.insert_before(before, node)
    return node.outputs[0]
