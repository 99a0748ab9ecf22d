"""What each step of a run trains on: rows of the phase's length, masked, drawn from the seed and the step alone."""

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from maskedge_export.corpora.masking import MaskedRows, Masker, Vocabulary
from maskedge_export.corpora.packing import PackedCorpus, special_tokens_around
from maskedge_export.corpora.sampling import RowSampler
from maskedge_export.recipe import Recipe

__all__ = ["Batches"]

ORDER, MASKS, OBJECTIVE = 1, 2, 3
"""Purposes of the seed: each has a stream of random numbers of its own."""


@dataclass(frozen=True, slots=True)
class _Phase:
    """A part of training with rows of one length."""

    first_step: int
    rows_per_step: int
    mask_rate: float
    sampler: RowSampler
    first_row: int
    """Rows of this length that earlier phases have had."""


class Batches:
    """The batches of a run."""

    def __init__(self, corpus: PackedCorpus, recipe: Recipe) -> None:
        """The batches that the recipe makes of a corpus packed with it.

        Raises CorpusError where the corpus has fewer tokens than a row.
        """
        self.seed = recipe.run.seed
        self.masker = Masker(Vocabulary.of(corpus.tokenizer), recipe.masking)
        self.phases = _phases(corpus, recipe)
        self.warm_steps = round(recipe.schedule.warm_start * recipe.schedule.steps)
        self.causal_share = recipe.schedule.causal_share

    def batch(self, step: int) -> MaskedRows:
        """The masked rows of a step, counted from 0: the same ones however often it is asked."""
        # the rows that follow those of the phase's earlier steps, and of earlier phases of this length
        phase = next(phase for phase in reversed(self.phases) if phase.first_step <= step)
        first_row = phase.first_row + (step - phase.first_step) * phase.rows_per_step
        rows = phase.sampler.rows(first_row, phase.rows_per_step)
        # masked with random numbers of the step's own
        masked = self.masker.mask(rows, np.random.default_rng([self.seed, MASKS, step]), phase.mask_rate)
        if step >= self.warm_steps:
            return masked
        # in a warm start, as in GPT-BERT (Charpentier & Samuel 2024): one objective, the next token, with and without
        # sight of the rest
        causal = np.random.default_rng([self.seed, OBJECTIVE, step]).random() < self.causal_share
        return self.masker.next_tokens(rows.input_ids) if causal else masked.shifted()


def _phases(corpus: PackedCorpus, recipe: Recipe) -> list[_Phase]:
    prefix, suffix = special_tokens_around(corpus.tokenizer)
    phases: list[_Phase] = []
    schedule = recipe.schedule
    starts = [round(share * schedule.steps) for share in accumulate(schedule.length_shares, initial=0.0)]
    had: Counter[int] = Counter()
    rates = schedule.mask_rates or (recipe.masking.rate,) * len(schedule.lengths)
    for length, rate, (start, end) in zip(schedule.lengths, rates, pairwise(starts), strict=True):
        sampler = RowSampler(corpus.tokens, length, tuple(prefix), _last(suffix), recipe.run.seed, corpus.word_starts)
        phases.append(_Phase(start, recipe.run.batch_tokens // length, rate, sampler, had[length]))
        had[length] += (end - start) * phases[-1].rows_per_step
    return phases


def _last(ids: list[Any]) -> int | None:
    return ids[-1] if ids else None
