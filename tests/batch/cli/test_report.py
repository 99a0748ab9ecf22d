"""`mlm-batch report` as a user meets it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from drawn_scores import drawn_rows, write_scored_file
from s3_store import S3Store
from typer.testing import CliRunner, Result

from maskedge_batch.cli.app import app
from maskedge_batch.reports.wording import significant
from maskedge_batch.runs.job import Job, score_file

WriteInput = Callable[..., Path]


def report(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    return write_scored_file(tmp_path / "drawn.scored.parquet", drawn_rows(60))


def test_it_makes_the_jobs_report_anew_and_keeps_what_that_said_of_the_run(
    write_input: WriteInput, bundle: Path, words: list[str]
) -> None:
    texts = [f"{words[number % 9]} [MASK]" for number in range(20)]
    path = write_input({"text": texts, "target": words[:20], "genre": ["news", "law"] * 10})
    outcome = score_file(Job(path, model=bundle))
    before = [page.read_text(encoding="utf-8") for page in (outcome.html, outcome.markdown, outcome.json)]
    ran = report(outcome.output)
    assert ran.exit_code == 0, ran.output
    assert [page.read_text(encoding="utf-8") for page in (outcome.html, outcome.markdown, outcome.json)] == before
    report(outcome.output, "--by", "genre")
    assert "By genre" in outcome.html.read_text(encoding="utf-8")


def test_a_directory_of_parts_has_its_report_made_anew(write_input: WriteInput, bundle: Path, tmp_path: Path) -> None:
    path = write_input({"text": ["the [MASK]"] * 30})
    outcome = score_file(Job(path, f"{tmp_path}/parts/", bundle, shard_rows=10))
    before = outcome.json.read_text()
    assert report(tmp_path / "parts").exit_code == 0
    assert json.loads(outcome.json.read_text())["run"] == json.loads(before)["run"]
    assert json.loads(outcome.json.read_text())["rows"] == 30


def test_files_may_be_named_by_a_glob(write_input: WriteInput, bundle: Path, tmp_path: Path) -> None:
    score_file(Job(write_input({"text": ["the [MASK]"] * 30}), f"{tmp_path}/parts/", bundle, shard_rows=10))
    ran = report(f"{tmp_path}/parts/part-00000[12].parquet", "--json")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["rows"] == 20
    assert (tmp_path / "parts" / "part-000001.report.html").exists()


def test_another_jobs_report_says_nothing_of_the_run(write_input: WriteInput, bundle: Path, tmp_path: Path) -> None:
    outcome = score_file(Job(write_input({"text": ["the [MASK]"] * 30}, "drawn"), model=bundle))
    write_scored_file(tmp_path / "drawn.scored.parquet", drawn_rows(30))
    report(tmp_path / "drawn.scored.parquet")
    assert json.loads(outcome.json.read_text())["run"] is None


def test_it_reads_from_a_store_and_writes_to_it(s3: S3Store, scored: Path) -> None:
    s3.put("scored/drawn.scored.parquet", scored.read_bytes())
    there = "s3://corpus/scored"
    ran = report(f"{there}/drawn.scored.parquet")
    assert ran.exit_code == 0, ran.output
    assert f"report {there}/drawn.report.html" in " ".join(ran.stdout.split())
    assert json.loads(s3.get("scored/drawn.report.json"))["rows"] == 60
    ran = CliRunner().invoke(app, ["compare", f"{there}/drawn.scored.parquet", os.fspath(scored)])
    assert "no difference shown" in ran.stdout


def test_it_ends_with_the_figures_and_the_page(scored: Path, tmp_path: Path) -> None:
    ran = report(scored, "--by", "genre")
    said = json.loads((tmp_path / "drawn.report.json").read_text(encoding="utf-8"))
    shown = " ".join(ran.stdout.split())
    assert f"masked perplexity {significant(said['masked']['overall']['perplexity']['value'])} (" in shown
    assert f"per word {significant(said['unmasked']['overall']['pseudo_perplexity_per_word']['value'])} (" in shown
    assert f"report {tmp_path}/drawn.report.html" in shown
    assert said["run"] is None
    assert said["masked"]["breakdowns"][0]["title"] == "by genre"


@pytest.mark.parametrize("output", ["pages/january", "pages/january.html", "pages"])
def test_it_goes_where_it_is_asked_to(scored: Path, tmp_path: Path, output: str) -> None:
    (tmp_path / "pages").mkdir()
    ran = report(scored, "-o", tmp_path / output, "--json")
    name = "drawn.report" if output == "pages" else "january"
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {
        f"{name}.{suffix}" for suffix in ("html", "md", "json")
    }
    assert json.loads(ran.stdout)["rows"] == 60


@pytest.mark.parametrize(("name", "options"), [("none.parquet", []), ("drawn.scored.parquet", ["--by", "typo"])])
def test_what_there_is_not_is_refused_in_a_line(scored: Path, tmp_path: Path, name: str, options: list[str]) -> None:
    ran = report(tmp_path / name, *options)
    assert ran.exit_code == 2
    assert len(ran.stderr.splitlines()) == 1
    assert (options[-1] if options else name) in ran.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"drawn.scored.parquet"}
