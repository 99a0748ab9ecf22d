"""Small changes of a graph: insert, replace, constants."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from maskedge.arrays import Float32Array

__all__ = ["constant_array", "insert", "named_constant", "replace"]


def constant_array(value: ir.Value) -> Float32Array:
    """The numbers of a constant. A file's are read anew at each call, and take no memory once the caller drops them."""
    tensor = value.const_value
    assert tensor is not None
    if not isinstance(tensor, ir.ExternalTensor):
        return np.asarray(tensor.numpy())
    array = np.array(tensor.numpy())
    tensor.release()
    return array


def named_constant(model: ir.Model, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
    """A constant of the graph with that name: the one that is there already, else a new one."""
    if name not in model.graph.initializers:
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        model.graph.register_initializer(value)
    return model.graph.initializers[name]


def insert(
    model: ir.Model,
    before: ir.Node,
    op: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    domain: str = "",
) -> ir.Value:
    """The output of a new node.

    Args:
        model: The graph, changed in place.
        before: The node that the new one is put before.
        op: The operator's name.
        inputs: The operator's inputs; None for one that is left out.
        attributes: The operator's attributes.
        domain: The operator's domain; ONNX's own by default.
    """
    node = ir.node(op, inputs, attributes, domain=domain)
    model.graph.insert_before(before, node)
    return node.outputs[0]


def replace(model: ir.Model, node: ir.Node, value: ir.Value) -> None:
    """Let everything that used a node's output use another value, which takes its name if it is the graph's output, and
    remove the node."""
    old = node.outputs[0]
    value.shape, value.type = old.shape, old.type
    if old.is_graph_output():
        value.name, old.name = old.name, None
    ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)
