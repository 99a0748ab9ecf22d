"""What the contenders are asked: rows with one mask each, of the lengths that they are said to have."""

from pathlib import Path

import pytest
from harness.contenders import ComparedModel
from harness.workloads import LENGTHS, Rows, Sizes, make_rows, sentences_of
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints" / "english-minilm"
EXAMPLES = ROOT / "examples" / "sentences.txt"
SIZES = Sizes(sentences=40, one=6, pll=5, tokens=1024)


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return sentences_of([EXAMPLES])


@pytest.fixture(scope="module")
def rows(sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> Rows:
    model = ComparedModel("default", CHECKPOINT, tmp_path_factory.mktemp("rows") / "calibration.txt")
    return make_rows(sentences, model, SIZES)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))


def test_every_row_that_is_filled_has_one_mask(rows: Rows) -> None:
    filled = [text for workload in rows.workloads if workload.do != "score" for text in workload.texts]
    assert {text.count("[MASK]") for text in filled} == {1}


def test_texts_have_the_lengths_that_they_are_named_after(rows: Rows, tokenizer: Tokenizer) -> None:
    for workload in rows.workloads:
        if workload.kind == "lengths":
            assert {f"lengths/{len(tokenizer.encode(text).ids)}" for text in workload.texts} == {workload.name}
    assert [each.name for each in rows.workloads if each.kind == "lengths"] == [f"lengths/{each}" for each in LENGTHS]


def test_tokens_are_counted_as_the_tokenizer_does(rows: Rows, tokenizer: Tokenizer) -> None:
    counted = {each.name: [len(tokenizer.encode(text).ids) for text in each.texts] for each in rows.workloads}
    found = {each.name: (each.tokens, each.read) for each in rows.workloads}
    assert found["sentences"] == (sum(counted["sentences"]), sum(counted["sentences"]))
    assert found["pll"] == (sum(n - 2 for n in counted["pll"]), sum(n * (n - 2) for n in counted["pll"]))


def test_no_sentence_is_measured_that_is_calibrated_with(sentences: list[str], rows: Rows) -> None:
    measured, rest = sentences[: SIZES.measured], sentences[SIZES.measured :]
    scored = {text for workload in rows.workloads if workload.do == "score" for text in workload.texts}
    masked = {text for workload in rows.workloads if workload.kind in ("sentences", "one") for text in workload.texts}
    assert scored <= set(measured) - set(rest)
    assert all(any(was(row, text) for text in measured) for row in masked)
    assert not any(was(row, text) for row in masked for text in rest)


def was(row: str, sentence: str) -> bool:
    """Whether a row may be the sentence with a word masked."""
    before, _, after = row.partition("[MASK]")
    return len(sentence) > len(before + after) and sentence.startswith(before) and sentence.endswith(after)


def test_rows_are_the_same_every_time(sentences: list[str], rows: Rows) -> None:
    assert sentences_of([EXAMPLES]) == sentences
    assert rows.digest() == rows.digest()


def test_few_sentences_leave_some_to_calibrate_with() -> None:
    sizes = Sizes().within(300)
    assert sizes.measured <= 0.75 * 300
    assert Sizes().within(10_000) == Sizes()
