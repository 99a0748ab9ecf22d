"""fp32 graph -> static int8 graph: unsigned 8-bit activations times signed 8-bit weights, in QDQ form.

An activation has fixed scales, found on calibration text, or one for each row that depends on that row alone: either
way a row's score does not depend on its batch. Weights have a scale for each output channel. The embedding table is
stored as int8 rows with a scale each.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from maskedge.arrays import Float32Array
from maskedge_export.graphs.editing import constant_array, insert, named_constant, replace
from maskedge_export.graphs.matmuls import WeightMatMul, token_gather, token_table, weight_matmuls
from maskedge_export.quantization.gptq import RoundedWeight, Rounding, gptq
from maskedge_export.quantization.observers import ActivationObserver, Range

__all__ = ["QMAX", "SEVEN_BIT_QMAX", "Plan", "quantize", "round_weights", "stored_weights", "summed_hessian"]

QMAX = 127
"""A weight's 8 bits: integers from -127 to 127."""

SEVEN_BIT_QMAX = 63
"""What a weight may be for two of its products with activations of 8 bits to stay below 2^15: 2 * 255 * 63."""

SEVEN_BIT_STEPS = 127
"""Steps of an activation whose products with 8-bit weights, added in pairs, stay below 2^15: 2 * 127 * 127."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a graph's numbers."""

    observers: Mapping[str, ActivationObserver]
    """Of each activation, by name."""
    weights: Mapping[str, RoundedWeight]
    """By the stored weight's name; as `round_weights` makes them."""
    two_term: frozenset[str] = frozenset()
    """Activations of two terms of 8 bits, x = a + b, where b covers what rounding left of a: twice the integer work for
    their products, for an error 256 times smaller. Still one fixed scale a term."""
    per_token: frozenset[str] = frozenset()
    """Activations whose rows are each divided by their largest magnitude first, and the products multiplied with it:
    for those of which a few rows are many times larger than the others."""
    fp32: frozenset[str] = frozenset()
    """Activations whose products stay in fp32."""
    seven_bit_head: bool = False
    """Whether a tied head takes activations of two terms of 7 bits, the table having weights of 8."""


def round_weights(
    model: ir.Model,
    observers: Mapping[str, ActivationObserver],
    embedding_fisher: Float32Array | None = None,
    rounding: Rounding = gptq,
    qmax: int = QMAX,
) -> dict[str, RoundedWeight]:
    """Every weight of a product, and the embedding table as [hidden, vocabulary], rounded to -qmax..qmax.

    The table has 8 bits, and is rounded for what is read from it (`embedding_fisher`, see
    `maskedge_export.quantization.fisher`), not for a head that shares it: rounding it for the head's inputs raised the
    first model's divergence by a third.
    """
    table = token_table(model)
    rounded = {}
    if table is not None:
        rounded[str(table.name)] = rounding(constant_array(table).T, embedding_fisher, QMAX)
    for name, matmuls in stored_weights(model).items():
        if name not in rounded:
            rounded[name] = rounding(matmuls[0].weight, summed_hessian(matmuls, observers), qmax)
    return rounded


def stored_weights(model: ir.Model) -> dict[str, list[WeightMatMul]]:
    """The products of each stored weight: several where layers share it."""
    matmuls: defaultdict[str, list[WeightMatMul]] = defaultdict(list)
    for matmul in weight_matmuls(model):
        matmuls[matmul.name].append(matmul)
    return matmuls


def summed_hessian(matmuls: Sequence[WeightMatMul], observers: Mapping[str, ActivationObserver]) -> Float32Array | None:
    """Sum of x x^T over all that one weight is multiplied with; None where nothing was seen."""
    total: Float32Array | None = None
    for name in dict.fromkeys(matmul.input for matmul in matmuls):
        hessian = observers[name].hessian  # read from a file: one at a time
        if hessian is not None:
            total = hessian if total is None else total + hessian
    return total


def quantize(model: ir.Model, plan: Plan) -> None:
    """Turn each product of an activation with a weight, and the embedding, into its int8 form, in place."""
    matmuls = [matmul for matmul in weight_matmuls(model) if _is_quantized(model, matmul, plan)]
    _quantize_embedding(model, plan)
    terms: dict[str, _Terms] = {}
    for matmul in matmuls:
        if matmul.input not in terms:
            terms[matmul.input] = _terms(model, matmul, plan)
        x = terms[matmul.input]
        weight = _weight(model, matmul, plan.weights[matmul.name])
        parts = [insert(model, matmul.node, "MatMul", [term, weight]) for term in x.values]
        result = parts[0] if len(parts) == 1 else insert(model, matmul.node, "Add", parts)
        if x.token_scale is not None:
            result = insert(model, matmul.node, "Mul", [result, x.token_scale])
        replace(model, matmul.node, result)
    RemoveUnusedNodesPass()(model)


