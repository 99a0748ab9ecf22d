"""What the output would hold otherwise than the input does, found before any work starts."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge_batch.errors import InputError

__all__ = ["check_passed_on", "writer_options"]

Meaning = Mapping[str, Any] | None
"""A Parquet leaf's logical type; None where it says nothing."""

NOTHING: list[dict[str, Any]] = [{"Type": "None"}]
PLAIN = {
    f"INT{bits}": [*NOTHING, {"Type": "Int", "bitWidth": bits, "isSigned": True}] for bits in (32, 64)
}  # what integers are anyway


def writer_options(source: pq.ParquetSchema, leaves: Sequence[int] | None = None) -> dict[str, Any]:
    """What a `pq.ParquetWriter` has to be told so that it writes the file's columns as they are: those of some leaves,
    or all."""
    # Arrow's times of day do not say whether they are in UTC; Parquet's do
    utc = any(
        meaning and meaning.get("isAdjustedToUTC") and meaning["Type"] == "Time"
        for meaning in _meanings(source, leaves)
    )
    return {"write_time_adjusted_to_utc": True} if utc else {}


def check_passed_on(
    source: pq.ParquetSchema, schema: pa.Schema, leaves: Sequence[int] | None = None
) -> tuple[str, ...]:
    """A sentence for each column of the file that keeps its bytes, but not their name.

    Args:
        source: The file's.
        schema: The output's, which begins with the file's columns.
        leaves: Of the columns that it begins with; None: all.

    Raises InputError, naming the column, for one whose values the output would hold with another meaning, or not at
    all.
    """
    leaves = range(len(source)) if leaves is None else leaves
    written = _written(schema, writer_options(source, leaves))
    notes = {}
    for index, was, becomes in zip(leaves, _meanings(source, leaves), _meanings(written), strict=False):
        leaf = source.column(index)
        if was == becomes or leaf.physical_type == "INT96":
            continue
        if leaf.physical_type != "BYTE_ARRAY":
            raise InputError(
                f"The column {leaf.path!r} holds {_named(was)}, which would be written as {_named(becomes)}: leave it "
                "out of the input, or cast it."
            )
        notes[leaf.path] = f"The column {leaf.path!r} holds {_named(was)}, which is passed on as plain bytes."
    return tuple(notes.values())


def _written(schema: pa.Schema, options: Mapping[str, Any]) -> pq.ParquetSchema:
    """The Parquet schema that a file of this schema gets. Raises InputError, naming the column, for none."""
    try:
        return _parquet_schema(schema, options)
    except pa.ArrowException:
        for field in schema:
            _refuse_unwritable(field, options)
        raise


def _refuse_unwritable(field: Any, options: Mapping[str, Any]) -> None:
    try:
        _parquet_schema(pa.schema([field]), options)
    except pa.ArrowException as error:
        raise InputError(
            f"The column {field.name!r} holds {field.type}, which cannot be written ({error}): leave it out of the "
            "input, or cast it."
        ) from error


def _parquet_schema(schema: pa.Schema, options: Mapping[str, Any]) -> pq.ParquetSchema:
    file = io.BytesIO()
    pq.ParquetWriter(file, schema, **options).close()
    return pq.ParquetFile(file).schema


def _meanings(schema: pq.ParquetSchema, leaves: Sequence[int] | None = None) -> Iterator[Meaning]:
    """Of each leaf, or of some, so that two are equal where Arrow makes the same of them."""
    for index in range(len(schema)) if leaves is None else leaves:
        leaf = schema.column(index)
        said = json.loads(leaf.logical_type.to_json())
        meaning = {name: value for name, value in said.items() if "converted_type" not in name}  # how it was spelled
        yield None if meaning in PLAIN.get(leaf.physical_type, NOTHING) else meaning


def _named(meaning: Meaning) -> str:
    if meaning is None:
        return "plain values"
    return " ".join([str(meaning["Type"]).upper(), *(f"{name}={meaning[name]}" for name in meaning if name != "Type")])
