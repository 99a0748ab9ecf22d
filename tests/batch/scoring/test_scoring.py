"""Rows and their scores: the same rows in the same order, each scored as it would be alone, or with its reason."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from maskedge import Predictor
from maskedge_batch.scoring.batches import score_batches
from maskedge_batch.scoring.columns import Columns, scored_schema
from maskedge_batch.scoring.options import ScoringOptions

TEXT_ONLY = Columns("text", None)
WITH_TARGET = Columns("text", "target")


def make_batch(columns: dict[str, Any]) -> pa.RecordBatch:
    return pa.record_batch(columns)


def score(batch: pa.RecordBatch, predictor: Predictor, columns: Columns, **options: Any) -> list[dict[str, Any]]:
    return pa.Table.from_batches(
        score_batches(iter([batch]), predictor, columns, ScoringOptions(**options))
    ).to_pylist()


def score_texts(texts: Sequence[str | None], predictor: Predictor) -> list[dict[str, Any]]:
    return score(make_batch({"text": pa.array(texts, pa.string())}), predictor, TEXT_ONLY)


def test_a_masked_row_holds_what_the_predictor_says(predictor: Predictor, words: list[str]) -> None:
    text, target = f"{words[0]} [MASK] {words[1]} [MASK]", [words[2], None]
    batch = make_batch({"text": [text], "target": [target]})
    (row,) = score(batch, predictor, WITH_TARGET, top_k=3)
    encoded = predictor.encode(text)
    ids = [predictor.target_id(encoded, 0, words[2]), None]
    (fill,) = predictor.fill_encoded([encoded], top_k=3, targets=[ids])
    first = fill.masks[0].target
    assert first is not None
    assert row["mlm_status"] == "ok"
    assert row["mlm_predictions"] == [
        [{"token": p.token, "token_str": p.token_str, "score": p.score} for p in mask.predictions]
        for mask in fill.masks
    ]
    assert [len(mask) for mask in row["mlm_predictions"]] == [3, 3]
    assert row["mlm_entropy"] == [mask.entropy for mask in fill.masks]
    assert row["mlm_target_logprob"] == [first.logprob, None]
    assert row["mlm_target_rank"] == [first.rank, None]
    assert row["mlm_perplexity"] == pytest.approx(math.exp(-first.logprob), rel=1e-12)
    assert (row["mlm_token_count"], row["mlm_truncated"], row["mlm_pll"]) == (fill.token_count, False, None)


def test_a_row_without_a_mask_is_scored_by_its_pseudo_log_likelihood(predictor: Predictor, words: list[str]) -> None:
    text = " ".join(words[:4])
    (row,) = score_texts([text], predictor)
    (sentence,) = predictor.score_encoded([predictor.encode(text)])
    assert row["mlm_status"] == "ok"
    assert row["mlm_pll"] == sentence.pll
    assert row["mlm_token_count"] == sentence.token_count
    assert row["mlm_perplexity"] == pytest.approx(math.exp(-sentence.pll / sentence.token_count), rel=1e-12)
    assert row["mlm_predictions"] is row["mlm_entropy"] is row["mlm_target_logprob"] is None


def test_row_perplexity_is_that_of_all_its_targets(predictor: Predictor, words: list[str]) -> None:
    batch = make_batch({"text": [f"[MASK] {words[0]} <mask>"], "target": [[words[1], words[2]]]})
    (row,) = score(batch, predictor, WITH_TARGET)
    first, second = row["mlm_target_logprob"]
    assert row["mlm_perplexity"] == pytest.approx(math.exp(-(first + second) / 2), rel=1e-12)


def test_scores_are_independent_of_batch_mates(predictor: Predictor, sentences: list[dict[str, Any]]) -> None:
    batch = pa.RecordBatch.from_pylist(sentences)
    together = score(batch, predictor, WITH_TARGET)
    apart = [score(batch.slice(row, 1), predictor, WITH_TARGET)[0] for row in range(0, len(sentences), 17)]
    assert apart == together[::17]


def test_a_row_that_cannot_be_scored_keeps_its_place_and_says_why(predictor: Predictor, words: list[str]) -> None:
    megabytes = f"{words[0]} " * (10_000_000 // (len(words[0]) + 1))
    masks_far_apart = f"[MASK] {megabytes} [MASK]"
    good = f"{words[0]} [MASK]"
    rows = score_texts([good, None, "", "  \n", megabytes, masks_far_apart, good], predictor)
    assert [row["mlm_status"] for row in rows] == [
        "ok", "null_text", "empty_text", "empty_text", "too_long", "mask_lost", "ok",
    ]  # fmt: skip
    for row in rows[1:-1]:
        assert {value for name, value in row.items() if name not in ("text", "mlm_status")} == {None}
    assert rows[0] == rows[-1]


def test_a_long_text_is_cut_around_its_mask(predictor: Predictor, words: list[str]) -> None:
    filler = f"{words[0]} " * 50_000
    (row,) = score_texts([f"{filler}[MASK] {filler}"], predictor)
    assert row["mlm_status"] == "ok"
    assert row["mlm_truncated"] is True
    assert len(row["mlm_predictions"]) == 1


def test_a_long_text_without_a_mask_is_scored_whole(predictor: Predictor, words: list[str]) -> None:
    text = " ".join(words[:40] * 4)
    assert len(predictor.encode(text).input_ids) > predictor.encoder.max_length
    row, again = score_texts([text, text], predictor)
    (sentence,) = predictor.score([text])
    assert (row["mlm_status"], row["mlm_truncated"]) == ("ok", False)
    assert (row["mlm_pll"], row["mlm_token_count"]) == (sentence.pll, 160)
    assert row["mlm_perplexity"] == sentence.pseudo_perplexity
    assert again == row


def test_invalid_utf8_sets_only_its_own_row_aside(predictor: Predictor, words: list[str]) -> None:
    good = f"{words[0]} [MASK]".encode()
    lone_surrogate = b"\xed\xa0\x80 [MASK]"
    texts = pa.array([good, b"\xff\xfe [MASK]", lone_surrogate, good], pa.binary()).view(pa.string())
    scored = list(score_batches(iter([make_batch({"text": texts})]), predictor, TEXT_ONLY))
    (batch,) = scored
    statuses = batch.column("mlm_status").to_pylist()
    assert statuses == ["ok", "invalid_unicode", "invalid_unicode", "ok"]
    assert batch.column("mlm_entropy").is_valid().to_pylist() == [True, False, False, True]
    assert batch.column("text").view(pa.binary()).to_pylist() == texts.view(pa.binary()).to_pylist()


@pytest.mark.parametrize("target", [None, ""])
def test_a_row_may_have_no_target(predictor: Predictor, words: list[str], target: str | None) -> None:
    batch = make_batch({"text": [f"{words[0]} [MASK]"], "target": pa.array([target], pa.string())})
    (row,) = score(batch, predictor, WITH_TARGET)
    assert (row["mlm_status"], row["mlm_target_logprob"], row["mlm_perplexity"]) == ("ok", [None], None)


def test_a_target_may_be_spelled_as_a_prediction_is(predictor: Predictor, words: list[str]) -> None:
    text = f"{words[0]} [MASK]"
    spellings = [words[1], f" {words[1]}", f"▁{words[1]}", words[1].upper()]
    rows = score(make_batch({"text": [text] * 4, "target": spellings}), predictor, WITH_TARGET)
    assert {row["mlm_status"] for row in rows} == {"ok"}
    assert {row["mlm_target_logprob"][0] for row in rows} == {rows[0]["mlm_target_logprob"][0]}
    predicted = score(make_batch({"text": [text]}), predictor, TEXT_ONLY, top_k=40)[0]["mlm_predictions"][0]
    again = score(
        make_batch({"text": [text] * 40, "target": [guess["token_str"] for guess in predicted]}), predictor, WITH_TARGET
    )
    assert [row["mlm_target_rank"] for row in again] == [[rank] for rank in range(1, 41)]


def test_a_target_that_cannot_be_spelled_keeps_the_predictions(predictor: Predictor, words: list[str]) -> None:
    text = f"{words[0]} [MASK]"
    batch = make_batch({"text": [text, text], "target": ["日", words[1]]})
    strange, known = score(batch, predictor, WITH_TARGET)
    assert strange["mlm_status"] == "target_not_in_vocabulary"
    assert strange["mlm_predictions"] == known["mlm_predictions"]
    assert strange["mlm_entropy"] == known["mlm_entropy"]
    assert (strange["mlm_target_logprob"], strange["mlm_perplexity"]) == ([None], None)


def test_there_must_be_one_target_for_each_mask(predictor: Predictor, words: list[str]) -> None:
    two_masks, word = f"[MASK] {words[0]} [MASK]", words[1]
    for target in (pa.array([word]), pa.array([[word]]), pa.array([[word] * 3])):
        (row,) = score(make_batch({"text": [two_masks], "target": target}), predictor, WITH_TARGET)
        assert row["mlm_status"] == "target_count_mismatch"
        assert len(row["mlm_predictions"]) == 2
        assert row["mlm_target_logprob"] == [None, None]


def test_a_target_without_a_mask_is_said_and_the_text_still_scored(predictor: Predictor, words: list[str]) -> None:
    batch = make_batch({"text": [f"{words[0]} {words[1]}"], "target": [words[2]]})
    (row,) = score(batch, predictor, WITH_TARGET)
    assert row["mlm_status"] == "target_count_mismatch"
    assert row["mlm_pll"] < 0


STRING_TYPES = [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


@pytest.mark.parametrize("kind", [*STRING_TYPES, pa.dictionary(pa.int8(), pa.large_string())], ids=str)
def test_every_string_type_gives_the_scores_of_plain_strings(
    predictor: Predictor, sentences: list[dict[str, Any]], kind: pa.DataType
) -> None:
    some = sentences[:40]
    texts, targets = (pa.array([row[name] for row in some], pa.string()) for name in ("text", "target"))
    plain = score(make_batch({"text": texts, "target": targets}), predictor, WITH_TARGET)
    other = make_batch({"text": texts.cast(kind), "target": targets.cast(kind)})
    assert score(other, predictor, WITH_TARGET) == plain


@pytest.mark.parametrize("kind", [pa.string(), *STRING_TYPES], ids=str)
@pytest.mark.parametrize("wrap", [pa.list_, pa.large_list])
def test_targets_may_be_lists_of_every_string_type(
    predictor: Predictor, words: list[str], kind: pa.DataType, wrap: Any
) -> None:
    targets = pa.array([[words[1], words[2]], None, [], [None, words[1]]], pa.list_(pa.string()))
    texts = [f"[MASK] {words[0]} [MASK]"] * 4
    rows = score(make_batch({"text": texts, "target": targets.cast(wrap(kind))}), predictor, WITH_TARGET)
    assert [row["mlm_status"] for row in rows] == ["ok"] * 4
    assert [[value is not None for value in row["mlm_target_logprob"]] for row in rows] == [
        [True, True], [False, False], [False, False], [False, True],
    ]  # fmt: skip


def test_work_is_handed_over_in_pieces_that_keep_rows_and_order(predictor: Predictor, words: list[str]) -> None:
    # A text without masks costs the square of its length, so these take several pieces.
    texts = [" ".join(words[(i + j) % len(words)] for j in range(30)) for i in range(150)]
    pieces = list(score_batches(iter([make_batch({"text": texts})]), predictor, TEXT_ONLY))
    assert len(pieces) > 1
    assert pa.Table.from_batches(pieces)["text"].to_pylist() == texts


def test_a_long_text_without_a_mask_costs_a_window_a_token(predictor: Predictor, words: list[str]) -> None:
    """64 tokens for each of 200, not 200: were it the square, each of these texts would be a piece."""
    texts = [" ".join((words * 4)[first : first + 198]) for first in range(12)]
    pieces = list(score_batches(iter([make_batch({"text": texts})]), predictor, TEXT_ONLY))
    assert [piece.num_rows for piece in pieces] == [3, 3, 3, 3]


def test_the_core_gives_the_schema_it_announces(predictor: Predictor, sentences: list[dict[str, Any]]) -> None:
    batch = pa.RecordBatch.from_pylist(sentences[:5])
    (scored,) = score_batches(iter([batch]), predictor, WITH_TARGET)
    assert scored.schema == scored_schema(batch.schema)
    assert scored.schema.names[: len(batch.schema)] == batch.schema.names
