"""Reads a file of texts as rows, whatever its format: Parquet, a JSON object a line, or a text a line."""

from collections.abc import Callable
from itertools import starmap
from pathlib import Path
from typing import Any

import pyarrow as pa

from maskedge import TextError
from maskedge.text_lines import Line
from maskedge_batch.errors import InputError
from maskedge_batch.inputs.lines import LineInput, is_of_lines
from maskedge_batch.inputs.parquet import ParquetInput, open_parquet
from maskedge_batch.inputs.passing_on import check_passed_on, writer_options

__all__ = ["open_texts", "pass_on", "read_words"]


def open_texts(path: Path, column: str) -> "ParquetInput | LineInput":
    """Opens a file of texts. Raises InputError.

    Args:
        path: One whose name ends in `.txt` has a text a line; one in `.jsonl` a JSON object a line, whose fields are
            the columns, either also with `.gz` behind it; any other is Parquet.
        column: What the column is called that the lines of a `.txt` come to stand in.
    """
    if not is_of_lines(path.name):
        return open_parquet(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}: check its name.")
    return LineInput(path, column)


def pass_on(
    source: "ParquetInput | LineInput", written: Callable[[pa.Schema], pa.Schema], on_batch: Callable[[], None]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """What is to be said of the columns that are passed on, and what a `pq.ParquetWriter` has to be told to write them
    as they are. May change the source's schema, whose timestamps are looked through.

    Args:
        source: What is read.
        written: The input's schema -> that of the file to write.
        on_batch: Called on the way.

    Raises InputError, naming the column, for one whose values cannot be passed on.
    """
    if isinstance(source, LineInput):
        return (), {}
    source.choose_timestamp_units(on_batch)
    notes = check_passed_on(source.parquet.schema, written(source.schema))
    return notes, writer_options(source.parquet.schema)


def read_words(path: Path) -> frozenset[str]:
    """The words of a file, one a line. Raises InputError where there is no such file, or no word in it."""
    try:
        with path.open("rb") as file:
            words = frozenset(line.text.strip() for line in starmap(Line, enumerate(file, 1))) - {""}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except TextError as error:
        raise InputError(f"{path}: {error}.") from error
    if not words:
        raise InputError(f"{path} holds no words: write one a line.")
    return words
