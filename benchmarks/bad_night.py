"""Many rows scored undisturbed, killed on the way, on a cluster that loses a machine, and from S3 to S3: rows a second,
memory, and the same bytes each time.

    .venv/bin/python benchmarks/bad_night.py --rows 1000000 --out docs/results/bad_night.json

Figures are written after each night; a night that has them is not run again, so that nights may be run one by one
(`--night`). Beside them memory over time is drawn.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import typer
from many_rows import score, write_rows
from ray.cluster_utils import Cluster
from s3_store import S3Store
from watching import Incident, Process, Run, own_processes, succeed, watch

from maskedge import Predictor
from maskedge.bundle.threads import usable_cpus

mpl.use("Agg")
from matplotlib import pyplot as plt

KILLS = 2
MACHINES = 3
"""Of the cluster, one of which is lost. Each has a CPU and processes of its own."""
STORE: dict[str, Any] = {"object_store_memory": 80 << 20, "include_dashboard": False}
WORKER = b"ray::ShardScorer"
POINTS = 400
"""Of memory over time that are kept."""

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """What is scored in a night."""

    source: Path
    output: Path
    seconds: float
    """An undisturbed run takes so long; 0 where that is not known yet."""

    def command(self, *options: str) -> list[str]:
        """Scores the one into the other."""
        return score(str(self.source), str(self.output), *options)


def main(
    rows: Annotated[int, typer.Option(help="Rows to score.")] = 1_000_000,
    night: Annotated[list[str] | None, typer.Option(help="Of those below; all by default.")] = None,
    scratch: Annotated[Path | None, typer.Option(help="Where the files go; a temporary directory by default.")] = None,
    out: Annotated[Path, typer.Option()] = Path("build/bad_night.json"),
) -> None:
    """Run the nights, compare their files, and write figures and picture."""
    figures = begun(out, rows)
    for name in night or NIGHTS:
        if name not in figures["nights"]:
            with tempfile.TemporaryDirectory(dir=scratch) as directory:
                figures["nights"][name] = run_night(name, Path(directory), rows, figures)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            draw(figures, out.with_suffix(".png"))
            print(name, {key: value for key, value in figures["nights"][name].items() if key != "memory"})
    if len({figures["nights"][name]["sha256"] for name in figures["nights"]}) > 1:
        sys.exit("the nights' files differ")


def begun(out: Path, rows: int) -> Figures:
    """The figures that are there, if they are of as many rows and of this model; else none of any night."""
    model = Predictor.load()
    what = {"rows": rows, "cpus": usable_cpus(), "model": model.name, "fingerprint": model.fingerprint}
    if out.is_file():
        figures: Figures = json.loads(out.read_text(encoding="utf-8"))
        if all(figures.get(name) == value for name, value in what.items()):
            return figures
    return {**what, "nights": {}}


def run_night(name: str, place: Path, rows: int, figures: Figures) -> Figures:
    """What a night comes to."""
    nights = figures["nights"]
    if name != "undisturbed" and "undisturbed" not in nights:
        sys.exit(f"run the undisturbed night first: {name} happens in proportion to it")
    source = write_rows(place / "input.parquet", rows)
    job = Job(source, place / "scored.parquet", nights.get("undisturbed", {"seconds": 0.0})["seconds"])
    runs = NIGHTS[name](job)
    seconds = sum(run.seconds for run in runs)
    curve = [
        (at + begin, megabytes) for begin, run in zip(starts(runs), runs, strict=True) for at, megabytes in run.memory
    ]
    return {
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "peak_megabytes": max(run.peak for run in runs),
        "sha256": digest(job.output),
        "files_left": sorted(path.name for path in place.iterdir()),
        "incidents": starts(runs)[1:] if len(runs) > 1 else [],
        "memory": [[round(at, 1), round(megabytes)] for at, megabytes in curve[:: len(curve) // POINTS + 1]],
    }


def starts(runs: list[Run]) -> list[float]:
    """When each began, seconds from the first one's start."""
    return [sum(run.seconds for run in runs[:number]) for number in range(len(runs))]


def undisturbed(job: Job) -> list[Run]:
    """A run that is left alone."""
    return [succeed(watch(job.command()))]


def killed(job: Job) -> list[Run]:
    """Runs that are killed (SIGKILL) at equal distances, and the one that ends."""
    incident = Incident(job.seconds / (KILLS + 1), Process.kill)
    return [*(watch(job.command(), incident) for _ in range(KILLS)), succeed(watch(job.command()))]


def machine_lost(job: Job) -> list[Run]:
    """A run on a cluster, which loses one of its machines halfway."""
    with cluster() as (machines, nodes):
        lose = Incident(job.seconds / 2, lambda process: machines.remove_node(nodes[0], allow_graceful=False))
        command = job.command("--engine", "ray", "--ray-address", machines.address)
        return [succeed(watch(command, lose, processes=lambda process: [process.pid, *own_processes(WORKER)]))]


def store_to_store(job: Job) -> list[Run]:
    """A run from a store into it."""
    store = S3Store()
    store.reset()
    store.put("input.parquet", job.source.read_bytes())
    command = score("s3://corpus/input.parquet", f"s3://corpus/{job.output.name}")
    try:
        run = succeed(watch(command, environment=os.environ | store.environment))
        job.output.write_bytes(store.get(job.output.name))
    finally:
        store.stop()
    return [run]


NIGHTS: dict[str, Callable[[Job], list[Run]]] = {
    "undisturbed": undisturbed,
    "killed twice": killed,
    "a cluster loses a machine": machine_lost,
    "from S3 to S3": store_to_store,
}


@contextmanager
def cluster() -> Iterator[tuple[Any, list[Any]]]:
    """A cluster whose head only keeps the books, and its machines."""
    machines: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **STORE})
    try:
        yield machines, [machines.add_node(num_cpus=1, **STORE) for _ in range(MACHINES)]
    finally:
        machines.shutdown()


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def draw(figures: Figures, path: Path) -> None:
    """Each night's memory over time; where it was killed, a dashed line."""
    nights = figures["nights"]
    size = (8, 0.8 + 1.5 * len(nights))
    figure, rows = plt.subplots(
        len(nights), 1, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for (name, night), (axes,) in zip(nights.items(), rows, strict=True):
        axes.plot(*zip(*night["memory"], strict=True), color="#2f6f73")
        for at in night["incidents"]:
            axes.axvline(at, color="#b45309", linestyle="--", linewidth=1)
        axes.set_title(f"{name}: {night['rows_per_second']:,.0f} rows a second", loc="left", fontsize=10)
        axes.set_ylabel("MB")
        axes.spines[["top", "right"]].set_visible(False)
    rows[-1, 0].set_xlabel("seconds")
    rows[-1, 0].set_ylim(bottom=0)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
