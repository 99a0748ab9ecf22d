"""Words of a text, by a rule that looks at the text alone and so is the same for every tokenizer.

A tokenizer's own words (`Encoding.word_ids`) cannot be compared with another's: SentencePiece keeps the comma in
`water,`, and some tokenizers make one word of a whole text. The rule here:

- Blanks and control characters stand between words.
- Each punctuation mark, symbol and Chinese ideograph is a word of its own, as BERT's tokenizer has it.
- What is left, letters and digits without a break, is a word: `don't` is `don`, `'`, `t`, as BERT's tokenizer has it.
- A combining mark or joiner belongs to the character before it.

A token belongs to the word whose characters it stands for. Where a token stands for characters of several words (`...`
or `'t` may be one token), these words become one. A token that stands for a blank, or for the beginning of a word (`▁`,
`Ġ`), belongs to the word that follows, and at the end of a text to the last one. Tokens that stand for bytes of the
same character always belong to the same word.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import groupby, pairwise
from operator import itemgetter

__all__ = ["Word", "count_words", "divide", "word_spans"]


@dataclass(frozen=True, slots=True)
class Word:
    """Some tokens of a text and the characters they stand for."""

    tokens: range
    """The tokens' indices in the text, special tokens not counted."""
    start: int
    """The index of the word's first character in the text."""
    stop: int
    """The index after its last character."""


class _Kind(Enum):
    BLANK = 0
    LETTER = 1
    ALONE = 2
    """The character is a word of its own."""
    ATTACHED = 3
    """The character belongs to the one before it."""


def count_words(text: str) -> int:
    """How many words a text has. The tokenizer has no part in it."""
    return max(_word_numbers(text), default=-1) + 1


def word_spans(text: str) -> list[tuple[int, int]]:
    """The words of a text: for each the index of its first character and the one after its last, in reading order. The
    tokenizer has no part in it."""
    numbers = enumerate(_word_numbers(text))
    words = (list(word) for number, word in groupby(numbers, key=itemgetter(1)) if number >= 0)
    return [(word[0][0], word[-1][0] + 1) for word in words]


def divide(text: str, offsets: Sequence[tuple[int, int]]) -> list[Word]:
    """The words of a tokenized text, each token in one of them.

    Args:
        text: The text that was tokenized.
        offsets: For each token, special ones left out, the span of characters that it stands for.
    """
    if not offsets:
        return []
    numbers = list(_word_numbers(text))
    starts = _first_tokens([numbers[start:stop] for start, stop in offsets]) or [0]
    return [_word(text, offsets, range(*pair)) for pair in pairwise([*starts, len(offsets)])]


def _first_tokens(covered: list[list[int]]) -> list[int]:
    """The first token of each word.

    `covered` has for each token the word numbers of its characters, as `_word_numbers` gives them.
    """
    starts: list[int] = []
    reach = -1  # the last of the text's words that a token stood for so far
    after_last = 0  # the token after the last one that stood for a word's characters
    for token, numbers in enumerate(covered):
        own = [number for number in numbers if number >= 0]
        if not own:  # it stands for blanks or nothing: the word that follows takes it in
            continue
        if own[0] > reach:  # else the token shares a word with those before, and goes on with it
            starts.append(after_last)
        reach, after_last = max(reach, own[-1]), token + 1
    return starts


def _word(text: str, offsets: Sequence[tuple[int, int]], tokens: range) -> Word:
    start, stop = offsets[tokens[0]][0], max(offsets[token][1] for token in tokens)
    # Tokens may stand for blanks as well, which are no part of the word.
    start += len(text[start:stop]) - len(text[start:stop].lstrip())
    return Word(tokens, start, start + len(text[start:stop].rstrip()))


def _word_numbers(text: str) -> Iterator[int]:
    """For each character the number of its word, from 0; -1 for blanks."""
    number, before = -1, _Kind.BLANK
    for character in text:
        kind = _kind(character)
        if kind is _Kind.BLANK:
            before = kind
            yield -1
            continue
        if kind is _Kind.ALONE or before is _Kind.BLANK or (kind is _Kind.LETTER and before is _Kind.ALONE):
            number += 1
        # A mark or joiner leaves the kind of the character before it as it is; after a blank it begins a word.
        if kind is not _Kind.ATTACHED or before is _Kind.BLANK:
            before = _Kind.ALONE if kind is _Kind.ALONE else _Kind.LETTER
        yield number


@lru_cache(4096)  # enough for the characters of a language or two
def _kind(character: str) -> _Kind:
    category = unicodedata.category(character)
    if character.isspace() or category == "Cc":
        return _Kind.BLANK
    if category[0] == "M" or category == "Cf":
        return _Kind.ATTACHED
    return _Kind.ALONE if category[0] in "PS" or _is_ideograph(character) else _Kind.LETTER


def _is_ideograph(character: str) -> bool:
    """Whether a character is in a block that BERT's tokenizer divides into characters: unified ideographs, their
    extensions, or compatibility ideographs."""
    return any(first <= character <= last for first, last in ("㐀䶿", "一鿿", "豈\ufaff", "\U00020000\U0002fa1f"))
