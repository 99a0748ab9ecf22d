"""What a dry run says: the plan as it would be done, and the time that a little of it took; nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from maskedge_batch.cli.app import app
from maskedge_batch.runs.estimating import estimate
from maskedge_batch.runs.job import Job, score_file

WriteInput = Callable[..., Path]
Rows = list[dict[str, Any]]


def test_the_plan_is_that_of_the_run(write_input: WriteInput, bundle: Path, sentences: Rows) -> None:
    path = write_input(sentences)
    job = Job(path, f"{path.parent}/out/", bundle, shard_rows=50)
    found = estimate(job)
    assert list(path.parent.iterdir()) == [path]
    assert (found.files, found.rows, found.model) == (1, 240, "tiny")
    assert found.shards == len(list(score_file(job).output.glob("*.parquet"))) == 5


def test_time_is_that_of_all_the_tokens_that_the_model_reads(
    write_input: WriteInput, bundle: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskedge_batch.runs.estimating._tokens_per_second", lambda *_: 100.0)

    def seconds(texts: list[str]) -> float | None:
        return estimate(Job(write_input({"text": texts}), model=bundle)).seconds

    masked, unmasked = f"{words[0]} [MASK]", " ".join(words[:8])  # of 4 tokens; of 10, each read 10 times
    assert seconds([masked] * 3_000) == pytest.approx(3_000 * (4 + 1) / 100)
    assert seconds([unmasked] * 300) == pytest.approx(300 * (10 * 10 + 1) / 100)


def test_the_longest_texts_are_told_apart(write_input: WriteInput, bundle: Path, words: list[str]) -> None:
    texts = [f"{words[0]} [MASK]"] * 198 + [" ".join(words[:40])] * 2
    found = estimate(Job(write_input({"text": texts}), model=bundle))
    assert found.longest_share is not None
    assert found.longest_tokens is not None
    assert found.longest_share > 0.6
    assert found.longest_tokens > 1_000


def test_no_rows_take_no_time(write_input: WriteInput, bundle: Path) -> None:
    found = estimate(Job(write_input(pa.table({"text": pa.array([], pa.string())})), model=bundle))
    assert (found.rows, found.seconds) == (0, None)


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["for people", "for machines"])
def test_the_command_says_it(write_input: WriteInput, bundle: Path, sentences: Rows, arguments: list[str]) -> None:
    path = write_input(sentences)
    result = CliRunner().invoke(app, ["score", str(path), "--model", str(bundle), "--dry-run", *arguments])
    assert result.exit_code == 0, result.output
    assert list(path.parent.iterdir()) == [path]
    if arguments:
        assert json.loads(result.stdout)["rows"] == 240
    else:
        assert "240 in 1 file" in result.stdout
        assert "of it for the longest 1% of the texts" in result.stdout
