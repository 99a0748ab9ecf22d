"""What the page asks a model, and what it shows of the answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from maskedge.arrays import Float32Array
from maskedge.demo.limits import MAX_CHARS, MAX_SHOWN, MAX_TOP_K
from maskedge.demo.models import Model
from maskedge.demo.sentences import Sentence
from maskedge.errors import MaskedgeError
from maskedge.explanation import Explanation, explain_spans
from maskedge.results import Influence, SentenceScore

__all__ = ["Refusal", "ShownAttention", "attend", "check_length", "fill", "influence", "score"]


class Refusal(Exception):  # noqa: N818 - it is for visitors to read
    """Why a question has no answer, in a line."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownAttention:
    """One head's attention, or the mean of a layer's heads, to some of a text's tokens."""

    tokens: tuple[str, ...]
    """Those shown, decoded one by one."""
    query: int
    """The number of the mask's token among them."""
    weights: Float32Array
    """[tokens, tokens]: from queries to keys; a query's add up to less than 1 where keys are left out."""
    left_out: int
    """How many tokens are not shown."""

    @property
    def looked_at(self) -> list[tuple[str, float]]:
        """The tokens that the mask looks at, with its weights, the greatest first."""
        row = self.weights[self.query]
        return [(self.tokens[key], float(row[key])) for key in np.argsort(-row, kind="stable")]


@contextmanager
def _refusing() -> Iterator[None]:
    """A model's errors as refusals."""
    try:
        yield
    except (MaskedgeError, ValueError) as error:
        raise Refusal(str(error).removeprefix("text 0: ")) from error


@_refusing()
def fill(model: Model, sentence: Sentence, top_k: int) -> Explanation | None:
    """The predictions at all masks of a sentence; None where it has none. Raises Refusal."""
    check_length(sentence.text)
    if not any(part.masked or part.own_mask for part in sentence.parts()):
        return None
    most = min(MAX_TOP_K, model.predictor.bundle.manifest.vocab_size)
    return explain_spans(model.predictor, sentence.text, sentence.masked_spans, top_k=min(max(1, top_k), most))


@_refusing()
def influence(model: Model, explanation: Explanation, mask: int) -> Influence:
    """How much each other word matters to the best prediction at a mask. Raises Refusal."""
    best = explanation.masks[mask].candidates[0].token
    return model.slow.influence(explanation.masked_text, mask=mask, token=best)


@_refusing()
def attend(model: Model, explanation: Explanation, mask: int, layer: int, head: int | None) -> ShownAttention:
    """Where a mask looks in a layer, counted from 1, and a head of it, or the mean of all. Raises Refusal."""
    attention = model.predictor.attend(explanation.masked_text)
    weights = attention.weights[min(max(1, layer), attention.layers) - 1]  # [heads, queries, keys]
    chosen = weights.mean(axis=0) if head is None else weights[min(max(1, head), attention.heads) - 1]
    query = explanation.masks[mask].position
    shown = _around(query, len(attention.tokens))
    rows = chosen[shown.start : shown.stop, shown.start : shown.stop]
    tokens = attention.tokens[shown.start : shown.stop]
    return ShownAttention(tokens, query - shown.start, rows, len(attention.tokens) - len(shown))


@_refusing()
def score(model: Model, text: str) -> SentenceScore:
    """How probable each word of a text is, given all others. Raises Refusal."""
    check_length(text)
    return model.slow.score([text])[0]


def check_length(text: str) -> None:
    """Raises Refusal for a text that is too long to be read here."""
    if len(text) > MAX_CHARS:
        raise Refusal(f"This text is too long: at most {MAX_CHARS:,} characters are read here.")


def _around(place: int, count: int) -> range:
    """The places of `count` that are shown, a given one in their midst."""
    start = max(0, min(place - MAX_SHOWN // 2, count - MAX_SHOWN))
    return range(start, min(count, start + MAX_SHOWN))
