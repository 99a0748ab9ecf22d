"""Plain texts -> masked ones with the words that were masked: record batches in, record batches out.

Which words are masked depends on the seed and the text alone: the same come out in whatever batches, shards or order
the rows arrive.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from heapq import nsmallest
from itertools import chain, count, repeat
from typing import Any, Literal

import pyarrow as pa

from maskedge.inference.encoding import MASK_SPELLINGS
from maskedge.inference.words import word_spans
from maskedge_batch.errors import InputError
from maskedge_batch.evaluation.candidates import Candidate, Choice, candidates
from maskedge_batch.scoring.columns import plain_type, text_bytes
from maskedge_batch.scoring.spark_schema import extended

__all__ = ["Masking", "SetAside", "Strategy", "mask_batches", "masked_schema"]

Strategy = Literal["one", "rate", "each"]

MASK = MASK_SPELLINGS[0]
PIECE_ROWS = 2_000
PIECE_BYTES = 4 << 20
"""Of the texts in one batch that comes out: one whose words are masked in turn comes as often as it has words."""
LONGEST_IN_TURN = 20_000
"""Characters of a text whose words are masked in turn: its rows take their square, 80 MB then."""


class SetAside(StrEnum):
    """Why a text is not masked."""

    NULL_TEXT = "null_text"
    """The row has no text."""
    INVALID_UNICODE = "invalid_unicode"
    """It is not UTF-8."""
    HAS_A_MASK = "has_a_mask"
    """It holds a mask's spelling already."""
    TOO_SHORT = "too_short"
    """It has fewer than `Masking.min_words`."""
    TOO_LONG = "too_long"
    """It has more than 20,000 characters, and was to come once for each of its words."""
    NO_CANDIDATE = "no_candidate"
    """It has no word that may be masked."""


@dataclass(frozen=True, slots=True)
class Masking:
    """How texts are masked."""

    text: str = "text"
    """The column with the texts."""
    strategy: Strategy = "one"
    """`one` word a text, a `rate` of its words, or `each` word in turn, in a row of its own."""
    rate: float = 0.15
    """The share of the words that may be masked, for `rate`; rounded, and at least one word a text."""
    seed: int = 0
    """Another seed masks other words."""
    choice: Choice = field(default_factory=Choice)
    """Which words may be masked."""
    min_words: int = 4
    """Fewer leave too little to tell a word by. Punctuation marks count as words, as in `maskedge.inference.words`."""
    keep_unmasked: bool = False
    """Whether texts that no word is masked in are kept as they are, without a target; but not those with a mask."""

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate is {self.rate}; it must be above 0 and at most 1")

    @property
    def added(self) -> list[Any]:
        """The fields of the columns that are added: `target`, `source_row` and, for words in turn, `word_index`."""
        target = pa.list_(pa.string()) if self.strategy == "rate" else pa.string()
        index = [pa.field("word_index", pa.int32())] if self.strategy == "each" else []
        return [pa.field("target", target), pa.field("source_row", pa.int64(), nullable=False), *index]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row to write."""

    source: int
    """Index in its batch."""
    text: bytes | None
    target: str | list[str] | None = None
    word_index: int | None = None


def masked_schema(schema: pa.Schema, masking: Masking) -> pa.Schema:
    """The schema of masked rows: the input's, then the added columns. A dictionary of texts becomes plain strings.

    Raises InputError where the input has a column of an added one's name.
    """
    taken = [new.name for new in masking.added if new.name in schema.names]
    if taken:
        raise InputError(
            f"The input already has {', '.join(map(repr, taken))}, which this command adds: drop or rename it, or name "
            "another file."
        )
    at = schema.get_field_index(masking.text)
    text = schema.field(at)
    return extended(schema.set(at, text.with_type(plain_type(text.type))), masking.added, {})


def mask_batches(
    batches: Iterator[pa.RecordBatch], masking: Masking, *, first_row: int = 0, counts: Counter[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yields the masked rows, in the order of their texts.

    Every column stays, the text with `[MASK]` for each masked word; `target` has the word, or for `rate` a list of
    them, so that the targets in place of the masks give the text again. `source_row` is the text's row in the input,
    and `word_index` for `each` the word's number among all words of its text. A text that is not masked is left out,
    unless `Masking.keep_unmasked` keeps it.

    Args:
        batches: Rows with a column of texts.
        masking: How they are masked.
        first_row: The first row's index in the input.
        counts: Takes how many texts were `masked` and, by the names of `SetAside`, how many were not.

    Yields:
        Rows of `masked_schema`.

    Raises:
        InputError: The input has a column of an added one's name.
    """
    counts = Counter() if counts is None else counts
    for batch in batches:
        texts = text_bytes(batch.column(masking.text))
        rows = chain.from_iterable(map(_rows, count(), texts, repeat(masking), repeat(counts)))
        for piece in _pieces(rows):
            yield _batch(batch, piece, masking, first_row)
        first_row += batch.num_rows


