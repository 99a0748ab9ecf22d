"""fp32 graph -> static int8 graph: unsigned 8-bit activations times signed 8-bit weights, in QDQ form.

An activation has fixed scales, found on calibration text, or a scale for each token that depends on that token alone:
either way a text's score does not depend on its batch. Weights have a scale for each output channel, and the embedding
table is stored as int8 rows with a scale each.
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
from maskedge_export.in_order import in_order
from maskedge_export.quantization.gptq import RoundedWeight, Rounding, gptq
from maskedge_export.quantization.observers import ActivationObserver, Range
from maskedge_export.torch_threads import one_torch_thread

__all__ = ["QMAX", "SEVEN_BIT_QMAX", "Plan", "quantize", "round_weights", "stored_weights", "summed_hessian"]

QMAX = 127
"""The largest integer of a weight of 8 bits; the least is -127."""

SEVEN_BIT_QMAX = 63
"""The largest integer of a weight of which two products with 8-bit activations stay below 2^15: 2 * 255 * 63."""

SEVEN_BIT_STEPS = 127
"""Steps of an activation of which two products with 8-bit weights stay below 2^15: 2 * 127 * 127."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How each activation and each weight of a graph is quantized. Activations that no set names have one term with a
    fixed range."""

    observers: Mapping[str, ActivationObserver]
    """What was seen of each activation, by its name."""
    weights: Mapping[str, RoundedWeight]
    """The rounded weights by the stored weight's name, as `round_weights` makes them."""
    two_term: frozenset[str] = frozenset()
    """Activations x written as two terms of 8 bits, x = a + b, of which b covers what rounding x to a left over: an
    error 256 times smaller for twice the integer work. Each term has one fixed scale."""
    per_token: frozenset[str] = frozenset()
    """Activations with a scale for each token: its row is divided by its largest magnitude before the MatMul, and the
    product multiplied with it after. For those of which a few rows are many times larger than the others."""
    fp32: frozenset[str] = frozenset()
    """Activations whose MatMuls stay in fp32."""
    seven_bit_head: bool = False
    """Whether a head tied to the table takes its activation as two terms of 7 bits, since its weights have 8."""


def round_weights(
    model: ir.Model,
    observers: Mapping[str, ActivationObserver],
    embedding_fisher: Float32Array | None = None,
    rounding: Rounding = gptq,
    qmax: int = QMAX,
) -> dict[str, RoundedWeight]:
    """Every weight of a graph's MatMuls and its embedding table, as [hidden, vocabulary], rounded; by their names.

    The table is rounded for what is read from it, not for a head that shares it: rounding it for the head's inputs
    raised the first model's divergence by a third.

    Args:
        model: The fp32 graph.
        observers: What was seen of each activation, by its name; their Hessians are used.
        embedding_fisher: What errors of the table do, see `maskedge_export.quantization.fisher`.
        rounding: `gptq` or `round_to_nearest`.
        qmax: The weights' largest integer; the table's is always QMAX.
    """
    table = token_table(model)
    of_table = {} if table is None else {str(table.name): rounding(constant_array(table).T, embedding_fisher, QMAX)}
    others = {name: matmuls for name, matmuls in stored_weights(model).items() if name not in of_table}
    # Those that take longest first: in another order, one thread would wait for the other's.
    longest_first = sorted(others, key=lambda name: -others[name][0].shape[0])

    def round_one(matmuls: list[WeightMatMul]) -> RoundedWeight:
        return rounding(matmuls[0].weight, summed_hessian(matmuls, observers), qmax)

    with one_torch_thread():
        rounded = in_order(round_one, map(others.__getitem__, longest_first))
        return of_table | dict(zip(longest_first, rounded, strict=True))


def stored_weights(model: ir.Model) -> dict[str, list[WeightMatMul]]:
    """The MatMuls of each stored weight, by its name: several where layers share it."""
    matmuls: defaultdict[str, list[WeightMatMul]] = defaultdict(list)
    for matmul in weight_matmuls(model):
        matmuls[matmul.name].append(matmul)
    return matmuls


