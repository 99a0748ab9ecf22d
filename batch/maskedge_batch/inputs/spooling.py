"""Files of lines become Parquet before they are scored: cut into row groups, they are read from any row on."""

import shutil
from collections.abc import Callable, Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge_batch.errors import InputError
from maskedge_batch.inputs.lines import LineInput
from maskedge_batch.storage.faults import naming_failed_reads, naming_failed_writes
from maskedge_batch.storage.locations import Location, Place, locate
from maskedge_batch.storage.publishing import staged

__all__ = ["spool_lines", "spool_stream"]

COPY_BYTES = 1 << 20
GROUP_ROWS = 10_000
GROUP_BYTES = 32 << 20
"""Of a row group, more or less: to begin in the midst of one, its rows before have to be read too."""


def spool_lines(
    source: Location, directory: Place, column: str, on_batch: Callable[[], None] = lambda: None
) -> Location:
    """Writes a file of lines as Parquet, unless that has been done.

    Args:
        source: The file.
        directory: Where to; it is made if it is not there.
        column: What the column is called that texts come to stand in.
        on_batch: Called on the way; to stop, it raises.

    Returns:
        The Parquet file. Its name tells the source's place and content: another content gets another file.

    Raises:
        InputError: The source cannot be read, or a line of it, which is named.
        OutputError: The directory cannot be written to.
        WriteError: It could not be written to the end.
    """
    with naming_failed_reads(source):
        key = f"{source.uri}\n{source.identity()}\n{column}"
    return _spooled(source, str(source), key, locate(directory), column, on_batch)


def spool_stream(
    stream: BinaryIO, shown: str, directory: Place, column: str, on_batch: Callable[[], None] = lambda: None
) -> Location:
    """Writes what comes out of a stream, a JSON object a line, as Parquet: as `spool_lines` does. `shown` is how
    messages call the stream."""
    home = _made(locate(directory))
    copy = home / "stream.jsonl"
    with staged(copy) as (draft,), naming_failed_writes(copy):
        with draft.open("wb") as file:
            shutil.copyfileobj(stream, file, COPY_BYTES)
        with draft.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    try:
        return _spooled(copy, shown, digest + column, home, column, on_batch)
    finally:
        copy.remove()


def _spooled(
    source: Location, shown: str, key: str, directory: Location, column: str, on_batch: Callable[[], None]
) -> Location:
    final = _made(directory) / f"lines-{sha256(key.encode()).hexdigest()[:32]}.parquet"
    with naming_failed_reads(final):
        if final.is_file():
            return final
    opened = LineInput(source, column, shown)
    with staged(final) as (draft,), naming_failed_writes(final), _writer(draft, shown, opened.schema) as writer:
        for table in _groups(opened, on_batch):
            writer.write_table(table)
    return final


def _writer(path: Path, shown: str, schema: pa.Schema) -> pq.ParquetWriter:
    try:
        return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)
    except pa.ArrowNotImplementedError as error:  # an object without fields has no type in Parquet
        raise InputError(f"{shown} cannot be read: {error}. Leave that field out.") from error


def _groups(opened: LineInput, on_batch: Callable[[], None]) -> Iterator[pa.Table]:
    """The rows as they are to lie in row groups."""
    waiting: list[pa.RecordBatch] = []
    for batch in opened.batches():
        on_batch()
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= GROUP_ROWS or sum(each.nbytes for each in waiting) >= GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _made(directory: Location) -> Location:
    with naming_failed_writes(directory):
        directory.make_directory()
    return directory
