"""Reads a whole input at once, whatever its place and format."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import starmap
from pathlib import Path
from typing import BinaryIO

from maskedge import TextError
from maskedge.text_lines import Line
from maskedge_batch.errors import InputError
from maskedge_batch.inputs.input_set import InputSet
from maskedge_batch.inputs.opening import Spool, open_inputs
from maskedge_batch.inputs.selection import Selection, select
from maskedge_batch.storage.locations import Place
from maskedge_batch.storage.scratch import scratch_directory

__all__ = ["open_texts", "read_words"]


@contextmanager
def open_texts(
    arguments: Sequence[Place],
    column: str,
    on_batch: Callable[[], None] = lambda: None,
    standard_input: BinaryIO | None = None,
) -> Iterator[InputSet]:
    """All rows of what the arguments name, while the block runs.

    Args:
        arguments: Files, directories and globs, as `open_inputs` takes them; `-` alone for standard input.
        column: What the column is called that the lines of a `.txt` come to stand in.
        on_batch: Called on the way; to stop, it raises.
        standard_input: What `-` stands for.

    Raises InputError where they cannot be read, or differ in their columns.
    """
    with scratch_directory() as directory:
        spool = Spool(directory, column, standard_input, on_batch)
        yield select(open_inputs(arguments, spool), Selection(), on_batch=on_batch)


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
