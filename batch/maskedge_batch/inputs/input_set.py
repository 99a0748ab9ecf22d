"""The input of a job: one or many files, read as one sequence of rows of one schema."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge_batch.errors import InputError
from maskedge_batch.inputs.int96 import Unit
from maskedge_batch.inputs.leaves import leaves_of
from maskedge_batch.inputs.parquet import ParquetInput, open_parquet
from maskedge_batch.inputs.partitions import Partitions, partition_fields
from maskedge_batch.inputs.passing_on import check_passed_on, writer_options
from maskedge_batch.inputs.rows import FileRows
from maskedge_batch.inputs.schemas import common_schema, conformed
from maskedge_batch.storage.faults import naming_failed_reads
from maskedge_batch.storage.locations import Location

__all__ = ["InputFile", "InputSet", "SetAside", "schema_of"]


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of the input."""

    shown: str
    """As its user named it."""
    location: Location
    """Where it is read: for a file of lines, where it was spooled to."""
    identity: str
    """What changes when the content there does."""
    metadata: pq.FileMetaData
    """Its footer."""
    schema: pa.Schema
    """Of the file alone, as it is read."""
    rows: FileRows
    """Which of its rows belong to the input."""
    partitions: Partitions = ()

    def open(self) -> ParquetInput:
        """Opens it, after a look at whether it is still the same. Raises InputError."""
        with naming_failed_reads(self.location):
            now = self.location.identity()
        if now != self.identity:
            raise InputError(
                f"{self.location} has changed since this run looked at it ({self.identity}, now {now}): run again."
            )
        return open_parquet(self.location, self.metadata)


@dataclass(frozen=True, slots=True)
class SetAside:
    """What is left out because it is damaged."""

    file: str
    """As its user named it."""
    row_group: int | None
    """Its number; None: the whole file."""
    rows: int | None
    """How many it had, where that can be told."""
    reason: str
    """A sentence."""


@dataclass(frozen=True, slots=True)
class InputSet:
    """Files of one schema. It holds nothing open and can be pickled: any process reads the same rows from it."""

    files: tuple[InputFile, ...]
    schema: pa.Schema
    """Of all rows: the files' columns, and behind them those of the partitions."""
    units: tuple[tuple[str, Unit], ...] = ()
    """Of the columns with INT96 timestamps."""
    set_aside: tuple[SetAside, ...] = ()
    """What is damaged, where that does not end the job."""

    @property
    def num_rows(self) -> int:
        """Rows of all files that belong to the input."""
        return sum(file.rows.chosen for file in self.files)

    @property
    def writer_options(self) -> dict[str, Any]:
        """What a `pq.ParquetWriter` has to be told so that it writes the columns as they are."""
        options: dict[str, Any] = {}
        for file in _distinct(self.files):
            options |= writer_options(file.metadata.schema, leaves_of(file.schema, self.schema.names))
        return options

    def check_passed_on(self) -> tuple[str, ...]:
        """A sentence for each column that is written with its bytes, but not with their name. Raises InputError, naming
        the column, for one whose values would be written with another meaning, or not at all."""
        notes: dict[str, None] = {}
        for file in _distinct(self.files):
            schema, leaves = _only(file.schema, self.schema.names), leaves_of(file.schema, self.schema.names)
            notes |= dict.fromkeys(check_passed_on(file.metadata.schema, schema, leaves))
        return tuple(notes)

    def only(self, columns: Iterable[str]) -> "InputSet":
        """The same rows with only some of the columns."""
        return replace(self, schema=_only(self.schema, columns))

    def with_units(self, units: Mapping[str, Unit]) -> "InputSet":
        """The same rows with INT96 timestamps counted in these units. Raises InputError, naming file and column, where
        another file has the same column in another unit."""
        if not units:
            return self
        files = []
        for file in self.files:
            with file.open() as opened:
                opened.use_timestamp_units(units)
                files.append(replace(file, schema=opened.schema))
        return replace(self, files=tuple(files), schema=schema_of(files), units=tuple(units.items()))

    def row_groups(self, file: int, column: str) -> Iterator[tuple[int, int]]:
        """For each row group of a file its rows that belong to the input, and about how many bytes they have in a
        column before compression. A column of a partition has none."""
        metadata, rows = self.files[file].metadata, self.files[file].rows
        leaves = [metadata.schema.column(index).path for index in range(len(metadata.schema))]
        leaf = leaves.index(column) if column in leaves else None
        for number, group in enumerate(rows.groups):
            size = metadata.row_group(number).column(leaf).total_uncompressed_size if leaf is not None else 0
            yield group.chosen, size * group.chosen // max(group.total, 1)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields the rows of all files, one file after the other. Raises InputError as `read`."""
        for file in range(len(self.files)):
            yield from self.read(file)

    def read(
        self, file: int, first_row: int = 0, rows: int | None = None, columns: Iterable[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yields rows of a file that belong to the input, in order, some thousands at a time.

        Args:
            file: Its number.
            first_row: The first row's number among those of the file that belong to the input.
            rows: How many; None: all that follow.
            columns: None: all of `schema`. They come in the schema's order.

        Raises:
            InputError: The file is damaged, which names the row group, or is another than when the set was opened.
        """
        source = self.files[file]
        end = source.rows.chosen if rows is None else first_row + rows
        schema = self.schema if columns is None else _only(self.schema, columns)
        with source.open() as opened:
            opened.use_timestamp_units(dict(self.units))
            for batch in opened.batches(source.rows.part(first_row, end), schema.names):
                yield conformed(_with_partitions(batch, source, schema), schema)


def schema_of(files: Sequence[InputFile]) -> pa.Schema:
    """Of the rows of all files. Raises InputError that names file and column where they differ."""
    schema = common_schema([(file.shown, file.schema) for file in files])
    for name, kind in partition_fields(file.partitions for file in files):
        if name not in schema.names:  # a writer that repeats it within the files has it there to the bit
            schema = schema.append(pa.field(name, kind))
    return schema


def _distinct(files: Iterable[InputFile]) -> list[InputFile]:
    """One file for each Parquet schema: those of one writer are alike."""
    distinct: list[InputFile] = []
    for file in files:
        if not any(file.metadata.schema.equals(other.metadata.schema) for other in distinct):
            distinct.append(file)
    return distinct


def _only(schema: pa.Schema, columns: Iterable[str]) -> pa.Schema:
    wanted = {*columns}
    return pa.schema([field for field in schema if field.name in wanted]).with_metadata(schema.metadata)


def _with_partitions(batch: pa.RecordBatch, file: InputFile, schema: pa.Schema) -> pa.RecordBatch:
    said = dict(file.partitions)
    for name in schema.names:
        if name not in batch.schema.names:
            value = pa.scalar(said.get(name), pa.string()).cast(schema.field(name).type)
            batch = batch.append_column(name, pa.repeat(value, batch.num_rows))
    return batch
