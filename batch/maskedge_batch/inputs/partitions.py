"""Hive partitions: `lang=en/part-0.parquet` says that the rows of the file have `en` in a column `lang`."""

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import pyarrow as pa
from pyarrow import dataset

__all__ = ["Partitions", "hive_partitions", "partition_fields"]

Partitions: TypeAlias = tuple[tuple[str, str | None], ...]
"""Columns with what they hold, as text, from the outermost directory inwards; None: null."""

_KEY = re.compile(r"([^/=]+)=[^/]*/")


def hive_partitions(path: str) -> Partitions:
    """What the directories of a relative path say of the file."""
    names = _KEY.findall(path)
    if not names:
        return ()
    schema = pa.schema([(name, pa.string()) for name in dict.fromkeys(names)])
    # pyarrow knows how a null is spelled, and which characters are escaped
    said: dict[str, Any] = dataset.get_partition_keys(dataset.HivePartitioning(schema).parse(path.lstrip("/")))
    return tuple((name, said.get(name)) for name in schema.names)


def partition_fields(files: Iterable[Partitions]) -> list[tuple[str, pa.DataType]]:
    """The columns of all files, in the order in which they come up, with their types: 32-bit integers where all of a
    column's values are such, as pyarrow has it, strings otherwise."""
    values: dict[str, list[str | None]] = {}
    for partitions in files:
        for name, value in partitions:
            values.setdefault(name, []).append(value)
    return [(name, _type(found)) for name, found in values.items()]


def _type(values: list[str | None]) -> pa.DataType:
    try:
        pa.array(values, pa.string()).cast(pa.int32())
    except pa.ArrowInvalid:
        return pa.string()
    return pa.int32() if any(value is not None for value in values) else pa.string()
