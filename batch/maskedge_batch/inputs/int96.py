"""INT96 timestamps: the unit that holds every value of a column.

Spark and Impala write a timestamp as 12 bytes, a day and the nanoseconds of it, which holds more than any 64-bit count.
pyarrow counts all of a file's in one unit, nanoseconds unless told otherwise; what lies outside (nanoseconds reach from
1677 to 2262) wraps around in silence, and what is finer than the unit is dropped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from maskedge_batch.errors import InputError

__all__ = ["SECONDS", "TimestampUnits", "Unit", "has_int96"]

Unit = Literal["ns", "us"]

SECONDS = "s"
"""The unit that counts every INT96 value without wrapping: 2**32 days are 3.7e14 seconds."""

PER_SECOND = {"ns": 10**9, "us": 10**6}

IntArray = npt.NDArray[np.int64]


def has_int96(schema: pq.ParquetSchema) -> bool:
    """Whether a file of this schema holds such timestamps."""
    return any(schema.column(index).physical_type == "INT96" for index in range(len(schema)))


@dataclass(slots=True)
class _Fits:
    """Whether each unit holds all of a column's values so far."""

    ns: bool = True
    us: bool = True


class TimestampUnits:
    """Finds each column's unit from its values, of one file or of many, read twice: in nanoseconds, which may have
    wrapped, and in seconds."""

    def __init__(self) -> None:
        self._fits: dict[str, _Fits] = {}

    def add(self, nanoseconds: pa.RecordBatch, seconds: pa.RecordBatch) -> None:
        """Takes in the same rows as they are read in both units."""
        for name in nanoseconds.schema.names:
            fits = self._fits.setdefault(name, _Fits())
            for ns, s in _leaves(nanoseconds.column(name), seconds.column(name)):
                below_second = ns - s * PER_SECOND["ns"]  # wraps back where `ns` wrapped
                fits.ns &= bool((ns // PER_SECOND["ns"] == s).all())
                fits.us &= bool((below_second % 1000 == 0).all() and _in_range(s, PER_SECOND["us"]))

    def chosen(self) -> Mapping[str, Unit]:
        """Each column's unit: nanoseconds where all values fit, microseconds where none loses anything.

        Raises InputError, naming the column, for one that neither holds.
        """
        return {name: _unit(name, fits) for name, fits in self._fits.items()}


def _unit(name: str, fits: _Fits) -> Unit:
    if not (fits.ns or fits.us):
        raise InputError(
            f"The column {name!r} holds INT96 timestamps that no 64-bit timestamp holds all of: some lie outside of "
            "the years 1677 to 2262 that nanoseconds reach, and some are finer than microseconds or lie outside of "
            "what those reach. Round them, write them to two columns, or leave the column out of the input."
        )
    return "ns" if fits.ns else "us"


def _in_range(seconds: IntArray, per_second: int) -> bool:
    limit = 2**63 // per_second
    return bool((-limit < seconds).all() and (seconds < limit - 1).all())


def _leaves(column: Any, other: Any) -> Iterator[tuple[IntArray, IntArray]]:
    """The values of the timestamps that the columns count in different units, wherever they are nested; no nulls."""
    if column.type == other.type:
        return
    if pat.is_timestamp(column.type):
        yield tuple(array.drop_null().cast(pa.int64()).to_numpy() for array in (column, other))
        return
    for inner in zip(_children(column), _children(other), strict=True):
        yield from _leaves(*inner)


def _children(column: Any) -> list[Any]:
    """The columns within a nested one, without what stands behind its nulls."""
    if pat.is_struct(column.type):
        return list(column.flatten())
    if pat.is_map(column.type):
        column = column.cast(pa.list_(pa.struct([column.type.key_field, column.type.item_field])))
    return [column.flatten()]
