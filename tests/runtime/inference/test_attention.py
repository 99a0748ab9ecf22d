"""Attention of a text: its tokens, and probabilities that depend on nothing but the text."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from maskedge import Attention, BundleNotFoundError, Predictor, TextError


@pytest.fixture(scope="module")
def attention(tiny: Predictor) -> Attention:
    return tiny.attend("The river flows past the [MASK].")


def test_it_has_a_distribution_for_each_query_of_each_head(attention: Attention) -> None:
    length = len(attention.tokens)
    assert attention.weights.shape == (2, 4, length, length) == (attention.layers, attention.heads, length, length)
    assert attention.weights.dtype == np.float32
    np.testing.assert_allclose(attention.weights.sum(-1), 1, atol=1e-5)


def test_its_tokens_are_those_that_the_model_reads(tiny: Predictor, attention: Attention) -> None:
    assert attention.token_ids == tuple(tiny.encode(attention.text).input_ids.tolist())
    assert (attention.tokens[0], attention.tokens[-1]) == ("[CLS]", "[SEP]")
    assert "[MASK]" in attention.tokens


def test_pieces_of_a_word_share_its_number(tiny: Predictor) -> None:
    attention = tiny.attend("the xyzzyx river")
    assert attention.words[0] is None
    assert attention.words[-1] is None
    numbers = [number for number in attention.words if number is not None]
    pieces = [number for number, token in zip(attention.words, attention.tokens, strict=True) if "##" in token]
    assert numbers == sorted(numbers)
    assert set(numbers) == {0, 1, 2}
    assert 1 in pieces


def test_it_is_the_same_to_the_bit_alone_and_in_a_batch(tiny: Predictor) -> None:
    texts = ["The river flows.", "A river flows.", "The [MASK] is old.", "Six", "The river flows past the old town."]
    together = tiny.attend_encoded([tiny.encode(text) for text in texts])
    for text, found in zip(texts, together, strict=True):
        assert found.text == text
        assert np.array_equal(found.weights, tiny.attend(text).weights)


def test_a_text_longer_than_the_model_is_cut_at_its_end_or_around_its_mask(tiny: Predictor) -> None:
    long = "the river " * 100
    cut = tiny.attend(long)
    assert cut.truncated
    assert len(cut.tokens) == len(cut.words) == tiny.encoder.max_length
    assert cut.token_ids[:5] == tiny.attend("the river " * 3).token_ids[:5]
    around = tiny.attend(f"{long} [MASK] {long}")
    assert around.truncated
    assert "[MASK]" in around.tokens
    assert not tiny.attend("the river").truncated


def test_an_empty_text_is_refused(tiny: Predictor) -> None:
    with pytest.raises(TextError, match="no token"):
        tiny.attend(" ")


def test_a_bundle_of_an_earlier_version_says_how_to_get_one(tiny: Predictor, tmp_path: Path) -> None:
    bundle = shutil.copytree(tiny.bundle.path, tmp_path / "bundle")
    manifest = json.loads((bundle / "maskedge.json").read_text())
    del manifest["attention"]
    (bundle / "maskedge.json").write_text(json.dumps(manifest))
    earlier = Predictor.load(bundle)
    with pytest.raises(BundleNotFoundError, match="export its checkpoint again with `mlm-export bundle`"):
        earlier.attend("The river flows.")
