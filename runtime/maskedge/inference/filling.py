"""Encoded texts -> what the model says at each of their masks, each filled independently of the others."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from maskedge.bundle.engine import Outputs
from maskedge.errors import TextError
from maskedge.inference.batching import AnswerEach, Query
from maskedge.inference.encoding import EncodedText, TextEncoder
from maskedge.inference.metrics import entropy
from maskedge.results import Fill, MaskFill, TargetScore, TextStatus, TokenPrediction

__all__ = ["KnownTargets", "fill_masks", "refuse_unmasked", "whole_words"]

KnownTargets = Sequence[int | Sequence[int] | None]
"""For each mask of a text what is known to stand there: a vocabulary id, the ids of a word's pieces, or None."""

OUTPUTS = ["top_ids", "top_logprobs", "entropy", "target_logprobs", "target_ranks"]


def fill_masks(
    texts: Iterable[EncodedText],
    known: Iterable[KnownTargets] | None,
    encoder: TextEncoder,
    answer_each: AnswerEach[Any],
    *,
    top_k: int,
    vocab_size: int,
) -> list[Fill]:
    """For each text the `top_k` most probable tokens of each mask, and the ratings of what is known to be one token.

    Texts may be made while those before are filled. Raises TextError, naming the text, for one without a mask, and
    ValueError for targets of another number than its masks, without a piece, outside the vocabulary, or with more
    pieces than the model reads.
    """
    read: list[tuple[EncodedText, list[int | None]]] = []

    def make_queries() -> Iterator[Query]:
        pairs = ((text, None) for text in texts) if known is None else zip(texts, known, strict=True)
        for index, (text, targets) in enumerate(pairs):
            refuse_unmasked(index, text, encoder.mask_token)
            targets = [None] * len(text.mask_positions) if targets is None else targets
            _check_targets(index, text, targets, encoder.room, vocab_size)
            read.append((text, [_token(target) for target in targets]))
            yield _query(*read[-1])

    def finish(number: int, outputs: Outputs) -> Fill:
        _mend_entropy(*read[number], outputs, answer_each, vocab_size)
        return _fill(encoder, *read[number], outputs)

    return answer_each(make_queries(), OUTPUTS, top_k, finish)


def whole_words(known: Sequence[KnownTargets], encoder: TextEncoder) -> list[list[dict[str, tuple[int, ...]]]]:
    """For each text and mask the word of several pieces that is known to stand there, if one is, decoded."""
    several = [[tuple(each) if isinstance(each, Sequence) else () for each in targets] for targets in known]
    return [[{encoder.decoded(each): each} if len(each) > 1 else {} for each in targets] for targets in several]


def refuse_unmasked(index: int, text: EncodedText, mask_token: str) -> None:
    """Raises TextError, naming the text by its index, where it has no mask."""
    if not text.mask_positions:
        message = f"text {index}: No mask_token ({mask_token}) found on the input {text.text[:60]!r}"
        raise TextError(TextStatus.NO_MASK, message)


def _check_targets(index: int, text: EncodedText, known: KnownTargets, room: int, vocab_size: int) -> None:
    if len(known) != len(text.mask_positions):
        raise ValueError(f"text {index} has {len(text.mask_positions)} masks and {len(known)} targets")
    for pieces in (target if isinstance(target, Sequence) else [target] for target in known if target is not None):
        if not 1 <= len(pieces) <= room:
            raise ValueError(f"text {index} has a target of {len(pieces)} pieces; it must be from 1 to {room}")
        if not all(0 <= piece < vocab_size for piece in pieces):
            raise ValueError(f"text {index} has the target {pieces}; ids run from 0 to {vocab_size - 1}")


def _token(target: int | Sequence[int] | None) -> int | None:
    """What is known to stand at a mask, where that is one token."""
    if isinstance(target, Sequence):
        return target[0] if len(target) == 1 else None
    return target


def _query(text: EncodedText, tokens: Sequence[int | None]) -> Query:
    # The graph rates some token at every mask.
    return Query(text.input_ids, text.mask_positions, tuple(0 if token is None else token for token in tokens))


def _mend_entropy(
    text: EncodedText,
    tokens: Sequence[int | None],
    outputs: Outputs,
    answer_each: AnswerEach[Any],
    vocab_size: int,
) -> None:
    """Computes an entropy anew that is NaN for no other reason than a token that is ruled out, as graphs have it that
    were exported before 0 log 0 was 0."""
    if np.isnan(outputs["entropy"]).any() and not np.isnan(outputs["target_logprobs"]).any():
        query = _query(text, tokens)
        (found,) = answer_each([query], ["top_logprobs"], vocab_size, lambda _, everything: everything["top_logprobs"])
        outputs["entropy"] = np.array([entropy(logprobs.tolist()) for logprobs in found])


def _fill(encoder: TextEncoder, text: EncodedText, tokens: Sequence[int | None], outputs: Outputs) -> Fill:
    masks = tuple(
        MaskFill(
            position=position,
            predictions=_predictions(encoder, outputs, mask),
            entropy=float(outputs["entropy"][mask]),
            target=_target_score(token, outputs, mask),
        )
        for mask, (position, token) in enumerate(zip(text.mask_positions, tokens, strict=True))
    )
    return Fill(text.text, masks, encoder.token_count(text), text.truncated)


def _predictions(encoder: TextEncoder, outputs: Outputs, mask: int) -> tuple[TokenPrediction, ...]:
    ids, logprobs = outputs["top_ids"][mask].tolist(), outputs["top_logprobs"][mask].tolist()  # [top_k], best first
    return tuple(
        TokenPrediction(token, encoder.token_str(token), math.exp(logprob))
        for token, logprob in zip(ids, logprobs, strict=True)
    )


def _target_score(token: int | None, outputs: Outputs, mask: int) -> TargetScore | None:
    if token is None:
        return None
    logprob = float(np.asarray(outputs["target_logprobs"])[mask, 0])
    return TargetScore(token, logprob, int(np.asarray(outputs["target_ranks"])[mask, 0]))
