"""The pure core: record batches -> the same rows with their scores."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import pyarrow as pa

from maskedge import (
    EncodedText,
    Fill,
    MaskFill,
    Predictor,
    SentenceScore,
    TargetScore,
    TextError,
    TextStatus,
    WholeTarget,
)
from maskedge.inference.metrics import perplexity
from maskedge_batch.scoring.columns import SCORE_FIELDS, Columns, scored_schema, target_bytes, text_bytes
from maskedge_batch.scoring.options import ScoringOptions

__all__ = ["RowStatus", "score_batches"]

Item = TypeVar("Item")

PIECE_TOKENS = 65_536
"""Tokens that the model reads for one result: a few seconds of work, so that progress shows."""


class RowStatus(StrEnum):
    """Why a row was set aside, where no `TextStatus` says it."""

    NULL_TEXT = "null_text"
    """The row has no text."""
    TARGET_NOT_IN_VOCABULARY = "target_not_in_vocabulary"
    """The vocabulary cannot spell a target; or it is no single token, where only those are rated."""
    TARGET_TOO_LONG = "target_too_long"
    """A target has more pieces than the model reads tokens."""
    TARGET_COUNT_MISMATCH = "target_count_mismatch"
    """The row has another number of targets than its text has masks."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row made ready for the model."""

    status: str
    encoded: EncodedText | None = None
    targets: tuple[tuple[int, ...] | None, ...] = ()
    """The ids of each mask's target, one for each of its pieces; None where no target is known."""

    def cost(self, max_length: int) -> int:
        """Tokens the model reads for this row: those of its text, and once more for each piece of a target that has
        several; where it has no mask, for each of its tokens those of the text or, if it is longer than the model, of a
        window of `max_length` tokens."""
        if self.encoded is None:
            return 0
        length = len(self.encoded.input_ids)
        if not self.encoded.mask_positions:
            return length * min(length, max_length)
        several = [len(pieces) for pieces in self.targets if pieces and len(pieces) > 1]
        return length + sum(pieces * min(length + pieces - 1, max_length) for pieces in several)


