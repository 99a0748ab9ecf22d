"""`mlm-batch mask` as a user meets it."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from maskedge_batch.cli.app import app

TEXTS = "The old town lies by a river.\nNo.\nIn 1902 it had a [MASK] of its own.\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text(TEXTS, encoding="utf-8")
    return path


def mask(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["mask", *map(str, arguments)])


def test_it_ends_with_what_was_masked_and_what_not(source: Path, tmp_path: Path) -> None:
    ran = mask(source, "-o", tmp_path / "masked.parquet")
    assert ran.exit_code == 0, ran.output
    assert [line.split() for line in ran.stdout.splitlines() if line.strip()] == [
        ["texts", "masked", "1", "of", "3"],
        ["not", "masked,", "too_short", "1"],
        ["not", "masked,", "has_a_mask", "1"],
        ["rows", "1"],
        ["masked", str(tmp_path / "masked.parquet")],
    ]


def test_the_figures_may_be_json(source: Path, tmp_path: Path) -> None:
    ran = mask(source, "-o", tmp_path / "masked.parquet", "--each", "--json")
    figures = json.loads(ran.stdout)
    assert (figures["texts"], figures["masked"], figures["rows"]) == (3, 1, 7)
    assert pq.read_metadata(figures["output"]).num_rows == 7


def test_a_list_of_words_may_be_given(source: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("river\n\ntown\n", encoding="utf-8")
    assert mask(source, "-o", tmp_path / "masked.parquet", "--words", words, "--rate", 1).exit_code == 0
    assert pq.read_table(tmp_path / "masked.parquet")["target"].to_pylist() == [["town", "river"]]
    words.write_text("\n", encoding="utf-8")
    ran = mask(source, "-o", tmp_path / "other.parquet", "--words", words)
    assert (ran.exit_code, ran.stderr) == (2, f"Error: {words} holds no words: write one a line.\n")


@pytest.mark.parametrize(
    ("arguments", "why"), [(["--each", "--rate", "0.5"], "one of them"), (["--rate", "0"], "above 0")]
)
def test_contradictions_are_refused(arguments: list[str], why: str, source: Path, tmp_path: Path) -> None:
    ran = mask(source, "-o", tmp_path / "masked.parquet", *arguments)
    assert ran.exit_code == 2
    assert why in " ".join(ran.stderr.split())
    assert not (tmp_path / "masked.parquet").exists()


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    ran = mask(tmp_path / "none.txt", "-o", tmp_path / "masked.parquet")
    assert (ran.exit_code, ran.stderr) == (2, f"Error: There is no file {tmp_path}/none.txt: check its name.\n")


def test_a_file_that_is_there_is_kept_unless_it_may_be_replaced(source: Path, tmp_path: Path) -> None:
    masked = tmp_path / "masked.parquet"
    masked.write_text("somebody's")
    ran = mask(source, "-o", masked)
    expected = f"Error: {masked} exists already: --overwrite replaces it, or name another place with -o.\n"
    assert (ran.exit_code, ran.stderr) == (2, expected)
    assert masked.read_text() == "somebody's"
    assert mask(source, "-o", masked, "--overwrite").exit_code == 0
    assert pq.read_metadata(masked).num_rows == 1
