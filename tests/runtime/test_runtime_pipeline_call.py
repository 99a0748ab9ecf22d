"""A predictor called as transformers' `pipeline("fill-mask")` answers in the same shapes."""

import pytest
from maskedge import Predictor, TextError
from tokenizers import Tokenizer

ONE = "The water, from [MASK] two."
TWO = "The [MASK] water from [MASK]."


def test_one_mask_gives_a_list_of_dicts(predictor: Predictor) -> None:
    guesses = predictor(ONE)
    (mask,) = predictor.fill([ONE])[0].masks
    assert [list(guess) for guess in guesses] == [["score", "token", "token_str", "sequence"]] * 5
    assert [(guess["token"], guess["token_str"], guess["score"]) for guess in guesses] == [
        (guess.token, guess.token_str, guess.score) for guess in mask.predictions
    ]


def test_with_one_mask_the_sequence_leaves_special_tokens_out(tiny: Predictor, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(ONE).ids
    for guess in tiny(ONE):
        filled = [guess["token"] if token == tokenizer.token_to_id("[MASK]") else token for token in ids]
        assert guess["sequence"] == tokenizer.decode(filled, skip_special_tokens=True)
        assert "[" not in guess["sequence"]


def test_several_masks_give_a_list_each_and_keep_special_tokens(tiny: Predictor, tokenizer: Tokenizer) -> None:
    first, second = tiny(TWO, top_k=3)
    assert len(first) == len(second) == 3
    the_word = tokenizer.decode([first[0]["token"]])
    assert first[0]["sequence"].startswith("[CLS] the")
    assert all(guess["sequence"].endswith("water from [MASK]. [SEP]") for guess in first)
    assert all(guess["sequence"].startswith("[CLS] the [MASK] water from") for guess in second)
    assert the_word.removeprefix("##") in first[0]["sequence"]


def test_an_english_sentence_reads_as_one(english: Predictor) -> None:
    best, *_ = english("They stood in front <mask> the house.")
    assert best["token_str"] == "of"
    assert best["sequence"] == "they stood in front of the house."
    assert best["token"] == english.encoder.tokenizer.token_to_id("of")
    assert 0.5 < best["score"] < 1


def test_top_k_bounds_the_list(tiny: Predictor) -> None:
    assert tiny(ONE, top_k=0) == []
    assert tiny(TWO, top_k=0) == [[], []]
    assert len(tiny(ONE, top_k=400)) == 400
    with pytest.raises(ValueError, match="400"):
        tiny(ONE, top_k=401)


def test_no_mask_is_the_same_error(tiny: Predictor) -> None:
    with pytest.raises(TextError, match=r"No mask_token \(\[MASK\]\) found on the input"):
        tiny("the water")
