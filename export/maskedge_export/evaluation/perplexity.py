"""How well an encoder predicts masked tokens of texts that it was not trained on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from maskedge.inference.metrics import perplexity
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.evaluation.masked_tokens import MaskedBatch

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics over masked tokens."""

    masked_tokens: int
    perplexity: float
    """exp(-mean log p(target)); infinite where no float can hold it."""
    accuracy: float
    """Share of masks whose most probable token is the target."""
    least_probability: float
    """p(target) at the mask where it is least."""


@torch.no_grad()
def evaluate(encoder: Encoder, batches: Sequence[MaskedBatch], *, from_before: bool = False) -> Evaluation:
    """How well an encoder predicts masked tokens, in fp32, on the device that it is on.

    Args:
        encoder: Of maskedge's own kind.
        batches: Of text that it was not trained on.
        from_before: Whether a masked token is predicted at the position before it, as a model does in its warm start.
    """
    device = encoder.embedding.tokens.weight.device
    losses, hits = [], []
    for batch in batches:
        ids, positions, targets = (
            torch.from_numpy(array).to(device) for array in (batch.input_ids, batch.mask_positions, batch.targets)
        )
        logits = encoder(ids, (positions - int(from_before)).clamp(min=0)).flatten(0, 1)
        losses.append(F.cross_entropy(logits, targets.flatten(), reduction="none"))
        hits.append(logits.argmax(-1) == targets.flatten())
    loss, hit = torch.cat(losses).double(), torch.cat(hits).double()
    mean = perplexity(-float(loss.sum()), len(loss))
    return Evaluation(len(loss), mean, float(hit.mean()), math.exp(-loss.max()))
