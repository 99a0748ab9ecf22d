"""Which vocabulary entry a word is in its context, and how the model rates it."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from maskedge import Predictor, TargetScore, TextError
from maskedge.inference.encoding import TextEncoder

Distribution = Callable[[Predictor, str], npt.NDArray[np.float32]]

SENTENCES = ["the cat sat on the mat", "the dog ran to the sea", "a cat and a dog", "cat", "dog", "the"] * 4


def target_str(encoder: TextEncoder, text: str, word: str, mask: int = 0) -> str | None:
    """The vocabulary's spelling of the word's id."""
    token = encoder.target_id(encoder.encode(text), mask, word)
    return None if token is None else str(encoder.tokenizer.id_to_token(token))


# An uncased WordPiece vocabulary


@pytest.mark.parametrize("word", ["water", "Water", "WATER"])
def test_a_word_is_found_whatever_case_the_model_reads(tiny: Predictor, word: str) -> None:
    assert target_str(tiny.encoder, "the [MASK] flows", word) == "water"


def test_a_capital_is_found_in_the_english_model(english: Predictor) -> None:
    encoded = english.encode("[MASK] is a city.")
    assert english.target_id(encoded, 0, "Paris") == english.encoder.tokenizer.token_to_id("paris")


def test_a_word_of_several_pieces_has_no_id(tiny: Predictor, tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("waters", add_special_tokens=False).ids) == 2
    assert target_str(tiny.encoder, "the [MASK] flows", "waters") is None


def test_two_words_have_no_id(tiny: Predictor) -> None:
    assert target_str(tiny.encoder, "the [MASK] flows", "the water") is None


def test_a_word_the_vocabulary_lacks_has_no_id(tiny: Predictor) -> None:
    assert target_str(tiny.encoder, "the [MASK] flows", "日") is None


@pytest.mark.parametrize("word", ["", " ", "\u200b"])
def test_nothing_has_no_id(tiny: Predictor, word: str) -> None:
    assert target_str(tiny.encoder, "the [MASK] flows", word) is None


def test_a_piece_is_found_by_its_own_spelling(tiny: Predictor) -> None:
    assert target_str(tiny.encoder, "the [MASK] flows", "##ing") == "##ing"
    assert target_str(tiny.encoder, "the [MASK] flows", "##absent") is None


def test_a_word_that_joins_its_neighbour_is_taken_as_the_model_sees_it(tiny: Predictor) -> None:
    """`x` alone is one token, behind a letter it continues the word."""
    assert target_str(tiny.encoder, "the a [MASK]", "x") == "x"
    assert target_str(tiny.encoder, "the a[MASK]", "x") == "##x"


def test_a_word_that_changes_its_neighbour_has_no_id(tiny: Predictor) -> None:
    """The model saw the token `s` behind the mask; behind the word it would be `##s`."""
    assert target_str(tiny.encoder, "the [MASK] s", "Water") == "water"
    assert target_str(tiny.encoder, "the [MASK]s", "Water") is None


@pytest.mark.parametrize("mask", [0, 1, 2])
def test_each_of_several_masks_has_its_own_target(tiny: Predictor, mask: int) -> None:
    text = "[MASK] water <mask> the [MASK]"
    assert target_str(tiny.encoder, text, "People", mask) == "people"
    assert target_str(tiny.encoder, text, "waters", mask) is None


@pytest.mark.parametrize("before", [0, 40, 3000])
@pytest.mark.parametrize("after", [0, 40, 3000])
def test_a_target_is_found_in_a_text_that_was_cut(tiny: Predictor, before: int, after: int) -> None:
    text = "the water " * before + "[MASK]" + " the water" * after
    assert tiny.encode(text).truncated is (before + after >= 40)
    assert target_str(tiny.encoder, text, "People") == "people"


@pytest.mark.parametrize("after", [0, 1, 31, 3000])
def test_a_word_of_several_pieces_has_no_id_where_its_end_would_be_cut_off(tiny: Predictor, after: int) -> None:
    text = "the " * 3000 + "[MASK]" + " the" * after
    assert target_str(tiny.encoder, text, "waters") is None


def test_a_target_with_a_lone_surrogate_is_no_text(tiny: Predictor) -> None:
    with pytest.raises(TextError, match="surrogate"):
        tiny.target_id(tiny.encode("the [MASK]"), 0, "\ud800")


# A byte-level BPE vocabulary, where a word that follows a space is another entry than the bare word


@pytest.fixture(scope="module")
def byte_level() -> TextEncoder:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, show_progress=False, special_tokens=special, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, tokenizer.token_to_id(name)) for name in special]
    )
    return TextEncoder(tokenizer, "<mask>", max_length=16)


@pytest.mark.parametrize("mask", ["<mask>", "[MASK]"])
def test_after_a_space_the_entry_with_the_space_is_meant(byte_level: TextEncoder, mask: str) -> None:
    assert target_str(byte_level, f"the {mask} sat", "cat") == "Ġcat"
    assert target_str(byte_level, f"a cat and a {mask}", "dog") == "Ġdog"


def test_at_the_start_of_the_text_the_bare_entry_is_meant(byte_level: TextEncoder) -> None:
    assert target_str(byte_level, "<mask> sat", "cat") == "cat"


def test_after_another_sign_the_bare_entry_is_meant(byte_level: TextEncoder) -> None:
    assert target_str(byte_level, "(<mask>", "cat") == "cat"


@pytest.mark.parametrize("word", ["", "catalogue", " catalogue"])
def test_what_is_not_one_entry_has_no_id(byte_level: TextEncoder, word: str) -> None:
    assert target_str(byte_level, "the <mask> sat", word) is None


def test_a_byte_level_text_is_cut_around_its_mask(byte_level: TextEncoder) -> None:
    encoded = byte_level.encode("the cat " * 500 + "[MASK]" + " the dog" * 500)
    assert len(encoded.input_ids) == 16
    assert byte_level.token_str(int(encoded.input_ids[encoded.mask_positions[0]])) == "<mask>"
    assert byte_level.token_count(encoded) == 14
    assert target_str(byte_level, encoded.text, "cat") == "Ġcat"


def test_a_unigram_vocabularys_unknown_token_is_no_target() -> None:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁the", -1.0), ("▁cat", -2.0)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<unk>", AddedToken("<mask>", lstrip=True, normalized=False)])
    encoder = TextEncoder(tokenizer, "<mask>", max_length=16)
    assert target_str(encoder, "the <mask>", "cat") == "▁cat"
    assert target_str(encoder, "the<mask>", "日") is None


def test_a_tokenizer_without_the_mask_is_refused(byte_level: TextEncoder) -> None:
    with pytest.raises(ValueError, match=r"no mask token '\[MASK\]'"):
        TextEncoder(byte_level.tokenizer, "[MASK]", max_length=16)


# The rating


def test_a_target_has_its_log_probability_and_rank(predictor: Predictor, distribution: Distribution) -> None:
    text = "the [MASK] water flows [MASK]"
    encoded = predictor.encode(text)
    logprobs = distribution(predictor, text)
    for token in range(0, 400, 7):
        (fill,) = predictor.fill_encoded([encoded], targets=[[token, 399 - token]])
        first, second = (mask.target for mask in fill.masks)
        assert_rates(first, token, logprobs[0])
        assert_rates(second, 399 - token, logprobs[1])


def assert_rates(target: TargetScore | None, token: int, logprobs: npt.NDArray[np.float32]) -> None:
    assert target is not None
    assert target.token == token
    assert target.logprob == pytest.approx(logprobs[token], abs=1e-6)
    assert target.rank == 1 + np.count_nonzero(logprobs > logprobs[token])


def test_the_best_prediction_has_rank_one(predictor: Predictor) -> None:
    encoded = predictor.encode("the [MASK] water")
    for rank, guess in enumerate(predictor.fill_encoded([encoded], top_k=10)[0].masks[0].predictions, start=1):
        (mask,) = predictor.fill_encoded([encoded], targets=[[guess.token]])[0].masks
        assert mask.target is not None
        assert (mask.target.token, mask.target.rank) == (guess.token, rank)
        assert mask.target.logprob == pytest.approx(np.log(guess.score), abs=1e-5)


def test_a_mask_without_a_known_target_has_no_rating(tiny: Predictor) -> None:
    encoded = tiny.encode("the [MASK] water [MASK]")
    (fill,) = tiny.fill_encoded([encoded], targets=[[None, 7]])
    assert fill.masks[0].target is None
    assert fill.masks[1].target is not None
    assert fill.masks[1].target.token == 7


@pytest.mark.parametrize("targets", [[], [1], [1, 2, 3]])
def test_targets_of_another_number_than_the_masks_are_refused(tiny: Predictor, targets: Sequence[int]) -> None:
    encoded = tiny.encode("the [MASK] water [MASK]")
    with pytest.raises(ValueError, match=f"text 1 has 2 masks and {len(targets)} targets"):
        tiny.fill_encoded([encoded, encoded], targets=[[1, 2], targets])


@pytest.mark.parametrize("target", [-100, -1, 400])
def test_a_target_outside_the_vocabulary_is_refused(tiny: Predictor, target: int) -> None:
    with pytest.raises(ValueError, match=r"ids run from 0 to 399"):
        tiny.fill_encoded([tiny.encode("the [MASK]")], targets=[[target]])
