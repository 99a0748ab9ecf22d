"""Which words of a text may be masked."""

import pytest

from maskedge.inference.words import word_spans
from maskedge_batch.evaluation.candidates import Choice, candidates


def maskable(text: str, choice: Choice | None = None) -> list[str]:
    found = candidates(text, word_spans(text), choice or Choice())
    spans = word_spans(text)
    assert all(spans[word.index] == (word.start, word.stop) for word in found)
    return [text[word.start : word.stop] for word in found]


TEXTS = {
    "The well-known cat sat.": ["The", "well", "known", "cat", "sat"],
    "It was in 1902, the 19th day of v2.": ["It", "was", "in", "the", "day", "of"],
    "Seven of them paid $5.20 or 1,000 at 12:30.": ["Seven", "of", "them", "paid", "or", "at"],
    "I think I met Anna in New York.": ["I", "think", "I", "met", "in"],
    "He left. She stayed! “Why?” (Nobody knew.)": ["He", "left", "She", "stayed", "Why", "Nobody", "knew"],
    "one line\nAnother line": ["one", "line", "Another", "line"],
    "We saw Dr. Brown and J. Smith. They left.": ["We", "saw", "and", "They", "left"],
    "the McDonald and the NATO": ["the", "and", "the"],
    "I don't know the dog\u2019s name, l'eau.": ["I", "know", "the", "name"],
    "ask me@home.org or see https://a.b/the/way and www.site.org now": ["ask", "or", "see", "and", "now"],
    "call the_name or f(x) or a=b, #tag it, <b>bold</b> and/or `code`": ["call", "or", "or", "it"],
    "read notes.txt, e.g. this. Then go": ["read", "this", "Then", "go"],
    "中文 is here": ["中", "文", "is", "here"],
    "हिन्दी words": ["हिन्दी", "words"],
    "...": [],
    "": [],
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items())
def test_what_may_be_masked(text: str, expected: list[str]) -> None:
    assert maskable(text) == expected


def test_numbers_and_names_may_be_asked_for() -> None:
    text = "In 1902 Anna paid 5.20 at NATO."
    assert maskable(text, Choice(numbers=True)) == ["In", "1902", "paid", "at"]
    assert maskable(text, Choice(names=True)) == ["In", "Anna", "paid", "at", "NATO"]


def test_a_list_s_words_are_taken_in_any_case_and_as_names_or_numbers_only_as_they_are_spelled() -> None:
    text = "May I come in May? You may. In 1902."
    assert maskable(text, Choice(frozenset({"may"}))) == ["May", "may"]
    assert maskable(text, Choice(frozenset({"May", "1902"}))) == ["May", "May", "may", "1902"]
    assert maskable("see the_way, the", Choice(frozenset({"the"}))) == ["the"]


def test_a_text_without_blanks_takes_no_longer_for_each_of_its_characters() -> None:
    assert maskable("ab" * 200_000) == ["ab" * 200_000]
    assert maskable("中" * 20_000 + "@" + "文" * 20_000) == []
