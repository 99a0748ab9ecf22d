"""Texts with words masked: the targets in their masks' places give the text again, and only seed and text count."""

import random
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskedge.inference.encoding import MASK_SPELLINGS
from maskedge.inference.words import word_spans
from maskedge_batch.errors import InputError
from maskedge_batch.evaluation.candidates import Choice, candidates
from maskedge_batch.evaluation.masking import Masking, SetAside, mask_batches, masked_schema

STRATEGIES = [Masking(strategy="one"), Masking(strategy="rate", rate=0.4), Masking(strategy="each")]
TEXTS = [
    "The old river flows past the town of Bern in 1902.",
    "He said: “Nobody knows the way, and nobody cares.”",
    "She wrote to me@home.org about the_code and a red door.",
    "दिल्ली में बहुत लोग रहते हैं।",
]


def rows(texts: list[str | None], masking: Masking, counts: Counter[str] | None = None) -> list[dict[str, Any]]:
    batch = pa.record_batch({"id": pa.array(range(len(texts))), "text": pa.array(texts, pa.string())})
    masked = mask_batches(iter([batch]), masking, counts=counts)
    return pa.Table.from_batches(masked, masked_schema(batch.schema, masking)).to_pylist()


def put_back(row: dict[str, Any]) -> str:
    targets = row["target"] if isinstance(row["target"], list) else [row["target"]]
    text = str(row["text"])
    assert text.count("[MASK]") == len(targets)
    for target in targets:
        text = text.replace("[MASK]", target, 1)
    return text


@pytest.mark.parametrize("masking", STRATEGIES, ids=lambda masking: masking.strategy)
@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_the_targets_in_place_of_the_masks_give_the_text_again(masking: Masking, text: str) -> None:
    for row in rows([text], masking):
        assert put_back(row) == text


def test_one_word_a_text_is_masked() -> None:
    found = rows([*TEXTS], STRATEGIES[0])
    assert [put_back(row) for row in found] == TEXTS
    assert [(row["id"], row["source_row"]) for row in found] == [(index, index) for index in range(len(TEXTS))]


def test_a_rate_masks_its_share_of_the_words_that_may_be_and_at_least_one() -> None:
    for rate in (0.01, 0.3, 0.5, 1.0):
        for row, text in zip(rows([*TEXTS], Masking(strategy="rate", rate=rate)), TEXTS, strict=True):
            maskable = len(candidates(text, word_spans(text), Choice()))
            assert len(row["target"]) == max(1, round(rate * maskable))
            assert put_back(row) == text


def test_every_word_in_turn_is_masked_with_its_number_in_the_text() -> None:
    text = TEXTS[0]
    found = rows([text], STRATEGIES[2])
    spans = word_spans(text)
    assert [row["target"] for row in found] == ["The", "old", "river", "flows", "past", "the", "town", "of", "in"]
    assert [text[slice(*spans[row["word_index"]])] for row in found] == [row["target"] for row in found]
    for row in found:
        start, stop = spans[row["word_index"]]
        assert row["text"] == f"{text[:start]}[MASK]{text[stop:]}"


@pytest.mark.parametrize("masking", STRATEGIES, ids=lambda masking: masking.strategy)
def test_a_text_s_masks_do_not_depend_on_the_rows_beside_it(masking: Masking) -> None:
    together = rows([*TEXTS], masking)
    mixed = rows([*reversed(TEXTS), None, *TEXTS], masking)
    bare = [{"text": row["text"], "target": row["target"]} for row in mixed]
    for row in together:
        assert bare.count({"text": row["text"], "target": row["target"]}) == 2


def test_batches_are_numbered_on() -> None:
    batch = pa.record_batch({"text": [*TEXTS]})
    halves = mask_batches(iter([batch.slice(0, 3), batch.slice(3)]), Masking(), first_row=100)
    assert pa.Table.from_batches(halves)["source_row"].to_pylist() == [100, 101, 102, 103]


