"""Reads a Parquet file in batches of bounded size, every value as it stands there, and says where it is damaged."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge.bundle.format import is_lfs_pointer
from maskedge_batch.errors import DamagedError, InputError
from maskedge_batch.inputs.int96 import SECONDS, TimestampUnits, Unit, has_int96
from maskedge_batch.inputs.leaves import leaves_of
from maskedge_batch.inputs.rows import BoolArray, Rows
from maskedge_batch.storage.faults import FAILURES, is_of_the_store, reason
from maskedge_batch.storage.locations import Location, Place, locate

__all__ = ["BATCH_BYTES", "BATCH_ROWS", "ParquetInput", "open_parquet"]

BATCH_ROWS = 2_000
BATCH_BYTES = 64 << 20
READ_BUFFER_BYTES = 1 << 20

AGAIN = "Write it again."


def open_parquet(place: Place, metadata: pq.FileMetaData | None = None) -> "ParquetInput":
    """Opens a Parquet file after checking that there is one. Raises InputError, a DamagedError where it is there.

    Args:
        place: The file.
        metadata: Its footer, if it has been read before.
    """
    location = locate(place)
    try:
        _check_file(location)
        return ParquetInput(location, _opened(location, metadata=metadata))
    except (*FAILURES, UnicodeDecodeError) as error:  # of names that are no text
        raise _unopened(location, error) from error


class ParquetInput:
    """An open Parquet file. As a context manager it closes the file when the block ends."""

    def __init__(self, location: Location, parquet: pq.ParquetFile) -> None:
        """Raises DamagedError for a file with a type that Arrow does not have, or that contradicts itself."""
        self.location = location
        self.parquet = parquet
        try:
            self.schema: pa.Schema = parquet.schema_arrow
            self.schema.to_string(show_schema_metadata=False)  # whether all names are text
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise DamagedError(
                f"{location} holds a column that cannot be read ({reason(error)}).", "Write it without that column."
            ) from error
        groups = (parquet.metadata.row_group(group) for group in range(parquet.num_row_groups))
        if sum(group.num_rows for group in groups) != parquet.metadata.num_rows:
            raise DamagedError(f"{location} counts its rows in two ways that differ: its footer is damaged.", AGAIN)
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
        units = TimestampUnits()
        self.look_through_timestamps(units, self.schema.names, range(self.parquet.num_row_groups), on_batch)
        self.use_timestamp_units(units.chosen())

    def look_through_timestamps(
        self,
        units: TimestampUnits,
        columns: Iterable[str],
        groups: Iterable[int],
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        """Has `units` take in the INT96 timestamps of some columns in some row groups. Raises InputError where the file
        is damaged."""
        if not has_int96(self.parquet.schema):
            return
        with _opened(self.location, SECONDS, self.parquet.metadata) as seconds:
            both = zip(self.schema, seconds.schema_arrow, strict=True)
            wanted = {*columns} & {field.name for field, other in both if field != other}
            readers = (
                self._read(reader, range(self.parquet.num_row_groups), wanted) for reader in (self.parquet, seconds)
            )
            for nanoseconds, other in zip(*readers, strict=True) if wanted else ():
                units.add(nanoseconds, other)
                on_batch()

    def use_timestamp_units(self, chosen: Mapping[str, Unit]) -> None:
        """Reads the INT96 timestamps of these columns in these units from now on."""
        if not chosen or not has_int96(self.parquet.schema):
            return
        either = next(iter(chosen.values()))  # what is no INT96 is the same in each
        self._units = [chosen.get(name, either) for name in self.schema.names]
        missing = {*self._units} - {*self._readers}
        self._readers |= {unit: _opened(self.location, unit, self.parquet.metadata) for unit in missing}
        fields = [self._readers[unit].schema_arrow.field(index) for index, unit in enumerate(self._units)]
        self.schema = pa.schema(fields).with_metadata(self.schema.metadata)

    def batches(
        self, rows: Iterable[tuple[int, Rows]] | None = None, columns: Iterable[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yields rows in order, at most `BATCH_ROWS` at a time: small row groups are joined, large ones divided.

        Args:
            rows: Numbers of row groups, each with which of its rows; None: all.
            columns: None: all. They come in the file's order.

        Raises InputError that names the row group where the file is damaged.
        """
        waiting: list[pa.RecordBatch] = []
        count = size = 0
        for batch in self._chosen(rows, columns):
            if waiting and (count + batch.num_rows > BATCH_ROWS or size + batch.nbytes > BATCH_BYTES):
                yield from _joined(waiting)
                waiting, count, size = [], 0, 0
            waiting.append(batch)
            count, size = count + batch.num_rows, size + batch.nbytes
        if waiting:
            yield from _joined(waiting)

    def _chosen(
        self, rows: Iterable[tuple[int, Rows]] | None, columns: Iterable[str] | None
    ) -> Iterator[pa.RecordBatch]:
        wanted = {*self.schema.names} if columns is None else {*columns}
        if rows is None:
            yield from self._exact_batches(range(self.parquet.num_row_groups), wanted)
            return
        for group, chosen in rows:
            yield from _only(self._exact_batches([group], wanted), chosen)

    def _exact_batches(self, groups: Iterable[int], wanted: set[str]) -> Iterator[pa.RecordBatch]:
        """Each column as it is read in its unit."""
        fields = [index for index, name in enumerate(self.schema.names) if name in wanted]
        units = sorted({self._units[index] for index in fields}) or ["ns"]
        schema = pa.schema([self.schema.field(index) for index in fields]).with_metadata(self.schema.metadata)
        for batches in zip(*(self._read(self._readers[unit], groups, wanted) for unit in units), strict=True):
            columns = [batches[units.index(self._units[index])].column(place) for place, index in enumerate(fields)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema) if columns else batches[0]

    def _read(self, reader: pq.ParquetFile, groups: Iterable[int], wanted: set[str]) -> Iterator[pa.RecordBatch]:
        names = [name for name in self.schema.names if name in wanted]
        paths = None if len(names) == len(self.schema) else self._paths(wanted)
        for group in groups:
            expected = reader.metadata.row_group(group)
            rows = 0
            try:
                for batch in reader.iter_batches(_batch_rows(expected), row_groups=[group], columns=paths):
                    rows += batch.num_rows
                    # "a.b" is a name, and also the path of the "b" in "a": more may come than was asked for.
                    yield batch if batch.num_columns == len(names) else batch.select(names)
            except FAILURES as error:
                if is_of_the_store(error):
                    raise InputError(f"{self.location} cannot be read: {reason(error)}.") from error
                raise self._damaged(group, reason(error)) from error
            if rows != expected.num_rows:
                raise self._damaged(group, f"it holds {rows:,} rows of {expected.num_rows:,}")

    def _damaged(self, group: int, said: str) -> DamagedError:
        groups = self.parquet.num_row_groups
        return DamagedError(
            f"{self.location} is damaged in row group {group} of {groups} (the first is 0): {said}.",
            "Write it again, or set aside what is damaged with --on-error skip.",
        )

    def _paths(self, wanted: set[str]) -> list[str]:
        """The paths of the Parquet columns that some of the columns consist of."""
        leaves = leaves_of(self.parquet.schema_arrow, wanted)
        return [self.parquet.schema.column(leaf).path for leaf in leaves]

    def close(self) -> None:
        """Closes the file."""
        for reader in self._readers.values():
            reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()


