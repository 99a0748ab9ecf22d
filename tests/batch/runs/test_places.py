"""Where results go: what -o names decides, on this machine and in a store."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_store import S3Store

from maskedge_batch.errors import BatchError, OutputError
from maskedge_batch.inputs.selection import Selection
from maskedge_batch.runs.job import Job, score_file

WriteInput = Callable[..., Path]
Rows = list[dict[str, Any]]


@pytest.fixture
def texts(tmp_path: Path, sentences: Rows) -> Path:
    """A directory with the sentences in three files, two of them in directories that say a language."""
    for name, first, end in (("a", 0, 100), ("lang=en/b", 100, 180), ("lang=fr/c", 180, 240)):
        path = tmp_path / "texts" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(sentences[first:end]), path)
    return tmp_path / "texts"


@pytest.fixture
def whole(write_input: WriteInput, bundle: Path, sentences: Rows) -> pa.Table:
    """The sentences, scored as one file."""
    return pq.read_table(score_file(Job(write_input(sentences, "whole"), model=bundle)).output)


def without(table: pa.Table, *columns: str) -> pa.Table:
    return table.drop_columns([name for name in columns if name in table.column_names]).replace_schema_metadata()


def test_a_directory_is_scored_into_a_directory_beside_it(texts: Path, bundle: Path, whole: pa.Table) -> None:
    outcome = score_file(Job(texts, model=bundle, shard_rows=90))
    assert outcome.output == texts.with_name("texts.scored")
    assert outcome.report.title == "texts"
    scored = pq.read_table(outcome.output)
    assert without(scored, "lang").equals(without(whole))
    assert scored["lang"].to_pylist() == [None] * 100 + ["en"] * 80 + ["fr"] * 60


def test_several_files_are_scored_into_one(texts: Path, bundle: Path, whole: pa.Table, tmp_path: Path) -> None:
    files = [texts / "a.parquet", texts / "lang=en" / "b.parquet", texts / "lang=fr" / "c.parquet"]
    outcome = score_file(Job(files, tmp_path / "one.parquet", bundle))
    assert without(pq.read_table(outcome.output)).equals(without(whole))
    assert outcome.html == tmp_path / "one.report.html"


@pytest.mark.parametrize("named", [["a.parquet", "lang=en/b.parquet"], ["lang=*"]], ids=["files", "a glob"])
def test_several_inputs_want_a_place_to_be_named(texts: Path, named: list[str]) -> None:
    with pytest.raises(OutputError, match=r"name .* with -o"):
        score_file(Job([texts / name for name in named]))


def test_an_output_within_the_input_is_refused(texts: Path, bundle: Path) -> None:
    with pytest.raises(OutputError, match="holds other files"):
        score_file(Job(texts, texts, bundle))
    with pytest.raises(OutputError, match="is the input itself"):
        score_file(Job(texts, texts / "a.parquet", bundle))


def test_only_chosen_rows_and_columns_are_scored(texts: Path, bundle: Path, whole: pa.Table, tmp_path: Path) -> None:
    chosen = Selection(columns=("lang",), filter="id % 2 = 0", sample=100, seed=3, limit=50)
    outcome = score_file(Job(texts, tmp_path / "one.parquet", bundle, selection=chosen))
    scored = pq.read_table(outcome.output)
    assert scored.column_names[:4] == ["text", "target", "lang", "mlm_status"]
    assert scored.num_rows == outcome.report.rows == 50
    expected = {(row["text"], row["mlm_perplexity"]) for row in whole.to_pylist() if row["id"] % 2 == 0}
    assert {(row["text"], row["mlm_perplexity"]) for row in scored.to_pylist()} <= expected


def test_another_selection_is_another_job(texts: Path, bundle: Path) -> None:
    job = Job(texts, model=bundle)
    score_file(job)
    with pytest.raises(OutputError, match=r"--limit was not given and is 3"):
        score_file(replace(job, selection=Selection(limit=3), resume=True))


# In a store


@pytest.mark.parametrize("output", ["out.parquet", "deep/out/"])
def test_results_in_a_store_are_those_on_a_disk(
    s3: S3Store, write_input: WriteInput, bundle: Path, sentences: Rows, tmp_path: Path, output: str
) -> None:
    job = Job(write_input(sentences), f"{tmp_path}/{output.removeprefix('deep/')}", bundle, shard_rows=50)
    local = score_file(job)
    outcome = score_file(replace(job, output=f"s3://corpus/{output}"))
    assert outcome.report.masked == local.report.masked
    files = [path for path in tmp_path.rglob("*.parquet") if path != job.input]
    for path in files:
        assert s3.get(f"{output.partition('out')[0]}{path.relative_to(tmp_path)}") == path.read_bytes()
    keys = s3.keys()
    assert {key for key in keys if not key.endswith("/")} == {
        f"{output.partition('out')[0]}{path.relative_to(tmp_path)}"
        for path in tmp_path.rglob("*")
        if path.is_file() and path != job.input and path.name != "lock"
    }


@pytest.mark.slow
@pytest.mark.parametrize("output", ["out.parquet", "out/"])
def test_whichever_request_fails_the_run_goes_on_to_the_same_bytes(
    s3: S3Store, write_input: WriteInput, bundle: Path, words: list[str], output: str
) -> None:
    source = write_input({"text": [f"{word} [MASK]" for word in words[:40]]})
    job = Job(source, f"s3://corpus/{output}", bundle, shard_rows=20, resume=True)
    score_file(job)
    complete, names = scored(s3), set(s3.keys())
    asked = len(s3.requests)
    s3.reset()
    failed = 0
    for number in range(0, asked, 8):
        left = number

        def fault(method: str, path: str) -> int | None:
            nonlocal left
            left -= 1
            return 403 if left < 0 else None

        s3.fault = fault
        try:
            score_file(job)
        except BatchError:
            failed += 1
        s3.fault = lambda method, path: None
        found = scored(s3)
        assert found == {name: complete[name] for name in found}
        score_file(job)
        assert scored(s3) == complete
        assert set(s3.keys()) == names
        s3.reset()
    assert failed >= asked // 8


def scored(s3: S3Store) -> dict[str, bytes]:
    """The scored rows, and what says that they are complete."""
    keys = s3.keys()
    names = (name for name in keys if name.endswith(("out.parquet", "_SUCCESS")) or name.startswith("out/part-"))
    return {name: s3.get(name) for name in names}
