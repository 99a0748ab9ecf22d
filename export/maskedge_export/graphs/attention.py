"""A bundle's scoring graph -> the graph of its attention: each head's probabilities, from the same weights."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, TopologicalSortPass

from maskedge.bundle.format import ATTENTION_OUTPUTS
from maskedge_export.errors import UnsupportedModelError
from maskedge_export.graphs.scoring_outputs import ask_everywhere

__all__ = ["save_attention_graph"]

AFTER_SOFTMAX = 3
"""Of an Attention node's `qk_matmul_output_mode`: its fourth output is what the softmax gives."""


def save_attention_graph(scoring: Path, path: Path) -> None:
    """Write the attention graph of a scoring graph.

    Raises UnsupportedModelError where its attention is no single operator.

    Args:
        scoring: The scoring graph's file.
        path: Where to write: beside it, since it reads the same files of weights.
    """
    model = ir.load(scoring)  # weights that lie in other files stay there
    layers = [node for node in model.graph if node.op_type == "Attention"]
    if not layers:
        raise UnsupportedModelError("this architecture has no attention graph: its attention is no single operator")
    ask_everywhere(model)
    tape = ir.tape.Tape(model.graph)
    axis = tape.initializer(ir.tensor(np.array([1]), name="attention.layers"))
    each = [tape.op("Unsqueeze", [_probabilities(node), axis]) for node in layers]
    (name,) = ATTENTION_OUTPUTS
    stacked = tape.op("Concat", each, {"axis": 1})
    stacked.name, stacked.dtype = name, ir.DataType.FLOAT
    model.graph.outputs[:] = [stacked]
    TopologicalSortPass()(model)
    RemoveUnusedNodesPass()(model)
    ir.save(model, path)


def _probabilities(node: ir.Node) -> ir.Value:
    """An Attention node's new output [batch, heads, queries, keys]."""
    node.attributes["qk_matmul_output_mode"] = ir.AttrInt64("qk_matmul_output_mode", AFTER_SOFTMAX)
    node.resize_outputs(4)
    return node.outputs[3]
