"""Targets of several pieces: how probable a whole word is in place of a mask.

The mask is replaced by as many masks as the word has pieces. The pieces are then predicted from left to right, each
with the pieces before it filled in and those after it masked, and their log-probabilities are added up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from maskedge.errors import TextError
from maskedge.inference.batching import AnswerQueries, Query
from maskedge.inference.encoding import EncodedText, TextEncoder
from maskedge.inference.targets import TargetLists
from maskedge.results import Fill, MaskFill, WholeTarget

__all__ = ["PiecesOf", "pieces_of_words", "score_whole_targets", "with_whole_targets", "word_pieces"]

PiecesOf = Sequence[Sequence[dict[str, tuple[int, ...]]]]
"""[texts][masks] -> the words to rate there, each with its pieces' ids: these depend on where the word stands."""

PIECES_PER_QUERY = 16
"""Most pieces that one query rates: the model's output for it is pieces * vocabulary floats."""


@dataclass(frozen=True, slots=True)
class _Context:
    """What the model reads while it predicts a piece. Words of one length that begin alike share contexts."""

    text: int
    """The text's index."""
    mask: int
    """The number of the mask in the text, from 0."""
    count: int
    """How many pieces the word has."""
    before: tuple[int, ...]
    """The word's pieces that are filled in, before the one that is predicted."""


def with_whole_targets(
    fills: Sequence[Fill],
    texts: Sequence[EncodedText],
    pieces_of: PiecesOf,
    encoder: TextEncoder,
    answer_queries: AnswerQueries,
) -> list[Fill]:
    """The texts' fills, with the ratings of the words added at each mask."""
    rated = score_whole_targets(texts, pieces_of, encoder, answer_queries)
    return [
        replace(fill, masks=tuple(map(_with_targets, fill.masks, each))) if any(each) else fill
        for fill, each in zip(fills, rated, strict=True)
    ]


def _with_targets(mask: MaskFill, targets: tuple[WholeTarget, ...]) -> MaskFill:
    return replace(mask, targets=targets)


def pieces_of_words(
    texts: Sequence[EncodedText], targets: TargetLists[str], encoder: TextEncoder, first: int
) -> PiecesOf:
    """The pieces of each word at each mask that it is asked about.

    Raises ValueError for a word that the vocabulary cannot spell or that has more pieces than the model reads, and for
    a text with another number of masks than there are lists of words. Messages number the texts from `first`.
    """
    return [
        [
            {word: _pieces(encoder, text, mask, word) for word in words}
            for mask, words in enumerate(_lists(first + index, text, targets))
        ]
        for index, text in enumerate(texts)
    ]


def word_pieces(encoder: TextEncoder, text: EncodedText, mask: int, word: str) -> tuple[int, ...]:
    """The word's ids where it stands; else its ids alone. Empty where the vocabulary cannot spell it."""
    return encoder.target_pieces(text, mask, word) or _alone(encoder, word)


def score_whole_targets(
    texts: Sequence[EncodedText], pieces_of: PiecesOf, encoder: TextEncoder, answer_queries: AnswerQueries
) -> list[tuple[tuple[WholeTarget, ...], ...]]:
    """For each text and mask the ratings of its words, the greatest `mean_logprob` first."""
    # All pieces of all words at once, so that they share batches.
    logprobs = _piece_logprobs(texts, pieces_of, encoder, answer_queries)

    def rate(text: int, mask: int, word: str, pieces: tuple[int, ...]) -> WholeTarget:
        each = tuple(logprobs[context, piece] for context, piece in _contexts(text, mask, pieces))
        total = math.fsum(each)
        return WholeTarget(word, pieces, each, total, total / len(each))

    def best_first(text: int, mask: int, words: dict[str, tuple[int, ...]]) -> tuple[WholeTarget, ...]:
        ratings = [rate(text, mask, word, pieces) for word, pieces in words.items()]
        return tuple(sorted(ratings, key=lambda target: -target.mean_logprob))

    return [
        tuple(best_first(text, mask, words) for mask, words in enumerate(masks)) for text, masks in enumerate(pieces_of)
    ]


