"""The MatMuls of a graph that quantization is about, an activation times a constant weight, and the token table."""

from dataclasses import dataclass

import onnx_ir as ir

from maskedge.arrays import Float32Array
from maskedge_export.graphs.editing import constant_array, insert, named_constant, replace

__all__ = ["WeightMatMul", "matmul_inputs", "separate_gemms", "token_gather", "token_table", "weight_matmuls"]


@dataclass(frozen=True, slots=True)
class WeightMatMul:
    """A MatMul node of an activation and a constant weight."""

    node: ir.Node
    activation: ir.Value
    """What the node multiplied when it was found."""
    stored: ir.Value
    """The constant that the graph stores: the weight, or the table that a head tied to it multiplies with."""
    transposed: bool
    """Whether the weight is the stored constant transposed, as a tied head's is."""

    @property
    def factor(self) -> ir.Value:
        """What the node multiplies now: `activation`, or what has replaced it where it came from a MatMul itself."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def input(self) -> str:
        """The activation's name."""
        return str(self.activation.name)

    @property
    def name(self) -> str:
        """The stored weight's name."""
        return str(self.stored.name)

    @property
    def weight(self) -> Float32Array:
        """[in, out]"""
        array = constant_array(self.stored)
        return array.T if self.transposed else array

    @property
    def shape(self) -> tuple[int, int]:
        """The weight's: inputs, outputs."""
        assert self.stored.const_value is not None
        rows, columns = self.stored.const_value.shape.numpy()
        return (columns, rows) if self.transposed else (rows, columns)

    @property
    def at_masks(self) -> bool:
        """Whether it runs at the masked positions only, as far as the graph's shapes tell."""
        shape = self.activation.shape
        return shape is not None and len(shape) > 1 and shape[1] == "masks"


def weight_matmuls(model: ir.Model) -> list[WeightMatMul]:
    """Every MatMul with a weight, a head tied to the embedding table among them, in the graph's order."""
    found = (_weight_matmul(node) for node in model.graph if node.op_type == "MatMul")
    return [matmul for matmul in found if matmul is not None]


def matmul_inputs(model: ir.Model) -> dict[str, ir.Value]:
    """The activations that a graph multiplies with weights, by their names."""
    return {matmul.input: matmul.activation for matmul in weight_matmuls(model)}


def token_table(model: ir.Model) -> ir.Value | None:
    """The constant [vocabulary, hidden] that holds the tokens' embeddings; None where `token_gather` finds none."""
    gather = token_gather(model)
    return None if gather is None else gather.inputs[0]


def token_gather(model: ir.Model) -> ir.Node | None:
    """The node that looks up the tokens' embeddings in a constant table; None where the graph has no such node."""
    for node in model.graph:
        table, ids = (*node.inputs, None, None)[:2]
        if node.op_type == "Gather" and ids is not None and ids.name == "input_ids" and _is_matrix(table):
            return node
    return None


def separate_gemms(model: ir.Model) -> None:
    """Turn each Gemm with a constant weight into a MatMul and an Add, in place: so `weight_matmuls` finds them too."""
    for node in [node for node in model.graph if node.op_type == "Gemm" and _is_plain(node)]:
        x, weight = node.inputs[:2]
        assert weight is not None
        array = constant_array(weight)
        transposed = bool(node.attributes.get_int("transB", 0))
        factor = named_constant(model, f"{weight.name}.plain", array.T.copy()) if transposed else weight
        result = insert(model, node, "MatMul", [x, factor])
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            result = insert(model, node, "Add", [result, node.inputs[2]])
        replace(model, node, result)


def _weight_matmul(node: ir.Node) -> WeightMatMul | None:
    x, weight = node.inputs
    if x is None or weight is None or x.const_value is not None:
        return None
    if _is_matrix(weight):
        return WeightMatMul(node, x, weight, transposed=False)
    producer = weight.producer()
    if producer is not None and producer.op_type == "Transpose" and _is_matrix(producer.inputs[0]):
        assert producer.inputs[0] is not None
        return WeightMatMul(node, x, producer.inputs[0], transposed=True)
    return None


def _is_matrix(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and len(value.const_value.shape) == 2


def _is_plain(node: ir.Node) -> bool:
    ones = all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    return ones and not node.attributes.get_int("transA", 0) and _is_matrix(node.inputs[1])
