"""The options of `mlm-batch score` that say what is found out, by which model, and with how much memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from maskedge_batch.cli.app import app

WriteInput = Callable[..., Path]


def score(path: Path, bundle: Path | str, *options: str) -> Any:
    return CliRunner().invoke(app, ["score", str(path), "--model", str(bundle), *options])


@pytest.fixture
def path(write_input: WriteInput, words: list[str]) -> Path:
    return write_input({"text": [f"{words[0]} [MASK]", "the waters"], "target": ["unbelievable", None]})


def rows_of(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path.with_name("sentences.scored.parquet")).to_pylist()


def test_what_is_asked_of_rows(path: Path, bundle: Path) -> None:
    options = ["--predictions", "none", "--method", "whole_word", "--single-piece-targets", "--tokens"]
    result = score(path, bundle, *options)
    assert result.exit_code == 0, result.output
    masked, plain = rows_of(path)
    assert (masked["mlm_status"], masked["mlm_predictions"]) == ("target_not_in_vocabulary", None)
    assert len(plain["mlm_tokens"]) == plain["mlm_token_count"]
    metadata = pq.read_schema(path.with_name("sentences.scored.parquet")).metadata or {}
    said = json.loads(metadata[b"maskedge"])["options"]
    assert (said["top_k"], said["method"], said["single_piece_targets"]) == (None, "whole_word", True)


def test_the_number_of_predictions(path: Path, bundle: Path) -> None:
    for option in ("--predictions", "--top-k"):
        assert score(path, bundle, option, "3").exit_code == 0
        assert len(rows_of(path)[0]["mlm_predictions"][0]) == 3
        path.with_name("sentences.scored.parquet").unlink()


@pytest.mark.parametrize("value", ["few", "-1", "", "1.5"])
def test_what_is_no_number_of_predictions_is_refused(path: Path, bundle: Path, value: str) -> None:
    result = score(path, bundle, "--predictions", value)
    assert result.exit_code == 2
    assert "neither a number nor none" in " ".join(result.stderr.split())


def test_more_predictions_than_the_vocabulary_has_are_refused(path: Path, bundle: Path) -> None:
    result = score(path, bundle, "--predictions", "401")
    assert result.exit_code == 2
    assert "must be from 0 to 400" in result.stderr


def test_a_precision_is_one_of_the_bundle_s(path: Path, bundle: Path) -> None:
    assert score(path, bundle, "--precision", "fp32").exit_code == 0
    metadata = pq.read_schema(path.with_name("sentences.scored.parquet")).metadata or {}
    assert json.loads(metadata[b"maskedge"])["precision"] == "fp32"
    path.with_name("sentences.scored.parquet").unlink()
    refused = score(path, bundle, "--precision", "int3")
    assert refused.exit_code == 2
    assert "int3" in refused.stderr


def test_a_revision_belongs_to_the_hub(path: Path, bundle: Path) -> None:
    refused = score(path, bundle, "--revision", "main")
    assert refused.exit_code == 2
    assert "--revision" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_little_memory_changes_no_result(
    write_input: WriteInput, bundle: Path, sentences: list[dict[str, Any]]
) -> None:
    path = write_input(sentences)
    scored = path.with_name("sentences.scored.parquet")
    results = []
    for budget in ("1", "512"):
        assert score(path, bundle, "--memory-budget", budget).exit_code == 0
        results.append(scored.read_bytes())
        scored.unlink()
    assert results[0] == results[1]


def test_the_profile_stands_on_standard_error(path: Path, bundle: Path) -> None:
    result = score(path, bundle, "--profile", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["rows"] == 2
    for word in ("read", "prepare", "inference", "convert", "write", "maskedge-model_0"):
        assert word in result.stderr
