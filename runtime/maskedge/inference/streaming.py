"""Streams of texts answered in order, some of them read ahead to be batched together."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

__all__ = ["READ_AHEAD", "answer_in_order", "check_stream"]

READ_AHEAD = 64
"""Texts that are read at a time: enough to find several of one length for a batch, few enough to be answered soon."""

In = TypeVar("In")
Out = TypeVar("Out")


def check_stream(items: Iterable[object], read_ahead: int) -> None:
    """Raises TypeError for one text in place of many, and ValueError for a `read_ahead` below 1."""
    if isinstance(items, str):
        raise TypeError("texts is a str; give an iterable of texts")
    if read_ahead < 1:
        raise ValueError(f"read_ahead is {read_ahead}; it must be at least 1")


def answer_in_order(
    items: Iterable[In], answer: Callable[[list[In], int], list[Out]], *, read_ahead: int
) -> Iterator[Out]:
    """The answer to each item, in order. Items are read when an answer is needed, `read_ahead` at a time at most.

    An error of `answer` or of `items` is raised after the answers to all items before the one that caused it.

    Args:
        items: Of any number.
        answer: (some items, the number of the first) -> their answers.
        read_ahead: Most items in a call of `answer`.
    """
    number = 0
    for chunk in _chunks(items, read_ahead):
        try:
            answers: Iterable[Out] = answer(chunk, number)
        except (TypeError, ValueError):  # of one of the items: each by itself, the others get their answers first
            answers = (answer([item], number + index)[0] for index, item in enumerate(chunk))
        yield from answers
        number += len(chunk)


def _chunks(items: Iterable[In], size: int) -> Iterator[list[In]]:
    iterator = iter(items)
    while True:
        chunk: list[In] = []
        try:
            chunk.extend(islice(iterator, size))  # keeps what came before an error
        except Exception:
            if chunk:
                yield chunk
            raise
        if chunk:
            yield chunk
        if len(chunk) < size:
            return
