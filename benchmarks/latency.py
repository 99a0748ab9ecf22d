"""How soon one sentence is answered: maskedge against transformers.pipeline("fill-mask"), cold and warm, in one run.

    .venv/bin/python benchmarks/latency.py

Cold is a new process from its start to its first answer, imports and loading included; warm is one more sentence in a
process that has answered before. The contenders take turns; the median counts. Writes the figures as JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "english-minilm"
SENTENCE = "The children were playing football in the [MASK] when it started to rain."
PEER = "transformers fp32"

# Each program answers once, prints a line, and then answers `warm` times more, timed one by one.
TIMING = """
fill(SENTENCE)
print("answered", flush=True)
seconds = []
for _ in range(WARM):
    started = time.perf_counter()
    fill(SENTENCE)
    seconds.append(time.perf_counter() - started)
print(json.dumps(seconds))
"""
OURS = """
import json, time
from maskedge import Predictor
fill = Predictor.load(MODEL)
"""
THEIRS = """
import json, time
from transformers import pipeline
fill = pipeline("fill-mask", model=MODEL, device="cpu")
"""

Metrics = dict[str, Any]


def main(
    checkpoint: Annotated[Path, typer.Option(help="What transformers loads.")] = CHECKPOINT,
    bundle: Annotated[
        Path | None, typer.Option(help="The same checkpoint as a bundle.", show_default="maskedge's own")
    ] = None,
    cold: Annotated[int, typer.Option(help="Processes started of each.")] = 5,
    warm: Annotated[int, typer.Option(help="Sentences timed in each process.")] = 100,
    out: Annotated[Path, typer.Option()] = Path("build/latency.json"),
) -> None:
    """Compare, print a table, and write the figures."""
    programs = {"maskedge int8": (OURS, str(bundle) if bundle else None), PEER: (THEIRS, str(checkpoint))}
    times: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in programs}
    for _ in range(cold):
        for name, (program, model) in programs.items():
            times[name].append(run(program, model, warm))
    figures = summarize(times, cold, warm)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures)


def run(program: str, model: str | None, warm: int) -> tuple[float, list[float]]:
    """Seconds from a process's start to its first answer, and of each answer after that."""
    source = f"MODEL, SENTENCE, WARM = {model!r}, {SENTENCE!r}, {warm}\n{program}{TIMING}"
    command = [sys.executable, "-W", "ignore", "-c", source]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "answered\n", f"it failed: {command[-1]}"
        first = time.perf_counter() - started
        return first, json.loads(process.stdout.readline())


def summarize(times: dict[str, list[tuple[float, list[float]]]], cold: int, warm: int) -> Metrics:
    """Median and 95th percentile seconds of each contender."""
    contenders = {}
    for name, runs in times.items():
        first = [seconds for seconds, _ in runs]
        contenders[name] = _summary(first, list(chain.from_iterable(later for _, later in runs)))
    names = ("maskedge", "onnxruntime", "torch", "transformers")
    return {
        "sentence": SENTENCE,
        "processes": cold,
        "warm_sentences": cold * warm,
        "cpus": len(os.sched_getaffinity(0)),
        "versions": {name: version(name) for name in names},
        "contenders": contenders,
    }


def _summary(first: list[float], warm: list[float]) -> Metrics:
    return {
        "cold_seconds": statistics.median(first),
        "warm_seconds": statistics.median(warm),
        "warm_seconds_p95": statistics.quantiles(warm, n=20)[-1],
    }


def show(figures: Metrics) -> None:
    """Print the figures as a table."""
    table = Table(title=f"one sentence, {figures['cpus']} CPUs, median")
    for heading in ("contender", "cold, s", "warm, ms", "warm p95, ms", "cold", "warm"):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    peer = figures["contenders"][PEER]
    for name, row in figures["contenders"].items():
        table.add_row(
            name,
            f"{row['cold_seconds']:.2f}",
            f"{1e3 * row['warm_seconds']:.2f}",
            f"{1e3 * row['warm_seconds_p95']:.2f}",
            f"{peer['cold_seconds'] / row['cold_seconds']:.1f} x",
            f"{peer['warm_seconds'] / row['warm_seconds']:.1f} x",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
