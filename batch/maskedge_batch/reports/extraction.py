"""A batch of scored rows as two tables of plain numbers: of its rows and of its masks."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from maskedge.arrays import BoolArray, Float64Array, Int64Array
from maskedge_batch.errors import InputError
from maskedge_batch.reports.bootstrap import buckets_of, row_hash
from maskedge_batch.reports.histogram import bins_of
from maskedge_batch.reports.scored import ScoredFiles

__all__ = ["COUNTED_TEXTS", "mask_table", "row_table", "wanted_columns", "word_counts"]

Column: TypeAlias = Any
"""A pyarrow array of any type; the stubs know too few of its methods."""

COUNTED_TEXTS = 200_000
"""Most texts whose words are counted, a second of work; of more rows, a random choice of about so many."""
TOP_SCORE = "mlm_predictions.list.element.list.element.score"
NOT_WORDS = r"[^\p{L}\p{N}\p{M}]+"


def wanted_columns(scored: ScoredFiles, by: Sequence[str], key: str | None) -> list[str]:
    """The columns and leaves of columns that the tables are made of."""
    fixed = [
        "mlm_status", "mlm_perplexity", "mlm_token_count", "mlm_truncated", "mlm_pll", "mlm_word_count",
        "mlm_character_count", "mlm_entropy", "mlm_target_logprob", "mlm_target_rank", "mlm_target_pieces",
    ]  # fmt: skip
    names = [name for name in fixed if name in scored.schema.names]
    if "mlm_predictions" in scored.schema.names:
        names.append(TOP_SCORE)
    own = [scored.provenance.text_column, scored.provenance.target_column, key, *by]
    return list(dict.fromkeys([*names, *(name for name in own if name is not None)]))


def row_table(
    batch: pa.RecordBatch,
    numbers: Int64Array,
    scored: ScoredFiles,
    by: Sequence[str],
    key: str | None,
    *,
    hash_texts: bool,
) -> pa.Table:
    """The columns of `rows`, as `maskedge_batch.reports.tables.fill_tables` describes them."""
    perplexity = _numbers(batch, "mlm_perplexity")
    columns: dict[str, Any] = {
        "row": numbers,
        "bucket": buckets_of(numbers, scored.rows),
        "status": batch.column("mlm_status"),
        "tokens": _column(batch, "mlm_token_count", pa.int64()),
        "truncated": _column(batch, "mlm_truncated", pa.bool_()),
        "perplexity": _nullable(perplexity),
        "bin": pa.array(bins_of(perplexity), mask=np.isnan(perplexity)),
        "pll": _nullable(_numbers(batch, "mlm_pll")),
        "words": _column(batch, "mlm_word_count", pa.int64()),
        "characters": _column(batch, "mlm_character_count", pa.int64()),
        "masks": pc.list_value_length(batch.column("mlm_entropy")).cast(pa.int64()),
        "text": _hashes(batch.column(scored.provenance.text_column)) if hash_texts else pa.nulls(len(numbers)),
        "key": _as_strings(batch.column(key), key) if key else pa.nulls(len(numbers), pa.string()),
    }
    return pa.table(columns | _groups(batch, by))


def mask_table(batch: pa.RecordBatch, numbers: Int64Array, scored: ScoredFiles, by: Sequence[str]) -> pa.Table:
    """The columns of `masks`; `numbers` are those of the rows [rows]."""
    entropies: Column = batch.column("mlm_entropy")
    lengths = _lengths(entropies)
    owner = np.repeat(np.arange(len(lengths)), lengths)  # [masks], the row of the batch
    place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # [masks], number within the row
    logprobs = _flat(batch, "mlm_target_logprob", lengths, pa.float64())
    rated = ~np.isnan(logprobs.to_numpy(zero_copy_only=False).astype(np.float64))
    pieces = _flat(batch, "mlm_target_pieces", lengths, pa.int64())
    columns: dict[str, Any] = {
        "row": numbers[owner],
        "bucket": buckets_of(numbers[owner], scored.rows),
        "mask": place,
        "entropy": _nullable(entropies.flatten().to_numpy(zero_copy_only=False).astype(np.float64)),
        "logprob": pc.if_else(rated, logprobs, None),
        "rank": pc.if_else(rated, _flat(batch, "mlm_target_rank", lengths, pa.int64()), None),
        # Files of before there was that column have targets of one piece only.
        "pieces": pc.if_else(rated, pc.fill_null(pieces, 1), None),
        "top": _top_scores(batch, lengths),
        "word": _words(batch, scored.provenance.target_column, owner, place, rated),
        "tokens": _column(batch, "mlm_token_count", pa.int64()).take(pa.array(owner)),
    }
    columns |= {name: values.take(pa.array(owner)) for name, values in _groups(batch, by).items()}
    return pa.table(columns)


def _groups(batch: pa.RecordBatch, by: Sequence[str]) -> dict[str, Column]:
    """The columns to group by, as strings, by0, by1, ..."""
    return {f"by{number}": _as_strings(batch.column(name), name) for number, name in enumerate(by)}


def _flat(batch: pa.RecordBatch, name: str, lengths: Int64Array, kind: Any) -> Column:
    """A list column's values in the order of the masks [masks]; nulls where the files lack it, or a row's list is of
    another length than the row has masks."""
    total = int(lengths.sum())
    if name not in batch.schema.names:
        return _nulls(total, kind)
    column = batch.column(name)
    return _at_masks(column, lengths).cast(kind)


def _at_masks(column: Column, lengths: Int64Array) -> Column:
    own = _lengths(column)
    values = column.flatten()
    if np.array_equal(own, lengths):
        return values
    starts = np.cumsum(own) - own
    places = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    fits = np.repeat(own == lengths, lengths)
    return values.take(pa.array(np.repeat(starts, lengths) + places, mask=~fits))


def _top_scores(batch: pa.RecordBatch, lengths: Int64Array) -> Column:
    """The probability of the most probable token at each mask [masks], null where no predictions were kept."""
    if "mlm_predictions" not in batch.schema.names:
        return pa.nulls(int(lengths.sum()), pa.float64())
    inner = _at_masks(batch.column("mlm_predictions"), lengths)
    kept = _lengths(inner)
    scores = inner.flatten().field("score").to_numpy(zero_copy_only=False)
    best = np.full(len(kept), np.nan)
    best[kept > 0] = scores[(np.cumsum(kept) - kept)[kept > 0]]
    return _nullable(best)


def _words(batch: pa.RecordBatch, name: str | None, owner: Int64Array, place: Int64Array, rated: BoolArray) -> Column:
    """The targets at masks as they stand in the texts' words: in lower case; null where none was rated [masks]."""
    if name is None:
        return pa.nulls(len(owner), pa.string())
    column: Column = batch.column(name)
    if isinstance(column.type, pa.DictionaryType):
        column = column.cast(column.type.value_type)
    index = owner
    if pat.is_list(column.type) or pat.is_large_list(column.type) or pat.is_fixed_size_list(column.type):
        lengths = _lengths(column)
        index = (np.cumsum(lengths) - lengths)[owner] + place
        column = column.flatten()
    places: Column = pa.array(index, mask=~rated)
    words = column.take(places).cast(pa.string())
    return pc.utf8_lower(pc.replace_substring_regex(words, r"^(##|▁|Ġ)|\s+", ""))


