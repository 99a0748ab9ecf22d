"""What graphs are compared on."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from maskedge.inference.encoding import TextEncoder
from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.evaluation.evaluation_set import ladder_batches, questions_of
from maskedge_export.evaluation.masked_tokens import Batch

WORDS = ("old", "new", "good", "first", "other", "great", "little", "small", "same", "last")
TEXTS = [f"The {word} man sleeps here" for word in WORDS]


@pytest.fixture(scope="module")
def encoder(checkpoints: Callable[[str], Path]) -> TextEncoder:
    source = load_checkpoint(str(checkpoints("bert")))
    return TextEncoder(source.tokenizer.backend_tokenizer, "[MASK]", source.max_length)


def longest(batches: list[Batch]) -> int:
    return max(batch.input_ids.shape[1] for batch in batches)


def test_quantized_graphs_are_asked_of_texts_as_long_as_a_bundle_takes(encoder: TextEncoder) -> None:
    questions = questions_of(TEXTS, encoder)
    batches, pairs = questions.of_quantized
    assert longest(questions.cells) < longest(batches) == encoder.max_length
    assert all(any(cells is batch for batch in batches) for cells in questions.cells)
    assert len(pairs) == len(questions.pairs) > 0


def test_a_model_that_knows_no_other_text_is_asked_of_no_other(encoder: TextEncoder) -> None:
    known = questions_of(TEXTS, encoder, all_the_model_knows=True)
    assert longest(known.of_quantized[0]) == longest(known.cells)
    assert longest(known.of_fp32[0]) == encoder.max_length  # which says the same of nonsense too


def test_ladder_tries_every_size_up_to_the_longest_text() -> None:
    ladder = ladder_batches(list(range(10, 20)), mask_id=4, max_length=100)
    lengths = [cells.input_ids.shape[1] for cells in ladder]
    assert lengths[0] == 3
    assert lengths[-1] == 100
    assert all(1 < longer / shorter <= 1.5 for shorter, longer in pairwise(lengths))
    for cells in ladder:
        at = cells.mask_positions.item()
        assert cells.input_ids[0, at] == 4
        assert np.flatnonzero(cells.input_ids[0] == 4).tolist() == [at]
        assert cells.targets.item() == 10 + at % 10
