"""Scored files as a report reads them: in order, a batch at a time, only the columns asked for."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from maskedge_batch.errors import InputError
from maskedge_batch.inputs.arguments import PARQUET_ENDINGS, expand
from maskedge_batch.storage.faults import FAILURES, reason
from maskedge_batch.storage.locations import Location, Place

__all__ = ["Provenance", "RowValues", "ScoredFiles", "open_scored"]

BATCH_ROWS = 16_384
BATCH_BYTES = 64 << 20


RowValues: TypeAlias = "dict[str, pa.Array[Any]]"
"""One row: its columns, each an array of one value."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What scores came from, as the job wrote it into the files' metadata."""

    model: str
    precision: str
    fingerprint: str
    """Of the bundle."""
    maskedge: str
    """The version that scored."""
    options: Mapping[str, Any]
    """The job's, by their names: `text_column`, `target_column`, `top_k` and others."""
    verification: Mapping[str, Any]
    """How the bundle's graph compares with its checkpoint, from its manifest; empty where that is not known."""
    runtime: str
    """What ran the graph."""

    @property
    def text_column(self) -> str:
        """The column that held the texts."""
        return str(self.options["text_column"])

    @property
    def target_column(self) -> str | None:
        """The column that held the masked words, if there was one."""
        column = self.options.get("target_column")
        return None if column is None else str(column)

    @property
    def top_k(self) -> int:
        """Predictions kept for each mask."""
        return int(self.options.get("top_k") or 0)


@dataclass(frozen=True, slots=True)
class ScoredFiles:
    """Files that one job scored, in the order of their rows."""

    paths: tuple[Location, ...]
    first_rows: tuple[int, ...]
    """The number of each file's first row among all rows; one more: of all rows."""
    schema: pa.Schema
    provenance: Provenance

    @property
    def rows(self) -> int:
        """Of all files."""
        return self.first_rows[-1]

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All rows in order, with these columns or leaves of columns. Raises InputError where a file is damaged."""
        for path in self.paths:
            with _opened(path) as file:
                yield from file.iter_batches(_batch_rows(file), columns=list(columns))

    def take(self, rows: Sequence[int], columns: Sequence[str]) -> dict[int, RowValues]:
        """Some rows by their numbers, each a mapping of columns to arrays of one value. Reads only the row groups that
        hold them."""
        taken: dict[int, RowValues] = {}
        for path, first, after in zip(self.paths, self.first_rows, self.first_rows[1:], strict=False):
            wanted = sorted({row - first for row in rows if first <= row < after})
            if wanted:
                with _opened(path) as file:
                    taken |= {first + row: found for row, found in _take(file, wanted, list(columns))}
        return taken


def open_scored(paths: Sequence[Place]) -> ScoredFiles:
    """Opens files that `mlm-batch score` wrote: by their names, directories of them, or globs.

    Raises:
        InputError: There is no such file, it is not a scored one, or not all were scored by the same job.
    """
    files = [found.location for found in expand(paths, PARQUET_ENDINGS)]
    metadata = [_footer(path) for path in files]
    schemas = [schema for _, schema in metadata]
    found = [_provenance(path, schema) for path, schema in zip(files, schemas, strict=True)]
    for path, schema, provenance in zip(files, schemas, found, strict=True):
        if provenance != found[0] or schema.names != schemas[0].names:
            raise InputError(
                f"{files[0]} and {path} were scored by different jobs ({_difference(found[0], provenance)}): report on "
                "them apart, or compare them with mlm-batch compare."
            )
    first_rows = [0]
    for rows, _ in metadata:
        first_rows.append(first_rows[-1] + rows)
    return ScoredFiles(tuple(files), tuple(first_rows), schemas[0], found[0])


def _footer(path: Location) -> tuple[int, pa.Schema]:
    with _opened(path) as file:
        return int(file.metadata.num_rows), file.schema_arrow


def _provenance(path: Location, schema: pa.Schema) -> Provenance:
    try:
        said = json.loads((schema.metadata or {})[b"maskedge"])
        provenance = Provenance(
            **{name: str(said[name]) for name in ("model", "precision", "fingerprint", "maskedge")},
            options=dict(said["options"]),
            verification=said.get("verification") or {},
            runtime=str(said.get("runtime", "onnxruntime")),  # earlier versions had no other
        )
        assert provenance.text_column
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not a scored file: its metadata do not say what scored it. Score it with mlm-batch score."
        ) from error
    needed = {"mlm_status", "mlm_perplexity", "mlm_token_count", "mlm_entropy", "mlm_pll", provenance.text_column}
    if missing := sorted(needed - {*schema.names}):
        raise InputError(f"{path} lacks the column {missing[0]!r} of a scored file: it was taken out after scoring.")
    return provenance


def _difference(one: Provenance, other: Provenance) -> str:
    for name in ("model", "precision", "runtime", "fingerprint", "maskedge", "options", "verification"):
        values = getattr(one, name), getattr(other, name)
        if name == "options" and values[0] != values[1]:
            return "; ".join(_options(*values))
        if values[0] != values[1]:
            return f"{name}: {values[0]} and {values[1]}"
    return "their columns differ"


def _options(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*one, *other}):
        values = one.get(name), other.get(name)
        if values[0] != values[1]:
            yield f"{name}: {' and '.join('none' if value is None else str(value) for value in values)}"


def _batch_rows(file: pq.ParquetFile) -> int:
    """Fewer rows at a time where rows are wide, so that a batch stays near `BATCH_BYTES`."""
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    widest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(widest, 1)))


def _take(file: pq.ParquetFile, rows: Sequence[int], columns: Sequence[str]) -> Iterator[tuple[int, RowValues]]:
    first = 0
    for group in range(file.num_row_groups):
        after = first + file.metadata.row_group(group).num_rows
        if any(first <= row < after for row in rows):
            start = first
            for batch in file.iter_batches(_batch_rows(file), row_groups=[group], columns=list(columns)):
                for row in rows:
                    if start <= row < start + batch.num_rows:
                        yield row, {name: batch.column(name).slice(row - start, 1) for name in batch.schema.names}
                start += batch.num_rows
        first = after


@contextmanager
def _opened(path: Location) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path.path, filesystem=path.filesystem, page_checksum_verification=True) as file:
            yield file
    except FAILURES as error:
        raise InputError(f"{path} cannot be read as a Parquet file ({reason(error)}): score it again.") from error