def _is_quantized(model: ir.Model, matmul: WeightMatMul, plan: Plan) -> bool:
    """A tied head always is: its weight is the table, of which there are only the int8 rows."""
    return matmul.stored is token_table(model) or matmul.input not in plan.fp32


@dataclass(frozen=True, slots=True)
class _Terms:
    """An activation as its products take it."""

    values: list[ir.Value] = field(default_factory=list)
    token_scale: ir.Value | None = None
    """[.., 1]: what its rows were divided by."""


def _terms(model: ir.Model, matmul: WeightMatMul, plan: Plan) -> _Terms:
    observer = plan.observers[matmul.input]
    if matmul.transposed and plan.seven_bit_head:
        return _Terms(_two_terms(model, matmul, Range(observer.low, observer.high, SEVEN_BIT_STEPS)))
    if matmul.input in plan.two_term:
        # nothing clipped, so that the rest stays within half a step
        return _Terms(_two_terms(model, matmul, Range(observer.low, observer.high)))
    if matmul.input in plan.per_token:
        return _divided_per_token(model, matmul)
    return _Terms([_rounded(model, matmul.node, matmul.factor, matmul.input, observer.mse_range)])


def _two_terms(model: ir.Model, matmul: WeightMatMul, coarse: Range) -> list[ir.Value]:
    x, node, name = matmul.factor, matmul.node, matmul.input
    first = _rounded(model, node, x, name, coarse)
    rest = insert(model, node, "Sub", [x, first])
    half = float(coarse.scale) / 2
    return [first, _rounded(model, node, rest, f"{name}.rest", Range(-half, half, coarse.steps))]


def _divided_per_token(model: ir.Model, matmul: WeightMatMul) -> _Terms:
    node, last = matmul.node, named_constant(model, "quantization.last_axis", np.array([-1]))
    peak = insert(model, node, "ReduceMax", [insert(model, node, "Abs", [matmul.factor]), last], {"keepdims": 1})
    tiny = named_constant(model, "quantization.tiny", np.array(1e-8, np.float32))  # a row of zeros stays one
    scale = insert(model, node, "Max", [peak, tiny])
    divided = insert(model, node, "Div", [matmul.factor, scale])
    return _Terms([_rounded(model, node, divided, f"{matmul.input}.by_row", Range(-1.0, 1.0))], scale)


def _rounded(model: ir.Model, before: ir.Node, x: ir.Value, name: str, range_: Range) -> ir.Value:
    scale = named_constant(model, f"{name}.scale", np.array(range_.scale))
    zero = named_constant(model, f"{name}.zero_point", np.array(range_.zero_point))
    if range_.steps < 255:  # QuantizeLinear itself only stops at 0 and 255
        names = (f"{name}.low", f"{name}.high")
        ends = [named_constant(model, end, np.array(at)) for end, at in zip(names, range_.ends, strict=True)]
        x = insert(model, before, "Clip", [x, *ends])
    quantized = insert(model, before, "QuantizeLinear", [x, scale, zero])
    return insert(model, before, "DequantizeLinear", [quantized, scale, zero])


def _weight(model: ir.Model, matmul: WeightMatMul, rounded: RoundedWeight) -> ir.Value:
    """The weight of a product; a tied head's is the table's int8 rows, transposed when the session loads them."""
    integers = rounded.integers.T if matmul.transposed else rounded.integers
    stored = named_constant(model, f"{matmul.name}.int8", np.ascontiguousarray(integers))
    scales = named_constant(model, f"{matmul.name}.scale", rounded.scales)
    if matmul.transposed:
        stored = insert(model, matmul.node, "Transpose", [stored], {"perm": [1, 0]})
    return insert(model, matmul.node, "DequantizeLinear", [stored, scales], {"axis": 1})


def _quantize_embedding(model: ir.Model, plan: Plan) -> None:
    """Store the token table as int8 rows; a gathered row is cast and multiplied with its scale."""
    node = token_gather(model)
    if node is None:
        return
    source, ids = node.inputs
    assert source is not None
    rounded = plan.weights[str(source.name)]
    integers = named_constant(model, f"{source.name}.int8", np.ascontiguousarray(rounded.integers.T))
    scales = named_constant(model, f"{source.name}.scale", rounded.scales)
    gathered = insert(model, node, "Gather", [integers, ids], {"axis": 0})
    floats = insert(model, node, "Cast", [gathered], {"to": ir.DataType.FLOAT})
    gathered_scales = insert(model, node, "Gather", [scales, ids], {"axis": 0})
    last = named_constant(model, "quantization.last_axis", np.array([-1]))
    column = insert(model, node, "Unsqueeze", [gathered_scales, last])
    replace(model, node, insert(model, node, "Mul", [floats, column]))
