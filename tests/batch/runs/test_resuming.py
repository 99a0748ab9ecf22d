"""What a run leaves when it does not come to its end, and how the next goes on with it."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from maskedge_batch.errors import OutputError, StoppedError
from maskedge_batch.reports.rendering import as_json
from maskedge_batch.runs.job import Job, score_file
from maskedge_batch.runs.lock import held
from maskedge_batch.runs.stopping import StopRequest
from maskedge_batch.scoring.options import ScoringOptions

WriteInput = Callable[..., Path]
Rows = list[dict[str, Any]]

SHARD_ROWS = 50


@pytest.fixture
def job(write_input: WriteInput, bundle: Path, sentences: Rows) -> Job:
    """240 rows in 5 shards."""
    return Job(write_input(sentences), model=bundle, shard_rows=SHARD_ROWS)


@pytest.fixture
def directory_job(job: Job) -> Job:
    return replace(job, output=f"{source(job).parent / 'scored'}/")


def source(job: Job) -> Path:
    assert isinstance(job.input, Path)
    return job.input


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def stop_after(job: Job, rows: int) -> None:
    """Runs a job that is stopped once so many rows are done."""
    stop = StopRequest()

    def watch(done: int, total: int) -> None:
        if done >= rows:
            stop.ask()

    with pytest.raises(StoppedError):
        score_file(job, watch, stop)


def rows_scored(job: Job) -> int:
    """Runs a job to its end, and counts the rows that it scored itself."""
    seen: list[int] = []
    score_file(job, lambda done, total: seen.append(done))
    return seen[-1] - seen[0] if seen else 0


def workspace(job: Job) -> Path:
    return source(job).with_name(".sentences.scored.parquet.mlm")


def test_a_stopped_run_goes_on_and_ends_in_the_same_bytes(job: Job) -> None:
    undisturbed = score_file(job).output.read_bytes()
    source(job).with_name("sentences.scored.parquet").unlink()
    stop_after(job, 120)
    assert not source(job).with_name("sentences.scored.parquet").exists()
    assert rows_scored(job) == 240 - 2 * SHARD_ROWS + 4  # shards of 48 rows: two were done
    assert source(job).with_name("sentences.scored.parquet").read_bytes() == undisturbed
    assert names(source(job).parent) == {
        "sentences.parquet", "sentences.scored.parquet",
        *(f"sentences.report.{kind}" for kind in ("html", "md", "json")),
    }  # fmt: skip


def test_a_run_that_is_stopped_before_any_shard_is_done_leaves_nothing(job: Job, directory_job: Job) -> None:
    for one in (job, directory_job):
        stop_after(one, 20)
        assert names(source(job).parent) == {"sentences.parquet"}


def test_the_size_of_shards_changes_no_value(job: Job) -> None:
    many = pq.read_table(score_file(job).output)
    one = pq.read_table(score_file(replace(job, shard_rows=10_000, overwrite=True)).output)
    assert many.equals(one)


@pytest.mark.parametrize("harm", ["missing", "altered", "shortened"])
def test_a_part_that_is_not_as_its_receipt_says_is_done_again(job: Job, harm: str) -> None:
    undisturbed = score_file(job).output.read_bytes()
    source(job).with_name("sentences.scored.parquet").unlink()
    stop_after(job, 200)
    part = workspace(job) / "parts" / "part-000001.parquet"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.unlink() if harm == "missing" else part.write_bytes(content[: -20 if harm == "shortened" else None])
    assert rows_scored(job) == 2 * 48
    assert source(job).with_name("sentences.scored.parquet").read_bytes() == undisturbed


def test_a_part_without_a_receipt_is_done_again(job: Job) -> None:
    stop_after(job, 200)
    (workspace(job) / "receipts" / "part-000001.json").unlink()
    assert rows_scored(job) == 2 * 48


def test_a_receipt_of_other_rows_than_the_shard_s_is_none(job: Job) -> None:
    stop_after(job, 200)
    receipt = workspace(job) / "receipts" / "part-000001.json"
    said = json.loads(receipt.read_text())
    receipt.write_text(json.dumps({**said, "rows": said["rows"] - 1}))
    assert rows_scored(job) == 2 * 48


def other(job: Job) -> Job:
    return replace(job, scoring=ScoringOptions(top_k=2))


def test_an_unfinished_run_of_another_job_is_refused_naming_what_differs(job: Job) -> None:
    stop_after(job, 100)
    with pytest.raises(OutputError, match=r"unfinished run of another job \(--predictions was 5 and is 2\)"):
        score_file(other(job))
    with pytest.raises(OutputError, match=r"unfinished run of another job \(--predictions was 5 and is 2\)"):
        score_file(replace(other(job), resume=True))
    assert rows_scored(job) == 240 - 2 * 48


def test_an_input_that_changed_is_another_job(job: Job, write_input: WriteInput, sentences: Rows) -> None:
    stop_after(job, 100)
    write_input(sentences[::-1])
    with pytest.raises(OutputError, match=r"another job \(the input sentences\.parquet was .* and is "):
        score_file(job)


def test_overwriting_throws_an_unfinished_run_of_another_job_away(job: Job) -> None:
    undisturbed = score_file(job).output.read_bytes()
    stop_after(replace(other(job), overwrite=True), 100)
    again = replace(job, overwrite=True)
    assert rows_scored(again) == 240
    assert source(job).with_name("sentences.scored.parquet").read_bytes() == undisturbed


def test_overwriting_goes_on_with_an_unfinished_run_of_the_same_job(job: Job) -> None:
    again = replace(job, overwrite=True)
    score_file(job)
    stop_after(again, 100)
    assert rows_scored(again) == 240 - 2 * 48


def test_results_that_are_there_are_left_as_they_are(job: Job, directory_job: Job) -> None:
    for one in (job, directory_job):
        score_file(one)
        with pytest.raises(OutputError, match="exists already: --overwrite replaces it"):
            score_file(one)
        with pytest.raises(OutputError, match=r"was written by another job \(--predictions was 5 and is 2\)"):
            score_file(replace(other(one), resume=True))


def test_resuming_what_is_complete_gives_the_same_report_and_scores_nothing(job: Job, directory_job: Job) -> None:
    for one in (job, directory_job):
        before = score_file(one)
        assert rows_scored(replace(one, resume=True)) == 0
        assert as_json(score_file(replace(one, resume=True)).report) == as_json(before.report)


def test_what_a_run_left_that_was_killed_at_its_very_end_goes(job: Job) -> None:
    stop_after(job, 100)
    left = {path.relative_to(workspace(job)): path.read_bytes() for path in workspace(job).rglob("*.*")}
    score_file(job)
    complete = names(source(job).parent)
    for path, content in left.items():
        if path.name != "plan.json":  # the first to go
            (workspace(job) / path).parent.mkdir(parents=True, exist_ok=True)
            (workspace(job) / path).write_bytes(content)
    assert rows_scored(replace(job, resume=True)) == 0
    assert names(source(job).parent) == complete


def test_an_output_that_was_changed_is_not_complete(job: Job) -> None:
    output = score_file(job).output
    output.write_bytes(output.read_bytes() + b"!")
    with pytest.raises(OutputError, match="was changed after it was written"):
        score_file(replace(job, resume=True))


def test_an_output_that_somebody_else_put_there_meanwhile_is_left_alone(job: Job) -> None:
    stop_after(job, 100)
    output = source(job).with_name("sentences.scored.parquet")
    output.write_bytes(b"somebody else's")
    with pytest.raises(OutputError, match="exists already"):
        score_file(job)
    assert output.read_bytes() == b"somebody else's"


def test_what_a_killed_run_was_writing_is_swept(job: Job) -> None:
    stop_after(job, 100)
    leftovers = [
        workspace(job) / "parts" / ".part-000003.parquet.0123abcd.tmp",
        workspace(job) / "receipts" / ".part-000003.json.0123abcd.tmp",
        workspace(job) / ".plan.json.0123abcd.tmp",
        source(job).with_name(".sentences.scored.parquet.0123abcd.tmp"),
        source(job).with_name(".sentences.report.html.0123abcd.tmp"),
    ]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    stop_after(job, 150)
    assert not [leftover for leftover in leftovers if leftover.exists()]


# A directory of parts


def test_a_directory_holds_parts_that_any_reader_takes_for_one_data_set(job: Job, directory_job: Job) -> None:
    outcome = score_file(directory_job)
    assert names(outcome.output) == {
        *(f"part-{number:06}.parquet" for number in range(5)),
        "_SUCCESS", "_mlm", *(f"_report.{kind}" for kind in ("html", "md", "json")),
    }  # fmt: skip
    assert pq.read_table(outcome.output).equals(pq.read_table(score_file(job).output))


def test_a_directory_is_complete_when_it_says_so(directory_job: Job) -> None:
    undisturbed = {path.name: path.read_bytes() for path in score_file(directory_job).output.glob("*.parquet")}
    directory = source(directory_job).with_name("scored")
    again = replace(directory_job, overwrite=True)
    stop_after(again, 120)
    assert not (directory / "_SUCCESS").exists()
    assert len(list(directory.glob("*.parquet"))) == 2
    assert rows_scored(directory_job) == 240 - 2 * 48
    assert {path.name: path.read_bytes() for path in directory.glob("*.parquet")} == undisturbed
    assert (directory / "_SUCCESS").exists()


def test_a_directory_that_lost_a_part_is_mended(directory_job: Job) -> None:
    output = score_file(directory_job).output
    before = (output / "part-000002.parquet").read_bytes()
    (output / "part-000002.parquet").unlink()
    assert rows_scored(replace(directory_job, resume=True)) == 48
    assert (output / "part-000002.parquet").read_bytes() == before


def test_parts_of_a_job_with_more_of_them_do_not_stay(directory_job: Job) -> None:
    score_file(directory_job)
    outcome = score_file(replace(directory_job, shard_rows=100, overwrite=True))
    assert len(list(outcome.output.glob("*.parquet"))) == 3
    assert pq.read_table(outcome.output).num_rows == 240


# Two runs at once


def test_a_second_run_to_one_output_fails_at_once_naming_the_first(job: Job, directory_job: Job) -> None:
    for one in (job, directory_job):
        said: list[str] = []

        def run_another(done: int, total: int, one: Job = one, said: list[str] = said) -> None:
            if not said:
                with pytest.raises(OutputError) as refused:
                    score_file(one)
                said.append(str(refused.value))

        score_file(one, run_another)
        assert f"Another run is writing {source(one).parent}/" in said[0]
        assert f"process {os.getpid()} on " in said[0]


HOLD = """
import sys, time
from maskedge_batch.runs.lock import held
from pathlib import Path
with held(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=f"process {process.pid} on"), held(lock, "it"):
            pass
        process.kill()
        process.wait()
    with held(lock, "it"):
        assert json.loads(lock.read_text())["pid"] == os.getpid()


def test_a_lock_whose_file_was_removed_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the run that held it ends between this one's opening and locking the file."""
    lock = tmp_path / "lock"
    flock = fcntl.flock

    def remove_first(file: Any, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        lock.unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with held(lock, "it"), pytest.raises(OutputError, match="Another run"), held(lock, "it"):
        pass
