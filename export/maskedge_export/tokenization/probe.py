"""Texts that tokenizers are compared on, and how two of them differ."""

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer

__all__ = ["PROBE", "Difference", "first_difference", "probe_texts", "reads"]

PROBE = (
    "The capital of France is Paris.",
    "  Two  spaces, a trailing one ",
    "a line\nand\ttabs",
    "HELLO World, camelCase and snake_case",
    "École d’été à Zürich: naïve FAÇADE, smørrebrød",  # noqa: RUF001
    "cafe\u0301, \ufb01n, \uff21\u2460\u00bd,\u00a0x\u200by",  # spelled in ways that have another spelling
    "In 1984, 3.14 or 10,000 cost $5; 50% off #1!",
    "He said \"don't\", ``yes'' and (maybe) [no] <b>: e-mail@example.org/path?a=b",
    "東京は日本の首都です。 北京，서울",  # noqa: RUF001
    "Привет, МИР! Αθήνα שלום مرحبا",
    "Thumbs up 👍 and 😀.",
    "GATTACA MKTAYIAKQRQISFVKSHFSRQ",
    "",
)
"""Capitals, accents, digits, quotes, whitespace, scripts with and without spaces, emoji, residues."""
AROUND_MASKS = ("{0}", "The {0} of France", "The{0} of", "The  {0}.", "{0} {0}{0}, the", "\n{0}\n", "é{0}É", "東{0}京")
"""Masks with and without spaces before and after them."""


SHOWN_CHARACTERS, SHOWN_TOKENS = 80, 24
"""Of a text that is read differently, and of its tokens, around where they differ."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A text that two tokenizers read differently, as much of it as a message shows."""

    text: str
    first: str
    """The tokens of the first, between spaces."""
    second: str


def probe_texts(mask: str) -> list[str]:
    """The probe for a tokenizer with that mask token."""
    return [*PROBE, *(text.format(mask) for text in AROUND_MASKS)]


def reads(tokenizer: Tokenizer, text: str) -> list[int] | None:
    """A text's ids; None where the tokenizer cannot read it, as those without an unknown token cannot read some."""
    try:
        ids: list[int] = tokenizer.encode(text).ids
    except Exception:  # tokenizers raises bare exceptions
        return None
    return ids


def first_difference(first: Tokenizer, second: Tokenizer, texts: Iterable[str]) -> Difference | None:
    """The first of the texts that the two read differently."""
    for text in texts:
        ids, others = reads(first, text), reads(second, text)
        if ids != others:
            at = _common(ids or [], others or [])
            shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
            return Difference(shown, _tokens(first, ids, at), _tokens(second, others, at))
    return None


def _common(ids: list[int], others: list[int]) -> int:
    """How many tokens are the same before two readings part."""
    return next(
        (at for at, (one, other) in enumerate(zip(ids, others, strict=False)) if one != other),
        min(len(ids), len(others)),
    )


def _tokens(tokenizer: Tokenizer, ids: list[int] | None, at: int) -> str:
    """The tokens around one of them."""
    if ids is None:
        return "nothing, since it has no token for what is unknown"
    start = max(0, at - SHOWN_TOKENS // 2) if len(ids) > SHOWN_TOKENS else 0
    stop = start + SHOWN_TOKENS
    shown = " ".join(str(tokenizer.id_to_token(index)) for index in ids[start:stop])
    return f"{'... ' * (start > 0)}{shown}{' ...' * (stop < len(ids))}"
