"""Answers -> HTML, in which all text is text: the templates escape it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from maskedge.demo.answers import ShownAttention
from maskedge.demo.sentences import Sentence
from maskedge.explanation import ExplainedMask, Explanation
from maskedge.results import Influence, SentenceScore
from maskedge.spelling import mask_spans, visible

__all__ = ["attention_view", "fill_view", "influence_view", "notice", "score_view", "scored_file_view", "words_view"]

FULL_INFLUENCE = 3.0
"""Nats of the deepest colour: a word that makes a prediction 20 times as probable."""
FULL_SURPRISE = 8.0
"""Nats of the deepest colour: a word that the model gives 1 of 3,000."""
MOST = 5
"""Words that are named as those that matter most, or surprise most."""
LOOKED_AT = 6
"""Tokens that a mask looks at, of which the numbers are shown."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a text in one colour."""

    text: str
    weight: float = 0.0
    """From -1 to 1: how deep, and in which of two colours."""
    said: str = ""
    """What pointing at it says, and a screen reader after it."""
    mask: bool = False


def percent(share: float) -> str:
    """A probability as people read it."""
    if 0 < share < 0.0005:
        return "< 0.1\N{NO-BREAK SPACE}%"
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `113th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


TEMPLATES = Environment(
    loader=PackageLoader("maskedge.demo"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    auto_reload=False,
)
TEMPLATES.filters |= {"percent": percent, "visible": visible, "exp": math.exp, "ordinal": ordinal}


def notice(message: str, *, error: bool = False) -> str:
    """A sentence instead of an answer."""
    return _render("notice.html", message=message, error=error)


def words_view(sentence: Sentence, model: str) -> dict[str, Any]:
    """What the script draws a sentence's words from, and sends back with other words masked."""
    parts = [{"text": part.text, "word": part.word, "mask": part.own_mask} for part in sentence.parts()]
    return {"text": sentence.text, "model": model, "masked": list(sentence.masked), "parts": parts}


def fill_view(explanation: Explanation) -> str:
    """The filled sentence, and each mask's predictions."""
    return _render("fill.html", explanation=explanation, filled=list(_filled(explanation)))


def influence_view(influence: Influence, explanation: Explanation) -> str:
    """The other words in the colours of what they do to the best prediction."""
    words = sorted(influence.words, key=lambda word: -abs(word.change))[:MOST]
    stretches = list(_influence(influence, explanation))
    return _render("influence.html", influence=influence, stretches=stretches, words=words, full=FULL_INFLUENCE)


def attention_view(attention: ShownAttention, place: str) -> str:
    """Where a mask looks in a layer and head, which `place` names, and the head's heat map."""
    looked_at = attention.looked_at[:LOOKED_AT]
    return _render("attention.html", attention=attention, looked_at=looked_at, place=place)


def score_view(score: SentenceScore) -> str:
    """A text's words in the colours of how surprising they are, and its figures."""
    hardest = sorted(score.words, key=lambda word: word.logprob)[:MOST]
    return _render("score.html", score=score, stretches=list(_surprise(score)), hardest=hardest, full=FULL_SURPRISE)


def scored_file_view(figures: Sequence[tuple[str, str]], limited: int | None, minutes: int) -> str:
    """A scored file's figures, and what becomes of the files."""
    return _render("scored_file.html", figures=figures, limited=limited, minutes=minutes)


def _render(template: str, **values: Any) -> str:
    return TEMPLATES.get_template(template).render(**values)


def _filled(explanation: Explanation) -> Iterator[Stretch]:
    masks = sorted(explanation.masks, key=lambda mask: mask.filled_span)
    marked = [(*mask.filled_span, _best(mask)) for mask in masks]
    yield from _stretches(explanation.filled_text, marked)


def _best(mask: ExplainedMask) -> Stretch:
    return Stretch("", 1.0, percent(mask.candidates[0].probability), mask=True)


def _influence(influence: Influence, explanation: Explanation) -> Iterator[Stretch]:
    text = explanation.masked_text
    marked = [
        (word.start, word.stop, Stretch("", _bounded(word.change / FULL_INFLUENCE), f"{word.change:+.2f} nats"))
        for word in influence.words
    ]
    marked += [(*span, Stretch("", mask=True)) for span in mask_spans(text, explanation.mask_token)]
    return _stretches(text, sorted(marked, key=lambda each: each[:2]))


def _surprise(score: SentenceScore) -> Iterator[Stretch]:
    marked = [
        (word.start, word.stop, Stretch("", _bounded(-word.logprob / FULL_SURPRISE), percent(math.exp(word.logprob))))
        for word in score.words
    ]
    return _stretches(score.text, marked)


def _bounded(weight: float) -> float:
    return max(-1.0, min(1.0, weight))


def _stretches(text: str, marked: Sequence[tuple[int, int, Stretch]]) -> Iterator[Stretch]:
    """The text in parts, some of which are marked, in reading order: each like its model in `marked`."""
    end = 0
    for start, stop, like in marked:
        if end < start:
            yield Stretch(text[end:start])
        yield Stretch(text[start:stop], like.weight, like.said, like.mask)
        end = stop
    if end < len(text):
        yield Stretch(text[end:])
