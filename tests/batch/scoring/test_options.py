"""What the options say is found out, and nothing else changes."""

from typing import Any

import pyarrow as pa
import pytest

from maskedge import Predictor
from maskedge.inference.scoring import Method
from maskedge_batch.scoring.batches import score_batches
from maskedge_batch.scoring.columns import Columns
from maskedge_batch.scoring.options import ScoringOptions

TEXT = "the waters flow from every unbelievable land"


def score(texts: list[str], predictor: Predictor, **options: Any) -> list[dict[str, Any]]:
    scored = score_batches(
        iter([pa.record_batch({"text": texts})]), predictor, Columns("text", None), ScoringOptions(**options)
    )
    return pa.Table.from_batches(scored).to_pylist()


def test_without_predictions_only_their_column_is_null(predictor: Predictor) -> None:
    (plain,), (none,), (empty,) = (score(["the [MASK]"], predictor, top_k=top_k) for top_k in (5, None, 0))
    assert none == plain | {"mlm_predictions": None}
    assert empty == plain | {"mlm_predictions": [[]]}


def test_predictions_that_are_not_kept_are_not_ranked(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    run = type(predictor.graph).run

    def watch(graph: Any, outputs: list[str], inputs: dict[str, Any]) -> Any:
        asked.append(inputs["top_k"].item())
        return run(graph, outputs, inputs)

    monkeypatch.setattr(type(predictor.graph), "run", watch)
    score(["the [MASK]"], predictor, top_k=None)
    assert asked == [0]


@pytest.mark.parametrize("method", ["original", "within_word_l2r", "whole_word"])
def test_texts_without_masks_are_scored_by_the_method_asked_for(predictor: Predictor, method: Method) -> None:
    (row,) = score([TEXT], predictor, method=method)
    (sentence,) = predictor.score([TEXT], method=method)
    assert (row["mlm_pll"], row["mlm_perplexity"]) == (sentence.pll, sentence.pseudo_perplexity)


def test_words_and_characters_give_what_is_comparable_between_tokenizers(predictor: Predictor) -> None:
    text = "Don't panic: 日本 \U0001f642!"
    row, masked = score([text, "the [MASK]"], predictor)
    (sentence,) = predictor.score([text])
    assert (row["mlm_word_count"], row["mlm_character_count"]) == (sentence.word_count, len(text))
    assert masked["mlm_word_count"] is masked["mlm_character_count"] is None


def test_tokens_are_kept_where_they_are_asked_for(predictor: Predictor) -> None:
    row, masked = score([TEXT, "the [MASK]"], predictor, tokens=True)
    (sentence,) = predictor.score([TEXT])
    assert row["mlm_tokens"] == [{"token_str": one.token_str, "logprob": one.logprob} for one in sentence.tokens]
    assert masked["mlm_tokens"] is None
    (plain,) = score([TEXT], predictor)
    assert plain == row | {"mlm_tokens": None}
