"""The sentences of a corpus: with dependency annotation where they come of CoNLL-U, plain ones otherwise."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from maskedge_batch.heads.annotated import AnnotatedSentence, read_conllu
from maskedge_batch.inputs.arguments import ENDINGS, expand
from maskedge_batch.inputs.input_set import InputSet
from maskedge_batch.inputs.texts import open_texts
from maskedge_batch.scoring.columns import check_texts, text_bytes
from maskedge_batch.storage.locations import Location, Place

__all__ = ["Corpus", "corpus_files", "open_corpus"]

ANNOTATED = ".conllu"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files of sentences, in the order in which they were named."""

    files: tuple[Location | InputSet, ...]
    """CoNLL-U by its place, texts as they were opened."""
    column: str
    """Holds the texts."""

    def sentences(self) -> Iterator[AnnotatedSentence]:
        """All of them, each time anew; a text that is null is none. Raises InputError for what cannot be read."""
        for file in self.files:
            yield from read_conllu(file) if isinstance(file, Location) else self._plain(file)

    def _plain(self, texts: InputSet) -> Iterator[AnnotatedSentence]:
        for batch in texts.only([self.column]).batches():
            found = text_bytes(batch.column(self.column))
            yield from (AnnotatedSentence(text.decode(errors="replace")) for text in found if text is not None)


def corpus_files(arguments: Sequence[Place]) -> list[Location]:
    """The files that arguments stand for, as `expand` finds them; none for standard input. Raises InputError."""
    return [] if "-" in arguments else [found.location for found in expand(arguments, (ANNOTATED, *ENDINGS))]


@contextmanager
def open_corpus(
    arguments: Sequence[Place],
    column: str,
    on_batch: Callable[[], None] = lambda: None,
    standard_input: BinaryIO | None = None,
) -> Iterator[Corpus]:
    """The sentences of what the arguments name, while the block runs.

    Args:
        arguments: Files, directories and globs of `.conllu`, and of texts as `open_texts` takes them; `-` alone for
            standard input, JSON lines.
        column: Holds the texts of what has columns.
        on_batch: Called on the way; to stop, it raises.
        standard_input: What `-` stands for.

    Raises InputError where there is no such file, or a file of texts cannot be read or lacks the column.
    """
    places = corpus_files(arguments)
    with ExitStack() as stack:

        def opened(some: Sequence[Place]) -> InputSet:
            texts = stack.enter_context(open_texts(some, column, on_batch, standard_input))
            check_texts(texts.schema, {column: "--text-column"})
            return texts

        files = [place if place.name.lower().endswith(ANNOTATED) else opened([place]) for place in places]
        yield Corpus(tuple(files or [opened(arguments)]), column)
