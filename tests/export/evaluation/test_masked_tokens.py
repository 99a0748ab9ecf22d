"""Calibration text: what is read, what is refused, and that what is verified was never calibrated on."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskedge.bundle.format import Bundle
from maskedge.inference.encoding import TextEncoder
from maskedge_export.errors import CalibrationTextError
from maskedge_export.evaluation.masked_tokens import Cells, masked_cells, verification_cells
from maskedge_export.evaluation.texts import FEWEST_TEXTS, read_texts, split_texts

TINY_BUNDLE = Path(__file__).parents[2] / "tiny_bundle"


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    manifest = Bundle.open(TINY_BUNDLE).manifest
    return TextEncoder.from_file(TINY_BUNDLE / "tokenizer.json", manifest.mask_token, manifest.max_length)


@pytest.fixture
def texts(sentences: Path) -> list[str]:
    return read_texts([sentences])


def as_lists(cells: Cells) -> list[object]:
    return [(c.input_ids.tolist(), c.mask_positions.tolist(), c.targets.tolist()) for c in cells]


def test_a_text_file_has_a_text_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.\n\n  \nZwölf.\n", encoding="utf-8")
    assert read_texts([tmp_path / "a.txt"]) == ["One.", "Zwölf."]


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_a_parquet_file_has_a_column_of_texts(type_: pa.DataType, tmp_path: Path) -> None:
    column = pa.array(["One.", None, "", "Zwölf."]).cast(type_)
    pq.write_table(pa.table({"id": range(4), "text": column}), tmp_path / "a.parquet")
    assert read_texts([tmp_path / "a.parquet"]) == ["One.", "Zwölf."]


def test_files_are_read_in_their_order_and_a_text_counts_once(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("Two.\nOne.\n")
    (tmp_path / "a.txt").write_text("One.\nThree.\n")
    assert read_texts([tmp_path / "b.txt", tmp_path / "a.txt"]) == ["Two.", "One.", "Three."]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationTextError, match=r"typo\.txt does not exist"):
        read_texts([tmp_path / "typo.txt"])


def test_a_directory_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(CalibrationTextError, match=rf"{tmp_path.name} is a directory; give the files in it"):
        read_texts([tmp_path])


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_a_jsonl_file_has_a_text_in_each_object(suffix: str, tmp_path: Path) -> None:
    lines = ['{"id": 1, "text": "One."}', "", '{"text": "Zw\u00f6lf."}', '{"text": "A\u2028B"}', '{"text": ""}']
    file = tmp_path / f"a.{suffix}"
    file.write_text("\n".join(lines), encoding="utf-8")
    assert read_texts([file]) == ["One.", "Zwölf.", "A\u2028B"]


@pytest.mark.parametrize("line", ["One.", '"One."', '{"sentence": "One."}', '{"text": 1}', '{"text": null}', "[1]"])
def test_a_line_that_holds_no_object_with_a_text_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "One."}}\n{line}\n')
    with pytest.raises(CalibrationTextError, match=r"a\.jsonl, line 2, is no JSON object with a text 'text'"):
        read_texts([tmp_path / "a.jsonl"])


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_files_without_text_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(content)
    with pytest.raises(CalibrationTextError, match=r"there is no text in .*empty\.txt"):
        read_texts([tmp_path / "empty.txt"])


def test_text_that_is_not_utf8_is_named_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"x" * 100_000 + "\n é".encode("latin-1"))
    with pytest.raises(CalibrationTextError, match=r"latin\.txt is not UTF-8 \(byte 100002\)"):
        read_texts([tmp_path / "latin.txt"])


def test_parquet_without_the_column_lists_those_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "sentence": ["One."]}), tmp_path / "a.parquet")
    with pytest.raises(CalibrationTextError, match=r"a\.parquet has no column 'text'; it has: id, sentence"):
        read_texts([tmp_path / "a.parquet"])


def test_parquet_whose_column_holds_no_text_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [["One."]]}), tmp_path / "a.parquet")
    with pytest.raises(CalibrationTextError, match=r"a\.parquet cannot be read as Parquet with a column of text"):
        read_texts([tmp_path / "a.parquet"])


@pytest.mark.parametrize("damage", ["empty", "truncated", "no parquet", "damaged page"])
def test_corrupt_parquet_is_named(damage: str, texts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts}), path, use_dictionary=False)
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(
        {
            "empty": b"",
            "truncated": content[:half],
            "no parquet": b"just some text\n" * 9,
            "damaged page": content[:20] + bytes(half) + content[20 + half :],
        }[damage]
    )
    with pytest.raises(CalibrationTextError, match=r"a\.parquet cannot be read as Parquet"):
        read_texts([path])


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
    first = [as_lists(masked_cells(half, encoder)) for half in split_texts(texts)]
    random.seed(99)
    np.random.seed(99)
    assert [as_lists(masked_cells(half, encoder)) for half in split_texts(texts)] == first


def test_each_cell_is_a_text_of_which_one_token_is_masked(texts: list[str], encoder: TextEncoder) -> None:
    texts = [text for text in texts if len(text) < encoder.max_length]  # none is cut
    whole = {tuple(encoder.encode(text).input_ids.tolist()) for text in texts}
    cells = masked_cells(texts, encoder)
    assert sum(len(batch.input_ids) for batch in cells) == len(texts)
    for batch in cells:
        assert batch.input_ids.shape[1] <= encoder.max_length
        for ids, (at,), (target,) in zip(batch.input_ids, batch.mask_positions, batch.targets, strict=True):
            assert np.flatnonzero(ids == encoder.mask_id).tolist() == [at]
            ids[at] = target
            assert tuple(ids.tolist()) in whole  # the example sentences are one sentence each


def test_a_long_text_is_cut_to_the_model_s_length(encoder: TextEncoder) -> None:
    (batch,) = masked_cells(["water " * 5000], encoder)
    assert batch.input_ids.shape == (1, encoder.max_length)


def test_of_few_texts_every_token_is_a_cell_of_its_own(encoder: TextEncoder) -> None:
    text = "The sun is hot."
    (batch,) = verification_cells([text], encoder)
    ids = encoder.encode(text).input_ids
    assert sorted(batch.mask_positions[:, 0].tolist()) == list(range(1, len(ids) - 1))
    assert (np.where(batch.input_ids == encoder.mask_id, batch.targets, batch.input_ids) == ids).all()


def test_a_token_that_the_vocabulary_lacks_is_never_masked(encoder: TextEncoder) -> None:
    text = "The 漢 sun is 漢 hot."
    ids = encoder.encode(text).input_ids[1:-1].tolist()
    known = [token for token in ids if not encoder.is_unknown(token)]
    assert len(known) < len(ids)
    cells = masked_cells([text], encoder, copies=50)
    assert sorted(target for batch in cells for target in batch.targets[:, 0].tolist()) == sorted(known)


def test_texts_that_cannot_be_masked_are_left_out(encoder: TextEncoder) -> None:
    cells = masked_cells(["The sun is hot.", "", "The [MASK] is hot.", "\ud800"], encoder)
    assert sum(len(batch.input_ids) for batch in cells) == 1


def test_text_of_which_nothing_can_be_used_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(CalibrationTextError, match="none of 70 texts can be used"):
        masked_cells(["The [MASK] is hot."] * 70, encoder)
