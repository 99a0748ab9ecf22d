"""What a billion sentences cost, on paper: every number of docs/scale.md, from what was measured on one machine.

    .venv/bin/python benchmarks/pages.py

Shards and their plan are those of `maskedge_batch.runs.plan`. What was not measured yet is assumed (`ASSUMED`), and the
page says so. These figures, at the top of a file, replace it when they are there:

- docs/results/batch_job.json and shards.json, of one process of `mlm-batch score`: `cpus`, `rows_per_second`,
  `input_bytes_per_row` and `output_bytes_per_row` as stored, `peak_mebibytes`, `shard_overhead_seconds` (what a shard
  takes beside its rows), `report_rows_per_second`, `assembled_rows_per_second` (parts -> one file),
  `s3_reads_per_shard`, `s3_writes_per_shard`
- docs/results/ray.json: `task_overhead_seconds` (the driver's time for a shard), `worker_start_seconds`

What the driver keeps of a shard stays assumed: with 2,000 shards of a row each it could not be told from what a process
takes one time more and another time less.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from maskedge_batch.runs import plan
from maskedge_batch.runs.fingerprint import Fingerprint

__all__ = ["scale"]

ROWS = 1_000_000_000
WORKERS = (1, 10, 100, 1_000)
LARGER_MODEL = "BERT-base shape, fp32"

ASSUMED = {
    "peak_mebibytes": 500.0,
    "input_bytes_per_row": 72.0,  # 20,000 masked sentences of Wikipedia, 137 characters each, as Parquet with zstd
    "output_bytes_per_row": 161.0,  # the same, scored, with five predictions a mask
    "shard_overhead_seconds": 0.2,
    "report_rows_per_second": 200_000.0,
    "assembled_rows_per_second": 200_000.0,
    "s3_reads_per_shard": 6.0,
    "s3_writes_per_shard": 6.0,  # a part and its receipt, each begun, uploaded and completed
    "task_overhead_seconds": 0.002,
    "driver_bytes_per_shard": 4_000.0,
    "worker_start_seconds": 30.0,
}
UNITS = {
    "cpus": ("CPUs of a worker", ""),
    "rows_per_second": ("rows of a worker", "per second"),
    "peak_mebibytes": ("memory of a worker", "MiB"),
    "input_bytes_per_row": ("a row as it is read", "bytes"),
    "output_bytes_per_row": ("a row as it is written", "bytes"),
    "shard_rows": ("a shard", "rows"),
    "shard_overhead_seconds": ("a shard beside its rows", "s"),
    "report_rows_per_second": ("rows that the report reads", "per second"),
    "assembled_rows_per_second": ("rows put into one file", "per second"),
    "s3_reads_per_shard": ("requests that read, a shard", ""),
    "s3_writes_per_shard": ("requests that write, a shard", ""),
    "plan_bytes_per_shard": ("the plan, a shard", "bytes"),
    "task_overhead_seconds": ("the driver's time for a shard", "s"),
    "driver_bytes_per_shard": ("the driver's memory for a shard", "bytes"),
    "worker_start_seconds": ("a worker's start", "s"),
}

# What others' systems allow and ask for; list prices.
LIMITS = {
    "reads_per_second": 5_500,  # of one S3 prefix, as its documentation has it
    "writes_per_second": 3_500,
    "gigabits_per_worker": 0.78,  # of a machine with 2 CPUs and 4 GiB, over hours
    "dollars_per_worker_hour": 0.09,
    "dollars_per_1000_reads": 0.0004,
    "dollars_per_1000_writes": 0.005,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """What is known of one quantity."""

    name: str
    value: float
    unit: str
    source: str
    """The file of figures, or the module, that it is from; empty where it is assumed."""


@dataclass(frozen=True, slots=True)
class Run:
    """A billion rows on some workers."""

    workers: int
    cpus: int
    hours: float
    """Of scoring, from the first worker's start to the last shard's end."""
    dollars: float
    """For the workers."""
    memory_gibibytes: float
    """Of all workers together."""
    reads_per_second: float
    writes_per_second: float
    gigabits_per_second: float
    """Read and written by all workers."""
    loads: Mapping[str, float]
    """How busy each thing that workers share is while they score, by its name: 1 is as much as it can do. For the
    report, which comes after: its time over that of scoring."""

    @property
    def first_limit(self) -> str:
        """The busiest thing that is shared."""
        return max(self.loads, key=lambda name: self.loads[name])

    @property
    def load(self) -> float:
        """How busy it is."""
        return self.loads[self.first_limit]


def scale(results: Mapping[str, Any]) -> dict[str, Any]:
    """The values of docs/scale.md.

    Args:
        results: The figures of docs/results by the stem of their file.
    """
    figures = dict(_figures(results))
    known = {key: figure.value for key, figure in figures.items()}
    shards = math.ceil(ROWS / known["shard_rows"])
    shard_seconds = known["shard_rows"] / known["rows_per_second"] + known["shard_overhead_seconds"]
    runs = [_run(workers, shards, shard_seconds, known) for workers in WORKERS]
    return {
        "rows": ROWS,
        "figures": list(figures.values()),
        "assumed": sum(not figure.source for figure in figures.values()),
        "limits": LIMITS,
        "known": known,
        "times_larger_model": known["rows_per_second"]
        / results["batch_job"]["models"][LARGER_MODEL]["job_rows_per_second"],
        "shards": shards,
        "shard_seconds": shard_seconds,
        "runs": [asdict(run) | {"first_limit": run.first_limit, "load": run.load} for run in runs],
        "saturated_at": {name: runs[0].workers / load for name, load in runs[0].loads.items()},
        "requests": {"reads": shards * known["s3_reads_per_shard"], "writes": shards * known["s3_writes_per_shard"]},
        "request_dollars": shards
        * (
            known["s3_reads_per_shard"] * LIMITS["dollars_per_1000_reads"]
            + known["s3_writes_per_shard"] * LIMITS["dollars_per_1000_writes"]
        )
        / 1_000,
        "gigabytes": {name: ROWS * known[f"{name}_bytes_per_row"] / 1e9 for name in ("input", "output")},
        "report_hours": ROWS / known["report_rows_per_second"] / 3_600,
        "assembly_hours": ROWS / known["assembled_rows_per_second"] / 3_600,
        "plan_megabytes": shards * known["plan_bytes_per_shard"] / 1e6,
        "driver_megabytes": shards * known["driver_bytes_per_shard"] / 1e6,
    }


def _figures(results: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Each quantity as it was measured, or else as it is assumed."""
    known = {
        "batch_job.json": results["batch_job"],
        plan.__name__: {"shard_rows": plan.SHARD_ROWS, "plan_bytes_per_shard": _plan_bytes_per_shard()},
        "shards.json": results.get("shards", {}),
        "ray.json": results.get("ray", {}),
        "": ASSUMED,
    }
    for key, (name, unit) in UNITS.items():
        source = next(source for source, figures in known.items() if key in figures)
        yield key, Figure(name, float(known[source][key]), unit, source)


