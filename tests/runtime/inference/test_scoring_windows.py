"""A text longer than the model is scored whole: each token in the window that shows most on its shorter side."""

import random
import tracemalloc
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer

from maskedge import Predictor
from maskedge.bundle.padding import UNPADDED
from maskedge.inference.scoring import Method

Ask = Callable[..., dict[str, Any]]

METHODS = get_args(Method)
ROOM = 62
"""Tokens between [CLS] and [SEP] of the tiny model."""
WORDS = ["the", "water", "from", "zebras", "every", "child,", "before", "people", "had", "two", "years", "because"]


def long_text(words: int) -> str:
    return " ".join(islice(cycle(WORDS), words))


def best_window(tokens: list[int], length: int) -> int:
    """Tries every window: where the one begins that has the tokens in it and the longest shorter side."""
    starts = range(length - ROOM + 1)
    return max(starts, key=lambda start: min(tokens[0] - start, start + ROOM - 1 - tokens[-1]))


def by_hand(text: str, method: str, predictor: Predictor, tokenizer: Tokenizer, ask: Ask) -> list[float]:
    """The log-probability of each token in a window of its own, one masked copy a call, nats."""
    encoding, logprobs = tokenizer.encode(text, add_special_tokens=False), []
    for at, own in enumerate(encoding.word_ids):
        word = [place for place, number in enumerate(encoding.word_ids) if number == own]
        asked = word if method == "whole_word" else [at]
        masks = {"original": [at], "within_word_l2r": [place for place in word if place >= at], "whole_word": word}
        start = best_window(asked, len(encoding.ids))
        ids = [4 if place in masks[method] else id_ for place, id_ in enumerate(encoding.ids)][start : start + ROOM]
        logprobs.append(one_logprob(predictor, tokenizer, ask, ids, at - start, encoding.ids[at]))
    return logprobs


def one_logprob(predictor: Predictor, tokenizer: Tokenizer, ask: Ask, ids: list[int], at: int, target: int) -> float:
    assert tokenizer.token_to_id("[MASK]") == 4
    whole = [tokenizer.token_to_id("[CLS]"), *ids, tokenizer.token_to_id("[SEP]")]
    return float(ask(predictor, whole, [at + 1], [target], top_k=0)["target_logprobs"].item())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("words", [45, 130])
def test_each_token_is_scored_in_its_best_window(
    predictor: Predictor, tokenizer: Tokenizer, ask: Ask, method: Method, words: int
) -> None:
    text = long_text(words)
    (score,) = predictor.score([text], method=method)
    assert score.token_count == len(tokenizer.encode(text, add_special_tokens=False).ids) > ROOM
    expected = by_hand(text, method, predictor, tokenizer, ask)
    assert [token.logprob for token in score.tokens] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_windows_change_nothing_in_a_text_that_just_fits(tiny: Predictor, method: Method) -> None:
    fits = " ".join(["water"] * ROOM)
    (just,), (over,) = (tiny.score([text], method=method) for text in (fits, f"{fits} water"))
    assert (just.windows, just.context) == (1, None)
    assert over.windows == 2
    assert (just.token_count, over.token_count) == (ROOM, ROOM + 1)


def test_windows_and_context_are_returned(tiny: Predictor) -> None:
    (score,) = tiny.score([" ".join(["water"] * 500)])
    assert score.windows == 500 - ROOM + 1
    assert score.context == ROOM // 2 - 1
    (score,) = tiny.score([" ".join(["water"] * 100 + ["zq" * 5] + ["water"] * 100)], method="whole_word")
    pieces = max(word.token_count for word in score.words)
    assert pieces > 3
    assert score.context == (ROOM - pieces) // 2


def test_a_long_word_at_the_end_has_less_before_it_than_others_have_after_them(tiny: Predictor) -> None:
    (score,) = tiny.score([" ".join(["water"] * 100 + ["zq" * 20])], method="whole_word")
    assert score.words[-1].token_count == 40
    assert score.context == ROOM - 40


@pytest.mark.parametrize("method", METHODS)
def test_a_word_longer_than_the_model(tiny: Predictor, method: Method) -> None:
    """An unbroken word of 90 letters, which is as many tokens."""
    (score,) = tiny.score(["the " + "zq" * 45 + " water"], method=method)
    assert score.words[1].token_count > ROOM
    assert score.token_count == len(score.tokens) == sum(word.token_count for word in score.words)
    assert all(token.logprob < 0 for token in score.tokens)


@pytest.mark.parametrize("method", METHODS)
def test_long_and_short_texts_are_scored_as_alone(bundle: Path, method: Method) -> None:
    texts = [long_text(count) for count in (3, 45, 3, 100, 12, 70)]
    alone = {text: Predictor.load(bundle, threads=1).score([text], method=method)[0] for text in texts}
    mixed = random.Random(0).sample(texts, len(texts))
    assert Predictor.load(bundle, threads=3).score(mixed, method=method) == [alone[text] for text in mixed]


class NoModel:
    """Answers at once, so that memory can be measured over very many copies."""

    padding = UNPADDED

    def run(self, outputs: list[str], inputs: dict[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.generic]]:
        return {name: np.zeros(inputs["target_ids"].shape, np.float32) for name in outputs}


def transient_bytes(predictor: Predictor, texts: list[str], method: Method) -> int:
    """The most memory that scoring held beyond its results."""
    tracemalloc.start()
    try:
        scores = predictor.score(texts, method=method)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(scores) == len(texts)
    return peak - kept


@pytest.mark.slow
def test_memory_does_not_grow_with_the_copies(bundle: Path) -> None:
    """All copies at once, some 1.3 kB each, would be 21 MB."""
    predictor = Predictor.load(bundle, threads=1)
    predictor.graph = NoModel()
    assert transient_bytes(predictor, [" ".join(["water"] * 16_000)], "original") < 8 * 2**20
    assert transient_bytes(predictor, [" ".join(["water"] * ROOM)] * 260, "original") < 8 * 2**20
