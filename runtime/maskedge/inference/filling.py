"""Encoded texts -> what the model says at each of their masks, each filled independently of the others."""

import math
from collections.abc import Sequence

import numpy as np

from maskedge.bundle.engine import Outputs
from maskedge.errors import TextError
from maskedge.inference.batching import AnswerQueries, Query
from maskedge.inference.encoding import EncodedText, TextEncoder
from maskedge.inference.metrics import entropy
from maskedge.results import Fill, MaskFill, TargetScore, TextStatus, TokenPrediction

__all__ = ["KnownTokens", "fill_masks", "refuse_unmasked"]

KnownTokens = Sequence[int | None]
"""For each mask of a text the id to rate there, or None."""

OUTPUTS = ["top_ids", "top_logprobs", "entropy", "target_logprobs", "target_ranks"]


def fill_masks(
    texts: Sequence[EncodedText],
    known: Sequence[KnownTokens],
    encoder: TextEncoder,
    answer_queries: AnswerQueries,
    *,
    top_k: int,
    vocab_size: int,
) -> list[Fill]:
    """For each text the `top_k` most probable tokens of each mask, and the ratings of its `known` tokens.

    Raises TextError, naming the text, for one without a mask, and ValueError for known tokens of another number than
    its masks or outside the vocabulary.
    """
    pairs = zip(texts, known, strict=True)
    queries = [_query(index, text, tokens, encoder, vocab_size) for index, (text, tokens) in enumerate(pairs)]
    answers = answer_queries(queries, OUTPUTS, top_k)
    _mend_entropies(queries, answers, answer_queries, vocab_size)
    return [_fill(encoder, *parts) for parts in zip(texts, known, answers, strict=True)]


def refuse_unmasked(index: int, text: EncodedText, mask_token: str) -> None:
    """Raises TextError, naming the text by its index, where it has no mask."""
    if not text.mask_positions:
        message = f"text {index}: No mask_token ({mask_token}) found on the input {text.text[:60]!r}"
        raise TextError(TextStatus.NO_MASK, message)


def _query(index: int, text: EncodedText, known: KnownTokens, encoder: TextEncoder, vocab_size: int) -> Query:
    refuse_unmasked(index, text, encoder.mask_token)
    if len(known) != len(text.mask_positions):
        raise ValueError(f"text {index} has {len(text.mask_positions)} masks and {len(known)} targets")
    target_ids = tuple(0 if token is None else token for token in known)  # the graph rates some token at every mask
    if not all(0 <= token < vocab_size for token in target_ids):
        raise ValueError(f"text {index} has the targets {target_ids}; ids run from 0 to {vocab_size - 1}")
    return Query(text.input_ids, text.mask_positions, target_ids)


def _mend_entropies(
    queries: list[Query], answers: list[Outputs], answer_queries: AnswerQueries, vocab_size: int
) -> None:
    """Computes anew the entropies that are NaN for no other reason than a token that is ruled out: graphs that were
    exported before 0 log 0 was 0 have them."""
    for query, outputs in zip(queries, answers, strict=True):
        if np.isnan(outputs["entropy"]).any() and not np.isnan(outputs["target_logprobs"]).any():
            (everything,) = answer_queries([query], ["top_logprobs"], vocab_size)
            outputs["entropy"] = np.array([entropy(logprobs.tolist()) for logprobs in everything["top_logprobs"]])


def _fill(encoder: TextEncoder, text: EncodedText, known: KnownTokens, outputs: Outputs) -> Fill:
    masks = tuple(
        MaskFill(
            position=position,
            predictions=_predictions(encoder, outputs, mask),
            entropy=float(outputs["entropy"][mask]),
            target=_target_score(token, outputs, mask),
        )
        for mask, (position, token) in enumerate(zip(text.mask_positions, known, strict=True))
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
