"""What a dry run says: the plan as it would be done, and the time that a little of it took; nothing is written."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from maskedge_batch.cli.app import app
from maskedge_batch.errors import StoppedError
from maskedge_batch.inputs.arguments import named_inputs
from maskedge_batch.runs.estimating import estimate
from maskedge_batch.runs.job import Job, score_file
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.options import ScoringOptions

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


@pytest.fixture
def job(write_input: WriteInput, bundle: Path, words: list[str]) -> Job:
    """20 rows in 4 shards."""
    return Job(write_input({"text": [f"{word} [MASK]" for word in words[:20]]}), model=bundle, shard_rows=5)


def stop_half_way(job: Job) -> None:
    stop = StopRequest()
    with pytest.raises(StoppedError):
        score_file(job, lambda done, total: stop.ask() if done >= 15 else None, stop)


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def foreseen(job: Job) -> str | None:
    """What a dry run says of results that are there, which it leaves as they are."""
    directory = Path(str(named_inputs(job.input)[0])).parent
    before = contents(directory)
    found = estimate(job).results
    assert contents(directory) == before
    return found


def test_of_results_that_are_there_it_says_what_would_become(job: Job) -> None:
    assert foreseen(job) is None
    output = score_file(job).output
    refused = f"The run would be refused. {output} exists already: --overwrite replaces it, or name another place"
    assert str(foreseen(job)).startswith(refused)
    assert foreseen(replace(job, resume=True)) == f"{output} is complete already: nothing would be scored."
    assert foreseen(replace(job, overwrite=True)) == f"{output} exists already: it would be replaced."
    other = replace(job, scoring=ScoringOptions(top_k=2), resume=True)
    assert "would be refused" in str(foreseen(other))
    assert "--predictions was 5 and is 2" in str(foreseen(other))


def test_of_an_unfinished_run_it_says_how_much_is_done(job: Job) -> None:
    stop_half_way(job)
    assert foreseen(job) == "The run that was begun before would be gone on with: 2 of 4 shards are done."
    other = replace(job, scoring=ScoringOptions(top_k=2))
    assert "has an unfinished run of another job (--predictions was 5 and is 2)" in str(foreseen(other))
    assert "would be thrown away" in str(foreseen(replace(other, overwrite=True)))


def test_of_a_place_that_results_cannot_go_to_it_says_why(job: Job, tmp_path: Path) -> None:
    assert "There is no directory" in str(foreseen(replace(job, output=tmp_path / "none" / "out.parquet")))
    assert "is the input itself" in str(foreseen(replace(job, output=named_inputs(job.input)[0])))
    assert "name one with -o" in str(foreseen(replace(job, input=[*named_inputs(job.input)] * 2)))


def test_the_command_says_what_would_become_of_results(job: Job) -> None:
    output = score_file(job).output
    options = ["--model", str(job.model), "--shard-rows", "5", "--dry-run"]
    result = CliRunner().invoke(app, ["score", str(job.input), *options])
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"Note: The run would be refused. {output} exists already")
