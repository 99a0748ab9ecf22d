"""Rows made ready for the model: their texts and targets as tokens, or the reason why they cannot be scored."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import pyarrow as pa

from maskedge import EncodedText, Predictor, TextError, TextStatus
from maskedge_batch.scoring.columns import Columns, target_bytes, text_bytes
from maskedge_batch.scoring.options import ScoringOptions

__all__ = ["Row", "RowStatus", "ready_rows"]

Words: TypeAlias = tuple[bytes | None, ...]
"""A row's targets, one for each mask; None where none is known. Empty where the row has none."""

MASK_BYTES = 1_600
PREDICTION_BYTES = 400
TOKEN_BYTES = 700
"""What is made of a mask, of each of its predictions and of a token of a text without masks takes until it is in
columns, at most: tracemalloc's peaks are 1,515, 354 and 661 with the bundled model."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A row made ready for the model. Rows with the same text and targets are one `Row`."""

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

    def size(self, top_k: int, max_length: int) -> int:
        """Bytes that the row and what the model says of it take, nearly, until that is in columns."""
        if self.encoded is None:
            return 0
        text, masks = self.encoded, len(self.encoded.mask_positions)
        if masks:  # its queries are made all at once
            made = masks * (MASK_BYTES + top_k * PREDICTION_BYTES) + 8 * self.cost(max_length)
        else:
            made = len(text.input_ids) * TOKEN_BYTES
        return len(text.text) + len(text.source) + text.input_ids.nbytes + made


def ready_rows(batch: pa.RecordBatch, predictor: Predictor, columns: Columns, options: ScoringOptions) -> Iterator[Row]:
    """Each row made ready when it is asked for."""
    texts = text_bytes(batch.column(columns.text))
    targets: list[Words] = [()] * len(texts)
    if columns.target is not None:
        targets = target_bytes(batch.column(columns.target))
    single, asked = options.single_piece_targets, columns.asked
    known: dict[tuple[bytes | None, Words], Row] = {}
    for pair in zip(texts, targets, strict=True):
        if pair not in known:
            known[pair] = _encode(predictor, *pair, asked=asked, single=single)
        yield known[pair]


def _encode(predictor: Predictor, text: bytes | None, words: Words, *, asked: bool, single: bool) -> Row:
    if text is None:
        return Row(RowStatus.NULL_TEXT)
    try:
        encoded = predictor.encode(text.decode())
    except UnicodeDecodeError:
        return Row(TextStatus.INVALID_UNICODE)
    except TextError as error:
        return Row(error.status)
    if not (encoded.mask_positions or asked):
        words = ()  # a label of the text, it may be: it has no place for a target
    return _match_targets(predictor, encoded, words, single=single)


def _match_targets(predictor: Predictor, encoded: EncodedText, words: Words, *, single: bool) -> Row:
    nothing = (None,) * len(encoded.mask_positions)
    if not words:
        return Row(TextStatus.OK, encoded, nothing)
    if len(words) != len(nothing):
        return Row(RowStatus.TARGET_COUNT_MISMATCH, encoded, nothing)
    pieces_of = _single_pieces if single else _pieces_of
    targets = tuple(
        None if word is None else pieces_of(predictor, encoded, mask, word) for mask, word in enumerate(words)
    )
    if () in targets:
        return Row(RowStatus.TARGET_NOT_IN_VOCABULARY, encoded, nothing)
    if any(pieces and len(pieces) > predictor.encoder.room for pieces in targets):
        return Row(RowStatus.TARGET_TOO_LONG, encoded, nothing)
    return Row(TextStatus.OK, encoded, targets)


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
