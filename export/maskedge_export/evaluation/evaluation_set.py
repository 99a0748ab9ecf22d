"""What graphs are compared on: masked cells of real text and of every length, and minimal pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskedge.inference.encoding import TextEncoder
from maskedge_export.evaluation.masked_tokens import Batch, verification_cells
from maskedge_export.evaluation.minimal_pairs import MinimalPair, minimal_pairs

__all__ = ["Questions", "ladder_batches", "questions_of", "random_questions"]


@dataclass(frozen=True, slots=True)
class Questions:
    """Masked cells and minimal pairs, of which each kind of graph is asked its share."""

    cells: list[Batch]
    """Of real text, mostly sentences; empty where there is none."""
    ladder: list[Batch]
    """One text of each of many lengths."""
    pairs: list[MinimalPair]
    all_it_knows: bool = False
    """The text is all that the model knows, so that what it says of a ladder's cut and joined texts means nothing."""

    @property
    def of_fp32(self) -> tuple[list[Batch], Sequence[MinimalPair]]:
        """Every length, and one in four of a text's batches and minimal pairs: PyTorch is slow, and rounding differs
        little from text to text."""
        return [*self.ladder, *self.cells[::4]], self.pairs[::4]

    @property
    def of_quantized(self) -> tuple[list[Batch], Sequence[MinimalPair]]:
        """Every length and all cells, where the model can say something of both."""
        return [*(() if self.all_it_knows else self.ladder), *self.cells], self.pairs


def questions_of(texts: Sequence[str], encoder: TextEncoder, *, all_the_model_knows: bool = False) -> Questions:
    """Cells and pairs of texts. Raises CalibrationTextError where not one can be used."""
    cells = verification_cells(texts, encoder)
    running = np.concatenate([batch.input_ids.ravel() for batch in cells]).tolist()
    ladder = ladder_batches(running, encoder.mask_id, encoder.max_length)
    return Questions(cells, ladder, minimal_pairs(texts, encoder), all_the_model_knows)


def random_questions(encoder: TextEncoder, vocab_size: int) -> Questions:
    """Random tokens of every length, where there is no text."""
    ids = np.random.default_rng(0).integers(0, vocab_size, encoder.max_length).tolist()
    return Questions([], ladder_batches(ids, encoder.mask_id, encoder.max_length), [])


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