def summed_hessian(matmuls: Sequence[WeightMatMul], observers: Mapping[str, ActivationObserver]) -> Float32Array | None:
    """The sum of x x^T over all activations that one weight is multiplied with; None where nothing was seen of them."""
    total: Float32Array | None = None
    for name in dict.fromkeys(matmul.input for matmul in matmuls):
        hessian = observers[name].hessian  # read from a file: one at a time
        if hessian is not None:
            total = hessian if total is None else total + hessian
    return total


def quantize(model: ir.Model, plan: Plan) -> None:
    """Turn each MatMul with a weight, and the embedding, into its int8 form, in place.

    Args:
        model: The fp32 graph.
        plan: How each of its numbers is quantized.
    """
    matmuls = [matmul for matmul in weight_matmuls(model) if _is_quantized(model, matmul, plan)]
    _quantize_embedding(model, plan)
    # An activation is quantized once, whatever number of MatMuls take it: x W becomes the sum of its terms' products.
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
    """Whether a MatMul becomes an integer one. A tied head always does: its weight, the table, is stored as int8 rows
    only."""
    return matmul.stored is token_table(model) or matmul.input not in plan.fp32


@dataclass(frozen=True, slots=True)
class _Terms:
    """A quantized activation, as its MatMuls take it."""

    values: list[ir.Value] = field(default_factory=list)
    token_scale: ir.Value | None = None
    """[.., 1]: what each token's row was divided by."""


def _terms(model: ir.Model, matmul: WeightMatMul, plan: Plan) -> _Terms:
    """A MatMul's activation, quantized as the plan says."""
    observer = plan.observers[matmul.input]
    if matmul.transposed and plan.seven_bit_head:
        return _Terms(_two_terms(model, matmul, Range(observer.low, observer.high, SEVEN_BIT_STEPS)))
    if matmul.input in plan.two_term:
        return _Terms(_two_terms(model, matmul, Range(observer.low, observer.high)))
    if matmul.input in plan.per_token:
        return _divided_per_token(model, matmul)
    return _Terms([_rounded(model, matmul.node, matmul.factor, matmul.input, observer.mse_range)])


def _two_terms(model: ir.Model, matmul: WeightMatMul, coarse: Range) -> list[ir.Value]:
    """a = x rounded to coarse steps, and b = x - a rounded to steps of its own, as many to one coarse step.

    The coarse range must clip nothing: only then does rounding leave at most half a step, which is what b covers.
    """
    x, node, name = matmul.factor, matmul.node, matmul.input
    first = _rounded(model, node, x, name, coarse)
    rest = insert(model, node, "Sub", [x, first])
    half = float(coarse.scale) / 2
    return [first, _rounded(model, node, rest, f"{name}.rest", Range(-half, half, coarse.steps))]


def _divided_per_token(model: ir.Model, matmul: WeightMatMul) -> _Terms:
    """The activation with each row divided by its largest magnitude, so that the range -1 to 1 covers every token."""
    node, last = matmul.node, named_constant(model, "quantization.last_axis", np.array([-1]))
    peak = insert(model, node, "ReduceMax", [insert(model, node, "Abs", [matmul.factor]), last], {"keepdims": 1})
    tiny = named_constant(model, "quantization.tiny", np.array(1e-8, np.float32))  # a row of zeros stays one
    scale = insert(model, node, "Max", [peak, tiny])
    divided = insert(model, node, "Div", [matmul.factor, scale])
    return _Terms([_rounded(model, node, divided, f"{matmul.input}.by_row", Range(-1.0, 1.0))], scale)


def _rounded(model: ir.Model, before: ir.Node, x: ir.Value, name: str, range_: Range) -> ir.Value:
    """x rounded to the range's steps: quantized and, for onnxruntime to fuse with what follows, dequantized."""
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
    """Store the token table as int8 rows. A gathered row is cast to float and multiplied with its scale."""
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
