"""Whole jobs over every kind of input: whichever way rows are named and read, their scores are the same."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from s3_store import S3Store
from typer.testing import CliRunner, Result

from maskedge_batch.cli.app import app
from maskedge_batch.errors import DamagedError, InputError, OutputError
from maskedge_batch.inputs.selection import Selection
from maskedge_batch.runs.job import Job, score_file

pa: Any = pyarrow
pq: Any = pyarrow.parquet

Rows = list[dict[str, Any]]


def run(bundle: Path, *arguments: object) -> Result:
    result = CliRunner().invoke(app, ["score", *map(str, arguments), "--model", str(bundle)])
    assert not isinstance(result.exception, Exception), result.exception
    return result


def scored(path: Any) -> Rows:
    found: Rows = pq.read_table(path).to_pylist()
    return found


def as_lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture(scope="module")
def expected(sentences: Rows, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The first 60 sentences scored from one Parquet file."""
    path = tmp_path_factory.mktemp("expected") / "x.parquet"
    pq.write_table(pa.Table.from_pylist(sentences[:60]), path)
    return scored(score_file(Job(path, model=bundle)).output)


@pytest.fixture
def corpus(tmp_path: Path, sentences: Rows) -> Path:
    """The same in three files of two kinds, under two partitions."""
    root = tmp_path / "corpus"
    for name in ("part=1", "part=2"):
        (root / name).mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(sentences[:20]), root / "part=1" / "a.parquet", row_group_size=7)
    (root / "part=1" / "b.jsonl.gz").write_bytes(gzip.compress(as_lines(sentences[20:40])))
    pq.write_table(pa.Table.from_pylist(sentences[40:60]), root / "part=2" / "a.parquet")
    return root


def test_a_directory_of_all_kinds_is_scored_as_one_file(
    corpus: Path, tmp_path: Path, bundle: Path, expected: Rows
) -> None:
    result = run(bundle, corpus, "-o", tmp_path / "out.parquet")
    assert result.exit_code == 0, result.output
    rows = scored(tmp_path / "out.parquet")
    assert [row.pop("part") for row in rows] == [1] * 40 + [2] * 20
    assert rows == expected
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "_"))) == []


def test_from_store_to_store(corpus: Path, s3: S3Store, bundle: Path, expected: Rows, tmp_path: Path) -> None:
    for path in corpus.rglob("*.*"):
        s3.put(f"in/{path.relative_to(corpus)}", path.read_bytes())
    for output in ("s3://corpus/out.parquet", "s3://corpus/parts/"):
        result = run(bundle, "s3://corpus/in", "-o", output, "--shard-rows", 25)
        assert result.exit_code == 0, result.output
    parts = [row for number in range(3) for row in scored(pa.BufferReader(s3.get(f"parts/part-00000{number}.parquet")))]
    for rows in (parts, scored(pa.BufferReader(s3.get("out.parquet")))):
        assert [{key: row[key] for key in expected[0]} for row in rows] == expected
    keys = s3.keys()
    left = [key for key in keys if not key.startswith(("in/", "parts/"))]
    assert left == ["out.parquet", "out.report.html", "out.report.json", "out.report.md"]


def test_selections_are_taken_by_options(corpus: Path, tmp_path: Path, bundle: Path, expected: Rows) -> None:
    options = ("--filter", "part = 1 AND id % 2 = 0", "--sample", 8, "--seed", 3, "--limit", 5, "--columns", "part, id")
    result = run(bundle, corpus, "-o", tmp_path / "out.parquet", *options)
    assert result.exit_code == 0, result.output
    rows = scored(tmp_path / "out.parquet")
    assert [row.pop("part") for row in rows] == [1] * 5
    assert all(row["id"] % 2 == 0 for row in rows)
    assert rows == [expected[row["id"]] for row in rows]


def test_no_rows_make_a_valid_output(corpus: Path, tmp_path: Path, bundle: Path) -> None:
    result = run(bundle, corpus, "-o", tmp_path / "out.parquet", "--filter", "false")
    assert result.exit_code == 0, result.output
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


def test_another_filter_is_another_job(corpus: Path, bundle: Path, tmp_path: Path) -> None:
    for expression, code in (("id < 5", 0), ("id < 6", 2)):
        result = run(bundle, corpus, "-o", tmp_path / "out.parquet", "--filter", expression, "--resume")
        assert result.exit_code == code, result.output
    assert "--filter was id < 5 and is id < 6" in result.stderr


def test_a_job_of_nothing_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No input is named"):
        score_file(Job([], tmp_path / "out.parquet", bundle, selection=Selection()))


def test_a_run_that_damage_stopped_is_not_gone_on_with_once_it_is_left_out(tmp_path: Path, bundle: Path) -> None:
    """Without the damaged row group the shards are cut elsewhere: what is done belongs to others."""
    path = tmp_path / "x.parquet"
    table = pa.table({"text": [f"{number} [MASK]" for number in range(35)]})
    options = {"write_page_checksum": True, "use_dictionary": False}
    with pq.ParquetWriter(path, table.schema, **options) as writer:
        for first, rows in ((0, 10), (10, 20), (30, 5)):
            writer.write_table(table.slice(first, rows))
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 2] ^= 1
    path.write_bytes(data)
    job = Job(path, tmp_path / "out.parquet", bundle, shard_rows=20)
    with pytest.raises(DamagedError, match="row group 1 of 3"):
        score_file(job)
    with pytest.raises(OutputError, match="what is damaged and left out was not given and is 1 "):
        score_file(replace(job, on_error="skip"))
    found = scored(score_file(replace(job, on_error="skip", overwrite=True)).output)
    assert [row["text"].split()[0] for row in found] == [str(number) for number in (*range(10), *range(30, 35))]
