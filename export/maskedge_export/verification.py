"""The proof: how an exported graph's predictions compare with those it should give, and the gate they must pass."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from maskedge.engine import Graph
from maskedge_export.calibration import Batch

__all__ = ["Comparison", "Limits", "compare", "graph_logprobs", "ladder_batches", "model_logprobs"]

FloatArray = npt.NDArray[np.float64]
Logprobs = Callable[[Batch], FloatArray]
"""A batch -> log-probabilities [batch, vocabulary] at its one mask a row."""


BEST_TOKENS = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a candidate's predictions compare with a reference's on the same masked cells."""

    cells: int
    max_logprob_difference: float
    """Largest |difference| of a log-probability over all cells, of the target and of the reference's five best tokens,
    nats. Over the whole vocabulary, on a few texts of the first bundled model, the fp32 graph was up to 1.6e-3 from
    PyTorch; on the worst of 309 cells both were off from double precision, by 9e-4 and 4e-4."""
    mean_kl: float
    """Mean Kullback-Leibler divergence of the candidate's distribution from the reference's, nats."""
    p99_kl: float
    """Its 99th percentile."""
    top1_agreement: float
    """Share of cells whose most probable token is the same."""
    reference_perplexity: float
    """Masked perplexity: exp(-mean log p(target))."""
    candidate_perplexity: float

    @property
    def perplexity_change(self) -> float:
        """Relative: 0.01 is one per cent worse."""
        return self.candidate_perplexity / self.reference_perplexity - 1

    def as_figures(self) -> dict[str, Any]:
        """The figures as JSON has them."""
        return {**asdict(self), "perplexity_change": self.perplexity_change}


@dataclass(frozen=True, slots=True)
class Limits:
    """The gate. A graph outside any of these is not written."""

    fp32_logprob_difference: float = 1e-3
    """Most that the fp32 graph may differ from PyTorch in `Comparison.max_logprob_difference`, nats."""
    int8_mean_kl: float = 0.05
    """Most that int8 may diverge from fp32 on average, nats."""
    int8_top1_agreement: float = 0.85
    """Least share of cells on which int8 and fp32 predict the same token."""
    int8_perplexity_change: float = 0.02
    """Most that int8 may raise the masked perplexity, relative."""

    def failures(self, precision: str, comparison: Comparison) -> list[str]:
        """What lies outside the limits, a sentence each; none where the graph passes."""
        if precision == "fp32":
            checks = [
                ("largest log-probability difference", comparison.max_logprob_difference, self.fp32_logprob_difference)
            ]
        else:
            checks = [
                ("mean KL divergence", comparison.mean_kl, self.int8_mean_kl),
                ("top-1 disagreement", 1 - comparison.top1_agreement, 1 - self.int8_top1_agreement),
                ("change in masked perplexity", comparison.perplexity_change, self.int8_perplexity_change),
            ]
        return [
            f"{precision}: {name} is {value:.4g}, above its limit of {limit:.4g}"
            for name, value, limit in checks
            if not value <= limit  # a NaN fails
        ]


def compare(reference: Logprobs, candidate: Logprobs, batches: Iterable[Batch]) -> Comparison:
    """Both models' predictions on the same cells."""
    rows = [row for batch in batches for row in _compare_batch(reference(batch), candidate(batch), batch.targets)]
    difference, kl, agrees, reference_nll, candidate_nll = np.array(rows, np.float64).T
    return Comparison(
        cells=len(rows),
        max_logprob_difference=float(difference.max()),
        mean_kl=max(0.0, float(kl.mean())),  # rounding may leave it a hair below
        p99_kl=float(np.quantile(kl, 0.99)),
        top1_agreement=float(agrees.mean()),
        reference_perplexity=math.exp(reference_nll.mean()),
        candidate_perplexity=math.exp(candidate_nll.mean()),
    )


def _compare_batch(p: FloatArray, q: FloatArray, targets: npt.NDArray[np.int64]) -> Iterator[tuple[float, ...]]:
    """For each row: largest difference, KL, agreement of the best token, both targets' negative log-probabilities."""
    kl = (np.exp(p) * (p - q)).sum(-1)
    read = np.concatenate([np.argsort(-p, axis=-1)[:, :BEST_TOKENS], targets], axis=-1)  # what a user gets to see
    differences = np.abs(np.take_along_axis(p, read, -1) - np.take_along_axis(q, read, -1)).max(-1)
    agrees = p.argmax(-1) == q.argmax(-1)
    nll = (-np.take_along_axis(logprobs, targets, -1)[:, 0] for logprobs in (p, q))
    yield from zip(differences, kl, agrees, *nll, strict=True)


def graph_logprobs(graph: Graph, vocab_size: int) -> Logprobs:
    """A bundle's graph as a function of batches."""

    def logprobs(batch: Batch) -> FloatArray:
        inputs = {
            "input_ids": batch.input_ids,
            "mask_positions": batch.mask_positions,
            "target_ids": batch.targets[:, :, np.newaxis],
            "top_k": np.array([vocab_size]),
        }
        outputs = graph.run(["top_ids", "top_logprobs"], inputs)
        result = np.empty((len(batch.input_ids), vocab_size))
        np.put_along_axis(result, np.asarray(outputs["top_ids"][:, 0], np.int64), outputs["top_logprobs"][:, 0], axis=1)
        return result

    return logprobs


def model_logprobs(model: nn.Module) -> Logprobs:
    """A transformers model as a function of batches."""

    @torch.no_grad()
    def logprobs(batch: Batch) -> FloatArray:
        logits = model(torch.from_numpy(batch.input_ids)).logits
        at_masks = logits[torch.arange(len(logits)), torch.from_numpy(batch.mask_positions[:, 0])]
        return torch.log_softmax(at_masks.double(), -1).numpy()

    return logprobs


def ladder_batches(token_ids: list[int], mask_id: int, max_length: int) -> list[Batch]:
    """Texts of lengths from 3 to the maximum, each about 1.5 times the one before, with a mask in the middle.

    They are cut from one running text, so that every length is tried whatever lengths the texts at hand have.
    """
    lengths = [3]
    while lengths[-1] < max_length:
        lengths.append(min(max_length, lengths[-1] * 3 // 2))
    batches = []
    for length in lengths:
        ids = np.resize(np.array(token_ids, np.int64), length)
        middle = length // 2
        target, ids[middle] = ids[middle], mask_id
        batches.append(Batch(ids[np.newaxis], np.array([[middle]]), np.array([[target]])))
    return batches