def word_counts(batch: pa.RecordBatch, numbers: Int64Array, scored: ScoredFiles) -> pa.Table:
    """How often each word, in lower case, stands in the batch's texts."""
    read = batch.column("mlm_token_count").is_valid().to_numpy(zero_copy_only=False)
    if scored.rows > COUNTED_TEXTS:
        read &= row_hash(numbers) < np.uint64(2**64 * COUNTED_TEXTS // scored.rows)
    texts = batch.column(scored.provenance.text_column).filter(pa.array(read)).cast(pa.large_string())
    lists: Column = pc.split_pattern_regex(pc.utf8_lower(texts), NOT_WORDS)
    words = lists.flatten()
    counts = words.value_counts()
    return pa.table({"word": counts.field("values"), "times": counts.field("counts")})


def _hashes(texts: Column) -> Column:
    """A hash of each text [rows]; null where it is."""
    plain = texts.cast(texts.type.value_type) if isinstance(texts.type, pa.DictionaryType) else texts
    binary = plain.cast(pa.large_string()).cast(pa.large_binary())  # the bytes need not be UTF-8
    with duckdb.connect() as hashing:
        hashing.register("texts", pa.table({"text": binary}))
        found = hashing.sql("SELECT CASE WHEN text IS NOT NULL THEN hash(text) END AS hash FROM texts")
        return found.to_arrow_table().column("hash").combine_chunks()


def _as_strings(column: Column, name: str) -> Column:
    kind = column.type.value_type if isinstance(column.type, pa.DictionaryType) else column.type
    try:
        strings = column.cast(kind).cast(pa.string())
        strings.validate(full=True)
    except pa.ArrowException as error:
        raise InputError(f"The column {name!r} cannot be read as text ({str(error).splitlines()[0]}).") from error
    return strings


def _column(batch: pa.RecordBatch, name: str, kind: Any) -> Column:
    return batch.column(name).cast(kind) if name in batch.schema.names else _nulls(batch.num_rows, kind)


def _nulls(size: int, kind: Any) -> Column:
    return pa.nulls(size, kind)


def _numbers(batch: pa.RecordBatch, name: str) -> Float64Array:
    """[rows], NaN for null."""
    return batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)


def _nullable(values: Float64Array) -> Column:
    """NaN as null."""
    return pa.array(values, mask=np.isnan(values))


def _lengths(column: Column) -> Int64Array:
    """[rows], 0 for null."""
    return pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
