"""Sentences whose words say which other word they depend on, as Universal Dependencies writes them (CoNLL-U)."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import conllu

from maskedge_batch.errors import InputError
from maskedge_batch.storage.faults import naming_failed_reads
from maskedge_batch.storage.locations import Place, locate

__all__ = ["AnnotatedSentence", "Dependent", "read_conllu", "token_words"]


@dataclass(frozen=True, slots=True)
class Dependent:
    """A word and what it depends on."""

    start: int
    """The index of its first character in the sentence."""
    stop: int
    """The index after its last character."""
    head: int | None
    """The number of the word that it depends on, from 0; None for the root."""
    relation: str
    """Such as `nsubj`, as it is annotated."""


@dataclass(frozen=True, slots=True)
class AnnotatedSentence:
    """A text; where it is annotated, with its words."""

    text: str
    words: tuple[Dependent, ...] = ()


def read_conllu(place: Place) -> Iterator[AnnotatedSentence]:
    """Yields each sentence of a CoNLL-U file. Raises InputError where it cannot be read."""
    with naming_failed_reads(place):
        opened: Any = locate(place).stream()  # a raw stream, though its stubs do not say so
    with opened, io.TextIOWrapper(io.BufferedReader(opened), encoding="utf-8") as file:
        try:
            yield from map(_sentence, conllu.parse_incr(file))
        except (OSError, ValueError, LookupError, TypeError, conllu.exceptions.ParseException) as error:
            raise InputError(f"{place} is no CoNLL-U file that can be read: {error}.") from error


def token_words(words: Sequence[Dependent], offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """For each token, from the span of characters that it stands for, the word that its first character belongs to."""
    owner = {place: number for number, word in enumerate(words) for place in range(word.start, word.stop)}
    return [next((owner[place] for place in range(*span) if place in owner), None) for span in offsets]


def _sentence(sentence: Any) -> AnnotatedSentence:
    """The sentence as its words and the blanks between them spell it. Words that are written as one, such as `don't`,
    are annotated apart; words that are not written at all are left out."""
    text, words, numbers = "", list[tuple[int, int, Any]](), dict[int, int]()
    surface_end = surface_stop = place = 0
    for token in sentence:
        if isinstance(token["id"], tuple) and token["id"][1] == "-":
            surface_end = token["id"][2]
            text, surface_stop = _written(text, token)
            place = len(text.rstrip()) - len(token["form"])
        elif isinstance(token["id"], int):
            if token["id"] > surface_end:
                text, stop = _written(text, token)
                start = stop - len(token["form"])
            else:  # a part of what is written as one
                found = text.find(token["form"], place, surface_stop)
                start, stop = (found, found + len(token["form"])) if found >= 0 else (surface_stop, surface_stop)
                place = max(place, stop) if found >= 0 else place
            numbers[token["id"]] = len(words)
            words.append((start, stop, token))
    return AnnotatedSentence(
        text.rstrip(),
        tuple(Dependent(start, stop, numbers.get(token["head"]), token["deprel"]) for start, stop, token in words),
    )


def _written(text: str, token: Any) -> tuple[str, int]:
    """The text with a token behind it, and where that ends."""
    text += token["form"]
    blank = "" if (token["misc"] or {}).get("SpaceAfter") == "No" else " "
    return text + blank, len(text)
