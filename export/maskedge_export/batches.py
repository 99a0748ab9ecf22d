"""What each step of a run trains on: rows of the phase's length, masked, drawn from the seed and the step alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from maskedge_export.masking import MaskedRows, Masker, Vocabulary
from maskedge_export.packing import PackedCorpus, frame
from maskedge_export.recipe import Recipe
from maskedge_export.sampling import RowSampler

__all__ = ["Batches"]

ORDER, MASKS = 1, 2
"""Purposes of the seed: each has a stream of random numbers of its own."""


@dataclass(frozen=True, slots=True)
class _Phase:
    """A part of training with rows of one length."""

    first_step: int
    rows_per_step: int
    sampler: RowSampler


class Batches:
    """The batches of a run."""

    def __init__(self, corpus: PackedCorpus, recipe: Recipe) -> None:
        """Raises CorpusError where the corpus has fewer tokens than a row."""
        self.seed = recipe.run.seed
        self.masker = Masker(Vocabulary.of(corpus.tokenizer), recipe.masking)
        self.phases = _phases(corpus, recipe)

    def batch(self, step: int) -> MaskedRows:
        """The masked rows of a step, counted from 0: the same ones however often it is asked."""
        phase = next(phase for phase in reversed(self.phases) if phase.first_step <= step)
        rows = phase.sampler.rows((step - phase.first_step) * phase.rows_per_step, phase.rows_per_step)
        return self.masker.mask(rows, np.random.default_rng([self.seed, MASKS, step]))


def _phases(corpus: PackedCorpus, recipe: Recipe) -> list[_Phase]:
    prefix, suffix = frame(corpus.tokenizer)
    phases, share = [], 0.0
    for length, part in zip(recipe.schedule.lengths, recipe.schedule.length_shares, strict=True):
        sampler = RowSampler(corpus.tokens, length, tuple(prefix), _last(suffix), recipe.run.seed)
        phases.append(_Phase(round(share * recipe.schedule.steps), recipe.run.batch_tokens // length, sampler))
        share += part
    return phases


def _last(ids: list[Any]) -> int | None:
    return ids[-1] if ids else None
