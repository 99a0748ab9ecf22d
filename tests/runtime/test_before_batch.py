"""What is called before each batch: it counts the tokens that the model reads, and stops a call by raising."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from maskedge import Predictor

Watched = Callable[[Callable[[int], object]], Predictor]


class EnoughError(Exception):
    """Somebody wants no more."""


@pytest.fixture
def watched(bundle: Path) -> Watched:
    return lambda before_batch: Predictor.load(bundle, precision="fp32", threads=2, before_batch=before_batch)


def test_every_token_that_the_model_reads_is_counted_once(
    watched: Watched, draw_texts: Callable[..., list[str]]
) -> None:
    texts, seen = draw_texts(0, masks=(1, 2)), list[int]()
    predictor = watched(seen.append)
    encoded = [predictor.encode(text) for text in texts]
    predictor.fill_encoded(encoded)
    assert len(seen) > 1
    assert sum(seen) == sum(len(text.input_ids) for text in encoded)


def test_a_scored_text_is_read_once_for_each_of_its_tokens(watched: Watched) -> None:
    seen: list[int] = []
    predictor = watched(seen.append)
    (score,) = predictor.score(["the water flows from every land"])
    assert sum(seen) == score.token_count * len(predictor.encode(score.text).input_ids)


def test_no_result_depends_on_being_watched(
    watched: Watched, bundle: Path, draw_texts: Callable[..., list[str]]
) -> None:
    texts = draw_texts(1, masks=(1, 2))
    assert watched(lambda tokens: None).fill(texts) == Predictor.load(bundle, precision="fp32").fill(texts)


def test_raising_ends_the_call_and_leaves_the_predictor_usable(bundle: Path) -> None:
    limit, seen = [2], list[int]()

    def stop(tokens: int) -> None:
        if len(seen) >= limit[0]:
            raise EnoughError
        seen.append(tokens)

    predictor = Predictor.load(bundle, threads=1, before_batch=stop)
    with pytest.raises(EnoughError):
        predictor.fill([f"[MASK]{' water' * length}" for length in range(40)])
    assert len(seen) == 2
    limit[0] = 3
    assert len(predictor.fill(["the [MASK]"])) == 1


def test_a_predictor_with_other_defaults_is_watched_too_and_a_pickled_one_is_not(watched: Watched) -> None:
    seen: list[int] = []
    predictor = watched(seen.append)
    predictor.with_defaults(top_k=1)("the [MASK]")
    assert len(seen) == 1
    pickle.loads(pickle.dumps(predictor))("the [MASK]")
    assert len(seen) == 1
