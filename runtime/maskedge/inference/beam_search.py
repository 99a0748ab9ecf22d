"""All masks of a text filled together: a beam search over the masks, in reading order or the surest first."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from maskedge.bundle.engine import Outputs
from maskedge.inference.batching import Ask, Query
from maskedge.inference.decoding import TextDecoder
from maskedge.inference.encoding import EncodedText
from maskedge.results import JointFill

__all__ = ["BEAMS", "Filling", "Order", "check_order", "fill_together", "joint_fills"]

BEAMS = 8
"""Fewest fillings that are kept unless asked otherwise; more find better ones, and take longer in proportion."""

Order = Literal["left_to_right", "confidence"]
"""Which mask is filled next: the next in reading order, or the one whose best token is the most probable."""


@dataclass(frozen=True, slots=True)
class Filling:
    """Some masks of a text, filled."""

    logprob: float
    """Of each token given those filled before it, summed, nats."""
    order: tuple[int, ...]
    """Numbers of the masks, as they were filled."""
    tokens: tuple[int, ...]
    """Their vocabulary ids, in the same order."""

    def filled(self, mask: int, token: int, logprob: float) -> "Filling":
        """The same with one mask more."""
        return Filling(self.logprob + logprob, (*self.order, mask), (*self.tokens, token))

    @property
    def in_reading_order(self) -> tuple[int, ...]:
        """The ids, by the number of their mask."""
        return tuple(token for _, token in sorted(zip(self.order, self.tokens, strict=True)))


def check_order(order: str) -> None:
    """Raises ValueError, naming the orders there are, for another."""
    if order not in get_args(Order):
        raise ValueError(f"order is {order!r}; it must be one of {', '.join(get_args(Order))}")


def joint_fills(text: EncodedText, decoder: TextDecoder, ask: Ask, *, order: Order, beams: int) -> list[JointFill]:
    """The text's fillings that `fill_together` finds, best first."""
    fillings = fill_together(text.input_ids, text.mask_positions, ask, order=order, beams=beams)
    return [_joint_fill(text, filling, decoder) for filling in fillings]


def fill_together(
    input_ids: np.ndarray[tuple[int], np.dtype[np.int64]],
    mask_positions: tuple[int, ...],
    ask: Ask,
    *,
    order: Order,
    beams: int,
) -> list[Filling]:
    """The `beams` most probable fillings that a beam search finds, best first. `input_ids` is [length].

    With as many beams as there are fillings of all masks but one, and tokens in the vocabulary, none is missed.
    """
    fillings = [Filling(0.0, (), ())]
    for _ in mask_positions:
        queries = [_query(input_ids, mask_positions, filling, order) for filling in fillings]
        answers = ask(queries, ["top_ids", "top_logprobs"], beams)
        grown = [
            longer
            for filling, outputs in zip(fillings, answers, strict=True)
            for longer in _grow(filling, outputs, _masks_left(filling, len(mask_positions)))
        ]
        fillings = _best(grown, beams)
    return fillings


def _query(
    input_ids: np.ndarray[tuple[int], np.dtype[np.int64]],
    mask_positions: tuple[int, ...],
    filling: Filling,
    order: Order,
) -> Query:
    """Asks for the next mask in reading order, or for all that are left."""
    ids = input_ids.copy()
    for mask, token in zip(filling.order, filling.tokens, strict=True):
        ids[mask_positions[mask]] = token
    left = tuple(mask_positions[mask] for mask in _masks_left(filling, len(mask_positions)))
    asked = left[:1] if order == "left_to_right" else left
    return Query(ids, asked, (0,) * len(asked))


def _masks_left(filling: Filling, masks: int) -> list[int]:
    return [mask for mask in range(masks) if mask not in filling.order]


def _grow(filling: Filling, outputs: Outputs, left: list[int]) -> list[Filling]:
    """The filling with each of the best tokens at the surest of the masks that were asked for."""
    logprobs = np.asarray(outputs["top_logprobs"], np.float64)  # [asked, beams]
    surest = int(np.argmax(logprobs[:, 0]))
    tokens = np.asarray(outputs["top_ids"])[surest].tolist()
    pairs = zip(tokens, logprobs[surest].tolist(), strict=True)
    return [filling.filled(left[surest], token, logprob) for token, logprob in pairs]


def _best(fillings: list[Filling], count: int) -> list[Filling]:
    """The most probable ones; ids decide between equals, so that the result depends on nothing else.

    One sentence may be reached in several orders, but not twice in one: which mask is filled next follows from the
    tokens so far, so that two paths part at a token and end in different sentences.
    """
    return sorted(fillings, key=lambda filling: (-filling.logprob, filling.in_reading_order))[:count]


def _joint_fill(text: EncodedText, filling: Filling, decoder: TextDecoder) -> JointFill:
    tokens = filling.in_reading_order
    ids = text.input_ids.copy()
    ids[list(text.mask_positions)] = tokens
    return JointFill(
        text=text.text,
        tokens=tokens,
        token_strs=tuple(decoder.text([token]) for token in tokens),
        logprob=filling.logprob,
        order=filling.order,
        sequence=decoder.sequence(ids.tolist(), skip_special_tokens=True),
        truncated=text.truncated,
    )