def _rows(source: int, raw: bytes | None, masking: Masking, counts: Counter[str]) -> Iterator[_Row]:
    """The rows that one text becomes."""
    chosen = _choose(raw, masking)
    if isinstance(chosen, SetAside):
        counts[chosen] += 1
        if masking.keep_unmasked and chosen is not SetAside.HAS_A_MASK:
            yield _Row(source, raw)
        return
    counts["masked"] += 1
    text, words = chosen
    targets = [text[word.start : word.stop] for word in words]
    match masking.strategy:
        case "one":
            yield _Row(source, _masked(text, words), targets[0])
        case "rate":
            yield _Row(source, _masked(text, words), targets)
        case "each":
            for word, target in zip(words, targets, strict=True):
                yield _Row(source, _masked(text, [word]), target, word.index)


def _choose(raw: bytes | None, masking: Masking) -> tuple[str, list[Candidate]] | SetAside:
    """A text and its words to mask, in reading order; or why there are none."""
    if raw is None:
        return SetAside.NULL_TEXT
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return SetAside.INVALID_UNICODE
    if any(spelling in text for spelling in MASK_SPELLINGS):
        return SetAside.HAS_A_MASK
    if masking.strategy == "each" and len(text) > LONGEST_IN_TURN:
        return SetAside.TOO_LONG
    words = word_spans(text)
    if len(words) < masking.min_words:
        return SetAside.TOO_SHORT
    found = candidates(text, words, masking.choice)
    return (text, _drawn(found, raw, masking)) if found else SetAside.NO_CANDIDATE


def _drawn(found: Sequence[Candidate], text: bytes, masking: Masking) -> list[Candidate]:
    """The words to mask: those with the least hashes, which no version of a generator of random numbers changes."""
    if masking.strategy == "each":
        return list(found)
    wanted = 1 if masking.strategy == "one" else max(1, round(masking.rate * len(found)))
    draw = blake2b(f"{masking.seed}\0".encode() + text, digest_size=16)

    def lot(word: Candidate) -> bytes:
        one = draw.copy()
        one.update(b"\0%d" % word.index)
        return one.digest()

    return sorted(nsmallest(wanted, found, key=lot), key=lambda word: word.start)


def _masked(text: str, words: Sequence[Candidate]) -> bytes:
    ends = [0, *(word.stop for word in words)]
    starts = [*(word.start for word in words), len(text)]
    return MASK.join(text[end:start] for end, start in zip(ends, starts, strict=True)).encode()


def _pieces(rows: Iterator[_Row]) -> Iterator[list[_Row]]:
    """The rows in lists whose texts fit into memory."""
    piece: list[_Row] = []
    size = 0
    for row in rows:
        piece.append(row)
        size += len(row.text or b"")
        if len(piece) >= PIECE_ROWS or size >= PIECE_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _batch(batch: pa.RecordBatch, rows: list[_Row], masking: Masking, first_row: int) -> pa.RecordBatch:
    schema = masked_schema(batch.schema, masking)
    sources = pa.array([row.source for row in rows], pa.int64())
    kept = [
        _texts(rows, schema.field(name).type) if name == masking.text else _taken(batch.column(name), sources)
        for name in batch.schema.names
    ]
    added: dict[str, list[Any]] = {
        "target": [row.target for row in rows],
        "source_row": [first_row + row.source for row in rows],
        "word_index": [row.word_index for row in rows],
    }
    columns = [pa.array(added[field.name], field.type) for field in masking.added]
    return pa.RecordBatch.from_arrays([*kept, *columns], schema=schema)


def _taken(column: Any, rows: Any) -> Any:
    """The rows of a column, one after the other."""
    try:
        return column.take(rows)
    except pa.ArrowNotImplementedError:  # of string views, for one
        return pa.concat_arrays([column.slice(row, 1) for row in rows.to_pylist()])


def _texts(rows: list[_Row], kind: Any) -> Any:
    """A column of strings; one that is kept although it is not UTF-8 is as it was."""
    return pa.array([row.text for row in rows], pa.large_binary()).view(pa.large_string()).cast(kind)
