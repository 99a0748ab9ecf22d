"""Where the text to train on comes from: files, globs or a data set -> documents, streamed."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from maskedge.bundle import file_sha256
from maskedge_export.errors import CorpusError
from maskedge_export.recipe import CorpusRecipe

__all__ = ["Document", "corpus_files", "corpus_identity", "documents", "draw"]

Document = tuple[str, ...]
"""The non-empty texts (paragraphs, sentences) of one source document."""

Row = tuple[object, str]
"""Which document a text belongs to, and the text."""


def documents(recipe: CorpusRecipe) -> Iterator[Document]:
    """The corpus, document by document. Texts without a document of their own are one each.

    Raises CorpusError, naming file and place, for text that cannot be read.
    """
    rows = _dataset_rows(recipe) if recipe.dataset else _file_rows(recipe)
    for _, group in groupby(rows, key=lambda row: row[0]):
        texts = tuple(text for _, text in group if text.strip())
        if texts:
            yield texts


def corpus_files(recipe: CorpusRecipe) -> list[Path]:
    """The files that the recipe's names and globs stand for, sorted within each. Raises CorpusError for none."""
    if not recipe.files:
        raise CorpusError("no text to train on: give --text FILES, or corpus.files or corpus.dataset in the recipe")
    files: list[Path] = []
    for name in recipe.files:
        found = [Path(name)] if Path(name).is_file() else _glob(Path(name))
        if not found:
            raise CorpusError(f"corpus file {name} does not exist")
        files += found
    return list(dict.fromkeys(files))


def _glob(pattern: Path) -> list[Path]:
    relative = pattern.relative_to(pattern.anchor)
    return sorted(file for file in Path(pattern.anchor).glob(str(relative)) if file.is_file())


def corpus_identity(recipe: CorpusRecipe) -> dict[str, Any]:
    """What tells this corpus from another: the files' hashes, or the data set's name, revision and split."""
    if recipe.dataset:
        source: Any = [recipe.dataset, recipe.revision, recipe.split]
    else:
        source = [file_sha256(file) for file in corpus_files(recipe)]
    return {"source": source, "text_column": recipe.text_column, "held_out": recipe.held_out}


def draw(document: Document, purpose: str) -> float:
    """A number in [0, 1) that depends on nothing but the document's first text and the purpose.

    So a document is held out, or not, whatever other files a run has: two models are compared on the same cells.
    """
    digest = hashlib.blake2b(document[0].encode(), digest_size=8, key=purpose.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def _file_rows(recipe: CorpusRecipe) -> Iterator[Row]:
    readers = {".parquet": _parquet_rows, ".jsonl": _jsonl_rows, ".json": _jsonl_rows}
    for file in corpus_files(recipe):
        reader = readers.get(file.suffix, _text_rows)
        for document, text in reader(file, recipe.text_column):
            yield (file, document), text


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
    yield from _lines(file)


def _jsonl_rows(file: Path, column: str) -> Iterator[Row]:
    for number, line in _lines(file):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text = row[column]
            text.encode()  # a lone surrogate, which JSON can spell, is no text
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise CorpusError(f"{file}, line {number}, is no JSON object with a text {column!r}: {error!r}") from error
        yield row.get("document", number), text


def _parquet_rows(file: Path, column: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            names = parquet.schema_arrow.names
            if column not in names:
                raise CorpusError(f"{file} has no column {column!r}; it has: {', '.join(names)}")
            wanted = [name for name in (column, "document") if name in names]
            first = 0
            for batch in parquet.iter_batches(columns=wanted):
                texts = batch[column].cast(pa.large_string()).to_pylist()
                count = range(first, first + len(texts))
                keys = batch["document"].to_pylist() if "document" in wanted else count
                yield from ((key, text) for key, text in zip(keys, texts, strict=True) if text)
                first += len(texts)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{file} cannot be read as Parquet with a column of text: {error}") from error


def _dataset_rows(recipe: CorpusRecipe) -> Iterator[Row]:
    try:
        from datasets import load_dataset  # type: ignore[import-untyped, unused-ignore]
    except ModuleNotFoundError as error:
        raise CorpusError(
            f"data set {recipe.dataset} needs the datasets library: pip install 'maskedge[datasets]'"
        ) from error
    try:
        rows: Iterable[dict[str, Any]] = load_dataset(
            recipe.dataset, split=recipe.split, revision=recipe.revision, streaming=True
        )
        for number, row in enumerate(rows):
            if not isinstance(row.get(recipe.text_column), str):
                raise CorpusError(
                    f"data set {recipe.dataset} has no text {recipe.text_column!r}; it has: {', '.join(row)}"
                )
            yield row.get("document", number), row[recipe.text_column]
    except (OSError, ValueError) as error:  # the library's own errors are of these kinds
        raise CorpusError(f"data set {recipe.dataset} cannot be read: {error}") from error
