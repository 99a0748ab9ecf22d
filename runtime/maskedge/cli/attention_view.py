"""What is shown of a text's attention: the layers and heads that were asked for, and as many tokens as fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from maskedge.arrays import Float32Array
from maskedge.predictor import Predictor
from maskedge.results import Attention

__all__ = ["MAX_TOKENS", "AttentionView", "view_attention"]

MAX_TOKENS = 128
"""Most tokens that are shown: more cannot be read in a picture."""
MAX_CELLS = 144 * MAX_TOKENS**2
"""Most weights that are shown, those of a BERT-base: a page of them has 5 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class AttentionView:
    """Some heads' attention to some of a text's tokens, with what is to be said of it."""

    text: str
    model: str
    """The model's name, and the precision of its graph."""
    layers: tuple[int, ...]
    """Their numbers, from 1."""
    heads: tuple[int, ...]
    """Their numbers within each layer, from 1."""
    tokens: tuple[str, ...]
    """Decoded one by one."""
    mask_token: str
    masks: tuple[int, ...]
    """The indices of the masks in `tokens`."""
    first: int
    """How many of the text's tokens stand before those shown."""
    total: int
    """How many tokens the model read."""
    truncated: bool
    """Whether the model read a part of the text only."""
    weights: Float32Array
    """[layers, heads, queries, keys], the tokens shown; a query's add up to less than 1 where keys are left out."""

    @property
    def notes(self) -> list[str]:
        """What is missing, in sentences; none where everything is shown."""
        shown, notes = len(self.tokens), []
        if shown < self.total:
            span = f"Tokens {self.first + 1} to {self.first + shown} of {self.total} are shown"
            notes.append(f"{span}; the {self.total - shown} others are left out.")
        if self.truncated:
            notes.append(f"The text is longer than the model reads: {self.total} tokens of it were read.")
        return notes

    def title_of(self, layer: int, head: int) -> str:
        """What a head is called, by its indices in the view."""
        return f"Layer {self.layers[layer]}, head {self.heads[head]}"


def view_attention(
    attention: Attention, predictor: Predictor, layers: Sequence[int], heads: Sequence[int]
) -> AttentionView:
    """What to show of the attention that a predictor found.

    Args:
        attention: Of any text.
        predictor: Whose model it is.
        layers: The numbers, from 1, of those to show; all where none are given.
        heads: The same of the heads in each layer.

    Raises:
        ValueError: There is no layer or head of a number.
    """
    shown_layers = _chosen(layers, attention.layers, "layer")
    shown_heads = _chosen(heads, attention.heads, "head")
    masks = [place for place, token in enumerate(attention.token_ids) if token == predictor.encoder.mask_id]
    room = min(MAX_TOKENS, isqrt(MAX_CELLS // (len(shown_layers) * len(shown_heads))))
    shown = _around(masks, len(attention.tokens), room)
    weights = attention.weights[[number - 1 for number in shown_layers]][:, [number - 1 for number in shown_heads]]
    return AttentionView(
        attention.text,
        f"{predictor.name} · {predictor.precision}",
        shown_layers,
        shown_heads,
        attention.tokens[shown.start : shown.stop],
        predictor.mask_token,
        tuple(place - shown.start for place in masks if place in shown),
        shown.start,
        len(attention.tokens),
        attention.truncated,
        weights[..., shown.start : shown.stop, shown.start : shown.stop],
    )


def _chosen(asked: Sequence[int], count: int, what: str) -> tuple[int, ...]:
    """Numbers from 1, each once and in order."""
    for number in asked:
        if not 1 <= number <= count:
            raise ValueError(f"there is no {what} {number}: the model has {count}, counted from 1")
    return tuple(sorted(set(asked))) or tuple(range(1, count + 1))


def _around(masks: Sequence[int], count: int, room: int) -> range:
    """The places of `count` that fit: the first ones, or those around the first mask where it lies behind them."""
    start = max(0, masks[0] - room // 2) if masks and masks[0] >= room else 0
    start = min(start, max(0, count - room))
    return range(start, min(count, start + room))
