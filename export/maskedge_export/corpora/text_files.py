"""Files of text -> texts. The one reader of them: of what is trained on, calibrated on and measured on.

A file whose name ends in `.parquet` has a column of texts, one in `.jsonl` or `.json` an object a line with a field of
that name, and any other a text a line. `maskedge.text_lines` says what a line is.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import starmap
from pathlib import Path

from maskedge.bundle.format import is_lfs_pointer
from maskedge.errors import TextError
from maskedge.text_lines import Line
from maskedge_export.errors import TextFileError

__all__ = ["Row", "find_text_files", "read_rows"]

Row = tuple[object, str]
"""What says which document a text belongs to, None where it is one of its own; and the text, which may be blank."""


def find_text_files(names: Iterable[str | Path]) -> list[Path]:
    """The files that names and globs stand for, in the order of the names and sorted within each glob, none twice.

    Raises TextFileError for a name that stands for none, or for a directory.
    """
    found = [file for name in names for file in ([Path(name)] if Path(name).is_file() else _glob(Path(name)))]
    return list(dict.fromkeys(found))


def _glob(pattern: Path) -> list[Path]:
    if pattern.is_dir():
        raise TextFileError(f"text file {pattern} is a directory; give its files, such as '{pattern}/*.parquet'")
    relative = pattern.relative_to(pattern.anchor)
    try:
        files = sorted(file for file in Path(pattern.anchor).glob(str(relative)) if file.is_file())
    except ValueError as error:
        raise TextFileError(f"text file {pattern} is no glob: {error}") from error
    if not files:
        raise TextFileError(f"text file {pattern} does not exist; a glob must stand for at least one file")
    return files


def read_rows(file: Path, column: str = "text") -> Iterator[Row]:
    """The file's texts, read as they are asked for, each with what its column or field `document` says.

    `column` names the column of Parquet, and the field of JSON, that holds the texts; where it is null there is none.
    Raises TextFileError, naming file and place, for what is not UTF-8, no JSON object, or has no such texts.
    """
    _check_pointer(file)
    readers = {".parquet": _parquet_rows, ".jsonl": _json_rows, ".json": _json_rows}
    return readers.get(file.suffix.lower(), _line_rows)(file, column)


def _check_pointer(file: Path) -> None:
    try:
        pointer = is_lfs_pointer(file)
    except OSError as error:
        raise TextFileError(f"{file} cannot be read: {error.strerror}") from error
    if pointer:
        raise TextFileError(
            f"{file} is a Git LFS pointer, which only names the text that belongs here; fetch it: run git lfs pull in "
            f"{file.parent}"
        )


def _lines(file: Path) -> Iterator[str]:
    """The file's lines without their ends."""
    try:
        with file.open("rb") as stream:
            for line in starmap(Line, enumerate(stream, 1)):
                yield line.text
    except OSError as error:
        raise TextFileError(f"{file} cannot be read: {error.strerror}") from error
    except TextError as error:
        raise TextFileError(f"{file}: {error}") from error


def _line_rows(file: Path, _: str) -> Iterator[Row]:
    return ((None, line) for line in _lines(file))


def _json_rows(file: Path, column: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text = "" if row[column] is None else row[column]
            text.encode()  # a lone surrogate, which JSON can spell, is no text
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise TextFileError(
                f"{file}, line {number}, is no JSON object with a text {column!r}: {error!r}"
            ) from error
        yield row.get("document"), text


def _parquet_rows(file: Path, column: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            names = parquet.schema_arrow.names
            if column not in names:
                raise TextFileError(f"{file} has no column {column!r}; it has: {', '.join(names)}")
            wanted = [name for name in (column, "document") if name in names]
            for batch in parquet.iter_batches(columns=wanted):
                texts = batch[column].cast(pa.large_string()).to_pylist()
                keys = batch["document"].to_pylist() if "document" in wanted else [None] * len(texts)
                yield from ((key, text) for key, text in zip(keys, texts, strict=True) if text)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # of a date that Python does not have
        raise TextFileError(f"{file} cannot be read as Parquet with a column of text: {error}") from error
