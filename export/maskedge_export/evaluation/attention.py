"""Attention probabilities: what transformers says, and how far a graph is from it.

Shapes: one text of L tokens, in all layers and heads [layers, heads, L, L].
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from maskedge.arrays import Float32Array, Int64Array
from maskedge.bundle.engine import Graph
from maskedge_export.evaluation.masked_tokens import MaskedBatch

__all__ = ["MAX_DIFFERENCE", "AttentionComparison", "AttentionReference", "attention_reference", "compare_attention"]

MAX_DIFFERENCE = 1e-3
"""Of a probability of an fp32 graph from PyTorch's. Heads differ by some 1e-6, but where a head's scores are in the
hundreds their rounding alone moves a probability by 1e-4. Quantized graphs have no limit; how they differ is said."""

LONGEST = 256
"""Longest text that is compared, tokens: longer than windows are, and with 12 layers of 12 heads it takes 38 MB."""


@dataclass(frozen=True, slots=True)
class AttentionReference:
    """Some texts and their attention in PyTorch."""

    input_ids: list[Int64Array]
    """[L] each."""
    attentions: list[Float32Array]


@dataclass(frozen=True, slots=True)
class AttentionComparison:
    """How far a graph's attention probabilities are from PyTorch's."""

    texts: int
    max_difference: float
    mean_difference: float
    """Of one probability."""
    same_key: float
    """The share of queries, over all heads, whose greatest probability is at the same key."""

    def failures(self, precision: str) -> tuple[str, ...]:
        """What lies outside the limit, a sentence each."""
        if precision != "fp32" or self.max_difference <= MAX_DIFFERENCE:
            return ()
        return (f"attention differs by {self.max_difference:.2g}, which is above {MAX_DIFFERENCE:g}",)

    def as_dict(self) -> dict[str, Any]:
        """The metrics by name."""
        return asdict(self)


@torch.no_grad()
def attention_reference(model: Any, batches: Sequence[MaskedBatch]) -> AttentionReference:
    """What a transformers model, with its attention written out ("eager"), says of the first text of each batch."""
    ids = [batch.input_ids[0] for batch in batches if batch.input_ids.shape[1] <= LONGEST]
    with _eager(model):
        outputs = [model(torch.from_numpy(text)[None], output_attentions=True).attentions for text in ids]
    return AttentionReference(ids, [torch.cat(layers).float().numpy() for layers in outputs])


def compare_attention(reference: AttentionReference, graph: Graph) -> AttentionComparison:
    """An attention graph, held against the reference."""
    pairs = [
        (expected, graph.run(["attentions"], {"input_ids": ids[np.newaxis]})["attentions"][0])
        for ids, expected in zip(reference.input_ids, reference.attentions, strict=True)
    ]
    differences = np.concatenate([np.abs(expected - found).ravel() for expected, found in pairs])
    same = np.concatenate([(expected.argmax(-1) == found.argmax(-1)).ravel() for expected, found in pairs])
    return AttentionComparison(len(pairs), float(differences.max()), float(differences.mean()), float(same.mean()))


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Attention written out: the fused kernels keep no probabilities."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
