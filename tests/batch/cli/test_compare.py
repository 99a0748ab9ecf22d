"""`mlm-batch compare` as a user meets it."""

import json
from pathlib import Path

import pytest
from drawn_scores import drawn_rows, masked_row, write_scored_file
from typer.testing import CliRunner, Result

from maskedge_batch.cli.app import app


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rows = [
        masked_row([-2.0 - 0.01 * number], genre="news" if number % 2 else "law", id=number) for number in range(60)
    ]
    better = [{**row, "mlm_target_logprob": [row["mlm_target_logprob"][0] + 1]} for row in rows]
    a = write_scored_file(tmp_path / "before.scored.parquet", rows)
    return a, write_scored_file(tmp_path / "after.scored.parquet", better, model="adapted")


def test_it_says_which_is_better_overall_and_by_group(files: tuple[Path, Path], tmp_path: Path) -> None:
    ran = compare(*files, "--by", "genre")
    assert ran.exit_code == 0, ran.output
    shown = " ".join(ran.stdout.split())
    assert "Targets at masks: B is better: perplexity ratio 0.367" in shown
    assert "genre: law 30" in shown
    assert "100.0%" in shown
    assert f"comparison {tmp_path}/after.against.before.html" in shown
    assert {path.suffix for path in tmp_path.glob("after.against.before.*")} == {".html", ".md", ".json"}


def test_the_files_may_be_named_by_globs(files: tuple[Path, Path], tmp_path: Path) -> None:
    ran = compare(f"{tmp_path}/bef*", f"{tmp_path}/af*.parquet")
    assert ran.exit_code == 0, ran.output
    assert f"comparison {tmp_path}/after.against.before.html" in " ".join(ran.stdout.split())


def test_json_goes_to_standard_output(files: tuple[Path, Path], tmp_path: Path) -> None:
    ran = compare(*files, "--key", "id", "--json", "-o", tmp_path / "there")
    told = json.loads(ran.stdout)
    assert told["masked"]["better"] == "B"
    assert told == json.loads((tmp_path / "there.json").read_text(encoding="utf-8"))


def test_other_rows_are_refused_in_a_line(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_scored_file(tmp_path / "other.scored.parquet", drawn_rows(60))
    ran = compare(files[0], other)
    assert ran.exit_code == 2
    assert ran.stderr.startswith("Error: The two sets hold different texts in row 0 (the first is 0)")
    assert len(ran.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("*.html"))
