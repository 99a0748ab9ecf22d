"""A bundle's scoring graph -> the form that Optimum and transformers.js load: padded batches in, all logits out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass, TopologicalSortPass

from maskedge_export.calibration import Batch, Cells
from maskedge_export.checkpoint import Checkpoint
from maskedge_export.errors import UnsupportedModelError
from maskedge_export.logprobs import Logprobs, at_once, model_logprobs
from maskedge_export.minimal_pairs import MinimalPair
from maskedge_export.products import token_table
from maskedge_export.verification import Comparison, compare

__all__ = [
    "STANDARD_FILES",
    "STANDARD_OUTPUTS",
    "compare_standard_graphs",
    "save_standard",
    "save_standard_graphs",
    "standard_inputs",
    "standard_logprobs",
    "standard_reference",
    "token_types",
]

STANDARD_FILES = {"fp32": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}
"""The names that Optimum and transformers.js look for, by the precision whose graph is behind them."""
STANDARD_OUTPUTS = {"logits": "float32 [batch, sequence, vocabulary]"}
TEXTS = ("batch", "sequence")

LARGEST_FILE = 1 << 31
"""Bytes: a protobuf holds less. Below it, weights are inside the graph's file, as browsers want them."""
PADDING = 5
"""Tokens that the proof pads each text with."""
TYPED_EVERY = 4
"""Few, since int8's ranges were calibrated on texts of type 0 alone, as they mostly come."""
LOGITS_AT_ONCE = 1 << 24
"""Floats; the proof runs so few rows at once that their logits stay below."""

SUMMING = ("Cast", "Mul", "Add")
"""What stands between a table and the norm of the embeddings' sum: an int8 row is cast and scaled first."""

FloatArray = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


def standard_inputs(source: Checkpoint) -> dict[str, str]:
    """Inputs of a checkpoint's standard graphs, with their types and shapes; the mask is 0 in padding, 1 elsewhere."""
    typed = token_types(source) is not None
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if typed else [])]
    return dict.fromkeys(names, f"int64 [{', '.join(TEXTS)}]")


def save_standard_graphs(types: FloatArray | None, directory: Path, scoring: Mapping[str, str]) -> None:
    """Write the standard form of each scoring graph, given by precision, that has one; `types` are `token_types`.

    Raises UnsupportedModelError for an architecture whose graphs have none.
    """
    for precision, file in STANDARD_FILES.items():
        if precision in scoring:
            save_standard(directory / scoring[precision], directory / file, types)


def compare_standard_graphs(
    source: Checkpoint, directory: Path, cells: Cells, pairs: Sequence[MinimalPair]
) -> dict[str, Comparison]:
    """Each standard graph in the directory, on padded texts: fp32 compared with PyTorch, int8 with fp32."""
    reference, comparisons = standard_reference(source), {}
    for precision, file in STANDARD_FILES.items():
        if (directory / file).is_file():
            candidate = standard_logprobs(directory / file, source)
            comparisons[precision] = compare(reference, candidate, cells, pairs)
            reference = candidate
    return comparisons


def token_types(source: Checkpoint) -> FloatArray | None:
    """The vectors [types, embedding] where the tokenizer tells a text's first part from its second; else None."""
    if "token_type_ids" not in source.tokenizer.model_input_names:
        return None
    weights = source.model.state_dict()
    found = [weights[name] for name in weights if name.endswith("embeddings.token_type_embeddings.weight")]
    return found[0].float().numpy() if found and len(found[0]) > 1 else None


def save_standard(scoring: Path, path: Path, types: FloatArray | None) -> None:
    """Write the standard form of the scoring graph in a file. Raises UnsupportedModelError where it has none."""
    model = ir.load(scoring)
    ir.external_data.load_to_model(model)
    _drop_scoring_outputs(model)
    _ask_everywhere(model)
    _hide_padding(model)
    if types is not None:
        _add_token_types(model, types)
    TopologicalSortPass()(model)
    RemoveUnusedNodesPass()(model)
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    ir.save(model, path, external_data=f"{path.name}_data" if weights >= LARGEST_FILE else None)


def _drop_scoring_outputs(model: ir.Model) -> None:
    """Back to the graph (input_ids, mask_positions) -> logits, which the scoring outputs were added to."""
    graph = model.graph
    logits = next(node for node in graph if node.op_type == "LogSoftmax").inputs[0]
    assert logits is not None
    assert logits.shape is not None
    logits.name, logits.shape = "logits", ir.Shape([*TEXTS, logits.shape[2]])
    graph.outputs[:] = [logits]
    graph.inputs[:] = graph.inputs[:2]
    graph.inputs[0].shape = ir.Shape(TEXTS)


