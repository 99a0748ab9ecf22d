"""Which Parquet columns, the leaves, an Arrow column consists of."""

from collections.abc import Container
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

__all__ = ["leaves_of"]


def leaves_of(schema: pa.Schema, columns: Container[str]) -> list[int]:
    """The numbers of the leaves of some columns in a file of this schema."""
    owners = [field.name for field in schema for _ in range(_count(field.type))]
    return [number for number, owner in enumerate(owners) if owner in columns]


def _count(kind: Any) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _count(kind.storage_type)
    if not pat.is_nested(kind):
        return 1
    if pat.is_map(kind):
        return _count(kind.key_type) + _count(kind.item_type)
    return sum(_count(kind.field(index).type) for index in range(kind.num_fields))
