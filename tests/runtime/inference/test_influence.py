"""How much a word matters: the prediction with it, and with a mask in its place."""

import math

import pytest

from maskedge import Influence, Predictor, TextError, explain

TEXT = "the river flows through the [MASK] ."


@pytest.fixture(scope="module")
def influence(predictor: Predictor) -> Influence:
    return predictor.influence(TEXT)


def logprob(predictor: Predictor, text: str, token: int, mask: int) -> float:
    """What `fill` says of a token, which rates it beside the other masks."""
    encoded = predictor.encode(text)
    known = [token if number == mask else None for number in range(len(encoded.mask_positions))]
    (fill,) = predictor.fill_encoded([encoded], targets=[known])
    target = fill.masks[mask].target
    assert target is not None
    return target.logprob


def test_it_is_about_the_most_probable_token(predictor: Predictor, influence: Influence) -> None:
    (best,) = predictor.fill([TEXT], top_k=1)[0].masks[0].predictions
    assert (influence.token, influence.token_str) == (best.token, best.token_str)
    assert influence.logprob == pytest.approx(math.log(best.score), abs=1e-6)


def test_each_other_word_is_masked_in_turn(predictor: Predictor, influence: Influence) -> None:
    words = ["the", "river", "flows", "through", "the", "."]
    assert [word.word for word in influence.words] == words
    parts = TEXT.split()
    for place, word in zip((0, 1, 2, 3, 4, 6), influence.words, strict=True):
        without = " ".join([*parts[:place], "[MASK]", *parts[place + 1 :]])
        if len(word.positions) == 1:  # of several pieces, each has a mask of its own
            expected = logprob(predictor, without, influence.token, mask=int(place < 5))
            assert word.logprob == pytest.approx(expected, abs=1e-5)
        assert word.change == influence.logprob - word.logprob


def test_a_word_says_where_it_stands_in_the_text_that_was_tokenized(predictor: Predictor) -> None:
    text = "MASK, the <mask> of\tthe sea: 6 MASK"
    tokenized = text.replace("<mask>", predictor.mask_token)
    words = predictor.influence(text).words
    assert [word.start for word in words] == [0, 4, 6, 17, 20, 24, 27, 29, 31]
    assert [tokenized[word.start : word.stop] for word in words] == [word.word for word in words]


def test_all_pieces_of_a_word_are_masked(predictor: Predictor) -> None:
    influence = predictor.influence("xyzzyx [MASK]")
    (word,) = influence.words
    assert len(word.positions) > 1
    masked = " ".join(["[MASK]"] * (len(word.positions) + 1))
    expected = logprob(predictor, masked, influence.token, mask=len(word.positions))
    assert word.logprob == pytest.approx(expected, abs=1e-5)


def test_another_mask_and_another_token_can_be_asked_about(predictor: Predictor) -> None:
    text = "the [MASK] flows through [MASK]"
    influence = predictor.influence(text, mask=1, token=7)
    assert influence.position == predictor.encode(text).mask_positions[1]
    assert influence.logprob == pytest.approx(logprob(predictor, text, 7, mask=1), abs=1e-5)
    assert [word.word for word in influence.words] == ["the", "flows", "through"]


@pytest.mark.parametrize(("options", "said"), [({"mask": 1}, "from 0 to 0"), ({"token": 10**6}, "ids run from 0")])
def test_what_is_not_there_cannot_be_asked_about(predictor: Predictor, options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        predictor.influence(TEXT, **options)


def test_a_text_without_a_mask_is_refused(predictor: Predictor) -> None:
    with pytest.raises(TextError, match="No mask_token"):
        predictor.influence("the river")


def test_a_long_text_has_the_words_that_were_read(predictor: Predictor) -> None:
    long = "river " * 200
    influence = predictor.influence(f"{long}[MASK] {long}")
    read = sum(len(word.positions) for word in influence.words)
    assert read == predictor.encoder.room - 1


def test_an_explanation_has_it_where_it_was_asked_for(predictor: Predictor, influence: Influence) -> None:
    assert explain(predictor, TEXT).influences == ()
    assert explain(predictor, TEXT, influence=True).influences == (influence,)
