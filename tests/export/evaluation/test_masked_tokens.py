"""Calibration text: what is read, what is refused, and that what is verified was never calibrated on."""

import random
from pathlib import Path

import numpy as np
import pytest

from maskedge.bundle.format import Bundle
from maskedge.inference.encoding import TextEncoder
from maskedge_export.errors import CalibrationTextError
from maskedge_export.evaluation import masked_tokens
from maskedge_export.evaluation.masked_tokens import (
    MaskedBatch,
    masked_batches,
    verification_batches,
)
from maskedge_export.evaluation.texts import FEWEST_TEXTS, read_texts, split_texts

TINY_BUNDLE = Path(__file__).parents[2] / "tiny_bundle"


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.of_bundle(Bundle.open(TINY_BUNDLE))


@pytest.fixture
def texts(sentences: Path) -> list[str]:
    return read_texts([sentences])


def as_lists(batches: list[MaskedBatch]) -> list[object]:
    return [(c.input_ids.tolist(), c.mask_positions.tolist(), c.targets.tolist()) for c in batches]


def test_files_are_read_in_their_order_and_a_text_counts_once(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("Two.\nOne.\n")
    (tmp_path / "a.txt").write_text("One.\nThree.\n")
    assert read_texts([tmp_path / "b.txt", tmp_path / "a.txt"]) == ["Two.", "One.", "Three."]
    assert read_texts([tmp_path / "*.txt"]) == ["One.", "Three.", "Two."]


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_files_without_text_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(content)
    with pytest.raises(CalibrationTextError, match=r"there is no text in .*empty\.txt"):
        read_texts([tmp_path / "empty.txt"])


def test_too_few_texts_are_refused() -> None:
    texts = [f"Text {number}." for number in range(FEWEST_TEXTS)]
    assert all(split_texts(texts))
    with pytest.raises(CalibrationTextError, match=f"hold {FEWEST_TEXTS - 1} different texts; at least {FEWEST_TEXTS}"):
        split_texts(texts[1:])


@pytest.mark.parametrize("count", [64, 300, 5000])
def test_no_text_is_both_calibrated_on_and_verified_with(count: int) -> None:
    texts = [f"Text {number}." for number in range(count)]
    calibration, verification = split_texts(texts)
    assert not set(calibration) & set(verification)
    assert set(calibration) | set(verification) <= set(texts)
    assert min(len(calibration), len(verification)) >= min(count // 2, 256)


def test_texts_and_masks_are_the_same_in_every_run(texts: list[str], encoder: TextEncoder) -> None:
    first = [as_lists(masked_batches(half, encoder)) for half in split_texts(texts)]
    random.seed(99)
    np.random.seed(99)
    assert [as_lists(masked_batches(half, encoder)) for half in split_texts(texts)] == first


def test_each_cell_is_a_text_of_which_one_token_is_masked(texts: list[str], encoder: TextEncoder) -> None:
    texts = [text for text in texts if len(text) < encoder.max_length]  # none is cut
    whole = {tuple(encoder.encode(text).input_ids.tolist()) for text in texts}
    batches = masked_batches(texts, encoder)
    assert sum(len(batch.input_ids) for batch in batches) == len(texts)
    for batch in batches:
        assert batch.input_ids.shape[1] <= encoder.max_length
        for ids, (at,), (target,) in zip(batch.input_ids, batch.mask_positions, batch.targets, strict=True):
            assert np.flatnonzero(ids == encoder.mask_id).tolist() == [at]
            ids[at] = target
            assert tuple(ids.tolist()) in whole  # the example sentences are one sentence each


def test_a_long_text_is_cut_to_the_model_s_length(encoder: TextEncoder) -> None:
    (batch,) = masked_batches(["water " * 5000], encoder)
    assert batch.input_ids.shape == (1, encoder.max_length)


def test_long_documents_cost_hardly_more_than_sentences(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_tokens, "WHOLE_TEXT_TOKENS", 4 * encoder.max_length)
    monkeypatch.setattr(masked_tokens, "SENTENCE_TOKENS", 20)
    documents = ["water fire stone river " * 2000] * 200  # no sentence ends
    lengths = [batch.input_ids.shape[1] for batch in masked_batches(documents, encoder) for _ in batch.targets]
    assert sorted(lengths) == [22] * 195 + [encoder.max_length] * 5


def test_of_few_texts_every_token_is_a_cell_of_its_own(encoder: TextEncoder) -> None:
    text = "The sun is hot."
    (batch,) = verification_batches([text], encoder)
    ids = encoder.encode(text).input_ids
    assert sorted(batch.mask_positions[:, 0].tolist()) == list(range(1, len(ids) - 1))
    assert (np.where(batch.input_ids == encoder.mask_id, batch.targets, batch.input_ids) == ids).all()


def test_a_token_that_the_vocabulary_lacks_is_never_masked(encoder: TextEncoder) -> None:
    text = "The 漢 sun is 漢 hot."
    ids = encoder.encode(text).input_ids[1:-1].tolist()
    known = [token for token in ids if not encoder.is_unknown(token)]
    assert len(known) < len(ids)
    batches = masked_batches([text], encoder, copies=50)
    assert sorted(target for batch in batches for target in batch.targets[:, 0].tolist()) == sorted(known)


def test_texts_that_cannot_be_masked_are_left_out(encoder: TextEncoder) -> None:
    batches = masked_batches(["The sun is hot.", "", "The [MASK] is hot.", "\ud800"], encoder)
    assert sum(len(batch.input_ids) for batch in batches) == 1


def test_text_of_which_nothing_can_be_used_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(CalibrationTextError, match="none of 70 texts can be used"):
        masked_batches(["The [MASK] is hot."] * 70, encoder)
