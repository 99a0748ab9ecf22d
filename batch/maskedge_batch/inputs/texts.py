"""Reads a file of texts as rows, whatever its format: Parquet, a JSON object a line, or a text a line."""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import starmap
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from maskedge import TextError
from maskedge.text_lines import Line
from maskedge_batch.errors import InputError
from maskedge_batch.inputs.parquet import BATCH_BYTES, BATCH_ROWS, ParquetInput, open_parquet
from maskedge_batch.inputs.passing_on import check_passed_on, writer_options

__all__ = ["TextInput", "open_texts", "pass_on", "read_words"]


def open_texts(path: Path, column: str) -> "ParquetInput | TextInput":
    """Opens a file of texts. Raises InputError.

    Args:
        path: One whose name ends in `.txt` has a text a line; one in `.jsonl` a JSON object a line, whose fields are
            the columns; any other is Parquet.
        column: What the column is called that the lines of a `.txt` come to stand in.
    """
    if path.suffix.lower() not in (".txt", ".jsonl"):
        return open_parquet(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}: check its name.")
    return TextInput(path, column)


def pass_on(
    source: "ParquetInput | TextInput", written: Callable[[pa.Schema], pa.Schema], on_batch: Callable[[], None]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """What is to be said of the columns that are passed on, and what a `pq.ParquetWriter` has to be told to write them
    as they are. May change the source's schema, whose timestamps are looked through.

    Args:
        source: What is read.
        written: The input's schema -> that of the file to write.
        on_batch: Called on the way.

    Raises InputError, naming the column, for one whose values cannot be passed on.
    """
    if isinstance(source, TextInput):
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


class TextInput:
    """A file with a row a line, read twice: for its columns, then for its rows."""

    def __init__(self, path: Path, column: str) -> None:
        """Raises InputError, naming the line, for one that is no text, or no JSON object."""
        self.path = path
        self.num_rows = 0
        self._of_lines = pa.schema([(column, pa.string())]) if path.suffix.lower() == ".txt" else None
        self.schema = self._of_lines or pa.schema([])
        for lines in self._chunks():
            self.num_rows += len(lines)
            if self._of_lines is None:
                self._unify(lines)
            elif lines[0].number == 1:
                self._check_encoding(lines[0])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields all rows in order."""
        for lines in self._chunks():
            if self._of_lines is None:
                yield pa.RecordBatch.from_pylist([self._object(line) for line in lines], schema=self.schema)
            else:
                # A line that is not UTF-8 spoils its own row only.
                texts = pa.array([_content(line) for line in lines], pa.binary()).view(pa.string())
                yield pa.RecordBatch.from_arrays([texts], schema=self.schema)

    def _chunks(self) -> Iterator[list[Line]]:
        try:
            with self.path.open("rb") as file:
                yield from _chunks(starmap(Line, enumerate(file, 1)))
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _check_encoding(self, first: Line) -> None:
        try:
            first.text.strip()
        except TextError as error:
            raise InputError(f"{self.path}: {error}.") from error

    def _unify(self, lines: list[Line]) -> None:
        try:
            objects = [self._object(line) for line in lines]
            names = list(dict.fromkeys(name for one in objects for name in one))
            found = pa.RecordBatch.from_pydict({name: [one.get(name) for one in objects] for name in names}).schema
            self.schema = pa.unify_schemas([self.schema, found], promote_options="permissive")
        except pa.ArrowException as error:
            raise InputError(
                f"{self.path} holds values of different types under one name by line {lines[-1].number} ({error}): "
                "write each field's values alike."
            ) from error

    def _object(self, line: Line) -> dict[str, Any]:
        try:
            found = json.loads(line.text)
        except (TextError, ValueError) as error:
            raise InputError(f"{self.path}, line {line.number}: {error}.") from error
        if not isinstance(found, dict):
            raise InputError(f"{self.path}, line {line.number} is no JSON object: write one a line.")
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        """Nothing is open between two batches."""


def _chunks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    chunk: list[Line] = []
    size = 0
    for line in lines:
        if chunk and (len(chunk) >= BATCH_ROWS or size + len(line.content) > BATCH_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line.content)
    if chunk:
        yield chunk


def _content(line: Line) -> bytes:
    try:
        return line.text.encode()
    except TextError:
        return line.content.removesuffix(b"\n").removesuffix(b"\r")
