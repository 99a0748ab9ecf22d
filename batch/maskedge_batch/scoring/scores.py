"""What the model says of rows, as the columns of their scores."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from maskedge import Fill, MaskFill, Predictor, SentenceScore, TargetScore, TextStatus, WholeTarget
from maskedge.inference.metrics import perplexity
from maskedge_batch.scoring.columns import SCORE_FIELDS, scored_schema
from maskedge_batch.scoring.options import ScoringOptions
from maskedge_batch.scoring.rows import Row

__all__ = ["Scores", "append_scores", "score_rows"]

Scores: TypeAlias = dict[str, Any]
"""A row's values by the names of their columns."""


def score_rows(rows: Sequence[Row], predictor: Predictor, options: ScoringOptions) -> list[Scores]:
    """The scores of each row. A row that stands there several times goes to the model once."""
    distinct = list(dict.fromkeys(rows))
    masked = [row for row in distinct if row.encoded and row.encoded.mask_positions]
    unmasked = [row for row in distinct if row.encoded and not row.encoded.mask_positions]
    # The rows with masks and those without go to the model apart; what comes back is taken in the rows' order again.
    fills = iter(_fills(masked, predictor, options) if masked else ())
    sentences = iter(_sentences(unmasked, predictor, options) if unmasked else ())
    scores = {row: _columns_of(row, fills, sentences, options) for row in distinct}
    return [scores[row] for row in rows]


def _fills(rows: list[Row], predictor: Predictor, options: ScoringOptions) -> list[Fill]:
    texts, targets = [row.encoded for row in rows if row.encoded], [row.targets for row in rows]
    return predictor.fill_encoded(texts, top_k=options.top_k or 0, targets=targets)


def _sentences(rows: list[Row], predictor: Predictor, options: ScoringOptions) -> list[SentenceScore]:
    return predictor.score_encoded([row.encoded for row in rows if row.encoded], method=options.method)


def _columns_of(row: Row, fills: Iterator[Fill], sentences: Iterator[SentenceScore], options: ScoringOptions) -> Scores:
    if row.encoded is None:
        return {"mlm_status": row.status}
    scored: Fill | SentenceScore = next(fills) if row.encoded.mask_positions else next(sentences)
    if scored.has_nan:
        return {"mlm_status": TextStatus.NOT_A_NUMBER}
    scores = _fill_columns(scored, options) if isinstance(scored, Fill) else _sentence_columns(scored, options)
    return {"mlm_status": row.status, "mlm_truncated": row.encoded.truncated, **scores}


def _fill_columns(fill: Fill, options: ScoringOptions) -> Scores:
    targets = [_target(mask) for mask in fill.masks]
    logprobs = [target.logprob for target in targets if target]
    return {
        "mlm_predictions": None if options.top_k is None else [_predictions(mask) for mask in fill.masks],
        "mlm_entropy": [mask.entropy for mask in fill.masks],
        "mlm_target_logprob": [target and target.logprob for target in targets],
        "mlm_target_rank": [target.rank if isinstance(target, TargetScore) else None for target in targets],
        "mlm_target_pieces": [
            len(target.tokens) if isinstance(target, WholeTarget) else target and 1 for target in targets
        ],
        "mlm_perplexity": perplexity(math.fsum(logprobs), len(logprobs)) if logprobs else None,
        "mlm_token_count": fill.token_count,
    }


def _target(mask: MaskFill) -> TargetScore | WholeTarget | None:
    """The rating of what is known to stand at a mask: one token, or a word of several pieces."""
    return mask.targets[0] if mask.targets else mask.target


def _predictions(mask: MaskFill) -> list[dict[str, Any]]:
    return [{"token": guess.token, "token_str": guess.token_str, "score": guess.score} for guess in mask.predictions]


def _sentence_columns(sentence: SentenceScore, options: ScoringOptions) -> Scores:
    tokens = [{"token_str": token.token_str, "logprob": token.logprob} for token in sentence.tokens]
    return {
        "mlm_perplexity": sentence.pseudo_perplexity,
        "mlm_token_count": sentence.token_count,
        "mlm_pll": sentence.pll,
        "mlm_word_count": sentence.word_count,
        "mlm_character_count": len(sentence.text),
        "mlm_tokens": tokens if options.tokens else None,
    }


def append_scores(batch: pa.RecordBatch, scores: Sequence[Scores]) -> pa.RecordBatch:
    """The rows with the score columns behind their own; what a row's scores leave out is null."""
    added = [pa.array([row.get(field.name) for row in scores], type=field.type) for field in SCORE_FIELDS]
    return pa.RecordBatch.from_arrays([*batch.columns, *added], schema=scored_schema(batch.schema))
