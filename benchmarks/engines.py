"""The engines on one bundle: how far their answers are from onnxruntime's, and how fast each is here.

    .venv/bin/python benchmarks/engines.py --out docs/results/engines.json

All score the same sentences, each token masked in turn, and fill the same masks. They take turns over `--rounds`
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
import numpy.typing as npt
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from maskedge import Predictor, SentenceScore
from maskedge.bundle.cpu import cpu_features
from maskedge.bundle.engine import PACKAGES, EngineName

EXAMPLES = Path(__file__).parents[1] / "examples"
ENGINES: tuple[EngineName, ...] = ("onnxruntime", "kernels", "openvino")
"""The others are compared with the first."""

Metrics = dict[str, Any]
Numbers = npt.NDArray[np.float64]


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
        "versions": {name: version(name) for name in ("maskedge", *sorted({*PACKAGES.values()}))},
        "note": note,
    }


def differences(predictors: dict[EngineName, Predictor], sentences: list[str], texts: list[str]) -> Metrics:
    """How far each engine's log-probabilities of the same tokens are from the first's, nats."""
    scores = {engine: logprobs(predictor.score(sentences)) for engine, predictor in predictors.items()}
    fills = {engine: predictor.fill(texts) for engine, predictor in predictors.items()}
    best = {engine: [fill.masks[0].predictions[0].token for fill in some] for engine, some in fills.items()}
    first, *others = ENGINES
    return {
        "tokens": len(scores[first]),
        "masks": len(texts),
        "perplexities": {engine: float(np.exp(-each.mean())) for engine, each in scores.items()},
        "from_the_first": {
            engine: {
                **apart(scores[first], scores[engine]),
                "same_best_token": sum(map(int.__eq__, best[first], best[engine])) / len(texts),
            }
            for engine in others
        },
    }


def apart(first: Numbers, second: Numbers) -> Metrics:
    """How far two engines' log-probabilities are from each other, nats."""
    off = np.abs(first - second)
    return {
        "median": float(np.median(off)),
        "percentile_99": float(np.percentile(off, 99)),
        "max": float(off.max()),
        "mean_change": float((second - first).mean()),
    }


def logprobs(scores: list[SentenceScore]) -> Numbers:
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
    for engine, each in off["from_the_first"].items():
        nats = f"median {each['median']:.4f}, 99 % {each['percentile_99']:.3f}, most {each['max']:.2f} nats"
        console.print(f"{engine} from {ENGINES[0]}: {nats}; the same best token: {each['same_best_token']:.1%}")


if __name__ == "__main__":
    typer.run(main)
