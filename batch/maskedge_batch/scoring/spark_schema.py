"""What Spark is told of a file's columns: it reads those that this says there are, and no others."""

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

__all__ = ["SPARK_SCHEMA", "Metadata", "extended", "with_fields"]

SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"
"""The metadata key under which Spark writes its schema."""

Metadata = dict[bytes | str, bytes | str]
"""As a pyarrow schema takes them."""

TYPES = {
    pa.string(): "string",
    pa.int32(): "integer",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.bool_(): "boolean",
}


def extended(schema: pa.Schema, fields: Iterable[Any], said: Metadata) -> pa.Schema:
    """The schema with more fields behind its own, and with what is `said` among its metadata; its own are kept, but
    that Spark's list of columns gets the new ones."""
    added = list(fields)
    metadata: Metadata = dict((schema.metadata or {}).items())
    if SPARK_SCHEMA in metadata:
        metadata[SPARK_SCHEMA] = with_fields((schema.metadata or {})[SPARK_SCHEMA], added)
    return pa.schema([*schema, *added], metadata=metadata | said)


def with_fields(schema: bytes, fields: Iterable[Any]) -> bytes:
    """Spark's schema with more fields behind its own; as it was where it is none."""
    try:
        said = json.loads(schema)
        said["fields"] += map(_field, fields)
    except (ValueError, LookupError, TypeError):
        return schema
    return json.dumps(said, separators=(",", ":")).encode()


def _field(field: Any) -> dict[str, Any]:
    return {"name": field.name, "type": _type(field.type), "nullable": field.nullable, "metadata": {}}


def _type(kind: Any) -> Any:
    if pat.is_list(kind):
        return {"type": "array", "elementType": _type(kind.value_type), "containsNull": True}
    return {"type": "struct", "fields": list(map(_field, kind))} if pat.is_struct(kind) else TYPES[kind]
