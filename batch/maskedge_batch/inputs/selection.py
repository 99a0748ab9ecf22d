"""Which rows and columns of an input a job takes. Decided before it is cut into shards, and by nothing but the rows
themselves and their places, so that every engine takes the same ones."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from maskedge_batch.errors import InputError
from maskedge_batch.inputs.damage import without_damage
from maskedge_batch.inputs.filtering import RowFilter
from maskedge_batch.inputs.input_set import InputSet
from maskedge_batch.inputs.int96 import TimestampUnits, has_int96
from maskedge_batch.inputs.rows import IntArray

__all__ = ["Selection", "select"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is taken of an input: first the filter, then the sample, then the limit."""

    columns: tuple[str, ...] | None = None
    """The columns to pass on, beside those that the job itself reads; None: all."""
    filter: str | None = None
    """Of the rows those for which this expression of DuckDB's SQL over their columns is true; None: all."""
    sample: int | None = None
    """At most so many rows, chosen at random and left in their order; None: all."""
    seed: int = 0
    """Of the sample: the same seed chooses the same rows."""
    limit: int | None = None
    """The first so many rows; None: all."""


def select(
    inputs: InputSet,
    selection: Selection,
    needed: Collection[str] = (),
    on_batch: Callable[[], None] = lambda: None,
    *,
    skip_damaged: bool = False,
) -> InputSet:
    """The input with only the rows and columns of a selection, ready to be read.

    It reads what it has to know: the columns with INT96 timestamps, to find units that hold them all, and those of the
    filter.

    Args:
        inputs: All rows.
        selection: Which of them.
        needed: Columns that are kept in any case.
        on_batch: Called on the way; to stop, it raises.
        skip_damaged: Whether row groups that cannot be read are set aside, before anything is chosen. All are read.

    Raises InputError for a column that there is not, or that cannot be passed on; for a filter that is none; and where
    a file is damaged.
    """
    row_filter = RowFilter(selection.filter, inputs.schema) if selection.filter is not None else None
    kept = _kept(inputs.schema, selection.columns, needed)
    read = {*kept, *(row_filter.columns if row_filter else ())}
    if skip_damaged:
        inputs = without_damage(inputs, read, on_batch)
    inputs = _with_units(inputs, read, on_batch)
    if row_filter:
        inputs = _filtered(inputs, row_filter, on_batch)
    if selection.sample is not None:
        inputs = _keep(inputs, _sampled(inputs.num_rows, selection.sample, selection.seed))
    if selection.limit is not None:
        inputs = _keep(inputs, np.arange(min(selection.limit, inputs.num_rows)))
    return inputs.only(kept)


def _kept(schema: pa.Schema, columns: tuple[str, ...] | None, needed: Collection[str]) -> list[str]:
    if columns is None:
        return list(schema.names)
    for name in columns:
        if name not in schema.names:
            raise InputError(
                f"The input has no column {name!r} to keep: choose of {', '.join(schema.names)} with --columns."
            )
    return [name for name in schema.names if name in columns or name in needed]


def _with_units(inputs: InputSet, columns: Collection[str], on_batch: Callable[[], None]) -> InputSet:
    """Each column's INT96 timestamps are counted in one unit in all files."""
    units = TimestampUnits()
    for file in inputs.files:
        if not has_int96(file.metadata.schema):
            continue
        with file.open() as opened:
            groups = [number for number, group in enumerate(file.rows.groups) if group.chosen]
            opened.look_through_timestamps(units, columns, groups, on_batch)
    return inputs.with_units(units.chosen())


def _filtered(inputs: InputSet, row_filter: RowFilter, on_batch: Callable[[], None]) -> InputSet:
    files = []
    for number, file in enumerate(inputs.files):
        masks = [np.zeros(0, np.bool_)]
        for batch in inputs.read(number, columns=row_filter.columns):
            masks.append(row_filter.mask(batch))
            on_batch()
        files.append(replace(file, rows=file.rows.keep(np.flatnonzero(np.concatenate(masks)))))
    return replace(inputs, files=tuple(files))


def _sampled(rows: int, count: int, seed: int) -> IntArray:
    """Numbers of rows, in order. Python promises that `random()` gives the same ones in every version."""
    if count >= rows:
        return np.arange(rows)
    draw = random.Random(seed).random  # the fewer ones are drawn: those that stay, or those that go
    drawn: set[int] = set()
    while len(drawn) < min(count, rows - count):
        drawn.add(int(draw() * rows))
    chosen = np.zeros(rows, np.bool_)
    chosen[list(drawn)] = True
    return np.flatnonzero(chosen if count <= rows - count else ~chosen)


def _keep(inputs: InputSet, positions: IntArray) -> InputSet:
    """Only the rows with these numbers, counted over all files and in order."""
    files, start = [], 0
    for file in inputs.files:
        first, end = np.searchsorted(positions, [start, start + file.rows.chosen])
        files.append(replace(file, rows=file.rows.keep(positions[first:end] - start)))
        start += file.rows.chosen
    return replace(inputs, files=tuple(files))
