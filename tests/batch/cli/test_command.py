"""What all commands have in common: where they talk, in which form, and how they end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from maskedge_batch.cli.app import app

WriteInput = Callable[..., Path]
Score = Callable[..., Result]


@pytest.fixture
def score(bundle: Path, write_input: WriteInput) -> Score:
    """Scores two rows, of which one has no text."""

    def run(*options: str, **environment: str) -> Result:
        path = write_input({"text": ["a [MASK]", None]})
        return CliRunner().invoke(app, ["score", str(path), "--model", str(bundle), *options], env=environment)

    return run


def test_talk_goes_to_standard_error_and_figures_to_standard_output_as_json(score: Score) -> None:
    result = score("--json")
    assert json.loads(result.stdout)["set_aside"] == {"null_text": 1}
    assert result.stderr.startswith("0 of 2 rows")


def test_quiet_says_only_what_went_wrong(score: Score) -> None:
    assert score("--quiet").stderr == ""
    assert score("--quiet", "--text-column", "none").stderr.startswith("Error: The input has no text column 'none'")


def test_a_log_in_json_has_an_object_a_line(score: Score) -> None:
    said: list[dict[str, Any]] = [json.loads(line) for line in score("--log-format", "json").stderr.splitlines()]
    assert [(one["level"], one["rows"], one["rows_total"]) for one in said] == [("info", 0, 2), ("info", 2, 2)]
    failed = score("--log-format", "json", "--text-column", "none")
    (error,) = [json.loads(line) for line in failed.stderr.splitlines()]
    assert error["level"] == "error"
    assert "no text column 'none'" in error["message"]


def test_the_profile_is_an_object_of_a_log_in_json(score: Score) -> None:
    said = [json.loads(line) for line in score("--profile", "--log-format", "json").stderr.splitlines()]
    assert {*said[-1]["stages"]} == {"read", "prepare", "inference", "convert", "write"}
    assert said[-1]["wall_seconds"] > 0


def test_strict_ends_with_3_where_rows_were_set_aside_and_writes_all_the_same(score: Score, tmp_path: Path) -> None:
    assert score().exit_code == 0
    assert score("--strict", "--overwrite").exit_code == 3
    assert (tmp_path / "sentences.scored.parquet").exists()


def test_an_option_can_come_from_the_environment_and_the_command_line_wins(score: Score) -> None:
    assert "no text column 'other'" in score(MLM_SCORE_TEXT_COLUMN="other").stderr
    assert score("--text-column", "text", MLM_SCORE_TEXT_COLUMN="other").exit_code == 0


def test_quiet_and_verbose_exclude_each_other(score: Score) -> None:
    assert score("--quiet", "--verbose").exit_code == 2


@pytest.mark.parametrize("name", [command.callback.__name__ for command in app.registered_commands if command.callback])
def test_the_help_of_each_command_shows_an_example(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert f"Example: mlm-batch {name} " in result.stdout
