"""Reads a file with a row a line: a JSON object, whose fields are the columns, or a text. `maskedge.text_lines` says
what a line is."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import starmap
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.types as pat

from maskedge import TextError
from maskedge.text_lines import Line, legible
from maskedge_batch.errors import DamagedError, InputError
from maskedge_batch.inputs.parquet import BATCH_BYTES, BATCH_ROWS
from maskedge_batch.storage.faults import FAILURES, is_of_the_store, reason
from maskedge_batch.storage.locations import Place, locate

__all__ = ["JSON_ENDINGS", "LineInput", "is_of_lines"]

JSON_ENDINGS = (".jsonl", ".jsonl.gz")
TEXT_ENDINGS = (".txt", ".txt.gz")

AS_LINES = "Write one JSON object a line, in UTF-8."


def is_of_lines(name: str) -> bool:
    """Whether a file of this name has a row a line."""
    return name.lower().endswith(JSON_ENDINGS + TEXT_ENDINGS)


class LineInput:
    """A file with a row a line, read twice: for its columns, then for its rows. Memory does not grow with it."""

    def __init__(self, place: Place, column: str, shown: str | None = None) -> None:
        """Raises DamagedError, naming the line, for one that is no text, or no JSON object, and InputError where the
        place fails.

        Args:
            place: The file. With `.txt` in its name it has texts, otherwise JSON objects; with `.gz` it is compressed.
            column: What the column is called that texts come to stand in.
            shown: How messages call it; None: as `place`.
        """
        self.location = locate(place)
        self.num_rows = 0
        self._shown = shown or str(place)
        self._of_texts = self.location.name.lower().endswith(TEXT_ENDINGS)
        self.schema = pa.schema([(column, pa.string())] if self._of_texts else [])
        for lines in self._chunks():
            self.num_rows += len(lines)
            if not self._of_texts:
                self._unify(lines)
            elif lines[0].number == 1:
                self._check_encoding(lines[0])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields all rows in order. A text that is not UTF-8 is passed on as it is: it spoils its own row only."""
        for lines in self._chunks():
            if self._of_texts:
                columns: list[Any] = [pa.array(map(_content, lines), pa.binary()).view(pa.string())]
            else:
                objects = [self._object(line) for line in lines]
                columns = [_column([one.get(field.name) for one in objects], field.type) for field in self.schema]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _chunks(self) -> Iterator[list[Line]]:
        compression = "gzip" if self.location.name.lower().endswith(".gz") else None
        try:
            opened: Any = self.location.filesystem.open_input_stream(self.location.path, compression=compression)
            with io.BufferedReader(opened) as stream:
                lines = starmap(Line, enumerate(stream, 1))
                yield from _chunks(lines if self._of_texts else (line for line in lines if line.content.strip()))
        except FAILURES as error:
            said = f"{self._shown} cannot be read: {reason(error)}."
            raise InputError(said) if is_of_the_store(error) else DamagedError(said, "Write it again.") from error

    def _check_encoding(self, first: Line) -> None:
        try:
            first.text.strip()
        except TextError as error:
            raise DamagedError(f"{self._shown}: {error}.", "Write it again.") from error

    def _unify(self, lines: Sequence[Line]) -> None:
        objects = [self._object(line) for line in lines]
        names = dict.fromkeys(name for one in objects for name in one)
        try:
            found = pa.schema([(name, _column([one.get(name) for one in objects]).type) for name in names])
            self.schema = pa.unify_schemas([self.schema, found], promote_options="permissive")
        except (pa.ArrowException, OverflowError) as error:
            raise DamagedError(
                f"{self._shown} holds values of different types under one name by line {lines[-1].number} "
                f"({reason(error)}).",
                "Write each field's values alike.",
            ) from error

    def _object(self, line: Line) -> dict[str, Any]:
        try:
            found = _json(line)
        except (TextError, ValueError, RecursionError) as error:
            raise DamagedError(f"{self._shown}, line {line.number}: {error}.", AS_LINES) from error
        if not isinstance(found, dict):
            raise DamagedError(f"{self._shown}, line {line.number} is no JSON object.", AS_LINES)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        """Nothing is open between two batches."""


def _json(line: Line) -> Any:
    """What a line says. A string that is not UTF-8 keeps its bytes as surrogates, see `_bytes`."""
    try:
        return json.loads(line.text)
    except TextError:
        try:
            return json.loads(line.content.decode("utf-8", "surrogateescape"))
        except ValueError:
            pass  # it is of another encoding altogether
        raise


def _column(values: list[Any], kind: Any = None) -> Any:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # lone surrogates, which JSON can spell, or bytes that are no UTF-8
        if all(value is None or isinstance(value, str) for value in values) and (kind is None or pat.is_string(kind)):
            return pa.array([None if value is None else _bytes(value) for value in values], pa.binary()).view(
                pa.string()
            )
        return pa.array([_legible(value) for value in values], kind)


def _bytes(text: str) -> bytes:
    """A text that is not UTF-8 as the bytes that it was, or that a lone surrogate would have."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _legible(value: Any) -> Any:
    """Strings wherever they are nested, with what cannot be read in them as `�`."""
    if isinstance(value, str):
        return legible(value)
    if isinstance(value, list):
        return [_legible(each) for each in value]
    if isinstance(value, dict):
        return {_legible(name): _legible(each) for name, each in value.items()}
    return value


def _content(line: Line) -> bytes:
    try:
        return line.text.encode()
    except TextError:
        return line.content.removesuffix(b"\n").removesuffix(b"\r")


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
