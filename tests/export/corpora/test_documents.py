"""The text to train on: how it is read, divided, turned into tokens, and refused."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import transformers
from altered_bundles import wordless_tokenizer

from maskedge_export.corpora import packing
from maskedge_export.corpora.documents import corpus_identity, documents, hash_share
from maskedge_export.corpora.packing import PackedCorpus, prepare_corpus
from maskedge_export.corpora.sampling import RowSampler
from maskedge_export.errors import CorpusError
from maskedge_export.recipe import CorpusRecipe, ModelRecipe, Recipe, TokenizerRecipe


def read(*files: object, **options: Any) -> list[tuple[str, ...]]:
    return list(documents(CorpusRecipe(files=tuple(map(str, files)), **options)))


def test_each_line_of_a_text_file_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.\r\n\n  \nZwölf.", encoding="utf-8")
    assert read(tmp_path / "a.txt") == [("One.",), ("Zwölf.",)]


def test_rows_of_parquet_and_jsonl_belong_to_their_documents(tmp_path: Path) -> None:
    rows = [(0, "A."), (0, "B."), (1, None), (2, "C."), (2, " "), (2, "D."), (None, "E."), (None, "F.")]
    table = pa.table({"document": [d for d, _ in rows], "body": [t for _, t in rows]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    lines = [json.dumps({"document": d, "body": t}) for d, t in rows]
    (tmp_path / "b.jsonl").write_text("\n".join(lines), encoding="utf-8")
    expected = [("A.", "B."), ("C.", "D."), ("E.",), ("F.",)]
    assert read(tmp_path / "a.parquet", tmp_path / "b.jsonl", text_column="body") == expected * 2


def test_a_glob_stands_for_its_files_in_order_and_each_counts_once(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.txt").write_text(name)
    assert read(tmp_path / "c.txt", tmp_path / "*.txt") == [("c",), ("a",), ("b",)]


def test_files_are_read_as_often_as_their_share_says(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{name} {number}" for number in range(400)))
    once = read(tmp_path / "a.txt")
    shared = read(tmp_path / "a.txt", tmp_path / "[bc].txt", shares=(2.25, 0.5))
    counts = Counter(shared)
    assert {counts[document] for document in once} == {2, 3}
    assert shared[:800] == once * 2
    assert sum(counts[document] == 3 for document in once) == pytest.approx(100, abs=35)
    half = [document for document in counts if document not in once]
    assert len(half) == pytest.approx(400, abs=60)
    assert {counts[document] for document in half} == {1}
    identities = [
        corpus_identity(CorpusRecipe(files=(str(tmp_path / "a.txt"),), shares=shares))
        for shares in ((), (1.0,), (2.0,))
    ]
    assert identities[1] != identities[2]


def test_a_document_that_is_read_twice_is_held_out_both_times(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"Sentence number {number}." for number in range(200)))
    corpus = CorpusRecipe(files=(str(tmp_path / "a.txt"),), shares=(3.0,), held_out=0.3)
    recipe = Recipe(tokenizer=TokenizerRecipe("word", 100, min_frequency=1), corpus=corpus)
    packed = prepare_corpus(recipe, tmp_path / "cache")
    assert len(packed.held_out) == len(set(packed.held_out)) == pytest.approx(60, abs=25)
    decoded = packed.tokenizer.decode(packed.tokens).lower()
    assert not [text for text in packed.held_out if f" {text.split()[2].strip('.')} " in decoded]


def test_a_data_set_is_read_by_the_datasets_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets extra is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"text": "One."}\n{"text": null}\n{"text": "Two."}\n')
    recipe = CorpusRecipe(dataset=str(tmp_path / "set"))
    assert list(documents(recipe)) == [("One.",), ("Two.",)]
    identity = corpus_identity(recipe)
    (tmp_path / "set" / "train.jsonl").write_text('{"text": "Three."}\n')
    assert corpus_identity(recipe) != identity
    with pytest.raises(CorpusError, match="has no text 'body'; it has: text"):
        list(documents(replace(recipe, text_column="body")))


def test_a_data_set_s_configuration_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets extra is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": name}))
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("one", "two"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    recipe = CorpusRecipe(dataset=str(tmp_path), configuration="two")
    assert list(documents(recipe)) == [("two",)]
    assert corpus_identity(recipe) != corpus_identity(replace(recipe, configuration="one"))
    with pytest.raises(CorpusError, match=r"(?s)cannot be read: .*one.*two"):
        list(documents(replace(recipe, configuration="")))


def test_the_datasets_library_s_own_errors_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets extra is not installed")
    for error in (RuntimeError("no scripts any more"), datasets.exceptions.DatasetGenerationError("broken")):

        def load(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(datasets, "load_dataset", load)
        with pytest.raises(CorpusError, match=f"data set a/b cannot be read: {error}"):
            list(documents(CorpusRecipe(dataset="a/b")))


def test_missing_files_and_no_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none\.txt does not exist"):
        read(tmp_path / "none.txt")
    with pytest.raises(CorpusError, match="give --text FILES"):
        read()


def test_what_is_held_out_depends_on_all_of_a_document_s_texts() -> None:
    shares = {hash_share(("The same beginning.", f"Text {number}."), "held out") for number in range(50)}
    assert len(shares) == 50
    assert hash_share(("Alone.",), "held out") != hash_share(("Alone.",), "evaluation")


def recipe_for(files: list[Path], **corpus: Any) -> Recipe:
    return Recipe(
        tokenizer=TokenizerRecipe(vocab_size=300),
        corpus=CorpusRecipe(files=tuple(map(str, files)), **{"held_out": 0.1, **corpus}),
        model=ModelRecipe(max_length=128),
    )


@pytest.fixture(scope="module")
def packed(sentences: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedCorpus:
    return prepare_corpus(recipe_for([sentences]), tmp_path_factory.mktemp("cache"))


def test_every_text_is_packed_or_held_out(packed: PackedCorpus, sentences: Path) -> None:
    texts = sentences.read_text(encoding="utf-8").splitlines()
    backend = packed.tokenizer.backend_tokenizer
    expected = {tuple(backend.encode(text, add_special_tokens=False).ids): text for text in texts}
    ends = np.flatnonzero(packed.tokens == packed.tokenizer.sep_token_id)
    pieces = np.split(packed.tokens, ends + 1)
    assert len(pieces[-1]) == 0  # the last text has its separator too
    trained_on = {expected[tuple(piece[:-1].tolist())] for piece in pieces[:-1]}
    assert trained_on | set(packed.held_out) == set(texts)
    assert not trained_on & set(packed.held_out)
    assert 0.05 * len(texts) < len(packed.held_out) < 0.2 * len(texts)
    assert packed.tokens.dtype == np.uint16


def test_texts_that_a_tokenizer_cannot_write_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One without an unknown token stops at what its vocabulary lacks."""
    tokenizer = wordless_tokenizer()
    special = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "mask_token": "<mask>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(tmp_path / "tokenizer")
    good = ["the cat", "the water.", "water"]
    (tmp_path / "a.txt").write_text("\n".join([good[0], "🙂", *good[1:], "the 日"]), encoding="utf-8")
    recipe = replace(
        recipe_for([tmp_path / "a.txt"], held_out=0.0), tokenizer=TokenizerRecipe(existing=str(tmp_path / "tokenizer"))
    )
    packed = prepare_corpus(recipe, tmp_path / "cache")
    end = tokenizer.token_to_id("</s>")
    expected = [token for text in good for token in [*tokenizer.encode(text, add_special_tokens=False).ids, end]]
    assert packed.tokens.tolist() == expected
    assert "2 of 5 texts are left out: the tokenizer cannot write them" in caplog.text


