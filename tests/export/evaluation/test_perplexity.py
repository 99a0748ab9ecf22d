"""Evaluation: the metrics as they are defined, and where a warm start's predictions are read."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.evaluation.perplexity import evaluate

IDS = np.array([[2, 30, 4, 31, 32, 3], [2, 40, 41, 42, 4, 3]])
POSITIONS, TARGETS = np.array([[2], [4]]), np.array([[50], [60]])


@pytest.fixture(scope="module")
def encoder(checkpoints: Callable[[str], Path]) -> Encoder:
    encoder = load_checkpoint(str(checkpoints("bert"))).encoder
    assert isinstance(encoder, Encoder)
    return encoder


@pytest.mark.parametrize("from_before", [False, True])
@torch.no_grad()
def test_targets_are_read_at_the_mask_or_before_it(encoder: Encoder, from_before: bool) -> None:
    everywhere = torch.arange(6).expand(2, 6)
    logprobs = encoder(torch.from_numpy(IDS), everywhere).log_softmax(-1)
    at = POSITIONS[:, 0] - from_before
    read = logprobs[[0, 1], at]
    expected = read[[0, 1], TARGETS[:, 0]]
    found = evaluate(encoder, [MaskedBatch(IDS, POSITIONS, TARGETS)], from_before=from_before)
    assert found.masked_tokens == 2
    assert found.perplexity == pytest.approx(float(torch.exp(-expected.mean())), rel=1e-5)
    assert found.least_probability == pytest.approx(float(expected.min().exp()), rel=1e-4)
    assert found.accuracy == float((read.argmax(-1).numpy() == TARGETS[:, 0]).mean())


def test_a_mask_that_nothing_precedes_is_read_where_it_is(encoder: Encoder) -> None:
    first = MaskedBatch(IDS[:1], np.array([[0]]), TARGETS[:1])
    assert evaluate(encoder, [first], from_before=True) == evaluate(encoder, [first])


def test_a_target_that_no_float_can_hold_the_loss_of_has_an_infinite_perplexity(encoder: Encoder) -> None:
    certain = copy.deepcopy(encoder)
    with torch.no_grad():
        certain.head.decoder.bias[0] += 1e4  # all else is then as good as impossible
    found = evaluate(certain, [MaskedBatch(IDS, POSITIONS, TARGETS)])
    assert found.perplexity == math.inf
    assert found.least_probability == 0.0
