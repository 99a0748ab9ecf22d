"""Each scoring method against an obvious reference: copies of the text, masked by hand, one a call of the graph."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from tokenizers import Tokenizer

from maskedge import EncodedText, Predictor, SentenceScore, TextError
from maskedge.inference.scoring import TOKENS_PER_QUERY, Method, score_sentences

Ask = Callable[..., dict[str, Any]]
DrawTexts = Callable[..., list[str]]

METHODS = get_args(Method)
TEXT = "The zebras of Zanzibar, two zebras: unquestionably!"
WORDS = ["The", "zebras", "of", "Zanzibar", ",", "two", "zebras", ":", "unquestionably", "!"]


def masked_places(method: str, words: Sequence[int | None], at: int) -> list[int]:
    """Positions that a copy masks when the token at a position is asked for; `words` as `Encoding.word_ids`."""
    word = [place for place, number in enumerate(words) if number is not None and number == words[at]]
    return {"original": [at], "within_word_l2r": [place for place in word if place >= at], "whole_word": word}[method]


def by_hand(text: str, method: str, predictor: Predictor, tokenizer: Tokenizer, ask: Ask) -> list[float]:
    """The log-probability of each token of a text, nats."""
    encoding, mask_id = tokenizer.encode(text), tokenizer.token_to_id("[MASK]")
    logprobs = []
    for at in range(1, len(encoding.ids) - 1):
        masks = masked_places(method, encoding.word_ids, at)
        ids = [mask_id if place in masks else id_ for place, id_ in enumerate(encoding.ids)]
        logprobs.append(ask(predictor, ids, [at], [encoding.ids[at]], top_k=0)["target_logprobs"].item())
    return logprobs


@pytest.mark.parametrize("method", METHODS)
def test_a_token_is_asked_for_as_its_method_says(
    predictor: Predictor, tokenizer: Tokenizer, ask: Ask, draw_texts: DrawTexts, method: Method
) -> None:
    texts = [TEXT, *draw_texts(0, masks=(0,), count=6)]
    for text, sentence in zip(texts, predictor.score(texts, method=method), strict=True):
        expected = by_hand(text, method, predictor, tokenizer, ask)
        assert [token.logprob for token in sentence.tokens] == pytest.approx(expected, abs=1e-5)
        assert (sentence.text, sentence.method) == (text, method)


def test_methods_differ_where_a_word_has_several_tokens_and_only_there(tiny: Predictor) -> None:
    original, l2r, whole = (tiny.score([TEXT], method=method)[0] for method in METHODS)
    first = 0
    for word in original.words:
        last = first + word.token_count - 1
        logprobs = [[token.logprob for token in score.tokens[first : last + 1]] for score in (original, l2r, whole)]
        if word.token_count == 1:
            assert logprobs[0] == logprobs[1] == logprobs[2]
        else:
            assert len({tuple(values) for values in logprobs}) == 3
        assert logprobs[0][-1] == logprobs[1][-1], "the last token of a word has no later ones"
        assert logprobs[1][0] == pytest.approx(logprobs[2][0], abs=1e-5), "the first has all others after it"
        first = last + 1
    assert max(word.token_count for word in original.words) > 3


@pytest.mark.parametrize("method", METHODS)
def test_the_figures_are_what_their_definitions_say(tiny: Predictor, method: Method) -> None:
    (score,) = tiny.score([TEXT], method=method)
    assert score.pll == math.fsum(token.logprob for token in score.tokens)
    assert score.token_count == len(score.tokens)
    assert score.word_count == len(WORDS)
    assert score.pseudo_perplexity == pytest.approx(math.exp(-score.pll / score.token_count), rel=1e-12)
    assert score.pseudo_perplexity_per_word == pytest.approx(math.exp(-score.pll / score.word_count), rel=1e-12)
    assert 2 ** (score.bits_per_character * len(TEXT)) == pytest.approx(math.exp(-score.pll), rel=1e-9)
    assert (score.windows, score.context) == (1, None)


@pytest.mark.parametrize("method", METHODS)
def test_a_word_has_the_sum_of_its_tokens(tiny: Predictor, method: Method) -> None:
    (score,) = tiny.score([TEXT], method=method)
    assert [word.word for word in score.words] == WORDS
    assert [TEXT[word.start : word.stop] for word in score.words] == [word.word for word in score.words]
    first = 0
    for word in score.words:
        assert word.logprob == math.fsum(token.logprob for token in score.tokens[first : first + word.token_count])
        first += word.token_count
    assert first == score.token_count


def test_an_unknown_method_is_refused_by_name(tiny: Predictor) -> None:
    with pytest.raises(ValueError, match="'l2r'; it must be one of original, within_word_l2r, whole_word"):
        tiny.score([], method="l2r")  # type: ignore[arg-type]


def test_original_is_the_default(tiny: Predictor) -> None:
    assert tiny.score([TEXT]) == tiny.score([TEXT], method="original")


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_independent_of_batch_mates_and_threads(
    bundle: Path, draw_texts: DrawTexts, precision: str, method: Method
) -> None:
    texts = [TEXT, *draw_texts(1, masks=(0,), count=12), "the water " * 40]
    one, two, four = (Predictor.load(bundle, precision=precision, threads=threads) for threads in (1, 2, 4))
    alone = {text: two.score([text], method=method)[0] for text in texts}
    for predictor in (one, two, four):
        mixed = random.Random(predictor.threads).sample(texts, len(texts))
        assert predictor.score(mixed, method=method) == [alone[text] for text in mixed]


def test_a_word_of_more_tokens_than_are_asked_at_once(tiny: Predictor, tokenizer: Tokenizer, ask: Ask) -> None:
    text = "the " + "zq" * 20 + " water"
    (score,) = tiny.score([text], method="whole_word")
    assert score.words[1].token_count > TOKENS_PER_QUERY
    assert [token.logprob for token in score.tokens] == pytest.approx(
        by_hand(text, "whole_word", tiny, tokenizer, ask), abs=1e-5
    )


def test_later_sentences_are_not_begun_before_earlier_ones_are_answered(tiny: Predictor) -> None:
    """Scores come one by one, while the texts are still being read."""
    begun: list[int] = []

    def texts() -> Iterator[EncodedText]:
        for index in range(2000):
            begun.append(index)
            yield tiny.encode("the water flows from the land " * 8)

    scores = score_sentences(texts(), tiny.encoder, "original", tiny._model.stream_target_logprobs)
    first = next(scores)
    assert isinstance(first, SentenceScore)
    assert 1 < len(begun) < 200


def test_score_many_is_score_as_texts_come(tiny: Predictor) -> None:
    read: list[int] = []

    def texts() -> Iterator[str]:
        for index in range(50):
            read.append(index)
            yield "the water " * (1 + index % 7)

    scores = tiny.score_many(texts(), method="whole_word", read_ahead=4)
    assert read == []
    first = next(scores)
    assert read == [0, 1, 2, 3]
    assert [first, *scores] == tiny.score(["the water " * (1 + index % 7) for index in range(50)], method="whole_word")


def test_score_many_names_the_text_after_the_scores_before_it(tiny: Predictor) -> None:
    scores = tiny.score_many(iter(["the", "water", "a [MASK]", "six"]), read_ahead=3)
    assert [next(scores).text, next(scores).text] == ["the", "water"]
    with pytest.raises(TextError, match=r"text 2: .* holds a mask"):
        next(scores)


@pytest.mark.parametrize("arguments", [{"method": "best"}, {"read_ahead": 0}])
def test_score_many_refuses_at_once_what_it_cannot_do(tiny: Predictor, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="it must be"):
        tiny.score_many([], **arguments)
