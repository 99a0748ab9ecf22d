"""Targets of several pieces are rated whole, as the predictor rates words, and those of one piece as ever."""

import math
from typing import Any

import pyarrow as pa
import pytest

from maskedge import Predictor
from maskedge_batch.scoring.batches import score_batches
from maskedge_batch.scoring.columns import Columns
from maskedge_batch.scoring.options import ScoringOptions

COLUMNS = Columns("text", "target")


def score(texts: list[str], targets: list[Any], predictor: Predictor, **options: Any) -> list[dict[str, Any]]:
    batch = pa.record_batch({"text": texts, "target": targets})
    scored = score_batches(iter([batch]), predictor, COLUMNS, ScoringOptions(**options))
    return pa.Table.from_batches(scored).to_pylist()


@pytest.mark.parametrize("word", ["waters", "unbelievable", "Zebras", "the water", "don't"])
def test_a_word_of_several_pieces_is_rated_as_the_predictor_does(predictor: Predictor, word: str) -> None:
    text = "the [MASK] flows from the land ."
    (row,) = score([text], [word], predictor)
    (expected,) = predictor.fill([text], targets=word)[0].masks[0].targets
    assert len(expected.tokens) > 1
    assert row["mlm_status"] == "ok"
    assert row["mlm_target_logprob"] == [expected.logprob]
    assert row["mlm_target_pieces"] == [len(expected.tokens)]
    assert row["mlm_target_rank"] == [None]
    assert row["mlm_perplexity"] == pytest.approx(math.exp(-expected.logprob), rel=1e-12)


def test_words_of_one_piece_are_the_same_bits_with_and_without_the_others(
    predictor: Predictor, sentences: list[dict[str, Any]]
) -> None:
    masked = [row for row in sentences if row["target"]]
    texts, targets = [row["text"] for row in masked], [row["target"] for row in masked]
    alone = score(texts, targets, predictor, single_piece_targets=True)
    mixed = score([*texts, *texts], [*targets, *["unbelievable"] * len(texts)], predictor)
    assert mixed[: len(texts)] == alone
    assert {pieces for row in alone for pieces in row["mlm_target_pieces"]} == {1}


def test_the_other_masks_of_a_text_stay_masked(predictor: Predictor, words: list[str]) -> None:
    text = f"[MASK] {words[0]} [MASK] [MASK]"
    (row,) = score([text], [[words[1], "unbelievable", None]], predictor)
    (fill,) = predictor.fill([text], targets=[[words[1]], ["unbelievable"], ["any"]])
    first, second = fill.masks[0].targets[0], fill.masks[1].targets[0]
    assert row["mlm_target_logprob"] == [first.logprob, second.logprob, None]
    assert row["mlm_target_pieces"] == [1, len(second.tokens), None]
    assert [rank is None for rank in row["mlm_target_rank"]] == [False, True, True]
    assert row["mlm_perplexity"] == pytest.approx(math.exp(-(first.logprob + second.logprob) / 2), rel=1e-12)


def test_only_single_pieces_may_be_asked_for(predictor: Predictor, words: list[str]) -> None:
    text = f"{words[0]} [MASK]"
    several, one = score([text] * 2, ["unbelievable", words[1]], predictor, single_piece_targets=True)
    assert (several["mlm_status"], one["mlm_status"]) == ("target_not_in_vocabulary", "ok")
    assert several["mlm_target_logprob"] == several["mlm_target_pieces"] == [None]
    assert several["mlm_predictions"] == one["mlm_predictions"]


def test_a_target_longer_than_the_model_keeps_the_predictions(predictor: Predictor, words: list[str]) -> None:
    text = f"{words[0]} [MASK]"
    long, fitting = score([text] * 2, [" ".join([words[1]] * pieces) for pieces in (63, 62)], predictor)
    assert (long["mlm_status"], fitting["mlm_status"]) == ("target_too_long", "ok")
    assert long["mlm_target_logprob"] == [None]
    assert fitting["mlm_target_pieces"] == [62]
    assert long["mlm_predictions"] == fitting["mlm_predictions"]


def test_the_pieces_of_all_rows_share_batches(bundle: Any, words: list[str]) -> None:
    """A query a piece, of one length: 3 batches hold what 60 rows would take 120 calls for one by one."""
    calls: list[int] = []
    predictor = Predictor.load(bundle, threads=1, before_batch=calls.append)
    pieces = len(predictor.target_pieces(predictor.encode("the [MASK]"), 0, "waters"))
    score([f"{word} [MASK]" for word in words[:60]], ["waters"] * 60, predictor)
    length = len(predictor.encode("the [MASK]").input_ids)
    assert sum(calls) == 60 * length + 60 * pieces * (length + pieces - 1)
    assert len(calls) <= 3
