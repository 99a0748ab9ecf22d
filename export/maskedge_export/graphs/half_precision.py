"""Large constants that half precision holds to the bit take half their space, such as those of a checkpoint that was
stored in half precision. onnxruntime makes them whole again as it loads the graph, so the bits of its answers stay."""

import numpy as np
import onnx_ir as ir

from maskedge_export.graphs.editing import constant_array, insert

__all__ = ["halve_exact_constants"]

SMALLEST = 2**16
"""Bytes of the smallest constant that is worth a node."""


def halve_exact_constants(model: ir.Model) -> None:
    """Store the graph's large fp32 constants as float16, each that loses nothing by it, in place."""
    for value in list(model.graph.initializers.values()):
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT and tensor.nbytes >= SMALLEST:
            array = constant_array(value)
            with np.errstate(over="ignore"):
                halves = array.astype(np.float16)
            if np.array_equal(halves, array):
                _store(model, value, ir.tensor(halves, name=f"{value.name}.half"))


def _store(model: ir.Model, value: ir.Value, halves: ir.TensorProtocol) -> None:
    """Let everything that used the constant use what a Cast makes of its halves."""
    kind = ir.TensorType(ir.DataType.FLOAT16)
    half = ir.Value(name=halves.name, shape=value.shape, type=kind, const_value=halves)
    model.graph.register_initializer(half)
    whole = insert(model, model.graph[0], "Cast", [half], {"to": ir.DataType.FLOAT})
    whole.shape, whole.type = value.shape, value.type
    ir.convenience.replace_all_uses_with(value, whole)
    model.graph.initializers.pop(str(value.name))
