"""Reads a Parquet file in batches of bounded size, and says where it is damaged."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge_batch.errors import InputError

__all__ = ["open_parquet", "read_batches"]

BATCH_ROWS = 2_000
BATCH_BYTES = 64 << 20
READ_BUFFER_BYTES = 1 << 20


def open_parquet(path: Path) -> pq.ParquetFile:
    """Opens a Parquet file after checking that there is one. Raises InputError."""
    if not path.exists():
        raise InputError(f"There is no file {path}: check its name.")
    if not path.is_file():
        raise InputError(f"{path} is not a file: name one Parquet file.")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes), not a Parquet file: write it again.")
        # Without pre_buffer and with a buffer, a column chunk is read piece by piece: a row group of 200 MB then costs
        # 10 MB of memory and not 110.
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BUFFER_BYTES, page_checksum_verification=True)
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path} is not a complete Parquet file ({_first_line(error)}): "
            "it was cut short, or is of another format; write it again."
        ) from error


def read_batches(parquet: pq.ParquetFile, path: Path) -> Iterator[pa.RecordBatch]:
    """Yields all rows in order, at most `BATCH_ROWS` at a time: small row groups are joined, large ones are divided.

    Raises InputError that names the row group where the file is damaged.
    """
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in _read_groups(parquet, path):
        if waiting and (rows + batch.num_rows > BATCH_ROWS or size + batch.nbytes > BATCH_BYTES):
            yield from _joined(waiting)
            waiting, rows, size = [], 0, 0
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    if waiting:
        yield from _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()


def _read_groups(parquet: pq.ParquetFile, path: Path) -> Iterator[pa.RecordBatch]:
    for group in range(parquet.num_row_groups):
        try:
            rows = _batch_rows(parquet.metadata.row_group(group))
            yield from parquet.iter_batches(rows, row_groups=[group])
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{path} is damaged in row group {group} of {parquet.num_row_groups} (the first is 0): "
                f"{_first_line(error)}. Nothing was published; write the file again."
            ) from error


def _batch_rows(group: pq.RowGroupMetaData) -> int:
    """Fewer rows at a time where rows are wide, so that a batch stays near `BATCH_BYTES`."""
    row_bytes = group.total_byte_size // max(group.num_rows, 1)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(row_bytes, 1)))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
