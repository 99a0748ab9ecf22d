"""Where the text to train on comes from: files, globs or a data set -> documents, streamed."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from maskedge.bundle.format import file_sha256
from maskedge_export.errors import CorpusError
from maskedge_export.recipe import CorpusRecipe

__all__ = ["Document", "corpus_files", "corpus_identity", "documents", "hash_share"]

Document = tuple[str, ...]
"""The non-empty texts (paragraphs, sentences) of one source document."""

Row = tuple[object, str]
"""Which document a text belongs to, None where it is one of its own, and the text."""


def documents(recipe: CorpusRecipe) -> Iterator[Document]:
    """The corpus, document by document. Texts without a document of their own are one each.

    Raises CorpusError, naming file and place, for text that cannot be read.
    """
    rows = _dataset_rows(recipe) if recipe.dataset else _file_rows(recipe)
    for _, group in groupby(enumerate(rows), key=_owner):
        texts = tuple(text for _, (_, text) in group if text.strip())
        if texts:
            yield texts


def _owner(numbered: tuple[int, Row]) -> tuple[bool, object]:
    number, (document, _) = numbered
    return (True, number) if document is None else (False, document)


def corpus_files(recipe: CorpusRecipe) -> list[Path]:
    """The files that the recipe's names and globs stand for, sorted within each. Raises CorpusError for none."""
    if not recipe.files:
        raise CorpusError("no text to train on: give --text FILES, or corpus.files or corpus.dataset in the recipe")
    files: list[Path] = []
    for name in recipe.files:
        found = [Path(name)] if Path(name).is_file() else _glob(Path(name))
        if not found:
            raise CorpusError(f"corpus file {name} does not exist; a glob must stand for at least one file")
        files += found
    return list(dict.fromkeys(files))


def _glob(pattern: Path) -> list[Path]:
    if pattern.is_dir():
        raise CorpusError(f"corpus file {pattern} is a directory; give its files, such as '{pattern}/*.parquet'")
    relative = pattern.relative_to(pattern.anchor)
    try:
        return sorted(file for file in Path(pattern.anchor).glob(str(relative)) if file.is_file())
    except ValueError as error:
        raise CorpusError(f"corpus file {pattern} is no glob: {error}") from error


def corpus_identity(recipe: CorpusRecipe) -> dict[str, Any]:
    """What tells this corpus from another: the files' hashes, or the data set's name, configuration, revision and
    split, and the hashes of its files where it is a directory."""
    if recipe.dataset:
        source: Any = [recipe.dataset, recipe.configuration, recipe.revision, recipe.split, _hashes(recipe.dataset)]
    else:
        source = [file_sha256(file) for file in corpus_files(recipe)]
    return {"source": source, "text_column": recipe.text_column, "held_out": recipe.held_out}


def _hashes(directory: str) -> dict[str, str]:
    """By name, hidden files left out, which the data set does not consist of; none of what is no directory here."""
    files = {file.relative_to(directory): file for file in sorted(Path(directory).rglob("*")) if file.is_file()}
    visible = {name: file for name, file in files.items() if not any(part.startswith(".") for part in name.parts)}
    return {name.as_posix(): file_sha256(file) for name, file in visible.items()}


def hash_share(document: Document, purpose: str) -> float:
    """A number in [0, 1) that depends on nothing but the document's texts and the purpose.

    So a document is held out, or not, whatever other files a run has: two models are compared on the same cells.
    """
    digest = hashlib.blake2b("\n".join(document).encode(), digest_size=8, key=purpose.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def _file_rows(recipe: CorpusRecipe) -> Iterator[Row]:
    readers = {".parquet": _parquet_rows, ".jsonl": _jsonl_rows, ".json": _jsonl_rows}
    for file in corpus_files(recipe):
        reader = readers.get(file.suffix, _text_rows)
        for document, text in reader(file, recipe.text_column):
            yield (None if document is None else (file, document)), text


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield number, line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise CorpusError(
                    f"{file} is not UTF-8 (line {number}, byte {error.start} of it); convert it with iconv"
                ) from error


def _text_rows(file: Path, _: str) -> Iterator[Row]:
    yield from ((None, line) for _, line in _lines(file))


def _jsonl_rows(file: Path, column: str) -> Iterator[Row]:
    for number, line in _lines(file):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text = "" if row[column] is None else row[column]
            text.encode()  # a lone surrogate, which JSON can spell, is no text
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise CorpusError(f"{file}, line {number}, is no JSON object with a text {column!r}: {error!r}") from error
        yield row.get("document"), text


def _parquet_rows(file: Path, column: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            names = parquet.schema_arrow.names
            if column not in names:
                raise CorpusError(f"{file} has no column {column!r}; it has: {', '.join(names)}")
            wanted = [name for name in (column, "document") if name in names]
            for batch in parquet.iter_batches(columns=wanted):
                texts = batch[column].cast(pa.large_string()).to_pylist()
                keys = batch["document"].to_pylist() if "document" in wanted else [None] * len(texts)
                yield from ((key, text) for key, text in zip(keys, texts, strict=True) if text)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{file} cannot be read as Parquet with a column of text: {error}") from error


def _dataset_rows(recipe: CorpusRecipe) -> Iterator[Row]:
    try:
        from datasets import load_dataset  # type: ignore[import-untyped, unused-ignore]
        from datasets.exceptions import DatasetsError  # type: ignore[import-untyped, unused-ignore]
    except ModuleNotFoundError as error:
        raise CorpusError(
            f"data set {recipe.dataset} needs the datasets library: pip install 'maskedge[datasets]'"
        ) from error
    try:
        rows: Iterable[dict[str, Any]] = load_dataset(
            recipe.dataset,
            name=recipe.configuration or None,
            split=recipe.split,
            revision=recipe.revision,
            streaming=True,
        )
        for row in rows:
            text = row.get(recipe.text_column, 0)
            if text is not None and not isinstance(text, str):
                raise CorpusError(
                    f"data set {recipe.dataset} has no text {recipe.text_column!r}; it has: {', '.join(row)}"
                )
            yield row.get("document"), text or ""
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise CorpusError(f"data set {recipe.dataset} cannot be read: {error}") from error
