"""Minimal pairs: each sentence's score is the predictor's own, and the pair's verdict follows from both."""

import math
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest

from maskedge import Predictor
from maskedge_batch.evaluation import pairs
from maskedge_batch.evaluation.pairs import PAIR_FIELDS, PairScoring, pairs_schema, score_pairs

Row = dict[str, Any]


@pytest.fixture(scope="module")
def suite(words: list[str]) -> list[tuple[str, str]]:
    """Pairs of sentences of different length, some of them in several pairs."""
    sentences = [" ".join(words[(i * 11 + j * (i % 4 + 1)) % len(words)] for j in range(2 + i % 5)) for i in range(20)]
    return [(sentences[i % 7], sentences[7 + i % 13]) for i in range(30)]


def batch_of(rows: Iterable[tuple[str | None, str | None]]) -> pa.RecordBatch:
    good, bad = zip(*rows, strict=True)
    return pa.record_batch({"sentence_good": pa.array(good, pa.string()), "sentence_bad": pa.array(bad, pa.string())})


def scored(rows: Iterable[tuple[str | None, str | None]], predictor: Predictor, **options: Any) -> list[Row]:
    batches = score_pairs(iter([batch_of(rows)]), predictor, PairScoring(**options))
    return pa.Table.from_batches(list(batches)).to_pylist()


@pytest.mark.parametrize("method", ["original", "within_word_l2r", "whole_word"])
@pytest.mark.parametrize("normalize", ["sum", "token", "character"])
def test_a_pair_is_right_where_the_predictor_scores_the_good_sentence_higher(
    method: Any, normalize: str, suite: list[tuple[str, str]], predictor: Predictor
) -> None:
    rows = scored(suite, predictor, method=method, normalize=normalize)
    for (good, bad), row in zip(suite, rows, strict=True):
        first, second = predictor.score([good], method=method)[0], predictor.score([bad], method=method)[0]
        parts = {
            "sum": (1, 1),
            "token": (len(first.tokens), len(second.tokens)),
            "character": (len(good), len(bad)),
        }[normalize]
        assert (row["mlm_pll_good"], row["mlm_pll_bad"]) == (first.pll, second.pll)
        assert (row["mlm_token_count_good"], row["mlm_token_count_bad"]) == (len(first.tokens), len(second.tokens))
        assert row["mlm_correct"] is (first.pll / parts[0] > second.pll / parts[1])
        assert math.isclose(row["mlm_margin"], first.pll / parts[0] - second.pll / parts[1], abs_tol=1e-12)
        assert row["mlm_status"] == "ok"


def test_the_default_method_masks_a_word_s_later_pieces_too() -> None:
    assert PairScoring().method == "within_word_l2r"
    with pytest.raises(ValueError, match="it must be one of"):
        PairScoring(method="typo")  # type: ignore[arg-type]


def test_a_pair_that_cannot_be_scored_keeps_its_place_and_says_why(predictor: Predictor, words: list[str]) -> None:
    good = " ".join(words[:3])
    others = [None, "", f"{words[0]} [MASK]", good, " ".join(words[1:4])]
    rows = scored([(good, other) for other in others], predictor)
    assert [row["mlm_status"] for row in rows] == [
        "null_text", "empty_text", "unexpected_mask", "same_sentence", "ok",
    ]  # fmt: skip
    for row in rows[:-1]:
        assert {value for name, value in row.items() if name.startswith("mlm_") and name != "mlm_status"} == {None}
    assert [row["mlm_status"] for row in scored([(None, good), (None, None)], predictor)] == ["null_text"] * 2


def test_a_sentence_that_is_not_utf_8_sets_its_own_pair_aside(predictor: Predictor, words: list[str]) -> None:
    good = pa.array([words[0].encode(), b"\xff\xfe"], pa.binary()).view(pa.string())
    batch = pa.record_batch({"sentence_good": good, "sentence_bad": [words[1], words[1]]})
    (result,) = score_pairs(iter([batch]), predictor)
    assert result.column("mlm_status").to_pylist() == ["ok", "invalid_unicode"]


class Counting:
    """A predictor that keeps which texts it was asked to score."""

    def __init__(self, predictor: Predictor) -> None:
        self.encode = predictor.encode
        self.asked: list[str] = []
        self._predictor = predictor

    def score_encoded(self, encoded: list[Any], *, method: Any) -> Any:
        self.asked += [text.text for text in encoded]
        return self._predictor.score_encoded(encoded, method=method)


def test_a_sentence_is_scored_once_however_often_it_comes(
    suite: list[tuple[str, str]], predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "PIECE_ROWS", 4)
    counting: Any = Counting(predictor)
    batches = [batch_of(suite[:10]), batch_of(suite[10:])]
    table = pa.Table.from_batches(list(score_pairs(iter(batches), counting)))
    assert sorted(counting.asked) == sorted({sentence for pair in suite for sentence in pair})
    assert table.to_pylist() == scored(suite, predictor)


def test_scores_that_are_forgotten_are_made_again(
    suite: list[tuple[str, str]], predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scored(suite, predictor)
    monkeypatch.setattr(pairs, "REMEMBERED", 3)
    monkeypatch.setattr(pairs, "PIECE_ROWS", 4)
    assert scored(suite, predictor) == whole


def test_the_columns_stand_behind_the_input_s_own(predictor: Predictor, suite: list[tuple[str, str]]) -> None:
    (result,) = score_pairs(iter([batch_of(suite)]), predictor)
    assert result.schema == pairs_schema(batch_of(suite).schema)
    assert result.schema.names[2:] == PAIR_FIELDS.names
