"""A predictor called as transformers' `pipeline("fill-mask")` answers in the same shapes."""

import logging
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models

from maskedge import Predictor, TextError, TextStatus, pipeline
from maskedge.inference.decoding import TextDecoder

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


def test_special_tokens_may_be_left_out_of_several_masks_too(tiny: Predictor) -> None:
    first, second = tiny(TWO, skip_special_tokens=True)
    assert all(guess["sequence"].endswith("water from [MASK].") for guess in first)
    assert all(guess["sequence"].startswith("the [MASK] water from") for guess in second)


def test_an_english_sentence_reads_as_one(english: Predictor) -> None:
    best, *_ = english("They stood in front <mask> the house.")
    assert best["token_str"] == "of"
    assert best["sequence"] == "they stood in front of the house."
    assert best["token"] == english.encoder.tokenizer.token_to_id("of")
    assert 0.5 < best["score"] < 1


# Shapes


def test_a_list_has_a_result_for_each_text_nested_as_its_masks_are(tiny: Predictor) -> None:
    assert tiny([ONE, TWO, ONE]) == [tiny(ONE), tiny(TWO), tiny(ONE)]


@pytest.mark.parametrize("text", [ONE, TWO])
def test_a_list_of_one_text_is_unwrapped(tiny: Predictor, text: str) -> None:
    assert tiny([text]) == tiny(text)


def test_no_texts_no_results(tiny: Predictor) -> None:
    assert tiny([]) == []
    assert list(tiny(iter([]))) == []


def test_a_long_list_is_answered_in_order(tiny: Predictor) -> None:
    texts = [f"the [MASK] water{' the' * (number % 9)} {number}" for number in range(100)]
    assert tiny(texts) == [tiny(text) for text in texts]


def test_a_list_is_run_in_as_few_batches_as_filling_it(bundle: Path) -> None:
    batches: list[int] = []
    predictor = Predictor.load(bundle, threads=2, before_batch=batches.append)
    texts = [f"the [MASK] water{' the' * (number % 5)}" for number in range(200)]
    predictor.fill(texts)
    filled = sorted(batches)
    batches.clear()
    predictor(texts)
    assert sorted(batches) == filled


@pytest.mark.parametrize("arguments", [{}, {"targets": ["water"], "whole_targets": True}, {"joint": True}])
def test_the_first_bad_text_of_a_list_is_the_error(tiny: Predictor, arguments: dict[str, Any]) -> None:
    texts: list[Any] = [ONE, *["the [MASK]"] * 40, "no mask", 3, ""]
    with pytest.raises(TextError, match="found on the input of text 41"):
        tiny(texts, **arguments)
    with pytest.raises(ValueError, match="the input of text 41 must be a str"):
        tiny([*texts[:41], 3, "no mask"], **arguments)
    with pytest.raises(ValueError, match="the input of text 0: targets has 2 lists"):
        tiny(texts, **{**arguments, "joint": False, "targets": [["a"], ["b"]]})


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_an_iterator_is_read_as_its_results_are(tiny: Predictor, batch_size: int | None) -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield ONE if read % 2 else TWO

    results = tiny(texts(), batch_size=batch_size, num_workers=4)
    assert read == 0
    assert next(results) == tiny(ONE)
    assert read == (batch_size or 1)
    assert next(results) == tiny(TWO)


def test_any_iterator_will_do(tiny: Predictor) -> None:
    assert list(tiny(map(str, [ONE, TWO]))) == [tiny(ONE), tiny(TWO)]


@pytest.mark.parametrize("inputs", [None, 3, (ONE, TWO), {"text": ONE}, b"[MASK]", [ONE, None], [[ONE]], [3]])
def test_what_is_no_text_is_refused(tiny: Predictor, inputs: object) -> None:
    with pytest.raises(ValueError, match="must be a str"):
        tiny(inputs)


# top_k


def test_top_k_bounds_the_list(tiny: Predictor) -> None:
    assert tiny(ONE, top_k=0) == []
    assert tiny(TWO, top_k=0) == [[], []]
    assert len(tiny(ONE, top_k=400)) == 400
    assert tiny(ONE, top_k=None) == tiny(ONE, top_k=5) == tiny(ONE)


@pytest.mark.parametrize("top_k", [-1, 401])
def test_a_top_k_out_of_bounds_names_the_limit(tiny: Predictor, top_k: int) -> None:
    with pytest.raises(ValueError, match=rf"top_k is {top_k}; .*0 to 400"):
        tiny(ONE, top_k=top_k)


@pytest.mark.parametrize("top_k", ["5", 2.5])
def test_a_top_k_is_an_integer(tiny: Predictor, top_k: Any) -> None:
    with pytest.raises(TypeError, match="integer"):
        tiny(ONE, top_k=top_k)


