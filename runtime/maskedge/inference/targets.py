"""Words that a caller asks about: read from its arguments, and turned into ids as transformers does."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from maskedge.errors import TextError
from maskedge.inference.encoding import TextEncoder
from maskedge.results import TextStatus

__all__ = ["TargetLists", "Words", "first_pieces", "read_targets"]

logger = logging.getLogger("maskedge.targets")  # a name that users configure, wherever this file lies

Words = str | Iterable[str] | Iterable[Iterable[str]]
"""One word, words for every mask, or a list of words for each mask."""

NO_TARGETS = "At least one target must be provided when passed."

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TargetLists(Generic[T]):
    """What is asked about at a text's masks, as words or as ids."""

    lists: tuple[tuple[T, ...], ...]
    per_mask: bool
    """Whether there is a list for each mask, or one list for all of them."""

    def at(self, masks: int) -> tuple[tuple[T, ...], ...]:
        """One list for each of so many masks. Raises ValueError for lists of another number."""
        if not self.per_mask:
            return self.lists * masks
        if len(self.lists) != masks:
            raise ValueError(f"targets has {len(self.lists)} lists, and the text {masks} masks")
        return self.lists


def read_targets(targets: object) -> TargetLists[str]:
    """A caller's `targets`: a word, a list of words, or a list of words for each mask; duplicates dropped.

    Raises ValueError for an empty list and for what is no word.
    """
    values: list[object] = [targets] if isinstance(targets, str) else _listed(targets)
    if values and not any(isinstance(value, str) for value in values):
        return TargetLists(tuple(_words(_listed(value)) for value in values), per_mask=True)
    return TargetLists((_words(values),), per_mask=False)


def first_pieces(encoder: TextEncoder, targets: TargetLists[str]) -> TargetLists[int]:
    """The words' ids: vocabulary entries as they are spelled, else the first piece, with a warning in the log.

    A word is read alone: with a vocabulary that tells `cat` from ` cat` it is the bare entry. Raises ValueError where
    no word is left, and TextError for one that is not valid Unicode.
    """
    return TargetLists(tuple(_ids(encoder, words) for words in targets.lists), targets.per_mask)


def _listed(values: object) -> list[object]:
    if not isinstance(values, Iterable) or isinstance(values, bytes | dict):
        raise ValueError(f"targets must be words, or a list of words for each mask; {values!r:.60} is neither")
    return list(values)


def _words(values: list[object]) -> tuple[str, ...]:
    if not values:
        raise ValueError(NO_TARGETS)
    words = [value for value in values if isinstance(value, str)]
    if len(words) < len(values):
        raise ValueError(f"a target is a str; {values!r:.60} holds something else")
    return tuple(dict.fromkeys(words))


def _ids(encoder: TextEncoder, words: tuple[str, ...]) -> tuple[int, ...]:
    ids = dict.fromkeys(token for token in (_first_piece(encoder, word) for word in words) if token is not None)
    if not ids:
        raise ValueError(NO_TARGETS)
    return tuple(ids)


def _first_piece(encoder: TextEncoder, word: str) -> int | None:
    exact = encoder.token_id(word)
    if exact is not None:
        return exact
    pieces = _pieces(encoder, word)
    missing = f"The specified target token `{word}` does not exist in the model vocabulary. "
    if not pieces:
        logger.warning("%sWe cannot replace it with anything meaningful, ignoring it", missing)
        return None
    logger.warning("%sReplacing with `%s`.", missing, encoder.tokenizer.id_to_token(pieces[0]))
    return pieces[0]


def _pieces(encoder: TextEncoder, word: str) -> list[int]:
    """The word's ids; none where the tokenizer cannot write it."""
    try:
        return encoder.pieces(word)
    except TextError as error:
        if error.status is TextStatus.INVALID_UNICODE:
            raise
        return []
