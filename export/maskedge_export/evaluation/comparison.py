"""The proof: how an exported graph's predictions compare with those it should give, and the gate they must pass."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import count, islice
from typing import Any

import numpy as np

from maskedge.arrays import Float32Array, Float64Array, Int64Array
from maskedge.inference.metrics import perplexity
from maskedge_export.errors import ExportError
from maskedge_export.evaluation.bootstrap import Estimate, difference, estimate, perplexity_ratio, quantile
from maskedge_export.evaluation.logprobs import Logprobs
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.evaluation.minimal_pairs import MinimalPair, preferences

__all__ = ["Comparison", "compare", "kl_divergence"]

BEST_TOKENS = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a candidate's predictions compare with a reference's on the same masked tokens."""

    masked_tokens: int
    """How many masks both predicted."""
    max_logprob_difference: float
    """The largest |difference| of a log-probability at any mask, of the target and of the reference's five best tokens,
    nats. Over the whole vocabulary, on a few texts of the first bundled model, the fp32 graph was up to 1.6e-3 from
    PyTorch; on the worst of 309 masks both were off from double precision, by 9e-4 and 4e-4."""
    mean_kl: Estimate
    """Mean Kullback-Leibler divergence of the candidate's distribution from the reference's, nats."""
    p99_kl: Estimate
    """Its 99th percentile."""
    top1_agreement: Estimate
    """Share of masks whose most probable token is the same."""
    top5_agreement: Estimate
    """Mean share of the reference's five most probable tokens that are among the candidate's five."""
    perplexity_change: Estimate
    """Relative: 0.01 is one per cent worse. Paired, mask by mask."""
    reference_perplexity: float
    """Masked perplexity: exp(-mean log p(target))."""
    candidate_perplexity: float
    pairs: int = 0
    """Minimal pairs that both ranked."""
    pair_agreement: Estimate | None = None
    """Share of minimal pairs of which both prefer the same sentence; None where the text gave no pairs."""

    def as_dict(self) -> dict[str, Any]:
        """The metrics as JSON and manifests have them: `masked_tokens` are called `cells` there, and an estimate's
        interval stands under `intervals`."""
        names = [field.name for field in fields(self)]
        estimates = {name: value for name in names if isinstance(value := getattr(self, name), Estimate)}
        values = {name: estimates[name].value if name in estimates else getattr(self, name) for name in names}
        intervals = {name: [found.low, found.high] for name, found in estimates.items()}
        return {"cells": values.pop("masked_tokens"), **values, "intervals": intervals}


def compare(
    reference: Logprobs, candidate: Logprobs, batches: Iterable[MaskedBatch], pairs: Sequence[MinimalPair] = ()
) -> Comparison:
    """How a candidate's predictions of masked tokens, and its ranking of minimal pairs, compare with a reference's.

    Args:
        reference: The log-probabilities that should come out.
        candidate: Those to compare with them.
        batches: What both predict.
        pairs: Sentences that both rank.

    Raises ExportError where the reference's log-probabilities are no numbers.
    """
    batches = list(batches)
    rows = [
        _compare_at_mask(p, q, target)
        for batch, *answers in zip(batches, reference(batches), candidate(batches), strict=True)
        for p, q, target in zip(*answers, batch.targets[:, 0], strict=True)
    ]
    most, kl, best, best_five, reference_nll, candidate_nll = np.array(rows, np.float64).T
    if unknown := int(np.isnan(reference_nll).sum()):
        raise ExportError(
            f"nothing can be compared with a model that says no numbers (NaN): the reference does so at {unknown:,} of "
            f"{len(rows):,} masks, though its weights are numbers; its sums overflow"
        )
    sampled = partial(estimate, texts=_texts(batches))
    ratio = perplexity_ratio(reference_nll, candidate_nll, _texts(batches))
    return Comparison(
        masked_tokens=len(rows),
        max_logprob_difference=float(most.max()),
        mean_kl=sampled(kl).map(lambda mean: float(np.maximum(mean, 0.0))),  # rounding may leave it a hair below
        p99_kl=sampled(kl, lambda values: quantile(values, 0.99)),
        top1_agreement=sampled(best),
        top5_agreement=sampled(best_five),
        perplexity_change=ratio.map(lambda ratio: ratio - 1),
        reference_perplexity=perplexity(-float(reference_nll.sum()), len(rows)),
        candidate_perplexity=perplexity(-float(candidate_nll.sum()), len(rows)),
        pairs=len(pairs),
        pair_agreement=_pair_agreement(reference, candidate, pairs),
    )


def _texts(batches: Sequence[MaskedBatch]) -> Int64Array:
    """The text of each masked token; one of an unknown text has a text of its own."""
    unknown = count(-1, -1)
    return np.array([text for batch in batches for text in _texts_of(batch, unknown)])


def _texts_of(batch: MaskedBatch, unknown: Iterator[int]) -> Iterable[int]:
    return islice(unknown, len(batch.targets)) if batch.texts is None else batch.texts.tolist()


def _compare_at_mask(p: Float64Array, q: Float64Array, target: int) -> tuple[float, ...]:
    """What log-probabilities p and q [vocabulary] at one mask come to: the largest difference, the KL divergence of q
    from p, whether the best token is the same, the share of p's five best among q's, both losses of the target."""
    best, also_best = _best_tokens(p), _best_tokens(q)
    read = [*best, target]  # what a user gets to see
    most, kl = np.abs(difference(p[read], q[read])).max(), kl_divergence(p, q)
    return most, float(kl), best[0] == also_best[0], np.isin(best, also_best).mean(), -p[target], -q[target]


def _best_tokens(logprobs: Float64Array) -> Int64Array:
    """The BEST_TOKENS most probable ones, the first of equals first: a stable sort's, in a fraction of its time."""
    losses = -logprobs
    last = min(BEST_TOKENS, len(losses)) - 1
    least = np.partition(losses, last)[last]
    able = np.flatnonzero(~(losses > least))  # all, where there are fewer numbers: nothing is larger than NaN
    return able[np.argsort(losses[able], kind="stable")[:BEST_TOKENS]]


def kl_divergence(p: Float32Array | Float64Array, q: Float64Array) -> Float64Array:
    """The Kullback-Leibler divergence of q from p [..., vocabulary], both log-probabilities, nats [...].

    0 log 0 is 0: a token that p rules out counts nothing. Infinite where q rules out one that p does not.
    """
    terms = np.multiply(np.exp(p), difference(p, q), out=np.zeros(p.shape), where=np.asarray(p != -np.inf))
    return np.asarray(terms.sum(-1))


def _pair_agreement(reference: Logprobs, candidate: Logprobs, pairs: Sequence[MinimalPair]) -> Estimate | None:
    if not pairs:
        return None
    return estimate((preferences(pairs, reference) > 0) == (preferences(pairs, candidate) > 0))
