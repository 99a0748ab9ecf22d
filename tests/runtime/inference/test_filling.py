"""What `fill` says at the masks of a text, and what it refuses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer

from maskedge import Predictor, TextError, TextStatus

Distribution = Callable[[Predictor, str], npt.NDArray[np.float32]]

TEXT = "the [MASK] water flows from [MASK] to the land"
VOCABULARY = 400


def test_each_mask_has_top_k_predictions_in_reading_order(predictor: Predictor, tokenizer: Tokenizer) -> None:
    (fill,) = predictor.fill([TEXT], top_k=7)
    ids = tokenizer.encode(TEXT).ids
    assert fill.text == TEXT
    assert [ids[mask.position] for mask in fill.masks] == [tokenizer.token_to_id("[MASK]")] * 2
    assert fill.masks[0].position < fill.masks[1].position
    assert [len(mask.predictions) for mask in fill.masks] == [7, 7]
    assert [mask.target for mask in fill.masks] == [None, None]


def test_five_predictions_unless_asked_otherwise(tiny: Predictor) -> None:
    assert len(tiny.fill(["the [MASK]"])[0].masks[0].predictions) == 5


def test_scores_are_probabilities_best_first(predictor: Predictor) -> None:
    for mask in predictor.fill([TEXT], top_k=VOCABULARY)[0].masks:
        scores = [guess.score for guess in mask.predictions]
        assert scores == sorted(scores, reverse=True)
        assert all(0 < score < 1 for score in scores)
        assert math.fsum(scores) == pytest.approx(1, abs=1e-4)


def test_the_whole_vocabulary_is_predicted_once(predictor: Predictor) -> None:
    (mask,) = predictor.fill(["the [MASK]"], top_k=VOCABULARY)[0].masks
    assert sorted(guess.token for guess in mask.predictions) == list(range(VOCABULARY))


def test_predictions_carry_the_distribution(predictor: Predictor, distribution: Distribution) -> None:
    for mask, logprobs in zip(predictor.fill([TEXT])[0].masks, distribution(predictor, TEXT), strict=True):
        best = np.argsort(-logprobs, kind="stable")[:5]
        assert [guess.token for guess in mask.predictions] == best.tolist()
        assert [guess.score for guess in mask.predictions] == pytest.approx(np.exp(logprobs[best]).tolist(), rel=1e-5)


def test_entropy_is_minus_sum_p_log_p(predictor: Predictor, distribution: Distribution) -> None:
    for mask, logprobs in zip(predictor.fill([TEXT])[0].masks, distribution(predictor, TEXT), strict=True):
        exact = logprobs.astype(np.float64)
        assert mask.entropy == pytest.approx(-np.sum(np.exp(exact) * exact), abs=1e-4)


def test_token_str_decodes_one_token(tiny: Predictor, tokenizer: Tokenizer) -> None:
    (mask,) = tiny.fill(["the [MASK]"], top_k=VOCABULARY)[0].masks
    assert {guess.token: guess.token_str for guess in mask.predictions} == {
        token: tokenizer.id_to_token(token) for token in range(VOCABULARY)
    }


def test_several_masks_are_filled_independently(
    predictor: Predictor, tokenizer: Tokenizer, ask: Callable[..., dict[str, npt.NDArray[np.generic]]]
) -> None:
    """Each mask's distribution is the one with the other masks still in the text, and nothing filled in."""
    ids = tokenizer.encode(TEXT).ids
    for mask in predictor.fill([TEXT])[0].masks:
        alone = ask(predictor, ids, [mask.position], [0], top_k=5)
        assert [guess.token for guess in mask.predictions] == alone["top_ids"][0].tolist()
        assert mask.entropy == pytest.approx(alone["entropy"].item(), abs=1e-5)


def test_top_k_zero_predicts_nothing_and_still_measures(tiny: Predictor) -> None:
    (none,), (some,) = tiny.fill([TEXT], top_k=0), tiny.fill([TEXT])
    assert [mask.predictions for mask in none.masks] == [(), ()]
    assert [mask.entropy for mask in none.masks] == [mask.entropy for mask in some.masks]


@pytest.mark.parametrize("top_k", [-1, VOCABULARY + 1])
@pytest.mark.parametrize("texts", [["the [MASK]"], []])
def test_a_top_k_out_of_bounds_names_the_limit(tiny: Predictor, top_k: int, texts: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"top_k is {top_k}; .*0 to 400"):
        tiny.fill(texts, top_k=top_k)


def test_both_spellings_of_the_mask_are_the_models_own(tiny: Predictor) -> None:
    ours, theirs, mixed = (tiny.fill([TEXT.replace("[MASK]", "<mask>", count)])[0] for count in (0, 2, 1))
    assert ours.masks == theirs.masks == mixed.masks
    assert theirs.text == TEXT.replace("[MASK]", "<mask>")


def test_token_count_leaves_special_tokens_out(tiny: Predictor, tokenizer: Tokenizer) -> None:
    (fill,) = tiny.fill([TEXT])
    assert fill.token_count == len(tokenizer.encode(TEXT, add_special_tokens=False).ids)
    assert not fill.truncated


def test_no_texts_no_results(tiny: Predictor) -> None:
    assert tiny.fill([]) == []
    assert tiny.fill_encoded([], targets=[]) == []


def test_a_text_without_a_mask_is_named(tiny: Predictor) -> None:
    with pytest.raises(TextError, match=r"No mask_token \(\[MASK\]\) found on the input 'two'") as caught:
        tiny.fill(["one [MASK]", "two"])
    assert "text 1" in str(caught.value)
    assert caught.value.status is TextStatus.NO_MASK
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", TextStatus.EMPTY_TEXT),
        (" \t\n\u00a0", TextStatus.EMPTY_TEXT),
        ("\u200b\x00", TextStatus.EMPTY_TEXT),
        ("lone \ud800 [MASK]", TextStatus.INVALID_UNICODE),
        ("[MASK] \udfff", TextStatus.INVALID_UNICODE),
    ],
)
@pytest.mark.parametrize("method", ["fill", "score"])
def test_an_unreadable_text_is_named_with_its_reason(
    tiny: Predictor, method: str, text: str, status: TextStatus
) -> None:
    good = {"fill": "the [MASK]", "score": "the water"}[method]
    with pytest.raises(TextError, match="text 2") as caught:
        getattr(tiny, method)([good, good, text, good])
    assert caught.value.status is status


@pytest.mark.parametrize("method", ["fill", "score"])
def test_one_string_is_no_list_of_texts(tiny: Predictor, method: str) -> None:
    with pytest.raises(TypeError, match="give a list of texts"):
        getattr(tiny, method)("the [MASK]")


@pytest.mark.parametrize("text", [None, 3, b"the [MASK]", ["the [MASK]"]])
def test_what_is_no_string_is_no_text(tiny: Predictor, text: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(text).__name__}"):
        tiny.fill([text])
