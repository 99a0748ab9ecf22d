"""The paper on a billion sentences: its sums are those of a run that is played through shard by shard."""

import heapq
import json
import math
from pathlib import Path
from typing import Any

import pytest
import scale as paper

from maskedge_batch.runs import plan

RESULTS = Path(__file__).parents[2] / "docs" / "results"
JOB = {
    "cpus": 4,
    "rows_per_second": 2_000.0,
    "models": {paper.LARGER_MODEL: {"job_rows_per_second": 100.0}},
}
MEASURED: dict[str, Any] = {
    "batch_job": JOB,
    "shards": {
        "peak_mebibytes": 512.0,
        "shard_overhead_seconds": 20.0,
        "s3_writes_per_shard": 5,
        "report_rows_per_second": 500_000.0,
    },
    "ray": {"task_overhead_seconds": 0.5, "worker_start_seconds": 60.0},
}


def played_through(workers: int, shards: int, seconds: float, start: float) -> float:
    """When the last shard ends, each handed to whichever worker is free first."""
    free = [start] * workers
    for _ in range(shards):
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


@pytest.fixture(autouse=True)
def shards_of_a_million_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_ROWS", 1_000_000)


def test_hours_and_loads_are_those_of_a_run_that_is_played_through() -> None:
    values = paper.scale(MEASURED)
    assert (values["shards"], values["shard_seconds"]) == (1_000, 520.0)
    for run in values["runs"]:
        seconds = played_through(run["workers"], 1_000, 520.0, 60.0)
        assert math.isclose(run["hours"], seconds / 3_600)
        assert math.isclose(run["dollars"], run["workers"] * seconds / 3_600 * 0.09)
        handed_out = run["workers"] / 520.0  # a second, while all workers work
        assert math.isclose(run["loads"]["the driver"], handed_out * 0.5)
        assert math.isclose(run["writes_per_second"], handed_out * 5)
        assert math.isclose(run["loads"]["the report"], 2_000 / (1_000 * 520.0 / run["workers"]))
        assert run["cpus"] == 4 * run["workers"]
        assert run["load"] == max(run["loads"].values())


def test_what_is_shared_is_as_busy_as_it_can_be_at_the_workers_it_says() -> None:
    values = paper.scale(MEASURED)
    assert math.isclose(values["saturated_at"]["the driver"], 520.0 / 0.5)
    assert math.isclose(values["saturated_at"]["the report"], 260.0)


def test_figures_are_measured_where_they_can_be_and_named_as_assumed_elsewhere() -> None:
    sources = {figure.name: figure.source for figure in paper.scale(MEASURED)["figures"]}
    assert sources["rows of a worker"] == "batch_job.json"
    assert sources["memory of a worker"] == "shards.json"
    assert sources["the driver's time for a shard"] == "ray.json"
    assert sources["a row as it is read"] == ""
    assert paper.scale({"batch_job": JOB})["assumed"] == len(paper.ASSUMED)


@pytest.mark.parametrize("name", ["shards", "ray"])
def test_the_files_of_figures_have_what_the_paper_reads(name: str) -> None:
    path = RESULTS / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path.name} has not been measured yet")
    assert set(json.loads(path.read_text(encoding="utf-8"))) & set(paper.UNITS)
