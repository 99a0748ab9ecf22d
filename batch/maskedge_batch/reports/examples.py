"""Rows that are shown in a report, with their texts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from maskedge.inference.encoding import MASK_SPELLINGS
from maskedge_batch.reports.scored import RowValues, ScoredFiles
from maskedge_batch.scoring.columns import target_bytes, text_bytes

__all__ = ["EXAMPLES", "MASK", "Guess", "RowExample", "TokenLogprob", "excerpt_of", "examples"]

EXAMPLES = 10
"""Rows that are shown as the most surprising, and as the most ordinary."""
GUESSES = 3
"""Predictions that are shown for each mask of such a row."""
EXCERPT_CHARACTERS = 280
"""Most characters of such a row's text that are shown."""
EXCERPT_TOKENS = 80
MASK = re.compile("|".join(map(re.escape, MASK_SPELLINGS)))
"""The spellings of a mask in a text."""


@dataclass(frozen=True, slots=True)
class Guess:
    """One of the most probable tokens at a mask."""

    token_str: str
    score: float
    """Probability."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of a text without masks."""

    token_str: str
    logprob: float
    """Nats."""


@dataclass(frozen=True, slots=True)
class RowExample:
    """A row that is shown in the report."""

    row: int
    """Index in the scored files; the first row is 0."""
    perplexity: float
    text: str
    """At most `EXCERPT_CHARACTERS` of it, around its first mask."""
    targets: tuple[str | None, ...]
    """The known words, one for each mask."""
    guesses: tuple[tuple[Guess, ...], ...]
    """The most probable tokens of each mask, best first."""
    tokens: tuple[TokenLogprob, ...]
    """The first of the text's tokens, where the files have them."""


def examples(scored: ScoredFiles, found: Sequence[tuple[int, float]]) -> tuple[RowExample, ...]:
    """Rows as they are shown, from their numbers and perplexities, in that order."""
    columns = [scored.provenance.text_column, scored.provenance.target_column, "mlm_predictions", "mlm_tokens"]
    there = [name for name in columns if name is not None and name in scored.schema.names]
    rows = scored.take([row for row, _ in found], list(dict.fromkeys(there)))
    return tuple(_example(row, perplexity, rows[row], scored) for row, perplexity in found)


def _example(row: int, perplexity: float, values: RowValues, scored: ScoredFiles) -> RowExample:
    target = scored.provenance.target_column
    (words,) = target_bytes(values[target]) if target else ((),)
    (masks,) = values["mlm_predictions"].to_pylist() if "mlm_predictions" in values else (None,)
    (tokens,) = values["mlm_tokens"].to_pylist() if "mlm_tokens" in values else (None,)
    return RowExample(
        row=row,
        perplexity=perplexity,
        text=excerpt_of(values[scored.provenance.text_column]),
        targets=tuple(word.decode(errors="replace") if word else None for word in words),
        guesses=tuple(tuple(map(_guess, mask[:GUESSES])) for mask in masks or ()),
        tokens=tuple(_token(each) for each in (tokens or ())[:EXCERPT_TOKENS]),
    )


def _guess(value: dict[str, Any]) -> Guess:
    return Guess(value["token_str"], value["score"])


def _token(value: dict[str, Any]) -> TokenLogprob:
    return TokenLogprob(value["token_str"], value["logprob"])


def excerpt_of(texts: "pa.Array[Any]") -> str:
    """The part of a text, an array of one, that is shown: all of a short one, else the part around its first mask."""
    (found,) = text_bytes(texts)
    text = (found or b"").decode(errors="replace")
    if len(text) <= EXCERPT_CHARACTERS:
        return text
    mask = MASK.search(text)
    start = max(0, (mask.start() if mask else 0) - EXCERPT_CHARACTERS // 2)
    stop = start + EXCERPT_CHARACTERS
    return ("…" if start else "") + text[start:stop] + ("…" if stop < len(text) else "")
