"""All masks of a text filled together, by a beam search: in reading order, or the surest mask first."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from maskedge.arrays import Int64Array
from maskedge.bundle.engine import Outputs
from maskedge.inference.batching import AnswerQueries, Query
from maskedge.inference.decoding import TextDecoder
from maskedge.inference.encoding import EncodedText
from maskedge.results import JointFill

__all__ = ["BEAMS", "Hypothesis", "Order", "beam_search", "check_order", "joint_fills"]

BEAMS = 8
"""Hypotheses that are kept at each step by default. More find better fillings, and take longer in proportion."""

Order = Literal["left_to_right", "confidence"]
"""Which mask is filled next: the next in reading order, or the one whose best token is the most probable."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A text with some of its masks filled, or all."""

    logprob: float
    """The sum of the tokens' log-probabilities, each given the tokens filled before it, nats."""
    order: tuple[int, ...]
    """The numbers of the filled masks, in the order in which they were filled."""
    tokens: tuple[int, ...]
    """The vocabulary ids that fill them, in the same order."""

    def with_token(self, mask: int, token: int, logprob: float) -> "Hypothesis":
        """The hypothesis with one more mask filled. `logprob` is the token's log-probability, nats."""
        return Hypothesis(self.logprob + logprob, (*self.order, mask), (*self.tokens, token))

    @property
    def in_reading_order(self) -> tuple[int, ...]:
        """The vocabulary ids by the number of their mask."""
        return tuple(token for _, token in sorted(zip(self.order, self.tokens, strict=True)))


def check_order(order: str) -> None:
    """Raises ValueError, which lists the orders there are, for any other."""
    if order not in get_args(Order):
        raise ValueError(f"order is {order!r}; it must be one of {', '.join(get_args(Order))}")


def joint_fills(
    text: EncodedText, decoder: TextDecoder, answer_queries: AnswerQueries, *, order: Order, beams: int
) -> list[JointFill]:
    """The text's fillings that `beam_search` finds, best first."""
    hypotheses = beam_search(text.input_ids, text.mask_positions, answer_queries, order=order, beams=beams)
    return [_joint_fill(text, hypothesis, decoder) for hypothesis in hypotheses]


def beam_search(
    input_ids: Int64Array,
    mask_positions: tuple[int, ...],
    answer_queries: AnswerQueries,
    *,
    order: Order,
    beams: int,
) -> list[Hypothesis]:
    """The `beams` most probable fillings of all masks that a beam search finds, best first.

    The search is exact where `beams` is at least the vocabulary's size and at least the number of fillings of all masks
    but one: then no unfinished hypothesis is dropped.

    Args:
        input_ids: [length], masks in place.
        mask_positions: Where the masks are, ascending.
        answer_queries: Asks the model.
        order: Which mask is filled next.
        beams: How many hypotheses are kept at each step.
    """
    hypotheses = [Hypothesis(0.0, (), ())]
    for _ in mask_positions:
        # Ask: the queries of one step go to the model together, so that they share batches.
        queries = [_query(input_ids, mask_positions, hypothesis, order) for hypothesis in hypotheses]
        answers = answer_queries(queries, ["top_ids", "top_logprobs"], beams)
        # Extend: each hypothesis fills one more mask, with each of the `beams` most probable tokens there.
        extended = [
            longer
            for hypothesis, outputs in zip(hypotheses, answers, strict=True)
            for longer in _extended(hypothesis, outputs, _masks_left(hypothesis, len(mask_positions)))
        ]
        # Prune: of at most beams * beams hypotheses, `beams` are kept.
        hypotheses = _most_probable(extended, beams)
    return hypotheses


def _query(
    input_ids: Int64Array,
    mask_positions: tuple[int, ...],
    hypothesis: Hypothesis,
    order: Order,
) -> Query:
    """The query for a hypothesis's next mask: the next in reading order, or all masks left, to choose among them."""
    ids = input_ids.copy()
    for mask, token in zip(hypothesis.order, hypothesis.tokens, strict=True):
        ids[mask_positions[mask]] = token
    left = tuple(mask_positions[mask] for mask in _masks_left(hypothesis, len(mask_positions)))
    asked = left[:1] if order == "left_to_right" else left
    return Query(ids, asked, (0,) * len(asked))


def _masks_left(hypothesis: Hypothesis, masks: int) -> list[int]:
    return [mask for mask in range(masks) if mask not in hypothesis.order]


def _extended(hypothesis: Hypothesis, outputs: Outputs, left: list[int]) -> list[Hypothesis]:
    """The hypothesis extended by each of the best tokens at one mask: the surest of the masks that were asked for.

    `left` are the numbers of the masks not yet filled, of which the first ones were asked for.
    """
    logprobs = np.asarray(outputs["top_logprobs"], np.float64)  # [asked, beams], best first
    # The mask whose best token is the most probable; in reading order only one mask was asked for.
    surest = int(np.argmax(logprobs[:, 0]))
    tokens = np.asarray(outputs["top_ids"])[surest].tolist()
    pairs = zip(tokens, logprobs[surest].tolist(), strict=True)
    return [hypothesis.with_token(left[surest], token, logprob) for token, logprob in pairs]


def _most_probable(hypotheses: list[Hypothesis], count: int) -> list[Hypothesis]:
    """The most probable hypotheses, best first. Of equally probable ones the smaller ids come first.

    No two hypotheses have filled the same masks with the same tokens, so that none need be merged. Which mask is filled
    next follows from the tokens so far; where two hypotheses part, they have different tokens at the same mask.
    """
    return sorted(hypotheses, key=lambda hypothesis: (-hypothesis.logprob, hypothesis.in_reading_order))[:count]


def _joint_fill(text: EncodedText, hypothesis: Hypothesis, decoder: TextDecoder) -> JointFill:
    tokens = hypothesis.in_reading_order
    ids = text.input_ids.copy()
    ids[list(text.mask_positions)] = tokens
    return JointFill(
        text=text.text,
        tokens=tokens,
        token_strs=tuple(map(decoder.token_str, tokens)),
        logprob=hypothesis.logprob,
        order=hypothesis.order,
        sequence=decoder.sequence(ids.tolist(), skip_special_tokens=True),
        truncated=text.truncated,
    )
