"""What a job reads besides whole Parquet files: lines, standard input, and what is left of damaged files."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskedge_batch.errors import OutputError, StoppedError
from maskedge_batch.runs.job import Job, score_file
from maskedge_batch.runs.stopping import StopRequest

WriteInput = Callable[..., Path]
Rows = list[dict[str, Any]]
RunCli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def lines(tmp_path: Path, sentences: Rows) -> Path:
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in sentences))
    return path


@pytest.fixture
def whole(write_input: WriteInput, bundle: Path, sentences: Rows) -> pa.Table:
    """The sentences, scored as Parquet."""
    return pq.read_table(score_file(Job(write_input(sentences, "whole"), model=bundle)).output)


def same_rows(one: pa.Table, other: pa.Table) -> bool:
    return bool(one.replace_schema_metadata().equals(other.replace_schema_metadata()))


def test_lines_are_scored_as_the_same_rows_in_parquet_are(lines: Path, bundle: Path, whole: pa.Table) -> None:
    outcome = score_file(Job(lines, model=bundle, shard_rows=50))
    assert outcome.output == lines.with_name("lines.scored.parquet")
    assert same_rows(pq.read_table(outcome.output), whole)
    assert {path.name for path in lines.parent.iterdir() if path.name.startswith(".")} == set()


@pytest.mark.parametrize("output", ["out.parquet", "out/"])
def test_lines_are_gone_on_with_and_known_again(lines: Path, bundle: Path, output: str) -> None:
    job = Job(lines, f"{lines.parent}/{output}", bundle, shard_rows=50)
    stop = StopRequest()
    with pytest.raises(StoppedError):
        score_file(job, lambda done, total: stop.ask() if done >= 100 else None, stop)
    seen: list[int] = []
    outcome = score_file(job, lambda done, total: seen.append(done))
    assert seen[0] > 0
    assert not list(outcome.output.parent.rglob("lines-*"))
    again: list[int] = []
    score_file(replace(job, resume=True), lambda done, total: again.append(done))
    assert again == []


def test_standard_input_is_scored(lines: Path, bundle: Path, whole: pa.Table) -> None:
    job = Job("-", lines.with_name("out.parquet"), bundle)
    outcome = score_file(job, standard_input=io.BytesIO(lines.read_bytes()))
    assert same_rows(pq.read_table(outcome.output), whole)
    assert outcome.report.title == "standard input"
    with pytest.raises(OutputError, match="name one with -o"):
        score_file(Job("-", model=bundle), standard_input=io.BytesIO())


@pytest.mark.slow
def test_the_command_reads_standard_input(lines: Path, bundle: Path, whole: pa.Table) -> None:
    output = lines.with_name("out.parquet")
    command = [sys.executable, "-m", "maskedge_batch", "score", "-", "-o", str(output), "--model", str(bundle)]
    ran = subprocess.run(command, input=lines.read_bytes(), capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert same_rows(pq.read_table(output), whole)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A directory with a file that is whole, one with a damaged row group of three, and one that was cut short."""
    directory = tmp_path / "texts"
    directory.mkdir()
    for number, name in enumerate("abc"):
        texts = pa.table({"text": [f"{number * 30 + i} [MASK]" for i in range(30)]})
        pq.write_table(
            texts, directory / f"{name}.parquet", row_group_size=10, write_page_checksum=True, use_dictionary=False
        )
    chunk = pq.ParquetFile(directory / "b.parquet").metadata.row_group(1).column(0)
    data = bytearray((directory / "b.parquet").read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 10] ^= 1
    (directory / "b.parquet").write_bytes(data)
    (directory / "c.parquet").write_bytes((directory / "c.parquet").read_bytes()[:-20])
    return directory


def test_what_is_damaged_is_left_out_and_told(damaged: Path, bundle: Path) -> None:
    outcome = score_file(Job(damaged, model=bundle, on_error="skip", shard_rows=15))
    texts = pq.read_table(outcome.output)["text"].to_pylist()
    assert texts == [f"{i} [MASK]" for i in [*range(40), *range(50, 60)]]
    assert [(Path(one.file).name, one.row_group, one.rows) for one in outcome.left_out] == [
        ("c.parquet", None, None),
        ("b.parquet", 1, 10),
    ]
    assert any("b.parquet is damaged in row group 1 of 3" in note and "10 rows" in note for note in outcome.notes)
    said = json.loads(outcome.json.read_text())["run"]["left_out"]
    assert len(said) == 2
    for page in (outcome.html, outcome.markdown):
        assert "b.parquet is damaged in row group 1 of 3" in page.read_text().replace("\\", "")


@pytest.mark.slow
def test_the_command_ends_with_3_where_something_was_left_out(damaged: Path, run_cli: RunCli) -> None:
    ran = run_cli(damaged, "-o", f"{damaged.parent}/out/", "--on-error", "skip", "--strict")
    assert ran.returncode == 3
    assert ran.stderr.count("Note: ") == 2
    stopped = run_cli(damaged, "-o", f"{damaged.parent}/other/")
    assert stopped.returncode == 2
    assert "c.parquet" in stopped.stderr
    assert not (damaged.parent / "other").exists()
