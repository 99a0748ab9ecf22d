"""A model tried on a short text: whether transformers itself can run it, and whether a native encoder answers alike.

Shapes: B texts of one length L, V vocabulary entries.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskedge_export.encoders.encoder import Encoder, take
from maskedge_export.errors import UnsupportedModelError, one_line
from maskedge_export.torch_threads import one_torch_thread

__all__ = ["TOLERANCE", "check_alike", "longest_text", "trial_ids", "try_out"]

TOLERANCE = 0.01
"""Nats. Rounding stays a thousand times below, another computation comes out far above; the gate is stricter."""

USUAL_LENGTH = 512
"""Tokens, where a configuration names no longest text."""

LENGTH = 7
"""Tokens of a trial: enough for any architecture to show whether it runs."""
SHORTEST = 3
"""Tokens: one between two special ones."""
MASKS = 3


def longest_text(model: Any) -> int:
    """Tokens of the longest text that a model takes, as its configuration and its table of positions say."""
    config = model.config.get_text_config()
    named = getattr(config, "max_position_embeddings", None) or 0  # -1: any length
    lengths = [named if named > 0 else USUAL_LENGTH]
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "weight"):
            padding = getattr(module, "padding_idx", None)  # RoBERTa's offspring count from the padding token's id + 1
            lengths.append(len(module.weight) - (0 if padding is None else padding + 1))
    if getattr(config, "attention_type", None) == "block_sparse":  # BigBird attends to everything up to this length
        lengths.append((5 + 2 * config.num_random_blocks) * config.block_size)
    return int(min(lengths))


def trial_ids(model: Any) -> Tensor:
    """Two texts [B, L] of the vocabulary's first tokens, no longer than the model takes.

    Raises UnsupportedModelError for one that takes no token between two special ones.
    """
    rows = getattr(model.get_input_embeddings(), "num_embeddings", LENGTH)
    length = min(LENGTH, longest_text(model))
    if length < SHORTEST:
        raise UnsupportedModelError(
            f"{type(model).__name__} cannot be exported: its texts have no room for a token between two special ones: "
            f"by config.json, they are {length} tokens long"
        )
    return torch.arange(2 * length).reshape(2, length) % max(1, min(5, rows))


@torch.no_grad()
def try_out(model: Any, ids: Tensor) -> Tensor:
    """transformers' own logits [B, L, V]. Raises UnsupportedModelError where it has none."""
    try:
        with one_torch_thread():
            logits: Tensor = model(input_ids=ids).logits
    except Exception as error:  # each architecture has its own
        raise UnsupportedModelError(
            f"{type(model).__name__} cannot be exported: transformers itself cannot run it on a text of "
            f"{ids.shape[1]} tokens ({one_line(error)})"
        ) from error
    return logits


@torch.no_grad()
def check_alike(encoder: Encoder, model: Any) -> None:
    """Raise UnsupportedModelError where the native encoder does not say of a text, long enough for its windows to
    show, what transformers says: an option of the checkpoint's then has no native form."""
    config = encoder.config
    length = min(config.max_length, LENGTH + max([LENGTH, *(window or 0 for window in config.windows)]))
    rng = np.random.default_rng(length)
    tokens = [token for token in range(config.vocab_size) if token != config.position_padding_id]
    ids = torch.from_numpy(rng.choice(tokens, (1, length)))
    positions = torch.from_numpy(rng.permutation(length)[None, :MASKS])
    expected = take(try_out(model, ids), positions).double().log_softmax(-1)
    with one_torch_thread():
        found = encoder(ids, positions).double().log_softmax(-1)
    if not torch.allclose(found, expected, atol=TOLERANCE, rtol=0, equal_nan=True):
        difference = (found - expected).abs().max()
        raise UnsupportedModelError(
            f"the native encoder of {model.config.model_type!r} is {difference:.2g} nats from what transformers says"
        )
