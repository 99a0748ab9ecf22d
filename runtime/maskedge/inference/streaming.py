"""Streams of texts answered in order, as many of them read ahead as make full batches."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from time import monotonic
from typing import TypeVar

__all__ = ["READ_AHEAD", "READ_AHEAD_SCORES", "answer_in_order", "check_stream"]

READ_AHEAD = 1024
"""Texts to fill that are read at a time. A batch holds texts of one length: of 64 sentences two have the same, of 1024
as many as fill batches. The model reads so many in a second, or in some."""

READ_AHEAD_SCORES = 64
"""Texts to score that are read at a time: with a copy for each of its tokens, a text fills batches almost alone."""

READ_AHEAD_SIZE = 1 << 17
"""Characters of texts that are read at a time, and predictions that are made of them. They bound the memory."""

READ_AHEAD_SECONDS = 0.25
"""After so long the texts that a slow source gave are answered, however few they are."""

In = TypeVar("In")
Out = TypeVar("Out")


def check_stream(items: Iterable[object], read_ahead: int) -> None:
    """Raises TypeError for one text in place of many, and ValueError for a `read_ahead` below 1."""
    if isinstance(items, str):
        raise TypeError("texts is a str; give an iterable of texts")
    if read_ahead < 1:
        raise ValueError(f"read_ahead is {read_ahead}; it must be at least 1")


def answer_in_order(
    items: Iterable[In], answer: Callable[[list[In], int], list[Out]], *, read_ahead: int, predictions: int = 0
) -> Iterator[Out]:
    """The answer to each item, in order. Items are read when an answer is needed, `read_ahead` at a time at most.

    Fewer are read at a time where they are long, where their answers are, or where the next one is long in coming. An
    error of `answer` or of `items` is raised after the answers to all items before the one that caused it.

    Args:
        items: Texts, of any number.
        answer: (some items, the number of the first) -> their answers.
        read_ahead: Most items in a call of `answer`.
        predictions: How many an answer holds, at one mask.
    """
    number = 0
    for chunk in _chunks(items, read_ahead, predictions):
        yield from _answers(chunk, number, answer)
        number += len(chunk)


def _answers(chunk: list[In], number: int, answer: Callable[[list[In], int], list[Out]]) -> Iterator[Out]:
    """The items' answers. Where one of the items is in error, those before it are answered first."""
    try:
        answers: Iterable[Out] = answer(chunk, number)
    except (TypeError, ValueError):
        if len(chunk) == 1:
            raise
        half = len(chunk) // 2  # the first half is answered, and given, before the second is looked at
        answers = chain(_answers(chunk[:half], number, answer), _answers(chunk[half:], number + half, answer))
    yield from answers


def _chunks(items: Iterable[In], read_ahead: int, predictions: int) -> Iterator[list[In]]:
    """The items in lists, none empty, each as long as `answer_in_order` says; no item is read before its list is."""
    chunk: list[In] = []
    size, began = 0, monotonic()
    try:
        for item in items:
            chunk.append(item)
            size += predictions + (len(item) if isinstance(item, str) else 0)
            if len(chunk) >= read_ahead or size >= READ_AHEAD_SIZE or monotonic() - began >= READ_AHEAD_SECONDS:
                yield chunk
                chunk, size, began = [], 0, monotonic()
    except Exception:
        if chunk:  # what came before the error
            yield chunk
        raise
    if chunk:
        yield chunk