def _plan_bytes_per_shard(shards: int = 1_000) -> float:
    """Of files of a million rows each, in the middle of a plan, where numbers have as many digits as most."""
    shard = plan.Shard(ROWS // plan.SHARD_ROWS // 2, (plan.Piece(500, 500_000, plan.SHARD_ROWS),), ROWS // 2)
    one, many = (len(plan.Plan(Fingerprint({}), (shard,) * count).to_json()) for count in (1, shards))
    return (many - one) / (shards - 1)


def _run(workers: int, shards: int, shard_seconds: float, known: Mapping[str, float]) -> Run:
    seconds = math.ceil(shards / workers) * shard_seconds + known["worker_start_seconds"]
    shards_per_second = min(workers, shards) / shard_seconds
    reads, writes = (shards_per_second * known[f"s3_{kind}_per_shard"] for kind in ("reads", "writes"))
    bytes_per_row = known["input_bytes_per_row"] + known["output_bytes_per_row"]
    gigabits = shards_per_second * known["shard_rows"] * bytes_per_row * 8 / 1e9
    return Run(
        workers=workers,
        cpus=workers * int(known["cpus"]),
        hours=seconds / 3_600,
        dollars=workers * seconds / 3_600 * LIMITS["dollars_per_worker_hour"],
        memory_gibibytes=workers * known["peak_mebibytes"] / 1_024,
        reads_per_second=reads,
        writes_per_second=writes,
        gigabits_per_second=gigabits,
        loads={
            "the report": ROWS / known["report_rows_per_second"] / (shards * shard_seconds / workers),
            "the driver": shards_per_second * known["task_overhead_seconds"],
            "S3's requests that write": writes / LIMITS["writes_per_second"],
            "S3's requests that read": reads / LIMITS["reads_per_second"],
        },
    )
