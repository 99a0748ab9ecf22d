"""Many rows scored in one run, and again in a run that is killed on the way: rows a second, memory, the same bytes.

    .venv/bin/python benchmarks/bad_night.py --rows 1000000 [--engine ray --nodes 3]

Rows are the example sentences, each with a number of its own, so that none is scored for another. Writes figures as
JSON and memory over time as a picture.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from maskedge.bundle.threads import usable_cpus

mpl.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "masked_sentences.parquet"
ROWS_AT_ONCE = 50_000
SECONDS = 0.5
"""Between two looks at the memory."""


def main(
    rows: Annotated[int, typer.Option(help="Rows to score.")] = 1_000_000,
    kills: Annotated[int, typer.Option(help="How often the second run is killed.")] = 2,
    scratch: Annotated[Path | None, typer.Option(help="Where the files go; a temporary directory by default.")] = None,
    out: Annotated[Path, typer.Option()] = Path("build/bad_night.json"),
) -> None:
    """Score, kill, compare, and write the figures and the picture."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        place = Path(directory)
        source = write_input(place / "input.parquet", rows)
        undisturbed = watch(command(source, place / "undisturbed.parquet"))
        disturbed = [
            watch(command(source, place / "killed.parquet"), kill_after=undisturbed.seconds * part)
            for part in (1 / (kills + 1) for _ in range(kills))
        ]
        disturbed.append(watch(command(source, place / "killed.parquet")))
        same = digest(place / "undisturbed.parquet") == digest(place / "killed.parquet")
        left = sorted(path.name for path in place.iterdir())
    figures = {
        "rows": rows,
        "cpus": usable_cpus(),
        "seconds": undisturbed.seconds,
        "rows_per_second": rows / undisturbed.seconds,
        "peak_megabytes": max(megabytes for _, megabytes in undisturbed.memory),
        "kills": kills,
        "seconds_with_kills": sum(run.seconds for run in disturbed),
        "same_bytes": same,
        "files_left": left,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    draw(undisturbed, disturbed, out.with_suffix(".png"))
    print(json.dumps(figures, indent=1))
    if not same:
        sys.exit("the killed run's file differs from the undisturbed one's")


def command(source: Path, output: Path) -> list[str]:
    """The command line that scores."""
    return [sys.executable, "-m", "maskedge_batch", "score", str(source), "-o", str(output), "--quiet"]


def write_input(path: Path, rows: int) -> Path:
    """So many rows, no two of them alike."""
    examples = [row for row in pq.read_table(EXAMPLES).to_pylist() if row["text"]]
    parts = (range(start, min(start + ROWS_AT_ONCE, rows)) for start in range(0, rows, ROWS_AT_ONCE))
    tables = (numbered(examples, numbers) for numbers in parts)
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as file:
        for table in (first, *tables):
            file.write_table(table)
    return path


def numbered(examples: list[dict[str, Any]], numbers: range) -> pa.Table:
    """Examples over and over, each with a number behind it."""
    chosen = [examples[number % len(examples)] for number in numbers]
    texts = [f"{row['text']} {number}" for number, row in zip(numbers, chosen, strict=True)]
    return pa.table({"id": list(numbers), "text": texts, "target": [row["target"] for row in chosen]})


@dataclass
class Run:
    """A process that was watched."""

    seconds: float = 0.0
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since its start, resident megabytes."""


def watch(arguments: list[str], kill_after: float | None = None) -> Run:
    """Runs a command to its end, or kills it after so many seconds, and looks at its memory meanwhile."""
    run, start = Run(), time.monotonic()
    process = subprocess.Popen(arguments)
    watcher = threading.Thread(target=lambda: run.memory.extend(resident(process, start)))
    watcher.start()
    try:
        process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
    process.wait()
    watcher.join()
    run.seconds = time.monotonic() - start
    if kill_after is None and process.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {process.returncode}")
    return run


def resident(process: "subprocess.Popen[bytes]", start: float) -> Iterator[tuple[float, float]]:
    """Yields seconds and megabytes until the process ends."""
    status = Path("/proc") / str(process.pid) / "status"
    while process.poll() is None:
        try:
            lines = status.read_text().splitlines()
            kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
        except OSError:
            return
        if kilobytes:
            yield time.monotonic() - start, kilobytes / 1024
        time.sleep(SECONDS)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def draw(undisturbed: Run, disturbed: list[Run], path: Path) -> None:
    """Memory over time: the undisturbed run, and below it the killed one's parts one after the other."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 4.5), sharex=True, sharey=True, layout="constrained")
    above.plot(*zip(*undisturbed.memory, strict=True), color="#2f6f73")
    above.set_title("undisturbed", loc="left", fontsize=10)
    begun = 0.0
    for number, run in enumerate(disturbed):
        below.plot([begun + at for at, _ in run.memory], [megabytes for _, megabytes in run.memory], color="#b45309")
        begun += run.seconds
        if number < len(disturbed) - 1:
            below.axvline(begun, color="#1d1c1a", linestyle="--", linewidth=1)
    below.set_title("killed at the dashed lines, and started again", loc="left", fontsize=10)
    below.set_xlabel("seconds")
    for axes in (above, below):
        axes.set_ylabel("megabytes")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    typer.run(main)
