"""Minimal pairs: two neighbouring words in each other's place, ranked by pseudo-log-likelihood."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from maskedge.inference.encoding import TextEncoder
from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint
from maskedge_export.evaluation.logprobs import model_logprobs
from maskedge_export.evaluation.masked_tokens import MaskedBatch
from maskedge_export.evaluation.minimal_pairs import minimal_pairs, preferences


@pytest.fixture(scope="module")
def checkpoint(checkpoints: Callable[[str], Path]) -> Checkpoint:
    return load_checkpoint(str(checkpoints("bert")))


@pytest.fixture(scope="module")
def encoder(checkpoint: Checkpoint) -> TextEncoder:
    return checkpoint.text_encoder


def sentence_of(sentence: MaskedBatch, checkpoint: Checkpoint) -> str:
    """The text whose tokens were masked in turn."""
    ids = sentence.input_ids[0].copy()
    ids[sentence.mask_positions[0]] = sentence.targets[0]
    return str(checkpoint.tokenizer.decode(ids, skip_special_tokens=True))


def test_two_neighbouring_words_change_places(checkpoint: Checkpoint, encoder: TextEncoder) -> None:
    texts = ["The old man sleeps here", "A 7 b", "Word", "", "a \ud800 b c d e", "he he he he he"]
    pairs = minimal_pairs(texts, encoder)
    assert len(pairs) == 1
    words = sentence_of(pairs[0].original, checkpoint).split()
    exchanged = sentence_of(pairs[0].exchanged, checkpoint).split()
    assert words == ["the", "old", "man", "sleeps", "here"]
    assert [at for at in range(4) if [*words[:at], words[at + 1], words[at], *words[at + 2 :]] == exchanged] != []


def test_every_ordinary_token_is_masked_once(encoder: TextEncoder, sentences: Path) -> None:
    pairs = minimal_pairs(sentences.read_text(encoding="utf-8").splitlines(), encoder, count=10)
    assert len(pairs) == 10
    for sentence in (sentence for pair in pairs for sentence in (pair.original, pair.exchanged)):
        assert (sentence.input_ids == encoder.mask_id).sum() == len(sentence.targets) == sentence.input_ids.shape[1] - 2
        assert (np.take_along_axis(sentence.input_ids, sentence.mask_positions, 1) == encoder.mask_id).all()
        assert sentence.mask_positions[:, 0].tolist() == list(range(1, sentence.input_ids.shape[1] - 1))


@torch.no_grad()
def test_preferences_are_differences_of_pseudo_log_likelihoods(
    checkpoint: Checkpoint, encoder: TextEncoder, sentences: Path
) -> None:
    pairs = minimal_pairs(sentences.read_text(encoding="utf-8").splitlines(), encoder, count=3)

    def likelihood(text: str) -> float:
        ids = checkpoint.tokenizer(text, return_tensors="pt")["input_ids"]
        total = 0.0
        for position in range(1, ids.shape[1] - 1):
            masked = ids.clone()
            masked[0, position] = encoder.mask_id
            total += float(torch.log_softmax(checkpoint.model(masked).logits[0, position], -1)[ids[0, position]])
        return total

    expected = [
        likelihood(sentence_of(pair.original, checkpoint)) - likelihood(sentence_of(pair.exchanged, checkpoint))
        for pair in pairs
    ]
    assert preferences(pairs, model_logprobs(checkpoint.model)) == pytest.approx(expected, abs=1e-3)