def _check_file(location: Location) -> None:
    if not location.exists():
        raise InputError(f"There is no file {location}: check its name.")
    if not location.is_file():
        raise InputError(f"{location} is not a file: name one Parquet file.")
    if location.size() == 0:
        raise DamagedError(f"{location} is empty (0 bytes), not a Parquet file.", AGAIN)
    if location.is_local and is_lfs_pointer(location.local):
        raise DamagedError(
            f"{location} is a Git LFS pointer, which only names the file that belongs here.",
            "Fetch it: run git lfs pull in its repository.",
        )


def _opened(location: Location, int96_unit: str = "ns", metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    # Without pre_buffer and with a buffer, a column chunk is read piece by piece: a row group of 200 MB then costs
    # 10 MB of memory and not 110.
    return pq.ParquetFile(
        location.path,
        filesystem=location.filesystem,
        metadata=metadata,
        pre_buffer=False,
        buffer_size=READ_BUFFER_BYTES,
        page_checksum_verification=True,
        coerce_int96_timestamp_unit=int96_unit,
    )


def _unopened(location: Location, error: Exception) -> InputError:
    if is_of_the_store(error):
        return InputError(f"{location} cannot be read: {reason(error)}.")
    if "encrypted" in str(error) or "decryption" in str(error):
        return DamagedError(f"{location} is encrypted.", "Write it without encryption.")
    return DamagedError(
        f"{location} is not a complete Parquet file ({reason(error)}): it was cut short, or is of another format.",
        AGAIN,
    )


def _only(batches: Iterator[pa.RecordBatch], rows: Rows) -> Iterator[pa.RecordBatch]:
    """Of one row group's batches the chosen rows, reading no further than the last of them."""
    mask = None if isinstance(rows, range) else rows
    first, end = (rows.start, rows.stop) if isinstance(rows, range) else _ends(rows)
    start = 0
    while start < end:
        batch = next(batches)
        lower, upper = max(first - start, 0), min(end - start, batch.num_rows)
        if lower < upper:
            part = batch.slice(lower, upper - lower)
            yield part if mask is None else part.filter(pa.array(mask[start + lower : start + upper]))
        start += batch.num_rows


def _ends(mask: BoolArray) -> tuple[int, int]:
    """The first of the chosen rows, and what follows the last."""
    chosen = mask.nonzero()[0]
    return (int(chosen[0]), int(chosen[-1]) + 1) if len(chosen) else (0, 0)


def _joined(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()


def _batch_rows(group: pq.RowGroupMetaData) -> int:
    """Fewer rows at a time where rows are wide, so that a batch stays near `BATCH_BYTES`."""
    row_bytes = group.total_byte_size // max(group.num_rows, 1)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(row_bytes, 1)))
