"""Encoder -> ONNX graph: the clean fp32 graph, and the scoring outputs that every graph of a bundle ends in."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, DeduplicateInitializersPass, RemoveUnusedNodesPass
from onnxscript import optimizer
from torch import nn

from maskedge.bundle import GRAPH_INPUTS, GRAPH_OUTPUTS

__all__ = ["OPSET", "add_scoring_outputs", "encoder_graph", "share_tied_weights"]

OPSET = 23
"""The first with an Attention node."""

EVERY_WEIGHT = 1 << 40
"""Bytes; folding of constants is not limited by size."""


def encoder_graph(encoder: nn.Module, *, batch: int = 3, length: int = 7, masks: int = 2) -> ir.Model:
    """The fp32 graph (input_ids, mask_positions) -> logits [batch, masks, vocabulary], of any batch and length.

    The sizes are those of the example that is traced; they only have to differ from each other and from 1.
    """
    input_ids = torch.arange(batch * length).reshape(batch, length) % 5
    mask_positions = torch.arange(masks).expand(batch, masks)
    shapes = {"input_ids": {0: "batch", 1: "length"}, "mask_positions": {0: "batch", 1: "masks"}}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            encoder,
            (input_ids, mask_positions),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=shapes,
            input_names=list(shapes),
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None
    model = program.model
    optimizer.fold_constants(model, input_size_limit=EVERY_WEIGHT, output_size_limit=EVERY_WEIGHT)
    share_tied_weights(model)
    for tidy in (
        RemoveUnusedNodesPass(),
        DeduplicateInitializersPass(size_limit=EVERY_WEIGHT),
        ClearMetadataAndDocStringPass(),
    ):
        tidy(model)  # layers share their rotary tables; the metadata holds the exporting machine's paths
    return model


def share_tied_weights(model: ir.Model) -> None:
    """Store a head tied to the embedding once: the head's weight becomes the embedding, transposed when loading."""
    initializers = model.graph.initializers
    table = next(node for node in model.graph if node.op_type == "Gather" and _is_token_table(node)).inputs[0]
    head = next(node for node in reversed(model.graph) if node.op_type == "MatMul")
    weight = head.inputs[1]
    if table is None or weight is None or table.const_value is None or weight.const_value is None:
        return
    if not np.array_equal(weight.const_value.numpy().T, table.const_value.numpy()):
        return
    transpose = ir.node("Transpose", [table], {"perm": [1, 0]})
    model.graph.insert_before(head, transpose)
    head.replace_input_with(1, transpose.outputs[0])
    initializers.pop(str(weight.name))


def _is_token_table(node: ir.Node) -> bool:
    return node.inputs[1] is not None and node.inputs[1].name == "input_ids"


def add_scoring_outputs(model: ir.Model) -> None:
    """Replace the graph's logits by what the runtime asks for: log-probabilities, ranks, entropy.

    They are computed here rather than in numpy because each looks at the whole vocabulary.
    """
    graph = model.graph
    logits = graph.outputs[0]
    target_ids = _input("target_ids", ["batch", "masks", "targets"])
    top_k = _input("top_k", [1])
    graph.inputs.extend([target_ids, top_k])
    tape = ir.tape.Tape(graph)
    logprobs = tape.op("LogSoftmax", [logits], {"axis": -1})
    top_logprobs, top_ids = tape.op_multi_out("TopK", [logprobs, top_k], {"axis": -1}, num_outputs=2)
    last = tape.initializer(ir.tensor(np.array([-1]), name="last_axis"))
    expected = tape.op("ReduceSum", [tape.op("Mul", [tape.op("Exp", [logprobs]), logprobs]), last], {"keepdims": 0})
    targets = tape.op("GatherElements", [logprobs, target_ids], {"axis": -1})
    results = {
        "top_logprobs": top_logprobs,
        "top_ids": top_ids,
        "entropy": tape.op("Neg", [expected]),
        "target_logprobs": targets,
        "target_ranks": _ranks(tape, logprobs, targets, last),
    }
    graph.outputs.clear()
    for name in GRAPH_OUTPUTS:
        value = results[name]
        value.name = name
        value.dtype = ir.DataType.INT64 if GRAPH_OUTPUTS[name].startswith("int64") else ir.DataType.FLOAT
        graph.outputs.append(value)
    assert [value.name for value in graph.inputs] == list(GRAPH_INPUTS)


def _ranks(tape: ir.tape.Tape, logprobs: ir.Value, targets: ir.Value, last: ir.Value) -> ir.Value:
    """1 + the number of tokens with a greater log-probability than each target."""
    middle = tape.initializer(ir.tensor(np.array([-2]), name="middle_axis"))
    one = tape.initializer(ir.tensor(np.array(1), name="one"))
    all_tokens = tape.op("Unsqueeze", [logprobs, middle])  # [batch, masks, 1, vocabulary]
    each_target = tape.op("Unsqueeze", [targets, last])  # [batch, masks, targets, 1]
    greater = tape.op("Greater", [all_tokens, each_target])
    # counted in float32, exact to 16 million and faster to sum than integers
    better = tape.op("ReduceSum", [tape.op("Cast", [greater], {"to": ir.DataType.FLOAT}), last], {"keepdims": 0})
    return tape.op("Add", [tape.op("Cast", [better], {"to": ir.DataType.INT64}), one])


def _input(name: str, shape: list[str | int]) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.INT64))


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports its steps, and operators of packages that nobody asked for, on every stream it finds."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
