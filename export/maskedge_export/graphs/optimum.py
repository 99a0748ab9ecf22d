"""A bundle's scoring graph -> the form that Optimum and transformers.js load: padded batches in, all logits out."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, TopologicalSortPass

from maskedge.arrays import Float32Array
from maskedge_export.encoders.checkpoint import Checkpoint
from maskedge_export.errors import UnsupportedModelError
from maskedge_export.graphs.matmuls import token_gather
from maskedge_export.graphs.scoring_outputs import ask_everywhere

__all__ = [
    "FP32_FILE",
    "QUANTIZED_FILE",
    "STANDARD_OUTPUTS",
    "save_standard",
    "save_standard_graphs",
    "standard_files",
    "standard_inputs",
    "token_types",
]

FP32_FILE, QUANTIZED_FILE = "onnx/model.onnx", "onnx/model_quantized.onnx"
"""The names that Optimum and transformers.js look for."""
STANDARD_OUTPUTS = {"logits": "float32 [batch, sequence, vocabulary]"}
TEXTS = ("batch", "sequence")

LARGEST_FILE = 1 << 31
"""Bytes: a protobuf holds less. Below it, weights are inside the graph's file, as browsers want them."""

SUMMING = ("Cast", "Mul", "Add")
"""The operators between the token table and the norm of the embeddings' sum: an int8 row is cast and scaled first."""


def standard_inputs(source: Checkpoint) -> dict[str, str]:
    """The inputs of a checkpoint's standard graphs by name, with their types and shapes.

    `attention_mask` is 0 in padding and 1 elsewhere.
    """
    typed = token_types(source) is not None
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if typed else [])]
    return dict.fromkeys(names, f"int64 [{', '.join(TEXTS)}]")


def standard_files(precisions: Iterable[str]) -> dict[str, str]:
    """The standard graphs of a bundle with these precisions: by precision, the name that others know it by.

    There is one name for a quantized graph: of `int8` and `int8-avx2` the first has it.
    """
    names = {"fp32": FP32_FILE, "int8": QUANTIZED_FILE, "int8-avx2": QUANTIZED_FILE}
    by_file: dict[str, str] = {}
    for precision in precisions:
        if precision in names:
            by_file.setdefault(names[precision], precision)
    return {precision: file for file, precision in by_file.items()}


def save_standard_graphs(types: Float32Array | None, directory: Path, scoring: Mapping[str, str]) -> None:
    """Write the standard form of each scoring graph that has one, as `standard_files` names it.

    Raises UnsupportedModelError for an architecture whose graphs have no standard form.

    Args:
        types: The vectors of the tokens' types, as `token_types` finds them.
        directory: The bundle's.
        scoring: The scoring graphs' paths within it, by precision, in the bundle's order.
    """
    for precision, file in standard_files(scoring).items():
        save_standard(directory / scoring[precision], directory / file, types)


def token_types(source: Checkpoint) -> Float32Array | None:
    """The vectors of the tokens' types [types, embedding]; None where the tokenizer tells no parts apart."""
    if "token_type_ids" not in source.tokenizer.model_input_names:
        return None
    weights = source.model.state_dict()
    found = [weights[name] for name in weights if name.endswith("embeddings.token_type_embeddings.weight")]
    return found[0].float().numpy() if found and len(found[0]) > 1 else None


def save_standard(scoring: Path, path: Path, types: Float32Array | None) -> None:
    """Write the standard form of one scoring graph. Raises UnsupportedModelError where it has none.

    Args:
        scoring: The scoring graph's file.
        path: Where to write.
        types: The vectors of the tokens' types; None for a graph without such an input.
    """
    model = ir.load(scoring)
    ir.external_data.load_to_model(model)
    _end_in_logits(model)
    ask_everywhere(model)
    model.graph.inputs.append(_input("attention_mask"))
    _hide_padding(model)
    if types is not None:
        _add_token_types(model, types)
    TopologicalSortPass()(model)
    RemoveUnusedNodesPass()(model)
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    ir.save(model, path, external_data=f"{path.name}_data" if weights >= LARGEST_FILE else None)