def _lists(index: int, text: EncodedText, targets: TargetLists[str]) -> tuple[tuple[str, ...], ...]:
    try:
        return targets.at(len(text.mask_positions))
    except ValueError as error:
        raise ValueError(f"text {index}: {error}") from error


def _pieces(encoder: TextEncoder, text: EncodedText, mask: int, word: str) -> tuple[int, ...]:
    pieces = word_pieces(encoder, text, mask, word)
    if not pieces:
        raise ValueError(f"the target {word!r:.60} cannot be written with the model's vocabulary")
    if len(pieces) > encoder.room:
        raise ValueError(f"the target {word!r:.60} has {len(pieces)} pieces; the model reads {encoder.room}")
    return pieces


def _alone(encoder: TextEncoder, word: str) -> tuple[int, ...]:
    """The ids of a word read alone; none where the vocabulary lacks a piece of it."""
    try:
        pieces = encoder.pieces(word)
    except TextError:
        return ()
    return () if any(map(encoder.is_unknown, pieces)) else tuple(pieces)


def _contexts(text: int, mask: int, pieces: tuple[int, ...]) -> list[tuple[_Context, int]]:
    """Each of a word's pieces with the context that it is predicted in."""
    return [(_Context(text, mask, len(pieces), pieces[:at]), piece) for at, piece in enumerate(pieces)]


def _piece_logprobs(
    texts: Sequence[EncodedText],
    pieces_of: PiecesOf,
    encoder: TextEncoder,
    answer_queries: AnswerQueries,
) -> dict[tuple[_Context, int], float]:
    """The log-probability of each piece in its context, nats. No pair is asked for twice."""
    # The pieces to rate in each context, once each, in the order of their first use.
    asked: dict[_Context, dict[int, None]] = {}
    for text, masks in enumerate(pieces_of):
        for mask, words in enumerate(masks):
            for pieces in words.values():
                for context, piece in _contexts(text, mask, pieces):
                    asked.setdefault(context, {})[piece] = None
    # A context with many pieces is divided into several queries.
    parts = [
        (context, tuple(pieces)[start : start + PIECES_PER_QUERY])
        for context, pieces in asked.items()
        for start in range(0, len(pieces), PIECES_PER_QUERY)
    ]
    queries = [_query(texts[context.text], context, pieces, encoder) for context, pieces in parts]
    return {
        (context, piece): float(logprob)
        for (context, pieces), outputs in zip(parts, answer_queries(queries, ["target_logprobs"], 0), strict=True)
        for piece, logprob in zip(pieces, np.asarray(outputs["target_logprobs"])[:, 0].tolist(), strict=True)
    }


def _query(text: EncodedText, context: _Context, pieces: tuple[int, ...], encoder: TextEncoder) -> Query:
    """The query for the log-probabilities of pieces in a context.

    It repeats the context's next position as many times as there are pieces, each with another piece as its target.
    """
    start, stop = len(encoder.prefix), len(text.input_ids) - len(encoder.suffix)
    at = text.mask_positions[context.mask]
    # The mask gives way to the pieces filled in and masks for the others.
    masked = [encoder.mask_id] * (context.count - len(context.before))
    content = [*text.input_ids[start:at].tolist(), *context.before, *masked, *text.input_ids[at + 1 : stop].tolist()]
    # If the text is too long now, the window with the word in its middle is kept.
    middle = at - start + context.count // 2
    cut = max(0, min(middle - encoder.room // 2, len(content) - encoder.room))
    input_ids = np.array([*encoder.prefix, *content[cut : cut + encoder.room], *encoder.suffix], np.int64)
    return Query(input_ids, (at + len(context.before) - cut,) * len(pieces), pieces)
