"""What graphs are compared on."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from maskedge.inference.encoding import TextEncoder
from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.evaluation.evaluation_set import evaluation_set, length_sweep
from maskedge_export.evaluation.masked_tokens import MaskedBatch

WORDS = ("old", "new", "good", "first", "other", "great", "little", "small", "same", "last")
TEXTS = [f"The {word} man sleeps here" for word in WORDS]


@pytest.fixture(scope="module")
def encoder(checkpoints: Callable[[str], Path]) -> TextEncoder:
    return load_checkpoint(str(checkpoints("bert"))).text_encoder


def longest(batches: list[MaskedBatch]) -> int:
    return max(batch.input_ids.shape[1] for batch in batches)


def test_quantized_graphs_are_compared_on_texts_as_long_as_a_bundle_takes(encoder: TextEncoder) -> None:
    compared = evaluation_set(TEXTS, encoder)
    batches, pairs = compared.for_quantized
    assert longest(compared.batches) < longest(batches) == encoder.max_length
    assert all(any(mine is batch for batch in batches) for mine in compared.batches)
    assert len(pairs) == len(compared.pairs) > 0


def test_a_model_that_knows_no_other_text_is_compared_on_no_other(encoder: TextEncoder) -> None:
    known = evaluation_set(TEXTS, encoder, all_the_model_knows=True)
    assert longest(known.for_quantized[0]) == longest(known.batches)
    assert longest(known.for_fp32[0]) == encoder.max_length  # which says the same of nonsense too


def test_the_length_sweep_tries_every_size_up_to_the_longest_text() -> None:
    sweep = length_sweep(list(range(10, 20)), mask_id=4, max_length=100)
    lengths = [batch.input_ids.shape[1] for batch in sweep]
    assert lengths[0] == 3
    assert lengths[-1] == 100
    assert all(1 < longer / shorter <= 1.5 for shorter, longer in pairwise(lengths))
    for batch in sweep:
        at = batch.mask_positions.item()
        assert batch.input_ids[0, at] == 4
        assert np.flatnonzero(batch.input_ids[0] == 4).tolist() == [at]
        assert batch.targets.item() == 10 + at % 10