def _end_in_logits(model: ir.Model) -> None:
    """Take away what the scoring outputs added behind the logits."""
    graph = model.graph
    logits = next(node for node in graph if node.op_type == "LogSoftmax").inputs[0]
    assert logits is not None
    assert logits.shape is not None
    logits.name, logits.shape = "logits", ir.Shape([*TEXTS, logits.shape[2]])
    graph.outputs[:] = [logits]
    graph.inputs[0].shape = ir.Shape(TEXTS)


def _hide_padding(model: ir.Model) -> None:
    """Let the queries of text attend to text only. Those of padding, which nobody reads, attend to everything, since a
    softmax over no keys at all is no number."""
    layers = [node for node in model.graph if node.op_type == "Attention"]
    if not layers:
        raise _refusal("its attention is no single operator that takes a mask")
    tape = ir.tape.Tape(model.graph)
    key_axes, query_axes = (
        tape.initializer(ir.tensor(np.array(axes), name=f"standard.{name}_axes"))
        for name, axes in (("key", [1, 2]), ("query", [1, 3]))
    )
    present = tape.op("Cast", [model.graph.inputs[1]], {"to": ir.DataType.BOOL})
    padding = tape.op("Not", [present])
    seen = tape.op("Or", [tape.op("Unsqueeze", [present, key_axes]), tape.op("Unsqueeze", [padding, query_axes])])
    for node in layers:
        own = node.inputs[3] if len(node.inputs) > 3 else None
        node.resize_inputs(max(4, len(node.inputs)))
        node.replace_input_with(3, seen if own is None else _both_masks(tape, own, seen))


def _both_masks(tape: ir.tape.Tape, own: ir.Value, seen: ir.Value) -> ir.Value:
    """A layer's own mask, where `seen` [batch, 1, sequence, sequence] allows the query to attend to the key.

    The own mask says which keys each query attends to (a window), or what is added to the scores: there the least float
    leaves a key no share of the softmax.
    """
    if own.dtype == ir.DataType.BOOL:
        return tape.op("And", [own, seen])
    if own.dtype != ir.DataType.FLOAT:
        raise _refusal(f"its attention has a mask of type {own.dtype}, {own.name}")
    least = tape.initializer(ir.tensor(np.finfo(np.float32).min, name=f"standard.least.{own.name}"))
    return tape.op("Where", [seen, own, least])


def _add_token_types(model: ir.Model, types: Float32Array) -> None:
    """Add to each embedding the difference of its type's vector from type 0's, which the scoring graph has added
    already."""
    norm = _embedding_norm(model)
    model.graph.inputs.append(_input("token_type_ids"))
    tape = ir.tape.Tape(model.graph)
    table = tape.initializer(ir.tensor(types - types[0], name="standard.token_types"))
    difference = tape.op("Gather", [table, model.graph.inputs[-1]])
    norm.replace_input_with(0, tape.op("Add", [norm.inputs[0], difference]))


def _embedding_norm(model: ir.Model) -> ir.Node:
    """The norm of the sum of a token's embeddings, to which its type's belongs. Nothing else may read that sum."""
    # From the token table on, each value has one reader until the norm.
    node = token_gather(model)
    readers = [] if node is None else list(node.outputs[0].consumers())
    while len(readers) == 1 and readers[0].op_type in SUMMING:
        readers = list(readers[0].outputs[0].consumers())
    if len(readers) == 1 and readers[0].op_type == "LayerNormalization":
        return readers[0]
    raise _refusal("its tokens' embeddings are not added up and normalized at once, types among them")


def _refusal(reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"this architecture has no standard graph, since {reason}; export it without --standard"
    )


def _input(name: str) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(TEXTS), type=ir.TensorType(ir.DataType.INT64))
