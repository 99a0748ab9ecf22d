"""One schema for the files of an input: the same columns of the same types, in whatever order."""

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.types as pat

from maskedge_batch.errors import InputError

__all__ = ["common_schema", "conformed"]

Field: TypeAlias = "pa.Field[pa.DataType]"


def common_schema(files: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """The schema of all files: the first one's columns in its order, with its metadata. A column without any value,
    whose type is null, takes the type that it has elsewhere.

    Args:
        files: What each is called, and its schema.

    Raises InputError that names file and column where they differ.
    """
    first_name, first = files[0]
    _refuse_repeated(first_name, first)
    fields = {field.name: field for field in first}
    origins = dict.fromkeys(fields, first_name)
    for name, schema in files[1:]:
        _refuse_repeated(name, schema)
        _check_names(name, schema, first_name, first)
        for field in schema:
            fields[field.name] = _merged(name, field, origins[field.name], fields[field.name])
            if fields[field.name].type == field.type and pat.is_null(first.field(field.name).type):
                origins[field.name] = name
    return pa.schema(list(fields.values())).with_metadata(first.metadata)


def _merged(
    name: str, field: "pa.Field[pa.DataType]", origin: str, other: "pa.Field[pa.DataType]"
) -> "pa.Field[pa.DataType]":
    nullable = field.nullable or other.nullable
    if pat.is_null(other.type) or field.type == other.type:
        return other.with_type(field.type).with_nullable(nullable)
    if pat.is_null(field.type):
        return other.with_nullable(True)
    raise InputError(
        f"The files of the input differ: in {name} the column {field.name!r} holds {field.type}, in {origin} "
        f"{other.type}. Score them apart, or cast one."
    )


def _check_names(name: str, schema: pa.Schema, first_name: str, first: pa.Schema) -> None:
    for has, lacks, columns in (
        (first_name, name, {*first.names} - {*schema.names}),
        (name, first_name, {*schema.names} - {*first.names}),
    ):
        if columns:
            raise InputError(
                f"The files of the input differ: {has} has a column {min(columns)!r} and {lacks} has none. Score them "
                "apart, or write them alike."
            )


def _refuse_repeated(name: str, schema: pa.Schema) -> None:
    repeated = [column for column, count in Counter(schema.names).items() if count > 1]
    if repeated:
        raise InputError(f"{name} has more than one column named {repeated[0]!r}: rename them so that each is unique.")


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch's columns in a schema's order and with its types, which differ only where a column is all null."""
    columns = (batch.column(field.name) for field in schema)
    arrays = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema) if arrays else batch
