"""Whole words in place of a mask: the mask is widened to as many as the word has pieces, which are then read from left
to right, each given those before it and with those after it masked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from maskedge.inference.batching import AnswerQueries, Query
from maskedge.inference.encoding import EncodedText, TextEncoder
from maskedge.inference.targets import TargetLists
from maskedge.results import Fill, WholeTarget

__all__ = ["score_whole_targets", "with_whole_targets"]

PIECES_PER_QUERY = 16
"""Pieces in one query: a head's output is asked * vocabulary floats."""


@dataclass(frozen=True, slots=True)
class _Context:
    """What the model reads while it is asked for a piece: words that begin alike share it."""

    text: int
    mask: int
    count: int
    """Pieces of the word."""
    before: tuple[int, ...]
    """Its pieces that are filled in."""


def with_whole_targets(
    fills: Sequence[Fill],
    texts: Sequence[EncodedText],
    targets: TargetLists[str],
    encoder: TextEncoder,
    answer_queries: AnswerQueries,
    first: int,
) -> list[Fill]:
    """The fills of the texts with the targets rated at each mask. Raises as `score_whole_targets`."""
    rated = score_whole_targets(texts, targets, encoder, answer_queries, first)
    return [
        replace(fill, masks=tuple(replace(mask, targets=own) for mask, own in zip(fill.masks, each, strict=True)))
        for fill, each in zip(fills, rated, strict=True)
    ]


def score_whole_targets(
    texts: Sequence[EncodedText],
    targets: TargetLists[str],
    encoder: TextEncoder,
    answer_queries: AnswerQueries,
    first: int = 0,
) -> list[tuple[tuple[WholeTarget, ...], ...]]:
    """For each text and mask its words' ratings, the greatest `mean_logprob` first.

    Raises ValueError, naming the word, for one that the vocabulary cannot spell or that is longer than the model, and
    naming the text, of which the first has the number `first`, for lists of another number than its masks.
    """
    words = [
        [
            {word: _pieces(encoder, text, mask, word) for word in words}
            for mask, words in enumerate(_lists(first + index, text, targets))
        ]
        for index, text in enumerate(texts)
    ]
    logprobs = _piece_logprobs(texts, words, encoder, answer_queries)

    def rate(text: int, mask: int, word: str, pieces: tuple[int, ...]) -> WholeTarget:
        each = tuple(logprobs[context, piece] for context, piece in _contexts(text, mask, pieces))
        total = math.fsum(each)
        return WholeTarget(word, pieces, each, total, total / len(each))

    return [
        tuple(
            tuple(sorted((rate(text, mask, *item) for item in rated.items()), key=lambda target: -target.mean_logprob))
            for mask, rated in enumerate(masks)
        )
        for text, masks in enumerate(words)
    ]


def _lists(index: int, text: EncodedText, targets: TargetLists[str]) -> tuple[tuple[str, ...], ...]:
    try:
        return targets.at(len(text.mask_positions))
    except ValueError as error:
        raise ValueError(f"text {index}: {error}") from error


def _pieces(encoder: TextEncoder, text: EncodedText, mask: int, word: str) -> tuple[int, ...]:
    """The word's ids where it stands; else its own vocabulary entry, such as `##ing`; else its ids alone."""
    exact = encoder.token_id(word)
    pieces = encoder.target_pieces(text, mask, word) or ((exact,) if exact is not None else ())
    pieces = pieces or tuple(encoder.pieces(word))
    if not pieces or (exact is None and any(map(encoder.is_unknown, pieces))):
        raise ValueError(f"the target {word!r:.60} cannot be written with the model's vocabulary")
    if len(pieces) > encoder.room:
        raise ValueError(f"the target {word!r:.60} has {len(pieces)} pieces; the model reads {encoder.room}")
    return pieces


def _contexts(text: int, mask: int, pieces: tuple[int, ...]) -> list[tuple[_Context, int]]:
    return [(_Context(text, mask, len(pieces), pieces[:at]), piece) for at, piece in enumerate(pieces)]


def _piece_logprobs(
    texts: Sequence[EncodedText],
    words: list[list[dict[str, tuple[int, ...]]]],
    encoder: TextEncoder,
    answer_queries: AnswerQueries,
) -> dict[tuple[_Context, int], float]:
    """Each piece's log-probability in its context, nats; each is asked for once."""
    asked: dict[_Context, dict[int, None]] = {}
    for text, masks in enumerate(words):
        for mask, rated in enumerate(masks):
            for pieces in rated.values():
                for context, piece in _contexts(text, mask, pieces):
                    asked.setdefault(context, {})[piece] = None
    some = [
        (context, tuple(pieces)[start : start + PIECES_PER_QUERY])
        for context, pieces in asked.items()
        for start in range(0, len(pieces), PIECES_PER_QUERY)
    ]
    queries = [_query(texts[context.text], context, pieces, encoder) for context, pieces in some]
    return {
        (context, piece): float(logprob)
        for (context, pieces), outputs in zip(some, answer_queries(queries, ["target_logprobs"], 0), strict=True)
        for piece, logprob in zip(pieces, np.asarray(outputs["target_logprobs"])[:, 0].tolist(), strict=True)
    }


def _query(text: EncodedText, context: _Context, pieces: tuple[int, ...], encoder: TextEncoder) -> Query:
    """The text with the context's mask widened, asked for the pieces that may follow those filled in.

    Where it grows too long, the window around the word.
    """
    start, stop = len(encoder.prefix), len(text.input_ids) - len(encoder.suffix)
    at = text.mask_positions[context.mask]
    masked = [encoder.mask_id] * (context.count - len(context.before))
    content = [*text.input_ids[start:at].tolist(), *context.before, *masked, *text.input_ids[at + 1 : stop].tolist()]
    middle = at - start + context.count // 2
    cut = max(0, min(middle - encoder.room // 2, len(content) - encoder.room))
    input_ids = np.array([*encoder.prefix, *content[cut : cut + encoder.room], *encoder.suffix], np.int64)
    return Query(input_ids, (at + len(context.before) - cut,) * len(pieces), pieces)
