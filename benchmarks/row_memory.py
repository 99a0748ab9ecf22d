"""The memory of a job as its rows grow: 10 thousand to 10 million, scored by the smallest model there is, so that what
a job keeps is not lost beside a model. The same text is scored once among some thousand rows, and here there are 50
different ones: what is watched is the job, not the model.

    .venv/bin/python benchmarks/row_memory.py --out docs/results/row_memory.json

Writes figures as JSON, and memory over time as a picture.
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import typer
from many_rows import score, write_rows
from watching import Run, succeed, watch

from maskedge.bundle.threads import usable_cpus

mpl.use("Agg")
from matplotlib import pyplot as plt

BUNDLE = Path(__file__).parents[1] / "tests" / "tiny_bundle"
ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
DIFFERENT = 50
"""Texts; the other rows repeat them."""
COLOURS = ("#94a3b8", "#64a0a3", "#2f6f73", "#b45309")
POINTS = 200
"""Of memory over time that are kept."""


def main(
    rows: Annotated[
        list[int] | None, typer.Option(help="Rows of a job.", show_default="10 thousand to 10 million")
    ] = None,
    scratch: Annotated[Path | None, typer.Option(help="Where the files go; a temporary directory by default.")] = None,
    out: Annotated[Path, typer.Option()] = Path("build/row_memory.json"),
) -> None:
    """Score, watch, and write figures and picture."""
    jobs: list[dict[str, Any]] = []
    for count in rows or ROWS:
        with tempfile.TemporaryDirectory(dir=scratch) as directory:
            jobs.append(figures_of(count, watched(Path(directory), count)))
        print({key: value for key, value in jobs[-1].items() if key != "memory"})
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(
        json.dumps({"cpus": usable_cpus(), "different": DIFFERENT, "jobs": jobs}, indent=1) + "\n", encoding="utf-8"
    )
    draw(jobs, out.with_suffix(".png"))


def watched(place: Path, rows: int) -> Run:
    """A job over so many rows, to one file."""
    source = write_rows(place / "input.parquet", rows, DIFFERENT)
    return succeed(watch(score(str(source), str(place / "scored.parquet"), "--model", str(BUNDLE))))


def figures_of(rows: int, run: Run) -> dict[str, Any]:
    """What the run came to."""
    kept = run.memory[:: len(run.memory) // POINTS + 1]
    return {
        "rows": rows,
        "seconds": run.seconds,
        "rows_per_second": rows / run.seconds,
        "peak_megabytes": run.peak,
        "memory": [[round(at, 1), round(megabytes)] for at, megabytes in kept],
    }


def draw(jobs: list[dict[str, Any]], path: Path) -> None:
    """Each job's memory, from its beginning to its end."""
    figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
    for job, colour in zip(jobs, COLOURS, strict=False):
        seconds, megabytes = zip(*job["memory"], strict=True)
        axes.plot([at / job["seconds"] * 100 for at in seconds], megabytes, color=colour, label=f"{job['rows']:,} rows")
    axes.set_xlabel("percent of the job's time")
    axes.set_ylabel("MB")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    typer.run(main)
