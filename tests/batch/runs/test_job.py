"""A whole file: its columns, its order, its metadata, and what happens to its surroundings."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskedge import Predictor
from maskedge_batch.runs.job import Job, score_file
from maskedge_batch.scoring.columns import SCORE_FIELDS
from maskedge_batch.scoring.options import ScoringOptions

pytestmark = pytest.mark.slow

WriteInput = Callable[..., Path]


def test_the_output_has_the_inputs_rows_columns_and_metadata(
    write_input: WriteInput, bundle: Path, predictor: Predictor, sentences: list[dict[str, Any]]
) -> None:
    table = pa.Table.from_pylist(sentences)
    table = table.append_column(pa.field("weight", pa.float32(), metadata={"unit": "kg"}), pa.nulls(240, pa.float32()))
    table = table.append_column("kind", pa.array(["x", "y"] * 120).dictionary_encode())
    table = table.replace_schema_metadata({"source": "somewhere"})
    outcome = score_file(Job(write_input(table, row_group_size=50), model=bundle))
    scored = pq.read_table(outcome.output)
    assert scored.column_names == [*table.column_names, *SCORE_FIELDS.names]
    assert scored.select(table.column_names).equals(table)
    assert scored.field("weight").metadata == table.field("weight").metadata
    metadata = scored.schema.metadata or {}
    assert metadata[b"source"] == b"somewhere"
    provenance = json.loads(metadata[b"maskedge"])
    assert provenance["fingerprint"] == predictor.fingerprint
    assert provenance["options"] == {"text_column": "text", "target_column": "target", **asdict(ScoringOptions())}


def test_all_rows_are_scored_wherever_they_stand(
    write_input: WriteInput, bundle: Path, sentences: list[dict[str, Any]]
) -> None:
    small = score_file(Job(write_input(sentences, "small", row_group_size=7), model=bundle))
    large = score_file(Job(write_input(sentences, "large"), model=bundle))
    assert pq.read_table(small.output).equals(pq.read_table(large.output))
    assert pq.read_table(small.output)["mlm_status"].to_pylist() == ["ok"] * len(sentences)


def test_the_same_job_gives_the_same_bytes(
    write_input: WriteInput, bundle: Path, sentences: list[dict[str, Any]]
) -> None:
    path = write_input(sentences)
    first = score_file(Job(path, model=bundle)).output.read_bytes()
    assert score_file(Job(path, model=bundle, overwrite=True)).output.read_bytes() == first


def test_results_lie_beside_the_input(write_input: WriteInput, tmp_path: Path, bundle: Path, words: list[str]) -> None:
    score_file(Job(write_input({"text": [f"{words[0]} [MASK]"]}), model=bundle))
    names = ("scored.parquet", "report.html", "report.md", "report.json")
    assert {path.name for path in tmp_path.iterdir()} == {
        "sentences.parquet", *(f"sentences.{name}" for name in names),
    }  # fmt: skip


def test_results_go_where_they_are_asked_to(
    write_input: WriteInput, tmp_path: Path, bundle: Path, words: list[str]
) -> None:
    place = tmp_path / "results"
    place.mkdir()
    outcome = score_file(Job(write_input({"text": [words[0]]}), place / "out.parquet", bundle))
    assert outcome.output == place / "out.parquet"
    assert outcome.html == place / "out.report.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "sentences.parquet"]


def test_zero_rows_give_a_valid_output_and_a_report_that_says_so(write_input: WriteInput, bundle: Path) -> None:
    empty = pa.table({"id": pa.array([], pa.int64()), "text": pa.array([], pa.string())})
    outcome = score_file(Job(write_input(empty), model=bundle))
    scored = pq.read_table(outcome.output)
    assert scored.num_rows == 0
    assert scored.column_names == ["id", "text", *SCORE_FIELDS.names]
    for report in (outcome.html, outcome.markdown):
        assert "The input holds no rows" in report.read_text()
    assert json.loads(outcome.json.read_text())["rows"] == 0


def test_pages_carry_checksums(write_input: WriteInput, bundle: Path, sentences: list[dict[str, Any]]) -> None:
    output = score_file(Job(write_input(sentences), model=bundle)).output
    chunk = pq.ParquetFile(output).metadata.row_group(0).column(1)
    data = bytearray(output.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 20] ^= 1
    output.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(output, page_checksum_verification=True)


def test_progress_counts_every_row(write_input: WriteInput, bundle: Path, sentences: list[dict[str, Any]]) -> None:
    seen: list[tuple[int, int]] = []
    score_file(Job(write_input(sentences), model=bundle), lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 240)
    assert seen[-1] == (240, 240)
    assert seen == sorted(seen)


PEAK = """
import sys
from pathlib import Path
from maskedge_batch.runs.job import Job, score_file
score_file(Job(Path(sys.argv[1]), model=Path(sys.argv[2]), overwrite=True))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_number_of_rows(write_input: WriteInput, bundle: Path, words: list[str]) -> None:
    def peak_megabytes(rows: int) -> int:
        # 8 kB a row beside the text: all rows at once would take 160 and 480 MB.
        texts = [f"{words[i % len(words)]} [MASK]" if i % 4 == 0 else None for i in range(rows)]
        path = write_input({"text": texts, "ballast": [f"{i:08192}" for i in range(rows)]}, row_group_size=rows)
        run = subprocess.run([sys.executable, "-c", PEAK, path, bundle], capture_output=True, text=True, check=True)
        return int(run.stdout) // 1024

    few, many = peak_megabytes(20_000), peak_megabytes(60_000)
    assert many - few < 200  # of 320; from run to run the peak differs by 100
