"""What kinds of characters a token begins and ends with: where words begin in a row of tokens.

Byte-level BPE shows each byte as a character of its own, and its tokens need not be whole characters; Unigram and the
other kinds have the characters themselves.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any

__all__ = ["ANY", "INSIDE", "NEVER", "token_ends"]

LETTER, DIGIT, OTHER, BLANK = 0, 1, 2, 3
ANY, INSIDE, NEVER = 4, 5, -1
"""After a space that is a token of its own any word may follow; bytes inside a character go on whatever it began;
NEVER: a token that continues no word."""

Ends = tuple[int, int]
"""The kind of character that a token continues a word with, or NEVER where it begins one; and the one it ends with."""


def token_ends(backend: Any) -> dict[int, Ends]:
    """Of each token of a `tokenizers` tokenizer, by its id, but for special ones."""
    special = {index for index, token in backend.get_added_tokens_decoder().items() if token.special}
    ends = _ends_of(backend)
    return {index: ends(token) for token, index in backend.get_vocab().items() if index not in special}


def _ends_of(backend: Any) -> Callable[[str], Ends]:
    if type(backend.model).__name__ in ("WordPiece", "WordLevel"):
        return _word_piece_ends
    return _byte_level_ends if "ByteLevel" in repr(backend.decoder) else _spaced_ends


def _word_piece_ends(token: str) -> Ends:
    return (LETTER if token.startswith("##") else NEVER), LETTER


def _spaced_ends(token: str) -> Ends:
    """A token that carries its word's leading space begins a word; one without it continues a word whose last character
    is of the same kind: a letter, a digit or other, the parts that byte-level BPE never joins."""
    return _left(_kind(token[:1])), _kind(token[-1:])


def _byte_level_ends(token: str) -> Ends:
    """As `_spaced_ends`, of the bytes that the token's characters stand for."""
    if not token or not all(
        character in BYTES for character in token
    ):  # added to the vocabulary by hand, as it is written
        return _spaced_ends(token)
    content = bytes(BYTES[character] for character in token)
    leads = [place for place, byte in enumerate(content) if not _is_inside(byte)]
    left = _left(_kind_of_bytes(_first(content))) if leads[:1] == [0] else INSIDE
    return left, _kind_of_bytes(content[leads[-1] :]) if leads else INSIDE


def _left(kind: int) -> int:
    return NEVER if kind in (ANY, BLANK) else kind


def _is_inside(byte: int) -> bool:
    """Whether a byte is one of a character's later ones in UTF-8."""
    return byte & 0xC0 == 0x80


def _first(content: bytes) -> bytes:
    """The bytes of the first character, as far as they are there."""
    size = 1
    while size < len(content) and _is_inside(content[size]):
        size += 1
    return content[:size]


@lru_cache(4096)
def _kind_of_bytes(content: bytes) -> int:
    """The kind of a character of which these are the first bytes: of most of the characters that begin so."""
    try:
        return _kind(content.decode("utf-8"))
    except UnicodeDecodeError:
        lowest, highest = (_code_point(content, filling) for filling in (0x80, 0xBF))
        kinds = Counter(_kind(character) for character in map(chr, range(lowest, highest + 1)) if _is_given(character))
        return kinds.most_common(1)[0][0] if kinds else OTHER


def _code_point(lead: bytes, filling: int) -> int:
    """The code point of a character's first bytes, filled up with later ones."""
    size = {0xC: 2, 0xD: 2, 0xE: 3}.get(lead[0] >> 4, 4)
    point = lead[0] & (0x7F >> size)
    for byte in [*lead[1:], *[filling] * (size - len(lead))]:
        point = point << 6 | byte & 0x3F
    return min(point, 0x10FFFF)


def _is_given(character: str) -> bool:
    return unicodedata.category(character)[0] != "C"


def _kind(character: str) -> int:
    if character in ("", " ", "▁"):
        return ANY
    if character.isspace():
        return BLANK
    return {"L": LETTER, "M": LETTER, "N": DIGIT}.get(unicodedata.category(character)[0], OTHER)


def _bytes_by_character() -> dict[str, int]:
    """The byte that each character of byte-level BPE stands for (Radford et al. 2019): Latin-1's visible ones for
    themselves, and for the rest those from code point 256 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + number): byte for number, byte in enumerate(hidden)}


BYTES = _bytes_by_character()
