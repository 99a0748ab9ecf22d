"""Words to click: any text comes back whole, and masked words stay where they are when others are edited."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskedge.demo.sentences import Sentence, carried

TEXTS = st.lists(
    st.sampled_from(["[MASK]", "<mask>", "the", " ", "\n", "don't", "<b>", "ﬁ", "é", "MASK", "]", "..."])
    | st.text(max_size=4)
).map("".join)


def sentence(text: str, *masked: int) -> Sentence:
    return Sentence.of(text, "[MASK]", masked)


@given(TEXTS)
def test_the_parts_are_the_whole_text(text: str) -> None:
    found = sentence(text)
    assert "".join(part.text for part in found.parts()) == text
    words = [part for part in found.parts() if part.word is not None]
    assert [part.word for part in words] == list(range(len(found.words)))
    assert [part.text for part in words] == [text[slice(*span)] for span in found.words]


@given(TEXTS)
def test_a_mask_that_was_typed_is_no_word(text: str) -> None:
    own = [part.text for part in sentence(text).parts() if part.own_mask]
    assert len(own) == text.count("[MASK]") + text.count("<mask>")
    assert set(own) <= {"[MASK]", "<mask>"}


def test_what_a_browser_sends_may_be_anything() -> None:
    assert Sentence.of("the cat", "[MASK]", [1, 7, -1, "0", None, [2], 1]).masked == (1,)


@pytest.mark.parametrize(
    ("after", "masked"),
    [
        ("The black cat sat on the mat.", ["cat", "mat"]),
        ("A cat sat on the mat.", ["cat", "mat"]),
        ("The cat sat on the mat today.", ["cat", "mat"]),
        ("The cats sat on the mat.", ["mat"]),
        ("The cat", ["cat"]),
        ("", []),
        ("Nothing of it", []),
    ],
)
def test_words_before_and_after_an_edit_stay_masked(after: str, masked: list[str]) -> None:
    before = sentence("The cat sat on the mat.", 1, 5)
    assert [after[slice(*span)] for span in before.edited(after).masked_spans] == masked


@given(
    st.lists(st.sampled_from(string.ascii_lowercase[:3]), max_size=8),
    st.lists(st.sampled_from(string.ascii_lowercase[:3]), max_size=8),
    st.data(),
)
def test_what_stays_masked_is_the_same_word(before: list[str], after: list[str], data: st.DataObject) -> None:
    masked = data.draw(st.sets(st.sampled_from(range(len(before))))) if before else set()
    kept = carried(before, after, masked)
    assert len(kept) <= len(masked)
    shift = len(after) - len(before)
    for number in kept:
        old = number if number in masked and before[number : number + 1] == [after[number]] else number - shift
        assert old in masked
        assert before[old] == after[number]
    if before == after:
        assert kept == masked
