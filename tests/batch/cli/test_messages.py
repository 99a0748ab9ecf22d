"""What a command says to people: singular and plural, what it did and did not do, what it cannot do and why."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from maskedge_batch.cli.app import app

WriteInput = Callable[..., Path]
Score = Callable[..., Result]


@pytest.fixture
def path(write_input: WriteInput) -> Path:
    return write_input({"text": ["a [MASK]", "the waters"], "target": ["the", None], "number": [1, 2]})


@pytest.fixture
def score(bundle: Path, path: Path) -> Score:
    def run(*options: str) -> Result:
        return CliRunner().invoke(app, ["score", str(path), "--model", str(bundle), *options])

    return run


def test_one_target_is_no_targets(score: Score) -> None:
    said = [line.strip().partition(" over ")[2] for line in score().stdout.splitlines() if " over " in line]
    assert "1 target" in said
    assert "1 targets" not in said


def test_the_last_line_of_progress_has_nothing_left(score: Score) -> None:
    assert score().stderr.splitlines()[-1].endswith(" rows/s")


def test_results_that_are_complete_are_said_to_be(score: Score, tmp_path: Path) -> None:
    score()
    again = score("--resume")
    assert again.exit_code == 0
    assert again.stderr == f"{tmp_path}/sentences.scored.parquet is complete already: nothing was scored.\n"


def test_a_dry_run_tells_seconds_from_minutes(score: Score) -> None:
    (time,) = [line for line in score("--dry-run").stdout.splitlines() if line.strip().startswith("time")]
    assert "about 1 s on this machine" in time


def test_workers_belong_to_a_cluster(score: Score) -> None:
    refused = score("--actors", "2")
    assert refused.exit_code == 2
    assert "add --engine ray" in refused.stderr


def test_a_revision_of_the_bundled_model_is_refused_in_words(path: Path) -> None:
    refused = CliRunner().invoke(app, ["score", str(path), "--revision", "main"])
    assert refused.exit_code == 2
    assert refused.stderr.startswith("Error: maskedge's own model has no revisions: name a model of the Hub")


def test_what_duckdb_exclaims_ends_in_one_full_stop(score: Score) -> None:
    refused = score("--filter", "nothing = 1")
    assert refused.exit_code == 2
    assert "FROM clause. Write it" in refused.stderr


def test_a_report_names_the_options_in_which_two_jobs_differ(score: Score, tmp_path: Path) -> None:
    score("-o", str(tmp_path / "a.parquet"))
    score("-o", str(tmp_path / "b.parquet"), "--predictions", "none")
    refused = CliRunner().invoke(app, ["report", str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")])
    assert refused.exit_code == 2
    assert "by different jobs (top_k: 5 and none): report on them apart" in refused.stderr
