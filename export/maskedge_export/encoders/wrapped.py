"""Any other masked language model: transformers' own module, asked as the native encoder is.

Shapes: B texts of one length L, K masks a text, T tokens asked for, D hidden units, V vocabulary entries.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskedge.bundle.engine import Graph, graph_inputs
from maskedge_export.encoders.encoder import take
from maskedge_export.encoders.trial import TOLERANCE, longest_text, trial_ids, try_out
from maskedge_export.errors import UnsupportedModelError

__all__ = ["WrappedConfig", "WrappedEncoder", "check_sizes"]

SIZES = ((1, 3, 1), (2, 4, 3), (5, 11, 1), (1, 24, 2), (3, 65, 4), (2, 512, 1))
"""Texts, tokens and masks that a graph is tried with, none as it was traced: sizes that its code took for constants."""

ASKED_TOKENS = 64

UNSUPPORTED = {
    "mra": "its attention is CUDA code, and transformers leaves attention out where that code is missing",
}
"""Model types whose own output on a CPU is not what was trained, and why."""


@dataclass(frozen=True, slots=True)
class WrappedConfig:
    """What the export has to know of a wrapped model."""

    vocab_size: int
    """Rows of its head."""
    max_length: int
    """Longest text in tokens, special tokens included."""


class WrappedEncoder(nn.Module):
    """A transformers masked language model with the native encoder's face.

    Raises UnsupportedModelError for a model that cannot be run on a short text.
    """

    def __init__(self, model: nn.Module, why: str = "") -> None:
        super().__init__()
        self.model = model
        self.why = why  # it has no native encoder
        config: Any = model.config
        if reason := UNSUPPORTED.get(config.model_type):
            raise UnsupportedModelError(f"{self} cannot be exported: {reason}")
        ids = trial_ids(model)
        positions = torch.tensor([[ids.shape[1] - 1, 2]]).expand(len(ids), 2)
        logits = try_out(model, ids)
        self.config = WrappedConfig(logits.shape[-1], longest_text(model))
        self.head_at_masks = self._positionwise_head(ids, positions, take(logits, positions))

    def __repr__(self) -> str:
        """The transformers class, by which errors name the model."""
        return type(self.model).__name__

    def forward(self, input_ids: Tensor, mask_positions: Tensor) -> Tensor:
        """Logits [B, K, V] at mask_positions [B, K] of input_ids [B, L].

        Where the head looks at each position alone, it runs at those positions only.
        """
        if not self.head_at_masks:
            return take(self.everywhere(input_ids), mask_positions)
        with _hidden_rows_at(self.model, mask_positions):
            return self.everywhere(input_ids)

    def everywhere(self, input_ids: Tensor) -> Tensor:
        """Logits [B, L, V]. Nothing is masked out; types of tokens, languages and the like are the model's defaults."""
        logits: Tensor = self.model(input_ids=input_ids).logits
        return logits

    @torch.no_grad()
    def _positionwise_head(self, ids: Tensor, positions: Tensor, expected: Tensor) -> bool:
        """Whether the hidden rows at the masks are all that the logits there depend on."""
        self.head_at_masks = True
        try:
            found = self(ids, positions)
        except Exception:  # a head that wants all rows fails in ways of its own
            return False
        return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-3)


@contextmanager
def _hidden_rows_at(model: nn.Module, positions: Tensor) -> Iterator[None]:
    """The model's trunk hands its head only the hidden rows at positions [B, K]: [B, K, D] for [B, L, D]."""

    def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (take(output[0], positions), *output[1:])
        output["last_hidden_state"] = take(output["last_hidden_state"], positions)
        return output

    trunk: Any = model.base_model
    hook = trunk.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()


def check_sizes(graph: Graph, encoder: WrappedEncoder, vocab_size: int) -> None:
    """Compare the graph, which ranks that many tokens, with the model at sizes that it was not traced with.

    Raises UnsupportedModelError where they disagree: the model's code then took a size for a constant, or draws lots.
    """
    longest = encoder.config.max_length
    for batch, length, masks in SIZES:
        size = (batch, min(length, longest), masks)
        texts = f"a batch of {size[0]} by {size[1]} tokens, {size[2]} of them masked,"
        try:
            difference = _difference(graph, encoder, vocab_size, *size)
        except Exception as error:  # onnxruntime's, or the model's own
            raise _refusal(encoder, f"for {texts} it fails: {error}") from error
        if not difference <= TOLERANCE:  # a NaN fails
            raise _refusal(encoder, f"for {texts} its graph is {difference:.2g} nats from PyTorch")


def _refusal(encoder: WrappedEncoder, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{encoder} cannot be exported: {reason[:300]}. Its code depends on the size of what it was traced "
        "with, or on chance"
    )


@torch.no_grad()
def _difference(graph: Graph, encoder: WrappedEncoder, vocab_size: int, batch: int, length: int, masks: int) -> float:
    """The largest |difference| of log-probabilities [B, K, T] of random tokens, nats."""
    rng = np.random.default_rng(length)
    padding = getattr(encoder.model.config, "pad_token_id", None)
    ids = rng.choice([token for token in range(vocab_size) if token != padding], (batch, length))
    positions = np.stack([rng.permutation(length)[:masks] for _ in range(batch)])
    asked = rng.integers(0, vocab_size, (*positions.shape, ASKED_TOKENS))
    found = graph.run(["target_logprobs"], graph_inputs(ids, positions, asked, top_k=1))["target_logprobs"]
    logits = take(encoder.everywhere(torch.from_numpy(ids)), torch.from_numpy(positions))
    expected = logits.double().log_softmax(-1).gather(-1, torch.from_numpy(asked)).numpy()
    return float(np.abs(found - expected).max())
