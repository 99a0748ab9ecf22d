"""onnxruntime against OpenVINO on one bundle: how far their answers are from each other, and how fast each is here.

    .venv/bin/python benchmarks/engines.py --out docs/results/engines.json

Both score the same sentences, each token masked in turn, and fill the same masks. They take turns over `--rounds`
rounds, and the median round counts. Writes the figures as JSON.
"""

import json
import os
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from maskedge import Predictor, SentenceScore
from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import EngineName

EXAMPLES = Path(__file__).parents[1] / "examples"
ENGINES: tuple[EngineName, ...] = ("onnxruntime", "openvino")

Metrics = dict[str, Any]


def main(
    bundle: Annotated[Path | None, typer.Option(show_default="maskedge's own")] = None,
    precision: Annotated[str | None, typer.Option(show_default="the bundle's first")] = None,
    masked: Annotated[Path, typer.Option(help="Parquet with a column `text`.")] = EXAMPLES / "masked_sentences.parquet",
    sentences: Annotated[Path, typer.Option(help="A sentence a line.")] = EXAMPLES / "sentences.txt",
    rounds: Annotated[int, typer.Option()] = 5,
    note: Annotated[str, typer.Option(help="What else there is to say of the run.")] = "",
    out: Annotated[Path, typer.Option()] = Path("build/engines.json"),
) -> None:
    """Compare, print a table, and write the figures."""
    predictors = {engine: Predictor.load(bundle, precision=precision, engine=engine) for engine in ENGINES}
    texts: list[Any] = pq.read_table(masked, columns=["text"])["text"].to_pylist()
    texts = [text for text in texts if text.count("[MASK]") == 1]
    figures = {
        **machine(predictors["openvino"], note),
        "differences": differences(predictors, sentences.read_text(encoding="utf-8").splitlines(), texts),
        "speeds": race(predictors, texts, rounds),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures)


def machine(predictor: Predictor, note: str) -> Metrics:
    """What ran, and on what."""
    return {
        "model": predictor.name,
        "precision": predictor.precision,
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_features": cpu_features().names,
        "versions": {name: version(name) for name in ("maskedge", *ENGINES)},
        "note": note,
    }


def differences(predictors: dict[EngineName, Predictor], sentences: list[str], texts: list[str]) -> Metrics:
    """How far the engines' log-probabilities of the same tokens are from each other, nats."""
    scores = {engine: predictor.score(sentences) for engine, predictor in predictors.items()}
    first, second = (logprobs(scores[engine]) for engine in ENGINES)
    best = [[fill.masks[0].predictions[0].token for fill in predictors[engine].fill(texts)] for engine in ENGINES]
    same = sum(map(int.__eq__, *best))
    off = np.abs(first - second)
    return {
        "tokens": len(off),
        "median": float(np.median(off)),
        "percentile_99": float(np.percentile(off, 99)),
        "max": float(off.max()),
        "mean_change": float((second - first).mean()),
        "perplexities": {engine: float(np.exp(-logprobs(scores[engine]).mean())) for engine in ENGINES},
        "masks": len(texts),
        "same_best_token": same / len(texts),
    }


def logprobs(scores: list[SentenceScore]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Those of all tokens, nats."""
    return np.array([token.logprob for score in scores for token in score.tokens])


def race(predictors: dict[EngineName, Predictor], texts: list[str], rounds: int) -> dict[str, Metrics]:
    """Rows a second, and the processor's seconds for all rows; one round first, which does not count."""
    walls: dict[str, list[float]] = {engine: [] for engine in predictors}
    times: dict[str, list[float]] = {engine: [] for engine in predictors}
    for turn in range(-1, rounds):
        for engine, predictor in predictors.items():
            wall, spent = time.perf_counter(), time.process_time()
            predictor.fill(texts)
            if turn >= 0:
                walls[engine].append(time.perf_counter() - wall)
                times[engine].append(time.process_time() - spent)
    return {
        engine: {
            "rows_per_second": len(texts) / statistics.median(walls[engine]),
            "processor_seconds": statistics.median(times[engine]),
        }
        for engine in predictors
    }


def show(figures: Metrics) -> None:
    """Print the figures as a table."""
    off = figures["differences"]
    table = Table(title=f"{figures['model']} {figures['precision']}, {', '.join(figures['cpu_features'])}")
    for heading in ("engine", "rows/s", "processor, s", "perplexity"):
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for engine, row in figures["speeds"].items():
        speed, spent = f"{row['rows_per_second']:.0f}", f"{row['processor_seconds']:.2f}"
        table.add_row(engine, speed, spent, f"{off['perplexities'][engine]:.3f}")
    console = Console()
    console.print(table)
    console.print(f"nats apart: median {off['median']:.4f}, 99 % {off['percentile_99']:.3f}, most {off['max']:.2f}")
    console.print(f"the same best token: {off['same_best_token']:.1%}")


if __name__ == "__main__":
    typer.run(main)
