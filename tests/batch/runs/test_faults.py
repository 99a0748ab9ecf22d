"""Bad input: one clear error that names the thing, the place and the next step, and nothing left behind."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from maskedge_batch.cli.app import app

WriteInput = Callable[..., Path]


def refuse(*arguments: object, code: int = 2) -> str:
    """Runs `mlm-batch score` with a bundle that does not exist, so that only what is found before the model is loaded
    is found, and returns what it says."""
    model = () if "--model" in arguments else ("--model", "/no/such/bundle")
    result = CliRunner().invoke(app, ["score", *map(str, arguments), *model])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert not isinstance(result.exception, Exception)
    return result.stderr


def test_a_missing_input_file(tmp_path: Path) -> None:
    assert f"no file {tmp_path}/sentences.parquet" in refuse(tmp_path / "sentences.parquet")


def test_a_directory_without_files_as_input(tmp_path: Path) -> None:
    assert f"{tmp_path} holds no files to read" in refuse(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b"text,target\na,b\n", "not a complete Parquet file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    ],
    ids=["empty", "csv", "pointer"],
)
def test_an_input_that_is_not_parquet(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "sentences.parquet"
    path.write_bytes(content)
    message = refuse(path)
    assert str(path) in message
    assert said in message


def test_a_truncated_input(write_input: WriteInput) -> None:
    path = write_input({"text": ["a [MASK]"] * 1000})
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path} is not a complete Parquet file" in refuse(path)


def test_a_missing_text_column(write_input: WriteInput) -> None:
    message = refuse(write_input({"sentence": ["a"], "id": [1]}))
    assert "no text column 'text'" in message
    assert "--text-column" in message
    assert "sentence (string), id (int64)" in message


def test_a_missing_target_column_that_was_asked_for(write_input: WriteInput) -> None:
    message = refuse(write_input({"text": ["a"]}), "--target-column", "word")
    assert "no target column 'word'" in message
    assert "text (string)" in message


@pytest.mark.parametrize(
    "values",
    [[1], [["a"]], [{"a": "b"}], [1.5], [b"a"], [None]],
    ids=["integer", "list", "struct", "float", "binary", "null"],
)
def test_a_text_column_that_does_not_hold_strings(write_input: WriteInput, values: list[Any]) -> None:
    path = write_input({"text": values, "sentence": ["a"]})
    message = refuse(path)
    assert f"'text' holds {pq.read_schema(path).field('text').type} where strings are needed" in message
    assert "sentence (string)" in message


@pytest.mark.parametrize(
    "values", [[1], [[1]], [{"a": "b"}], [[["a"]]]], ids=["integer", "integers", "struct", "lists"]
)
def test_a_target_column_that_does_not_hold_words(write_input: WriteInput, values: list[Any]) -> None:
    path = write_input({"text": ["a"], "target": values})
    message = refuse(path, "--target-column", "target")
    assert f"'target' holds {pq.read_schema(path).field('target').type}" in message
    assert "--target-column" in message


def test_duplicate_column_names(write_input: WriteInput) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    assert "more than one column named 'text'" in refuse(write_input(table))


def test_an_input_that_was_scored_before(write_input: WriteInput) -> None:
    message = refuse(write_input({"text": ["a"], "mlm_pll": [1.0]}))
    assert "already has 'mlm_pll'" in message
    assert "drop or rename" in message


def test_a_missing_output_directory(write_input: WriteInput, tmp_path: Path) -> None:
    message = refuse(write_input({"text": ["a"]}), "-o", tmp_path / "results" / "out.parquet")
    assert f"no directory {tmp_path}/results" in message


def test_an_output_directory_that_holds_something_else(write_input: WriteInput, tmp_path: Path) -> None:
    message = refuse(write_input({"text": ["a"]}), "-o", tmp_path, "--overwrite")
    assert f"{tmp_path} holds other files, such as sentences.parquet" in message


def test_an_output_that_is_a_device(write_input: WriteInput, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert f"{pipe} is not a file" in refuse(write_input({"text": ["a"]}), "-o", pipe)
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a directory that even root cannot write to")
def test_an_output_directory_that_cannot_be_written_to(write_input: WriteInput) -> None:
    assert "/proc cannot be written to" in refuse(write_input({"text": ["a"]}), "-o", "/proc/out.parquet")


@pytest.mark.parametrize("link", [False, True], ids=["same path", "hard link"])
def test_an_output_that_is_the_input(write_input: WriteInput, tmp_path: Path, link: bool) -> None:
    path = output = write_input({"text": ["a"]})
    before = path.read_bytes()
    if link:
        output = tmp_path / "link.parquet"
        output.hardlink_to(path)
    assert "is the input itself" in refuse(path, "-o", output)
    assert path.read_bytes() == before


def test_a_missing_bundle(write_input: WriteInput, tmp_path: Path) -> None:
    path = write_input({"text": ["a"]})
    assert "/no/such/bundle" in refuse(path)
    assert list(tmp_path.iterdir()) == [path]


def test_more_predictions_than_the_vocabulary_has(write_input: WriteInput, tmp_path: Path, bundle: Path) -> None:
    path = write_input({"text": ["a"]})
    assert "vocabulary" in refuse(path, "--top-k", 10_000_000, "--model", bundle)
    assert list(tmp_path.iterdir()) == [path]


def damage(path: Path, group: int) -> None:
    """Flips one bit in the pages of a row group's first column."""
    chunk = pq.ParquetFile(path).metadata.row_group(group).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 10] ^= 1
    path.write_bytes(data)


def test_a_damaged_row_group_is_named_and_nothing_is_published(
    write_input: WriteInput, tmp_path: Path, bundle: Path
) -> None:
    columns = {"text": [f"{i} [MASK]" for i in range(30)]}
    path = write_input(columns, row_group_size=10, write_page_checksum=True, use_dictionary=False)
    damage(path, group=1)
    message = refuse(path, "--model", bundle)
    assert f"{path} is damaged in row group 1 of 3" in message
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_earlier_output_as_it_was(write_input: WriteInput, tmp_path: Path, bundle: Path) -> None:
    path = write_input({"text": ["a"] * 30}, write_page_checksum=True, use_dictionary=False)
    damage(path, group=0)
    earlier = tmp_path / "sentences.scored.parquet"
    earlier.write_bytes(b"earlier")
    refuse(path, "--model", bundle)
    assert earlier.read_bytes() == b"earlier"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk(write_input: WriteInput, tmp_path: Path, bundle: Path) -> None:
    # A limit on the size of a file fails a write just as a full disk does.
    path = write_input({"text": ["a [MASK]"] * 500, "ballast": [os.urandom(100).hex() for _ in range(500)]})
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000));"
        "from maskedge_batch.__main__ import main; main()"
    )
    command = [sys.executable, "-c", limited, "score", str(path), "--model", str(bundle)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1, result.stderr
    assert f"{tmp_path}/.sentences.scored.parquet.mlm/parts/part-000000.parquet could not be written" in result.stderr
    assert "bytes are free" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == [path]
