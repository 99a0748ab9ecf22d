"""Several masks filled together: a beam search against every filling there is."""

import itertools
import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer

from maskedge import JointFill, Predictor, TextError
from maskedge.bundle.engine import Outputs
from maskedge.inference.batching import Query
from maskedge.inference.beam_search import Order, beam_search

Array = npt.NDArray[np.float64]

VOCABULARY = 5
MASK = -1
TEXT = "the [MASK] water [MASK] the child"
ORDERS: list[Order] = ["left_to_right", "confidence"]


class TinyModel:
    """Five words, and at each mask a distribution that depends on everything in the text, drawn by seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def logprobs(self, ids: tuple[int, ...], position: int) -> Array:
        """[vocabulary], nats"""
        chance = np.random.default_rng([self.seed, position, *(token + 1 for token in ids)])
        logits = chance.normal(scale=2.0, size=VOCABULARY)
        return np.asarray(logits - np.log(np.exp(logits).sum()))

    def ask(self, queries: Iterable[Query], _: list[str], top_k: int) -> list[Outputs]:
        return [self.answer(query, top_k) for query in queries]

    def answer(self, query: Query, top_k: int) -> Outputs:
        ids = tuple(query.input_ids.tolist())
        rows = [self.logprobs(ids, position) for position in query.mask_positions]
        best = [np.argsort(-row, kind="stable")[:top_k] for row in rows]
        return {
            "top_ids": np.stack(best),
            "top_logprobs": np.stack([row[ids] for row, ids in zip(rows, best, strict=True)]),
        }


def every_filling(model: TinyModel, text: list[int], order: Order) -> dict[tuple[int, ...], tuple[float, list[int]]]:
    """The reference: each filling's joint log-probability and the order of its masks, step by step."""
    masks = [position for position, token in enumerate(text) if token == MASK]
    return {
        tokens: filled_step_by_step(model, list(text), masks, tokens, order)
        for tokens in itertools.product(range(VOCABULARY), repeat=len(masks))
    }


