"""Opens the input of a job: finds its files, makes Parquet of those that are none, and reads the footers."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from maskedge_batch.errors import DamagedError, InputError
from maskedge_batch.inputs.arguments import Found, expand
from maskedge_batch.inputs.input_set import InputFile, InputSet, SetAside, schema_of
from maskedge_batch.inputs.lines import is_of_lines
from maskedge_batch.inputs.parquet import open_parquet
from maskedge_batch.inputs.partitions import Partitions
from maskedge_batch.inputs.rows import FileRows
from maskedge_batch.inputs.spooling import spool_lines, spool_stream
from maskedge_batch.storage.faults import naming_failed_reads
from maskedge_batch.storage.locations import Location, Place

__all__ = ["Spool", "open_inputs"]

OPENERS = 16
"""Files whose footers are read at the same time: a store takes a tenth of a second for each."""


@dataclass(frozen=True, slots=True)
class Spool:
    """How files of lines become Parquet, which is all that is read after that."""

    directory: Place
    """Where they are written to."""
    column: str = "text"
    """What the column is called that the lines of a `.txt` come to stand in."""
    standard_input: BinaryIO | None = None
    """What `-` stands for."""
    on_batch: Callable[[], None] = lambda: None
    """Called on the way; to stop, it raises."""


def open_inputs(arguments: Sequence[Place], spool: Spool | None = None, *, skip_damaged: bool = False) -> InputSet:
    """Finds the files that arguments name and reads their footers.

    Args:
        arguments: Files, directories and globs, each a path or a URI; `-` alone for standard input.
        spool: Of files of lines; None: none are read.
        skip_damaged: Whether a file that cannot be read as what it is to be is set aside.

    Returns:
        All rows of all files.

    Raises:
        LocationError: There is no way to a place.
        InputError: A place holds no input, a file is no complete Parquet file, or the files differ in their columns.
        OutputError, WriteError: A file of lines cannot be spooled.
    """
    if "-" in arguments:
        files: list[InputFile | SetAside] = [_standard_input(arguments, spool)]
    else:
        found = expand(arguments)
        with ThreadPoolExecutor(min(OPENERS, len(found))) as pool:
            files = list(pool.map(partial(_look_at, spool=spool, skip_damaged=skip_damaged), found))
    whole = tuple(file for file in files if isinstance(file, InputFile))
    aside = tuple(file for file in files if isinstance(file, SetAside))
    if not whole:
        raise InputError(f"No file of the input can be read: {aside[0].reason}")
    return InputSet(whole, schema_of(whole), set_aside=aside)


def _standard_input(arguments: Sequence[Place], spool: Spool | None) -> InputFile:
    if len(arguments) > 1:
        raise InputError("Standard input (-) is read alone: name it without other inputs.")
    if spool is None or spool.standard_input is None:
        raise InputError("There is no standard input (-) to read here: name a file.")
    place = spool_stream(spool.standard_input, "standard input", spool.directory, spool.column, spool.on_batch)
    return _footer("standard input", place, ())


def _look_at(found: Found, spool: Spool | None, skip_damaged: bool) -> "InputFile | SetAside":
    shown = str(found.location)
    try:
        place = found.location
        if is_of_lines(place.name):
            if spool is None:
                raise InputError(f"{shown} is no Parquet file, which is all that is read here: convert it first.")
            place = spool_lines(place, spool.directory, spool.column, spool.on_batch)
        return _footer(shown, place, found.partitions)
    except DamagedError as error:
        if not skip_damaged:
            raise
        return SetAside(shown, None, None, error.what)


def _footer(shown: str, location: Location, partitions: Partitions) -> InputFile:
    with open_parquet(location) as opened:
        metadata = opened.parquet.metadata
        groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        with naming_failed_reads(location):
            identity = location.identity()
        return InputFile(shown, location, identity, metadata, opened.schema, FileRows.all(groups), partitions)