# Targets


def test_targets_are_ordered_by_their_place_in_the_whole_vocabulary(predictor: Predictor) -> None:
    everything = predictor(ONE, top_k=400)
    words = ["water", "people", "##ing", "the", "water"]
    assert predictor(ONE, targets=words) == [guess for guess in everything if guess["token_str"] in words]
    assert predictor(ONE, targets=words, top_k=2) == predictor(ONE, targets=words)[:2]
    assert len(predictor(ONE, targets=words, top_k=100_000)) == 4


def test_one_target_may_stand_alone(tiny: Predictor) -> None:
    assert tiny(ONE, targets="water") == tiny(ONE, targets=["water"])
    assert [guess["token_str"] for guess in tiny(ONE, targets="water")] == ["water"]


def test_each_mask_may_have_targets_of_its_own(tiny: Predictor) -> None:
    first, second = tiny(TWO, targets=[["water", "people"], ["the"]])
    assert {guess["token_str"] for guess in first} == {"water", "people"}
    assert [guess["token_str"] for guess in second] == ["the"]
    with pytest.raises(ValueError, match="the input: targets has 3 lists, and the text 2 masks"):
        tiny(TWO, targets=[["a"], ["b"], ["c"]])
    with pytest.raises(ValueError, match="the input of text 1: targets has 2 lists, and the text 1 masks"):
        tiny([TWO, ONE], targets=[["a"], ["b"]])


def test_a_target_outside_the_vocabulary_is_its_first_piece(
    tiny: Predictor, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    first = tokenizer.encode("waters", add_special_tokens=False).tokens[0]
    with caplog.at_level(logging.WARNING):
        (guess,) = tiny(ONE, targets=["waters"])
    assert guess["token_str"] == first
    missing = "The specified target token `waters` does not exist in the model vocabulary."
    assert [record.getMessage() for record in caplog.records] == [f"{missing} Replacing with `{first}`."]


def test_a_target_of_no_token_is_left_out(tiny: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert tiny(ONE, targets=["", "water"]) == tiny(ONE, targets="water")
    assert "We cannot replace it with anything meaningful, ignoring it" in caplog.text
    with pytest.raises(ValueError, match=r"^At least one target must be provided when passed\.$"):
        tiny(ONE, targets="")


# Errors


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("the water", TextStatus.NO_MASK),
        ("", TextStatus.EMPTY_TEXT),
        ("the water " * 200_000, TextStatus.TOO_LONG),
    ],
)
def test_no_mask_is_the_same_error(tiny: Predictor, text: str, status: TextStatus) -> None:
    with pytest.raises(TextError, match=r"^No mask_token \(\[MASK\]\) found on the input: ") as caught:
        tiny(text)
    assert caught.value.status is status
    with pytest.raises(TextError, match=r"^No mask_token \(\[MASK\]\) found on the input of text 1: "):
        tiny([ONE, text])


def test_a_lone_surrogate_names_its_text(tiny: Predictor) -> None:
    with pytest.raises(TextError, match=r"of text 1: .*surrogate"):
        tiny([ONE, "\ud800 [MASK]"])