def test_a_document_is_held_out_whatever_else_there_is_and_whole(sentences: Path, tmp_path: Path) -> None:
    lines = sentences.read_text(encoding="utf-8").splitlines()
    table = pa.table({"document": [index // 2 for index in range(len(lines))], "text": lines})
    pq.write_table(table, tmp_path / "all.parquet")
    pq.write_table(table.slice(len(lines) // 2 // 2 * 2), tmp_path / "half.parquet")
    whole, half = (
        set(prepare_corpus(recipe_for([tmp_path / f"{name}.parquet"]), tmp_path / "cache").held_out)
        for name in ("all", "half")
    )
    assert half == whole & set(lines[len(lines) // 2 // 2 * 2 :])
    number = {line: index // 2 for index, line in enumerate(lines)}
    documents_out = {number[text] for text in whole}
    assert whole == {line for line in lines if number[line] in documents_out}


def test_what_was_packed_is_reused_until_text_or_tokenizer_change(sentences: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    (tmp_path / "a.txt").write_bytes(sentences.read_bytes())
    recipe = recipe_for([tmp_path / "a.txt"])
    first = prepare_corpus(recipe, tmp_path / "cache", stages.append)
    assert stages == ["Training the tokenizer", "Packing the corpus"]
    second = prepare_corpus(recipe, tmp_path / "cache", stages.append)
    assert len(stages) == 2
    assert (second.tokens == first.tokens).all()
    assert second.held_out == first.held_out
    with (tmp_path / "a.txt").open("a") as stream:
        stream.write("One more.\n")
    third = prepare_corpus(recipe, tmp_path / "cache", stages.append)
    assert len(stages) == 4
    assert third.fingerprint != first.fingerprint


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "word"])
def test_a_vocabulary_larger_than_the_corpus_supports_is_refused(kind: Any, sentences: Path, tmp_path: Path) -> None:
    recipe = replace(recipe_for([sentences]), tokenizer=TokenizerRecipe(kind=kind, vocab_size=90_000))
    with pytest.raises(CorpusError, match=r"supports a vocabulary of \d+ entries .* tokenizer.vocab_size 90000"):
        prepare_corpus(recipe, tmp_path)
    assert not list(tmp_path.glob("*"))


def test_a_larger_sample_is_advised_where_a_sample_was_too_small(sentences: Path, tmp_path: Path) -> None:
    recipe = replace(recipe_for([sentences]), tokenizer=TokenizerRecipe(vocab_size=90_000, sample=0.5))
    with pytest.raises(CorpusError, match=r"lower it, raise tokenizer\.sample, now 0\.5, or give more text"):
        prepare_corpus(recipe, tmp_path)


def test_one_document_cannot_be_divided(sentences: Path, tmp_path: Path) -> None:
    texts = sentences.read_text(encoding="utf-8").splitlines()
    pq.write_table(pa.table({"document": [0] * len(texts), "text": texts}), tmp_path / "book.parquet")
    with pytest.raises(CorpusError, match=r"the corpus is one document, .* divide it into several"):
        prepare_corpus(recipe_for([tmp_path / "book.parquet"]), tmp_path / "cache")
    whole = prepare_corpus(recipe_for([tmp_path / "book.parquet"], held_out=0.0), tmp_path / "cache")
    assert not whole.held_out


def with_tokenizer_of(packed: PackedCorpus, file: Path, directory: Path) -> Recipe:
    packed.tokenizer.save_pretrained(directory / "tokenizer")
    return replace(recipe_for([file]), tokenizer=TokenizerRecipe(existing=str(directory / "tokenizer")))


def test_batches_are_packed_by_their_characters(packed: PackedCorpus, sentences: Path, tmp_path: Path) -> None:
    long, short = (("a" * 6_000_000, "b" * 6_000_000), True), (("c",), False)
    assert [len(batch) for batch in packing._batches(iter([short, long, short, short]))] == [2, 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "CHARACTERS_PER_BATCH", 200)
        again = prepare_corpus(with_tokenizer_of(packed, sentences, tmp_path), tmp_path)
    assert (again.tokens == packed.tokens).all()
    assert again.held_out == packed.held_out


def test_what_another_run_has_put_into_the_cache_meanwhile_is_used(
    packed: PackedCorpus, sentences: Path, tmp_path: Path
) -> None:
    recipe = with_tokenizer_of(packed, sentences, tmp_path)

    def overtake(stage: str) -> None:
        assert stage == "Packing the corpus"
        prepare_corpus(recipe, tmp_path)

    prepared = prepare_corpus(recipe, tmp_path, overtake)
    assert (prepared.tokens == packed.tokens).all()
    assert not list(tmp_path.glob(".*"))


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n \n")
    with pytest.raises(CorpusError, match="the corpus is empty"):
        prepare_corpus(recipe_for([tmp_path / "a.txt"]), tmp_path / "cache")


def test_an_epoch_s_rows_are_the_whole_corpus_once() -> None:
    sampler = RowSampler(np.arange(103, dtype=np.uint16), 11, (500,), None, seed=3)
    assert sampler.rows_per_epoch == 10
    rows = sampler.rows(0, 10).input_ids
    assert (rows[:, 0] == 500).all()
    assert sorted(rows[:, 1:].ravel().tolist()) == list(range(100))
    assert rows.tolist() != sampler.rows(10, 10).input_ids.tolist()
    assert (
        np.concatenate([sampler.rows(7, 5).input_ids, sampler.rows(12, 9).input_ids]).tolist()
        == sampler.rows(7, 14).input_ids.tolist()
    )


def test_a_row_begins_with_a_text_where_one_begins_in_its_first_half() -> None:
    tokens = np.arange(1, 41, dtype=np.uint16)
    tokens[[3, 18]] = 0  # rows of 10: in the first half of the first row, in the second half of the second
    rows = RowSampler(tokens, 10, (), 0, seed=0).rows(0, 4).input_ids
    assert sorted(rows[:, 0].tolist()) == [5, 11, 21, 31]
    assert (np.diff(rows, axis=1)[rows[:, 1:] * rows[:, :-1] > 0] == 1).all()


def test_over_several_epochs_every_token_is_read() -> None:
    tokens = np.arange(1, 1004)
    tokens[19::20] = 0  # texts of 19 tokens: a row of 30 begins with one, and leaves out what stands before it
    sampler = RowSampler(tokens.astype(np.uint16), 30, (), 0, seed=0)
    once = set(sampler.rows(0, sampler.rows_per_epoch).input_ids.ravel().tolist())
    assert set(tokens.tolist()) - once
    often = set(sampler.rows(0, 12 * sampler.rows_per_epoch).input_ids.ravel().tolist())
    assert often == set(tokens.tolist())


def test_a_corpus_shorter_than_a_row_is_refused() -> None:
    with pytest.raises(CorpusError, match="has 5 tokens, fewer than one row of 8"):
        RowSampler(np.zeros(5, np.uint16), 8, (1,), None, seed=0)
