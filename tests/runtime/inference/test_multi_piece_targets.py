"""Words of several pieces in place of a mask, rated whole."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer

from maskedge import Predictor, TextError, WholeTarget

Ask = Callable[..., dict[str, npt.NDArray[np.generic]]]
Distribution = Callable[[Predictor, str], npt.NDArray[np.float32]]

TEXT = "the [MASK] flows from the land ."


def reference(
    predictor: Predictor, tokenizer: Tokenizer, ask: Ask, before: str, pieces: list[int], after: str
) -> list[float]:
    """Each piece's log-probability, one query at a time: before it its pieces, behind it a mask for each one left."""
    mask = tokenizer.token_to_id("[MASK]")
    left, right = tokenizer.encode(before).ids[:-1], tokenizer.encode(after).ids[1:]
    logprobs = []
    for done, piece in enumerate(pieces):
        ids = [*left, *pieces[:done], *[mask] * (len(pieces) - done), *right]
        outputs = ask(predictor, ids, [len(left) + done], [piece], top_k=1)
        logprobs.append(outputs["target_logprobs"].item())
    return logprobs


def targets_of(predictor: Predictor, text: str, *words: str) -> dict[str, WholeTarget]:
    (mask,) = predictor.fill([text], targets=words)[0].masks
    return {target.target: target for target in mask.targets}


@pytest.mark.parametrize("word", ["water", "waters", "unbelievable", "Zebras", "the water", "don't"])
def test_pieces_are_read_from_left_to_right(predictor: Predictor, tokenizer: Tokenizer, ask: Ask, word: str) -> None:
    pieces = tokenizer.encode(word, add_special_tokens=False).ids
    target = targets_of(predictor, TEXT, word)[word]
    assert target.tokens == tuple(pieces)
    expected = reference(predictor, tokenizer, ask, "the", pieces, "flows from the land .")
    assert target.logprobs == pytest.approx(expected, abs=1e-5)
    assert target.logprob == pytest.approx(math.fsum(expected), abs=1e-4)
    assert target.mean_logprob == pytest.approx(target.logprob / len(pieces))


def test_a_word_of_one_piece_is_rated_as_a_token(predictor: Predictor, distribution: Distribution) -> None:
    for word in ("water", "people", "##ing"):
        target = targets_of(predictor, TEXT, word)[word]
        assert target.tokens == (predictor.encoder.tokenizer.token_to_id(word),)
        assert target.logprob == pytest.approx(distribution(predictor, TEXT)[0][target.tokens[0]], abs=1e-5)


def test_targets_come_best_first_once_each(predictor: Predictor) -> None:
    words = ["waters", "water", "zebras", "people", "unbelievable", "water"]
    (mask,) = predictor.fill([TEXT], targets=words)[0].masks
    means = [target.mean_logprob for target in mask.targets]
    assert sorted(target.target for target in mask.targets) == sorted(set(words))
    assert means == sorted(means, reverse=True)


def test_a_word_is_rated_the_same_whatever_it_is_compared_with(tiny: Predictor) -> None:
    words = [f"water{ending}" for ending in ["", "s", "ing", "ed", "fall", "y"]] + ["zebra", "people"]
    together = targets_of(tiny, TEXT, *words)
    for word in words:
        assert together[word] == targets_of(tiny, TEXT, word)[word]


def test_many_words_with_one_beginning_are_rated(tiny: Predictor) -> None:
    vocabulary = [tiny.encoder.token_str(token) for token in range(5, 400)]
    rated = targets_of(tiny, TEXT, *vocabulary)
    assert len(rated) == 395
    assert math.fsum(math.exp(target.logprob) for target in rated.values()) == pytest.approx(1, abs=0.1)


def test_each_mask_may_have_its_own_words(tiny: Predictor) -> None:
    text = "the [MASK] flows from the [MASK]"
    (fill,) = tiny.fill([text], targets=[["waters", "water"], ["land"]])
    assert [{target.target for target in mask.targets} for mask in fill.masks] == [{"waters", "water"}, {"land"}]
    (shared,) = tiny.fill([text], targets=["waters", "water"])
    assert shared.masks[0].targets == fill.masks[0].targets
    assert {target.target for target in shared.masks[1].targets} == {"waters", "water"}


def test_predictions_do_not_change_with_targets(tiny: Predictor) -> None:
    (plain,), (rated,) = tiny.fill([TEXT]), tiny.fill([TEXT], targets="water")
    assert plain.masks[0].predictions == rated.masks[0].predictions
    assert plain.masks[0].targets == ()


@pytest.mark.parametrize("side", [0, 30, 40, 3000])
def test_a_word_is_rated_in_a_text_that_leaves_it_no_room(tiny: Predictor, side: int) -> None:
    (fill,) = tiny.fill(["the " * side + "[MASK]" + " the" * side], targets=["unbelievable", "water"])
    assert {target.target for target in fill.masks[0].targets} == {"unbelievable", "water"}
    assert all(target.logprob < 0 for target in fill.masks[0].targets)


