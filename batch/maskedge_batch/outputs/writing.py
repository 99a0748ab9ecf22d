"""Writes scored batches to a Parquet file in row groups of a useful size."""

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge_batch.storage.faults import naming_failed_writes
from maskedge_batch.storage.locations import Place

__all__ = ["ScoredWriter"]

GROUP_ROWS = 65_536
GROUP_BYTES = 32 << 20


class ScoredWriter:
    """Gathers batches into row groups and writes them with page checksums. As a context manager it writes the footer
    when the block ends."""

    def __init__(self, path: Path, final: Place, schema: pa.Schema, **options: Any) -> None:
        """Writes to `path`; errors name `final`, the file it is to become. `options` are pyarrow's own."""
        self._final = final
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        with naming_failed_writes(final):
            self._writer = pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True, **options)

    def write(self, batch: pa.RecordBatch) -> None:
        """Takes the next rows. Raises WriteError."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if self._waiting:
            with naming_failed_writes(self._final):
                self._writer.write_table(pa.Table.from_batches(self._waiting), row_group_size=GROUP_ROWS * 2)
        self._waiting = []
        self._rows = self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is not None:
            # The caller throws the file away; only the handle matters.
            with suppress(OSError, pa.ArrowException):
                self._writer.close()
            return
        self._write_group()
        with naming_failed_writes(self._final):
            self._writer.close()
