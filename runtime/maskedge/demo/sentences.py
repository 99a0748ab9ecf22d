"""A sentence as the page has it: words to click, some of them masked."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from maskedge.inference.words import word_spans
from maskedge.spelling import mask_spans

__all__ = ["Part", "Sentence", "carried"]

Span = tuple[int, int]
"""The index of the first character, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the sentence between two others."""

    text: str
    word: int | None = None
    """The number of the word that it is, from 0; None for what stands between words."""
    masked: bool = False
    own_mask: bool = False
    """Whether it is a mask that was typed."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text and the words of it that are masked; `Sentence.of` finds the words."""

    text: str
    mask_token: str
    """The model's own."""
    words: tuple[Span, ...]
    """Where the words stand that can be masked: all but those of masks that were typed."""
    masked: tuple[int, ...]
    """The numbers of words, from 0, ascending."""

    @classmethod
    def of(cls, text: str, mask_token: str, masked: Collection[object] = ()) -> "Sentence":
        """A sentence whose masked words were named by somebody who may have got them wrong."""
        words, named = _words(text, mask_token), {number for number in masked if isinstance(number, int)}
        return cls(text, mask_token, words, tuple(number for number in range(len(words)) if number in named))

    @property
    def masked_spans(self) -> list[Span]:
        """Where the masked words stand."""
        return [self.words[number] for number in self.masked]

    def parts(self) -> Iterator[Part]:
        """The whole text in pieces."""
        own, end = set(mask_spans(self.text, self.mask_token)), 0
        numbers = {span: number for number, span in enumerate(self.words)}
        for start, stop in sorted({*own, *numbers}):
            if end < start:
                yield Part(self.text[end:start])
            number = numbers.get((start, stop))
            yield Part(self.text[start:stop], number, number in self.masked, (start, stop) in own)
            end = stop
        if end < len(self.text):
            yield Part(self.text[end:])

    def edited(self, text: str) -> "Sentence":
        """The sentence with another text, in which the words before and after what changed stay masked."""
        new = Sentence.of(text, self.mask_token)
        return replace(new, masked=tuple(sorted(carried(self._spelled, new._spelled, self.masked))))

    @property
    def _spelled(self) -> list[str]:
        return [self.text[slice(*span)] for span in self.words]


def carried(before: Sequence[str], after: Sequence[str], numbers: Collection[int]) -> set[int]:
    """The numbers of some words of `before` in `after`: of those that stand at both ones' beginning or end."""
    same = _count_same(before, after)
    same_at_end = min(_count_same(before[::-1], after[::-1]), len(before) - same, len(after) - same)
    shift = len(after) - len(before)
    kept = {number for number in numbers if number < same}
    return kept | {number + shift for number in numbers if number >= len(before) - same_at_end}


def _count_same(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words two sequences have in common at their beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _words(text: str, mask_token: str) -> tuple[Span, ...]:
    own = mask_spans(text, mask_token)
    return tuple(
        (start, stop)
        for start, stop in word_spans(text)
        if not any(start < last and first < stop for first, last in own)
    )