def filled_step_by_step(
    model: TinyModel, ids: list[int], masks: list[int], tokens: tuple[int, ...], order: Order
) -> tuple[float, list[int]]:
    total, used = 0.0, []
    left = list(range(len(masks)))
    while left:
        rows = {mask: model.logprobs(tuple(ids), masks[mask]) for mask in left}
        mask = left[0] if order == "left_to_right" else max(left, key=lambda each: rows[each].max())
        total += rows[mask][tokens[mask]]
        ids[masks[mask]] = tokens[mask]
        left.remove(mask)
        used.append(mask)
    return total, used


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("masks", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_what_exhaustive_search_finds(seed: int, masks: int, order: Order) -> None:
    model = TinyModel(seed)
    text = [3, *[MASK, 1] * masks]
    reference = every_filling(model, text, order)
    found = beam_search(np.array(text), tuple(range(1, len(text), 2)), model.ask, order=order, beams=VOCABULARY**masks)
    assert len(found) == VOCABULARY**masks
    best_first = sorted(reference, key=lambda tokens: -reference[tokens][0])
    assert [filling.in_reading_order for filling in found] == best_first
    for filling in found:
        logprob, used = reference[filling.in_reading_order]
        assert filling.logprob == pytest.approx(logprob, abs=1e-9)
        assert list(filling.order) == used
    assert math.fsum(math.exp(filling.logprob) for filling in found) == pytest.approx(1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(5))
def test_a_narrow_beam_says_the_truth_of_what_it_finds(seed: int, order: Order) -> None:
    model = TinyModel(seed)
    text = [3, *[MASK, 1] * 4]
    reference = every_filling(model, text, order)
    for beams in (1, 2, 5):
        found = beam_search(np.array(text), (1, 3, 5, 7), model.ask, order=order, beams=beams)
        assert 1 <= len(found) <= beams
        for filling in found:
            assert filling.logprob == pytest.approx(reference[filling.in_reading_order][0], abs=1e-9)


def test_confidence_fills_the_surest_mask_first() -> None:
    orders = set()
    for seed in range(10):
        model = TinyModel(seed)
        (filling,) = beam_search(np.array([MASK, 1, MASK]), (0, 2), model.ask, order="confidence", beams=1)
        first, second = (model.logprobs((MASK, 1, MASK), position).max() for position in (0, 2))
        assert filling.order == ((0, 1) if first > second else (1, 0))
        orders.add(filling.order)
    assert orders == {(0, 1), (1, 0)}


# With a real graph


def test_the_graph_is_searched_exhaustively(
    predictor: Predictor, tokenizer: Tokenizer, ask: Callable[..., dict[str, npt.NDArray[np.generic]]]
) -> None:
    """The 20 best of all 160,000 fillings of two masks."""
    ids = tokenizer.encode(TEXT).ids
    first, second = (index for index, token in enumerate(ids) if token == tokenizer.token_to_id("[MASK]"))
    joint = np.empty((400, 400))  # [first mask, second mask], nats
    outputs = ask(predictor, ids, [first], [0], top_k=400)
    for token, logprob in zip(outputs["top_ids"][0].tolist(), outputs["top_logprobs"][0].tolist(), strict=True):
        filled = [*ids[:first], token, *ids[first + 1 :]]
        rest = ask(predictor, filled, [second], [0], top_k=400)
        joint[token, rest["top_ids"][0].astype(int)] = logprob + rest["top_logprobs"][0].astype(float)
    best = [divmod(index, 400) for index in np.argsort(-joint, axis=None)[:20].tolist()]
    (fills,) = predictor.fill_jointly([TEXT], top_k=20, beams=400)
    assert [fill.tokens for fill in fills] == best
    assert [fill.logprob for fill in fills] == pytest.approx([joint[tokens] for tokens in best], abs=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_a_joint_fill_is_one_sentence(tiny: Predictor, order: Order) -> None:
    (fills,) = tiny.fill_jointly([TEXT], order=order, top_k=3)
    assert len(fills) == 3
    for fill in fills:
        assert isinstance(fill, JointFill)
        assert fill.text == TEXT
        assert sorted(fill.order) == [0, 1]
        assert fill.token_strs == tuple(map(tiny.encoder.token_str, fill.tokens))
        assert "[" not in fill.sequence.replace("[UNK]", "")
        assert fill.logprob < 0
        assert not fill.truncated


def test_one_mask_is_filled_as_ever(tiny: Predictor) -> None:
    (fills,) = tiny.fill_jointly(["the [MASK]"])
    (mask,) = tiny.fill(["the [MASK]"])[0].masks
    assert [fill.tokens for fill in fills] == [(guess.token,) for guess in mask.predictions]
    assert [math.exp(fill.logprob) for fill in fills] == pytest.approx([guess.score for guess in mask.predictions])


def test_texts_are_searched_apart(tiny: Predictor) -> None:
    texts = [TEXT, "[MASK] and [MASK] and <mask>", "the [MASK]"]
    assert tiny.fill_jointly(texts) == [fill for text in texts for fill in tiny.fill_jointly([text])]
    assert tiny.fill_jointly([]) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"beams": 2},
        {"beams": 0},
        {"beams": 0, "top_k": 0},
        {"order": "random"},
        {"top_k": -1},
        {"top_k": 401},
        {"beams": -3},
    ],
)
def test_impossible_searches_are_refused(tiny: Predictor, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        tiny.fill_jointly([TEXT], **arguments)  # type: ignore[arg-type]


def test_a_text_without_a_mask_is_named(tiny: Predictor) -> None:
    with pytest.raises(TextError, match="text 1: No mask_token"):
        tiny.fill_jointly([TEXT, "the water"])


# In the drop-in call


def test_joint_candidates_are_dicts(tiny: Predictor) -> None:
    for order in ORDERS:
        (fills,) = tiny.fill_jointly([TEXT], order=order)
        candidates = tiny(TEXT, joint=order)
        assert [candidate["token"] for candidate in candidates] == [list(fill.tokens) for fill in fills]
        assert [candidate["token_str"] for candidate in candidates] == [list(fill.token_strs) for fill in fills]
        assert [candidate["order"] for candidate in candidates] == [list(fill.order) for fill in fills]
        assert [candidate["sequence"] for candidate in candidates] == [fill.sequence for fill in fills]
        assert [candidate["score"] for candidate in candidates] == [math.exp(fill.logprob) for fill in fills]
    assert tiny(TEXT, joint=True) == tiny(TEXT, joint="left_to_right")
    assert tiny(TEXT, joint=False) == tiny(TEXT)


def test_joint_filling_takes_no_targets(tiny: Predictor) -> None:
    with pytest.raises(ValueError, match="leave targets out"):
        tiny(TEXT, joint=True, targets=["water"])
