"""What shards and a cluster cost beside the rows themselves: the figures that docs/scale.md computes with.

    .venv/bin/python benchmarks/shards.py --out docs/results

Writes shards.json and ray.json. Costs of a shard are slopes: the same few rows in one shard and in many, by the
smallest model there is.
"""

import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from many_rows import write_rows
from s3_store import S3Store
from timing import most_resident

from maskedge.bundle.threads import usable_cpus
from maskedge_batch import Job, make_report, score_file

BUNDLE = Path(__file__).parents[1] / "tests" / "tiny_bundle"
SHARDS = 40
ROUNDS = 5
READS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a job took in a process of its own."""

    seconds: float
    cpu_seconds: float
    """Of the process itself; a cluster's workers are others."""
    peak_bytes: int
    begun: float
    """Seconds until the engine was there."""
    first_shard: float
    """Seconds until the first shard was done."""
    last_shard: float
    """Seconds until the last shard was done; what follows are the output and its report."""


def main(
    rows: Annotated[
        int, typer.Option(help="Rows for the smallest model; a tenth of them for the bundled one.")
    ] = 200_000,
    scratch: Annotated[Path | None, typer.Option(help="Where the files go; a temporary directory by default.")] = None,
    out: Annotated[Path, typer.Option(help="The directory of the figures.")] = Path("build"),
) -> None:
    """Measure, print, and write the figures."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        place = Path(directory)
        figures: dict[str, dict[str, Any]] = {"shards": of_shards(place, rows), "ray": of_ray(place, rows)}
    for name, found in figures.items():
        (out / f"{name}.json").write_text(json.dumps({"cpus": usable_cpus(), **found}, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def of_shards(place: Path, rows: int) -> dict[str, float]:
    """Of one process that scores."""
    few = Job(write_rows(place / "few.parquet", 20 * SHARDS), f"{place}/parts/", BUNDLE, overwrite=True)
    one, many = in_one_and_in_many(few, 20 * SHARDS)
    whole = spent(Job(write_rows(place / "many.parquet", rows), place / "whole.parquet", BUNDLE, overwrite=True))
    started = time.perf_counter()
    make_report([place / "whole.parquet"])
    report = time.perf_counter() - started
    bundled = spent(Job(write_rows(place / "fewer.parquet", rows // 10), place / "bundled.parquet", overwrite=True))
    return {
        "peak_mebibytes": bundled.peak_bytes / 2**20,
        "shard_overhead_seconds": (many.last_shard - one.last_shard) / (SHARDS - 1),
        "report_rows_per_second": rows / report,
        "assembled_rows_per_second": rows / max(whole.seconds - whole.last_shard - report, 1e-3),
        **requests(place),
    }


def requests(place: Path) -> dict[str, float]:
    """How often a store is asked for each shard that is read from it and written to it."""
    store = S3Store()
    os.environ |= store.environment
    rows = 20 * SHARDS
    content = write_rows(place / "few.parquet", rows).read_bytes()
    counts = []
    for shards in (1, SHARDS):
        store.reset()
        store.put("input.parquet", content)
        store.requests.clear()
        score_file(Job("s3://corpus/input.parquet", "s3://corpus/parts/", BUNDLE, shard_rows=rows // shards))
        methods = [method for method, _ in store.requests]
        reads = sum(method in READS for method in methods)
        counts.append((reads, len(methods) - reads))
    store.stop()
    (reads, writes), (more_reads, more_writes) = counts
    return {
        "s3_reads_per_shard": (more_reads - reads) / (SHARDS - 1),
        "s3_writes_per_shard": (more_writes - writes) / (SHARDS - 1),
    }


def of_ray(place: Path, rows: int) -> dict[str, Any]:
    """Of a cluster on this machine, beside this process's own threads."""
    few = Job(write_rows(place / "few.parquet", 20 * SHARDS), f"{place}/ray/", BUNDLE, engine="ray", overwrite=True)
    one, many = in_one_and_in_many(few, 20 * SHARDS)
    fewer = Job(write_rows(place / "fewer.parquet", rows // 10), place / "bundled.parquet", overwrite=True)
    return {
        "task_overhead_seconds": (many.cpu_seconds - one.cpu_seconds) / (SHARDS - 1),
        "worker_start_seconds": one.first_shard,
        "rows": rows // 10,
        "engines": {name: asdict(spent(replace(fewer, **options))) for name, options in ENGINES.items()},
    }


ENGINES: dict[str, dict[str, Any]] = {
    "local, 1 thread": {"threads": 1},
    "local, 2 threads": {"threads": 2},
    "Ray, 1 worker of 1 thread": {"engine": "ray", "actors": 1, "threads": 1},
    "Ray, 2 workers of 1 thread": {"engine": "ray", "actors": 2, "threads": 1},
    "Ray, 1 worker of 2 threads": {"engine": "ray", "actors": 1, "threads": 2},
}


def in_one_and_in_many(job: Job, rows: int) -> tuple[Spent, Spent]:
    """The job in one shard and in many, in turn; of each the median round."""
    jobs = [replace(job, shard_rows=rows), replace(job, shard_rows=-(-rows // SHARDS))]
    rounds = [[spent(each) for each in jobs] for _ in range(ROUNDS)]
    one, many = (
        Spent(*map(median, zip(*(asdict(each).values() for each in runs), strict=True)))
        for runs in zip(*rounds, strict=True)
    )
    return one, many


def spent(job: Job) -> Spent:
    """What a job takes in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        return processes.submit(_run, job).result()


def _run(job: Job) -> Spent:
    started, cpu = time.perf_counter(), time.process_time()
    seen: list[tuple[float, int]] = []
    score_file(job, lambda done, total: seen.append((time.perf_counter() - started, done)))
    times = [at for at, done in seen if done]
    return Spent(
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu,
        peak_bytes=most_resident(),
        begun=seen[0][0],
        first_shard=times[0],
        last_shard=times[-1],
    )


if __name__ == "__main__":
    typer.run(main)