def score_batches(
    batches: Iterator[pa.RecordBatch],
    predictor: Predictor,
    columns: Columns,
    options: ScoringOptions = ScoringOptions(),  # noqa: B008  frozen
) -> Iterator[pa.RecordBatch]:
    """Yields every row in order with its scores.

    A row that cannot be scored keeps its place, with nulls and the reason in `mlm_status`. A row's scores do not depend
    on the batch that it came in.

    Args:
        batches: Rows with the columns that `columns` names.
        predictor: The model.
        columns: From `maskedge_batch.scoring.columns.choose_columns`, which checks that the rows have them.
        options: What is to be found out.

    Yields:
        The rows, with the columns of `maskedge_batch.scoring.columns.SCORE_FIELDS` behind their own. A batch that takes
            the model long comes back in several pieces.

    Raises:
        ValueError: `options.top_k` is not from 0 to the vocabulary's size, and a text has a mask.
    """
    for batch, rows in _ahead((batch, _make_ready(batch, predictor, columns, options)) for batch in batches):
        for start, stop in _pieces(rows, predictor.encoder.max_length):
            yield _append(batch.slice(start, stop - start), _score(rows[start:stop], predictor, options))


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in a second thread while the one before it is used.

    Tokenizing takes some 0.1 ms a row on one CPU: little beside the model's time on two CPUs, as much as it on many.
    """
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(lambda: next(items, None))
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(lambda: next(items, None))
            yield item


def _make_ready(batch: pa.RecordBatch, predictor: Predictor, columns: Columns, options: ScoringOptions) -> list[_Row]:
    texts = text_bytes(batch.column(columns.text))
    targets: list[tuple[bytes | None, ...]] = [()] * len(texts)
    if columns.target is not None:
        targets = target_bytes(batch.column(columns.target))
    single, asked = options.single_piece_targets, columns.asked
    return [_encode(predictor, *pair, asked=asked, single=single) for pair in zip(texts, targets, strict=True)]


def _encode(
    predictor: Predictor, text: bytes | None, words: tuple[bytes | None, ...], *, asked: bool, single: bool
) -> _Row:
    if text is None:
        return _Row(RowStatus.NULL_TEXT)
    try:
        encoded = predictor.encode(text.decode())
    except UnicodeDecodeError:
        return _Row(TextStatus.INVALID_UNICODE)
    except TextError as error:
        return _Row(error.status)
    if not (encoded.mask_positions or asked):
        words = ()  # a label of the text, it may be: it has no place for a target
    return _match_targets(predictor, encoded, words, single=single)


def _match_targets(
    predictor: Predictor, encoded: EncodedText, words: tuple[bytes | None, ...], *, single: bool
) -> _Row:
    nothing = (None,) * len(encoded.mask_positions)
    if not words:
        return _Row(TextStatus.OK, encoded, nothing)
    if len(words) != len(nothing):
        return _Row(RowStatus.TARGET_COUNT_MISMATCH, encoded, nothing)
    pieces_of = _single_pieces if single else _pieces_of
    targets = tuple(
        None if word is None else pieces_of(predictor, encoded, mask, word) for mask, word in enumerate(words)
    )
    if () in targets:
        return _Row(RowStatus.TARGET_NOT_IN_VOCABULARY, encoded, nothing)
    if any(pieces and len(pieces) > predictor.encoder.room for pieces in targets):
        return _Row(RowStatus.TARGET_TOO_LONG, encoded, nothing)
    return _Row(TextStatus.OK, encoded, targets)


def _pieces_of(predictor: Predictor, encoded: EncodedText, mask: int, word: bytes) -> tuple[int, ...]:
    """The ids of a target; none where the vocabulary cannot spell it."""
    try:
        return predictor.target_pieces(encoded, mask, word.decode())
    except UnicodeDecodeError:
        return ()


def _single_pieces(predictor: Predictor, encoded: EncodedText, mask: int, word: bytes) -> tuple[int, ...]:
    """The id of a target that is a single token where it stands; none for others."""
    try:
        token = predictor.target_id(encoded, mask, word.decode())
    except UnicodeDecodeError:
        return ()
    return () if token is None else (token,)


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


def _score(rows: list[_Row], predictor: Predictor, options: ScoringOptions) -> list[dict[str, Any]]:
    """The score columns of each row; those left out are null."""
    masked: list[EncodedText] = []
    unmasked: list[EncodedText] = []
    targets: list[tuple[tuple[int, ...] | None, ...]] = []
    for row in rows:
        if row.encoded is None:
            continue
        if row.encoded.mask_positions:
            masked.append(row.encoded)
            targets.append(row.targets)
        else:
            unmasked.append(row.encoded)
    # The rows with masks and those without go to the model apart; what comes back is taken in the rows' order again.
    fills = iter(predictor.fill_encoded(masked, top_k=options.top_k or 0, targets=targets) if masked else ())
    sentences = iter(predictor.score_encoded(unmasked, method=options.method) if unmasked else ())
    return [_columns_of(row, fills, sentences, options) for row in rows]


def _columns_of(
    row: _Row, fills: Iterator[Fill], sentences: Iterator[SentenceScore], options: ScoringOptions
) -> dict[str, Any]:
    if row.encoded is None:
        return {"mlm_status": row.status}
    scored: Fill | SentenceScore = next(fills) if row.encoded.mask_positions else next(sentences)
    if scored.has_nan:
        return {"mlm_status": TextStatus.NOT_A_NUMBER}
    scores = _fill_columns(scored, options) if isinstance(scored, Fill) else _sentence_columns(scored, options)
    return {"mlm_status": row.status, "mlm_truncated": row.encoded.truncated, **scores}


def _fill_columns(fill: Fill, options: ScoringOptions) -> dict[str, Any]:
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


def _sentence_columns(sentence: SentenceScore, options: ScoringOptions) -> dict[str, Any]:
    tokens = [{"token_str": token.token_str, "logprob": token.logprob} for token in sentence.tokens]
    return {
        "mlm_perplexity": sentence.pseudo_perplexity,
        "mlm_token_count": sentence.token_count,
        "mlm_pll": sentence.pll,
        "mlm_word_count": sentence.word_count,
        "mlm_character_count": len(sentence.text),
        "mlm_tokens": tokens if options.tokens else None,
    }


def _append(batch: pa.RecordBatch, scores: list[dict[str, Any]]) -> pa.RecordBatch:
    added = [pa.array([row.get(field.name) for row in scores], type=field.type) for field in SCORE_FIELDS]
    return pa.RecordBatch.from_arrays([*batch.columns, *added], schema=scored_schema(batch.schema))
