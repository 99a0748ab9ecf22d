"""What a graph becomes before OpenVINO compiles it: what computes the same, faster or for texts that are padded."""

from typing import Any

import numpy as np

from maskedge.arrays import Float32Array
from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.openvino_library import openvino, operators

__all__ = ["with_fast_products", "with_lengths", "with_signed_levels"]

ACTIVATION = ("Multiply", "Subtract", "Convert", "Convert", "FakeQuantize")
"""What makes an activation of 8-bit levels a float again, from the end: its scale, its zero point, two types, the
levels."""
WEIGHT = ("Multiply", "Convert", "Constant")
"""The same of a weight, whose zero point is 0."""


def with_fast_products(model: openvino.Model) -> openvino.Model:
    """The graph, its products of integers as OpenVINO computes them fastest on this CPU."""
    model = _with_integer_head(model)
    return with_signed_levels(model) if cpu_features().amx_int8 else model


def _with_integer_head(model: openvino.Model) -> openvino.Model:
    """The graph, its 8-bit constants transposed now. A head that is tied to the token table multiplies with the table
    transposed: OpenVINO would see no 8-bit weight there, and keep the product, and a copy of the table, in floats."""
    for node in model.get_ops():
        if node.get_type_name() != "Transpose":
            continue
        table, order = (value.get_node() for value in node.input_values())
        if table.get_type_name() == "Constant" and table.get_element_type() == openvino.Type.i8:
            transposed = np.ascontiguousarray(table.data.transpose(order.data))
            node.output(0).replace(openvino.op.Constant(transposed).output(0))
    return model


def with_signed_levels(model: openvino.Model) -> openvino.Model:
    """The graph, in which weights of 8 bits multiply levels from -128 to 127 where those were from 0 to 255.

    OpenVINO multiplies signed levels that have no zero point faster where a CPU has AMX. What the zero point takes from
    an output depends on the weights alone, and becomes a bias: the integers are the same, and floats differ by the last
    bits of a sum.
    """
    signed: dict[str, openvino.Node] = {}
    for product in model.get_ops():
        made = _integer_product(product)
        if made is None:
            continue
        levels, weight = made
        name = levels[0].get_friendly_name()
        if name not in signed:
            signed[name] = _signed(levels)
        users = product.output(0).get_target_inputs()
        product.input(0).replace_source_output(signed[name].output(0))
        whole = operators.add(product, _bias_of_zero_point(levels, weight))
        for user in users:
            user.replace_source_output(whole.output(0))
    return model


def _integer_product(node: openvino.Node) -> tuple[list[openvino.Node], list[openvino.Node]] | None:
    """What made the activation and the weight of a product of unsigned levels, if a node is one."""
    if node.get_type_name() != "MatMul" or any(node.get_attributes()[f"transpose_{side}"] for side in "ab"):
        return None
    levels, weight = _made_by(node.input_value(0), ACTIVATION), _made_by(node.input_value(1), WEIGHT)
    if not levels or not weight or weight[-1].data.ndim != 2:
        return None
    one_for_all = all(_numbers(each.input_value(1)).size == 1 for each in levels[:2])
    unsigned = [_numbers(levels[-1].input_value(place)).tolist() for place in (3, 4)] == [0, 255]
    outputs = weight[-1].data.shape[1]
    one_for_each = _numbers(weight[0].input_value(1)).shape in ((), (1,), (outputs,), (1, outputs))
    return (levels, weight) if one_for_all and unsigned and one_for_each else None


def _made_by(value: openvino.Output, kinds: tuple[str, ...]) -> list[openvino.Node]:
    """The nodes of these kinds of which each makes the first input of the one before; none if others do."""
    nodes: list[openvino.Node] = []
    for kind in kinds:
        node = nodes[-1].input_value(0).get_node() if nodes else value.get_node()
        if node.get_type_name() != kind:
            return []
        nodes.append(node)
    return nodes


def _signed(levels: list[openvino.Node]) -> openvino.Node:
    """The same levels less 128, times their scale."""
    rounded = levels[-1]
    lowest, highest = (rounded.input_value(place) for place in (1, 2))
    signed = operators.fake_quantize(
        rounded.input_value(0), lowest, highest, np.float32(-128), np.float32(127), rounded.get_attributes()["levels"]
    )
    return operators.multiply(operators.convert(operators.convert(signed, "i8"), "f32"), levels[0].input_value(1))


def _bias_of_zero_point(levels: list[openvino.Node], weight: list[openvino.Node]) -> Float32Array:
    """[outputs] what the zero point of signed levels, times the weights, takes from each."""
    scale, zero_point = (_numbers(each.input_value(1)).item() for each in levels[:2])
    columns = weight[-1].data.sum(axis=0, dtype=np.int32) * _numbers(weight[0].input_value(1)).ravel()
    bias: Float32Array = ((128 - zero_point) * scale * columns).astype(np.float32)
    return bias


def _numbers(value: openvino.Output) -> Any:
    """Those of a constant, or of one in another type or shape; none of what is computed."""
    node = value.get_node()
    while node.get_type_name() in ("Convert", "Reshape"):
        node = node.input_value(0).get_node()
    constant = node.get_type_name() == "Constant"
    return node.data.reshape(list(value.get_shape())) if constant else np.empty(0)


def with_lengths(model: openvino.Model) -> bool:
    """Whether the graph was given the input `lengths`, so that attention gives no share to a token beyond: where all
    its attention looks at all tokens alike, and no weight makes a number that is none, of which no share is NaN too. In
    a window a token of padding might see nothing at all, and be NaN."""
    attentions = [node for node in model.get_ops() if node.get_type_name() == "ScaledDotProductAttention"]
    if not attentions or not all(map(_sees_everything, attentions)) or not _is_finite(model):
        return False
    lengths = operators.parameter([-1], np.int64, name="lengths")
    lengths.output(0).set_names({"lengths"})
    own = _own_tokens(model.input("input_ids"), lengths)
    for node in attentions:
        query, key, value, _ = node.input_values()
        seen = operators.select(own, np.float32(0), np.float32(-np.inf))
        node.output(0).replace(operators.scaled_dot_product_attention(query, key, value, seen).output(0))
    model.add_parameters([lengths])
    return True


def _sees_everything(attention: openvino.Node) -> bool:
    """Whether an attention's mask is one number, and its scale the usual one."""
    values = attention.input_values()
    return len(values) == 4 and values[3].get_partial_shape().rank == 0


def _is_finite(model: openvino.Model) -> bool:
    """Whether all weights are numbers."""
    constants = (node for node in model.get_ops() if node.get_type_name() == "Constant")
    return all(np.isfinite(each.data).all() for each in constants if each.get_element_type().is_real())


def _own_tokens(input_ids: openvino.Output, lengths: openvino.Node) -> openvino.Node:
    """[batch, 1, 1, length]: whether a token is one of its row's own."""
    longest = operators.gather(operators.shape_of(input_ids), np.int64(1), np.int64(0))
    positions = operators.range(np.int64(0), longest, np.int64(1), "i64")
    return operators.less(positions, operators.unsqueeze(lengths, np.array([1, 2, 3])))
