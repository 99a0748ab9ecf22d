"""Encoder -> ONNX graph: the clean fp32 graph, and the scoring outputs that every graph of a bundle ends in."""

import io
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from hashlib import sha256

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass
from onnxscript import optimizer
from torch import nn

from maskedge_export.errors import UnsupportedModelError
from maskedge_export.graphs.matmuls import token_table

__all__ = ["OPSET", "TRANSPOSED", "drop_weights", "encoder_graph", "share_tied_weights"]

OPSET = 23
"""The first with an Attention node."""

TRANSPOSED = ".transposed"
"""The ending of the name of a weight that is stored for MatMul, [in, out], where PyTorch stores [out, in]."""

EVERY_WEIGHT = 1 << 40
"""A size in bytes that no weight reaches: constants are folded whatever their size."""


def encoder_graph(encoder: nn.Module, *, batch: int = 3, length: int = 7, masks: int = 2) -> ir.Model:
    """The fp32 graph (input_ids, mask_positions) -> logits [batch, masks, vocabulary], of any batch and length.

    Raises UnsupportedModelError for a model that cannot be traced at all, or only for one size.

    Args:
        encoder: (input_ids [batch, length], mask_positions [batch, masks]) -> logits.
        batch: Texts of the example that is traced. The three sizes must differ from each other and from 1, so that each
            size in the graph is told apart.
        length: Tokens of each text.
        masks: Masks of each text.
    """
    input_ids = torch.arange(batch * length).reshape(batch, length) % 5
    mask_positions = torch.arange(masks).expand(batch, masks)
    try:
        model = _traced(encoder, input_ids, mask_positions)
    except torch.onnx.OnnxExporterError as error:
        raise UnsupportedModelError(
            f"{encoder} cannot be exported: its code cannot be traced for texts of any length ({_why(error)})"
        ) from error
    name_transposed_weights(model)
    traced = list(model.graph.initializers.values())
    with _quiet():
        optimizer.optimize(model, input_size_limit=EVERY_WEIGHT, output_size_limit=EVERY_WEIGHT)
    share_tied_weights(model)
    widen_attention_masks(model)
    RemoveUnusedNodesPass()(model)
    share_equal_weights(model)
    ClearMetadataAndDocStringPass()(model)  # it holds the exporting machine's paths
    drop_weights(value for value in traced if value.graph is not model.graph)
    return model


def drop_weights(values: Iterable[ir.Value]) -> None:
    """Free the memory of the values' weights. The exporter's caches keep the values as long as the process lives."""
    for value in values:
        value.const_value = None


def _traced(encoder: nn.Module, input_ids: torch.Tensor, mask_positions: torch.Tensor) -> ir.Model:
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
            optimize=False,  # torch's choice fuses rotary embeddings into a node that takes one batch size only
            verbose=False,
        )
    assert program is not None
    return program.model


def _why(error: BaseException) -> str:
    """The first cause of an exporter's error, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:300]


def name_transposed_weights(model: ir.Model) -> None:
    """Name the transpose of a weight after the weight: once folded, it would be called val_13 or the like."""
    named = set()
    for node in model.graph:
        weight = node.inputs[0] if node.op_type == "Transpose" else None
        if weight is not None and weight.is_initializer() and weight not in named:
            named.add(weight)
            node.outputs[0].name = f"{weight.name}{TRANSPOSED}"


def share_tied_weights(model: ir.Model) -> None:
    """Store a head tied to the embedding table once: its weight becomes the table, transposed when a session loads."""
    initializers = model.graph.initializers
    table = token_table(model)
    if table is None or table.const_value is None:
        return
    for head in [node for node in model.graph if node.op_type == "MatMul"]:
        weight = head.inputs[1]
        if weight is None or weight.const_value is None or not _is_transposed(weight, table):
            continue
        transpose = ir.node("Transpose", [table], {"perm": [1, 0]})
        model.graph.insert_before(head, transpose)
        head.replace_input_with(1, transpose.outputs[0])
        initializers.pop(str(weight.name), None)


def share_equal_weights(model: ir.Model) -> None:
    """Store once what several layers each have a copy of, such as rotary tables."""
    # onnx_ir's pass holds a second copy of all weights meanwhile; its hashing one refuses transposed arrays
    first: dict[tuple[object, ...], ir.Value] = {}
    for name, value in list(model.graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or value.is_graph_output():
            continue
        same = first.setdefault((tensor.dtype, tuple(tensor.shape.numpy()), sha256(tensor.tobytes()).digest()), value)
        if same is not value:
            value.replace_all_uses_with(same)
            model.graph.initializers.pop(name)


def _is_transposed(weight: ir.Value, table: ir.Value) -> bool:
    assert weight.const_value is not None
    assert table.const_value is not None
    if weight.const_value.shape.numpy() != table.const_value.shape.numpy()[::-1]:
        return False
    return np.array_equal(weight.const_value.numpy().T, table.const_value.numpy())


def widen_attention_masks(model: ir.Model) -> None:
    """Give every attention mask a row for each query, since onnxruntime does not broadcast one row to all queries."""
    for node in [node for node in model.graph if node.op_type == "Attention" and _has_narrow_mask(node)]:
        tape = ir.tape.Tape()
        queries = tape.op("Shape", [node.inputs[0]], {"start": -2, "end": -1})
        one = tape.initializer(ir.tensor(np.array([1]), name=f"{node.name}.one"))
        shape = tape.op("Concat", [queries, one], {"axis": 0})
        narrow = node.inputs[3]
        mask = tape.op("Expand", [narrow, shape])
        mask.type = narrow.type if narrow is not None else None
        model.graph.insert_before(node, tape.nodes)
        model.graph.register_initializer(one)
        node.replace_input_with(3, mask)


def _has_narrow_mask(node: ir.Node) -> bool:
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    return mask is not None and mask.shape is not None and mask.shape[-2] == 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence: the exporter reports its steps, and operators of packages that nobody asked for, on every stream."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
