"""A text longer than the model is cut around its masks, and says so."""

from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from maskedge import Predictor, TextError, TextStatus
from maskedge.inference.encoding import MAX_UNMASKED_TOKENS, TextEncoder

MAX_LENGTH = 64
ROOM = MAX_LENGTH - 2
"""Tokens between [CLS] and [SEP]."""
WORDS = ["the", "water", "from", "every", "child", "before", "people", "had", "two", "years", "because"]
"""One token each, and 11 of them: a window's place in their repetition shows."""


def long_text(length: int, masks: list[int]) -> list[str]:
    words = list(islice(cycle(WORDS), length))
    for index in masks:
        words[index] = "[MASK]"
    return words


def window(words: list[str], start: int) -> str:
    return " ".join(words[start : start + ROOM])


@pytest.mark.parametrize(
    ("length", "masks", "start"),
    [
        pytest.param(5000, [0], 0, id="first word"),
        pytest.param(5000, [3], 0, id="early"),
        pytest.param(5000, [2500], 2500 - ROOM // 2, id="middle"),
        pytest.param(5000, [4990], 5000 - ROOM, id="late"),
        pytest.param(5000, [4999], 5000 - ROOM, id="last word"),
        pytest.param(5000, [2500, 2510], 2505 - ROOM // 2, id="two masks"),
        pytest.param(5000, [2500, 2500 + ROOM - 1], 2500, id="as far apart as can be"),
        pytest.param(ROOM + 1, [0], 0, id="one word too long, mask first"),
        pytest.param(ROOM + 1, [ROOM], 1, id="one word too long, mask last"),
    ],
)
def test_a_long_text_is_the_window_around_its_masks(
    predictor: Predictor, length: int, masks: list[int], start: int
) -> None:
    words = long_text(length, masks)
    (long,), (short,) = predictor.fill([" ".join(words)]), predictor.fill([window(words, start)])
    assert long.truncated
    assert not short.truncated
    assert long.token_count == short.token_count == ROOM
    assert len(long.masks) == len(masks)
    assert long.masks == short.masks


def test_the_window_is_as_long_as_the_model_reads(tiny: Predictor, tokenizer: Tokenizer) -> None:
    words = long_text(3000, [1500])
    encoded = tiny.encode(" ".join(words))
    assert len(encoded.input_ids) == MAX_LENGTH
    assert encoded.input_ids.tolist() == tokenizer.encode(window(words, 1500 - ROOM // 2)).ids
    assert encoded.text == " ".join(words)


def test_a_text_that_just_fits_is_whole(tiny: Predictor) -> None:
    (fill,) = tiny.fill([" ".join(long_text(ROOM, [5]))])
    assert not fill.truncated
    assert fill.token_count == ROOM


@pytest.mark.parametrize("apart", [ROOM, 200, 4000])
def test_masks_too_far_apart_are_lost(tiny: Predictor, apart: int) -> None:
    with pytest.raises(TextError, match=r"text 0: .*too far apart.* 64 tokens") as caught:
        tiny.fill([" ".join(long_text(5000, [500, 500 + apart]))])
    assert caught.value.status is TextStatus.MASK_LOST


@pytest.mark.parametrize("length", [ROOM + 1, MAX_UNMASKED_TOKENS])
def test_without_a_mask_to_cut_around_a_text_stays_whole(tiny: Predictor, tokenizer: Tokenizer, length: int) -> None:
    text = " ".join(long_text(length, []))
    encoded = tiny.encode(text)
    assert not encoded.truncated
    assert encoded.input_ids.tolist() == tokenizer.encode(text).ids
    with pytest.raises(TextError, match=r"text 0: No mask_token") as caught:
        tiny.fill([text])
    assert caught.value.status is TextStatus.NO_MASK


def test_too_many_tokens_without_a_mask(tiny: Predictor) -> None:
    with pytest.raises(
        TextError, match=r"text 0: the text has 32769 tokens .* 32768 tokens are scored: split"
    ) as caught:
        tiny.score([" ".join(long_text(MAX_UNMASKED_TOKENS + 1, []))])
    assert caught.value.status is TextStatus.TOO_LONG


def test_ten_megabytes_are_cut_before_they_are_tokenized(tiny: Predictor) -> None:
    half = "the water " * 500_000
    encoded = tiny.encode(f"{half}[MASK] {half}")
    assert len(encoded.text) > 10_000_000
    assert len(encoded.source) < 200 * MAX_LENGTH
    assert encoded.truncated
    assert tiny.fill_encoded([encoded])[0].masks == tiny.fill([window_around_mask()])[0].masks


def window_around_mask() -> str:
    words = ["the", "water"] * ROOM
    words.insert(ROOM, "[MASK]")
    return window(words, ROOM - ROOM // 2)


def test_ten_megabytes_without_a_mask_are_never_tokenized(tiny: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.encoder, "tokenizer", None)
    with pytest.raises(TextError) as caught:
        tiny.encode("the water " * 1_000_000)
    assert caught.value.status is TextStatus.TOO_LONG


@pytest.mark.parametrize("seed", range(8))
def test_any_long_text_keeps_its_masks_and_fills_the_model(tiny: Predictor, tokenizer: Tokenizer, seed: int) -> None:
    chance = np.random.default_rng(seed)
    length = int(chance.integers(ROOM + 1, 4000))
    first = int(chance.integers(length))
    masks = sorted({first, min(length - 1, first + int(chance.integers(ROOM)))})
    words = long_text(length, masks)
    encoded = tiny.encode(" ".join(words))
    assert len(encoded.mask_positions) == len(masks)
    assert encoded.truncated
    start = masks[0] + 1 - encoded.mask_positions[0]
    assert 0 <= start <= length - ROOM
    assert encoded.input_ids.tolist() == tokenizer.encode(window(words, start)).ids


def test_what_is_cut_before_tokenizing_counts_as_cut(tiny: Predictor) -> None:
    """Even where few tokens are left, because blanks stood around the mask."""
    encoded = tiny.encode("the [MASK]" + " " * 10_000 + "water")
    assert encoded.truncated
    assert len(encoded.input_ids) == 4


def test_a_tokenizers_own_truncation_and_padding_are_off(bundle: Path) -> None:
    """A tokenizer.json may ask for both; one would lose masks unseen, the other make scores depend on batch mates."""
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    expected = tokenizer.encode("the water " * 20 + "[MASK]").ids
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=50)
    encoder = TextEncoder(tokenizer, "[MASK]", MAX_LENGTH)
    assert encoder.encode("the water " * 20 + "[MASK]").input_ids.tolist() == expected
