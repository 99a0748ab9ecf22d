"""Reads a Parquet file in batches of bounded size, every value as it stands there, and says where it is damaged."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge.bundle.format import is_lfs_pointer
from maskedge_batch.errors import InputError
from maskedge_batch.inputs.int96 import SECONDS, TimestampUnits

__all__ = ["ParquetInput", "open_parquet"]

BATCH_ROWS = 2_000
BATCH_BYTES = 64 << 20
READ_BUFFER_BYTES = 1 << 20


def open_parquet(path: Path) -> "ParquetInput":
    """Opens a Parquet file after checking that there is one. Raises InputError."""
    if not path.exists():
        raise InputError(f"There is no file {path}: check its name.")
    if not path.is_file():
        raise InputError(f"{path} is not a file: name one Parquet file.")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes), not a Parquet file: write it again.")
        if is_lfs_pointer(path):
            raise InputError(
                f"{path} is a Git LFS pointer, which only names the file that belongs here; fetch it: run git lfs pull "
                "in its repository."
            )
        parquet = _opened(path)
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path} is not a complete Parquet file ({_first_line(error)}): "
            "it was cut short, or is of another format; write it again."
        ) from error
    return ParquetInput(path, parquet)


class ParquetInput:
    """An open Parquet file. As a context manager it closes the file when the block ends."""

    def __init__(self, path: Path, parquet: pq.ParquetFile) -> None:
        """Raises InputError for a file with a type that Arrow does not have."""
        self.path = path
        self.parquet = parquet
        try:
            self.schema: pa.Schema = parquet.schema_arrow
        except pa.ArrowException as error:
            raise InputError(
                f"{path} holds a column that cannot be read ({_first_line(error)}): write it without that column."
            ) from error
        self._readers = {"ns": parquet}
        self._units = ["ns"] * len(self.schema)

    @property
    def num_rows(self) -> int:
        """Rows of the file."""
        return int(self.parquet.metadata.num_rows)

    def choose_timestamp_units(self, on_batch: Callable[[], None] = lambda: None) -> None:
        """Reads the INT96 timestamps, if there are any, so that `schema` and `batches` have each column's in the unit
        that holds all its values.

        `on_batch` is called on the way. Raises InputError, naming the column, for one whose values no unit holds, and
        where the file is damaged.
        """
        leaves = self.parquet.schema
        if not any(leaves.column(index).physical_type == "INT96" for index in range(len(leaves))):
            return
        with _opened(self.path, SECONDS) as seconds:
            units = TimestampUnits(self.schema, seconds.schema_arrow)
            both = (self._read_groups(reader, units.columns) for reader in (self.parquet, seconds))
            for nanoseconds, other in zip(*both, strict=True):
                units.add(nanoseconds, other)
                on_batch()
        chosen = units.chosen()
        either = next(iter(chosen.values()))  # what is no INT96 is the same in each
        self._units = [chosen.get(name, either) for name in self.schema.names]
        self._readers |= {unit: _opened(self.path, unit) for unit in {*self._units} - {*self._readers}}
        fields = [self._readers[unit].schema_arrow.field(index) for index, unit in enumerate(self._units)]
        self.schema = pa.schema(fields).with_metadata(self.schema.metadata)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields all rows in order, at most `BATCH_ROWS` at a time: small row groups are joined, large ones divided.

        Raises InputError that names the row group where the file is damaged.
        """
        waiting: list[pa.RecordBatch] = []
        rows = size = 0
        for batch in self._exact_batches():
            if waiting and (rows + batch.num_rows > BATCH_ROWS or size + batch.nbytes > BATCH_BYTES):
                yield from _joined(waiting)
                waiting, rows, size = [], 0, 0
            waiting.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
        if waiting:
            yield from _joined(waiting)

    def _exact_batches(self) -> Iterator[pa.RecordBatch]:
        """Each column as it is read in its unit."""
        units = sorted({*self._units}) or ["ns"]
        for batches in zip(*(self._read_groups(self._readers[unit]) for unit in units), strict=True):
            columns = [batches[units.index(unit)].column(index) for index, unit in enumerate(self._units)]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema) if columns else batches[0]

    def _read_groups(self, reader: pq.ParquetFile, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        for group in range(reader.num_row_groups):
            try:
                rows = _batch_rows(reader.metadata.row_group(group))
                yield from reader.iter_batches(rows, row_groups=[group], columns=columns)
            except (pa.ArrowException, OSError) as error:
                raise InputError(
                    f"{self.path} is damaged in row group {group} of {reader.num_row_groups} (the first is 0): "
                    f"{_first_line(error)}. Nothing was published; write the file again."
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for reader in self._readers.values():
            reader.close()


def _opened(path: Path, int96_unit: str = "ns") -> pq.ParquetFile:
    # Without pre_buffer and with a buffer, a column chunk is read piece by piece: a row group of 200 MB then costs
    # 10 MB of memory and not 110.
    return pq.ParquetFile(
        path,
        pre_buffer=False,
        buffer_size=READ_BUFFER_BYTES,
        page_checksum_verification=True,
        coerce_int96_timestamp_unit=int96_unit,
    )


def _joined(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()


def _batch_rows(group: pq.RowGroupMetaData) -> int:
    """Fewer rows at a time where rows are wide, so that a batch stays near `BATCH_BYTES`."""
    row_bytes = group.total_byte_size // max(group.num_rows, 1)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(row_bytes, 1)))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
