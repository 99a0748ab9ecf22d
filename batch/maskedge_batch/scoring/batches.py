"""The pure core: record batches -> the same rows with their scores."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import pyarrow as pa

from maskedge import EncodedText, Fill, Predictor, SentenceScore, TextError, TextStatus
from maskedge.inference.metrics import perplexity
from maskedge_batch.scoring.columns import SCORE_FIELDS, Columns, scored_schema, target_bytes, text_bytes

__all__ = ["RowStatus", "score_batches"]

Item = TypeVar("Item")

PIECE_TOKENS = 65_536
"""Tokens that the model reads for one result: a few seconds of work, so that progress shows."""


class RowStatus(StrEnum):
    """Why a row was set aside, where no `TextStatus` says it."""

    NULL_TEXT = "null_text"
    """The row has no text."""
    TARGET_NOT_IN_VOCABULARY = "target_not_in_vocabulary"
    """A target is no single token of the vocabulary."""
    TARGET_COUNT_MISMATCH = "target_count_mismatch"
    """The row has another number of targets than its text has masks."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row made ready for the model."""

    status: str
    encoded: EncodedText | None = None
    targets: tuple[int | None, ...] = ()
    """Vocabulary ids, one per mask; None where no target is known."""

    def cost(self, max_length: int) -> int:
        """Tokens the model reads for this row: those of its text; where it has no mask, for each of its tokens those
        of the text or, if it is longer than the model, of a window of `max_length` tokens."""
        if self.encoded is None:
            return 0
        length = len(self.encoded.input_ids)
        return length if self.encoded.mask_positions else length * min(length, max_length)


