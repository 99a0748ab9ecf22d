"""Where the text to train on comes from: files, globs or a data set -> documents, streamed."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from maskedge.bundle.format import file_sha256
from maskedge_export.corpora.text_files import Row, find_text_files, read_rows
from maskedge_export.errors import CorpusError
from maskedge_export.recipe import CorpusRecipe

__all__ = ["Document", "corpus_files", "corpus_identity", "documents", "hash_share"]

Document = tuple[str, ...]
"""The non-empty texts (paragraphs, sentences) of one source document."""


def documents(recipe: CorpusRecipe) -> Iterator[Document]:
    """The corpus, document by document. Texts without a document of their own are one each.

    Raises CorpusError, naming file and place, for text that cannot be read.
    """
    if recipe.dataset:
        yield from _grouped(_dataset_rows(recipe))
        return
    for file, share in _file_shares(recipe).items():  # file by file: two files' documents are never one
        for time in range(math.ceil(share)):
            read = _grouped(read_rows(file, recipe.text_column))
            yield from (document for document in read if hash_share(document, "share") < share - time)


def _grouped(rows: Iterable[Row]) -> Iterator[Document]:
    for _, group in groupby(enumerate(rows), key=_owner):
        texts = tuple(text for _, (_, text) in group if text.strip())
        if texts:
            yield texts


def _owner(numbered: tuple[int, Row]) -> tuple[bool, object]:
    number, (document, _) = numbered
    return (True, number) if document is None else (False, document)


def corpus_files(recipe: CorpusRecipe) -> list[Path]:
    """The files that the recipe's names and globs stand for, sorted within each. Raises CorpusError for none."""
    return list(_file_shares(recipe))


def _file_shares(recipe: CorpusRecipe) -> dict[Path, float]:
    """The corpus's files, and how often each is read: as the first entry says that stands for it."""
    if not recipe.files:
        raise CorpusError("no text to train on: give --text FILES, or corpus.files or corpus.dataset in the recipe")
    shares: dict[Path, float] = {}
    for name, share in zip(recipe.files, recipe.shares or [1.0] * len(recipe.files), strict=True):
        shares |= {file: shares.get(file, share) for file in find_text_files([name])}
    return shares


def corpus_identity(recipe: CorpusRecipe) -> dict[str, Any]:
    """What tells this corpus from another: the files' hashes, or the data set's name, configuration, revision and
    split, and the hashes of its files where it is a directory."""
    if recipe.dataset:
        source: Any = [recipe.dataset, recipe.configuration, recipe.revision, recipe.split, _hashes(recipe.dataset)]
    else:
        source = [file_sha256(file) for file in corpus_files(recipe)]
        if recipe.shares:
            source = list(zip(source, _file_shares(recipe).values(), strict=True))
    return {"source": source, "text_column": recipe.text_column, "held_out": recipe.held_out}


def _hashes(directory: str) -> dict[str, str]:
    """By name, hidden files left out, which the data set does not consist of; none of what is no directory here."""
    files = {file.relative_to(directory): file for file in sorted(Path(directory).rglob("*")) if file.is_file()}
    visible = {name: file for name, file in files.items() if not any(part.startswith(".") for part in name.parts)}
    return {name.as_posix(): file_sha256(file) for name, file in visible.items()}


def hash_share(document: Document, purpose: str) -> float:
    """A number in [0, 1) that depends on nothing but the document's texts and the purpose.

    So a document is held out, or not, whatever other files a run has: two models are compared on the same masks.
    """
    digest = hashlib.blake2b("\n".join(document).encode(), digest_size=8, key=purpose.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


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
