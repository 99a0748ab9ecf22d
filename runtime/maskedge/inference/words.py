"""What a word is: read off the text, and so the same for every tokenizer.

A tokenizer's own words (`Encoding.word_ids`) will not do: SentencePiece's keep the comma in `water,`, some tokenizers
have one word for a whole text, and counts of theirs cannot be compared. The rule here:

- Blanks and control characters stand between words.
- Each punctuation mark, symbol and Chinese ideograph is a word of its own, as BERT's tokenizer has it.
- What is left, letters and digits without a break, is a word: `don't` is `don`, `'`, `t`, as BERT's tokenizer has it.
- A combining mark or joiner belongs to the character before it.

Tokens go with the word whose characters they stand for. One that stands for characters of several words (`...` or `'t`
may be one token) makes them one. One that stands for a blank, or for the beginning of a word (`▁`, `Ġ`), goes with the
word that follows; at the end of a text, with the last one. The tokens of one character's bytes are never divided.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import pairwise

__all__ = ["Word", "count_words", "divide"]


@dataclass(frozen=True, slots=True)
class Word:
    """Some tokens of a text and the characters they stand for."""

    tokens: range
    """Special tokens are not counted."""
    start: int
    """Its first character's index in the text."""
    stop: int
    """The index after its last character."""


class _Kind(Enum):
    BLANK = 0
    LETTER = 1
    ALONE = 2
    """A word of its own."""
    ATTACHED = 3
    """Belongs to the character before it."""


def count_words(text: str) -> int:
    """Words of a text; the tokenizer has no part in it."""
    return max(_word_numbers(text), default=-1) + 1


def divide(text: str, offsets: Sequence[tuple[int, int]]) -> list[Word]:
    """The words of a tokenized text; each token is in one of them. `offsets` are the tokens' spans of characters."""
    numbers = list(_word_numbers(text))
    starts = _first_tokens([numbers[start:stop] for start, stop in offsets]) or [0]
    return [_word(text, offsets, range(*pair)) for pair in pairwise([*starts, len(offsets)])]


def _first_tokens(covered: list[list[int]]) -> list[int]:
    """The first token of each word, from the numbers of the text's words that each token's characters belong to."""
    starts, reach, after_last = [], -1, 0
    for token, numbers in enumerate(covered):
        own = [number for number in numbers if number >= 0]
        if not own:
            continue
        if own[0] > reach:
            starts.append(after_last)
        reach, after_last = max(reach, own[-1]), token + 1
    return starts


def _word(text: str, offsets: Sequence[tuple[int, int]], tokens: range) -> Word:
    start, stop = offsets[tokens[0]][0], max(offsets[token][1] for token in tokens)
    start += len(text[start:stop]) - len(text[start:stop].lstrip())
    return Word(tokens, start, start + len(text[start:stop].rstrip()))


def _word_numbers(text: str) -> Iterator[int]:
    """For each character the number of its word, from 0; -1 for what stands between words."""
    number, before = -1, _Kind.BLANK
    for character in text:
        kind = _kind(character)
        if kind is _Kind.BLANK:
            before = kind
            yield -1
            continue
        if kind is _Kind.ALONE or before is _Kind.BLANK or (kind is _Kind.LETTER and before is _Kind.ALONE):
            number += 1
        if kind is not _Kind.ATTACHED or before is _Kind.BLANK:
            before = _Kind.ALONE if kind is _Kind.ALONE else _Kind.LETTER
        yield number


@lru_cache(4096)  # the characters of a language or two
def _kind(character: str) -> _Kind:
    category = unicodedata.category(character)
    if character.isspace() or category == "Cc":
        return _Kind.BLANK
    if category[0] == "M" or category == "Cf":
        return _Kind.ATTACHED
    return _Kind.ALONE if category[0] in "PS" or _is_ideograph(character) else _Kind.LETTER


def _is_ideograph(character: str) -> bool:
    """The blocks that BERT's tokenizer sets apart: Unified Ideographs, their extensions, and compatibility forms."""
    return any(first <= character <= last for first, last in ("㐀䶿", "一鿿", "豈\ufaff", "\U00020000\U0002fa1f"))
