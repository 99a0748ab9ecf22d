"""Pseudo-log-likelihood: each token masked in turn, given all others (Salazar et al. 2020)."""

import math
from dataclasses import replace

import pytest
from tokenizers import Tokenizer

from maskedge import EncodedText, Predictor, TextError, TextStatus

TEXTS = ["The water flows from the land.", "water", "Two children, two zebras; one zebra!"]


@pytest.mark.parametrize("text", TEXTS)
def test_pll_is_the_sum_over_tokens_masked_one_at_a_time(predictor: Predictor, text: str) -> None:
    (sentence,) = predictor.score([text])
    encoded = predictor.encode(text)
    by_hand = [masked_logprob(predictor, encoded, at) for at in range(1, len(encoded.input_ids) - 1)]
    assert [token.logprob for token in sentence.tokens] == by_hand
    assert sentence.pll == math.fsum(by_hand)
    assert sentence.pll < 0


def masked_logprob(predictor: Predictor, encoded: EncodedText, at: int) -> float:
    """Log-probability of the token at a position once a copy of the text is masked there."""
    copy = encoded.input_ids.copy()
    copy[at] = predictor.encoder.mask_id
    masked = replace(encoded, input_ids=copy, mask_positions=(at,))
    (fill,) = predictor.fill_encoded([masked], targets=[[int(encoded.input_ids[at])]])
    assert fill.masks[0].target is not None
    return fill.masks[0].target.logprob


def test_a_words_score_is_that_of_filling_its_place(predictor: Predictor) -> None:
    """The same by text: words of one token each, masked by their spelling."""
    words = ["the", "water", "from", "every", "child"]
    (sentence,) = predictor.score([" ".join(words)])
    for index, (word, token) in enumerate(zip(words, sentence.tokens, strict=True)):
        encoded = predictor.encode(" ".join([*words[:index], "[MASK]", *words[index + 1 :]]))
        target = predictor.target_id(encoded, 0, word)
        (fill,) = predictor.fill_encoded([encoded], targets=[[target]])
        rating = fill.masks[0].target
        assert rating is not None
        assert (rating.token, rating.logprob) == (token.token, token.logprob)


@pytest.mark.parametrize("text", TEXTS)
def test_special_tokens_are_left_out(tiny: Predictor, tokenizer: Tokenizer, text: str) -> None:
    (sentence,) = tiny.score([text])
    encoding = tokenizer.encode(text, add_special_tokens=False)
    assert [token.token for token in sentence.tokens] == encoding.ids
    assert [token.token_str for token in sentence.tokens] == encoding.tokens
    assert sentence.token_count == len(encoding.ids)
    assert sentence.text == text


@pytest.mark.parametrize("text", TEXTS)
def test_pseudo_perplexity_is_exp_of_minus_pll_per_token(tiny: Predictor, text: str) -> None:
    (sentence,) = tiny.score([text])
    assert sentence.pseudo_perplexity == pytest.approx(math.exp(-sentence.pll / len(sentence.tokens)), rel=1e-12)


def test_english_in_order_is_likelier_than_shuffled(english: Predictor) -> None:
    text = "he took the book from the table and began to read"
    ordered, shuffled = english.score([text, " ".join(sorted(text.split()))])
    assert ordered.token_count == shuffled.token_count
    assert ordered.pseudo_perplexity < shuffled.pseudo_perplexity


@pytest.mark.parametrize("mask", ["[MASK]", "<mask>"])
def test_a_text_with_a_mask_is_not_scored(tiny: Predictor, mask: str) -> None:
    with pytest.raises(TextError, match=r"text 1: .* holds a mask.*fill it") as caught:
        tiny.score(["the water", f"the {mask}"])
    assert caught.value.status is TextStatus.UNEXPECTED_MASK


def test_no_texts_no_scores(tiny: Predictor) -> None:
    assert tiny.score([]) == []
