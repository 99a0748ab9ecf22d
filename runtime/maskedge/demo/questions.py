"""What happens when a visitor does something: values from the page -> values for the page."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from maskedge.demo import answers, views
from maskedge.demo.answers import Refusal
from maskedge.demo.examples import EXAMPLES
from maskedge.demo.limits import MAX_CHARS
from maskedge.demo.models import Model
from maskedge.demo.sentences import Sentence
from maskedge.explanation import Explanation
from maskedge.text_lines import legible

__all__ = ["ALL_HEADS", "SHOWN_AT_FIRST", "Questions"]

ALL_HEADS = "mean"
SHOWN_AT_FIRST = 3
"""Predictions."""
NO_MASK = "Click a word to mask it: the model says what it would put there."


@dataclass(frozen=True, slots=True)
class Questions:
    """What visitors ask. It remembers nothing of them: all comes with each question.

    What comes may be anything: a page's values go through a stranger's hands.
    """

    models: dict[str, Model]

    def fill(self, text: Any, words: Any, model: Any, top_k: Any, mask: Any) -> tuple[Any, ...]:
        """A text with the words masked that are masked in `words`: its words, the predictions at its masks, the masks
        to choose from for a closer look, and the layers and heads of the model.

        Words, layers and heads are left alone where they are right: a visitor may have gone on already.
        """
        text, asked, sent = _text(text), self._model(model), _sent(words)
        heads = _layers_and_heads(asked) if sent.get("model") != asked.name else [_update()] * 3
        try:
            answers.check_length(text)
        except Refusal as refusal:
            nothing = views.words_view(_sentence({}, asked), asked.name)
            return nothing, views.notice(str(refusal), error=True), _choice([], 0), *heads
        sentence = _sentence(sent, asked)
        same = (sent.get("text"), sent.get("model")) == (text, asked.name)
        sentence = sentence if same else sentence.edited(text)
        shown = _update() if same else views.words_view(sentence, asked.name)
        return shown, *self._filled(sentence, asked, top_k, mask), *heads

    def example(self, number: Any, top_k: Any, model: Any) -> tuple[Any, ...]:
        """An example's text, its model, and what `fill` gives of them."""
        example = EXAMPLES[_whole(number, 0) % len(EXAMPLES)]
        asked = self._model(example.model if example.model in self.models else model)
        sentence = _sentence({"text": example.text}, asked)
        masked = [n for n, span in enumerate(sentence.words) if example.text[slice(*span)] == example.word]
        words = {"text": example.text, "masked": masked[:1]}
        return example.text, asked.name, *self.fill(example.text, words, asked.name, top_k, 0)

    def influence(self, words: Any, model: Any, mask: Any) -> str:
        """The words that matter to the prediction at one mask; nothing where there is no mask."""
        look = self._look(words, model, mask)
        if look is None:
            return ""
        return views.influence_view(answers.influence(look.model, look.explanation, look.mask), look.explanation)

    def attention(self, words: Any, model: Any, mask: Any, layer: Any, head: Any) -> str:
        """Where one mask looks in a layer and head; nothing where there is no mask, or no attention to be shown."""
        look = self._look(words, model, mask)
        if look is None or look.model.no_attention:
            return ""
        layer, number = _whole(layer, 1), None if head == ALL_HEADS else _whole(head, 1)
        place = f"layer {layer}, {'all heads' if number is None else f'head {number}'}"
        return views.attention_view(answers.attend(look.model, look.explanation, look.mask, layer, number), place)

    def score(self, text: Any, model: Any) -> str:
        """A sentence's words in the colours of their surprise."""
        try:
            return views.score_view(answers.score(self._model(model), _text(text)))
        except Refusal as refusal:
            return views.notice(str(refusal), error=True)

    def _model(self, name: Any) -> Model:
        """The model of a name; the first for any other."""
        return self.models.get(str(name)) or next(iter(self.models.values()))

    def _filled(self, sentence: Sentence, model: Model, top_k: Any, mask: Any) -> tuple[Any, ...]:
        try:
            explanation = answers.fill(model, sentence, _whole(top_k, SHOWN_AT_FIRST))
        except Refusal as refusal:
            return views.notice(str(refusal), error=True), _choice([], 0)
        if explanation is None:
            return views.notice(NO_MASK), _choice([], 0)
        names = [each.word or explanation.mask_token for each in explanation.masks]
        return views.fill_view(explanation), _choice(names, _whole(mask, 0))

    def _look(self, words: Any, model: Any, mask: Any) -> "_Look | None":
        asked = self._model(model)
        try:
            explanation = answers.fill(asked, _sentence(_sent(words), asked), 1)
        except Refusal:  # the predictions say why
            return None
        if explanation is None:
            return None
        return _Look(asked, explanation, min(max(0, _whole(mask, 0)), len(explanation.masks) - 1))


@dataclass(frozen=True, slots=True)
class _Look:
    """A mask that is looked at closer."""

    model: Model
    explanation: Explanation
    mask: int
    """Its number, from 0."""


def _text(value: Any) -> str:
    """As much of a text that a page sent as says that it is too long.

    Half a surrogate pair, which JSON may hold, has no bytes and could not be sent back.
    """
    return legible(str(value or "")[: MAX_CHARS + 1])


def _sent(words: Any) -> dict[str, Any]:
    """What a page knows of a sentence, as `views.words_view` made it."""
    return words if isinstance(words, dict) else {}


def _sentence(sent: dict[str, Any], model: Model) -> Sentence:
    masked = sent.get("masked")
    return Sentence.of(_text(sent.get("text")), model.predictor.mask_token, masked if isinstance(masked, list) else [])


def _layers_and_heads(model: Model) -> tuple[Any, ...]:
    """Those to choose from, or why there are none."""
    layers, heads = model.layers_and_heads
    layer = _update(choices=_pairs(range(1, layers + 1)), value=max(1, layers), visible=layers > 0)
    head = _update(choices=_pairs([ALL_HEADS, *map(str, range(1, heads + 1))]), value=ALL_HEADS, visible=heads > 0)
    return layer, head, views.notice(model.no_attention) if model.no_attention else ""


def _choice(names: list[str], chosen: int) -> dict[str, Any]:
    """The masks to choose from, where there are several."""
    choices = [(f"{number}: {name}", number - 1) for number, name in enumerate(names, start=1)]
    return _update(choices=choices, value=max(0, min(chosen, len(names) - 1)), visible=len(names) > 1)


def _pairs(values: Iterable[Any]) -> list[tuple[str, Any]]:
    """Values to choose from, each under its own name."""
    return [(str(value), value) for value in values]


def _update(**settings: Any) -> dict[str, Any]:
    """What Gradio's page takes for changed settings of a component; none leave it as it is."""
    return {"__type__": "update", **settings}


def _whole(value: Any, otherwise: int) -> int:
    """A number that a page sent."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise
