"""Tokens and texts as a person can read them on one line."""

import re

from maskedge.inference.encoding import MASK_SPELLINGS

__all__ = ["abridged", "mask_spans", "printable", "visible"]

ABRIDGED_CHARS = 400


def visible(token_str: str) -> str:
    """A decoded token with its leading and trailing spaces shown as `▁`, and its control characters by their signs."""
    return "".join(map(_sign, re.sub(r"^ +| +$", lambda found: "▁" * len(found[0]), token_str)))


def printable(text: str) -> str:
    """A text of the same length without control characters: blanks for those that are blanks, signs for others."""
    return "".join(" " if char.isspace() else _sign(char) for char in text)


def _sign(char: str) -> str:
    """The character, or what stands for it where it cannot be shown: `␀` to `␟`, `�`."""
    if char.isprintable():
        return char
    return chr(0x2400 + ord(char)) if ord(char) < 0x20 else "\ufffd"


def abridged(text: str, mask_token: str) -> str:
    """A text on one line; of a very long one, what stands around its first mask."""
    spans = mask_spans(text, mask_token)
    start = max(0, spans[0][0] - ABRIDGED_CHARS // 2) if spans else 0
    stop = start + ABRIDGED_CHARS
    before, after = "… " if start else "", " …" if stop < len(text) else ""
    return before + " ".join(printable(text[start:stop]).split()) + after


def mask_spans(text: str, mask_token: str) -> list[tuple[int, int]]:
    """Where the text's masks begin and end, in any spelling."""
    spellings = "|".join(map(re.escape, {mask_token, *MASK_SPELLINGS}))
    return [found.span() for found in re.finditer(spellings, text)]