@pytest.mark.parametrize(("targets", "message"), [("日", "'日' cannot be written"), (" ", "cannot be written")])
def test_a_word_the_vocabulary_cannot_spell_is_named(tiny: Predictor, targets: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.fill([TEXT], targets=targets)


def test_a_word_longer_than_the_model_is_refused(tiny: Predictor) -> None:
    with pytest.raises(ValueError, match=r"has 63 pieces; the model reads 62"):
        tiny.fill([TEXT], targets=" ".join(["water"] * 63))


@pytest.mark.parametrize("targets", [[], [[]], [[], ["water"]]])
@pytest.mark.parametrize("texts", [[TEXT], []])
def test_no_target_at_all_is_refused(tiny: Predictor, targets: list[str], texts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^At least one target must be provided when passed\.$"):
        tiny.fill(texts, targets=targets)


@pytest.mark.parametrize("targets", [3, [3], ["water", 3], ["water", ["land"]], {"water": 1}, b"water", [b"water"]])
def test_what_is_no_word_is_refused(tiny: Predictor, targets: object) -> None:
    with pytest.raises(ValueError, match=r"target"):
        tiny.fill([TEXT], targets=targets)  # type: ignore[arg-type]


def test_lists_of_another_number_than_the_masks_name_the_text(tiny: Predictor) -> None:
    with pytest.raises(ValueError, match=r"text 1: targets has 2 lists, and the text 1 masks"):
        tiny.fill(["[MASK] and [MASK]", TEXT], targets=[["a"], ["b"]])


def test_a_lone_surrogate_is_no_word(tiny: Predictor) -> None:
    with pytest.raises(TextError, match="surrogate"):
        tiny.fill([TEXT], targets="\ud800")


# Encoded, with their pieces


def test_known_words_are_rated_by_their_pieces(predictor: Predictor) -> None:
    texts = [TEXT, "the [MASK] and [MASK] from [MASK]"]
    encoded = [predictor.encode(text) for text in texts]
    first, second = predictor.target_pieces(encoded[0], 0, "waters"), predictor.target_pieces(encoded[1], 1, "Zebras")
    water = predictor.target_pieces(encoded[1], 0, "water")
    one, other = predictor.fill_encoded(encoded, targets=[[first], [water, second, None]])
    (rated,) = one.masks[0].targets
    asked = targets_of(predictor, TEXT, "waters")["waters"]
    assert (rated.tokens, rated.logprobs, rated.logprob) == (first, asked.logprobs, asked.logprob)
    assert rated.target == "waters"
    assert [[target.target for target in mask.targets] for mask in other.masks] == [[], ["zebras"], []]
    assert (
        other.masks[1].targets[0].logprobs
        == predictor.fill([texts[1]], targets="Zebras")[0].masks[1].targets[0].logprobs
    )
    assert one.masks[0].target is other.masks[1].target is other.masks[2].target is None
    assert (
        other.masks[0].target == predictor.fill_encoded(encoded[1:], targets=[[*water, None, None]])[0].masks[0].target
    )


@pytest.mark.parametrize(
    ("pieces", "message"),
    [((), "0 pieces; it must be from 1 to 62"), ((7,) * 63, "63 pieces; it must"), ((7, 400), "ids run from 0 to 399")],
)
def test_impossible_pieces_are_refused(tiny: Predictor, pieces: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=rf"text 1 has .*{message}"):
        tiny.fill_encoded([tiny.encode(TEXT)] * 2, targets=[[7], [pieces]])


def test_a_word_that_cannot_be_spelled_has_no_pieces(tiny: Predictor) -> None:
    assert tiny.target_pieces(tiny.encode(TEXT), 0, "日") == ()


# In the drop-in call


def test_whole_targets_are_candidates(tiny: Predictor) -> None:
    words = ["waters", "water", "zebras"]
    rated = tiny.fill([TEXT], targets=words)[0].masks[0].targets
    candidates = tiny(TEXT, targets=words, whole_targets=True)
    assert [candidate["token_str"] for candidate in candidates] == [target.target for target in rated]
    assert [candidate["tokens"] for candidate in candidates] == [list(target.tokens) for target in rated]
    assert [candidate["score"] for candidate in candidates] == [math.exp(target.mean_logprob) for target in rated]
    assert [candidate["logprob"] for candidate in candidates] == [target.logprob for target in rated]
    assert {candidate["sequence"] for candidate in candidates} == {f"the {word} flows from the land." for word in words}
    assert tiny(TEXT, targets=words, whole_targets=True, top_k=1) == candidates[:1]
