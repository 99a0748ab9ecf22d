"""Whatever is given as a text is answered or refused with its reason: never a crash, a hang or another row's answer.

MASKEDGE_EXAMPLES=20000 tries as many inputs, other ones each time.
"""

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from maskedge import Fill, Predictor, TextError

pytestmark = pytest.mark.slow

EXAMPLES = os.environ.get("MASKEDGE_EXAMPLES")
SECONDS = 60.0
"""An answer that takes longer hangs; a tiny model's takes milliseconds."""

fuzzed = settings(
    max_examples=int(EXAMPLES or 40),
    derandomize=EXAMPLES is None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

SPELLINGS = ["[MASK]", "<mask>", "[mask]", "[MASK", "MASK]", "<mask", "[[MASK]]", "[ MASK ]", "[MASK]s", "##[MASK]"]
SPECIALS = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "<s>", "</s>", "<pad>", "<unk>", "##", "▁", "Ġ", "\ufffd"]
NASTY = ["\x00", "\ud800", "\udfff", "\ud83d", "\u200b", "\u202e", "\ufeff", "\u0300", "\U0010ffff", "\r\n", "\x1b[0m"]
VALID = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ANY = st.text(st.characters(exclude_categories=()), max_size=12)  # every code point, lone surrogates too
LIKELY = st.one_of(st.sampled_from(SPELLINGS), st.sampled_from(SPECIALS), VALID, st.just("the water"))
RARE = st.one_of(st.sampled_from(NASTY), ANY)
PIECES = st.integers(0, 19).flatmap(lambda chance: LIKELY if chance else RARE)
REPEATED = st.builds(lambda piece, times: piece * times, PIECES, st.sampled_from([1, 1, 1, 2, 20, 3000]))
TEXTS = st.builds(
    lambda pieces, mask, glue: glue.join([*pieces[:4], mask, *pieces[4:]]),
    st.lists(REPEATED, max_size=8),
    st.sampled_from(["[MASK]", "<mask>", "[MASK]", "<mask>", ""]),
    st.sampled_from(["", " ", "\n"]),
)


@pytest.fixture(scope="module")
def predictor(fp32_bundle: Path) -> Predictor:
    """A tiny model of each family, and so of each kind of tokenizer."""
    return Predictor.load(fp32_bundle, threads=2)


@fuzzed
@given(text=TEXTS)
def test_any_text_is_filled_or_refused_with_a_reason(predictor: Predictor, text: str) -> None:
    began = time.perf_counter()
    fill = _answer(predictor, text)
    event(fill if isinstance(fill, str) else "filled")
    if isinstance(fill, Fill):
        assert fill.text == text
        assert 1 <= len(fill.masks) <= fill.token_count <= predictor.encoder.room
        assert all(len(mask.predictions) == 5 for mask in fill.masks)
    assert time.perf_counter() - began < SECONDS


@fuzzed
@given(texts=st.lists(TEXTS, max_size=6), targets=st.lists(ANY, max_size=3))
def test_any_call_is_answered_or_refused(predictor: Predictor, texts: list[str], targets: list[str]) -> None:
    for arguments in (
        {},
        {"targets": targets},
        {"targets": targets, "whole_targets": True},
        {"joint": True, "top_k": 1},
    ):
        try:
            result = predictor([text[:200] for text in texts], **arguments)
        except ValueError:
            continue
        assert isinstance(result, list)


@fuzzed
@given(texts=st.lists(TEXTS, min_size=2, max_size=6))
def test_every_row_has_its_own_answer(predictor: Predictor, texts: list[str]) -> None:
    """The answers of many are those of each alone, bit by bit and in order."""
    alone = [_answer(predictor, text) for text in texts]
    good = [text for text, answer in zip(texts, alone, strict=True) if not isinstance(answer, str)]
    assert list(predictor.fill_many(good, read_ahead=3)) == [answer for answer in alone if not isinstance(answer, str)]
    first_bad = next((index for index, answer in enumerate(alone) if isinstance(answer, str)), None)
    if first_bad is not None:
        results = predictor.fill_many(texts)
        assert [next(results) for _ in range(first_bad)] == alone[:first_bad]
        with pytest.raises(TextError, match=f"text {first_bad}: "):
            next(results)


@fuzzed
@given(word=st.one_of(ANY, REPEATED), text=TEXTS)
def test_any_target_is_rated_or_refused(predictor: Predictor, word: str, text: str) -> None:
    try:
        (fill,) = predictor.fill([f"the [MASK] {text[:100]}"], targets=[word])
    except ValueError:
        return
    for mask in fill.masks:
        (target,) = mask.targets
        assert target.target == word
        assert target.logprob <= 0
        assert len(target.tokens) == len(target.logprobs) > 0


def _answer(predictor: Predictor, text: str) -> Fill | str:
    """What the text is filled with, or why it is not."""
    try:
        return predictor.fill([text])[0]
    except TextError as error:
        assert str(error).startswith("text 0: ")  # noqa: PT017
        return error.status.value
