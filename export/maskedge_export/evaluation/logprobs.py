"""Log-probabilities of masked batches: by a PyTorch model, a bundle's graph, an Optimum graph, or kept on disk."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from maskedge.arrays import Float64Array, Int64Array
from maskedge.bundle.engine import Graph, graph_inputs, session_options
from maskedge_export.array_files import load_arrays, save_arrays
from maskedge_export.encoders.checkpoint import Checkpoint
from maskedge_export.errors import UnsupportedModelError, one_line
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.graphs.optimum import token_types
from maskedge_export.in_order import in_order

__all__ = [
    "Logprobs",
    "cached_logprobs",
    "graph_logprobs",
    "model_logprobs",
    "standard_logprobs",
    "standard_reference",
    "threaded",
]

Logprobs = Callable[[Iterable[MaskedBatch]], Iterator[Float64Array]]
"""Batches -> the log-probabilities of each [batch, vocabulary], nats, in their order, at the one mask of each row."""


def threaded(logprobs_of_one: Callable[[MaskedBatch], Float64Array]) -> Logprobs:
    """Log-probabilities of many batches by a function of one, which is called in several threads at once."""
    return lambda batches: in_order(logprobs_of_one, batches)


def graph_logprobs(graph: Graph, vocab_size: int) -> Logprobs:
    """The log-probabilities that a scoring graph gives.

    Args:
        graph: Of a bundle.
        vocab_size: How many tokens it ranks.
    """

    def logprobs(batch: MaskedBatch) -> Float64Array:
        inputs = graph_inputs(batch.input_ids, batch.mask_positions, batch.targets[:, :, np.newaxis], vocab_size)
        outputs = graph.run(["top_ids", "top_logprobs"], inputs)
        result = np.empty((len(batch.input_ids), vocab_size))
        np.put_along_axis(result, np.asarray(outputs["top_ids"][:, 0], np.int64), outputs["top_logprobs"][:, 0], axis=1)
        return result

    return threaded(logprobs)


def model_logprobs(model: Callable[[Tensor], Any], vocab_size: int | None = None) -> Logprobs:
    """The log-probabilities that a transformers model gives, one batch after another: each takes all cores.

    Where the model fails, they raise UnsupportedModelError.

    Args:
        model: Token ids [batch, length] -> an output with `logits`.
        vocab_size: Only the first so many tokens are returned; all of them where None.
    """

    @torch.no_grad()
    def logprobs(batch: MaskedBatch) -> Float64Array:
        try:
            logits = model(torch.from_numpy(batch.input_ids)).logits
        except Exception as error:  # each architecture has its own
            texts, length = batch.input_ids.shape
            raise UnsupportedModelError(
                f"transformers itself cannot run the model on {texts} texts of {length} tokens ({one_line(error)})"
            ) from error
        at_masks = logits[torch.arange(len(logits)), torch.from_numpy(batch.mask_positions[:, 0])]
        return np.asarray(torch.log_softmax(at_masks.double(), -1)[:, :vocab_size].numpy())

    return lambda batches: map(logprobs, batches)


def cached_logprobs(logprobs: Logprobs, batches: Iterable[MaskedBatch], directory: Path) -> Logprobs:
    """A model's log-probabilities of these batches, computed now and read from disk later: the model need not stay in
    memory until what it is compared with is there.

    Args:
        logprobs: The model's; not kept.
        batches: All that will be wanted.
        directory: One file a batch. Those that the model was asked before are not asked again.
    """
    directory.mkdir(exist_ok=True)
    unasked = [batch for batch in batches if not _answer_file(directory, batch).exists()]
    for batch, answer in zip(unasked, logprobs(unasked), strict=True):
        single = answer.astype(np.float32)  # half the space, where no bit is lost
        kept = single if np.array_equal(single, answer) else answer
        save_arrays({"logprobs": kept}, _answer_file(directory, batch))
    files = partial(_answer_file, directory)
    return lambda batches: (load_arrays(files(batch))["logprobs"].astype(np.float64) for batch in batches)


def _answer_file(directory: Path, batch: MaskedBatch) -> Path:
    texts = np.concatenate([batch.input_ids, batch.mask_positions], axis=1)
    return directory / f"{sha256(texts.tobytes() + str(texts.shape).encode()).hexdigest()}.safetensors"


PADDING = 5
"""Tokens of padding behind each text, where the model's length leaves room."""

TYPED_EVERY = 4
"""One row in about so many has tokens of another type: few, since int8's ranges were calibrated on texts of type 0
alone, as they mostly come."""

LOGITS_AT_ONCE = 1 << 24
"""Most logits, as floats, that a graph is run for at once: a standard graph has them at every position."""


def standard_reference(source: Checkpoint) -> Logprobs:
    """PyTorch's log-probabilities, as the reference of a standard graph: some rows end in tokens of another type, where
    the model has types."""
    types = token_types(source)
    if types is None:
        return model_logprobs(source.model, source.vocab_size)

    def typed(ids: torch.Tensor) -> Any:
        return source.model(ids, token_type_ids=torch.from_numpy(_proof_types(ids.numpy(), len(types))))

    return model_logprobs(typed, source.vocab_size)


def standard_logprobs(graph: Path, source: Checkpoint) -> Logprobs:
    """The log-probabilities that a standard graph gives of texts padded on the right.

    The tokens' types are those of `standard_reference`, so that both can be compared.

    Args:
        graph: The graph's file.
        source: The checkpoint that it was made from.
    """
    session = onnxruntime.InferenceSession(graph, session_options(), providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    types, padding_id = token_types(source), int(source.tokenizer.pad_token_id or 0)

    def run(ids: Int64Array, positions: Int64Array) -> Float64Array:
        padding = ((0, 0), (0, min(PADDING, source.max_length - ids.shape[1])))
        inputs = {
            "input_ids": np.pad(ids, padding, constant_values=padding_id),
            "attention_mask": np.pad(np.ones_like(ids), padding),
            "token_type_ids": np.pad(_proof_types(ids, 1 if types is None else len(types)), padding),
        }
        logits = session.run(["logits"], {name: inputs[name] for name in names})[0]
        return _log_softmax(np.take_along_axis(logits, positions[:, :, np.newaxis], 1)[:, 0])[:, : source.vocab_size]

    def logprobs(batch: MaskedBatch) -> Float64Array:
        length, head = batch.input_ids.shape[1] + PADDING, session.get_outputs()[0].shape[-1]
        rows = max(1, LOGITS_AT_ONCE // (length * head))
        pieces: Sequence[Any] = [
            run(batch.input_ids[start : start + rows], batch.mask_positions[start : start + rows])
            for start in range(0, len(batch.input_ids), rows)
        ]
        return np.concatenate(pieces)

    return threaded(logprobs)


def _proof_types(ids: Int64Array, count: int) -> Int64Array:
    """Types [batch, length]: 0 everywhere, but one of the others in the second half of about one row in TYPED_EVERY.

    A row's own ids choose, so that it has the same types whatever batch it is in.
    """
    types, drawn = np.zeros_like(ids), ids.sum(1, keepdims=True)
    if count > 1:
        types[:, ids.shape[1] // 2 :] = (drawn % TYPED_EVERY == 0) * (1 + drawn // TYPED_EVERY % (count - 1))
    return types


def _log_softmax(logits: Float64Array) -> Float64Array:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
