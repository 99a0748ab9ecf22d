"""What graphs are compared on: masked tokens of real text and of texts of every length, and minimal pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskedge.inference.encoding import TextEncoder
from maskedge_export.evaluation.masked_tokens import MaskedBatch, verification_batches
from maskedge_export.evaluation.minimal_pairs import MinimalPair, minimal_pairs

__all__ = ["EvaluationSet", "evaluation_set", "length_sweep", "random_evaluation_set"]


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Masked tokens and minimal pairs, of which each kind of graph is given its share."""

    batches: list[MaskedBatch]
    """Of real text, mostly sentences; empty where there is none."""
    length_sweep: list[MaskedBatch]
    """One text of each of many lengths."""
    pairs: list[MinimalPair]
    all_the_model_knows: bool = False
    """Whether the model knows no other text: then what it says of the sweep's cut and joined texts means nothing."""

    @property
    def for_fp32(self) -> tuple[list[MaskedBatch], Sequence[MinimalPair]]:
        """Every length, and one in eight of a text's batches and minimal pairs: PyTorch is slow, and rounding differs
        little from text to text."""
        return [*self.length_sweep, *self.batches[::8]], self.pairs[::8]

    @property
    def for_quantized(self) -> tuple[list[MaskedBatch], Sequence[MinimalPair]]:
        """Every length and all batches of text, where the model can say something of both."""
        return [*(() if self.all_the_model_knows else self.length_sweep), *self.batches], self.pairs


def evaluation_set(texts: Sequence[str], encoder: TextEncoder, *, all_the_model_knows: bool = False) -> EvaluationSet:
    """Masked tokens and minimal pairs of texts. Raises CalibrationTextError where not one text can be used."""
    batches = verification_batches(texts, encoder)
    running = np.concatenate([batch.input_ids.ravel() for batch in batches]).tolist()
    sweep = length_sweep(running, encoder.mask_id, encoder.max_length)
    return EvaluationSet(batches, sweep, minimal_pairs(texts, encoder), all_the_model_knows)


def random_evaluation_set(encoder: TextEncoder, vocab_size: int) -> EvaluationSet:
    """Random tokens of every length, where there is no text."""
    ids = np.random.default_rng(0).integers(0, vocab_size, encoder.max_length).tolist()
    return EvaluationSet([], length_sweep(ids, encoder.mask_id, encoder.max_length), [])


def length_sweep(token_ids: list[int], mask_id: int, max_length: int) -> list[MaskedBatch]:
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
        batches.append(MaskedBatch(ids[np.newaxis], np.array([[middle]]), np.array([[target]])))
    return batches
