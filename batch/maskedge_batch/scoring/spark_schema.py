"""What Spark is told of a file's columns: it reads those that this says there are, and no others."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

__all__ = ["SPARK_SCHEMA", "with_fields"]

SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"
"""The metadata key under which Spark writes its schema."""

TYPES = {pa.string(): "string", pa.int32(): "integer", pa.float64(): "double", pa.bool_(): "boolean"}


def with_fields(schema: bytes, fields: pa.Schema) -> bytes:
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
