"""The words of a text that may be masked, read off the text alone: no model or tokenizer has a part in it.

A word is what `maskedge.inference.words` calls one, and it is masked whole. It may be masked if it begins with a letter
and none of these holds:

- **A number.** One of its characters is a digit: `1902`, `v2`, `19th`. Numbers in letters (`seven`) are words.
- **A name.** It has a capital letter that no sentence's start explains: one within (`McDonald`, `NATO`), or its first,
  unless the word begins the text, a line or a sentence, or is `I`. A sentence begins after `.`, `!`, `?`, `…` or their
  ideographic kin, whatever quotation marks and brackets stand between. After a capitalised word of three letters or
  fewer and a full stop (`Dr.`, `J.`) none does. The rule looks at letter case and nothing else: a name that begins a
  sentence is masked like any word, and every noun of German, or a title in capitals, passes for a name.
- **Part of a word with an apostrophe**: `don't`, `l'eau`. The half that is left would give the other away.
- **Part of something that is no running text**: a run of characters without a blank that holds `@`, `_`, `/`, `\\`,
  `<`, `=` or the like, a hash before a letter, a dot or an opening bracket within it, or digits divided by a mark:
  URLs, e-mail addresses, names of files, hashtags, code, `3.14`, `12:30`.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

__all__ = ["Candidate", "Choice", "candidates"]

CHUNK = re.compile(r"\S+")
# Without a repetition before what it looks for: a chunk may be megabytes long.
NO_RUNNING_TEXT = re.compile(r"[@_/\\{}<>=~^|`]|#\w|\d[.,:]\d|[^\W\d]\.[^\W\d]|\w\(")
APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}"
SENTENCE_END = frozenset(".!?\N{HORIZONTAL ELLIPSIS}\N{IDEOGRAPHIC FULL STOP}\uff01\uff1f\N{DEVANAGARI DANDA}")
ABBREVIATION_LETTERS = 3
"""Most letters of a capitalised word that a full stop may shorten: `Dr.`, `Mrs.`, `J.`"""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which words of a text may be masked."""

    words: frozenset[str] | None = None
    """Only these, whatever their letter case; None: all. One that stands in the text exactly as it is spelled here may
    be masked even if it is a number or a name."""
    numbers: bool = False
    """Numbers too."""
    names: bool = False
    """Names too."""
    _folded: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_folded", frozenset(word.casefold() for word in self.words or ()))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word that may be masked."""

    index: int
    """Its number among all words of its text, from 0."""
    start: int
    """The index of its first character."""
    stop: int
    """The index after its last character."""


def candidates(text: str, words: list[tuple[int, int]], choice: Choice) -> list[Candidate]:
    """The words of a text that may be masked, in reading order.

    Args:
        text: Running text.
        words: All its words, from `maskedge.inference.words.word_spans`.
        choice: Which of them may be.
    """
    in_no_text = _no_running_text(text)
    return [
        Candidate(index, start, stop)
        for index, (start, stop), begins in zip(count(), words, _sentence_begins(text, words), strict=False)
        if _allowed(text[start:stop], choice, begins_sentence=begins)
        and not _has_apostrophe(text, start, stop)
        and not in_no_text(start)
    ]


def _allowed(word: str, choice: Choice, *, begins_sentence: bool) -> bool:
    if choice.words is not None and word.casefold() not in choice._folded:
        return False
    if choice.words is not None and word in choice.words:
        return True
    if any(map(str.isdigit, word)):
        return choice.numbers
    return word[0].isalpha() and (choice.names or not _is_name(word, begins_sentence=begins_sentence))


def _is_name(word: str, *, begins_sentence: bool) -> bool:
    if any(letter.isupper() for letter in word[1:]):
        return True
    return word[0].isupper() and word != "I" and not begins_sentence


def _sentence_begins(text: str, words: list[tuple[int, int]]) -> Iterator[bool]:
    """Whether each word is the first of a sentence, a line, or the text."""
    begins, before, end = True, "", 0
    for start, stop in words:
        word = text[start:stop]
        begins = begins or "\n" in text[end:start]
        yield begins
        if word[0].isalnum():
            begins, before = False, word
        elif word in SENTENCE_END:
            begins = word != "." or not _may_be_shortened(before)
        end = stop


def _may_be_shortened(word: str) -> bool:
    return len(word) <= ABBREVIATION_LETTERS and word[:1].isupper() and word != "I"


def _has_apostrophe(text: str, start: int, stop: int) -> bool:
    """Whether an apostrophe joins the word to another."""
    before = start > 1 and text[start - 1] in APOSTROPHES and text[start - 2].isalnum()
    return before or (text[stop : stop + 1] in APOSTROPHES and text[stop + 1 : stop + 2].isalnum())


def _no_running_text(text: str) -> Callable[[int], bool]:
    """Tells of the index of a word's first character whether the word lies in what is no running text."""
    chunks = [chunk.span() for chunk in CHUNK.finditer(text) if NO_RUNNING_TEXT.search(chunk.group())]
    starts = [start for start, _ in chunks]

    def lies_within(at: int) -> bool:
        chunk = bisect_right(starts, at) - 1
        return chunk >= 0 and at < chunks[chunk][1]

    return lies_within