@pytest.mark.parametrize("arguments", [{"topk": 3}, {"tokenizer_kwargs": {"padding": True}}])
def test_an_unknown_argument_is_named(tiny: Predictor, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument: (topk|tokenizer_kwargs\['padding'\])"):
        tiny(ONE, **arguments)


def test_a_long_text_says_that_it_was_cut(tiny: Predictor) -> None:
    guesses = tiny("the " * 500 + "[MASK]" + " water" * 500, tokenizer_kwargs={"truncation": True})
    assert [list(guess) for guess in guesses] == [["score", "token", "token_str", "sequence", "truncated"]] * 5
    assert all(guess["truncated"] is True for guess in guesses)
    assert all(len(guess["sequence"].split()) <= 62 for guess in guesses)


# The factory


def test_a_pipeline_is_a_predictor_with_defaults(bundle: Path, tiny: Predictor) -> None:
    fill = pipeline("fill-mask", model=str(bundle), top_k=2, targets=["water", "people", "the"])
    assert fill(ONE) == tiny(ONE, top_k=2, targets=["water", "people", "the"])
    assert fill(ONE, top_k=1) == fill(ONE)[:1]
    assert fill(ONE, targets="water") == tiny(ONE, targets="water")
    assert fill(ONE, top_k=None, targets=None) == fill(ONE)
    assert fill.fill([ONE]) == tiny.fill([ONE])


def test_without_a_model_the_bundled_one_is_called() -> None:
    assert pipeline("fill-mask").name == pipeline().name == "english-minilm"


def test_arguments_that_change_nothing_are_accepted(bundle: Path, tiny: Predictor) -> None:
    arguments: dict[str, Any] = {"tokenizer_kwargs": {"truncation": True}, "batch_size": 8, "num_workers": 2}
    for device in (None, -1, "cpu"):
        assert pipeline("fill-mask", bundle, device=device, **arguments)(ONE) == tiny(ONE)


@pytest.mark.parametrize("name", ["dtype", "framework", "trust_remote_code", "tokenizer", "top_n"])
def test_arguments_that_mean_nothing_here_are_refused_by_name(bundle: Path, name: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument: {name}"):
        pipeline("fill-mask", bundle, **{name: "x"})  # type: ignore[arg-type]


@pytest.mark.parametrize("device", [0, "cuda", "cuda:0"])
def test_another_device_is_refused(bundle: Path, device: object) -> None:
    with pytest.raises(ValueError, match="runs on the CPU"):
        pipeline("fill-mask", bundle, device=device)


def test_another_task_is_refused(bundle: Path) -> None:
    with pytest.raises(ValueError, match="'text-generation'; maskedge does 'fill-mask' only"):
        pipeline("text-generation", bundle)


def test_a_model_object_is_refused() -> None:
    with pytest.raises(TypeError, match="directory or Hub id, not object"):
        pipeline("fill-mask", object())  # type: ignore[arg-type]


def test_impossible_defaults_are_found_at_once(bundle: Path) -> None:
    with pytest.raises(ValueError, match="At least one target"):
        pipeline("fill-mask", bundle, targets=[])


# Decoding


@pytest.mark.parametrize("pad", ["[PAD]", {"content": "[PAD]", "lstrip": False}])
def test_padding_is_left_out_of_sequences(tokenizer: Tokenizer, pad: object) -> None:
    decoder = TextDecoder(tokenizer, {"pad_token": pad})
    ids = tokenizer.encode("the [PAD] water").ids
    assert decoder.sequence(ids, skip_special_tokens=False) == "[CLS] the water [SEP]"
    assert TextDecoder(tokenizer, {}).sequence(ids, skip_special_tokens=False) == "[CLS] the [PAD] water [SEP]"


def test_spaces_are_cleaned_up_where_the_configuration_says_so(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the ' water '", add_special_tokens=False).ids
    cleaned = TextDecoder(tokenizer, {"clean_up_tokenization_spaces": True}).text(ids)
    assert TextDecoder(tokenizer, {"clean_up_tokenization_spaces": False}).text(ids) == "the ' water '"
    assert cleaned == "the'water '"


@pytest.mark.parametrize("skip_special_tokens", [True, False])
@pytest.mark.parametrize("length", range(9))
def test_a_text_is_what_the_tokenizer_decodes(length: int, skip_special_tokens: bool) -> None:
    """Pieces of words, special tokens, one that was added and ids that are none, at the first place and behind."""
    tokenizer, chance = word_piece_tokenizer(), random.Random(length)
    decoder = TextDecoder(tokenizer, {})
    for _ in range(300):
        ids = chance.choices(range(61), weights=[1 + 9 * (number % 3 == 0) for number in range(61)], k=length)
        found = decoder.text(ids, skip_special_tokens=skip_special_tokens)
        assert found == tokenizer.decode(ids, skip_special_tokens=skip_special_tokens), ids


@pytest.mark.parametrize("skip_special_tokens", [True, False])
@pytest.mark.parametrize("config", [{}, {"pad_token": "[PAD]", "clean_up_tokenization_spaces": True}])
def test_what_is_filled_in_makes_the_text_of_all_its_ids(config: dict[str, object], skip_special_tokens: bool) -> None:
    decoder, chance = TextDecoder(word_piece_tokenizer(), config), random.Random(7)
    for _ in range(300):
        before, filled, after = (chance.choices(range(61), k=chance.randrange(4)) for _ in range(3))
        found = decoder.sequences(before, after, skip_special_tokens=skip_special_tokens)(filled)
        whole = [*before, *filled, *after]
        assert found == decoder.sequence(whole, skip_special_tokens=skip_special_tokens), whole


@cache
def word_piece_tokenizer() -> Tokenizer:
    """Has ids up to 50, and holes among them."""
    words = [
        "[PAD]",
        "[UNK]",
        "[MASK]",
        "##",
        "##ing",
        "do",
        "not",
        "do not",
        ".",
        "'",
        "n't",
        "##'s",
        "water",
        " ",
        "é",
    ]
    tokenizer = Tokenizer(models.WordPiece({word: 3 * number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[MASK]", "[CLS]"])
    tokenizer.add_tokens(["new word"])
    return tokenizer