def score_batches(
    batches: Iterator[pa.RecordBatch], predictor: Predictor, columns: Columns, *, top_k: int = 5
) -> Iterator[pa.RecordBatch]:
    """Yields every row in order with its scores.

    A row that cannot be scored keeps its place, with nulls and the reason in `mlm_status`. A row's scores do not depend
    on the batch that it came in.

    Args:
        batches: Rows with the columns that `columns` names.
        predictor: The model.
        columns: From `maskedge_batch.scoring.columns.choose_columns`, which checks that the rows have them.
        top_k: How many of the most probable tokens are kept for each mask.

    Yields:
        The rows, with the columns of `maskedge_batch.scoring.columns.SCORE_FIELDS` behind their own. A batch that takes
            the model long comes back in several pieces.

    Raises:
        ValueError: `top_k` is not from 0 to the vocabulary's size, and a text has a mask.
    """
    for batch, rows in _ahead((batch, _make_ready(batch, predictor, columns)) for batch in batches):
        for start, stop in _pieces(rows, predictor.encoder.max_length):
            yield _append(batch.slice(start, stop - start), _score(rows[start:stop], predictor, top_k))


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in a second thread while the one before it is used.

    Tokenizing takes some 0.1 ms a row on one CPU: little beside the model's time on two CPUs, as much as it on many.
    """
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(lambda: next(items, None))
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(lambda: next(items, None))
            yield item


def _make_ready(batch: pa.RecordBatch, predictor: Predictor, columns: Columns) -> list[_Row]:
    texts = text_bytes(batch.column(columns.text))
    targets: list[tuple[bytes | None, ...]] = [()] * len(texts)
    if columns.target is not None:
        targets = target_bytes(batch.column(columns.target))
    return [_encode(predictor, text, words, columns) for text, words in zip(texts, targets, strict=True)]


def _encode(predictor: Predictor, text: bytes | None, words: tuple[bytes | None, ...], columns: Columns) -> _Row:
    if text is None:
        return _Row(RowStatus.NULL_TEXT)
    try:
        encoded = predictor.encode(text.decode())
    except UnicodeDecodeError:
        return _Row(TextStatus.INVALID_UNICODE)
    except TextError as error:
        return _Row(error.status)
    if not (encoded.mask_positions or columns.asked):
        words = ()  # a label of the text, it may be: it has no place for a target
    return _match_targets(predictor, encoded, words)


def _match_targets(predictor: Predictor, encoded: EncodedText, words: tuple[bytes | None, ...]) -> _Row:
    nothing = (None,) * len(encoded.mask_positions)
    if not words:
        return _Row(TextStatus.OK, encoded, nothing)
    if len(words) != len(nothing):
        return _Row(RowStatus.TARGET_COUNT_MISMATCH, encoded, nothing)
    ids = tuple(_target_id(predictor, encoded, mask, word) for mask, word in enumerate(words))
    if any(word is not None and token is None for word, token in zip(words, ids, strict=True)):
        return _Row(RowStatus.TARGET_NOT_IN_VOCABULARY, encoded, nothing)
    return _Row(TextStatus.OK, encoded, ids)


def _target_id(predictor: Predictor, encoded: EncodedText, mask: int, word: bytes | None) -> int | None:
    if word is None:
        return None
    try:
        return predictor.target_id(encoded, mask, word.decode())
    except UnicodeDecodeError:
        return None


def _pieces(rows: list[_Row], max_length: int) -> Iterator[tuple[int, int]]:
    """The beginning and end of each piece of the rows: it ends where its cost reaches `PIECE_TOKENS`."""
    start = cost = 0
    for index, row in enumerate(rows):
        cost += row.cost(max_length)
        if cost >= PIECE_TOKENS:
            yield start, index + 1
            start, cost = index + 1, 0
    if start < len(rows):
        yield start, len(rows)


def _score(rows: list[_Row], predictor: Predictor, top_k: int) -> list[dict[str, Any]]:
    """The score columns of each row; those left out are null."""
    masked: list[EncodedText] = []
    unmasked: list[EncodedText] = []
    targets: list[tuple[int | None, ...]] = []
    for row in rows:
        if row.encoded is None:
            continue
        if row.encoded.mask_positions:
            masked.append(row.encoded)
            targets.append(row.targets)
        else:
            unmasked.append(row.encoded)
    # The rows with masks and those without go to the model apart; what comes back is taken in the rows' order again.
    fills = iter(predictor.fill_encoded(masked, top_k=top_k, targets=targets) if masked else ())
    sentences = iter(predictor.score_encoded(unmasked) if unmasked else ())
    return [_columns_of(row, fills, sentences) for row in rows]


def _columns_of(row: _Row, fills: Iterator[Fill], sentences: Iterator[SentenceScore]) -> dict[str, Any]:
    if row.encoded is None:
        return {"mlm_status": row.status}
    scored: Fill | SentenceScore = next(fills) if row.encoded.mask_positions else next(sentences)
    if scored.has_nan:
        return {"mlm_status": TextStatus.NOT_A_NUMBER}
    scores = _fill_columns(scored) if isinstance(scored, Fill) else _sentence_columns(scored)
    return {"mlm_status": row.status, "mlm_truncated": row.encoded.truncated, **scores}


def _fill_columns(fill: Fill) -> dict[str, Any]:
    targets = [mask.target for mask in fill.masks]
    logprobs = [target.logprob for target in targets if target is not None]
    return {
        "mlm_predictions": [
            [{"token": guess.token, "token_str": guess.token_str, "score": guess.score} for guess in mask.predictions]
            for mask in fill.masks
        ],
        "mlm_entropy": [mask.entropy for mask in fill.masks],
        "mlm_target_logprob": [target and target.logprob for target in targets],
        "mlm_target_rank": [target and target.rank for target in targets],
        "mlm_perplexity": perplexity(math.fsum(logprobs), len(logprobs)) if logprobs else None,
        "mlm_token_count": fill.token_count,
    }


def _sentence_columns(sentence: SentenceScore) -> dict[str, Any]:
    return {
        "mlm_perplexity": sentence.pseudo_perplexity,
        "mlm_token_count": sentence.token_count,
        "mlm_pll": sentence.pll,
    }


def _append(batch: pa.RecordBatch, scores: list[dict[str, Any]]) -> pa.RecordBatch:
    added = [pa.array([row.get(field.name) for row in scores], type=field.type) for field in SCORE_FIELDS]
    return pa.RecordBatch.from_arrays([*batch.columns, *added], schema=scored_schema(batch.schema))
