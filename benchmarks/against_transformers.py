"""maskedge against transformers.pipeline("fill-mask"): the same checkpoint, the same rows, the same machine and run.

    .venv/bin/python benchmarks/against_transformers.py build/masked.parquet --rows 500

Each contender fills every row's mask with its five best tokens. They take turns over `--rounds` rounds, and the median
round counts. Writes the figures as JSON.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import torch
import typer
from rich.console import Console
from rich.table import Table

from maskedge import Predictor
from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.quantization.precisions import DEFAULT_PRECISION

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "english-minilm"
SENTENCES = Path(__file__).parents[1] / "examples" / "sentences.txt"
PEER = "transformers fp32"

Contender = Callable[[list[str]], list[int]]
"""Texts with one mask each -> the most probable token of each."""


def main(
    masked: Annotated[Path, typer.Argument(help="Parquet with a column `text` of sentences with one [MASK] each.")],
    checkpoint: Annotated[Path, typer.Option()] = CHECKPOINT,
    rows: Annotated[int, typer.Option()] = 500,
    rounds: Annotated[int, typer.Option()] = 3,
    out: Annotated[Path, typer.Option()] = Path("build/against_transformers.json"),
) -> None:
    """Compare, print a table, and write the figures."""
    texts: list[Any] = pq.read_table(masked, columns=["text"])["text"].to_pylist()
    texts = [text for text in texts if text.count("[MASK]") == 1][:rows]
    with tempfile.TemporaryDirectory() as scratch:
        contenders = make_contenders(checkpoint, Path(scratch))
        answers, seconds = race(contenders, texts, rounds)
    figures = summarize(answers, seconds, texts, checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures)


def make_contenders(checkpoint: Path, scratch: Path) -> dict[str, Contender]:
    """transformers one row at a time (its default) and in batches of 32; our graphs of the same checkpoint."""
    from transformers import pipeline

    pipe = pipeline("fill-mask", model=str(checkpoint), dtype=torch.float32, device="cpu")
    bundle = scratch / "bundle"
    options = ExportOptions(f"{DEFAULT_PRECISION},fp32", calibration=(SENTENCES,), gate=False)
    export_bundle(str(checkpoint), bundle, options)
    return {
        PEER: lambda texts: [pipe(text)[0]["token"] for text in texts],
        "transformers fp32, batches of 32": lambda texts: [r[0]["token"] for r in pipe(texts, batch_size=32)],
        "maskedge fp32": ours(bundle, "fp32"),
        # of the bundled model's checkpoint the graph that ships, calibrated on more text
        "maskedge int8": ours(None if checkpoint == CHECKPOINT else bundle),
    }


def ours(bundle: Path | None, precision: str | None = None) -> Contender:
    """A bundle's graph as a contender: its default, or another."""
    predictor = Predictor.load(bundle, precision=precision)
    return lambda texts: [fill.masks[0].predictions[0].token for fill in predictor.fill(texts)]


def race(
    contenders: dict[str, Contender], texts: list[str], rounds: int
) -> tuple[dict[str, list[int]], dict[str, float]]:
    """Each contender's answers and its median seconds; one small round first, which does not count."""
    for contender in contenders.values():
        contender(texts[:32])
    answers: dict[str, list[int]] = {}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            started = time.perf_counter()
            answers[name] = contender(texts)
            times[name].append(time.perf_counter() - started)
    return answers, {name: statistics.median(values) for name, values in times.items()}


def summarize(
    answers: dict[str, list[int]], seconds: dict[str, float], texts: list[str], checkpoint: Path
) -> dict[str, object]:
    """Rows per second, ratio to the peer, and agreement with its most probable token."""
    return {
        "rows": len(texts),
        "checkpoint": checkpoint.name,
        "cpus": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("maskedge", "onnxruntime", "torch", "transformers")},
        "contenders": {
            name: {
                "rows_per_second": len(texts) / seconds[name],
                "times_faster": seconds[PEER] / seconds[name],
                "same_top1": sum(map(int.__eq__, answers[name], answers[PEER])) / len(texts),
            }
            for name in answers
        },
    }


def show(figures: dict[str, object]) -> None:
    """Print the figures as a table."""
    table = Table(title=f"{figures['rows']} rows, {figures['cpus']} CPUs")
    for heading in ("contender", "rows/s", "times faster", "same top-1"):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    contenders = figures["contenders"]
    assert isinstance(contenders, dict)
    for name, row in contenders.items():
        table.add_row(name, f"{row['rows_per_second']:.0f}", f"{row['times_faster']:.1f}", f"{row['same_top1']:.1%}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