def test_another_seed_masks_other_words_and_all_words_come_as_often() -> None:
    text = "one two three four five six seven eight"
    drawn = Counter(rows([text], Masking(seed=seed))[0]["target"] for seed in range(800))
    assert set(drawn) == set(text.split())
    assert max(drawn.values()) < 150  # 100 expected, a standard deviation of 9.4
    assert min(drawn.values()) > 50


def test_the_same_words_are_drawn_in_every_version() -> None:
    """Whoever made a set must be able to make it again."""
    assert [row["target"] for row in rows([*TEXTS], Masking(seed=7))] == ["flows", "He", "red", "लोग"]


def test_what_is_not_masked_is_counted_by_its_reason() -> None:
    texts = [TEXTS[0], None, "He did.", *(f"a b c {mask} d" for mask in MASK_SPELLINGS), "1 2 3 4 5", "x" * 20_001]
    counts: Counter[str] = Counter()
    assert [row["id"] for row in rows(texts, Masking(), counts)] == [0]
    assert counts == {
        "masked": 1,
        SetAside.NULL_TEXT: 1,
        SetAside.TOO_SHORT: 2,
        SetAside.HAS_A_MASK: 2,
        SetAside.NO_CANDIDATE: 1,
    }
    counts.clear()
    rows([*texts, "a " * 10_001], Masking(strategy="each"), counts)
    assert counts[SetAside.TOO_LONG] == 2


@pytest.mark.parametrize("masking", STRATEGIES, ids=lambda masking: masking.strategy)
def test_unmasked_texts_may_be_kept_as_they_are(masking: Masking) -> None:
    texts = ["He did.", "a [MASK] of the trade", None]
    kept = rows(texts, Masking(strategy=masking.strategy, keep_unmasked=True))
    assert [(row["id"], row["text"], row["target"]) for row in kept] == [(0, "He did.", None), (2, None, None)]


def test_a_text_that_is_not_utf_8_is_set_aside_alone() -> None:
    raw = pa.array([TEXTS[0].encode(), b"\xff\xfe the old town of", TEXTS[1].encode()], pa.binary()).view(pa.string())
    counts: Counter[str] = Counter()
    batch = pa.record_batch({"text": raw})
    (masked,) = mask_batches(iter([batch]), Masking(keep_unmasked=True), counts=counts)
    assert counts == {"masked": 2, SetAside.INVALID_UNICODE: 1}
    assert masked.column("text").view(pa.binary())[1].as_py() == b"\xff\xfe the old town of"


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_texts_may_be_any_kind_of_string(kind: Any) -> None:
    texts = pa.array(TEXTS, pa.string()).cast(kind)
    batch = pa.record_batch({"text": texts, "beside": texts})
    (masked,) = mask_batches(iter([batch]), Masking())
    assert masked.column("beside") == texts
    assert masked.column("text").to_pylist() == [row["text"] for row in rows([*TEXTS], Masking())]
    assert masked.schema == masked_schema(batch.schema, Masking())


def test_a_column_of_an_added_one_s_name_is_refused() -> None:
    schema = pa.record_batch({"text": ["a"], "word_index": [1]}).schema
    assert masked_schema(schema, Masking()).names == ["text", "word_index", "target", "source_row"]
    with pytest.raises(InputError, match="already has 'word_index'"):
        masked_schema(schema, Masking(strategy="each"))


def test_many_words_in_turn_come_in_batches_of_bounded_size() -> None:
    rng = random.Random(0)
    text = " ".join("".join(rng.choices("abcdef", k=6)) for _ in range(2_800))
    sizes = [batch.nbytes for batch in mask_batches(iter([pa.record_batch({"text": [text]})]), STRATEGIES[2])]
    assert len(sizes) > 5
    assert max(sizes) < 6 << 20


@pytest.mark.parametrize("rate", [0.0, -1.0, 1.1])
def test_a_rate_is_a_share(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        Masking(rate=rate)