def _ask_everywhere(model: ir.Model) -> None:
    """Every position takes the place of the masks' positions."""
    input_ids, mask_positions = model.graph.inputs
    tape = ir.tape.Tape(model.graph)
    zero, one = (tape.initializer(ir.tensor(np.array(number), name=f"standard.{number}")) for number in (0, 1))
    length = tape.op("Gather", [tape.op("Shape", [input_ids]), one])
    positions = tape.op("Range", [zero, length, one])
    everywhere = tape.op("Expand", [positions, tape.op("Shape", [input_ids])])
    ir.convenience.replace_all_uses_with(mask_positions, everywhere)
    model.graph.inputs[1] = _input("attention_mask")


def _hide_padding(model: ir.Model) -> None:
    """Let every attention look at text only; padding, which nobody reads, may look at everything, since the softmax
    over nothing at all is no number."""
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
    """A layer's own mask where `seen` [batch, 1, sequence, sequence] allows it: which keys each query looks at (a
    window), or what is added to the scores, where the least float leaves a key no share of the softmax."""
    if own.dtype == ir.DataType.BOOL:
        return tape.op("And", [own, seen])
    if own.dtype != ir.DataType.FLOAT:
        raise _refusal(f"its attention has a mask of type {own.dtype}, {own.name}")
    least = tape.initializer(ir.tensor(np.finfo(np.float32).min, name=f"standard.least.{own.name}"))
    return tape.op("Where", [seen, own, least])


def _add_token_types(model: ir.Model, types: FloatArray) -> None:
    """Add to each embedding what its type differs by from type 0, which the scoring graph holds already."""
    norm = _embedding_norm(model)
    model.graph.inputs.append(_input("token_type_ids"))
    tape = ir.tape.Tape(model.graph)
    table = tape.initializer(ir.tensor(types - types[0], name="standard.token_types"))
    difference = tape.op("Gather", [table, model.graph.inputs[-1]])
    norm.replace_input_with(0, tape.op("Add", [norm.inputs[0], difference]))


def _embedding_norm(model: ir.Model) -> ir.Node:
    """The norm of the sum of a token's embeddings, its type's among them: nothing else reads that sum."""
    node = token_table(model)
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


def standard_reference(source: Checkpoint) -> Logprobs:
    """PyTorch's answers to batches of which some rows end in tokens of other types, where there are types."""
    types = token_types(source)
    if types is None:
        return model_logprobs(source.model, source.vocab_size)

    def typed(ids: torch.Tensor) -> Any:
        return source.model(ids, token_type_ids=torch.from_numpy(_proof_types(ids.numpy(), len(types))))

    return model_logprobs(typed, source.vocab_size)


def standard_logprobs(graph: Path, source: Checkpoint) -> Logprobs:
    """A standard graph as a function of batches, each padded on the right where the model's length leaves room.

    Types of tokens are as `standard_reference` has them; of the vocabulary only the tokenizer's ids.
    """
    session = onnxruntime.InferenceSession(graph, _one_thread(), providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    types, padding_id = token_types(source), int(source.tokenizer.pad_token_id or 0)

    def run(ids: Ids, positions: Ids) -> npt.NDArray[np.float64]:
        padding = ((0, 0), (0, min(PADDING, source.max_length - ids.shape[1])))
        inputs = {
            "input_ids": np.pad(ids, padding, constant_values=padding_id),
            "attention_mask": np.pad(np.ones_like(ids), padding),
            "token_type_ids": np.pad(_proof_types(ids, 1 if types is None else len(types)), padding),
        }
        logits = session.run(["logits"], {name: inputs[name] for name in names})[0]
        return _log_softmax(np.take_along_axis(logits, positions[:, :, np.newaxis], 1)[:, 0])[:, : source.vocab_size]

    def logprobs(batch: Batch) -> npt.NDArray[np.float64]:
        length, head = batch.input_ids.shape[1] + PADDING, session.get_outputs()[0].shape[-1]
        rows = max(1, LOGITS_AT_ONCE // (length * head))
        pieces: Sequence[Any] = [
            run(batch.input_ids[start : start + rows], batch.mask_positions[start : start + rows])
            for start in range(0, len(batch.input_ids), rows)
        ]
        return np.concatenate(pieces)

    return at_once(logprobs)


def _proof_types(ids: Ids, count: int) -> Ids:
    """Types [batch, length]: 0 everywhere, but one of the others in the second half of about one row in TYPED_EVERY. A
    row's own ids choose, so that it has the same types whatever batch it is in."""
    types, drawn = np.zeros_like(ids), ids.sum(1, keepdims=True)
    if count > 1:
        types[:, ids.shape[1] // 2 :] = (drawn % TYPED_EVERY == 0) * (1 + drawn // TYPED_EVERY % (count - 1))
    return types


def _log_softmax(logits: FloatArray) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _one_thread() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return options


def _input(name: str) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(TEXTS), type=ir.TensorType(ir.DataType.INT64))
